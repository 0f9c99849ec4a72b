"""Jobs in a real queue: which of them are one, which wait for another, and what becomes of them with a transaction."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backend_ml.campaign import defer
from backend_ml.store.database import Connection, Database
from backend_ml.store.records import Campaign

Put = Callable[[Connection, Campaign], object]

PUTS: dict[str, Put] = {
    "learn": lambda c, one: defer.defer_learning(c, one, asked=False),
    "learn, asked for": lambda c, one: defer.defer_learning(c, one, asked=True),
    "train the encoder": lambda c, one: defer.defer_encoder(c, one),
    "change the encoder": lambda c, one: defer.defer_encoder(c, one, "e" * 12),
    "add": lambda c, one: defer.defer_adding(c, one, "sky", ["mag_r<17"], "Vera"),
    "add others": lambda c, one: defer.defer_adding(c, one, "sky", ["mag_r<18"], "Vera"),
    "push": lambda c, one: defer.defer_push(c, one.id),
    "simulate": lambda c, one: defer.defer_simulation(c, one),
    "reconcile": lambda c, one: defer.defer_reconcile(c, one.id),
}


def jobs(database: Database) -> list[dict[str, Any]]:
    with database.transaction() as connection:
        return connection.execute("SELECT * FROM procrastinate_jobs ORDER BY id").fetchall()


@pytest.mark.parametrize("name", PUTS)
def test_a_job_is_asked_for_once_in_each_campaign_until_it_begins(
    database: Database, campaign: Campaign, name: str
) -> None:
    other = replace(campaign, id=campaign.id + 1)
    for one in (campaign, campaign, other, campaign, other):
        with database.transaction() as connection:
            PUTS[name](connection, one)
    assert [job["args"]["campaign_id"] for job in jobs(database)] == [campaign.id, other.id]
    with database.transaction() as connection:
        connection.execute("UPDATE procrastinate_jobs SET status = 'doing' WHERE id = %s", (jobs(database)[0]["id"],))
        PUTS[name](connection, campaign)
    assert [job["args"]["campaign_id"] for job in jobs(database)] == [campaign.id, other.id, campaign.id]


def test_different_jobs_of_a_campaign_all_wait_and_those_that_touch_the_same_go_one_by_one(
    database: Database, campaign: Campaign
) -> None:
    with database.transaction() as connection:
        for put in PUTS.values():
            put(connection, campaign)
        defer.defer_ingest(connection)
    found = jobs(database)
    assert len(found) == len(PUTS) + 1
    locks = dict(zip([*PUTS, "ingest"], [job["lock"] for job in found], strict=True))
    for pair in (("learn", "learn, asked for"), ("train the encoder", "change the encoder"), ("add", "add others")):
        assert locks[pair[0]] == locks[pair[1]]
    assert locks["reconcile"] == locks["ingest"], "events come one after the other"
    assert len(set(locks.values())) == len(locks) - 4
    queues = dict(zip([*PUTS, "ingest"], [job["queue_name"] for job in found], strict=True))
    slow = {"train the encoder", "change the encoder", "add", "add others"}
    assert {name for name, queue in queues.items() if queue == defer.GPU} == slow


def test_the_number_of_a_job_is_that_of_the_one_that_waits(database: Database, campaign: Campaign) -> None:
    with database.transaction() as connection:
        first = defer.defer_learning(connection, campaign, asked=False)
        again = defer.defer_learning(connection, campaign, asked=False, seconds=60)
        asked = defer.defer_learning(connection, campaign, asked=True, seconds=60)
    assert first == again != asked
    assert [job["id"] for job in jobs(database)] == [first, asked]
    soon, later = (job["scheduled_at"] for job in jobs(database))
    assert soon is None or soon < later, "who asks again puts nothing off"


def test_a_job_is_gone_with_the_transaction_that_asked_for_it(database: Database, campaign: Campaign) -> None:
    with pytest.raises(RuntimeError), database.transaction() as connection:
        defer.defer_push(connection, campaign.id)
        raise RuntimeError
    assert jobs(database) == []
    with database.transaction() as connection:
        defer.defer_push(connection, campaign.id)
        defer.defer_push(connection, campaign.id)
        # the second, which was not needed, must not have broken the transaction
        assert connection.execute("SELECT 1 AS one").fetchone() == {"one": 1}


def test_ranges_of_a_set_are_embedded_each_once(database: Database, tmp_path: Path) -> None:
    with database.transaction() as connection:
        for features, start in (("a.npy", 0), ("a.npy", 4), ("a.npy", 0), ("b.npy", 0)):
            defer.defer_embedding(connection, tmp_path / "sky.h5", tmp_path / features, "e" * 12, start, 4)
    found = [(Path(job["args"]["features"]).name, job["args"]["start"]) for job in jobs(database)]
    assert found == [("a.npy", 0), ("a.npy", 4), ("b.npy", 0)]
    assert {job["queue_name"] for job in jobs(database)} == {defer.EMBED}
