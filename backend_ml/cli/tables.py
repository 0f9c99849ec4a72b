"""Options of every command that reads a table of labels, or chooses stamps by their catalogue."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from lvm_training.tables import cells

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
