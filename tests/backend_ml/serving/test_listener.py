"""Promotions are heard at once, and none is missed for good when the connection breaks."""

import queue

import psycopg
import pytest

from backend_ml.serving import listener
from backend_ml.serving.listener import PromotionListener
from backend_ml.store.database import Database

HEARD = 20  # seconds that a word may take on a loaded machine


def tell(database: Database, payload: str) -> None:
    with database.transaction() as connection:
        connection.execute("SELECT pg_notify('galaxyloop_campaign', %s)", (payload,))


def test_it_hears_which_campaign_has_changed(database: Database) -> None:
    heard: queue.Queue[int | None] = queue.Queue()
    with PromotionListener(database.url, heard.put):
        assert heard.get(timeout=HEARD) is None, "whatever changed before it listened"
        for campaign in (3, 3, 12):
            tell(database, str(campaign))
        assert [heard.get(timeout=HEARD) for _ in range(3)] == [3, 3, 12]


@pytest.mark.parametrize("payload", ["", "all", "-1", "1.5", "٣x"])
def test_a_word_that_names_no_campaign_is_for_all(database: Database, payload: str) -> None:
    heard: queue.Queue[int | None] = queue.Queue()
    with PromotionListener(database.url, heard.put):
        heard.get(timeout=HEARD)
        tell(database, payload)
        tell(database, "5")
        assert heard.get(timeout=HEARD) is None
        assert heard.get(timeout=HEARD) == 5


def test_after_a_broken_connection_anything_may_have_changed(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "RETRY_SECONDS", 0.01)
    heard: queue.Queue[int | None] = queue.Queue()
    with PromotionListener(database.url, heard.put):
        heard.get(timeout=HEARD)
        with psycopg.connect(database.url, autocommit=True) as killer:
            ended = killer.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN galaxyloop_campaign%'"
                " AND datname = current_database()"
            ).fetchall()
        assert ended
        assert heard.get(timeout=HEARD) is None
        tell(database, "9")
        assert heard.get(timeout=HEARD) == 9


def test_a_server_that_is_not_there_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "RETRY_SECONDS", 0.01)
    with PromotionListener("postgresql://127.0.0.1:1/nowhere", pytest.fail) as waiting:
        assert waiting._thread.is_alive()
    assert not waiting._thread.is_alive()
