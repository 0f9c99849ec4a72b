"""What the database knows of each galaxy of a campaign: who labelled it as what, and how it came to be shown."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from backend_ml.kinds.installed import config_of, kind_of
from backend_ml.kinds.models import Stamp
from backend_ml.label_studio.regions.choices import CONTROLS, LabelConfigError, find_choices
from backend_ml.labels.agreed import IMPORTED, agree
from backend_ml.queue import refill, selections
from backend_ml.store.database import Connection, query
from backend_ml.store.records import Campaign, ModelVersion
from lvm_training.tables.snapshot import Snapshot

BLOCK = 8192  # rows of a catalogue made at a time
Rows = NDArray[np.int64]


@dataclass(slots=True)
class Known:
    """What is known of one galaxy.

    Attributes
    ----------
    label : str
        What its annotators agree on; "" where nobody labelled it.
    votes : Counter of str
        Labels that count, by class.
    people : frozenset of (int or str)
        Who gave them.
    latest : str
        When the last of those for the label was given, ISO 8601.
    annotations, skipped, aside : int
        Annotations in Label Studio, those skipped, and those that cannot be read.
    annotated : bool
        Whether one of them was given in Label Studio: starting labels and those of rounds are not.
    task, deleted, audit : bool
        Whether a task shows or showed it, all such tasks are deleted, or one of the audit slice is there.
    policy, source : str
        What chose it to be shown, and where: push, slice or round; "" where nothing did.
    propensity : float
        How likely it was to be chosen then.
    """

    label: str = ""
    votes: Counter[str] = field(default_factory=Counter)
    people: frozenset[int | str] = frozenset()
    latest: str = ""
    annotations: int = 0
    skipped: int = 0
    aside: int = 0
    annotated: bool = False
    task: bool = False
    deleted: bool = False
    audit: bool = False
    policy: str = ""
    source: str = ""
    propensity: float = float("nan")

    @property
    def agreement(self) -> float:
        """Share of the votes that is for the label; NaN without one."""
        total = self.votes.total()
        return self.votes[self.label] / total if total else float("nan")


NOTHING = Known()


@dataclass(frozen=True)
class Galaxies:
    """The galaxies of a campaign, all read at one moment.

    Attributes
    ----------
    campaign : Campaign
    version : ModelVersion or None
        The one that answers; None where nothing was learned, or nobody asks it.
    known : dict
        What is known of a stamp, where anything is.
    pool : ndarray of int
        Rows of the campaign's own stamp set that may be labelled, ascending.
    classes : tuple of str
        The campaign's.
    answers : tuple of str
        All that people can answer or did: classes, choices aside, and `foreign`.
    foreign : tuple of str
        Labels that people gave and the campaign does not offer: classes of another label config.
    training : Snapshot
        The labels that a head is fitted on.
    examples : tuple of str
        Pictures that a search began with.
    last_event : int
    """

    campaign: Campaign
    version: ModelVersion | None
    known: dict[Stamp, Known]
    pool: Rows
    classes: tuple[str, ...]
    answers: tuple[str, ...]
    foreign: tuple[str, ...]
    training: Snapshot
    examples: tuple[str, ...]
    last_event: int

    @property
    def rows(self) -> dict[str, Rows]:
        """Rows of each stamp set, ascending: the campaign's own first, its pool and what people labelled beside it."""
        own = self.campaign.stamp_set
        others: dict[str, list[int]] = {own: []}
        for name, row in self.known:
            others.setdefault(name, []).append(row)
        found = {name: np.unique(np.array(rows, dtype=np.int64)) for name, rows in sorted(others.items())}
        return {own: np.union1d(self.pool, found.pop(own))} | found

    @property
    def labelled(self) -> int:
        """Galaxies that people labelled; where nobody chooses, those with an annotation that can be read."""
        return sum(bool(one.label) if self.answers else one.annotations > one.aside for one in self.known.values())

    def __len__(self) -> int:
        return sum(map(len, self.rows.values()))

    def blocks(self) -> Iterator[tuple[str, Rows]]:
        """All rows in order, some thousands at a time, of one stamp set each."""
        for name, rows in self.rows.items():
            for start in range(0, len(rows), BLOCK):
                yield name, rows[start : start + BLOCK]

    def of(self, name: str, rows: Rows) -> list[Known]:
        """What is known of some rows of a stamp set."""
        return [self.known.get((name, row), NOTHING) for row in rows.tolist()]

    def in_pool(self, name: str, rows: Rows) -> NDArray[np.bool_]:
        """Which rows of a stamp set are of the pool."""
        return np.isin(rows, self.pool) if name == self.campaign.stamp_set else np.zeros(len(rows), dtype=bool)


