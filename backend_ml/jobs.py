"""Background jobs: Procrastinate tasks on the campaign database.

Queueing locks debounce (a job that waits already is not queued again), locks serialise what must not overlap.
"""

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import structlog
from procrastinate import App, JobContext, RetryStrategy, SyncPsycopgConnector
from procrastinate.exceptions import UniqueViolation
from procrastinate.jobs import Status
from procrastinate.manager import JobManager
from structlog.contextvars import bound_contextvars

from backend_ml.adoption.imported import take_in
from backend_ml.buckets import BucketError
from backend_ml.campaign import lifecycle, links, reconcile
from backend_ml.campaign.defer import (
    DEFAULT,
    EMBED,
    GPU,
    defer_encoder,
    defer_ingest,
    defer_learning,
    defer_push,
    defer_reconcile,
    defer_relink,
)
from backend_ml.experiments.finetuning import Finetuning
from backend_ml.experiments.repository import Pipeline
from backend_ml.kinds.installed import kind_of
from backend_ml.kinds.kind import Report
from backend_ml.kinds.models import Stores
from backend_ml.kinds.simulated import simulated_of
from backend_ml.label_studio.client import LabelStudio
from backend_ml.label_studio.connection import LabelStudioError
from backend_ml.labels.set_aside import reason
from backend_ml.leading.galaxies import add_galaxies
from backend_ml.leading.leader import Leader
from backend_ml.learning import encoders
from backend_ml.learning.learn import learn, stores_of
from backend_ml.learning.runs import due, running
from backend_ml.queue import order, push, refill
from backend_ml.settings import Settings
from backend_ml.store.campaigns import all_campaigns, campaign_of_id, note
from backend_ml.store.database import Connection, Database, DatabaseError, query
from backend_ml.store.encoders import working_encoder
from backend_ml.store.records import Campaign
from backend_ml.store.registration import embedding
from lvm_training.errors import CheckpointError, GalaxyLoopError, StampError
from lvm_training.pool.features import FeaturesError
from lvm_training.progress import Progress, Say
from lvm_training.stamps.conditions import fitting_rows

if TYPE_CHECKING:
    from lvm_training.model.encoder import Encoder

log = structlog.get_logger(__name__)


class Jobs(JobManager):
    """Procrastinate's jobs, of which one that is to be tried again is dropped where its twin waits already.

    Procrastinate leaves such a job as it is, in the hands of a worker that lives, and so its lock is held for ever.
    """

    async def retry_job_by_id_async(
        self,
        job_id: int,
        retry_at: datetime,
        priority: int | None = None,
        queue: str | None = None,
        lock: str | None = None,
    ) -> None:
        """As Procrastinate's; the twin does the work of a job that is dropped."""
        try:
            await super().retry_job_by_id_async(job_id, retry_at, priority, queue, lock)
        except UniqueViolation:
            await self.finish_job_by_id_async(job_id, Status.FAILED, delete_job=True)


# Holds the tasks; a worker gives it a connector of its own while it runs.
app = App(connector=SyncPsycopgConnector())
app.job_manager = Jobs(app.connector)

QUEUES = (DEFAULT, GPU, EMBED)


class StoppingError(GalaxyLoopError):
    """Work that a stopping worker laid down; the next worker takes it up."""

    code = "stopping"


def _patience(*waited_for: type[Exception]) -> RetryStrategy:
    """Tries again after 2, 4, 6 ... seconds, for a quarter of an hour in all."""
    return RetryStrategy(max_attempts=30, wait=2, linear_wait=2, retry_exceptions=waited_for)


GONE = (BucketError, DatabaseError, LabelStudioError, StoppingError)
PATIENCE = _patience(*GONE)
# Of a folder that hosts share, each sees in its own time what another has just written or still writes.
PATIENCE_WITH_FILES = _patience(*GONE, CheckpointError, FeaturesError, StampError)


