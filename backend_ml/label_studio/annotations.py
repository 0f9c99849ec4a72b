"""Annotations as Label Studio lists them, odd ones too: one that it cannot write must not hide the others."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx
from pydantic import TypeAdapter, ValidationError

from backend_ml.label_studio.connection import PAGE, LabelStudioError, condition
from backend_ml.label_studio.wire import Annotation

FEWER = 10  # times fewer tasks a request where Label Studio could not write a page
TIME = TypeAdapter(datetime)

Call = Callable[..., Any]
"""As `LabelStudio.call`."""


@dataclass(frozen=True)
class ListedAnnotation:
    """An annotation of a listing, not read yet.

    Attributes
    ----------
    id, task : int
    body : object
        What Label Studio says of it.
    failure : LabelStudioError or None
        Why it cannot say it.
    """

    id: int
    task: int
    body: Any
    failure: LabelStudioError | None = None

    def read(self) -> Annotation:
        """The annotation.

        Raises
        ------
        LabelStudioError
            If Label Studio cannot write it.
        pydantic.ValidationError
            If it is not as annotations are.
        """
        if self.failure is not None:
            raise self.failure
        return Annotation.model_validate(self.body)

    def newer(self, since: datetime) -> bool:
        """Whether it was changed after a time, as far as it can be told."""
        try:
            return TIME.validate_python(self.body["updated_at"]) > since
        except (ValidationError, TypeError, KeyError):
            return True


def listed(call: Call, project: int, conditions: list[dict[str, Any]]) -> Iterator[ListedAnnotation]:
    """The annotations of all tasks that meet the conditions, by task.

    Label Studio answers 500 to a whole page where one annotation is nested deeper than its serialiser can go; what is
    on such a page is asked for in smaller pieces, at last one by one.

    Raises
    ------
    LabelStudioError
        If Label Studio cannot be reached, or lists no task at all.
    """
    # without this condition the bare listing leaves the ids out
    annotated = [condition("annotations_ids", "greater", "Number", 0), *conditions]
    page, total = 1, 1
    while (page - 1) * PAGE < total:
        total, found = _page(call, project, annotated, page, PAGE)
        yield from found
        page += 1


def _page(
    call: Call, project: int, conditions: list[dict[str, Any]], page: int, size: int
) -> tuple[int, list[ListedAnnotation]]:
    """How many tasks there are in all, and the annotations on one page of them."""
    query = json.dumps({"filters": {"conjunction": "and", "items": conditions}, "ordering": ["tasks:id"]})
    where = {"project": project, "query": query, "page": page, "page_size": size}
    try:
        answer = call("GET", "api/tasks/", **where, fields="all")
    except LabelStudioError as error:
        if not unwritable(error):
            raise
    else:
        tasks = answer["tasks"]
        return answer["total"], [_listed(body, task["id"]) for task in tasks for body in task["annotations"]]
    if size == 1:
        answer = call("GET", "api/tasks/", **where)
        return answer["total"], [_alone(call, one, task["id"]) for task in answer["tasks"] for one in _ids(task)]
    part = max(size // FEWER, 1)
    number, last, found = (page - 1) * (size // part) + 1, page * (size // part), list[ListedAnnotation]()
    total = (number - 1) * part + 1
    while number <= last and (number - 1) * part < total:
        total, some = _page(call, project, conditions, number, part)
        found += some
        number += 1
    return total, found


def unwritable(error: LabelStudioError) -> bool:
    """Whether Label Studio is up but failed to write its answer, or wrote none that can be read."""
    return error.status in (httpx.codes.OK, httpx.codes.INTERNAL_SERVER_ERROR)


def _listed(body: Any, task: int) -> ListedAnnotation:
    number = body.get("id") if isinstance(body, dict) else None
    if not isinstance(number, int):
        raise LabelStudioError(f"Label Studio listed an annotation of task {task} without an id.", "Is it 1.23?")
    return ListedAnnotation(number, task, body)


def _alone(call: Call, annotation: int, task: int) -> ListedAnnotation:
    try:
        return ListedAnnotation(annotation, task, call("GET", f"api/annotations/{annotation}/"))
    except LabelStudioError as error:
        if not unwritable(error):
            raise
        return ListedAnnotation(annotation, task, None, error)


def _ids(task: dict[str, Any]) -> list[int]:
    return [int(number) for number in task["annotations_ids"].split(",") if number]