def read_galaxies(
    connection: Connection, campaign: Campaign, *, total: int = 0, version: ModelVersion | None = None
) -> Galaxies:
    """All that the database knows of a campaign's galaxies.

    Parameters
    ----------
    total : int
        Stamps of its set: a search looks through all of them.
    version : ModelVersion, optional
        What answers.
    """
    known: dict[Stamp, Known] = {}

    def of(row: dict[str, object]) -> Known:
        return known.setdefault((str(row["stamp_set"]), int(str(row["stamp_id"]))), Known())

    for row in query(connection, "catalogue_tasks", campaign=campaign.id):
        one = of(row)
        one.task, one.deleted, one.audit = True, row["deleted"], row["audit"]
    votes = query(connection, "votes", campaign=campaign.id)
    for row in votes:
        one = of(row)
        one.votes[row["label"]] += 1
        one.annotated |= row["given"] == "annotation"
        one.people |= {row["annotator"] or row["person"] or IMPORTED}
    for agreed in agree(votes, campaign.consensus)[0]:
        one = known[agreed.stamp_set, agreed.stamp_id]
        one.label, one.latest = agreed.label, agreed.latest.isoformat(timespec="seconds")
    for row in query(connection, "catalogue_annotations", campaign=campaign.id):
        one = of(row)
        one.annotations, one.skipped, one.aside = row["labelled"], row["skipped"], row["aside"]
    for row in query(connection, "catalogue_selected", campaign=campaign.id):
        one = of(row)
        one.policy, one.source, one.propensity = row["policy"], row["source"], row["propensity"]
    offered = _offered(campaign)
    foreign = tuple(sorted({label for one in known.values() for label in one.votes} - set(offered)))
    return Galaxies(
        campaign,
        version,
        known,
        _pool(connection, campaign, known, total),
        campaign.classes,
        offered + foreign,
        foreign,
        kind_of(campaign).compared(connection, campaign),
        tuple(row["name"] for row in query(connection, "examples", campaign=campaign.id)),
        query(connection, "last_event", campaign=campaign.id)[0]["id"],
    )


def _pool(connection: Connection, campaign: Campaign, known: dict[Stamp, Known], total: int) -> Rows:
    """Rows that may be labelled: of the pool or the tasks, but for deleted tasks; those of a search are all.

    Those of a search with an audit slice are its tasks, since the slice is a sample of these alone.
    """
    searching = campaign.project is None or selections.count(connection, campaign, "round") > 0
    pool = refill.find_pool(connection, campaign)
    own = [(row, one) for (name, row), one in known.items() if name == campaign.stamp_set]
    if pool is not None:
        rows = pool.rows
    elif searching and not any(one.audit for _, one in own):
        rows = np.arange(total)
    else:
        rows = np.array(sorted(row for row, one in own if one.task), dtype=np.int64)
    return np.setdiff1d(rows, [row for row, one in own if one.deleted])


def _offered(campaign: Campaign) -> tuple[str, ...]:
    """What people choose from; in a campaign of objects grades, its classes being what is drawn."""
    kind = kind_of(campaign)
    try:
        choices = find_choices(config_of(campaign), CONTROLS.get(kind.name, ""), campaign.classes).choices
    except LabelConfigError:
        return ()  # numbers and ratings are no votes
    # an adopted campaign keeps the label config of that day, and its classes may have grown since
    grown = campaign.label_config and set(choices) & set(campaign.classes)
    return tuple(dict.fromkeys((*choices, *(campaign.classes if grown else ()))))
