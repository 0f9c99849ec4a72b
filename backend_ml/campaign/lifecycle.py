"""Campaigns: bring one up to date, close it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import structlog

from backend_ml import signing
from backend_ml.campaign import defer, reconcile
from backend_ml.campaign.defer import defer_learning
from backend_ml.campaign.plan import LONGEST_TITLE
from backend_ml.kinds.installed import control_of, kind_of
from backend_ml.label_studio.client import LabelStudio
from backend_ml.label_studio.connection import LabelStudioError
from backend_ml.labels import events
from backend_ml.learning.learn import learn, stores_of
from backend_ml.queue import push, refill
from backend_ml.settings import Settings
from backend_ml.store.campaigns import all_campaigns, log_change, note, open_campaign, still_open
from backend_ml.store.database import Connection, Database, query
from backend_ml.store.records import Campaign

log = structlog.get_logger(__name__)


def secure_webhook(settings: Settings, label_studio: LabelStudio, campaign: Campaign) -> None:
    """Leave exactly one webhook from the project to the backend, with the shared secret in its header."""
    secret = signing.webhook_secret(settings)
    label_studio.secure_webhook(campaign.project_id, settings.backend_url, signing.SECRET_HEADER, secret)


def keep_webhook(
    settings: Settings, database: Database, label_studio: LabelStudio, campaign: Campaign, *, wait: bool = True
) -> None:
    """See that the project's events come with the secret, once each; note on the campaign why they are refused.

    A backend that somebody attaches by hand, or attaches again, brings a webhook without the secret, beside ours. A
    campaign that was closed meanwhile has none. Without `wait`, what somebody else is at is left for the next look.

    Raises
    ------
    LabelStudioError
        If Label Studio cannot be reached.
    """
    secret, why = signing.webhook_secret(settings), None
    if not label_studio.is_secured(campaign.project_id, settings.backend_url, signing.SECRET_HEADER, secret):
        log.warning("webhook without the secret, missing or doubled", campaign=campaign.name)
        try:
            with database.sole("try_lock_connection", wait=wait, campaign=campaign.id) as mine:
                if mine and open_campaign(database, campaign.id) is not None:
                    secure_webhook(settings, label_studio, campaign)
        except LabelStudioError as error:
            if error.status is None:
                raise
            why = (
                "Label Studio's events are refused, or come twice: its webhook has no secret, or is there twice,"
                f" and could not be mended: {error.message} `galaxyloop campaign sync` tries again."
            )
    with database.transaction() as connection:
        note(connection, campaign.id, "webhook", why)


@contextmanager
def connecting(database: Database, campaign: Campaign) -> Iterator[Campaign]:
    """Have a campaign's connection to Label Studio to oneself; the campaign as it is then.

    Raises
    ------
    CampaignError
        If it was closed or taken back meanwhile.
    """
    with database.sole("try_lock_connection", campaign=campaign.id):
        yield still_open(database, campaign)


def connect_backend(settings: Settings, label_studio: LabelStudio, campaign: Campaign) -> None:
    """Connect a project to the backend, which must be up, or renew the connection, and secure its webhook."""
    password = settings.backend_password.get_secret_value()
    title = f"Galaxy Loop {campaign.name}"
    label_studio.attach_backend(campaign.project_id, settings.backend_url, title, settings.backend_user, password)
    secure_webhook(settings, label_studio, campaign)


def sync(settings: Settings, database: Database, label_studio: LabelStudio, campaign: Campaign) -> dict[str, Any]:
    """Bring a campaign up to date by hand: repair the webhook, reconcile, learn, push; what came of it.

    What was set aside is tried again. What takes seconds is learned here; what takes minutes waits for a worker. Of a
    campaign that is paused, labels are taken in and no more.

    Raises
    ------
    CampaignError
        If it is closed.
    LabelStudioError
        If Label Studio cannot be reached or refuses.
    """
    with connecting(database, campaign) as campaign:
        secure_webhook(settings, label_studio, campaign)
    with database.transaction() as connection:
        query(connection, "retry_inbox", project=campaign.project_id)
        ingested = campaign.id in ingest_inbox(connection, settings)
    changed = reconcile.reconcile(database, label_studio, campaign, again=True) or ingested
    if campaign.state == "paused":
        return {"labels_changed": changed, "learned": "paused", "tasks_imported": 0, "predictions_pushed": 0}
    outcome = _learn(settings, database, campaign)
    store = settings.store_folder
    imported = refill.refill(settings, database, label_studio, campaign)
    pushed = push.push(database, label_studio, campaign, store=store, top=settings.push_top)
    return {"labels_changed": changed, "learned": outcome, "tasks_imported": imported, "predictions_pushed": pushed}


def _learn(settings: Settings, database: Database, campaign: Campaign) -> str:
    if not kind_of(campaign).slow:
        return learn(database, stores_of(database, campaign, settings.store_folder))
    with database.transaction() as connection:
        defer.defer_learning(connection, campaign, asked=True)
    return "waits for a worker"


def close(
    settings: Settings,
    database: Database,
    label_studio: LabelStudio,
    campaign: Campaign,
    by: str = "galaxyloop",
    *,
    lapse: bool = False,
) -> None:
    """Take in the last labels and disconnect the backend; the project stays, with another title.

    Closing again does what a first try did not come to. A project that was deleted has nothing more to say.

    Parameters
    ----------
    by : str
        Who closes it.
    lapse : bool
        Whether its links to pictures hold for who is signed in alone from now on.
    """
    with _unless_gone(campaign):
        if campaign.project is not None:
            reconcile.reconcile(database, label_studio, campaign)
    if not kind_of(campaign).slow and not campaign.is_closed:
        learn(database, stores_of(database, campaign, settings.store_folder))
    # a worker that compares the two at this moment would connect them again
    with database.sole("try_lock_connection", campaign=campaign.id):
        with _unless_gone(campaign):
            if campaign.project is not None:
                _disconnect(settings, label_studio, campaign)
        with database.transaction() as connection:
            query(connection, "close_campaign", campaign=campaign.id)
            if lapse:
                query(connection, "lapse_links", campaign=campaign.id)
            if not campaign.is_closed:
                log_change(connection, campaign, by, "closed")
            query(connection, "announce", campaign=str(campaign.id))


def _disconnect(settings: Settings, label_studio: LabelStudio, campaign: Campaign) -> None:
    label_studio.detach(campaign.project_id, settings.backend_url)
    if not campaign.adopted:  # a project that somebody brought keeps the title that it came with
        label_studio.update_project(campaign.project_id, title=project_title(campaign.name, closed=True))


@contextmanager
def _unless_gone(campaign: Campaign) -> Iterator[None]:
    """Leave off where the project was deleted: it has nothing more to say."""
    try:
        yield
    except LabelStudioError as error:
        if error.status != httpx.codes.NOT_FOUND:
            raise
        log.warning("the project is gone", campaign=campaign.name, project=campaign.project)


def project_title(name: str, *, closed: bool = False) -> str:
    """What a campaign's project is called; another one may take the name of a closed one."""
    end = " (closed)" if closed else ""
    return name[: LONGEST_TITLE - len(end)] + end


def ingest_inbox(connection: Connection, settings: Settings) -> set[int]:
    """As the job: what it does on one connection; the ids of the campaigns whose labels changed."""
    changed = events.ingest(connection, control=control_of)
    for campaign in all_campaigns(connection):
        if campaign.id in changed:
            defer_learning(connection, campaign, asked=False, seconds=settings.refit_debounce)
    for row in query(connection, "told_now"):
        defer.defer_reconcile(connection, row["campaign_id"])
    return changed
