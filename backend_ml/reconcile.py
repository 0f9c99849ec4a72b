"""What webhooks missed: Label Studio delivers each at most once, so the annotations themselves are read too."""

from datetime import UTC, datetime, timedelta

import structlog

from backend_ml import events
from backend_ml.database import Database, query
from backend_ml.label_studio import LabelStudio
from backend_ml.records import Campaign

log = structlog.get_logger(__name__)

OVERLAP = timedelta(minutes=2)  # clocks of the two hosts may differ


def reconcile(database: Database, label_studio: LabelStudio, campaign: Campaign) -> bool:
    """Append the label events that Label Studio knows and the campaign does not; whether there were any.

    Must not overlap with `events.ingest` (the jobs share a lock): an annotation known before the listing and absent
    from it is taken as deleted.
    """
    started = datetime.now(UTC)
    since = campaign.reconciled_at - OVERLAP if campaign.reconciled_at else None
    with database.transaction() as connection:
        known = events.known_annotations(connection, campaign)
    project = label_studio.project(campaign.project_id)
    changed = list(label_studio.annotations_since(campaign.project_id, since))
    # reading every id costs milliseconds a task, the count of them one request
    complete = project.annotations == len(set(known) | {annotation.id for annotation in changed})
    existing = set(known) if complete else label_studio.annotation_ids(campaign.project_id)
    with database.transaction() as connection:
        events.check_label_config(connection, campaign, project.label_config)
        added = [events.record(connection, campaign, annotation, "reconcile") for annotation in changed]
        removed = events.record_deletions(connection, campaign, set(known) - existing, "reconcile")
        query(connection, "reconciled", campaign=campaign.id, at=started)
    if any(added) or removed:
        log.info("webhooks missed", campaign=campaign.name, added=sum(added), removed=removed)
    return any(added) or removed
