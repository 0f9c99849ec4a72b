"""A campaign of 60 galaxies, 40 of the audit slice, that two people labelled and a head learned from."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from backend_ml.store import versions
from backend_ml.store.campaigns import add_campaign
from backend_ml.store.database import Database, query, query_many
from backend_ml.store.records import Campaign
from tests.backend_ml.conftest import CLASSES, MORPHOLOGY, PROJECT, Annotating
from tests.backend_ml.learned import learn_now
from tests.backend_ml.sky import write_features, write_stamps

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
N, FIRST = 60, 20  # stamps, and the first of the audit slice
MAGNITUDES = [14.0 + (i * 37 % N) / 10 for i in range(N)]
NAME = "Forms & <b>names</b>"


def said(stamp: int) -> str:
    """What people say: what features show, but for each seventh."""
    return CLASSES[(stamp + (stamp % 7 == 0)) % 5]


def put_campaign(database: Database, folder: Path) -> Campaign:
    """Task 101 + i shows stamp i; those from stamp 20 on are of the audit slice."""
    stamps = write_stamps(folder, N, magnitudes=MAGNITUDES)
    features = write_features(stamps)
    with database.transaction() as connection:
        query(connection, "put_stamp_set", name="sky", path=str(stamps), digest="d", features=str(features))
        made = add_campaign(connection, **MORPHOLOGY, name=NAME, project=PROJECT)
        task = {"campaign": made.id, "stamp_set": "sky"}
        tasks = [{**task, "task": 101 + i, "stamp_id": i, "audit": i >= FIRST} for i in range(N)]
        query_many(connection, "put_task", tasks)
    return made


def put_labels(database: Database, campaign: Campaign) -> None:
    """One person labels all, another one six more, of which stamp 3 is another class to them."""
    annotate = Annotating(database, campaign)
    for stamp in range(N):
        annotate(101 + stamp, said(stamp), 11, NOON + timedelta(minutes=stamp))
    for stamp in range(6):
        label = CLASSES[0] if stamp == 3 else said(stamp)
        annotate(101 + stamp, label, 12, NOON + timedelta(minutes=90 + stamp))


def learned(database: Database, campaign: Campaign) -> str:
    """The version that is learned from the labels of now."""
    assert learn_now(database, campaign) == "promoted"
    with database.transaction() as connection:
        active = versions.active_version(connection, campaign)
    assert active is not None
    return active.version
