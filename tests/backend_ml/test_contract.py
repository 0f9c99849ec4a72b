"""The contract: every call of Label Studio's own client class, every event it knows, and what is odd about either."""

import json
import math
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi.testclient import TestClient

from backend_ml import signing
from backend_ml.app import create_app
from backend_ml.contract.credentials import CHECKS
from backend_ml.local import processes
from backend_ml.local.label_studio import find_label_studio
from backend_ml.store.database import Database
from backend_ml.store.records import Campaign
from tests.backend_ml.backend_client import BASIC, CONFIG, SETTINGS, predict, problem, recorded
from tests.backend_ml.conftest import CLASSES, PROJECT

SECRET = {signing.SECRET_HEADER: signing.webhook_secret(SETTINGS)}
CLIENT = Path(__file__).with_name("label_studio_client.py")
EVENTS = [
    "ANNOTATION_CREATED",
    "ANNOTATION_UPDATED",
    "ANNOTATION_DELETED",
    "ANNOTATIONS_CREATED",
    "ANNOTATIONS_UPDATED",
    "ANNOTATIONS_DELETED",
    "TASK_CREATED",
    "TASKS_CREATED",
    "TASK_DELETED",
    "TASKS_DELETED",
    "PROJECT_CREATED",
    "PROJECT_UPDATED",
    "PROJECT_DELETED",
    "LABEL_LINK_CREATED",
    "LABEL_LINK_UPDATED",
    "LABEL_LINK_DELETED",
]
"""Those of Label Studio 1.23.2, and each in the other number too: other versions, and other editions, send these."""


@pytest.fixture
def client(database: Database, campaign: Campaign) -> Iterator[TestClient]:
    with TestClient(create_app(SETTINGS, database.url), raise_server_exceptions=False) as opened:
        yield opened


