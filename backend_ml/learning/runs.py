"""Runs of learning: how far each is while it goes on, and what came of it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import structlog

from backend_ml.store.database import Connection, Database, query
from backend_ml.store.records import Campaign

log = structlog.get_logger(__name__)


class Run:
    """A run that goes on.

    Parameters
    ----------
    database : Database
    campaign : Campaign
    number : int
        Of its row in `learning_run`.

    Attributes
    ----------
    version : str or None
        What came of it, once it has finished.
    """

    version: str | None = None

    def __init__(self, database: Database, campaign: Campaign, number: int) -> None:
        self._database, self._campaign, self._number = database, campaign, number
        self._started = time.monotonic()

    def report(self, phase: str, done: int, total: int) -> None:
        """Note how far it is; `campaign status` shows it."""
        self._database.rows("report_run", run=self._number, phase=phase, done=done, total=total)

    def finish(self, outcome: str, last_event: int, version: str | None = None) -> str:
        """Note what came of it, which is returned."""
        self.version = version
        values = {"outcome": outcome, "version": version, "last_event": last_event}
        seconds = time.monotonic() - self._started
        self._database.rows("finish_run", run=self._number, seconds=seconds, **values)
        log.info("learned", campaign=self._campaign.name, seconds=seconds, **values)
        return outcome


Job = Literal["learn", "encoder"]
"""What a run is of: a fit to the labels, or another encoder."""


@contextmanager
def running(database: Database, campaign: Campaign, job: Job = "learn") -> Iterator[Run]:
    """A run of a campaign; one that fails leaves no trace, nor do those whose process was killed."""
    number = int(database.rows("begin_run", campaign=campaign.id, job=job)[0]["id"])
    try:
        yield Run(database, campaign, number)
    finally:
        database.rows("forget_runs", campaign=campaign.id, run=number)


def due(connection: Connection, campaign: Campaign, fewest: int) -> bool:
    """Whether `fewest` stamps or more were labelled since the last run."""
    last = query(connection, "last_run", campaign=campaign.id)
    event = last[0]["last_event"] if last else 0
    return bool(query(connection, "labelled_since", campaign=campaign.id, event=event)[0]["stamps"] >= fewest)
