"""Single galaxies that a leader looks at: those that come next, and those that people dispute."""

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

from backend_ml.acquisition.policy import POLICIES
from backend_ml.labels.agreed import IMPORTED
from backend_ml.queue import selections
from backend_ml.report.report import Named, Report
from backend_ml.store.database import Connection, query

NEXT, DISPUTED = 12, 24


@dataclass(frozen=True)
class NextTask:
    """A task that waits, and why it comes when it does, in a word or two."""

    task_id: int
    stamp_set: str
    stamp_id: int
    why: str


@dataclass(frozen=True)
class Dispute:
    """A galaxy about which people disagree.

    Attributes
    ----------
    task_id : int or None
        None where no task shows it.
    said : list of (str, list of str)
        Each label with who gave it, the most frequent first.
    tied : bool
        Whether no label is ahead.
    """

    task_id: int | None
    stamp_set: str
    stamp_id: int
    said: list[tuple[str, list[str]]]
    tied: bool


def next_tasks(connection: Connection, report: Report) -> list[NextTask]:
    """The first waiting tasks in the order of the newest push; in that of their ids where nothing was pushed."""
    waiting = {row["task_id"]: row for row in report.standing.waiting}
    pushed = selections.latest(connection, report.campaign, "push")
    order = selections.in_order(connection, report.campaign, waiting)
    policy = "not ranked yet" if pushed is None else _short(pushed.policy)
    return [_next(waiting[task], policy) for task in order[:NEXT]]


def _next(row: dict[str, Any], policy: str) -> NextTask:
    why = "blind sample" if row["audit"] else "disputed" if row["disagreement"] > 0 else policy
    return NextTask(row["task_id"], row["stamp_set"], row["stamp_id"], why)


def _short(policy: str) -> str:
    known = POLICIES.get(policy)
    return (known.title.lower() if known and known.title else policy).removesuffix(" first")


def disputes(connection: Connection, report: Report, named: Named) -> tuple[list[Dispute], int]:
    """The galaxies that people label differently, ties and the most even votes first; and how many there are."""
    given: dict[tuple[str, int], dict[int | str, str]] = {}
    for row in report.standing.votes:
        if row["given"] != "start":
            who = row["annotator"] or row["person"] or IMPORTED
            given.setdefault((row["stamp_set"], row["stamp_id"]), {})[who] = row["label"]
    disputed = {stamp: labels for stamp, labels in given.items() if len(set(labels.values())) > 1}
    order = sorted(disputed, key=lambda stamp: (not _tied(disputed[stamp]), -_entropy(disputed[stamp]), stamp))
    first = order[:DISPUTED]
    asked = {"stamp_sets": [name for name, _ in first], "stamp_ids": [row for _, row in first]}
    shown = query(connection, "tasks_of_stamps", campaign=report.campaign.id, **asked)
    tasks = {(row["stamp_set"], row["stamp_id"]): row["task_id"] for row in shown}
    return [_dispute(tasks.get(stamp), stamp, disputed[stamp], named) for stamp in first], len(disputed)


def _dispute(task: int | None, stamp: tuple[str, int], labels: dict[int | str, str], named: Named) -> Dispute:
    said = [
        (label, sorted(named(who) for who, theirs in labels.items() if theirs == label))
        for label, _ in sorted(Counter(labels.values()).items(), key=lambda item: (-item[1], item[0]))
    ]
    return Dispute(task, *stamp, said, _tied(labels))


def _tied(labels: dict[int | str, str]) -> bool:
    first, second = (n for _, n in Counter(labels.values()).most_common(2))
    return first == second


def _entropy(labels: dict[int | str, str]) -> float:
    counts = Counter(labels.values())
    return -sum(n / counts.total() * math.log(n / counts.total()) for n in counts.values())
