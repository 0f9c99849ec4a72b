"""Trains a campaign's encoder by the pipeline in a process of its own, until it kills itself."""

import os
import signal
from pathlib import Path

from backend_ml.experiments.finetuning import Finetuning
from backend_ml.experiments.repository import Pipeline
from backend_ml.learning import encoders
from backend_ml.learning.learn import stores_of
from backend_ml.store.campaigns import campaign_of_id
from backend_ml.store.database import Database


def train(url: str, store: Path, root: Path, number: int, phase: str) -> None:
    """Train; the process dies as soon as it comes to a phase."""

    def report(at: str, done: int, total: int) -> None:
        if at == phase:
            os.kill(os.getpid(), signal.SIGKILL)

    with Database(url) as database:
        with database.transaction() as connection:
            campaign = campaign_of_id(connection, number)
        assert campaign is not None
        stores = stores_of(database, campaign, store)
        training = Finetuning(database, stores, Pipeline(root))
        encoders.train(database, stores, report, print, training=training)
