"""Runs of learning in a real database: how far each is, which one goes on, and when the next is due."""

from datetime import UTC, datetime

import pytest

from backend_ml.learning import runs
from backend_ml.store.database import Database, query
from backend_ml.store.records import Campaign
from tests.backend_ml.conftest import CLASSES, Annotating

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
HEARD = "UPDATE learning_run SET updated_at = now() - make_interval(mins => %s) WHERE id = %s"


def present(database: Database, campaign: Campaign, job: str = "learn") -> tuple[str, int, int] | None:
    rows = database.rows("present_run", campaign=campaign.id, job=job)
    return (rows[0]["phase"], rows[0]["done"], rows[0]["total"]) if rows else None


def last(database: Database, campaign: Campaign, name: str = "last_run") -> tuple[str, str | None, int] | None:
    rows = database.rows(name, campaign=campaign.id)
    return (rows[0]["outcome"], rows[0]["version"], rows[0]["last_event"]) if rows else None


def test_a_run_is_seen_while_it_goes_on_and_what_came_of_it_afterwards(database: Database, campaign: Campaign) -> None:
    with runs.running(database, campaign) as run:
        assert present(database, campaign) == ("reading", 0, 1)
        run.report("fitting", 3, 7)
        assert present(database, campaign) == ("fitting", 3, 7)
        assert present(database, campaign, "encoder") is None and last(database, campaign) is None
        assert run.finish("promoted", 12, "v1") == "promoted"
        assert present(database, campaign) is None
    assert last(database, campaign) == ("promoted", "v1", 12)
    (logged,) = database.rows("runs", campaign=campaign.id, limit=9)
    assert logged["seconds"] >= 0 and logged["finished_at"] is not None


def test_a_run_that_fails_leaves_no_trace(database: Database, campaign: Campaign) -> None:
    with runs.running(database, campaign) as run:
        run.finish("unchanged", 4)
    with pytest.raises(ZeroDivisionError), runs.running(database, campaign):
        raise ZeroDivisionError
    assert last(database, campaign) == ("unchanged", None, 4) and present(database, campaign) is None
    assert len(database.rows("runs", campaign=campaign.id, limit=9)) == 1


def test_runs_of_an_encoder_are_another_matter(database: Database, campaign: Campaign) -> None:
    with runs.running(database, campaign) as learning, runs.running(database, campaign, "encoder") as encoder:
        encoder.report("training", 1, 2)
        learning.report("fitting", 1, 3)
        assert present(database, campaign) == ("fitting", 1, 3)
        assert present(database, campaign, "encoder") == ("training", 1, 2)
        encoder.finish("held back", 5, "v2")
        learning.finish("promoted", 6, "v3")
    assert last(database, campaign) == ("promoted", "v3", 6)
    assert last(database, campaign, "last_encoder_run") == ("held back", "v2", 5)
    database.rows("put_failed_training", campaign=campaign.id)
    assert last(database, campaign, "last_encoder_run") == ("failed", None, 0)
    assert last(database, campaign) == ("promoted", "v3", 6)


def test_a_run_of_a_killed_process_is_forgotten_by_the_next_but_not_one_that_goes_on(
    database: Database, campaign: Campaign
) -> None:
    for minutes in (90, 30):
        number = database.rows("begin_run", campaign=campaign.id, job="learn")[0]["id"]
        with database.transaction() as connection:
            connection.execute(
                "UPDATE learning_run SET updated_at = now() - make_interval(mins => %s) WHERE id = %s",
                (minutes, number),
            )
    assert present(database, campaign) is not None
    with runs.running(database, campaign) as run:
        run.finish("unchanged", 1)
    with database.transaction() as connection:
        rows = connection.execute("SELECT id, outcome FROM learning_run ORDER BY id").fetchall()
    assert [row["outcome"] for row in rows] == [None, "unchanged"], "half an hour may be one long step"
    assert present(database, campaign) is None, "an earlier run than the newest is none that goes on"


def test_a_run_of_which_nothing_was_heard_for_an_hour_does_not_go_on(database: Database, campaign: Campaign) -> None:
    number = database.rows("begin_run", campaign=campaign.id, job="learn")[0]["id"]
    for minutes, goes_on in ((59, True), (61, False)):
        with database.transaction() as connection:
            connection.execute(
                "UPDATE learning_run SET updated_at = now() - make_interval(mins => %s) WHERE id = %s",
                (minutes, number),
            )
        assert (present(database, campaign) is not None) == goes_on


def test_learning_is_due_once_so_many_stamps_have_news(
    database: Database, campaign: Campaign, annotate: Annotating
) -> None:
    def due(fewest: int) -> bool:
        with database.transaction() as connection:
            return runs.due(connection, campaign, fewest)

    assert due(0) and not due(1)
    for who in (1, 2, 3):
        annotate(101, CLASSES[0], who, NOON)
    annotate(102, None, 1, NOON)
    assert due(2) and not due(3), "three answers of one stamp are one; who skips says something too"
    with database.transaction() as connection:
        event = query(connection, "last_event", campaign=campaign.id)[0]["id"]
    with runs.running(database, campaign, "encoder") as run:
        run.finish("promoted", event)
    assert due(2), "what an encoder saw no head has learned yet"
    with runs.running(database, campaign) as run:
        run.finish("promoted", event - 1)
    assert due(1) and not due(2)
    annotate(103, CLASSES[1], 1, NOON)
    annotate(999, CLASSES[1], 1, NOON)
    assert due(2) and not due(3), "a task that nobody knows shows no stamp"
