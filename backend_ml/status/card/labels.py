"""The labels behind a version, and who gave them."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from backend_ml.kinds.installed import known_kind
from backend_ml.labels.agreed import IMPORTED, agree
from backend_ml.rebuilding.freezing import Found, Named, freeze_version, numbered
from backend_ml.report.agreement import Agreement, agreement
from backend_ml.report.report import opinions
from backend_ml.store.database import Connection, query
from backend_ml.store.records import Campaign
from lvm_training.errors import GalaxyLoopError
from lvm_training.tables.frozen_labels import AUDIT, TRAINING, FrozenLabels

ANSWERS = "answers"


@dataclass(frozen=True)
class Labelled:
    """Who labelled what.

    Attributes
    ----------
    why_now : str
        Why these are the labels of now, and not those that the version learned; empty where they are its own.
    training, audit : Counter of str
        Galaxies by class, to learn from and to judge on. Of the labels of now all are in `training`.
    people : mapping of str to Counter of str
        Answers by class of each person, the busiest first; names, or "person 1". Of the labels of now all answers are
        counted together, as `ANSWERS`.
    agreement : mapping of str to Agreement
        Of people with each other about each question; "" is the only one.
    consensus : str
        How several answers are one label; empty where none are.
    """

    why_now: str
    training: Counter[str]
    audit: Counter[str] = field(default_factory=Counter)
    people: Mapping[str, Counter[str]] = field(default_factory=dict)
    agreement: Mapping[str, Agreement] = field(default_factory=dict)
    consensus: str = ""


def read_labels(connection: Connection, found: Found, named: Named | None = None) -> Labelled:
    """The labels that a version learned; those of now where nobody knows which these were, and why that is so.

    Parameters
    ----------
    named : callable, optional
        What annotators are called; by default they have numbers.
    """
    try:
        frozen = freeze_version(connection, found, named)
        why = (
            "It learned what annotations state, which are counted here by what is asked." if frozen.label_config else ""
        )
    except GalaxyLoopError as error:
        why = error.message
    return _now(connection, found, named or numbered(connection, found.campaign), why) if why else _learned(frozen)


def _learned(frozen: FrozenLabels) -> Labelled:
    stamps = {(one.stamp_set, one.stamp_id): one for one in frozen.answers}.values()
    people: dict[str, Counter[str]] = {}
    for one in frozen.answers:
        people.setdefault(one.annotator, Counter())[one.said] += 1
    votes = [
        ((one.stamp_set, one.stamp_id), one.annotator, one.said) for one in frozen.answers if one.annotator != IMPORTED
    ]
    return Labelled(
        "",
        Counter(one.label for one in stamps if one.split == TRAINING),
        Counter(one.label for one in stamps if one.split == AUDIT),
        _busiest(people),
        {"": agreement(votes)},
        frozen.consensus,
    )


def _now(connection: Connection, found: Found, named: Named, why: str) -> Labelled:
    campaign = found.campaign
    votes = query(connection, "votes", campaign=campaign.id)
    people: dict[str, Counter[str]] = {}
    for row in query(connection, "answers", campaign=campaign.id):
        if not row["skipped"]:
            who = row["annotator"] or row["person"]
            people.setdefault(IMPORTED if who is None else named(who), Counter())[ANSWERS] += 1
    asked = opinions(connection, campaign)
    own = [
        ((row["stamp_set"], row["stamp_id"]), row["annotator"] or row["person"] or IMPORTED, row["label"])
        for row in votes
        if row["given"] != "start"
    ]
    return Labelled(
        why,
        Counter(one.label for one in agree(votes, campaign.consensus)[0]),
        Counter(),
        _busiest(people),
        {name: agreement(said) for name, said in asked.items()} or {"": agreement(own)},
        campaign.consensus if _agrees(campaign) else "",
    )


def _agrees(campaign: Campaign) -> bool:
    kind = known_kind(campaign)
    return kind is not None and kind.by_consensus


def _busiest(people: Mapping[str, Counter[str]]) -> dict[str, Counter[str]]:
    return dict(sorted(people.items(), key=lambda one: (-one[1].total(), one[0])))
