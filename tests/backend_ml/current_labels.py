"""The labels of a campaign, as everything that reads labels sees them, and the tasks that wait for one."""

from backend_ml.labels.agreed import agreed_labels
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
