"""The worker process: takes jobs until it is told to stop, and outlives a database that goes away."""

import asyncio
import functools
import signal
import threading
from collections.abc import Sequence
from typing import Any

import psycopg
import structlog
from procrastinate import PsycopgConnector
from procrastinate.exceptions import ConnectorException
from procrastinate.jobs import DeleteJobCondition
from psycopg_pool import PoolTimeout

from backend_ml.campaign.defer import DEFAULT, EMBED, GPU
from backend_ml.jobs import QUEUES, Services, app, go_on, reconcile_every
from backend_ml.label_studio.client import LabelStudio
from backend_ml.settings import Settings
from backend_ml.store.database import Database

log = structlog.get_logger(__name__)

HEARTBEAT = 5.0
STALLED_AFTER = 15.0
GRACE = 8.0
# jobs at a time: a push waits on Label Studio while the next refit computes; what takes hours never holds up those
CONCURRENCY = {DEFAULT: 2, GPU: 1, EMBED: 1}


def run_worker(settings: Settings, database_url: str, queues: Sequence[str] = ()) -> None:
    """Take jobs until SIGINT or SIGTERM.

    Parameters
    ----------
    queues : sequence of str
        "gpu" is for fine-tunings, "embed" for ranges of stamp sets, "default" for all else; none means all.

    Raises
    ------
    DatabaseError
        If the database cannot be reached at the start.
    """
    stopping = threading.Event()
    waiting = functools.partial(go_on, stopping)
    with (
        LabelStudio.from_settings(settings, go_on=waiting) as label_studio,
        Database(database_url, go_on=waiting) as database,
    ):
        reconcile_every(settings.reconcile_seconds)
        asyncio.run(_run(database_url, Services(settings, database, label_studio, stopping), queues))


async def _run(database_url: str, services: Services, queues: Sequence[str]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def end() -> None:
        services.stopping.set()
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end)
    while not stop.is_set():
        try:
            with app.replace_connector(PsycopgConnector(conninfo=database_url)):
                await _take_jobs(services, stop, queues)
        except (ConnectorException, psycopg.OperationalError, PoolTimeout) as error:
            log.warning("database lost, trying again in a second", error=str(error))
            await asyncio.sleep(1)


async def _take_jobs(services: Services, stop: asyncio.Event, queues: Sequence[str]) -> None:
    async with app.open_async():
        tasks: list[asyncio.Task[Any]] = [
            asyncio.create_task(_take_jobs_of(queue, services)) for queue in queues or QUEUES
        ]
        tasks += [asyncio.create_task(_rescue_forever()), asyncio.create_task(stop.wait())]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome


async def _take_jobs_of(queue: str, services: Services) -> None:
    await app.run_worker_async(
        queues=[queue],
        concurrency=CONCURRENCY[queue],
        delete_jobs=DeleteJobCondition.SUCCESSFUL,
        install_signal_handlers=False,
        shutdown_graceful_timeout=GRACE,
        additional_context={"services": services},
        fetch_job_polling_interval=1.0,
        update_heartbeat_interval=HEARTBEAT,
        stalled_worker_timeout=STALLED_AFTER,
    )


async def _rescue_forever() -> None:
    while True:
        await rescue_stalled()
        await asyncio.sleep(HEARTBEAT)


async def rescue_stalled() -> None:
    """Queue again the jobs of workers that died without a word, which would hold their locks for ever."""
    for job in await app.job_manager.get_stalled_jobs(seconds_since_heartbeat=STALLED_AFTER):
        await app.job_manager.retry_job(job)
        log.warning("job of a dead worker taken up again", job=job.task_name)
