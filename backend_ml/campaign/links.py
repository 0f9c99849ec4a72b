"""Rotates the signed links of a campaign: those that are there are worthless at once, and Label Studio gets new ones.

Which links hold stands in the campaign; what Label Studio shows follows, and a worker ends what was broken off.
"""

import structlog

from backend_ml.label_studio.client import LabelStudio
from backend_ml.label_studio.relinking import relink_tasks, relink_texts
from backend_ml.settings import Settings
from backend_ml.store.campaigns import log_change
from backend_ml.store.database import Connection, Database, query
from backend_ml.store.records import Campaign
from lvm_training.progress import Progress

log = structlog.get_logger(__name__)


def rotate(connection: Connection, campaign: Campaign, by: str) -> Campaign:
    """Let every link to a campaign's pictures and pages end that was given until now; the campaign after that."""
    (row,) = query(connection, "rotate_links", campaign=campaign.id)
    log_change(connection, campaign, by, "rotated links")
    query(connection, "announce", campaign=str(campaign.id))
    return Campaign.from_row(row)


def relink(
    settings: Settings,
    database: Database,
    label_studio: LabelStudio,
    campaign: Campaign,
    on_progress: Progress | None = None,
) -> int:
    """Give what Label Studio shows of a campaign the links that hold; how many tasks got new ones.

    Labels, predictions and whatever else a task's data say stay.

    Raises
    ------
    LabelStudioError
        If Label Studio cannot be reached or refuses.
    """
    with database.sole("try_lock_links", campaign=campaign.id):
        # whoever had the lock may have done it, and others may have rotated once more
        (row,) = database.rows("campaign_of_id", campaign=campaign.id)
        found, changed = Campaign.from_row(row), 0
        if found.relinks and found.project is not None:
            with database.sole("try_lock_connection", campaign=campaign.id):
                relink_texts(label_studio, found.project, found.links, settings)
            changed = relink_tasks(label_studio, found.project, found.links, settings, on_progress)
        database.rows("relinked", campaign=found.id, relinks=found.relinks)
    if changed:
        log.info("links are new", campaign=found.name, tasks=changed)
    return changed
