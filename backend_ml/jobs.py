"""Background jobs: Procrastinate tasks on the campaign database.

Queueing locks debounce (a job that waits already is not queued again), locks serialise what must not overlap.
"""

import functools
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import structlog
from procrastinate import App, JobContext, RetryStrategy, SyncPsycopgConnector
from procrastinate.exceptions import AlreadyEnqueued

from backend_ml import events, queue, reconcile, refill, serving
from backend_ml.database import Connection, Database, DatabaseError, query
from backend_ml.kinds.installed import kind_of
from backend_ml.kinds.kind import KindError
from backend_ml.label_studio import LabelStudio
from backend_ml.label_studio_connection import LabelStudioError
from backend_ml.learning.learn import learn, stores_of
from backend_ml.learning.runs import due
from backend_ml.notices import note
from backend_ml.records import Campaign
from backend_ml.set_aside import reason
from backend_ml.settings import Settings
from lvm_training.errors import GalaxyLoopError

log = structlog.get_logger(__name__)

# Holds the tasks; a worker gives it a connector of its own while it runs.
app = App(connector=SyncPsycopgConnector())
# Jobs are deferred on the caller's connection, in the caller's transaction, so this connector is never opened.
_deferrer = App(connector=SyncPsycopgConnector())

GPU = "gpu"  # work for minutes and hours, and for a graphics card
DEFAULT = "default"
QUEUES = (DEFAULT, GPU)


class StoppingError(GalaxyLoopError):
    """Work that a stopping worker laid down; the next worker takes it up."""

    code = "stopping"


# A server that is gone is waited for: 2, 4, 6 ... seconds, a quarter of an hour in all.
PATIENCE = RetryStrategy(
    max_attempts=30, wait=2, linear_wait=2, retry_exceptions=[DatabaseError, LabelStudioError, StoppingError]
)


@dataclass(frozen=True)
class Services:
    """What jobs work with, opened once by the worker, and whether it has been told to stop."""

    settings: Settings
    database: Database
    label_studio: LabelStudio
    stopping: threading.Event = field(default_factory=threading.Event)


def defer_ingest(connection: Connection) -> None:
    """Turn the inbox into label events as soon as a worker is free."""
    _defer(connection, "campaign:ingest", queueing_lock="ingest", lock="events")


def defer_learning(connection: Connection, campaign: Campaign, *, asked: bool, seconds: float = 0) -> None:
    """Learn from a campaign's labels in `seconds`; labels that come meanwhile are taken along.

    Where a fit takes minutes, only if somebody `asked` or enough stamps are newly labelled.
    """
    try:
        slow = kind_of(campaign).slow
    except KindError as error:
        # the job says so on the campaign; whoever ingests labels has others to go on with
        log.warning("kind cannot be used", campaign=campaign.name, error=str(error))
        slow = False
    name = f"learn {campaign.id}"
    _defer(
        connection,
        "campaign:learn",
        queueing_lock=f"{name} asked" if asked else name,
        lock=name,
        seconds=seconds,
        queue=GPU if slow else DEFAULT,
        campaign_id=campaign.id,
        asked=asked,
    )


def defer_push(connection: Connection, campaign_id: int) -> None:
    """Rank and push a campaign's queue."""
    name = f"push {campaign_id}"
    _defer(connection, "campaign:push", queueing_lock=name, lock=name, campaign_id=campaign_id)


def defer_reconcile(connection: Connection, campaign_id: int) -> None:
    """Compare a campaign's label events with Label Studio."""
    name = f"reconcile {campaign_id}"
    _defer(connection, "campaign:reconcile", queueing_lock=name, lock="events", campaign_id=campaign_id)


def _defer(
    connection: Connection,
    name: str,
    *,
    queueing_lock: str,
    lock: str,
    seconds: float = 0,
    queue: str = DEFAULT,
    **arguments: int,
) -> None:
    job = _deferrer.configure_task(
        name,
        connection=connection,
        queueing_lock=queueing_lock,
        lock=lock,
        queue=queue,
        schedule_in={"seconds": seconds},
    )
    try:
        with connection.transaction():
            job.defer(**arguments)
    except AlreadyEnqueued:
        log.debug("job waits already", job=name, lock=queueing_lock)


