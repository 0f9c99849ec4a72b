"""Trains the encoder of a campaign in a process of its own, until it kills itself."""

import os
import signal
from pathlib import Path

from backend_ml.learning import encoders
from backend_ml.learning.learn import stores_of
from backend_ml.store.campaigns import campaign_of_id
from backend_ml.store.database import Database
from lvm_training.supervised import labelled_pictures


def train(url: str, store: Path, number: int, phase: str, done: int) -> None:
    """Train; the process dies when so many of a phase are done."""

    def report(at: str, so_far: int, total: int) -> None:
        if (at, so_far) == (phase, done):
            os.kill(os.getpid(), signal.SIGKILL)

    labelled_pictures.EPOCH_STEPS = 2
    encoders.EMBEDDED = 16
    with Database(url) as database:
        with database.transaction() as connection:
            campaign = campaign_of_id(connection, number)
        assert campaign is not None
        encoders.train(database, stores_of(database, campaign, store), report, print, steps=4)
