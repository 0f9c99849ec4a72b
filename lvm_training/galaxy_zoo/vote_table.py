"""Votes by stamp: a table that is written as those of Galaxy Zoo are, and votes of such a table as counts."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lvm_training.errors import LabelError
from lvm_training.galaxy_zoo.matching import Stamps, matched
from lvm_training.galaxy_zoo.vote_tree import VoteTree
from lvm_training.galaxy_zoo.votes import Votes, read_votes
from lvm_training.tables.cells import Missing

Floats = NDArray[np.float64]

WHOLE = 0.05  # that a fraction times the number of votes may be off a whole number: tables round fractions


@dataclass(frozen=True, eq=False)
class VoteTable:
    """How many people gave each answer, by stamp.

    Attributes
    ----------
    tree : VoteTree
    stamps : sequence of (str, int)
        Name of a stamp set, and a row of it; each once.
    counts : ndarray (N, A)
    notes : tuple of str
        What was assumed when it was read; for people.
    """

    tree: VoteTree
    stamps: Sequence[tuple[str, int]]
    counts: Floats
    notes: tuple[str, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.stamps)

    @property
    def first(self) -> list[str]:
        """What most people answered to the first question; of equals the first of the tree."""
        columns = self.tree.slices[0]
        return [self.tree.root.answers[place] for place in self.counts[:, columns].argmax(axis=1).tolist()]

    @property
    def columns(self) -> tuple[str, ...]:
        """What `rows` has: of each question `question_total-votes`, and of each answer its count and `_fraction`."""
        return tuple(
            name
            for question in self.tree.questions
            for name in (
                f"{question.name}_total-votes",
                *(name for key in question.keys for name in (key, f"{key}_fraction")),
            )
        )

    def rows(self) -> list[list[Any]]:
        """The cells of `columns` of each stamp; a fraction of no votes is empty."""
        asked, fractions = self.tree.asked(self.counts), self.tree.fractions(self.counts)
        found = []
        for row in range(len(self)):
            cells = list[Any]()
            for place, columns in enumerate(self.tree.slices):
                cells.append(int(asked[row, place]))
                for count, share in zip(self.counts[row, columns], fractions[row, columns], strict=True):
                    cells += [int(count), "" if np.isnan(share) else round(float(share), 6)]
            found.append(cells)
        return found


def read_vote_table(
    path: Path,
    stamps: Path,
    tree: VoteTree,
    *,
    missing: Missing | None = None,
    by: str | None = None,
    radius: float = 2.0,
) -> VoteTable:
    """The votes of a table of Galaxy Zoo on the stamps of a set.

    Parameters
    ----------
    path : Path
        As `read_votes`; it must say how many people were asked.
    stamps : Path
        The stamp set; matched by name or position, as `matched`.
    tree : VoteTree
        Whose questions count; those that the table does not have stay without votes.

    Raises
    ------
    LabelError
        If the table cannot be read or matched, does not say how many people answered, or has answers of another version
        of the tree.
    VoteError
        If its votes are not whole, negative, or more than people who were asked.
    """
    votes = read_votes(path, missing=missing, asked=True)
    questions = {question.name: question for question in tree.questions}
    foreign = [
        key
        for question in votes.questions
        for key in question.keys
        if key in votes.fractions and question.name in questions and key not in tree.keys
    ]
    if foreign or not {one.name for one in votes.questions} & questions.keys():
        raise LabelError(
            f"{path.name} has votes of another tree, {votes.tree}: {', '.join(foreign[:4] or ['no question'])} of it is"
            " none of the campaign's.",
            f"Its answers are {', '.join(tree.keys[:6])}, ...; take a table of the same version of the tree.",
        )
    match = matched(Stamps.of(stamps), votes, by=by, radius=radius)
    found = np.flatnonzero(match.rows >= 0)
    counts = _counted(path, votes, tree, missing)[match.rows[found]]
    tree.check(counts)
    asked = counts.any(axis=1)
    beside = [one.name for one in votes.questions if one.name not in questions]
    left_out = (f"questions that the campaign does not ask are left out: {', '.join(beside)}",) if beside else ()
    kept = [(stamps.stem, int(row)) for row in found[asked]]
    return VoteTable(tree, kept, counts[asked], (*votes.notes, *match.notes, *left_out))


def _counted(path: Path, votes: Votes, tree: VoteTree, missing: Missing | None) -> Floats:
    """Counts (N, A) of each row of a table: as it says them, or of the fractions as voted and how many were asked."""
    counts = np.zeros((len(votes), len(tree.keys)))
    asked = [one for one in tree.questions if one.name in {other.name for other in votes.questions}]
    rest = [one for one in asked if one.keys[0] not in votes.counts]
    unknown = [one.name for one in rest if one.name not in votes.asked]
    if unknown:
        raise LabelError(
            f"{path.name} does not say how many people answered {', '.join(unknown)}.",
            f"Add the counts, or a column {unknown[0]}_total-votes.",
        )
    voted = read_votes(path, missing=missing, statistic="fraction", asked=True) if rest else votes
    for question in asked:
        for key in question.keys:
            if question not in rest:
                found = votes.counts[key]
            elif (share := voted.fraction(key)) is not None:
                found = _whole(share * votes.asked[question.name])
            else:
                raise LabelError(f"{path.name} has no fraction of {key}.", "Add it, or leave its question out.")
            counts[:, tree.keys.index(key)] = np.nan_to_num(found)
    return counts


def _whole(counts: Floats) -> Floats:
    """Fractions of votes as whole numbers, where rounding alone is between."""
    whole = np.round(counts)
    return np.where(np.abs(counts - whole) <= WHOLE, whole, counts)
