"""PostgreSQL: the connection pool, the schema, and the named queries in `sql/queries.sql`."""

import math
import re
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import cached_property
from importlib.resources import files
from importlib.resources.abc import Traversable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import DictRow, dict_row
from psycopg_pool import ConnectionPool, PoolTimeout

from lvm_training.errors import GalaxyLoopError

if TYPE_CHECKING:
    from backend_ml.store.stamps import StampSets

Connection = psycopg.Connection[DictRow]
SQL = files("backend_ml.store").joinpath("sql")
LOCK_PAUSE = 0.2  # seconds between two looks at a lock that somebody else holds
SCHEMA_LOCK = 7_405_105_890  # any constant: serialises hosts that set up the schema at the same moment


class DatabaseError(GalaxyLoopError):
    """PostgreSQL cannot be reached."""

    code = "database"


def _sql(name: str) -> str:
    return SQL.joinpath(name).read_text()


def _read_queries() -> dict[str, str]:
    """The queries by name, each under the line that says what it is for: PostgreSQL's statistics show it too."""
    parts = re.split(r"^-- name: (\w+)\n", _sql("queries.sql"), flags=re.MULTILINE)[1:]
    return {name: body.strip() for name, body in zip(parts[::2], parts[1::2], strict=True)}


def _read_migrations(folder: Traversable) -> list[str]:
    """The files of a folder by the number that their names begin with, which counts from 1; there may be none."""
    files_there = [path for path in folder.iterdir() if path.name.endswith(".sql")] if folder.is_dir() else []
    found = {int(path.name.partition("_")[0]): path.read_text() for path in files_there}
    if len(found) < len(files_there):
        raise DatabaseError("Two migrations begin with one number.", "Give the later one the next number.")
    return [found[number] for number in range(1, len(found) + 1)]


def _unreachable() -> DatabaseError:
    return DatabaseError(
        "The database cannot be reached.", "Check that PostgreSQL runs and GALAXYLOOP_DATABASE_URL is right."
    )


def _in_utc(connection: Connection) -> None:
    """Have times in UTC, as people are told them, whatever time zone the server lives in."""
    connection.execute("SET TIME ZONE 'UTC'")
    connection.commit()


QUERIES = _read_queries()
MIGRATIONS = _read_migrations(SQL.joinpath("migrations"))


def query(connection: Connection, name: str, /, **values: Any) -> list[DictRow]:
    """Run a named query; its rows, or an empty list if it returns none."""
    cursor = connection.execute(QUERIES[name], values)
    return cursor.fetchall() if cursor.description else []


def query_many(connection: Connection, name: str, rows: list[dict[str, Any]]) -> None:
    """Run a named query once for each row of values."""
    with connection.cursor() as cursor:
        cursor.executemany(QUERIES[name], rows)


def _migrate(connection: Connection) -> None:
    """Apply the schema where there is none, then each migration the database has not seen, in order."""
    if not query(connection, "has_table", table="schema_version")[0]["found"]:
        connection.execute(_sql("schema.sql"))
    current = query(connection, "schema_version")[0]["number"]
    if current > len(MIGRATIONS):
        raise DatabaseError(
            f"The database has schema version {current}; this Galaxy Loop knows {len(MIGRATIONS)}.",
            "Update Galaxy Loop on this host, or name an empty database in GALAXYLOOP_DATABASE_URL.",
        )
    for migration in MIGRATIONS[current:]:
        connection.execute(migration)
    if current < len(MIGRATIONS):  # a role of one service may not write this
        query(connection, "put_schema_version", number=len(MIGRATIONS))


def check_url(url: str) -> None:
    """Refuse what is no connection string, and do not repeat it: libpq's own error quotes it, password and all.

    Raises
    ------
    DatabaseError
        If libpq cannot read it.
    """
    try:
        conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        raise DatabaseError(
            "The address of the database cannot be read.",
            "Write it as postgresql://user:password@host/name, with special characters percent-encoded.",
        ) from None


