"""Options and arguments that several commands have, and what they mean."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from lvm_training.tables import cells

Name = Annotated[str, typer.Argument(help="The campaign's name.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Force = Annotated[bool, typer.Option(help="Write over a file that is there.")]
Home = Annotated[Path | None, typer.Option(help="Data folder; GALAXYLOOP_HOME, or build/galaxyloop.")]
Views = Annotated[int, typer.Option(help="Symmetries averaged over; 1 is fastest.", min=1, max=8)]

# of what makes a campaign
Detector = Annotated[Path | None, typer.Option(help="Folder of a detector; lenses begin with models/detector-nano.")]
Consensus = Annotated[str, typer.Option(help="Several labels to one: majority or dawid-skene.")]
Seed = Annotated[int, typer.Option(help="Draws the audit slice and everything else.")]

# of what reads a labelled set, or a table, or chooses stamps by their catalogue
ClassColumn = Annotated[str, typer.Option(help="Column of the classes.")]
ClassTable = Annotated[
    Path | None,
    typer.Option(help="Table with the column and `file` or `stamp_id`; default: the folder's labels.csv."),
]
PixelScale = Annotated[float | None, typer.Option(help="arcsec, for images that do not say.")]
Missing = Annotated[
    str | None,
    typer.Option(help="Cells without a value: numbers join nan, NA, N/A, NULL, - and the like; words replace them."),
]
Where = Annotated[
    list[str] | None,
    typer.Option(help="Only stamps with column=value, column>=value, cone(RA,DEC,RADIUS), ...; repeat: all must hold."),
]


def declared_missing(text: str | None) -> "cells.Missing | None":
    """What the option says; None where it is not given."""
    from lvm_training.tables.cells import Missing as Declared

    return None if text is None else Declared.declared(text)


def choose_rows(stamps: Path, where: Sequence[str], limit: int | None, seed: int) -> list[int]:
    """Rows of a stamp set that fit all conditions, at most `limit` of them, drawn at random in ascending order.

    Raises
    ------
    StampError
        As `fitting_rows`, or if the set is empty.
    """
    import numpy as np

    from lvm_training.errors import StampError
    from lvm_training.stamps.conditions import fitting_rows
    from lvm_training.stamps.stampset import StampSet

    with StampSet(stamps) as opened:
        rows = fitting_rows(opened, where)
    if not len(rows):
        raise StampError(f"{stamps.name} holds no stamps.", "Import some with `galaxyloop data import`.")
    if limit is not None and limit < len(rows):
        rows = np.sort(np.random.default_rng(seed).choice(rows, size=limit, replace=False))
    return [int(row) for row in rows]
