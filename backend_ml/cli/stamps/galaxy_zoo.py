"""`galaxyloop data galaxy-zoo`: votes of Galaxy Zoo become labels of stamps."""

from pathlib import Path
from typing import Annotated

import typer

from backend_ml.cli.options import Json, Missing, declared_missing
from backend_ml.console import reported, show, tell


def galaxy_zoo(
    votes: Annotated[Path, typer.Argument(help="A vote table: Galaxy Zoo 2, GZ DECaLS, GZ DESI or Kaggle's.")],
    stamps: Annotated[Path, typer.Option(help="A stamp set, or a folder of images whose names are those of galaxies.")],
    out: Annotated[Path, typer.Option(help="The table of labels to write (CSV).")],
    classes: Annotated[str, typer.Option(help="Published cuts: morphology5, galaxy-mnist or leaves7.")] = "morphology5",
    cut: Annotated[
        list[str] | None, typer.Option(help="Another cut: ANSWER=FRACTION, or CLASS:ANSWER=FRACTION to add one.")
    ] = None,
    least_votes: Annotated[int | None, typer.Option(help="People who must have answered each question.", min=0)] = None,
    fractions: Annotated[
        str | None, typer.Option(help="debiased, weighted, fraction or count; else the first.")
    ] = None,
    by: Annotated[str | None, typer.Option(help="name or position; else by name where one fits.")] = None,
    radius: Annotated[float, typer.Option(help="Largest separation, arcsec.")] = 2.0,
    identifier: Annotated[
        str | None, typer.Option("--id", help="The column of names in VOTES, if it has another.")
    ] = None,
    names: Annotated[
        Path | None, typer.Option(help="Table that has the names of stamps and of votes side by side.")
    ] = None,
    column: Annotated[
        str | None, typer.Option(help="Name of the column of classes; default: that of the cuts.")
    ] = None,
    with_votes: Annotated[bool, typer.Option("--with-votes", help="Write the fractions as well.")] = False,
    missing: Missing = None,
    as_json: Json = False,
) -> None:
    """Labels of stamps from votes of Galaxy Zoo: classes by published cuts, matched by name or by position."""
    from lvm_training.files import refuse_others
    from lvm_training.galaxy_zoo.classes import find_scheme
    from lvm_training.galaxy_zoo.labels import write_labels
    from lvm_training.galaxy_zoo.matching import Stamps
    from lvm_training.galaxy_zoo.votes import read_votes

    with reported():
        refuse_others(out)
        scheme = find_scheme(classes).changed(cut or [], least_votes)
        known = Stamps.of(stamps)
        also = () if identifier is None else (identifier,)
        asked = scheme.least_votes > 0
        read = read_votes(votes, missing=declared_missing(missing), statistic=fractions, also=also, asked=asked)
        made = write_labels(
            out, known, read, scheme, by=by, radius=radius, names=names, column=column, with_votes=with_votes
        )
    if not as_json:
        tell(made.notes)
    record = {"labels": str(made.out), "stamps": made.stamps, "matched": made.matched, "labelled": made.labelled}
    shown = {"classes": made.classes, "notes": list(made.notes)} if as_json else made.classes
    show(record | shown, as_json=as_json)
