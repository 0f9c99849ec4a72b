"""What webhooks tell is Label Studio's word only once Label Studio itself confirms it: their secret can be read there.

Labels count at once, so that learning waits for nobody, and are corrected by the next reconciliation. Deletions wait
for it.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime

import structlog
from psycopg.rows import DictRow

from backend_ml.labels import events
from backend_ml.store.database import Connection, query
from backend_ml.store.records import Campaign

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Deletions:
    """What is said to be gone.

    Attributes
    ----------
    annotations : mapping
        The task of each annotation.
    tasks : set
        Ids.
    """

    annotations: Mapping[int, int]
    tasks: Set[int]

    def confirmed(self, annotations: Set[int], tasks: Set[int]) -> "Deletions":
        """Those that are not among what there is."""
        gone = {number: task for number, task in self.annotations.items() if number not in annotations}
        return Deletions(gone, self.tasks - tasks)


def told(connection: Connection, campaign: Campaign) -> Deletions:
    """What a campaign was told to be deleted and is to be confirmed; annotations that it never knew wait."""
    rows = query(connection, "told_deleted", campaign=campaign.id)
    annotations = {row["id"]: row["task"] for row in rows if row["what"] == "annotation" and row["task"] is not None}
    return Deletions(annotations, {row["id"] for row in rows if row["what"] == "task"})


def settle(connection: Connection, campaign: Campaign, gone: Deletions, asked: datetime) -> bool:
    """Let deletions count that Label Studio confirmed when it was `asked`; whether any label changed.

    What it did not is told again or forgotten two minutes after it was told: a deletion may not have been committed
    when it was asked about, and reconciliation finds annotations that are gone by itself.
    """
    tasks = query(connection, "delete_tasks", campaign=campaign.id, tasks=sorted(gone.tasks))
    removed = events.record_deletions(connection, campaign, sorted(gone.annotations), "webhook")
    lists = {"annotations": sorted(gone.annotations), "tasks": sorted(gone.tasks)}
    settled = query(connection, "settle_told_deleted", campaign=campaign.id, asked=asked, **lists)
    false = [row for row in settled if row["id"] not in lists[f"{row['what']}s"]]
    if false:
        log.warning("deletions that Label Studio knows nothing of", campaign=campaign.name, number=len(false))
    return removed or bool(tasks)


@dataclass(frozen=True)
class Told:
    """What was known before Label Studio was asked: what comes while it answers is not held against its answer.

    Attributes
    ----------
    states : sequence of rows
        States of annotations that webhooks told of, as the query `told_states`.
    last_event : int
        The newest event.
    """

    states: Sequence[DictRow]
    last_event: int

    @classmethod
    def read(cls, connection: Connection, campaign: Campaign, since: datetime | None) -> "Told":
        """What webhooks told since a time."""
        states = query(connection, "told_states", campaign=campaign.id, since=since)
        return cls(states, query(connection, "last_event", campaign=campaign.id)[0]["id"])

    def unlisted(self, listed: Iterable[int]) -> set[int]:
        """The tasks of annotations that a listing of that time does not have."""
        seen = set(listed)
        return {row["task_id"] for row in self.states if row["annotation_id"] not in seen}


def restore(connection: Connection, campaign: Campaign, said: Told, listed: Collection[int]) -> bool:
    """Take back deletions of annotations that Label Studio lists; whether there were any.

    Somebody told of one before it was made, it has the number of one that is gone, or a listing lacked it.
    """
    rows = query(connection, "deletions_of", campaign=campaign.id, annotations=list(listed), last=said.last_event)
    if rows:
        query(connection, "refute_events", campaign=campaign.id, ids=[row["id"] for row in rows])
        log.warning("annotations that are there again", campaign=campaign.name, number=len(rows))
    return bool(rows)


def refute(connection: Connection, campaign: Campaign, said: Told, changed_at: Mapping[int, datetime]) -> bool:
    """Take back states that webhooks told of and that are newer than Label Studio's own; whether there were any."""
    false = [
        row["id"]
        for row in said.states
        if row["annotation_id"] in changed_at and row["happened_at"] > changed_at[row["annotation_id"]]
    ]
    if false:
        query(connection, "refute_events", campaign=campaign.id, ids=false)
        log.warning("labels that Label Studio knows nothing of", campaign=campaign.name, number=len(false))
    return bool(false)