@dataclass(frozen=True)
class Services:
    """What jobs work with, opened once by the worker, and whether it has been told to stop."""

    settings: Settings
    database: Database
    label_studio: LabelStudio
    stopping: threading.Event = field(default_factory=threading.Event)


WhilePaused = Literal["drop", "keep", "run"]
"""What becomes of a job while its campaign is paused; for what is dropped, whoever resumes it asks in any case."""


def _job(
    function: Callable[..., None], *, repeated: bool = False, while_paused: WhilePaused = "drop"
) -> Callable[..., None]:
    """Give a job its services and campaign; a failure that waiting cannot mend is noted until the job succeeds.

    A job that is `repeated` anyway ends where others wait for a server or a worker; Label Studio's failures are noted.
    Of those that are kept while a campaign is paused, the ones that nobody `asked` for are dropped.
    """
    source = function.__name__.partition("_")[0]

    @functools.wraps(function)
    def run(context: JobContext, campaign_id: int, **arguments: bool | str) -> None:
        services: Services = context.additional_context["services"]
        paused = while_paused if while_paused != "keep" or arguments.get("asked", True) else "drop"
        with services.database.transaction() as connection:
            campaign = _campaign_of(connection, context, campaign_id, paused)
        if campaign is None:
            return
        with bound_contextvars(job=context.job.id, campaign=campaign.name):
            try:
                function(services, campaign, **arguments)
            except (DatabaseError, LabelStudioError, StoppingError) as error:
                if not repeated:
                    raise
                log.warning("broken off until the next time", error=reason(error))
                if isinstance(error, LabelStudioError):
                    _note(services, campaign, source, reason(error))
                return
            except Exception as error:
                if _is_gone(services, campaign):
                    return
                _note(services, campaign, source, reason(error))
                raise
            _note(services, campaign, source, None)

    return run


def _campaign_of(
    connection: Connection, context: JobContext, campaign_id: int, while_paused: WhilePaused
) -> Campaign | None:
    """The campaign that a job is to work for now, if there is anything to do."""
    campaign = campaign_of_id(connection, campaign_id)
    if campaign is None or campaign.is_closed:
        return None
    if campaign.state != "paused" or while_paused == "run":
        return campaign
    if while_paused == "drop" or query(connection, "keep_job", campaign=campaign_id, job=context.job.id):
        return None
    # it was resumed or closed at this moment
    now = campaign_of_id(connection, campaign_id)
    return now if now is not None and now.state == "open" else None


def _is_gone(services: Services, campaign: Campaign) -> bool:
    """Whether a campaign was taken back while a job was at it, as an adoption that failed is."""
    with services.database.transaction() as connection:
        return campaign_of_id(connection, campaign.id) is None


def _note(services: Services, campaign: Campaign, source: str, text: str | None) -> None:
    with services.database.transaction() as connection:
        note(connection, campaign.id, source, text)


def go_on(stopping: threading.Event) -> None:
    """Raise a StoppingError once the worker is to stop."""
    if stopping.is_set():
        raise StoppingError("The worker stops.", "The work goes on when a worker runs again.")


@app.task(name="campaign:ingest", pass_context=True, retry=PATIENCE, lock="events")
def ingest(context: JobContext) -> None:
    """Inbox rows to label events, then a debounced refit of each campaign whose labels changed."""
    services: Services = context.additional_context["services"]
    with bound_contextvars(job=context.job.id), services.database.transaction() as connection:
        lifecycle.ingest_inbox(connection, services.settings)


