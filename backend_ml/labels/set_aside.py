"""One odd webhook or annotation is set aside with the reason, so that what comes behind it goes on."""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import psycopg
from pydantic import ValidationError

from backend_ml.store.database import Connection, DatabaseError, query
from backend_ml.store.records import Campaign
from lvm_training.errors import GalaxyLoopError, is_full, problems

T = TypeVar("T")
Row = Mapping[str, Any]
Odd = tuple[int, int, str]
"""An annotation to set aside: its id, its task's, and why."""
LONGEST = 300  # characters of a reason
# SQLSTATE classes: connection, transaction state, rollback, resources, not in the right state, operator, system
PASSING = {"08", "25", "40", "53", "55", "57", "58"}


def attempted(connection: Connection, act: Callable[[], bool]) -> tuple[bool, str | None]:
    """What `act` says; False and the reason where it fails by what it was given, and nothing of it is kept then.

    Any exception is taken for the fault of what was given, for nobody can list what people and programs send. But a
    failure that would meet the next one as well, of a connection that broke or a deadlock, is raised: whoever waits
    and tries again loses nothing.
    """
    try:
        # a savepoint: what was done before it stays
        with connection.transaction():
            return act(), None
    except Exception as error:
        if connection.closed or will_pass(error):
            raise
        return False, reason(error)


def will_pass(error: Exception) -> bool:
    """Whether the same may succeed later, since not what was read but the database is to blame."""
    if isinstance(error, psycopg.Error) and error.sqlstate:
        return error.sqlstate[:2] in PASSING
    return isinstance(error, DatabaseError | psycopg.OperationalError | psycopg.InterfaceError)


def reason(error: Exception) -> str:
    """Why something cannot be read, in one line that PostgreSQL can store."""
    if isinstance(error, ValidationError):
        text = f"{problems(error)[0]}."
    elif isinstance(error, GalaxyLoopError):
        text = str(error)
    elif isinstance(error, psycopg.Error):
        text = f"The database cannot store it: {error.diag.message_primary or error}."
    elif isinstance(error, OSError) and is_full(error):
        text = f"The disk is full: {error}. Make room there, then ask for it again."
    else:
        text = f"{type(error).__name__}: {error}"
    line = " ".join(text.replace("\x00", "\\x00").split())
    return line.encode("utf-8", "backslashreplace").decode()[:LONGEST]


def read_results(rows: Iterable[Row], read: Callable[[Any], T]) -> tuple[list[tuple[Row, T]], tuple[Odd, ...]]:
    """What each label says, with its row; and those that cannot be read, to be set aside.

    Parameters
    ----------
    rows : iterable of row
        As the query `object_labels` gives them.
    read : callable
        From the result of an annotation to what it says.
    """
    said, odd = list[tuple[Row, T]](), list[Odd]()
    for row in rows:
        try:
            said.append((row, read(json.loads(row["result"]))))
        except Exception as error:
            # whatever is wrong with one annotation, the others are learned
            odd.append((row["annotation_id"], row["task_id"], reason(error)))
    return said, tuple(odd)


def lock(connection: Connection, campaign: Campaign) -> None:
    """Have what is set aside to oneself until the transaction ends, before the labels are read that say what is odd."""
    query(connection, "lock_set_aside", campaign=campaign.id)


def put(connection: Connection, campaign: Campaign, annotation: int, task: int, why: str) -> None:
    """Set an annotation aside, until it is corrected or deleted in Label Studio."""
    query(connection, "put_set_aside", campaign=campaign.id, annotation=annotation, task=task, reason=why)


def put_all(connection: Connection, campaign: Campaign, odd: Iterable[Odd]) -> None:
    """Set aside annotations, each given with its task and the reason."""
    for annotation, task, why in odd:
        put(connection, campaign, annotation, task, why)


def clear(connection: Connection, campaign: Campaign, annotation: int) -> None:
    """Forget that an annotation was set aside."""
    query(connection, "clear_set_aside", campaign=campaign.id, annotation=annotation)


def annotations(connection: Connection, campaign: Campaign) -> dict[int, int]:
    """The task of each annotation that is set aside."""
    rows = query(connection, "annotations_aside", campaign=campaign.id)
    return {row["annotation_id"]: row["task_id"] for row in rows}
