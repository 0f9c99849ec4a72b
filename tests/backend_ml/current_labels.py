"""The labels of a campaign, as everything that reads labels sees them."""

from backend_ml.labels import events
from backend_ml.labels.agreed import agreed_labels
from backend_ml.store.database import Database


def labels_of(database: Database, campaign: int) -> dict[int, str]:
    """The label of each stamp that has one, in the campaign of an id."""
    with database.transaction() as connection:
        found = events.campaign_of_id(connection, campaign)
        assert found is not None
        return {one.stamp_id: one.label for one in agreed_labels(connection, found)}
