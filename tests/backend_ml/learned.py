"""Learning, and any other job, as a worker does it, in this process."""

import asyncio
from pathlib import Path

from procrastinate import PsycopgConnector

from backend_ml import jobs
from backend_ml.campaign.defer import DEFAULT
from backend_ml.jobs import Services
from backend_ml.kinds.kind import Report
from backend_ml.label_studio.client import LabelStudio
from backend_ml.learning.learn import begin, learn, silent, stores_of
from backend_ml.settings import Settings
from backend_ml.store import versions
from backend_ml.store.database import Database
from backend_ml.store.records import Campaign, ModelVersion

NOWHERE = Path("no/store")


def learn_now(
    database: Database, campaign: Campaign, store: Path = NOWHERE, report: Report = silent, *, steps: int = 4
) -> str:
    """What came of learning from the present labels."""
    return learn(database, stores_of(database, campaign, store, steps=steps), report)


def begin_now(
    database: Database, campaign: Campaign, model: Path | None, store: Path = NOWHERE, report: Report = silent
) -> str:
    """The first version of a campaign."""
    return begin(database, stores_of(database, campaign, store), model, report)


def active(database: Database, campaign: Campaign) -> ModelVersion:
    """The version that serves."""
    with database.transaction() as connection:
        found = versions.active_version(connection, campaign)
    assert found is not None
    return found


def run_jobs(
    database: Database,
    label_studio: LabelStudio | None = None,
    *,
    settings: Settings | None = None,
    queue: str = DEFAULT,
) -> None:
    """Run every job of a queue that is due, then stop."""

    async def until_idle() -> None:
        services = Services(settings or Settings(), database, label_studio)  # type: ignore[arg-type]
        with jobs.app.replace_connector(PsycopgConnector(conninfo=database.url)):
            async with jobs.app.open_async():
                await jobs.app.run_worker_async(
                    queues=[queue],
                    wait=False,
                    install_signal_handlers=False,
                    additional_context={"services": services},
                )

    asyncio.run(until_idle())
