"""The campaign database on a real PostgreSQL."""

import ast
import re
import threading
from pathlib import Path

import pytest

from backend_ml.local.postgres import EmbeddedPostgres
from backend_ml.store import database as database_module
from backend_ml.store.campaigns import all_campaigns
from backend_ml.store.database import (
    LOCK_PAUSE,
    MIGRATIONS,
    QUERIES,
    Database,
    DatabaseError,
    _read_migrations,
    _sql,
    query,
)
from tests.conftest import REPOSITORY


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


def test_the_next_migration_is_applied_once_to_databases_that_are_there_and_to_new_ones(
    postgres: EmbeddedPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres.create_database("of_old")
    with Database(postgres.url("of_old")) as old:
        assert old.rows("schema_version") == [{"number": len(MIGRATIONS)}]
    (tmp_path / "1_words.sql").write_text("ALTER TABLE notice ADD COLUMN words text; CREATE TABLE moon (name text);")
    (tmp_path / "notes.txt").write_text("no migration")
    monkeypatch.setattr(database_module, "MIGRATIONS", [*MIGRATIONS, *_read_migrations(tmp_path)])
    postgres.create_database("of_today")
    for name in ("of_old", "of_old", "of_today"):
        with Database(postgres.url(name)) as opened:
            assert opened.rows("schema_version") == [{"number": len(MIGRATIONS) + 1}]
            assert opened.rows("has_table", table="moon") == [{"found": True}]
            with opened.transaction() as connection:
                assert connection.execute("SELECT words FROM notice").fetchall() == []


BEFORE = """
INSERT INTO stamp_set VALUES ('sky', '/sky.h5', 'd', '/f.npy');
INSERT INTO campaign (name, project_id, kind, classes, stamp_set, encoder, rendering, policy, audit_fraction, seed,
    overlap, consensus, state)
VALUES ('old', 7, 'morphology', '{a,b}', 'sky', 'e', '{}', 'margin', 0.1, 0, 1, 'majority', 'open'),
    ('done', 8, 'morphology', '{a,b}', 'sky', 'e', '{}', 'margin', 0.1, 0, 1, 'majority', 'closed');
INSERT INTO task VALUES (1, 101, 'sky', 0, false), (1, 102, 'sky', 1, true);
INSERT INTO label_event (campaign_id, action, task_id, annotation_id, label, annotator, source, happened_at)
VALUES (1, 'labelled', 101, 1, 'a', 4, 'webhook', now()), (1, 'labelled', 102, 2, 'b', 4, 'webhook', now()),
    (1, 'labelled', 102, 3, 'a', 5, 'webhook', now());
INSERT INTO label_event (campaign_id, action, annotation_id, source, happened_at)
VALUES (1, 'deleted', 3, 'webhook', now());
"""
VOTES = """
SELECT campaign_id, stamp_set, stamp_id, label, annotator, person, happened_at, given FROM vote ORDER BY stamp_id, label
"""


def test_labels_of_the_version_before_outlive_its_migrations(
    postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database with labels, as schema version 3 had it."""
    postgres.create_database("with_labels")
    with monkeypatch.context() as then:
        then.setattr(database_module, "MIGRATIONS", MIGRATIONS[:3])
        with Database(postgres.url("with_labels")) as old, old.transaction() as connection:
            connection.execute(BEFORE)
            before = connection.execute(VOTES).fetchall()
    with Database(postgres.url("with_labels")) as opened, opened.transaction() as connection:
        assert connection.execute(VOTES).fetchall() == before
        assert [row["id"] for row in connection.execute("SELECT id FROM vote ORDER BY id").fetchall()] == [1, 2]
        assert [(vote["stamp_id"], vote["label"], vote["annotator"]) for vote in before] == [(0, "a", 4), (1, "b", 4)]
        campaigns = all_campaigns(connection)
        assert [(one.name, one.state, one.picture_size, one.label_config) for one in campaigns] == [
            ("old", "open", 480, ""),
            ("done", "closed", 480, ""),
        ]


def test_two_migrations_of_one_number_are_refused(tmp_path: Path) -> None:
    for name in ("1_words.sql", "1_moon.sql"):
        (tmp_path / name).write_text("SELECT 1")
    with pytest.raises(DatabaseError, match="begin with one number"):
        _read_migrations(tmp_path)
    assert _read_migrations(tmp_path / "nothing") == []


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
        prepared = {row["name"] for row in connection.execute("SELECT name FROM pg_prepared_statements").fetchall()}
    assert prepared >= set(QUERIES)


def test_a_line_under_each_query_says_what_it_is_for() -> None:
    lines = {name: text.splitlines()[0] for name, text in QUERIES.items()}
    assert [name for name, line in lines.items() if not re.fullmatch(r"-- [A-Z][a-z]+s .{5,}\.", line)] == []


def test_a_line_says_what_each_table_and_view_is() -> None:
    schema = _sql("schema.sql")
    made = re.findall(r"^CREATE (?:TABLE|VIEW) (\w+)", schema, flags=re.MULTILINE)
    assert len(made) > 15
    assert made == re.findall(r"^-- .+\.\nCREATE (?:TABLE|VIEW) (\w+)", schema, flags=re.MULTILINE)


def test_the_program_runs_every_query() -> None:
    asked = {"query": 1, "query_many": 1, "rows": 0, "sole": 0}  # and which argument names the query
    # a project's making is told by `forget` which query takes its campaign back, and a kind reads what its `rows` names
    run = set()
    for path in (REPOSITORY / "backend_ml").rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Assign | ast.AnnAssign) and isinstance(call.value, ast.Constant):
                targets = call.targets if isinstance(call, ast.Assign) else [call.target]
                run |= {call.value.value for one in targets if isinstance(one, ast.Name) and one.id == "rows"}
            if not isinstance(call, ast.Call):
                continue
            function = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
            place = asked.get(function, len(call.args))
            given = [*call.args[place : place + 1], *(one.value for one in call.keywords if one.arg == "forget")]
            run |= {one.value for one in given if isinstance(one, ast.Constant)}
    assert set(QUERIES) - run == set()


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


def test_whoever_waits_for_a_lock_can_be_called_away(database: Database) -> None:
    looks: list[None] = []

    def go_on() -> None:
        looks.append(None)
        if len(looks) == 3:
            raise InterruptedError("called away")

    with (
        database.sole("try_lock_queue", campaign=1),
        Database(database.url, go_on=go_on) as other,
        pytest.raises(InterruptedError),
        other.sole("try_lock_queue", campaign=1),
    ):
        pass
    with database.sole("try_lock_queue", campaign=1), Database(database.url, go_on=go_on) as other:
        with other.sole("try_lock_queue", campaign=2):
            pass
        assert len(looks) == 3, "who need not wait is not asked"


def test_a_lock_in_a_database_that_is_away_says_so() -> None:
    away = Database("postgresql://127.0.0.1:1/nothing")
    with pytest.raises(DatabaseError, match="cannot be reached"), away.sole("try_lock_queue", campaign=1):
        pass
