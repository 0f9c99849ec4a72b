"""What webhooks tell is Label Studio's word only once Label Studio itself confirms it: their secret can be read there.

Labels count at once, so that learning waits for nobody, and are corrected by the next reconciliation. Deletions cannot
be taken back, so they wait for it.
"""

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from datetime import datetime

import structlog

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


def unlisted(
    connection: Connection, campaign: Campaign, since: datetime | None, listed: Iterable[int]
) -> dict[int, int]:
    """The tasks of annotations that webhooks told of `since` then, and a listing of that time does not have."""
    rows = query(connection, "told_states", campaign=campaign.id, since=since)
    seen = set(listed)
    return {row["annotation_id"]: row["task_id"] for row in rows if row["annotation_id"] not in seen}


def refute(
    connection: Connection, campaign: Campaign, since: datetime | None, changed_at: Mapping[int, datetime]
) -> bool:
    """Take back states that webhooks told of and that are newer than Label Studio's own; whether there were any."""
    rows = query(connection, "told_states", campaign=campaign.id, since=since)
    false = [
        row["id"]
        for row in rows
        if row["annotation_id"] in changed_at and row["happened_at"] > changed_at[row["annotation_id"]]
    ]
    if false:
        query(connection, "refute_events", campaign=campaign.id, ids=false)
        log.warning("labels that Label Studio knows nothing of", campaign=campaign.name, number=len(false))
    return bool(false)
