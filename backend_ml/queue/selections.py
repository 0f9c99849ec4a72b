"""The log of selections: which stamps were chosen to be shown next, by what, and how likely each was to be chosen.

A push of the queue, a slice of a pool and a round of a search all write here, so that any of them can be said in words,
compared, and corrected for by its propensities.
"""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Literal

from psycopg.rows import DictRow

from backend_ml.store.database import Connection, query, query_many
from backend_ml.store.records import Campaign

SelectionSource = Literal["push", "slice", "round"]


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What chose some stamps, and from what.

    Attributes
    ----------
    source : str
        A push of the queue, a slice of a pool that became tasks, or a round of a search.
    policy : str
        The one that chose, or what stood in for it.
    seed : int
        Drew what the policy left to chance.
    batch : int
        How many are labelled before the next judgement.
    candidates : int
        From how many it chose.
    last_event : int
        The newest label event it had seen.
    version : str or None
        The model version that ranked, where there was one.
    person : str or None
    annotator : int or None
        Who looked at a round, by the name they signed in with, and as Label Studio knows them.
    """

    source: SelectionSource
    policy: str
    seed: int
    batch: int
    candidates: int
    last_event: int
    version: str | None = None
    person: str | None = None
    annotator: int | None = None


@dataclass(frozen=True, kw_only=True)
class LoggedSelection(Selection):
    """A selection of the log; `served_at` is None until it is shown."""

    id: int
    made_at: datetime
    served_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Selected:
    """A stamp that was chosen.

    Attributes
    ----------
    task_id : int or None
        The task that shows it.
    priority : float or None
        The score that a push gave its task.
    worth : float or None
        What its label is worth to the policy; only the order means something.
    propensity : float
        How likely it was to be chosen.
    probability : float or None
        That it is what a search looks for.
    similarity : float or None
        Cosine to the nearest stamp that is wanted.
    audit : bool
        Whether it is of the audit slice, and so was drawn at random.
    """

    stamp_set: str
    stamp_id: int
    task_id: int | None = None
    priority: float | None = None
    worth: float | None = None
    propensity: float
    probability: float | None = None
    similarity: float | None = None
    audit: bool = False


def record(
    connection: Connection, campaign: Campaign, selection: Selection, stamps: Sequence[Selected], *, served: bool
) -> LoggedSelection:
    """Log a selection and its stamps, rank 0 first; `served` if it is shown from now on."""
    values = asdict(selection)
    row = query(connection, "put_selection", campaign=campaign.id, served=served, **values)[0]
    rows = [{"selection": row["id"], "rank": rank, **vars(stamp)} for rank, stamp in enumerate(stamps)]
    query_many(connection, "put_selected", rows)
    return LoggedSelection(**values, **row)


def mark_served(connection: Connection, selection_id: int) -> None:
    """Note that a selection is shown from now on."""
    query(connection, "selection_served", selection=selection_id)


def served(
    connection: Connection,
    campaign: Campaign,
    source: SelectionSource,
    *,
    person: str | None = None,
    limit: int | None = None,
) -> list[LoggedSelection]:
    """What one source chose and showed, to one person if one is named; the newest first."""
    values = {"source": source, "person": person, "limit": limit}
    return [LoggedSelection(**row) for row in query(connection, "selections", campaign=campaign.id, **values)]


def latest(
    connection: Connection, campaign: Campaign, source: SelectionSource, *, person: str | None = None
) -> LoggedSelection | None:
    """The newest of `served`, if there is one."""
    return next(iter(served(connection, campaign, source, person=person, limit=1)), None)


def count(connection: Connection, campaign: Campaign, source: SelectionSource) -> int:
    """How many selections one source has made."""
    return int(query(connection, "selection_count", campaign=campaign.id, source=source)[0]["selections"])


def stamps_of(connection: Connection, selection_id: int) -> list[Selected]:
    """The stamps of a selection, in order."""
    return [Selected(**row) for row in query(connection, "selected", selection=selection_id)]


def in_order(connection: Connection, campaign: Campaign, waiting: Collection[int]) -> list[int]:
    """Waiting tasks in the order of the newest push; in that of their ids where nothing was pushed."""
    pushed = latest(connection, campaign, "push")
    ranked = [] if pushed is None else [one.task_id for one in stamps_of(connection, pushed.id)]
    return [task for task in ranked if task in waiting and task is not None] if ranked else sorted(waiting)


def place_of(connection: Connection, campaign: Campaign, stamp_set: str, stamp_id: int) -> DictRow | None:
    """Where a stamp was shown last: in a push, or, if none held it, in a round; None if it never was."""
    stamp = {"stamp_set": stamp_set, "stamp_id": stamp_id}
    return next(iter(query(connection, "place_of_stamp", campaign=campaign.id, **stamp)), None)


def before_others(connection: Connection, search: Campaign, person: str) -> list[int]:
    """The stamps of a search that somebody other than this person has before them."""
    return [row["stamp_id"] for row in query(connection, "before_others", campaign=search.id, person=person)]


def shown_stamps(connection: Connection, search: Campaign) -> list[int]:
    """The stamps that rounds of a search showed, whoever saw them."""
    return [row["stamp_id"] for row in query(connection, "shown_stamps", campaign=search.id)]


def labelled_rounds(connection: Connection, search: Campaign, *, yes: str, no: str, unsure: str) -> list[DictRow]:
    """The rounds of a search, oldest first, with how many stamps each showed and how many now have each label."""
    return query(connection, "rounds", campaign=search.id, yes=yes, no=no, unsure=unsure)


def annotator_names(connection: Connection, campaign: Campaign) -> dict[int, str]:
    """Names of a campaign's annotators, as they last signed in to the search page."""
    return {row["annotator"]: row["person"] for row in query(connection, "annotator_names", campaign=campaign.id)}