def _job(function: Callable[..., None]) -> Callable[..., None]:
    """Give a job its services and campaign; a failure that waiting cannot mend is noted until the job succeeds."""
    source = function.__name__.partition("_")[0]

    @functools.wraps(function)
    def run(context: JobContext, campaign_id: int, **arguments: bool) -> None:
        services: Services = context.additional_context["services"]
        with services.database.transaction() as connection:
            campaign = events.campaign_of_id(connection, campaign_id)
        if campaign is None or campaign.state == "closed":
            return
        try:
            function(services, campaign, **arguments)
        except (DatabaseError, LabelStudioError, StoppingError):
            raise
        except Exception as error:
            _note(services, campaign, source, reason(error))
            raise
        _note(services, campaign, source, None)

    return run


def _note(services: Services, campaign: Campaign, source: str, text: str | None) -> None:
    with services.database.transaction() as connection:
        note(connection, campaign.id, source, text)


@app.task(name="campaign:ingest", pass_context=True, retry=PATIENCE, lock="events")
def ingest(context: JobContext) -> None:
    """Inbox rows to label events, then a debounced refit of each campaign whose labels changed."""
    services: Services = context.additional_context["services"]
    with services.database.transaction() as connection:
        ingest_inbox(connection, services.settings)


def ingest_inbox(connection: Connection, settings: Settings) -> set[int]:
    """As the job: what it does on one connection; the ids of the campaigns whose labels changed."""
    changed = events.ingest(connection)
    for campaign in events.campaigns(connection):
        if campaign.id in changed:
            defer_learning(connection, campaign, asked=False, seconds=settings.refit_debounce)
    return changed


@app.task(name="campaign:learn", pass_context=True, retry=PATIENCE)
@_job
def learn_labels(services: Services, campaign: Campaign, *, asked: bool) -> None:
    """Fit, judge and promote; then push the new ranking. What was done before the worker stopped is not lost."""
    settings = services.settings
    with services.database.transaction() as connection:
        if kind_of(campaign).slow and not asked and not due(connection, campaign, settings.finetune_after):
            return

    def report(phase: str, done: int, total: int) -> None:
        if services.stopping.is_set():
            raise StoppingError("The worker stops.", "Learning goes on when a worker runs again.")

    stores = stores_of(services.database, campaign, settings.store_folder, steps=settings.finetune_steps)
    if learn(services.database, stores, report) == "promoted" and campaign.project is not None:
        with services.database.transaction() as connection:
            defer_push(connection, campaign.id)


@app.task(name="campaign:push", pass_context=True, retry=PATIENCE)
@_job
def push_queue(services: Services, campaign: Campaign) -> None:
    """Refill the campaign from its pool if it runs dry, and push the top of the ranking under the active version."""
    settings = services.settings
    refill.refill(settings, services.database, services.label_studio, campaign)
    queue.push(services.database, services.label_studio, campaign, store=settings.store_folder, top=settings.push_top)


@app.task(name="campaign:reconcile", pass_context=True, retry=PATIENCE)
@_job
def reconcile_campaign(services: Services, campaign: Campaign) -> None:
    """Append what webhooks missed, learn from it if that changed a label, and keep Label Studio to the ranking."""
    if reconcile.reconcile(services.database, services.label_studio, campaign):
        with services.database.transaction() as connection:
            defer_learning(connection, campaign, asked=False)
    out_of_order = serving.keep(services.database, services.label_studio, campaign)
    with services.database.transaction() as connection:
        if out_of_order or refill.due(connection, campaign):
            defer_push(connection, campaign.id)


@app.task(name="campaign:reconcile_all", pass_context=True, queueing_lock="reconcile all")
def reconcile_all(context: JobContext, timestamp: int) -> None:
    """Reconcile each open campaign, and look after inbox rows whose job was lost; `reconcile_every` says how often."""
    services: Services = context.additional_context["services"]
    log.debug("reconcile all", scheduled=datetime.fromtimestamp(timestamp, UTC).isoformat())
    with services.database.transaction() as connection:
        query(connection, "forget_inbox")
        defer_ingest(connection)
        for campaign in events.campaigns(connection):
            if campaign.state == "open" and campaign.project is not None:
                defer_reconcile(connection, campaign.id)


def reconcile_every(seconds: int) -> None:
    """Have workers of this process defer `reconcile_all` so often, from 1 to 60 seconds, in place of what was before.

    However many workers there are, each time is deferred once.
    """
    app.periodic_registry.periodic_tasks.clear()
    # the sixth field of a cron expression counts seconds, up to 59
    app.periodic(cron="* * * * *" if seconds == 60 else f"* * * * * */{seconds}")(reconcile_all)
