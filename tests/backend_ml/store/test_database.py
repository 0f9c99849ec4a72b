"""The campaign database on a real PostgreSQL."""

import threading

import pytest

from backend_ml.local.postgres import EmbeddedPostgres
from backend_ml.store.database import LOCK_PAUSE, MIGRATIONS, QUERIES, Database, DatabaseError, _sql, query


def test_opening_twice_and_from_several_hosts_at_once_makes_one_schema(postgres: EmbeddedPostgres) -> None:
    postgres.create_database("several_hosts")
    failures: list[BaseException] = []

    def open_it() -> None:
        try:
            Database(postgres.url("several_hosts")).open().close()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_database_of_the_first_schema_is_brought_up_to_date(postgres: EmbeddedPostgres) -> None:
    postgres.create_database("of_old")
    old = Database(postgres.url("of_old"))
    old._pool.open()
    with old.transaction() as connection:
        connection.execute(_sql("schema.sql"))
    old.close()
    for _ in range(2):
        with Database(postgres.url("of_old")) as opened:
            assert opened.rows("schema_version") == [{"number": len(MIGRATIONS)}]
            assert opened.rows("present_run", campaign=1) == []
            assert opened.rows("all_versions") == []


def test_a_database_of_a_newer_program_is_left_alone(postgres: EmbeddedPostgres) -> None:
    postgres.create_database("of_tomorrow")
    with Database(postgres.url("of_tomorrow")) as opened:
        opened.rows("put_schema_version", number=len(MIGRATIONS) + 1)
    with pytest.raises(DatabaseError, match="has schema version"):
        Database(postgres.url("of_tomorrow")).open()


def test_every_named_query_is_valid_sql(database: Database) -> None:
    with database.transaction() as connection:
        for name, text in QUERIES.items():
            # PREPARE checks syntax, tables and columns without running anything
            numbered = text
            names = sorted({part.split(")s")[0] for part in text.split("%(")[1:]})
            for i, value in enumerate(names, 1):
                numbered = numbered.replace(f"%({value})s", f"${i}")
            connection.execute(f'PREPARE "{name}" AS {numbered}')


def test_a_failed_transaction_leaves_nothing(database: Database) -> None:
    with pytest.raises(RuntimeError), database.transaction() as connection:
        query(connection, "put_stamp_set", name="a", path="p", digest="d", features="f")
        raise RuntimeError
    assert database.rows("stamp_sets") == []


def test_a_stamp_set_may_move_but_not_change(database: Database) -> None:
    first = {"path": "p", "digest": "d", "features": "f"}
    assert database.rows("put_stamp_set", name="a", **first)
    assert database.rows("put_stamp_set", name="a", **{**first, "path": "q"})
    assert not database.rows("put_stamp_set", name="a", **{**first, "digest": "other"})
    assert [row["path"] for row in database.rows("stamp_sets")] == ["q"]


def test_no_server_is_a_clear_error() -> None:
    database = Database("host=/nowhere connect_timeout=1")
    database._pool.timeout = 1
    with pytest.raises(DatabaseError, match="cannot be reached") as caught:
        database.open()
    assert "GALAXYLOOP_DATABASE_URL" in caught.value.hint
    database.close()


def test_a_database_that_cannot_be_opened_leaves_no_thread_behind() -> None:
    before = {thread.ident for thread in threading.enumerate()}
    with pytest.raises(DatabaseError):
        Database("host=/nowhere connect_timeout=1").open()
    assert {thread.ident for thread in threading.enumerate()} <= before


def test_one_process_at_a_time_renews_a_campaigns_queue(database: Database) -> None:
    entered = threading.Event()

    def enter(other: Database) -> None:
        with other.sole("try_lock_queue", campaign=1):
            entered.set()

    with Database(database.url) as other:
        later = threading.Thread(target=enter, args=(other,))
        with database.sole("try_lock_queue", campaign=1), database.sole("try_lock_queue", campaign=2):
            later.start()
            assert not entered.wait(3 * LOCK_PAUSE)
            text = "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() AND state LIKE %s"
            with database.transaction() as connection:
                idle = connection.execute(text, ("idle in transaction%",)).fetchall()
            assert idle == [{"n": 0}], "the lock is held without a transaction"
        later.join()
    assert entered.is_set()


def test_a_lock_in_a_database_that_is_away_says_so() -> None:
    away = Database("postgresql://127.0.0.1:1/nothing")
    with pytest.raises(DatabaseError, match="cannot be reached"), away.sole("try_lock_queue", campaign=1):
        pass
