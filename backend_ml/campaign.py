"""Campaigns: how one stands, bring it up to date, export its labels, close it."""

from collections import Counter
from dataclasses import asdict
from typing import Any

from backend_ml import agreed_labels, events, jobs, queue, reconcile, refill, registry, security
from backend_ml.database import Connection, Database, query
from backend_ml.kinds.installed import kind_of
from backend_ml.kinds.kind import Coco, blamed
from backend_ml.label_studio import LabelStudio
from backend_ml.learning.learn import learn, stores_of
from backend_ml.records import Campaign, CampaignError, UnknownCampaignError
from backend_ml.settings import Settings
from lvm_training.snapshot import Snapshot


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
    """Bring a campaign up to date by hand: repair the webhook, reconcile, learn, push; what came of it.

    What was set aside is tried again. What takes seconds is learned here; what takes minutes waits for a worker.
    """
    secure_webhook(settings, label_studio, campaign)
    with database.transaction() as connection:
        query(connection, "retry_inbox", project=campaign.project_id)
        ingested = campaign.id in jobs.ingest_inbox(connection, settings)
    changed = reconcile.reconcile(database, label_studio, campaign, again=True) or ingested
    outcome = _learn(settings, database, campaign)
    store = settings.store_folder
    imported = refill.refill(settings, database, label_studio, campaign)
    pushed = queue.push(database, label_studio, campaign, store=store, top=settings.push_top)
    return {"labels_changed": changed, "learned": outcome, "tasks_imported": imported, "predictions_pushed": pushed}


def _learn(settings: Settings, database: Database, campaign: Campaign) -> str:
    if not kind_of(campaign).slow:
        return learn(database, stores_of(database, campaign, settings.store_folder))
    with database.transaction() as connection:
        jobs.defer_learning(connection, campaign, asked=True)
    return "waits for a worker"


def status(connection: Connection, campaign: Campaign) -> dict[str, Any]:
    """How a campaign stands, as JSON values."""
    active = registry.active_version(connection, campaign)
    names = ("last_run", "last_push", "present_run")
    agreed, people = agreed_labels.labels_and_annotators(connection, campaign)
    labels = Counter(one.label for one in agreed)
    latest = {name: next(iter(query(connection, name, campaign=campaign.id)), None) for name in names}
    pool = refill.find_pool(connection, campaign)
    return {
        "name": campaign.name,
        "state": campaign.state,
        "project": campaign.project,
        "version": active.version if active else None,
        "policy": campaign.policy,
        "overlap": campaign.overlap,
        "consensus": campaign.consensus,
        "tasks": query(connection, "task_counts", campaign=campaign.id)[0],
        "pool": None if pool is None else {"stamps": len(pool.rows), "exhausted": pool.exhausted},
        "waiting": len(queue.waiting_tasks(connection, campaign)),
        "annotations": query(connection, "annotation_counts", campaign=campaign.id)[0],
        "labels": dict(sorted(labels.items())),
        "annotators": [asdict(one) for one in people],
        "last_event": query(connection, "last_event", campaign=campaign.id)[0]["id"],
        **latest,
        "inbox": query(connection, "inbox_state", project=campaign.project)[0],
        "reconciled_at": campaign.reconciled_at,
        "set_aside": query(connection, "all_set_aside", campaign=campaign.id, project=campaign.project),
        "notices": query(connection, "notices", campaign=campaign.id),
    }


def close(settings: Settings, database: Database, label_studio: LabelStudio, campaign: Campaign) -> None:
    """Take in the last labels, disconnect the backend, and let picture links lapse; the project itself stays."""
    if campaign.project is not None:
        reconcile.reconcile(database, label_studio, campaign)
        label_studio.detach(campaign.project, settings.backend_url)
    if not kind_of(campaign).slow:
        learn(database, stores_of(database, campaign, settings.store_folder))
    with database.transaction() as connection:
        query(connection, "close_campaign", campaign=campaign.id)
        query(connection, "announce", campaign=str(campaign.id))


def object_labels(connection: Connection, campaign: Campaign, *, training: bool) -> Coco:
    """What people drew, as a COCO document; its pictures are named `stamp_set/stamp_id`.

    Parameters
    ----------
    training : bool
        Only what a model would learn from: no audit slice.

    Raises
    ------
    CampaignError
        If it is no campaign of objects.
    """
    exported = _exported(connection, campaign, training=training)
    if isinstance(exported, Snapshot):
        raise CampaignError(f"Campaign {campaign.name!r} has labels, not objects.", "Export them as CSV.")
    return exported


def training_labels(connection: Connection, campaign: Campaign) -> Snapshot:
    """The labels a head would be fitted on now, as a snapshot that the stage `train_morphology` reads.

    Raises
    ------
    CampaignError
        If it is a campaign of objects.
    """
    exported = _exported(connection, campaign, training=True)
    if not isinstance(exported, Snapshot):
        raise CampaignError(f"Campaign {campaign.name!r} has objects, not labels.", "Export them as .json.")
    return exported


def _exported(connection: Connection, campaign: Campaign, *, training: bool) -> Snapshot | Coco:
    kind = kind_of(campaign)
    with blamed(kind, "exporting"):
        return kind.export(kind.read(connection, campaign), campaign.classes, training=training)
