"""Jobs as a worker takes them, in this process."""

import asyncio
from collections.abc import Sequence

from procrastinate import PsycopgConnector

from backend_ml import jobs
from backend_ml.campaign.defer import DEFAULT
from backend_ml.jobs import Services
from backend_ml.label_studio.client import LabelStudio
from backend_ml.settings import Settings
from backend_ml.store.database import Database


def run_jobs(
    database: Database,
    label_studio: LabelStudio | None = None,
    *,
    settings: Settings | None = None,
    queues: Sequence[str] = (DEFAULT,),
) -> None:
    """Run every job of some queues that is due, then stop."""

    async def until_idle() -> None:
        services = Services(settings or Settings(), database, label_studio)  # type: ignore[arg-type]
        with jobs.app.replace_connector(PsycopgConnector(conninfo=database.url)):
            async with jobs.app.open_async():
                await jobs.app.run_worker_async(
                    queues=list(queues),
                    wait=False,
                    install_signal_handlers=False,
                    additional_context={"services": services},
                )

    asyncio.run(until_idle())
