"""One process at a time fills or pushes a campaign's queue."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, cast

import pytest

from backend_ml.label_studio.client import LabelStudio
from backend_ml.queue.lock import alone
from backend_ml.store.database import Database, DatabaseError
from backend_ml.store.records import Campaign

NO_LABEL_STUDIO = cast(LabelStudio, None)


def test_work_on_one_queue_waits_for_its_turn_and_on_another_does_not(database: Database, campaign: Campaign) -> None:
    came: list[str] = []
    first_in, other_in, first_may_go = threading.Event(), threading.Event(), threading.Event()

    @alone
    def work(database: Database, label_studio: LabelStudio, campaign: Campaign, name: str) -> str:
        came.append(name)
        if name == "first":
            first_in.set()
            assert first_may_go.wait(30)
        elif name == "other":
            other_in.set()
        return name

    def start(campaign: Campaign, name: str) -> Any:
        return pool.submit(work, database, NO_LABEL_STUDIO, campaign, name)

    with ThreadPoolExecutor(3) as pool:
        first = start(campaign, "first")
        assert first_in.wait(30)
        second = start(campaign, "second")
        other = start(replace(campaign, id=campaign.id + 1), "other")
        assert other_in.wait(30), "another campaign's queue is free"
        assert came == ["first", "other"] and not second.done()
        first_may_go.set()
        assert [one.result(30) for one in (first, second, other)] == ["first", "second", "other"]


def test_work_that_fails_lets_the_next_in(database: Database, campaign: Campaign) -> None:
    @alone
    def work(database: Database, label_studio: LabelStudio, campaign: Campaign, /, *, fails: bool) -> bool:
        if fails:
            raise ValueError("no such prediction")
        return True

    with pytest.raises(ValueError, match="no such prediction"):
        work(database, NO_LABEL_STUDIO, campaign, fails=True)
    assert work(database, NO_LABEL_STUDIO, campaign, fails=False)


def test_without_a_database_no_work_begins(campaign: Campaign) -> None:
    @alone
    def work(database: Database, label_studio: LabelStudio, campaign: Campaign) -> None:
        pytest.fail("began")

    with pytest.raises(DatabaseError, match="cannot be reached"):
        work(Database("postgresql://127.0.0.1:1/nowhere"), NO_LABEL_STUDIO, campaign)
