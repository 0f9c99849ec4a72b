"""What commands about campaigns work with: settings, database, Label Studio, and who gives them."""

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from backend_ml.console import reported

if TYPE_CHECKING:
    from backend_ml.label_studio.client import LabelStudio
    from backend_ml.labels.people import People
    from backend_ml.settings import Settings
    from backend_ml.store.database import Connection, Database


@dataclass(frozen=True)
class Session:
    """What a command works with."""

    settings: "Settings"
    database: "Database"
    label_studio: "LabelStudio"


@contextmanager
def session() -> Iterator[Session]:
    """Settings, database and Label Studio for one command; expected errors end it with one line."""
    from backend_ml.settings import Settings

    with reported():
        settings = Settings()
        from backend_ml.label_studio.client import LabelStudio
        from backend_ml.local import data_folder
        from backend_ml.store.database import Database

        label_studio = LabelStudio.from_settings(settings, patience=5)
        with Database(data_folder.database_url(settings)) as database, label_studio:
            yield Session(settings, database, label_studio)


@contextmanager
def opened() -> "Iterator[Database]":
    """The database for a command that asks nothing of Label Studio, which takes as long again to import."""
    from backend_ml.local import data_folder
    from backend_ml.settings import Settings
    from backend_ml.store.database import Database

    with reported(), Database(data_folder.database_url(Settings())) as database:
        yield database


@contextmanager
def transaction() -> "Iterator[Connection]":
    """One transaction of it."""
    with opened() as database, database.transaction() as connection:
        yield connection


def whoever() -> str:
    """Who gives a command: the name that they are logged in by."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have none
        return "the command line"


@cache
def annotator_name(annotator: int) -> str:
    """What Label Studio calls somebody; nobody is asked before there is an annotator, since that takes a second."""
    return _people().name(annotator)


@cache
def _people() -> "People":
    from backend_ml.labels.people import People
    from backend_ml.settings import Settings

    return People(Settings(), patience=5)
