"""What a worker's host does for a new campaign and for labels, as a process: `python -m tests.backend_ml.a_host`.

It gets everything from the environment, as any host does, and prints the version that came out.
"""

import sys
from pathlib import Path

from backend_ml.buckets import fetched
from backend_ml.learning.learn import learn, stores_of
from backend_ml.settings import Settings
from backend_ml.store.campaigns import add_campaign, all_campaigns
from backend_ml.store.database import Database, query_many
from backend_ml.store.encoders import encoder_folder, keep_checkpoint
from backend_ml.store.records import Campaign
from backend_ml.store.registration import register
from backend_ml.store.versions import active_version
from lvm_training.model.encoder import Encoder
from tests.backend_ml.conftest import PROJECT
from tests.backend_ml.whole import AUDIT, CLASSES, RENDERING, N, label
from tests.installation import quiet


def create(settings: Settings, database: Database, stamps: str, checkpoint: Path) -> None:
    """A campaign whose stamps lie in a bucket; task 100 + i shows stamp i."""
    encoder = Encoder.load(checkpoint)
    keep_checkpoint(checkpoint, encoder_folder(settings.store_folder, encoder.digest))
    register(fetched(Path(stamps)), encoder, settings, database, quiet)
    about = {"name": "Far", "kind": "morphology", "classes": CLASSES, "stamp_set": "sky", "policy": "margin"}
    with database.transaction() as connection:
        made = add_campaign(connection, project=PROJECT, encoder=encoder.digest, rendering=RENDERING, **about)
        task = {"campaign": made.id, "stamp_set": "sky"}
        rows = [{**task, "task": 100 + i, "stamp_id": i, "audit": i >= N - AUDIT} for i in range(N)]
        query_many(connection, "put_task", rows)


def learned(settings: Settings, database: Database, rows: range) -> str:
    """The version that comes of labels of some stamps."""
    with database.transaction() as connection:
        (campaign,) = all_campaigns(connection)
    label(database, campaign, rows)
    learn(database, stores_of(database, campaign, settings.store_folder))
    return served(database, campaign)


def served(database: Database, campaign: Campaign) -> str:
    """The version that a campaign serves."""
    with database.transaction() as connection:
        found = active_version(connection, campaign)
    assert found is not None
    return found.version


def main() -> None:
    """Create a campaign of the stamps and the checkpoint that are named, or go on with the one that is there."""
    settings = Settings()
    assert settings.database_url is not None
    with Database(settings.database_url.get_secret_value()) as database:
        if sys.argv[2:]:
            create(settings, database, sys.argv[1], Path(sys.argv[2]))
        print(learned(settings, database, range(20) if sys.argv[2:] else range(20, 28)))


if __name__ == "__main__":
    main()
