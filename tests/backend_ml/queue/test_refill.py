"""The pool of a campaign, and who of it becomes a task next."""

from dataclasses import replace
from typing import Any

import numpy as np
import psycopg
import pytest

from backend_ml.labels import agreed
from backend_ml.plugins import choices
from backend_ml.queue import refill
from backend_ml.queue.refill import shares
from backend_ml.queue.tasks import audit_slice
from backend_ml.settings import Settings
from backend_ml.store.database import Database, query
from backend_ml.store.records import Campaign
from tests.backend_ml.webhooks import created, send


@pytest.mark.parametrize("fraction", [0.0, 0.05, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("size", [1, 7, 20])
def test_the_audit_share_of_all_tasks_is_the_fraction_after_each_slice(fraction: float, size: int) -> None:
    audit = tasks = 0
    for _ in range(50):
        number = shares(audit, tasks, size, fraction)
        assert 0 <= number <= size
        audit, tasks = audit + number, tasks + size
        assert abs(audit - fraction * tasks) <= 1


def test_the_audit_slice_is_drawn_from_the_whole_pool_at_random() -> None:
    rows = np.arange(1000) * 3
    drawn = audit_slice(rows, 0.1, 4)
    assert len(set(drawn.tolist())) == 100 and set(drawn.tolist()) <= set(rows.tolist())
    assert list(drawn) == list(audit_slice(rows, 0.1, 4)) != sorted(drawn.tolist())
    assert 1000 < np.mean(drawn) < 2000


def test_a_pool_is_kept_bit_by_bit(database: Database, campaign: Campaign) -> None:
    rows = np.array([0, 3, 4, 8])
    with database.transaction() as connection:
        assert refill.find_pool(connection, campaign) is None and not refill.due(connection, campaign)
        refill.put_pool(connection, campaign, rows, 10, 5, 2)
        pool = refill.find_pool(connection, campaign)
    assert pool is not None and list(pool.rows) == list(rows)
    assert (pool.slice, pool.refill_below, pool.exhausted) == (5, 2, False)
    with pytest.raises(psycopg.errors.CheckViolation), database.transaction() as connection:
        refill.put_pool(connection, replace(campaign, id=campaign.id + 1), rows, 10, 0, 2)


def test_a_slice_is_due_when_fewer_ranked_tasks_wait_than_wanted(database: Database, campaign: Campaign) -> None:
    with database.transaction() as connection:
        refill.put_pool(connection, campaign, np.arange(10), 10, 5, 9)
        assert not refill.due(connection, campaign), "nine wait, the audit slice not counted"
    send(database, created(1, 101, "spiral"))
    with database.transaction() as connection:
        assert refill.due(connection, campaign)
        query(connection, "exhaust_pool", campaign=campaign.id)
        assert not refill.due(connection, campaign)


def test_labels_are_agreed_on_once_for_a_slice(
    database: Database, campaign: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    agree = agreed.agree

    def counted(votes: Any, consensus: str) -> Any:
        asked.append(consensus)
        return agree(votes, consensus)

    for module in (agreed, choices):
        monkeypatch.setattr(module, "agree", counted)
    send(database, created(1, 101, "spiral"), created(2, 104, "unsure"))
    with database.transaction() as connection:
        state = refill._read(connection, campaign)
    assert asked == ["majority"] and state.answered == [("sky", 0), ("sky", 3)]


def test_the_next_are_neither_tasks_nor_labelled_and_the_audit_slice_is_withheld(
    database: Database, campaign: Campaign
) -> None:
    with database.transaction() as connection:
        tasks = "DELETE FROM task WHERE stamp_id >= 3"
        connection.execute(tasks)
        # as somebody labelled it elsewhere
        snapshot = {"stamp_set": "sky", "stamp_id": 5, "label": "spiral"}
        query(connection, "put_snapshot_label", campaign=campaign.id, **snapshot)
        refill.put_pool(connection, campaign, np.arange(1, 10), 10, 6, 9)
        pool = refill.find_pool(connection, campaign)
        assert pool is not None
        audit = np.array([7, 2, 9])
        chosen = replace(campaign, audit_fraction=0.2)
        state = refill._read(connection, chosen)
    found = refill._next(state, Settings(), database.stamp_sets, chosen, pool, audit)
    assert list(found.blind) == [7, 9][: shares(0, 3, 6, 0.2)]
    assert set(found.best) == {3, 4, 6, 8} and found.ranked.policy == "k-centre"