@app.task(name="campaign:learn", pass_context=True, retry=PATIENCE)
@functools.partial(_job, while_paused="keep")
def learn_labels(services: Services, campaign: Campaign, *, asked: bool) -> None:
    """Fit, judge and promote; then push the new ranking. What was done before the worker stopped is not lost."""
    settings = services.settings
    with services.database.transaction() as connection:
        if kind_of(campaign).slow and not asked and not due(connection, campaign, settings.finetune_after):
            return

    def report(phase: str, done: int, total: int) -> None:
        go_on(services.stopping)

    stores = stores_of(services.database, campaign, settings.store_folder, steps=settings.finetune_steps)
    outcome = learn(services.database, stores, report)
    with services.database.transaction() as connection:
        if outcome == "promoted" and campaign.project is not None:
            defer_push(connection, campaign.id)
        store = settings.store_folder
        if encoders.due(connection, campaign, settings.encoder_labels, store):
            defer_encoder(connection, campaign)
        why_not = encoders.hindrance(connection, campaign, settings.encoder_labels, store)
        note(connection, campaign.id, "encoder training", why_not)


@app.task(name="campaign:encoder", pass_context=True, retry=PATIENCE)
@functools.partial(_job, while_paused="keep")
def encoder_of_campaign(services: Services, campaign: Campaign, *, encoder: str) -> None:
    """Change to an encoder of the store, or to one trained on the labels, and push; the former serves until then."""
    settings = services.settings
    stores, say = (
        stores_of(services.database, campaign, settings.store_folder),
        functools.partial(_say, services, campaign),
    )

    def report(phase: str, done: int, total: int) -> None:
        go_on(services.stopping)

    _note(services, campaign, "memory", None)
    if encoder:
        outcome = encoders.change(services.database, stores, encoder, report, say)
    else:
        outcome = _train(services, stores, report, say)
    if outcome == "promoted" and campaign.project is not None:
        with services.database.transaction() as connection:
            defer_push(connection, campaign.id)


def _train(services: Services, stores: Stores, report: Report, say: Say) -> str:
    """What came of training an encoder; what only waits for a server or a worker has not failed."""
    settings, database = services.settings, services.database
    repo = settings.pipeline_repo
    training = None if repo is None else Finetuning(database, stores, Pipeline(repo.absolute()))
    try:
        return encoders.train(database, stores, report, say, steps=settings.encoder_steps or None, training=training)
    except (BucketError, DatabaseError, LabelStudioError, StoppingError):
        raise
    except Exception:
        encoders.failed(services.database, stores.campaign)
        raise


def _say(services: Services, campaign: Campaign, text: str) -> None:
    log.warning("memory", campaign=campaign.name, said=text)
    _note(services, campaign, "memory", text)


@app.task(name="campaign:simulate", pass_context=True, retry=PATIENCE)
@functools.partial(_job, while_paused="keep")
def simulate(services: Services, campaign: Campaign) -> None:
    """Draw the simulated galaxies that a search begins with; what was drawn before the worker stopped is not lost."""
    stores = stores_of(services.database, campaign, services.settings.store_folder)
    with running(services.database, campaign) as run:

        def report(phase: str, done: int, total: int) -> None:
            go_on(services.stopping)
            run.report(phase, done, total)

        simulated_of(stores, report)


@app.task(name="campaign:add", pass_context=True, retry=PATIENCE)
@functools.partial(_job, while_paused="run")
def add_to_campaign(services: Services, campaign: Campaign, *, stamp_set: str, where: str, person: str) -> None:
    """Add galaxies of a registered stamp set, embedded with the campaign's encoder; again goes on where it stopped."""
    leader = Leader(services.settings, services.database, services.label_studio, person)
    stamps = services.database.stamp_sets.find(stamp_set)
    rows = fitting_rows(stamps, [one for one in where.split(";") if one]).tolist()

    @contextmanager
    def steps(_: str) -> Iterator[Progress]:
        yield lambda done, total: go_on(services.stopping)

    add_galaxies(leader, campaign, stamps.path, rows, steps)


@app.task(name="campaign:push", pass_context=True, retry=PATIENCE)
@_job
def push_queue(services: Services, campaign: Campaign) -> None:
    """Refill the campaign from its pool if it runs dry, and push the top of the ranking under the active version."""
    settings = services.settings
    refill.refill(settings, services.database, services.label_studio, campaign)
    push.push(services.database, services.label_studio, campaign, store=settings.store_folder, top=settings.push_top)