@contextmanager
def listening(url: str) -> Iterator[str]:
    """The backend on a port of its own, for a client in another process; its address."""
    port = processes.free_port()
    server = uvicorn.Server(uvicorn.Config(create_app(SETTINGS, url), port=port, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        processes.wait_for_http(f"http://127.0.0.1:{port}/livez", 60)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


def spoken(address: str, home: Path) -> dict[str, Any]:
    """What Label Studio's own client is answered to every call that it can make."""
    python = find_label_studio().resolve().parent / "python"
    words = [python, "-I", CLIENT, address, SETTINGS.backend_user, "word", str(PROJECT)]
    environment = {"PATH": os.environ["PATH"], "LABEL_STUDIO_BASE_DATA_DIR": str(home), "HOME": str(home)}
    done = subprocess.run(
        words, input=CONFIG, capture_output=True, text=True, env=environment, check=False, timeout=240
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_label_studios_own_client_is_answered_whatever_it_calls(
    database: Database, campaign: Campaign, head: str, tmp_path: Path
) -> None:
    with listening(database.url) as address:
        found = spoken(address, tmp_path)
    answers = found["answers"]
    said = {name: one["status"] for name, one in answers.items()}
    assert said == {
        "health": 200,
        "setup": 200,
        "setup of a stranger": 404,
        "predict": 200,
        "predict of a stranger": 404,
        "interactive": 200,
        "versions": 200,
        "validate": 200,
        "validate what nobody answers": 422,
        "START_TRAINING": 201,
        "train": 201,
        "job_status": 200,
        "job_status of none": 410,
        "duplicate_model": 409,
        "delete": 200,
        "delete of a stranger": 404,
    }
    assert [name for name, one in answers.items() if one["error"]] == [name for name, one in said.items() if one >= 400]
    assert answers["setup"]["response"] == {"model_version": head}
    assert answers["versions"]["response"] == {"versions": [head]}
    results = answers["predict"]["response"]["results"]
    assert [row["result"][0]["value"]["choices"][0] for row in results] == [CLASSES[i] for i in (3, 0, 0)]
    assert len(answers["interactive"]["response"]["results"]) == 1
    assert found["jobs"][0] == found["jobs"][1], "a training that waits is not asked for twice"
    assert answers["job_status"]["response"] == {"job_status": "queued"}
    assert set(found["actions"]) <= set(EVENTS)


def test_jobs_are_told_apart(client: TestClient, database: Database) -> None:
    job = client.post("/webhook", headers=SECRET, json=recorded("start_training")).json()["job"]
    state = {"doing": "started", "failed": "failed", "aborted": "failed"}
    for status, told in state.items():
        with database.transaction() as connection:
            connection.execute("UPDATE procrastinate_jobs SET status = %s", (status,))
        assert client.post("/job_status", headers=BASIC, json={"job": job}).json() == {"job_status": told}
    with database.transaction() as connection:
        connection.execute("DELETE FROM procrastinate_jobs")
    for gone in (job, "learn-", "learn-x", f"learn-{'9' * 40}", "learn-١", "17", ""):
        problem(client.post("/job_status", headers=BASIC, json={"job": gone}), 410, "gone")


def test_every_event_is_kept_in_the_singular_and_the_plural(client: TestClient, database: Database) -> None:
    one = recorded("annotation_created")["annotation"]
    for action in EVENTS:
        for annotation in (one, [one, one]):
            body = {"action": action, "project": {"id": PROJECT}, "annotation": annotation}
            body |= {"annotations": [{"id": 1}], "tasks": [{"id": 101}], "task": {"id": 101, "data": {}}}
            assert client.post("/webhook", headers=SECRET, json=body).status_code == 201, action
    assert database.rows("inbox_state", project=PROJECT)[0]["waiting"] == 2 * len(EVENTS)


MALFORMED = [b"", b"{", b"[]", b"null", b'"x"', b'{"project": null}', b'{"project": "x.1"}', b"\xff", b"[" * 50_000]


def test_malformed_bodies_are_refused_on_every_route(client: TestClient) -> None:
    for path in set(CHECKS) - {"/health", "/versions", "/metrics"}:
        for content in MALFORMED:
            answer = client.post(path, headers={**BASIC, "Content-Type": "application/json"}, content=content)
            assert answer.status_code in (400, 422), (path, content[:20], answer.text)
            assert set(answer.json()) == {"code", "message", "hint", "request_id"}


def test_strangers_are_refused_on_every_route_before_anything_is_read(client: TestClient) -> None:
    for path in CHECKS:
        for method in ("GET", "POST"):
            problem(client.request(method, path, content=b"{"), 401, "unauthorised")


PROJECT_ROUTES = {
    "/setup": {"schema": CONFIG},
    "/predict": {"tasks": [], "label_config": CONFIG},
    "/train": {},
    "/delete": {},
}


def test_a_deleted_project_is_named(client: TestClient, database: Database, head: str) -> None:
    bodies = {path: {"project": f"{PROJECT}.1795225282", **body} for path, body in PROJECT_ROUTES.items()}
    for path, body in bodies.items():
        assert client.post(path, headers=BASIC, json=body).status_code in (200, 201)
    database.rows("delete_campaign", project=PROJECT)
    client.app.state.backend.predictor.forget(None)  # type: ignore[attr-defined]
    for path, body in bodies.items():
        problem(client.post(path, headers=BASIC, json=body), 404, "unknown_project")
    problem(client.post("/webhook", headers=SECRET, json=recorded("tasks_deleted")), 404, "unknown_project")


def test_there_is_one_result_a_task_in_order_with_scores_within_bounds(client: TestClient, head: str) -> None:
    rows = [3, 99, 0, 5, -1, 8, 3]
    tasks = [{"id": 900 + place, "data": {"stamp_set": "sky", "stamp_id": row}} for place, row in enumerate(rows)]
    results = predict(client, *tasks).json()["results"]
    assert len(results) == len(rows)
    assert [(row["result"][0]["value"]["choices"] if row["result"] else None) for row in results] == [
        [CLASSES[row % 5]] if 0 <= row < 9 else None for row in rows
    ]
    scores = [row["score"] for row in results] + [
        region["score"] for row in results for region in row["result"] if "score" in region
    ]
    assert all(math.isfinite(score) and 0 <= score <= 1 for score in scores)


def test_a_call_of_thousands_of_tasks_is_answered_one_by_one(client: TestClient, head: str) -> None:
    """As "Retrieve Predictions" of Label Studio sends them: all at once, with earlier predictions in each."""
    earlier = [{"id": 1, "result": [{"value": {"rle": list(range(200))}}], "score": None}]
    tasks = [{"id": n, "data": {"stamp_set": "sky", "stamp_id": n % 9}, "predictions": earlier} for n in range(3000)]
    results = predict(client, *tasks).json()["results"]
    assert [row["result"][0]["value"]["choices"][0] for row in results] == [CLASSES[n % 9 % 5] for n in range(3000)]
