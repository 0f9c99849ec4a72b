"""The learning loop: what a run shows while it goes on, and what is left of it."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from backend_ml.jobs import StoppingError
from backend_ml.store import versions as registry
from backend_ml.store.database import Database
from backend_ml.store.records import Campaign
from tests.backend_ml.conftest import CLASSES
from tests.backend_ml.learned import begin_now, learn_now


def label(database: Database, campaign: Campaign, rows: range) -> None:
    for row in rows:
        values = {"stamp_set": "sky", "stamp_id": row, "label": CLASSES[row % 5]}
        database.rows("put_snapshot_label", campaign=campaign.id, **values)


def versions(database: Database, campaign: Campaign) -> list[str]:
    return [row["version"].partition("-")[0] for row in database.rows("versions", campaign=campaign.id)]


def going_on(database: Database, campaign: Campaign) -> list[dict[str, Any]]:
    return database.rows("present_run", campaign=campaign.id, job="learn")


def test_a_run_is_seen_while_it_goes_on_and_then_its_outcome(database: Database, campaign: Campaign) -> None:
    seen = []

    def look(phase: str, done: int, total: int) -> None:
        seen.append((phase, [row["phase"] for row in going_on(database, campaign)]))

    assert learn_now(database, campaign, report=look) == "too few labels"
    label(database, campaign, range(5))
    assert learn_now(database, campaign, report=look) == "promoted"
    assert seen == [("fitting", ["reading"])]
    assert going_on(database, campaign) == []
    (last,) = database.rows("last_run", campaign=campaign.id)
    assert last["outcome"] == "promoted" and last["version"].startswith("morphology-") and last["last_event"] == 5
    assert learn_now(database, campaign) == "unchanged"


def test_a_run_that_was_stopped_leaves_nothing_and_one_that_was_killed_does_not_stay(
    database: Database, campaign: Campaign
) -> None:
    label(database, campaign, range(5))
    database.rows("begin_run", campaign=campaign.id, job="learn")
    assert len(going_on(database, campaign)) == 1, "as a process leaves it that is killed"
    with database.transaction() as connection:
        connection.execute("UPDATE learning_run SET updated_at = now() - interval '2 hours'")
    assert going_on(database, campaign) == [], "nobody reports of it any more"

    def stop(phase: str, done: int, total: int) -> None:
        raise StoppingError("The worker stops.")

    with pytest.raises(StoppingError):
        learn_now(database, campaign, report=stop)
    assert going_on(database, campaign) == database.rows("last_run", campaign=campaign.id) == []
    assert versions(database, campaign) == []
    assert learn_now(database, campaign) == "promoted"


def test_two_that_learn_at_once_leave_each_other_alone(database: Database, campaign: Campaign) -> None:
    label(database, campaign, range(5))
    other = database.rows("begin_run", campaign=campaign.id, job="learn")[0]["id"]
    assert learn_now(database, campaign) == "promoted"
    values = {"outcome": "unchanged", "version": None, "last_event": 1, "seconds": 1.0}
    database.rows("finish_run", run=other, **values)
    with database.transaction() as connection:
        runs = connection.execute("SELECT id, outcome FROM learning_run ORDER BY id").fetchall()
    assert [row["outcome"] for row in runs] == ["unchanged", "promoted"] and runs[0]["id"] == other


def test_of_two_that_make_the_same_version_at_once_one_promotes_it(database: Database, campaign: Campaign) -> None:
    label(database, campaign, range(5))
    assert learn_now(database, campaign) == "promoted"
    first = database.rows("active_version", campaign=campaign.id)[0]["version"]
    label(database, campaign, range(5, 6))
    met = threading.Barrier(2, timeout=60)
    with ThreadPoolExecutor(2) as both:
        at_once = [both.submit(learn_now, database, campaign, report=lambda *_: met.wait()) for _ in range(2)]
    assert sorted(one.result() for one in at_once) == ["promoted", "unchanged"]
    assert len(database.rows("promotions", campaign=campaign.id)) == 2
    with database.transaction() as connection:
        assert registry.rollback(connection, campaign) == first, "the one before, and not the same again"


@pytest.mark.parametrize("by_hand", ["rollback", "promote"])
def test_what_somebody_chooses_during_a_fit_serves_on(database: Database, campaign: Campaign, by_hand: str) -> None:
    for last in (5, 6):
        label(database, campaign, range(last - 1 if last > 5 else 0, last))
        assert learn_now(database, campaign) == "promoted"
    first = database.rows("versions", campaign=campaign.id)[0]["version"]
    label(database, campaign, range(6, 7))

    def choose(phase: str, done: int, total: int) -> None:
        with database.transaction() as connection:
            if by_hand == "rollback":
                registry.rollback(connection, campaign)
            else:
                registry.promote(connection, campaign, first, "promoted by hand")

    assert learn_now(database, campaign, report=choose) == "held back"
    assert database.rows("active_version", campaign=campaign.id)[0]["version"] == first
    made = database.rows("versions", campaign=campaign.id)[-1]
    assert made["labels"] == 7 and made["promoted_at"] is None, "it is there for whoever wants it"
    label(database, campaign, range(7, 8))
    assert learn_now(database, campaign) == "promoted", "until the next refit"


def test_a_campaign_begins_cold_or_with_what_its_labels_make(database: Database, campaign: Campaign) -> None:
    assert begin_now(database, campaign, None).startswith("coldstart-")
    label(database, campaign, range(5))
    assert learn_now(database, campaign) == "promoted"
    assert versions(database, campaign) == ["coldstart", "morphology"]
    assert database.rows("versions", campaign=campaign.id)[1]["parent"].startswith("coldstart-")
