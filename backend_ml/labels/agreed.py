"""The labels of a campaign as its annotators agree on them, and how far each annotator can be relied on."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, Self

import numpy as np

from backend_ml.labels.consensus import agreement, coded, dawid_skene, majority
from backend_ml.store.database import Connection, query
from backend_ml.store.records import Campaign
from lvm_training.tables.frozen_labels import stated_digest
from lvm_training.tables.snapshot import Snapshot

IMPORTED = "starting labels"  # what stands for an annotator of labels that nobody gave here
NOBODY = "somebody"  # and of those whose annotator Label Studio does not name


@dataclass(frozen=True)
class AgreedLabel:
    """The label of a stamp.

    Attributes
    ----------
    votes : int
        How many gave it.
    latest : datetime
        When the last of them did.
    blind : bool
        Whether a task of the audit slice shows the stamp, or did before it was deleted: nothing learns from it.
    audited : bool
        Whether such a task is still there.
    """

    stamp_set: str
    stamp_id: int
    label: str
    votes: int
    latest: datetime
    blind: bool
    audited: bool


@dataclass(frozen=True)
class Counted:
    """Which label events counted at some moment, by their numbers: what made labels of the same moment.

    Attributes
    ----------
    given : tuple of int
        All of them, ascending.
    blind : tuple of int
        Those on stamps of the audit slice, which nothing learns from.
    answers : sequence or None
        What `stated_digest` takes of their annotations, where what these state is learned and no class that people
        agree on.
    """

    given: tuple[int, ...]
    blind: tuple[int, ...]
    answers: Sequence[tuple[str, int, str, bool]] | None = field(default=None, repr=False, compare=False)

    @cached_property
    def stated(self) -> str:
        """SHA-256 of what their annotations state; "" where that is not learned. Of 10,000 masks it takes a second."""
        return "" if self.answers is None else stated_digest(self.answers)

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, Any]], blind: str = "blind", *, results: bool = False) -> Self:
        """Of rows with an `id` each, and whether it is blind; with `results` also what their annotations state."""
        said = [(row["stamp_set"], row["stamp_id"], row["result"] or "", bool(row[blind])) for row in rows if results]
        return cls(
            tuple(sorted(row["id"] for row in rows)),
            tuple(sorted(row["id"] for row in rows if row[blind])),
            said if results else None,
        )


@dataclass(frozen=True)
class Annotator:
    """One annotator's labels.

    Attributes
    ----------
    annotator : int or str
        The user's id in Label Studio, or the name of somebody it does not know.
    labels : int
    reliability : float or None
        Under `dawid-skene` the probability to be right; otherwise the share of labels, on stamps with several, that
        the consensus agrees with. None if there is nothing to compare with.
    """

    annotator: int | str
    labels: int
    reliability: float | None


def agreed_labels(connection: Connection, campaign: Campaign) -> list[AgreedLabel]:
    """One label a stamp, by set and row, by the campaign's consensus."""
    return labels_and_annotators(connection, campaign)[0]


def snapshot(labels: Sequence[AgreedLabel], classes: Sequence[str], *, audit: bool) -> Snapshot:
    """Labels of these classes: those to judge on, of the audit slice, or those to learn from."""
    kept = [one for one in labels if one.label in classes and (one.audited if audit else not one.blind)]
    return Snapshot([one.stamp_set for one in kept], [one.stamp_id for one in kept], [one.label for one in kept])


def labels_and_annotators(connection: Connection, campaign: Campaign) -> tuple[list[AgreedLabel], list[Annotator]]:
    """As `agreed_labels`, and everybody who labelled, by id: of the same votes."""
    # all from one query: between two of them somebody may label
    return agree(query(connection, "votes", campaign=campaign.id), campaign.consensus)


def annotators(connection: Connection, campaign: Campaign) -> list[Annotator]:
    """Everybody who labelled; where nobody chooses, everybody who answered, without a reliability."""
    if voters := labels_and_annotators(connection, campaign)[1]:
        return voters
    rows = query(connection, "answers", campaign=campaign.id)
    given = Counter(row["annotator"] or row["person"] or NOBODY for row in rows if not row["skipped"])
    return [Annotator(who, labels, None) for who, labels in given.items()]


def agree(votes: Sequence[dict[str, Any]], consensus: str) -> tuple[list[AgreedLabel], list[Annotator]]:
    """As `labels_and_annotators`, from rows of the query `votes`."""
    if not votes:
        return [], []
    people, who = coded([row["annotator"] or row["person"] or IMPORTED for row in votes])
    names, labels = coded([row["label"] for row in votes])
    of_stamp: dict[tuple[str, int], list[int]] = {}
    for place, row in enumerate(votes):
        of_stamp.setdefault((row["stamp_set"], row["stamp_id"]), []).append(place)
    stamps = np.empty(len(votes), dtype=np.int64)
    for number, places in enumerate(of_stamp.values()):
        stamps[places] = number
    if consensus == "dawid-skene":
        found = dawid_skene(stamps, who, labels, (len(of_stamp), len(people), len(names)))
        given = np.zeros(found.posterior.shape, dtype=bool)
        given[stamps, labels] = True
        # a label that nobody gave is none, however common it is
        chosen = np.where(given, found.posterior, -1.0).argmax(axis=1)
        reliability = found.reliability
    else:
        chosen = np.array([names.index(_majority([votes[i] for i in places])) for places in of_stamp.values()])
        reliability = agreement(stamps, who, labels, chosen, len(people))
    agreed = [
        _agreed([votes[i] for i in places], str(names[chosen[number]]))
        for number, places in enumerate(of_stamp.values())
    ]
    counts = np.bincount(who, minlength=len(people))
    return agreed, [
        Annotator(name, int(count), float(value) if np.isfinite(value) else None)  # type: ignore[arg-type]
        for name, count, value in zip(people, counts, reliability, strict=True)
    ]


def _majority(votes: Sequence[dict[str, Any]]) -> str:
    """The most frequent label, of equals the latest one, of those the first by name."""
    by_name = sorted(votes, key=lambda row: str(row["label"]), reverse=True)
    return majority([row["label"] for row in sorted(by_name, key=lambda row: row["happened_at"])])


def _agreed(votes: Sequence[dict[str, Any]], label: str) -> AgreedLabel:
    """The label of one stamp from its votes."""
    times = [row["happened_at"] for row in votes if row["label"] == label]
    names = ("stamp_set", "stamp_id", "blind", "audited")
    return AgreedLabel(**{name: votes[0][name] for name in names}, label=label, votes=len(times), latest=max(times))
