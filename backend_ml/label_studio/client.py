"""The client of a Label Studio server: projects, tasks, predictions, annotations, backends and webhooks."""

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import httpx
from label_studio_sdk.base_client import LabelStudioBase
from label_studio_sdk.types.lse_project_response import LseProjectResponse
from label_studio_sdk.types.webhook import Webhook

from backend_ml.label_studio.annotations import ListedAnnotation, listed
from backend_ml.label_studio.connection import PAGE, TOKEN, LabelStudioError, condition, connect, insist, sign_up
from backend_ml.label_studio.predictions import (
    PredictionRow,
    StoredPrediction,
    rewritten,
    vacant_tasks,
    write_in_database,
)
from backend_ml.label_studio.regions.choices import needs_answer, with_steady_keys
from backend_ml.label_studio.wire import Annotation
from backend_ml.settings import Settings
from lvm_training.progress import Progress

SAMPLING = "Uncertainty sampling"  # serves the lowest score first
CHUNK = 1000  # tasks or predictions a request: a few tenths of a second to two seconds of the server's time
CELL_LIMIT = 500  # Label Studio cuts the text of a Data Manager cell here
WEBHOOK_ACTIONS = [
    "ANNOTATION_CREATED",
    "ANNOTATIONS_CREATED",
    "ANNOTATION_UPDATED",
    "ANNOTATIONS_DELETED",
    "TASKS_DELETED",
    "PROJECT_UPDATED",
]

Item = TypeVar("Item")


@dataclass(frozen=True)
class Project:
    """A Label Studio project; `model_version` is the one whose predictions order the queue."""

    id: int
    title: str
    label_config: str
    model_version: str
    created_at: datetime
    tasks: int
    annotations: int


