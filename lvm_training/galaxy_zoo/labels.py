"""Labels of stamps from votes of Galaxy Zoo: the table that imports, demos, replays and campaigns read."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lvm_training.errors import LabelError
from lvm_training.files import write_csv
from lvm_training.galaxy_zoo.classes import Scheme, classified
from lvm_training.galaxy_zoo.matching import Match, Stamps, matched
from lvm_training.galaxy_zoo.votes import Votes

SEPARATION = "zoo_separation"


@dataclass(frozen=True)
class ZooLabels:
    """Labels that were written.

    Attributes
    ----------
    out : Path
    stamps, matched, labelled : int
        All stamps, those with votes, and those with a class.
    classes : dict of str to int
        Stamps of each class.
    notes : tuple of str
        What was assumed, and how many each step leaves out.
    """

    out: Path
    stamps: int
    matched: int
    labelled: int
    classes: dict[str, int]
    notes: tuple[str, ...]


def write_labels(
    out: Path,
    stamps: Stamps,
    votes: Votes,
    scheme: Scheme,
    *,
    by: str | None = None,
    radius: float = 2.0,
    names: Path | None = None,
    column: str | None = None,
    with_votes: bool = False,
) -> ZooLabels:
    """Write the class of each stamp as CSV, a row for each; empty where it has none.

    Its columns are `file`, where the stamps have one; `stamp_set` and `stamp_id` of a stamp set, and `source_row` where
    it has no files; the classes; and the separation in arcsec, where positions were matched.

    Parameters
    ----------
    by, radius, names
        As for `matched`.
    column : str, optional
        Name of the column of classes; by default that of the scheme.
    with_votes : bool
        Whether the fractions follow, as `question_answer`.

    Raises
    ------
    LabelError
        If nothing fits, or no class can be told.
    """
    column = column or scheme.name
    classes = classified(votes, scheme)
    match = matched(stamps, votes, by=by, radius=radius, names=names)
    has = match.rows >= 0
    labels = [classes.names[row] if row >= 0 else "" for row in match.rows.tolist()]
    table = _keys(stamps)
    if column in table:
        raise LabelError(f"The classes cannot be called {column!r}.", f"Taken are {', '.join(table)}.")
    table[column] = labels
    if np.isfinite(match.separation).any():
        table[SEPARATION] = [f"{one:.3f}" if one == one else "" for one in match.separation.tolist()]
    if with_votes:
        table |= _votes(votes, match)
    write_csv(out, list(table), zip(*table.values(), strict=True))
    counts = {rule.name: labels.count(rule.name) for rule in scheme.rules}
    notes = (*votes.notes, *classes.notes, *match.notes)
    return ZooLabels(out, stamps.count, int(has.sum()), sum(map(bool, labels)), counts, notes)


def _keys(stamps: Stamps) -> dict[str, Sequence[Any]]:
    table: dict[str, Sequence[Any]] = {} if stamps.files is None else {"file": stamps.files}
    if stamps.is_set:
        table |= {"stamp_set": [stamps.name] * stamps.count, "stamp_id": range(stamps.count)}
        if stamps.files is None:
            table["source_row"] = range(stamps.count)
    return table


def _votes(votes: Votes, match: Match) -> dict[str, Sequence[Any]]:
    return {
        key: [f"{values[row]:.4f}" if row >= 0 and np.isfinite(values[row]) else "" for row in match.rows.tolist()]
        for key, values in votes.fractions.items()
    }
