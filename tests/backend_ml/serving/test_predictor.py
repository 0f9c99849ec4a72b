"""What is answered without a thread: only what needs no database, no file of a detector, and little time."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from backend_ml.label_studio.wire import Task
from backend_ml.serving.predictor import AT_ONCE, Predictor
from backend_ml.store.database import Database, query
from backend_ml.store.records import Campaign
from tests.backend_ml.backend_client import CONFIG
from tests.backend_ml.conftest import PROJECT
from tests.backend_ml.lenses import LENSES


def task(stamp: object, stamp_set: str = "sky") -> Task:
    return Task(id=101, data={"stamp_set": stamp_set, "stamp_id": stamp})


@pytest.fixture
def apart(database: Database) -> Iterator[Database]:
    """The database, which may be closed here."""
    with Database(database.url) as opened:
        yield opened


@pytest.fixture
def predictor(apart: Database) -> Predictor:
    return Predictor(apart, Path("no/store"))


def test_nothing_is_at_hand_before_the_first_answer(predictor: Predictor, head: str) -> None:
    assert not predictor.holds(PROJECT) and not predictor.at_hand(PROJECT, [task(0)])
    assert predictor.serving(PROJECT).version == head
    assert predictor.holds(PROJECT) and not predictor.at_hand(PROJECT, [task(0)]), "its weights are not read yet"


@pytest.mark.usefixtures("head")
def test_what_is_at_hand_needs_no_database(predictor: Predictor, apart: Database) -> None:
    tasks = [task(0), task(9), task("3"), task(4.0)]
    before = predictor.predict(PROJECT, CONFIG, tasks)
    assert [bool(one.result) for one in before] == [True, False, True, True], "one of them is of the audit slice"
    apart.close()
    assert predictor.at_hand(PROJECT, tasks)
    assert predictor.predict(PROJECT, CONFIG, tasks) == before


@pytest.mark.usefixtures("head")
def test_others_are_left_to_a_thread(predictor: Predictor, database: Database, campaign: Campaign) -> None:
    predictor.predict(PROJECT, CONFIG, [task(0)])
    for odd in (task(10), task(0, "moon"), task(None), task("x"), Task(id=1, data={})):
        assert not predictor.at_hand(PROJECT, [odd]) and not predictor.at_hand(PROJECT, [task(0), odd])
    assert not predictor.at_hand(PROJECT, []) and not predictor.at_hand(PROJECT, [task(0)] * (AT_ONCE + 1))
    assert not predictor.at_hand(PROJECT + 1, [task(0)]) and not predictor.holds(PROJECT + 1)
    with database.transaction() as connection:
        query(connection, "put_task", campaign=campaign.id, task=200, stamp_set="sky", stamp_id=10, audit=True)
    assert not predictor.at_hand(PROJECT, [task(10)]), "a task that came later is looked up"
    predictor.forget(campaign.id)
    assert not predictor.holds(PROJECT) and not predictor.at_hand(PROJECT, [task(0)])


def test_a_detector_is_left_to_a_thread(database: Database, lenses: Campaign, tmp_path: Path) -> None:
    predictor = Predictor(database, tmp_path / "store")
    (answered,) = predictor.predict(lenses.project_id, LENSES, [task(0)])
    assert answered.result
    assert predictor.holds(lenses.project_id) and not predictor.at_hand(lenses.project_id, [task(0)])
