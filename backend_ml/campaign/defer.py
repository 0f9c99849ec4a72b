"""Puts jobs into the queue of the worker, on the caller's connection and in its transaction."""

from collections.abc import Sequence
from pathlib import Path

import structlog
from procrastinate import App, SyncPsycopgConnector
from procrastinate.exceptions import AlreadyEnqueued, ConnectorException

from backend_ml.kinds.installed import kind_of
from backend_ml.kinds.kind import KindError
from backend_ml.labels.events import INGEST
from backend_ml.store.database import Connection, query
from backend_ml.store.records import Campaign

log = structlog.get_logger(__name__)
# Jobs are deferred on the caller's connection, in the caller's transaction, so this connector is never opened.
_deferrer = App(connector=SyncPsycopgConnector())
GPU = "gpu"  # work for minutes and hours, and for a graphics card
EMBED = "embed"  # ranges of stamp sets that are to be embedded, for any number of hosts
DEFAULT = "default"


def defer_ingest(connection: Connection) -> None:
    """Turn the inbox into label events as soon as a worker is free."""
    given = {name: INGEST[name] for name in ("queueing_lock", "lock", "priority")}
    _defer(connection, INGEST["task"], **given)


def defer_learning(connection: Connection, campaign: Campaign, *, asked: bool, seconds: float = 0) -> int:
    """Learn from a campaign's labels in `seconds`; labels that come meanwhile are taken along. The id of the job.

    Where a fit takes minutes, only if somebody `asked` or enough stamps are newly labelled.
    """
    try:
        slow = kind_of(campaign).slow
    except KindError as error:
        # the job says so on the campaign; whoever ingests labels has others to go on with
        log.warning("kind cannot be used", campaign=campaign.name, error=str(error))
        slow = False
    name = f"learn {campaign.id}"
    return _defer(
        connection,
        "campaign:learn",
        queueing_lock=f"{name} asked" if asked else name,
        lock=name,
        seconds=seconds,
        queue=GPU if slow else DEFAULT,
        campaign_id=campaign.id,
        asked=asked,
    )


def defer_encoder(connection: Connection, campaign: Campaign, encoder: str = "") -> None:
    """Train a campaign's encoder on its labels, or change it to another one of the store; one after the other.

    Refits go on meanwhile: their lock is another.
    """
    name = f"encoder {campaign.id}"
    _defer(
        connection,
        "campaign:encoder",
        queueing_lock=f"{name} {encoder}",
        lock=name,
        queue=GPU,
        campaign_id=campaign.id,
        encoder=encoder,
    )


def defer_adding(connection: Connection, campaign: Campaign, stamp_set: str, where: Sequence[str], person: str) -> None:
    """Add those galaxies of a registered stamp set to a campaign that meet all conditions, in a person's name."""
    name, conditions = f"add {campaign.id}", ";".join(where)
    _defer(
        connection,
        "campaign:add",
        queueing_lock=f"{name} {stamp_set} {conditions}",
        lock=name,
        queue=GPU,
        campaign_id=campaign.id,
        stamp_set=stamp_set,
        where=conditions,
        person=person,
    )


def defer_push(connection: Connection, campaign_id: int) -> None:
    """Rank and push a campaign's queue."""
    name = f"push {campaign_id}"
    _defer(connection, "campaign:push", queueing_lock=name, lock=name, campaign_id=campaign_id)


def defer_relink(connection: Connection, campaign_id: int) -> None:
    """Give what Label Studio shows of a campaign the links that hold."""
    name = f"relink {campaign_id}"
    _defer(connection, "campaign:relink", queueing_lock=name, lock=name, campaign_id=campaign_id)


def defer_simulation(connection: Connection, campaign: Campaign) -> None:
    """Draw the simulated galaxies that a search begins with; those of one encoder are drawn by one worker."""
    name, lock = f"simulate {campaign.id}", f"simulate {campaign.encoder}"
    _defer(connection, "campaign:simulate", queueing_lock=name, lock=lock, campaign_id=campaign.id)


def defer_embedding(connection: Connection, stamps: Path, features: Path, encoder: str, start: int, batch: int) -> None:
    """Embed a range of a stamp set, by an encoder of the store, into a file that hosts share."""
    name = f"embed {features} {start}"
    _defer(
        connection,
        "pool:embed",
        queueing_lock=name,
        lock=name,
        queue=EMBED,
        stamps=str(stamps),
        features=str(features),
        encoder=encoder,
        start=start,
        batch=batch,
    )


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
    priority: int = 0,
    **arguments: int | str,
) -> int:
    """The id of the job, or of the one that waits already."""
    job = _deferrer.configure_task(
        name,
        connection=connection,
        queueing_lock=queueing_lock,
        lock=lock,
        queue=queue,
        priority=priority,
        schedule_in={"seconds": seconds},
    )
    try:
        with connection.transaction():
            return int(job.defer(**arguments))
    except AlreadyEnqueued:
        log.debug("job waits already", job=name, lock=queueing_lock)
    except ConnectorException as error:
        # what the database says itself is known to whoever holds the transaction: a full disk will pass
        raise (error.__cause__ or error) from None
    waiting = query(connection, "waiting_job", queueing_lock=queueing_lock)
    # a worker may have taken it at this moment
    return int(waiting[0]["id"]) if waiting else 0
