"""Campaigns: how one stands, bring it up to date, export its labels, close it."""

from typing import Any

from backend_ml import events, queue, reconcile, refit, registry, security
from backend_ml.database import Connection, Database, query
from backend_ml.label_studio import LabelStudio
from backend_ml.records import Campaign, UnknownCampaignError
from backend_ml.settings import Settings
from lvm_training.errors import GalaxyLoopError
from lvm_training.snapshot import Snapshot


class CampaignError(GalaxyLoopError):
    """A campaign that cannot be made or changed as asked."""

    code = "campaign"


def find(connection: Connection, name: str) -> Campaign:
    """The campaign of that name.

    Raises
    ------
    UnknownCampaignError
        If there is none; the hint lists those there are.
    """
    known = events.campaigns(connection)
    for campaign in known:
        if campaign.name == name:
            return campaign
    names = ", ".join(repr(campaign.name) for campaign in known) or "none yet"
    raise UnknownCampaignError(f"There is no campaign {name!r}.", f"There are: {names}.")


def secure_webhook(settings: Settings, label_studio: LabelStudio, campaign: Campaign) -> None:
    """Leave exactly one webhook from the project to the backend, with the shared secret in its header."""
    secret = security.webhook_secret(settings)
    label_studio.secure_webhook(campaign.project_id, settings.backend_url, security.SECRET_HEADER, secret)


def sync(settings: Settings, database: Database, label_studio: LabelStudio, campaign: Campaign) -> dict[str, Any]:
    """Bring a campaign up to date by hand: repair the webhook, reconcile, refit, push; what came of it."""
    secure_webhook(settings, label_studio, campaign)
    changed = reconcile.reconcile(database, label_studio, campaign)
    outcome = refit.refit(database, campaign)
    pushed = queue.push(database, label_studio, campaign, top=settings.push_top)
    return {"labels_changed": changed, "refit": outcome, "predictions_pushed": pushed}


def status(connection: Connection, campaign: Campaign) -> dict[str, Any]:
    """How a campaign stands, as JSON values."""
    active = registry.active_version(connection, campaign)
    latest = {name: query(connection, name, campaign=campaign.id) for name in ("last_refit", "last_push")}
    return {
        "name": campaign.name,
        "state": campaign.state,
        "project": campaign.project_id,
        "version": active.version if active else None,
        "tasks": query(connection, "task_counts", campaign=campaign.id)[0],
        "waiting": len(queue.waiting_tasks(connection, campaign)),
        "annotations": query(connection, "annotation_counts", campaign=campaign.id)[0],
        "labels": {row["label"]: row["stamps"] for row in query(connection, "label_counts", campaign=campaign.id)},
        "last_event": query(connection, "last_event", campaign=campaign.id)[0]["id"],
        "last_refit": latest["last_refit"][0] if latest["last_refit"] else None,
        "last_push": latest["last_push"][0] if latest["last_push"] else None,
        "inbox": query(connection, "inbox_state", project=campaign.project_id)[0],
        "reconciled_at": campaign.reconciled_at,
        "notice": campaign.notice,
    }


def close(settings: Settings, database: Database, label_studio: LabelStudio, campaign: Campaign) -> None:
    """Take in the last labels, disconnect the backend, and let picture links lapse; the project itself stays."""
    reconcile.reconcile(database, label_studio, campaign)
    refit.refit(database, campaign)
    label_studio.detach(campaign.project_id, settings.backend_url)
    with database.transaction() as connection:
        query(connection, "close_campaign", campaign=campaign.id)
        query(connection, "announce", campaign=str(campaign.id))


def training_labels(connection: Connection, campaign: Campaign) -> Snapshot:
    """The labels a refit would fit on now, as a snapshot that the stage `train_morphology` reads."""
    return refit.read_labels(connection, campaign).training
