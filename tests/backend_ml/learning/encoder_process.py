"""Gives a campaign another encoder until it kills itself: `python -m ... URL STORE CAMPAIGN PHASE DONE [ENCODER]`.

Without one of the store, its own is trained.
"""

import os
import signal
import sys
from pathlib import Path

from backend_ml.learning import encoders
from backend_ml.learning.learn import stores_of
from backend_ml.store.campaigns import campaign_of_id
from backend_ml.store.database import Database
from lvm_training.supervised import labelled_pictures


def main() -> None:
    url, store, number, phase, done, *encoder = sys.argv[1:]

    def report(at: str, so_far: int, total: int) -> None:
        if (at, so_far) == (phase, int(done)):
            os.kill(os.getpid(), signal.SIGKILL)

    labelled_pictures.EPOCH_STEPS = 2
    encoders.EMBEDDED = 16
    with Database(url) as database:
        with database.transaction() as connection:
            campaign = campaign_of_id(connection, int(number))
        assert campaign is not None
        stores = stores_of(database, campaign, Path(store))
        if encoder:
            encoders.change(database, stores, encoder[0], report, print)
        else:
            encoders.train(database, stores, report, print, steps=4)


if __name__ == "__main__":
    main()
