"""Parameters of galaxies as columns, and the table of a stamp set that was measured without a campaign."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend_ml.catalogue.tables.columns import Batch, Column, Fact, Sheet, clean_text, text_width, texts
from backend_ml.catalogue.tables.galaxies import Rows
from backend_ml.catalogue.tables.table import identity_cells, identity_columns
from backend_ml.label_studio.labelling import name_column
from lvm_training.parameters import measure
from lvm_training.parameters.flags import MEANINGS, WIDEST
from lvm_training.parameters.head import Measured
from lvm_training.parameters.parameter import PARAMETERS
from lvm_training.stamps.stampset import StampSet
from lvm_training.tables.positions import degrees

ERROR = "err_{name}"
ABOUT_ERROR = "Error of {name}: half the width of its 68 % interval"
FLAG = Column(
    "flag", "text", f"What is wrong: {', '.join(MEANINGS)}; empty if nothing is", "", "meta.code.qual", WIDEST
)


def parameter_columns(names: Sequence[str]) -> tuple[Column, ...]:
    """A column of each parameter, and behind it one of its error."""
    found = []
    for one in (PARAMETERS[name] for name in names):
        found.append(Column(one.name, "float", one.about, one.unit, one.ucd))
        about = ABOUT_ERROR.format(name=one.name)
        found.append(Column(ERROR.format(name=one.name), "float", about, one.unit, f"stat.error;{one.ucd}"))
    return tuple(found)


def parameter_cells(names: Sequence[str], measured: Measured) -> dict[str, NDArray[Any]]:
    """Their cells, rounded to what means something; NaN where a parameter is not known."""
    cells = {}
    for place, one in enumerate(PARAMETERS[name] for name in names):
        cells[one.name] = np.round(measured.values[:, place], one.digits)
        # an error that rounds to nothing is none
        cells[ERROR.format(name=one.name)] = np.round(measured.errors[:, place], one.digits + 1)
    return cells


def measured_sheet(
    stamps: StampSet,
    batches: Callable[[], Iterator[measure.Batch]],
    names: Sequence[str],
    facts: Sequence[Fact],
) -> Sheet:
    """The table of a stamp set's parameters.

    Parameters
    ----------
    batches : callable
        Gives what was measured (`measure_set`), the parameters in the order of `names`.
    """
    column = name_column(stamps.columns)
    called = [] if column is None else [clean_text(value) for value in stamps.column(column).tolist()]
    columns = (
        *identity_columns([stamps.name], len(stamps) - 1, text_width(called)),
        Column("ra", "float", "Right ascension of the stamp's centre, ICRS", "deg", "pos.eq.ra;meta.main"),
        Column("dec", "float", "Declination of the stamp's centre, ICRS", "deg", "pos.eq.dec;meta.main"),
        *parameter_columns(names),
        FLAG,
    )

    def cells() -> Iterator[Batch]:
        for batch in batches():
            rows = batch.rows
            yield {
                **identity_cells(
                    stamps.name, rows, [called[row] for row in rows.tolist()] if called else [""] * len(rows)
                ),
                **_position(stamps, rows),
                **parameter_cells(names, batch.measured),
                FLAG.name: texts(batch.flags),
            }

    return Sheet("galaxies", columns, len(stamps), cells, facts)


def _position(stamps: StampSet, rows: Rows) -> dict[str, NDArray[np.float64]]:
    """Degrees; NaN where a set has no positions."""
    found = {}
    for name, across in (("ra", True), ("dec", False)):
        values = stamps.column(name, rows) if name in stamps.columns else np.full(len(rows), np.nan)
        found[name] = degrees(values, right_ascension=across)
    return found