class Database:
    """A pool of connections to the campaign database.

    Parameters
    ----------
    url : str
        A libpq connection string.
    size : int
        The most connections held at once.
    go_on : callable, optional
        Called between two looks at a lock that somebody else holds; what it raises ends the wait.
    """

    def __init__(self, url: str, *, size: int = 8, go_on: Callable[[], object] | None = None) -> None:
        self.url = url
        self._go_on = go_on
        self._pool = ConnectionPool(
            url,
            connection_class=Connection,
            kwargs={"row_factory": dict_row},
            min_size=1,
            max_size=size,
            timeout=5,
            check=ConnectionPool.check_connection,
            configure=_in_utc,
            open=False,
        )

    def open(self) -> Self:
        """Open the pool, create the schema where it is missing, and bring an older one up to date.

        Raises
        ------
        DatabaseError
            If no connection is made within five seconds, or a newer Galaxy Loop made the schema.
        """
        check_url(self.url)
        self._pool.open()
        try:
            with self.transaction() as connection:
                connection.execute("SELECT pg_advisory_xact_lock(%s)", (SCHEMA_LOCK,))
                if not query(connection, "has_table", table="procrastinate_jobs")[0]["found"]:
                    from procrastinate.schema import SchemaManager

                    connection.execute(SchemaManager.get_schema())
                _migrate(connection)
        except BaseException:
            self._pool.close()
            raise
        return self

    @cached_property
    def stamp_sets(self) -> "StampSets":
        """The registered stamp sets, each opened once for all who ask here."""
        # reads HDF5, which takes longer to import than `campaign status` may take
        from backend_ml.store.stamps import StampSets

        return StampSets(self)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A connection in a transaction: committed at the end, rolled back by an exception.

        Raises
        ------
        DatabaseError
            If the server cannot be reached.
        """
        # begun here: psycopg commits a part of it that begins as the first thing, since that is a whole one to it
        with self._connection() as connection, connection.transaction():
            yield connection

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        try:
            with self._pool.connection() as connection:
                yield connection
        except (PoolTimeout, psycopg.OperationalError) as error:
            raise _unreachable() from error

    @contextmanager
    def statements(self) -> Iterator[Connection]:
        """A connection on which each statement is a transaction by itself: without BEGIN and COMMIT around it.

        Raises
        ------
        DatabaseError
            If the server cannot be reached.
        """
        with self._connection() as connection:
            connection.autocommit = True
            try:
                yield connection
            finally:
                if not connection.closed:
                    connection.autocommit = False

    def rows(self, name: str, /, **values: Any) -> list[DictRow]:
        """The rows of a named query, in a transaction of its own."""
        with self.statements() as connection:
            return query(connection, name, **values)

    @contextmanager
    def sole(self, lock: str, /, *, wait: bool = True, at_most: float = math.inf, **values: Any) -> Iterator[bool]:
        """Let no other process in that asks for the same, however long this takes; a kill lets go of it.

        Gives whether the lock is taken, which without `wait`, or after waiting in vain, it may not be.

        The lock is a session's, on a connection of its own without a transaction: it may be held over HTTP and
        inference, where a transaction would keep the server from cleaning up, and a pooled connection others waiting.

        Parameters
        ----------
        lock : str
            A named query that gives `taken`, whether it took an advisory lock.
        wait : bool
            Whether to wait while another process has it.
        at_most : float
            Seconds to wait.

        Raises
        ------
        DatabaseError
            If the server cannot be reached.
        """
        try:
            connection = Connection.connect(self.url, autocommit=True, row_factory=dict_row, connect_timeout=5)
        except psycopg.OperationalError as error:
            raise _unreachable() from error
        with closing(connection):
            try:
                deadline = time.monotonic() + (at_most if wait else 0)
                while not (taken := query(connection, lock, **values)[0]["taken"]) and time.monotonic() < deadline:
                    if self._go_on is not None:
                        self._go_on()
                    time.sleep(LOCK_PAUSE)
            except psycopg.OperationalError as error:
                raise _unreachable() from error
            yield taken

    def close(self) -> None:
        """Close every connection."""
        self._pool.close()

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
