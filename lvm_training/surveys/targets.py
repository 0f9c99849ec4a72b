"""The positions of a catalogue: what each stamp is called, where it is, and what cannot be asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lvm_training.errors import LabelError
from lvm_training.surveys.description import Survey
from lvm_training.tables.cells import Missing
from lvm_training.tables.reading import Table, read_table

NAMES = ("file", "id", "name")  # columns that name a stamp, the first that is there counts
RESERVED = ("images", "covered", "bands")
SAME_PLACE = 1e-6  # degrees, to which a stamp's position names it


class Left(NamedTuple):
    """A stamp that could not be had: its name, its position in degrees, the kind of reason, and the reason."""

    file: str
    ra: float
    dec: float
    kind: str
    reason: str


@dataclass(frozen=True)
class Targets:
    """Positions to ask for, each once.

    Attributes
    ----------
    names : list of str
        Unique.
    ra, dec : ndarray (N,)
        Degrees ICRS.
    columns : dict of str to ndarray (N,)
        The catalogue's columns as a stamp set keeps them, `file`, `ra` and `dec` among them.
    left : tuple of Left
        Rows without a position, or beyond the survey's declinations.
    notes : tuple of str
        What was assumed of the catalogue; for people.
    about : dict
        What a set keeps of the catalogue.
    digest : str
        Of the catalogue's content, and of what counts as missing in it.
    """

    names: list[str]
    ra: NDArray[np.float64]
    dec: NDArray[np.float64]
    columns: dict[str, NDArray[Any]]
    left: tuple[Left, ...]
    notes: tuple[str, ...]
    about: dict[str, Any]
    digest: str

    def __len__(self) -> int:
        return len(self.names)


def read_targets(catalogue: Path, survey: Survey, missing: Missing | None = None) -> Targets:
    """Read the positions of a catalogue of any format that `read_table` knows.

    A column `file`, `id` or `name` names the stamps; rows without a name are called by their position. Of rows that
    have name and position of an earlier one the first counts.

    Raises
    ------
    LabelError
        If the catalogue cannot be read, has no positions, gives one name two of them, or has a column whose name a
        stamp set needs.
    """
    table = read_table(catalogue, missing=missing)
    ra, dec = _positions(table)
    _refuse_reserved(table)
    names, how = _names(table, ra, dec)
    kept, twins = _unique(table, names, ra, dec)
    low, high = survey.footprint.declination
    known = np.isfinite(ra) & np.isfinite(dec)
    inside = known & (dec >= low) & (dec <= high)
    left = [
        Left(names[row], float(ra[row]), float(dec[row]), *_why(known[row], dec[row], survey))
        for row in kept
        if not inside[row]
    ]
    rows = np.array([row for row in kept if inside[row]], dtype=np.int64)
    columns = {name: column.take(rows).stored() for name, column in table.columns.items()}
    columns["file"] = np.array([names[row] for row in rows], dtype=object)
    notes = [*table.notes, how, *([f"{twins} rows ask for the stamp of an earlier one"] if twins else [])]
    absent = missing or Missing()
    digest = f"{table.digest} {sorted(absent.words)} {absent.numbers}"
    return Targets(
        columns["file"].tolist(), ra[rows], dec[rows], columns, tuple(left), tuple(notes), table.about(), digest
    )


def _positions(table: Table) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if {"ra", "dec"} <= table.columns.keys():
        return table.columns["ra"].values, table.columns["dec"].values
    said = [note for note in table.notes if "galactic" in note]
    raise LabelError(
        f"{table.name} has no positions: it needs columns ra and dec, and has {', '.join(table.columns) or 'none'}.",
        "; ".join(said) or "Degrees or 10:00:01.5; RAJ2000, DEJ2000 and the like are known too.",
    )


def _refuse_reserved(table: Table) -> None:
    for name in RESERVED:
        if name in table.columns:
            raise LabelError(f"{table.name} has a column {name!r}, which a stamp set needs.", "Give it another name.")


def _names(table: Table, ra: NDArray[np.float64], dec: NDArray[np.float64]) -> tuple[list[str], str]:
    """What each row's stamp is called, and how that was decided."""
    usable = [name for name, column in table.columns.items() if not column.lost_digits]
    column = next((name for key in NAMES for name in usable if name.casefold() == key), None)
    given = table.columns[column].texts() if column else [""] * len(table)
    names = [
        " ".join(text.split()) or (f"{x:.6f}{y:+.6f}" if np.isfinite(x + y) else f"line {line}")
        for text, x, y, line in zip(given, ra, dec, table.lines, strict=True)
    ]
    nameless = sum(not text for text in given)
    if column is None:
        return names, "stamps are called by their position: the catalogue has no column file, id or name"
    called = f"stamps are called by the column {column}"
    return names, called + (f"; {nameless} without a name by their position" if nameless else "")


def _unique(
    table: Table, names: Sequence[str], ra: NDArray[np.float64], dec: NDArray[np.float64]
) -> tuple[list[int], int]:
    """The rows of which each name's first is kept, and how many are twins of others."""
    first: dict[str, int] = {}
    for row, name in enumerate(names):
        other = first.setdefault(name, row)
        if other == row or (np.isnan(ra[row]) and np.isnan(ra[other])):
            continue
        if not (abs(ra[row] - ra[other]) <= SAME_PLACE and abs(dec[row] - dec[other]) <= SAME_PLACE):
            raise LabelError(
                f"{table.name} gives {name!r} two positions, in lines {table.lines[other]} and {table.lines[row]}.",
                "Name the stamps apart, or take the column out so that they are called by their position.",
            )
    return list(first.values()), len(names) - len(first)


def _why(known: bool, dec: float, survey: Survey) -> tuple[str, str]:
    if not known:
        return "no position", "ra or dec is missing"
    low, high = survey.footprint.declination
    return "outside", f"declination {dec:.3f}: {survey.name} has {low:g} to {high:g} degrees"