@app.task(name="campaign:relink", pass_context=True, retry=PATIENCE)
@functools.partial(_job, while_paused="run")
def relink_campaign(services: Services, campaign: Campaign) -> None:
    """Give what Label Studio shows the links that hold, where who rotated them was broken off."""
    links.relink(services.settings, services.database, services.label_studio, campaign)


@app.task(name="pool:embed", pass_context=True, retry=PATIENCE_WITH_FILES)
def embed(context: JobContext, stamps: str, features: str, encoder: str, start: int, batch: int) -> None:
    """Embed a range of a stamp set, and put the file in its place with the last one; another worker may take over."""
    from lvm_training.pool.embedding import embed_range, ranges_left
    from lvm_training.stamps.stampset import StampSet

    services: Services = context.additional_context["services"]
    model = _embedding_encoder(services.settings.store_folder, encoder)
    with StampSet(Path(stamps)) as opened, embedding(services.database, encoder):
        embed_range(
            Path(features), opened, model, start, batch=batch, progress=lambda done, total: go_on(services.stopping)
        )
        if start in ranges_left(Path(features), opened, model):
            raise StoppingError(f"Another process embeds the range {start} of {opened.name}.", "It is waited for.")


@functools.lru_cache(maxsize=1)
def _embedding_encoder(store: Path, digest: str) -> "Encoder":
    return working_encoder(store, digest)


# Not tried again: it would keep its place before the inbox of all campaigns while it waits, a quarter of an hour where
# a project is gone.
@app.task(name="campaign:reconcile", pass_context=True)
@functools.partial(_job, repeated=True, while_paused="run")
def reconcile_campaign(services: Services, campaign: Campaign) -> None:
    """Append what webhooks missed, learn from it if that changed a label, and keep Label Studio to the ranking."""
    reconcile.reconcile(services.database, services.label_studio, campaign, ask=True)
    if campaign.relinks:
        with services.database.transaction() as connection:
            defer_relink(connection, campaign.id)
    if campaign.state == "paused":
        return
    with services.database.transaction() as connection:
        for given_up in query(connection, "take_failed_learning", campaign=campaign.id):
            defer_learning(connection, campaign, asked=given_up["asked"])
    # a push or a leader may take long, and the inbox of all campaigns waits behind this job
    others = take_in(services.database, services.label_studio, campaign, wait=False)
    if others:
        with services.database.transaction() as connection:
            defer_learning(connection, campaign, asked=False)
    lifecycle.keep_webhook(services.settings, services.database, services.label_studio, campaign, wait=False)
    out_of_order = order.keep(services.database, services.label_studio, campaign, wait=False)
    with services.database.transaction() as connection:
        if out_of_order or others or refill.due(connection, campaign):
            defer_push(connection, campaign.id)


@app.task(name="campaign:reconcile_all", pass_context=True, queueing_lock="reconcile all")
def reconcile_all(context: JobContext, timestamp: int) -> None:
    """Reconcile each open campaign, and look after inbox rows whose job was lost; `reconcile_every` says how often."""
    services: Services = context.additional_context["services"]
    log.debug("reconcile all", scheduled=datetime.fromtimestamp(timestamp, UTC).isoformat())
    with services.database.transaction() as connection:
        query(connection, "forget_inbox")
        defer_ingest(connection)
        for campaign in all_campaigns(connection):
            if not campaign.is_closed and campaign.project is not None:
                defer_reconcile(connection, campaign.id)


def reconcile_every(seconds: int) -> None:
    """Have workers of this process defer `reconcile_all` so often, from 1 to 60 seconds, in place of what was before.

    However many workers there are, each time is deferred once.
    """
    app.periodic_registry.periodic_tasks.clear()
    # the sixth field of a cron expression counts seconds, up to 59
    app.periodic(cron="* * * * *" if seconds == 60 else f"* * * * * */{seconds}")(reconcile_all)
