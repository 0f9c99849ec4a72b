"""The two databases of an installation as PostgreSQL's own programs dump and restore them.

`pg_dump`, and not a COPY of each table: it brings Label Studio's tables, whose shape is Django's, and Procrastinate's
types and triggers along as they are, and an older release's tables as they were, for the migrations to bring up.
"""

import subprocess
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from tempfile import TemporaryFile
from typing import NamedTuple

import psycopg
from psycopg import IsolationLevel
from psycopg.rows import dict_row

from backend_ml.backup.archive import BackupError, chunks
from backend_ml.local import data_folder, processes
from backend_ml.local.postgres import client_program, start_embedded
from backend_ml.settings import Settings, SettingsError
from backend_ml.store.database import MIGRATIONS, Connection, check_url, query

SIGNED_IN = "session"  # who is signed in, with tokens: a cookie of the former place opens nothing in another one


class Urls(NamedTuple):
    """Where the campaign database is, and Label Studio's own, "" where that is not ours to read."""

    campaigns: str
    label_studio: str


class Snapshot(NamedTuple):
    """A database as it was at one moment: a connection that sees it so, and the name others see it by."""

    connection: Connection
    name: str


@contextmanager
def running_databases(settings: Settings) -> Iterator[Urls]:
    """The databases of an installation; those of a data folder in which nothing runs are started meanwhile.

    Raises
    ------
    SettingsError
        If there is neither.
    """
    label_studio = settings.label_studio_database_url.get_secret_value()
    try:
        url = data_folder.database_url(settings)
    except SettingsError:
        if not (settings.home / "postgres").is_dir():
            raise
        with processes.own(settings.home) as home, start_embedded(home) as postgres:
            yield Urls(postgres.url("galaxyloop"), postgres.url("labelstudio"))
        return
    yield Urls(url, label_studio)


@contextmanager
def snapshots(urls: Urls) -> Iterator[tuple[Snapshot, Snapshot | None]]:
    """Both databases at one moment, ours first: what Label Studio knows more, a reconciliation finds.

    The other way round its comparison would take what Label Studio does not know yet for deleted.

    Raises
    ------
    BackupError
        If a database cannot be reached, or a newer Galaxy Loop made it.
    """
    with ExitStack() as stack:
        ours = stack.enter_context(_snapshot(urls.campaigns))
        theirs = stack.enter_context(_snapshot(urls.label_studio)) if urls.label_studio else None
        if not query(ours.connection, "has_table", table="schema_version")[0]["found"]:
            raise BackupError("The database has no tables yet, so there is nothing to keep.", "Start `galaxyloop up`.")
        found = query(ours.connection, "schema_version")[0]["number"]
        if found > len(MIGRATIONS):
            raise BackupError(
                f"A newer Galaxy Loop made the database: schema version {found}, this one knows {len(MIGRATIONS)}.",
                "Make the backup with that one.",
            )
        yield ours, theirs


@contextmanager
def _snapshot(url: str) -> Iterator[Snapshot]:
    check_url(url)
    try:
        connection = Connection.connect(url, row_factory=dict_row, connect_timeout=5)
    except psycopg.OperationalError as error:
        raise BackupError("A database cannot be reached.", "`galaxyloop doctor` says which and why.") from error
    with connection:
        connection.isolation_level, connection.read_only = IsolationLevel.REPEATABLE_READ, True
        row = connection.execute("SELECT pg_export_snapshot() AS name").fetchone()
        assert row is not None  # noqa: S101 (a function gives a row)
        yield Snapshot(connection, row["name"])


def unreadable(snapshot: Snapshot) -> list[str]:
    """Tables of a database that its role may not read."""
    return [row["tablename"] for row in snapshot.connection.execute(_UNREADABLE).fetchall()]


def bytes_on_disk(snapshot: Snapshot) -> int:
    """What a database takes on its disk, indexes and all."""
    row = snapshot.connection.execute("SELECT pg_database_size(current_database()) AS size").fetchone()
    return int(row["size"]) if row else 0


def dumped(url: str, snapshot: Snapshot) -> Iterator[bytes]:
    """A dump of a database at that moment, not compressed.

    Raises
    ------
    BackupError
        If `pg_dump` refuses; its words are in the message.
    """
    command, environment = client_program(
        "pg_dump",
        url,
        *("--format=custom", "--compress=none", "--no-owner", "--no-privileges"),
        *(f"--snapshot={snapshot.name}", f"--exclude-table-data=public.{SIGNED_IN}"),
    )
    with TemporaryFile() as words:
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=words) as program:  # noqa: S603
            assert program.stdout is not None  # noqa: S101 (it is a pipe)
            with _killed_on_failure(program):
                yield from chunks(program.stdout)  # type: ignore[arg-type]
        if program.returncode:
            words.seek(0)
            raise _refused("pg_dump", words.read())


def restored(url: str, content: Iterable[bytes]) -> None:
    """Put a dump into an empty database, whole or not at all.

    Raises
    ------
    BackupError
        If `pg_restore` refuses; its words are in the message.
    """
    command, environment = client_program(
        "pg_restore", url, "--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges"
    )
    with TemporaryFile() as words:
        with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stderr=words) as program:  # noqa: S603
            assert program.stdin is not None  # noqa: S101 (it is a pipe)
            with _killed_on_failure(program):
                try:
                    for chunk in content:
                        program.stdin.write(chunk)
                except BrokenPipeError:
                    pass  # it ends early where it refuses, and then says why
                finally:
                    with suppress(BrokenPipeError):
                        program.stdin.close()
        if program.returncode:
            words.seek(0)
            raise _refused("pg_restore", words.read())


def is_empty(url: str) -> bool:
    """Whether a database has no tables."""
    check_url(url)
    try:
        with psycopg.connect(url, connect_timeout=5) as connection:
            return connection.execute(_TABLES).fetchone() is None
    except psycopg.OperationalError as error:
        raise BackupError("A database cannot be reached.", "Check that it exists and its address is right.") from error


@contextmanager
def emptied_on_failure(url: str) -> Iterator[None]:
    """Take out again what was put into a database that was empty, if this context fails."""
    try:
        yield
    except BaseException:
        with suppress(psycopg.Error), psycopg.connect(url, connect_timeout=5) as connection:
            # types and functions too; no dump has anything of ours elsewhere
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")
        raise


@contextmanager
def _killed_on_failure(program: subprocess.Popen[bytes]) -> Iterator[None]:
    """End a program that nobody reads from or writes to any more."""
    try:
        yield
    except BaseException:
        program.kill()
        raise


def _refused(program: str, words: bytes) -> BackupError:
    said = " ".join(words.decode(errors="replace").split())[-500:]
    return BackupError(f"{program} refused: {said}", "Is the database reachable, and may its role read and write it?")


_TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
_UNREADABLE = (
    _TABLES + " AND NOT has_table_privilege(format('%I.%I', schemaname, tablename)::regclass, 'SELECT') ORDER BY 1"
)
