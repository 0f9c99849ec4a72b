"""Every annotation is listed once, however many of them Label Studio cannot write."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend_ml.label_studio import annotations
from backend_ml.label_studio.annotations import ListedAnnotation, listed
from backend_ml.label_studio.connection import LabelStudioError, condition
from lvm_training.errors import GalaxyLoopError

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Server:
    """The listing of Label Studio 1.23: whole pages by task, and 500 where one annotation on a page is too deep.

    Parameters
    ----------
    tasks : list of list of bool
        For each task its annotations, True for one that cannot be written; their ids count from 1.
    down_after : int
        Calls that are answered before Label Studio is gone.
    """

    def __init__(self, tasks: list[list[bool]], down_after: int = 10**6) -> None:
        self.tasks, self.calls, self.down_after = [], 0, down_after
        number = 0
        for task, odd in enumerate(tasks, start=100):
            ids = list(range(number + 1, number + len(odd) + 1))
            number += len(odd)
            self.tasks.append((task, dict(zip(ids, odd, strict=True))))
        self.shown = [(task, held) for task, held in self.tasks if held]

    def call(self, method: str, path: str, **query: Any) -> Any:
        self.calls += 1
        if self.calls > self.down_after:
            raise LabelStudioError("Label Studio does not answer.")
        if path.startswith("api/annotations/"):
            number = int(path.split("/")[2])
            self._refuse(any(held.get(number) for _, held in self.tasks))
            return {"id": number, "alone": True}
        conditions = json.loads(query["query"])["filters"]["items"]
        assert conditions[0] == condition("annotations_ids", "greater", "Number", 0)
        start = (query["page"] - 1) * query["page_size"]
        rows = self.shown[start : start + query["page_size"]]
        if query.get("fields") == "all":
            self._refuse(any(odd for _, held in rows for odd in held.values()))
            tasks = [{"id": task, "annotations": [{"id": one} for one in held]} for task, held in rows]
        else:
            tasks = [{"id": task, "annotations_ids": ",".join(map(str, held))} for task, held in rows]
        return {"total": len(self.shown), "tasks": tasks}

    @staticmethod
    def _refuse(odd: bool) -> None:
        if odd:
            raise LabelStudioError("maximum recursion depth exceeded", status=500)


TASKS = st.lists(st.lists(st.sampled_from([False, False, False, True]), max_size=3), max_size=60)


@settings(max_examples=60, deadline=None)
@given(tasks=TASKS, page=st.sampled_from([1, 10, 30, 100]))
def test_each_annotation_is_listed_once_and_only_odd_ones_fail(tasks: list[list[bool]], page: int) -> None:
    server = Server(tasks)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(annotations, "PAGE", page)
        found = list(listed(server.call, 7, []))
    wanted = [(number, task, odd) for task, held in server.tasks for number, odd in held.items()]
    assert [(one.id, one.task, one.failure is not None) for one in found] == wanted


def test_pages_that_can_be_written_cost_one_call_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(annotations, "PAGE", 10)
    server = Server([[False]] * 30)
    assert len(list(listed(server.call, 7, []))) == 30 and server.calls == 3
    odd = Server([*[[False]] * 12, [True], *[[False]] * 17])
    assert sum(one.failure is not None for one in listed(odd.call, 7, [])) == 1
    # the second page once, its ten tasks, the odd task's ids and its annotation
    assert odd.calls == 3 + 10 + 2


def test_conditions_go_along() -> None:
    asked = []

    def call(method: str, path: str, **query: Any) -> Any:
        asked.append(json.loads(query["query"]))
        return {"total": 0, "tasks": []}

    since = condition("updated_at", "greater", "Datetime", "2026-01-01")
    assert list(listed(call, 7, [since])) == []
    assert asked[0]["filters"]["items"][1:] == [since] and asked[0]["ordering"] == ["tasks:id"]


@pytest.mark.parametrize("calls", [0, 1, 2, 5])
def test_a_server_that_goes_away_is_no_odd_annotation(calls: int) -> None:
    server = Server([[False], [True], [False]], down_after=calls)
    with pytest.raises(LabelStudioError, match="does not answer"):
        list(listed(server.call, 7, []))


def test_an_annotation_without_an_id_is_not_label_studio_s() -> None:
    def call(method: str, path: str, **query: Any) -> Any:
        return {"total": 1, "tasks": [{"id": 5, "annotations": [{"result": []}]}]}

    with pytest.raises(LabelStudioError, match="task 5 without an id"):
        list(listed(call, 7, []))


def test_what_cannot_be_read_says_why() -> None:
    failure = LabelStudioError("too deep", status=500)
    with pytest.raises(LabelStudioError, match="too deep"):
        ListedAnnotation(1, 2, None, failure).read()
    with pytest.raises(ValueError):
        ListedAnnotation(1, 2, {"id": 1}).read()
    assert issubclass(LabelStudioError, GalaxyLoopError)


@pytest.mark.parametrize(
    ("body", "newer"),
    [
        ({"updated_at": (NOW + timedelta(seconds=1)).isoformat()}, True),
        ({"updated_at": NOW.isoformat()}, False),
        ({"updated_at": (NOW - timedelta(days=1)).isoformat()}, False),
        # what does not say when it was changed is read again
        ({"updated_at": "yesterday"}, True),
        ({"updated_at": None}, True),
        ({}, True),
        (None, True),
        ([], True),
        ({"updated_at": "2020-01-01T00:00:00"}, True),
    ],
)
def test_what_is_newer_than_a_time(body: Any, newer: bool) -> None:
    assert ListedAnnotation(1, 2, body).newer(NOW) is newer