class LabelStudio:
    """A Label Studio server seen by one of its users.

    Every method raises `LabelStudioError` if the server stays away for `patience` seconds or refuses.

    Parameters
    ----------
    url : str
        Its address.
    token : str
        The user's legacy token or personal access token.
    patience : float
        How long to wait, in seconds, for a server that is away.
    database_url : str
        Label Studio's own PostgreSQL, if it may be used: to write predictions, and to read its members.
    go_on : callable, optional
        Called while a server that is away is waited for; what it raises ends the wait.
    timeout : float or None
        Seconds that an answer may take; None for two minutes.
    """

    def __init__(
        self,
        url: str,
        token: str,
        patience: float = 60,
        database_url: str = "",
        go_on: Callable[[], object] | None = None,
        timeout: float | None = None,
    ) -> None:
        if not TOKEN.fullmatch(token):
            # httpx would quote it in its error
            raise LabelStudioError(
                "This is no token of Label Studio's: it holds a space, a line's end or another character of no token.",
                "Copy it again from Label Studio: Account & Settings, Access Token.",
            )
        self.url = url.rstrip("/")
        self.token = token
        self._http = connect(self.url, patience, go_on, timeout)
        self.sdk = LabelStudioBase(base_url=self.url, api_key=token, httpx_client=self._http, max_retries=0)
        self.database_url = database_url

    @classmethod
    def from_settings(cls, settings: Settings, patience: float = 60, go_on: Callable[[], object] | None = None) -> Self:
        """The server and user that the settings name.

        Raises
        ------
        SettingsError
            If there is no token.
        """
        token = settings.require("label_studio_token").label_studio_token.get_secret_value()
        database_url = settings.label_studio_database_url.get_secret_value()
        return cls(settings.label_studio_url, token, patience, database_url, go_on)

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(self, method: str, path: str, body: Any = None, **params: Any) -> Any:
        """Use a route that the SDK lacks, or whose body it would copy item by item in Python."""
        content = None if body is None else json.dumps(body, allow_nan=False).encode()
        headers = {"Content-Type": "application/json"} if content else {}
        request = self.sdk._client_wrapper.httpx_client.request
        response = request(path, method=method, params=params, content=content, headers=headers)
        try:
            return response.json() if response.content else None
        except (ValueError, RecursionError) as error:
            message = f"Label Studio's answer to {method} {path} is no JSON that can be read ({type(error).__name__})."
            raise LabelStudioError(message, "Look at Label Studio's log.", response.status_code) from error

    def delete(self, path: str) -> bool:
        """Delete something; False if it was gone already."""
        try:
            self.call("DELETE", path)
        except LabelStudioError as error:
            if error.status != httpx.codes.NOT_FOUND:
                raise
            return False
        return True

    def authorization(self) -> str:
        """The header by which the user is known; of a personal access token a new one every few minutes."""
        return str(self.sdk._client_wrapper.get_headers()["Authorization"])

    def me(self) -> int:
        """The id of the token's user: the cheapest way to see that address and token work."""
        return int(self.whoami()["id"])

    def whoami(self) -> Any:
        """The token's user, a mapping: `id`, `email` and more."""
        return self.call("GET", "api/current-user/whoami")

    def invite_url(self, *, renewed: bool = False) -> str:
        """The address where a new member of the team signs up; `renewed` ends the one before."""
        answer = self.call("POST", "api/invite/reset-token") if renewed else self.call("GET", "api/invite")
        path = answer["invite_url"]
        return path if urlsplit(path).scheme else f"{self.url}{path}"

    def data_manager(
        self, project: int, conditions: list[dict[str, Any]], size: int = PAGE, **params: Any
    ) -> Iterator[dict[str, Any]]:
        """Tasks that meet all conditions, by id, so that tasks which join meanwhile cannot hide others."""
        query = json.dumps({"filters": {"conjunction": "and", "items": conditions}, "ordering": ["tasks:id"]})
        page, seen, total = 1, 0, 1
        while seen < total:
            answer = self.call("GET", "api/tasks/", project=project, query=query, page=page, page_size=size, **params)
            yield from answer["tasks"]
            page, seen, total = page + 1, seen + size, answer["total"]

    def count_tasks(self, project: int, conditions: list[dict[str, Any]]) -> int:
        """How many tasks meet all conditions."""
        query = json.dumps({"filters": {"conjunction": "and", "items": conditions}})
        answer = self.call("GET", "api/tasks/", project=project, query=query, page=1, page_size=1)
        return int(answer["total"])

    # Projects

    def create_project(self, title: str, label_config: str, *, instruction_html: str, sampling: str = SAMPLING) -> int:
        """Create a project that shows its instruction and its predictions; its id.

        Where a question must be answered, Submit waits for an answer: Label Studio's warning that one is missing leaves
        every key to the page behind it.
        """
        project = self.sdk.projects.create(
            title=title,
            label_config=with_steady_keys(label_config),
            enable_empty_annotation=not needs_answer(label_config),
            expert_instruction=instruction_html,
            show_instruction=True,
            show_collab_predictions=True,
            sampling=sampling,
        )
        return _id(project.id)

    def project(self, project: int) -> Project:
        """A project with its counts; skipped annotations are counted."""
        return _project(self.sdk.projects.get(project))

    def update_project(self, project: int, **fields: Any) -> None:
        """Change fields of a project, named as in Label Studio's API."""
        # it writes every task for some: who imports predictions at this moment may lock it out
        insist(lambda: self.sdk.projects.update(project, **fields))

    def set_model_version(self, project: int, version: str) -> None:
        """Order the queue by the predictions of this version; it must have some, or be a backend's title."""
        self.update_project(project, model_version=version)

    def delete_project(self, project: int) -> None:
        """Delete a project with all its tasks."""
        # who opens a task at this moment leaves a lock that its deletion trips over
        insist(lambda: self.sdk.projects.delete(project))

    # Tasks and predictions

    def import_tasks(
        self, project: int, tasks: Sequence[dict[str, Any]], on_progress: Progress | None = None
    ) -> list[int]:
        """Create tasks (`{"data": {...}}` each); their ids, in the order given."""
        ids: list[int] = []
        for chunk in _chunks(tasks, CHUNK):
            answer = self.call("POST", f"api/projects/{project}/import", chunk, return_task_ids=True)
            created = answer.get("task_ids") or []
            if len(created) != len(chunk):
                raise LabelStudioError(
                    f"Label Studio created {len(created)} of {len(chunk)} tasks.",
                    "A server that imports in the background (Enterprise) is not supported.",
                )
            ids += created
            if on_progress:
                on_progress(len(ids), len(tasks))
        return ids

    def import_predictions(
        self, project: int, rows: Sequence[PredictionRow], on_progress: Progress | None = None
    ) -> int:
        """Store predictions in bulk; how many.

        They are checked here, before the first is sent, because the bulk route checks nothing and a score that is
        not finite makes Label Studio answer 500 wherever the task appears.

        Raises
        ------
        PredictionRowError
            For a score that is not finite, or an empty version.
        LabelStudioError
            With status 400 for an unknown task; nothing of that chunk is stored then.
        """
        for row in rows:
            row.check()
        done = 0
        for chunk in _chunks(rows, CHUNK):
            body = [
                {"task": row.task, "model_version": row.model_version, "score": row.score, "result": row.result}
                for row in chunk
            ]
            created = self.call("POST", f"api/projects/{project}/import/predictions", body)["created"]
            if created != len(chunk):
                raise LabelStudioError(f"Label Studio stored {created} of {len(chunk)} predictions.", "Push again.")
            done += len(chunk)
            if on_progress:
                on_progress(done, len(rows))
        return done

    def predictions(self, project: int) -> list[StoredPrediction]:
        """Every prediction of a project, in one request: about 0.2 ms each, and their results travel along."""
        return [StoredPrediction.from_api(row) for row in self.call("GET", "api/predictions/", project=project)]

    def push_predictions(
        self,
        project: int,
        rows: Sequence[PredictionRow],
        on_progress: Progress | None = None,
        alone: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> int:
        """Give tasks their predictions, all of one version, and serve that version; how many predictions are new.

        No prediction is deleted, since someone may have its task open and Label Studio refuses a Submit whose parent
        prediction is gone: new ones are written into rows that are not served, and imported where there is none, so a
        task has two rows and those that annotations name. The order that was served before is served until the last
        one is written. With Label Studio's database that is one statement, over the API one small request a row. The
        project is changed in a context of `alone`, in which nobody else should.

        Raises
        ------
        PredictionRowError
            For a score that is not finite, or an empty version.
        LabelStudioError
            With status 400 for an unknown task.
        """
        for row in rows:
            row.check()
        version = rows[0].model_version
        if self.database_url:
            vacant = vacant_tasks(self.database_url, project, rows)
            new = self.import_predictions(project, [row for row in rows if row.task in vacant], on_progress)
            with alone():
                write_in_database(self.database_url, project, rows)
        else:
            new = self._write_over_api(project, rows, on_progress)
            with alone():
                self.set_model_version(project, version)
        return new

    def _write_over_api(self, project: int, rows: Sequence[PredictionRow], on_progress: Progress | None) -> int:
        # who submits between this look and the writing names a row that then changes its answer, but keeps its id
        served = self.project(project).model_version
        tasks = {task["id"]: task for task in self._tasks(project, [row.task for row in rows])}
        changes = {row.task: rewritten(tasks[row.task], row, served) if row.task in tasks else {} for row in rows}
        new = self.import_predictions(project, [row for row in rows if not changes[row.task]], on_progress)
        for done, change in enumerate(filter(None, changes.values()), start=new + 1):
            for prediction, fields in change.items():
                self.call("PATCH", f"api/predictions/{prediction}/", fields)
            if on_progress:
                on_progress(done, len(rows))
        return new

    def _tasks(self, project: int, tasks: Sequence[int]) -> Iterator[dict[str, Any]]:
        """Tasks with predictions and annotations; unlike the route of one task it never calls the backend."""
        for chunk in _chunks(tasks, PAGE):
            yield from self.data_manager(project, [condition("id", "in_list", "Number", chunk)], fields="all")

    # Annotations

    def annotations_since(self, project: int, since: datetime | None) -> Iterator[ListedAnnotation]:
        """Annotations created or changed after a time (all for None), skipped and odd ones too, by task.

        The time is Label Studio's clock: take the largest `updated_at` seen, less a minute for transactions that
        were open then.
        """
        filters = []
        if since is not None:
            stamp = since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            filters.append(condition("updated_at", "greater", "Datetime", stamp))
        for annotation in listed(self.call, project, filters):
            if since is None or annotation.newer(since):
                yield annotation

    def annotations_of(self, project: int, tasks: Sequence[int]) -> Iterator[ListedAnnotation]:
        """All annotations of some tasks, odd ones too."""
        for chunk in _chunks(tasks, PAGE):
            yield from listed(self.call, project, [condition("id", "in_list", "Number", chunk)])

    def annotation_tasks(self, project: int, tasks: Collection[int] | None = None) -> dict[int, int]:
        """The task of each annotation, about 4 ms an annotated task; of all, or of those of some tasks.

        What some tasks are asked for and is missing here was deleted. A list of all has pages, and where a task loses
        its last annotation meanwhile, one moves to a page that was read already: ask for the tasks of what is missing.
        """
        filters = [condition("annotations_ids", "greater", "Number", 0)]
        if tasks is None:
            return dict(self._annotation_tasks(project, filters))
        some = [condition("id", "in_list", "Number", chunk) for chunk in _chunks(sorted(tasks), PAGE)]
        return dict(found for one in some for found in self._annotation_tasks(project, [*filters, one]))

    def _annotation_tasks(self, project: int, filters: list[dict[str, Any]]) -> Iterator[tuple[int, int]]:
        for task in self.data_manager(project, filters, CHUNK):
            cell = task["annotations_ids"]
            if len(cell) < CELL_LIMIT:
                ids = list(map(int, cell.split(",")))
            else:
                (whole,) = self._tasks(project, [task["id"]])
                ids = [annotation["id"] for annotation in whole["annotations"]]
            yield from ((number, task["id"]) for number in ids)

    def existing_tasks(self, project: int, tasks: Collection[int]) -> set[int]:
        """Those of some tasks that a project has."""
        found: set[int] = set()
        for chunk in _chunks(sorted(tasks), PAGE):
            listed_there = self.data_manager(project, [condition("id", "in_list", "Number", chunk)])
            found.update(task["id"] for task in listed_there)
        return found

    def next_task(self, project: int) -> dict[str, Any] | None:
        """The task this user should label next, locked for them; None when there is none."""
        try:
            task: dict[str, Any] = self.call("GET", f"api/projects/{project}/next/")
        except LabelStudioError as error:
            if error.status != httpx.codes.NOT_FOUND:
                raise
            return None
        return task

    def submit(
        self,
        task: int,
        result: list[dict[str, Any]],
        lead_time: float,
        parent_prediction: int | None = None,
        was_cancelled: bool = False,
    ) -> int:
        """Annotate a task as this user, or skip it; the annotation's id."""
        fields = {"lead_time": lead_time, "was_cancelled": was_cancelled, "parent_prediction": parent_prediction}
        return self.annotate(task, result, **{name: one for name, one in fields.items() if one is not None}).id

    def annotate(self, task: int, result: list[dict[str, Any]], **fields: Any) -> Annotation:
        """Annotate a task as this user; the annotation as Label Studio keeps it, whose webhook comes later."""
        body = {"result": result, **fields}
        return Annotation.model_validate(self.call("POST", f"api/tasks/{task}/annotations/", body))

    def update_annotation(self, annotation: int, result: list[dict[str, Any]], lead_time: float = 0.0) -> Annotation:
        """Replace the result of an annotation; the annotation as Label Studio keeps it."""
        fields = {"result": result, "lead_time": lead_time}
        return Annotation.model_validate(self.call("PATCH", f"api/annotations/{annotation}/", fields))

    def delete_annotation(self, annotation: int) -> None:
        """Delete an annotation; one that is gone is no error."""
        self.delete(f"api/annotations/{annotation}/")

    # The backend and its webhook

    def attach_backend(self, project: int, url: str, title: str, user: str, password: str) -> int:
        """Connect a backend with basic authentication, or renew the connection to the same address; its id.

        Label Studio checks the backend while it answers, so the backend must be up.
        """
        fields = {"title": title, "auth_method": "BASIC_AUTH", "basic_auth_user": user, "basic_auth_pass": password}
        for backend in self.sdk.ml.list(project=project):
            if (backend.url or "").rstrip("/") == url.rstrip("/"):
                self.sdk.ml.update(_id(backend.id), url=url, project=project, **fields)
                return _id(backend.id)
        return _id(self.sdk.ml.create(url=url, project=project, **fields).id)

    def secure_webhook(self, project: int, backend_url: str, header_name: str, secret: str) -> int:
        """Leave one webhook to `<backend_url>/webhook`, with a secret header and the needed actions; its id.

        Attaching a backend makes one without either, and never removes it.
        """
        url = f"{backend_url.rstrip('/')}/webhook"
        fields: dict[str, Any] = {
            "url": url,
            "headers": {header_name: secret},
            "actions": WEBHOOK_ACTIONS,
            "send_for_all_actions": False,
            "send_payload": True,
            "is_active": True,
        }
        ours = [hook for hook in self.webhooks(project) if hook.url == url]
        for duplicate in ours[1:]:
            self.sdk.webhooks.delete(_id(duplicate.id))
        if not ours:
            return int(self.call("POST", "api/webhooks/", {"project": project, **fields})["id"])
        self.call("PATCH", f"api/webhooks/{_id(ours[0].id)}/", fields)
        return _id(ours[0].id)

    def is_secured(self, project: int, backend_url: str, header_name: str, secret: str) -> bool:
        """Whether one webhook goes to the backend, and is as `secure_webhook` leaves it."""
        url = f"{backend_url.rstrip('/')}/webhook"
        ours = [hook for hook in self.webhooks(project) if hook.url == url]
        return len(ours) == 1 and (ours[0].headers or {}).get(header_name) == secret and bool(ours[0].is_active)

    def webhooks(self, project: int) -> list[Webhook]:
        """The webhooks of a project."""
        return [hook for hook in self.sdk.webhooks.list() if hook.project == project]

    def detach(self, project: int, url: str) -> None:
        """Disconnect a backend and remove its webhooks, which Label Studio would keep."""
        for hook in self.webhooks(project):
            if hook.url.startswith(url.rstrip("/")):
                self.sdk.webhooks.delete(_id(hook.id))
        for backend in self.sdk.ml.list(project=project):
            if (backend.url or "").rstrip("/") == url.rstrip("/"):
                self.sdk.ml.delete(_id(backend.id))

    # People

    def create_user(self, email: str, password: str) -> "LabelStudio":
        """Sign a new member up as a person would, through the invitation's form; Label Studio seen by them."""
        return LabelStudio(self.url, sign_up(self.invite_url(), email, password))


def _id(value: int | None) -> int:
    """An id that Label Studio always gives, although the SDK's types leave it open."""
    if value is None:
        raise LabelStudioError("Label Studio answered without an id.", "Is it version 1.23?")
    return value


def _project(found: LseProjectResponse) -> Project:
    return Project(
        id=_id(found.id),
        title=found.title or "",
        label_config=found.label_config or "",
        model_version=found.model_version or "",
        created_at=found.created_at or datetime.fromtimestamp(0, UTC),
        tasks=found.task_number or 0,
        annotations=(found.total_annotations_number or 0) + (found.skipped_annotations_number or 0),
    )


def _chunks(items: Sequence[Item], size: int) -> Iterator[list[Item]]:
    for start in range(0, len(items), size):
        yield list(items[start : start + size])
