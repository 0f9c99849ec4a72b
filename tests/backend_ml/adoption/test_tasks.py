"""Tasks of a project that a campaign does not know, as a real database has them and Label Studio lists them."""

from collections.abc import Collection, Iterator
from typing import Any, cast

import pytest

from backend_ml.adoption.plan import project_number
from backend_ml.adoption.tasks import Difference, UnknownTask, differing_tasks, reasons, remember
from backend_ml.label_studio.client import LabelStudio
from backend_ml.store.database import Database
from backend_ml.store.records import Campaign, CampaignError

PICTURE = "/data/upload/1/a.png"


class Listing:
    """Label Studio's list of tasks."""

    url = "http://ls.example"

    def __init__(self, *tasks: dict[str, Any]) -> None:
        counts = dict.fromkeys(("total_annotations", "cancelled_annotations", "total_predictions"), 0)
        self._tasks = [counts | task for task in tasks]

    def data_manager(self, *_: object, **__: object) -> Iterator[dict[str, Any]]:
        return iter(self._tasks)

    def existing_tasks(self, _: int, tasks: Collection[int]) -> set[int]:
        """As `LabelStudio`'s: pages of the whole list may hide the task 110."""
        return {*tasks} & {*(task["id"] for task in self._tasks), 110}


def differing(database: Database, campaign: Campaign | None, *tasks: dict[str, Any]) -> Difference:
    listing = cast(LabelStudio, Listing(*tasks))
    return differing_tasks(database, listing, 7, campaign, "photo")


def unknown(database: Database, campaign: Campaign | None, *tasks: dict[str, Any]) -> list[UnknownTask]:
    return differing(database, campaign, *tasks).unknown


def test_a_task_names_a_stamp_or_a_picture_or_has_a_reason(database: Database, campaign: Campaign) -> None:
    found = unknown(
        database,
        campaign,
        {"id": 101, "data": {"photo": PICTURE}},
        {"id": 201, "data": {"stamp_set": "sky", "stamp_id": "3", "audit": "audit"}},
        {"id": 202, "data": {"photo": PICTURE, "stamp_set": "sky", "stamp_id": 99}},
        {"id": 203, "data": {"photo": PICTURE}, "total_predictions": 1},
        {"id": 204, "data": {"photo": "http://10.0.0.1/a.png"}},
        {"id": 205, "data": {}},
    )
    assert [task.id for task in found] == [201, 202, 203, 204, 205], "101 is known"
    assert (found[0].stamp, found[0].audit) == (("sky", 3), True)
    assert [bool(task.address) for task in found] == [False, True, True, False, False]
    assert [task.untouched for task in found[1:3]] == [True, False]
    assert all(task.reason for task in found[3:])


def test_what_is_remembered_is_known_and_keeps_its_picture(database: Database, campaign: Campaign) -> None:
    task = {"id": 301, "data": {"photo": PICTURE}}
    named = {"id": 302, "data": {"stamp_set": "sky", "stamp_id": 4}}
    new = unknown(database, campaign, task, named)
    with database.transaction() as connection:
        remember(connection, campaign, new, {301: ("sky", 5)}, {301})
    assert unknown(database, campaign, task, named) == []
    (row,) = database.rows("adopted_stamps", campaign=campaign.id, tasks=[301, 302])
    assert (row["stamp_id"], row["picture"]) == (5, PICTURE)
    found = differing(database, campaign, {"id": 301, "data": {"photo": "/data/upload/1/b.png"}})
    (other,) = found.changed
    assert "another picture" in other.reason and found.unknown == [] and other.address is None
    database.rows("delete_tasks", campaign=campaign.id, tasks=[301])
    (again,) = unknown(database, campaign, task)
    assert "a task which was deleted" in again.reason


def test_tasks_that_are_gone(database: Database, campaign: Campaign) -> None:
    there = [{"id": number, "data": {"photo": PICTURE}} for number in range(101, 108)]
    assert differing(database, campaign, *there).gone == {108, 109}
    assert differing(database, None, *there).gone == set()
    database.rows("delete_tasks", campaign=campaign.id, tasks=[108])
    assert differing(database, campaign, *there).gone == {109}, "what is known to be gone is not told again"


def test_reasons_are_told_once_the_most_common_first() -> None:
    assert reasons({3: "a", 1: "b", 2: "a"}) == ["2 tasks, first 2: a", "1 tasks, first 1: b"]


@pytest.mark.parametrize("text", ["12", " 12 ", "http://ls.example/projects/12", "https://x/y/projects/12/data?tab=1"])
def test_projects_by_number_or_address(text: str) -> None:
    assert project_number(text) == 12


@pytest.mark.parametrize("text", ["", "twelve", "-1", "http://ls.example/12", "9" * 12])
def test_what_is_no_project(text: str) -> None:
    with pytest.raises(CampaignError, match="no project"):
        project_number(text)
