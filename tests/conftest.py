"""What all tests share."""

import atexit
import gc
import os
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from psycopg import sql
from xdist.remote import Producer

from backend_ml.local import processes
from backend_ml.local.postgres import EmbeddedPostgres, start_embedded
from backend_ml.local.processes import own
from backend_ml.store.database import Database
from tests import scheduling
from tests.installation import installation, local_files, never_wait_for_the_disk, servers

if TYPE_CHECKING:
    from tests.s3_server import S3Server

__all__ = ["installation", "local_files", "servers"]  # fixtures

# No test hangs on the processor: what is fast there is asked for only where it is tested
os.environ.setdefault("GALAXYLOOP_PRECISION", "float32")
# what a run of `galaxyloop up` left in the repository is nothing to the tests
os.environ["GALAXYLOOP_HOME"] = str(Path(tempfile.gettempdir()) / f"galaxyloop-tests-{os.getpid()}")
# drawing takes seconds for each encoder: tests that want simulated classes ask for a few stamps
os.environ.setdefault("GALAXYLOOP_SIMULATED_STAMPS", "0")
# Label Studio gives its backends and webhooks a second, which two processes of tests may take from them
os.environ |= dict.fromkeys(("WEBHOOK_TIMEOUT", "ML_CONNECTION_TIMEOUT", "ML_TIMEOUT_HEALTH", "ML_TIMEOUT_SETUP"), "20")

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real galaxy images; tests that use it have a simulated twin."""
    folder = Path(os.environ.get("GALAXYLOOP_REAL_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("no real images here; set GALAXYLOOP_REAL_DATA to their folder")
    return folder


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Nobody looks for garbage among a million objects of libraries and tests: not while they are made, nor later."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        # libraries count their objects when the interpreter ends, and complain of those that are left
        atexit.register(gc.unfreeze)
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever needs PostgreSQL needs a server, so `make test-fast` leaves it out; the longest tests come first."""
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        if "postgres" in fixtures:
            item.add_marker(pytest.mark.live)
        if "installation" in fixtures and item.get_closest_marker("timeout") is None:
            # whichever comes first starts all servers
            item.add_marker(pytest.mark.timeout(900))
    scheduling.order(items)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Tensors as small as those of tests lose more to waiting for each other's threads than they gain.

    For each test anew, and before its fixtures: a training that an earlier one ran takes all cores, and their number
    changes the last digits.
    """
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> scheduling.OneLabelStudio:
    """With several processes, one of them has every test that needs Label Studio."""
    # by default the files with most tests come first, and the longest tests, alone in theirs, last
    config.option.loadscopereorder = False
    return scheduling.OneLabelStudio(config, log)


@pytest.fixture(scope="session")
def warm_interpreter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A `python` that runs modules and code in forks of a process that has loaded the libraries."""
    folder, programs = tmp_path_factory.mktemp("warm"), REPOSITORY / "tests/warm"
    python = folder / "python"
    python.write_text(f"#!{sys.executable} -IS\n{(programs / 'client.py').read_text()}")
    python.chmod(0o700)
    command = [sys.executable, str(programs / "server.py"), str(folder / "socket"), str(REPOSITORY)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with subprocess.Popen(command, env=environment | {"OMP_NUM_THREADS": "1"}) as server:
        processes.wait_until((folder / "socket").exists, 300, what="the warm interpreter")
        yield python
        server.terminate()


@pytest.fixture
def warm_python(warm_interpreter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the test starts with Python of its own, DVC and stages above all, needs no seconds to load libraries."""
    monkeypatch.setattr(sys, "executable", str(warm_interpreter))


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator["S3Server"]:
    """An S3 server of each test process that asks for one."""
    # imports clients of Amazon's, which few tests need
    from tests.s3_server import s3_server

    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """An embedded PostgreSQL of each test process."""
    with own(tmp_path_factory.mktemp("postgres")) as home, start_embedded(home) as server:
        never_wait_for_the_disk(server)
        yield server


@pytest.fixture(scope="session")
def shared_database(postgres: EmbeddedPostgres) -> Iterator[Database]:
    """A campaign database of each test process; use `database`, which empties it."""
    with Database(postgres.url("galaxyloop")) as opened:
        yield opened


@pytest.fixture
def database(shared_database: Database) -> Database:
    """An empty campaign database."""
    return emptied(shared_database)


def emptied(shared_database: Database) -> Database:
    """The database without a row, its numbers beginning at the first again.

    TRUNCATE writes some hundred files each time, of whatever it empties and of all that refers to it.
    """
    with shared_database.transaction() as connection:
        tables = connection.execute(
            "SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'schema_version'"
        ).fetchall()
        # what refers to a row goes with it here
        connection.execute("SET LOCAL session_replication_role = replica")
        delete = sql.SQL("DELETE FROM {}")
        connection.execute(sql.SQL("; ").join(delete.format(sql.Identifier(table["name"])) for table in tables))
        connection.execute(
            "SELECT setval(format('%I', sequencename)::regclass, start_value, false) FROM pg_sequences"
            " WHERE schemaname = 'public' AND last_value IS NOT NULL"
        )
    vars(shared_database).pop("stamp_sets", None)  # sets of the test before, which may have had these names
    return shared_database
