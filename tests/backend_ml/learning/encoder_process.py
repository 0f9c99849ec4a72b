"""Gives a campaign another encoder in a process of its own, until it kills itself or has done it."""

import os
import signal
from pathlib import Path

from backend_ml.campaign.defer import GPU
from backend_ml.kinds.kind import Report
from backend_ml.kinds.models import Stores
from backend_ml.learning import encoders
from backend_ml.learning.learn import stores_of
from backend_ml.settings import Settings
from backend_ml.store.campaigns import campaign_of_id
from backend_ml.store.database import Database
from lvm_training.supervised import labelled_pictures
from tests.backend_ml.learned import run_jobs


def train(url: str, store: Path, number: int, phase: str, done: int) -> None:
    """Train; the process dies when so many of a phase are done."""
    with Database(url) as database:
        encoders.train(database, _stores(database, store, number), _dying(phase, done), print, steps=4)


def change(url: str, store: Path, number: int, encoder: str, phase: str, done: int) -> None:
    """Change to an encoder of the store; the process dies when so many of a phase are done."""
    with Database(url) as database:
        encoders.change(database, _stores(database, store, number), encoder, _dying(phase, done), print)


def work(url: str, store: str) -> None:
    """Do the jobs of the queue `gpu` that wait."""
    with Database(url) as database:
        run_jobs(database, settings=Settings(store=Path(store), encoder_steps=1), queue=GPU)


def _stores(database: Database, store: Path, number: int) -> Stores:
    labelled_pictures.EPOCH_STEPS = 2
    encoders.EMBEDDED = 16
    with database.transaction() as connection:
        campaign = campaign_of_id(connection, number)
    assert campaign is not None
    return stores_of(database, campaign, store)


def _dying(phase: str, done: int) -> Report:
    def report(at: str, so_far: int, total: int) -> None:
        if (at, so_far) == (phase, done):
            os.kill(os.getpid(), signal.SIGKILL)

    return report
