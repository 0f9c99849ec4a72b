"""The client against a real Label Studio: order of tasks, predictions, reconciliation, backends, people."""

import pytest

from backend_ml.label_studio.client import WEBHOOK_ACTIONS, LabelStudio, PredictionRow
from backend_ml.label_studio.connection import LabelStudioError
from backend_ml.label_studio.predictions import PredictionRowError
from tests.installation import Servers
from tests.live.conftest import LABEL_CONFIG, Recorder
from tests.live.projects import add_tasks, choice

pytestmark = pytest.mark.live


def push(servers: Servers, project: int, tasks: list[int], version: str) -> None:
    """Predictions that make the queue the order of `tasks`."""
    rows = [PredictionRow(task, version, place / len(tasks), choice("spiral")) for place, task in enumerate(tasks)]
    assert servers.admin.import_predictions(project, rows) == len(tasks)


def test_task_ids_come_back_in_the_order_of_the_tasks(
    servers: Servers, project: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend_ml.label_studio.client.CHUNK", 40)
    told: list[tuple[int, int]] = []
    data = [{"data": {"image": "http://example.com/x.png", "place": n}} for n in range(100)]
    ids = servers.admin.import_tasks(project, data, on_progress=lambda done, total: told.append((done, total)))
    places = {task["id"]: task["data"]["place"] for task in servers.admin.data_manager(project, [], size=30)}
    assert [places[task] for task in ids] == list(range(100))
    assert told == [(40, 100), (80, 100), (100, 100)]


def test_project_settings_survive_the_round_trip(servers: Servers, project: int) -> None:
    servers.admin.update_project(project, description="Field galaxies")
    found = servers.admin.project(project)
    assert (found.id, found.title, found.label_config) == (project, "Morphology", LABEL_CONFIG)
    raw = servers.admin.call("GET", f"api/projects/{project}/")
    assert (raw["sampling"], raw["show_instruction"], raw["show_collab_predictions"], raw["description"]) == (
        "Uncertainty sampling", True, True, "Field galaxies"
    )  # fmt: skip


def test_queue_is_the_pushed_order_for_two_people(servers: Servers, project: int) -> None:
    tasks = add_tasks(servers, project, 30)
    order = tasks[::-1]
    push(servers, project, order, "head-1")
    servers.admin.set_model_version(project, "head-1")
    assert servers.admin.project(project).model_version == "head-1"
    served = []
    for person in (servers.admin, servers.annotator) * 6:
        task = person.next_task(project)
        assert task is not None
        served.append(task["id"])
        person.submit(task["id"], choice("spiral"), lead_time=1.0)
    assert served == order[:12]


def test_queue_ends_with_none(servers: Servers, project: int) -> None:
    (task,) = add_tasks(servers, project, 1)
    servers.admin.submit(task, choice("spiral"), lead_time=1.0)
    assert servers.admin.next_task(project) is None


@pytest.mark.parametrize("score", [float("nan"), float("inf"), None])
def test_bad_scores_are_refused_before_anything_is_sent(servers: Servers, project: int, score: float) -> None:
    tasks = add_tasks(servers, project, 2)
    rows = [PredictionRow(tasks[0], "head-1", 0.5, []), PredictionRow(tasks[1], "head-1", score, [])]
    with pytest.raises(PredictionRowError, match=f"Task {tasks[1]}"):
        servers.admin.import_predictions(project, rows)
    assert servers.admin.predictions(project) == []


def test_unknown_task_is_refused_by_the_server(servers: Servers, project: int) -> None:
    with pytest.raises(LabelStudioError, match="not found in project") as refusal:
        servers.admin.import_predictions(project, [PredictionRow(999_999_999, "head-1", 0.5, [])])
    assert refusal.value.status == 400


def test_predictions_of_every_version_are_listed(servers: Servers, project: int) -> None:
    tasks = add_tasks(servers, project, 10)
    push(servers, project, tasks, "head-1")
    push(servers, project, tasks[:4], "head-2")
    assert len(servers.admin.predictions(project)) == 14


Rows = dict[int, list[tuple[int, str]]]


def rows_of(servers: Servers, project: int) -> Rows:
    """Id and version of each task's predictions, by id."""
    found: Rows = {}
    for row in sorted(servers.admin.predictions(project), key=lambda row: row.id):
        found.setdefault(row.task, []).append((row.id, row.model_version))
    return found


def renew(pusher: LabelStudio, project: int, tasks: list[int], version: str, answer: str = "spiral") -> int:
    """Make the queue the order of `tasks`, by predictions of a version that all give one answer."""
    rows = [PredictionRow(task, version, place / len(tasks), choice(answer)) for place, task in enumerate(tasks)]
    return pusher.push_predictions(project, rows)


def test_predictions_keep_their_ids_and_take_the_newest_content(
    servers: Servers, pusher: LabelStudio, project: int
) -> None:
    tasks = add_tasks(servers, project, 3)
    ids: set[int] = set()
    for version, new in {"head-1": 3, "head-2": 3, "head-3": 0, "head-4": 0}.items():
        tasks.reverse()
        assert renew(pusher, project, tasks, version, "elliptical") == new
        found = servers.admin.predictions(project)
        assert ids <= {row.id for row in found}, "an id has vanished"
        ids = {row.id for row in found}
        assert servers.admin.project(project).model_version == version
        scores = {row.task: row.score for row in found if row.model_version == version}
        assert [scores[task] for task in tasks] == pytest.approx([0, 1 / 3, 2 / 3])
        assert sum(row.model_version == version for row in found) == 3, "one served row a task"
        counts = {task["id"]: task["total_predictions"] for task in servers.admin.data_manager(project, [])}
        assert counts == {task: len(rows) for task, rows in rows_of(servers, project).items()}
    assert {len(rows) for rows in rows_of(servers, project).values()} == {2}
    shown = servers.annotator.next_task(project)
    assert shown is not None and shown["id"] == tasks[0]
    assert [row["result"][0]["value"] for row in shown["predictions"]] == [{"choices": ["elliptical"]}]


def test_what_an_annotation_names_keeps_its_answer(servers: Servers, pusher: LabelStudio, project: int) -> None:
    tasks = add_tasks(servers, project, 1)
    renew(pusher, project, tasks, "head-1", "spiral")
    parent = servers.admin.predictions(project)[0].id
    servers.admin.submit(tasks[0], [], 1.0, parent_prediction=parent, was_cancelled=True)
    for version in ("head-2", "head-3", "head-1", "head-4"):
        renew(pusher, project, tasks, version, "elliptical")
        rows = servers.admin.call("GET", "api/predictions/", project=project)
        (named,) = (row for row in rows if row["id"] == parent)
        assert named["model_version"] == "head-1" and named["result"][0]["value"] == {"choices": ["spiral"]}
        assert sum(row["model_version"] == version for row in rows) == 1, "one served row"
    assert len(rows) <= 3


def test_of_two_rows_of_the_served_version_one_is_left(servers: Servers, pusher: LabelStudio, project: int) -> None:
    """A task that somebody opens during a push is answered live as well, and both answers are stored."""
    tasks = add_tasks(servers, project, 3)
    renew(pusher, project, tasks, "head-1", "spiral")
    first = {row.task: row.id for row in servers.admin.predictions(project)}
    for task in tasks:
        live = {"task": task, "model_version": "head-1", "score": 1.0, "result": choice("spiral")}
        servers.admin.call("POST", "api/predictions/", live)
    second = {row.task: row.id for row in servers.admin.predictions(project) if row.id not in first.values()}
    servers.admin.submit(tasks[1], [], 1.0, parent_prediction=second[tasks[1]], was_cancelled=True)
    assert renew(pusher, project, tasks, "head-1", "elliptical") == 0
    served = {(row.task, row.id) for row in servers.admin.predictions(project) if row.model_version == "head-1"}
    kept = first | {tasks[1]: second[tasks[1]]}
    assert served == set(kept.items()), "the older one, or the one that an annotation names"
    shown = servers.annotator.next_task(project)
    assert shown is not None
    assert [(row["id"], row["score"]) for row in shown["predictions"]] == [(kept[tasks[0]], 0)]
    assert renew(pusher, project, tasks, "head-2") == 0, "the other one is written into next"
    assert {len(rows) for rows in rows_of(servers, project).values()} == {2}


def test_the_version_that_is_served_is_reordered_in_place(servers: Servers, pusher: LabelStudio, project: int) -> None:
    tasks = add_tasks(servers, project, 5)
    renew(pusher, project, tasks[:3], "head-1")
    before = rows_of(servers, project)
    assert renew(pusher, project, tasks[::-1], "head-1") == 2
    after = rows_of(servers, project)
    assert {task: after[task] for task in tasks[:3]} == before
    assert {len(rows) for rows in after.values()} == {1}
    shown = servers.annotator.next_task(project)
    assert shown is not None and shown["id"] == tasks[-1]


def test_whoever_has_a_task_open_can_submit_however_often_the_queue_changes(
    servers: Servers, pusher: LabelStudio, project: int
) -> None:
    """A task, a draft and an annotation that were opened long ago: each names the prediction that was shown then."""
    tasks = add_tasks(servers, project, 3)
    renew(pusher, project, tasks, "head-0")
    held = servers.annotator.next_task(project)
    assert held is not None
    parents = {row.task: row.id for row in servers.admin.predictions(project)}
    begun, done = (task for task in tasks if task != held["id"])
    draft = {"result": choice("spiral"), "lead_time": 1.0, "parent_prediction": parents[begun]}
    kept = servers.annotator.call("POST", f"api/tasks/{begun}/drafts", draft)
    annotation = servers.annotator.submit(done, choice("spiral"), 1.0, parent_prediction=parents[done])
    for number in range(1, 8):
        renew(pusher, project, tasks, f"head-{number}")
    assert servers.annotator.submit(held["id"], choice("spiral"), 1.0, parent_prediction=parents[held["id"]])
    assert servers.annotator.annotate(
        begun, choice("spiral"), draft_id=kept["id"], lead_time=1.0, parent_prediction=parents[begun]
    )
    change = {"result": choice("elliptical"), "lead_time": 2.0, "parent_prediction": parents[done]}
    assert servers.annotator.call("PATCH", f"api/annotations/{annotation}/", change)["id"] == annotation


def test_a_submit_whose_parent_is_gone_is_refused(servers: Servers, project: int) -> None:
    """Why no prediction is ever deleted; if this fails, Label Studio has become more lenient."""
    tasks = add_tasks(servers, project, 1)
    push(servers, project, tasks, "head-1")
    parent = servers.admin.predictions(project)[0].id
    assert servers.admin.delete(f"api/predictions/{parent}/")
    with pytest.raises(LabelStudioError, match="parent_prediction") as refusal:
        servers.annotator.submit(tasks[0], choice("spiral"), 1.0, parent_prediction=parent)
    assert refusal.value.status == 400


def test_changed_annotations_are_found_skipped_ones_too(servers: Servers, project: int) -> None:
    tasks = add_tasks(servers, project, 4)
    first = servers.admin.submit(tasks[0], choice("spiral"), 1.5)
    skipped = servers.annotator.submit(tasks[1], [], 0.5, was_cancelled=True)
    everything = {annotation.id: annotation.read() for annotation in servers.admin.annotations_since(project, None)}
    assert set(everything) == {first, skipped}
    assert everything[skipped].was_cancelled
    assert everything[first].lead_time == 1.5
    assert everything[first].completed_by == servers.admin.me() != everything[skipped].completed_by
    seen = max(annotation.updated_at for annotation in everything.values())
    assert list(servers.admin.annotations_since(project, seen)) == []
    servers.admin.update_annotation(first, choice("elliptical"), 2.0)
    second = servers.admin.submit(tasks[2], choice("spiral"), 1.0)
    changed = {annotation.id: annotation.read() for annotation in servers.admin.annotations_since(project, seen)}
    assert set(changed) == {first, second}
    assert changed[first].result[0]["value"] == {"choices": ["elliptical"]}


def test_deletions_show_in_the_ids_and_the_count(
    servers: Servers, project: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = add_tasks(servers, project, 3)
    ids = [servers.admin.submit(tasks[0], choice("spiral"), 1.0) for _ in range(3)]
    ids.append(servers.annotator.submit(tasks[1], [], 1.0, was_cancelled=True))
    assert servers.admin.annotation_tasks(project) == dict(zip(ids, [tasks[0]] * 3 + [tasks[1]], strict=True))
    assert servers.admin.project(project).annotations == 4
    servers.admin.delete_annotation(ids[1])
    servers.admin.delete_annotation(ids[1])
    assert set(servers.admin.annotation_tasks(project)) == {ids[0], ids[2], ids[3]}
    monkeypatch.setattr("backend_ml.label_studio.client.CELL_LIMIT", 1)
    assert set(servers.admin.annotation_tasks(project)) == {ids[0], ids[2], ids[3]}
    assert servers.admin.project(project).annotations == 3


def test_backend_and_webhook_are_secured_once_and_removed(servers: Servers, project: int, recorder: Recorder) -> None:
    attached = servers.admin.attach_backend(project, recorder.url, "Galaxy Loop", "label-studio", "password")
    assert servers.admin.attach_backend(project, recorder.url, "Galaxy Loop", "label-studio", "password") == attached
    servers.admin.call(
        "POST", "api/webhooks/", {"project": project, "url": f"{recorder.url}/webhook", "send_for_all_actions": True}
    )
    for _ in range(2):
        servers.admin.secure_webhook(project, recorder.url, "X-Secret", "s3cret")
    (hook,) = servers.admin.webhooks(project)
    assert (hook.headers, hook.send_for_all_actions, hook.is_active) == ({"X-Secret": "s3cret"}, False, True)
    assert sorted(hook.actions or []) == sorted(WEBHOOK_ACTIONS)
    assert recorder.wait_for("/setup")[0]["Authorization"].startswith("Basic ")
    (task,) = add_tasks(servers, project, 1)
    servers.annotator.submit(task, choice("spiral"), 1.0)
    headers, body = recorder.wait_for("/webhook", "ANNOTATION_CREATED")
    assert headers["X-Secret"] == "s3cret"
    assert body["annotation"]["task"] == task
    assert not [call for call in recorder.calls if (call[3] or {}).get("action") == "TASKS_CREATED"]
    servers.admin.detach(project, recorder.url)
    assert servers.admin.webhooks(project) == []


def test_wrong_token_says_so(servers: Servers) -> None:
    with LabelStudio(servers.label_studio.url, "0" * 40) as stranger, pytest.raises(LabelStudioError) as refusal:
        stranger.me()
    assert refusal.value.status == 401
    assert "GALAXYLOOP_LABEL_STUDIO_TOKEN" in refusal.value.hint


def test_sign_up_with_a_known_address_is_refused(servers: Servers) -> None:
    with pytest.raises(LabelStudioError, match="refused to sign up"):
        servers.admin.create_user(servers.account.email, "a-long-password-1")
