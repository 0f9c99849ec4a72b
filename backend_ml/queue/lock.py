"""The lock on a campaign's queue: who fills it or pushes it has it to themselves."""

import functools
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from backend_ml.label_studio.client import LabelStudio
from backend_ml.store.database import Database
from backend_ml.store.records import Campaign

P = ParamSpec("P")
T = TypeVar("T")

Work = Callable[Concatenate[Database, LabelStudio, Campaign, P], T]


def alone(work: Work[P, T]) -> Work[P, T]:
    """Let one process at a time do such work for a campaign; others wait.

    The work holds no transaction meanwhile but those it opens itself: it waits on Label Studio and on inference.

    Raises
    ------
    DatabaseError
        If the server cannot be reached.
    """

    @functools.wraps(work)
    def locked(
        database: Database, label_studio: LabelStudio, campaign: Campaign, /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        with database.sole("try_lock_queue", campaign=campaign.id):
            return work(database, label_studio, campaign, *args, **kwargs)

    return locked
