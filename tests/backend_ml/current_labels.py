"""The labels of a campaign, as everything that reads labels sees them, and the tasks that wait for one."""

from typing import Any

from backend_ml.kinds.installed import kind_of
from backend_ml.kinds.kind import Labels
from backend_ml.labels.agreed import agreed_labels, snapshot
from backend_ml.queue import push
from backend_ml.store.campaigns import campaign_of_id
from backend_ml.store.database import Database
from backend_ml.store.records import Campaign


def labels_of(database: Database, campaign: int) -> dict[int, str]:
    """The label of each stamp that has one, in the campaign of an id."""
    with database.transaction() as connection:
        found = campaign_of_id(connection, campaign)
        assert found is not None
        return {one.stamp_id: one.label for one in agreed_labels(connection, found)}


def waiting(database: Database, campaign: Campaign) -> set[int]:
    """The tasks that wait for a label."""
    with database.transaction() as connection:
        return {task.task_id for task in push.waiting_tasks(connection, campaign)}


def snapshot_of(database: Database, campaign: Campaign, *, audit: bool) -> dict[int, str]:
    """The labels a campaign learns from, or of its audit slice, by stamp."""
    with database.transaction() as connection:
        found = snapshot(agreed_labels(connection, campaign), campaign.classes, audit=audit)
    return dict(zip(found.stamp_id, found.label, strict=True))


def training(database: Database, campaign: Campaign) -> dict[int, str]:
    """The labels a campaign learns from, by stamp."""
    return snapshot_of(database, campaign, audit=False)


def read_labels(database: Database, campaign: Campaign) -> Labels[Any]:
    """The labels of a campaign as its kind reads them."""
    with database.transaction() as connection:
        return kind_of(campaign).read(connection, campaign)
