"""What Label Studio sends to a backend has the recorded shape, on which the contract tests of the wire models stand.

`GALAXYLOOP_RECORD=1 pytest tests/live/test_payloads.py` records `tests/contract/*.json` anew, without secrets.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.installation import Servers
from tests.live.conftest import LABEL_CONFIG, Recorder
from tests.live.projects import add_tasks, choice

pytestmark = pytest.mark.live
CONTRACT = Path(__file__).parents[1] / "contract"
SECRET = {"token", "access_token", "email", "unique_id", "password", "author", "hostname", "avatar", "state"}
TITLE = "Galaxy Loop"
EVENTS = [
    "ANNOTATION_CREATED",
    "ANNOTATION_UPDATED",
    "ANNOTATIONS_DELETED",
    "ANNOTATIONS_CREATED",
    "TASKS_CREATED",
    "TASKS_DELETED",
    "PROJECT_UPDATED",
    "START_TRAINING",
]


@pytest.fixture
def calls(servers: Servers, project: int, recorder: Recorder) -> dict[str, Any]:
    """One payload of every kind, by name: made by doing to a project what people and campaigns do."""
    admin = servers.admin
    admin.attach_backend(project, recorder.url, TITLE, "label-studio", "password")
    backend = admin.sdk.ml.list(project=project)[0].id
    tasks = add_tasks(servers, project, 4)
    admin.call("GET", f"api/tasks/{tasks[0]}/")  # opened without predictions: the backend is asked
    created = servers.annotator.submit(tasks[0], choice("spiral"), 1.5)
    servers.annotator.update_annotation(created, choice("elliptical"), 2.5)
    servers.annotator.submit(tasks[1], [], 0.5, was_cancelled=True)
    servers.annotator.delete_annotation(created)
    admin.call("POST", f"api/dm/actions/?id=predictions_to_annotations&project={project}", select(tasks[0]))
    admin.call("POST", f"api/dm/actions/?id=delete_tasks&project={project}", select(tasks[3]))
    admin.update_project(project, label_config=LABEL_CONFIG.replace("spiral", "barred"))
    admin.call("POST", f"api/ml/{backend}/train", {})
    admin.call("GET", f"api/ml/{backend}/versions")
    found = {name: recorder.wait_for("/webhook", name)[1] for name in EVENTS}
    skips = (
        body for _, path, _, body in recorder.calls if path == "/webhook" and body.get("annotation") and is_skip(body)
    )
    return found | {
        "SKIPPED": next(skips),
        "setup": recorder.wait_for("/setup")[1],
        "predict": recorder.wait_for("/predict")[1],
    }


def select(task: int) -> dict[str, Any]:
    """The Data Manager's selection of one task."""
    return {"selectedItems": {"all": False, "included": [task]}}


def is_skip(body: dict[str, Any]) -> bool:
    """Whether a webhook tells of a skipped task."""
    annotation = body["annotation"]
    return isinstance(annotation, dict) and annotation["was_cancelled"]


def scrub(value: Any, key: str = "") -> Any:
    """The payload without tokens, addresses and people."""
    if isinstance(value, dict):
        return {name: scrub(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [scrub(item, key) for item in value]
    if key in SECRET and value is not None:
        return "scrubbed"
    return value.replace("admin@example.com", "scrubbed") if isinstance(value, str) else value


def shape(value: Any) -> Any:
    """Keys and types, with the first item for a list; null may be anything."""
    if isinstance(value, dict):
        return {name: shape(item) for name, item in value.items()}
    if isinstance(value, list):
        return [shape(item) for item in value[:1]]
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__


def agree(one: Any, other: Any) -> bool:
    """Whether two shapes can be the same thing."""
    if "NoneType" in (one, other):
        return True
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(agree(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return not one or not other or agree(one[0], other[0])
    return bool(one == other)


def test_payloads_have_the_recorded_shape(calls: dict[str, Any]) -> None:
    if os.environ.get("GALAXYLOOP_RECORD"):
        for name, body in calls.items():
            (CONTRACT / f"{name.lower()}.json").write_text(json.dumps(scrub(body), indent=1) + "\n")
    recorded = {path.stem: json.loads(path.read_text()) for path in CONTRACT.glob("*.json")}
    assert {name.lower() for name in calls} <= recorded.keys()
    changed = [name for name, body in calls.items() if not agree(shape(scrub(body)), shape(recorded[name.lower()]))]
    assert changed == []


def test_recorded_payloads_hold_no_secret(servers: Servers) -> None:
    text = "".join(path.read_text() for path in CONTRACT.glob("*.json"))
    assert text
    assert servers.account.email not in text
    assert '"token": "scrubbed"' in text
