"""The HTTP interface, with a real database and the payloads that Label Studio 1.23 really sends."""

import base64
import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from backend_ml import signing
from backend_ml.app import create_app
from backend_ml.campaign.defer import defer_ingest
from backend_ml.local import processes
from backend_ml.pictures.campaign_pictures import progress_svg
from backend_ml.settings import Settings, SettingsError
from backend_ml.sign_in.person import Person
from backend_ml.sign_in.sessions import COOKIE
from backend_ml.store.campaigns import add_campaign
from backend_ml.store.database import Database, query
from backend_ml.store.records import PICTURE_SIZE, Campaign
from tests.backend_ml.backend_client import BASIC, CONFIG, SETTINGS, predict, problem, recorded
from tests.backend_ml.conftest import CLASSES, MORPHOLOGY, PROJECT
from tests.backend_ml.learned import learn_now

SECRET = {signing.SECRET_HEADER: signing.webhook_secret(SETTINGS)}
WEBHOOKS = [
    "annotation_created",
    "annotation_updated",
    "annotations_created",
    "annotations_deleted",
    "skipped",
    "tasks_created",
    "tasks_deleted",
    "project_updated",
]


@pytest.fixture
def client(database: Database, campaign: Campaign) -> Iterator[TestClient]:
    """The backend over the campaign's database."""
    with TestClient(create_app(SETTINGS, database.url), raise_server_exceptions=False) as opened:
        assert opened.app.state.promotions.hears.wait(10)  # or what a test served is forgotten at its first connection
        yield opened


def task(number: int, **data: Any) -> dict[str, Any]:
    return {"id": number, "data": data or {"stamp_set": "sky", "stamp_id": number - 101}}


def test_secrets_are_required() -> None:
    with pytest.raises(SettingsError, match="GALAXYLOOP_SECRET"):
        create_app(Settings(), "host=/nowhere")


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/health"), ("POST", "/setup"), ("POST", "/predict"), ("GET", "/versions")]
)
def test_ml_routes_take_basic_credentials_alone(client: TestClient, method: str, path: str) -> None:
    wrong = {"Authorization": "Basic " + base64.b64encode(b"ls:wrong").decode()}
    for headers in ({}, wrong, SECRET):
        answer = client.request(method, path, headers=headers, json={})
        problem(answer, 401, "unauthorised")
        assert answer.headers["WWW-Authenticate"].startswith("Basic")
    assert client.request(method, path, headers=BASIC, json={}).status_code != 401


def test_health_and_livez(client: TestClient) -> None:
    assert client.get("/health", headers=BASIC).json() == {"status": "UP", "model_class": "GalaxyLoop", "versions": {}}
    assert client.get("/livez").json() == {"status": "ok", "database": True}, "strangers learn no names"


def test_setup_names_the_serving_version(client: TestClient, head: str) -> None:
    answer = client.post("/setup", headers=BASIC, json={**recorded("setup"), "schema": CONFIG})
    assert answer.json() == {"model_version": head}
    assert client.get("/health", headers=BASIC).json()["versions"] == {"Test": head}
    assert client.get("/versions", headers=BASIC).json() == {"versions": [head]}


def test_predictions_come_in_the_order_of_the_tasks(client: TestClient, head: str) -> None:
    answer = predict(client, *(task(101 + i) for i in (7, 0, 3, 8)))
    results = answer.json()["results"]
    assert [row["result"][0]["value"]["choices"][0] for row in results] == [CLASSES[i % 5] for i in (7, 0, 3, 8)]
    assert {row["model_version"] for row in results} == {head}
    assert all(0.2 < row["result"][0]["score"] <= 1 for row in results)


def test_stamps_of_the_audit_slice_are_not_answered(client: TestClient, head: str) -> None:
    results = predict(client, task(109), task(110), task(999, stamp_set="sky", stamp_id=9)).json()["results"]
    assert [bool(row["result"]) for row in results] == [True, False, False]
    assert all(row["model_version"] == head and "error" not in row for row in results)


def without_task(database: Database, stamp: int) -> None:
    with database.transaction() as connection:
        connection.execute("DELETE FROM task WHERE stamp_id = %s", [stamp])


def test_a_task_of_the_audit_slice_that_came_later_is_not_answered_either(
    client: TestClient, database: Database, campaign: Campaign, head: str
) -> None:
    without_task(database, 8)
    results = predict(client, task(101), task(109)).json()["results"]
    assert all(row["result"] for row in results), "the campaign is in memory from here on"
    database.rows("put_task", campaign=campaign.id, task=109, stamp_set="sky", stamp_id=8, audit=True)
    results = predict(client, task(101), task(109)).json()["results"]
    assert [bool(row["result"]) for row in results] == [True, False]


def test_what_is_in_memory_is_answered_without_the_database(client: TestClient, database: Database, head: str) -> None:
    without_task(database, 8)
    (before,) = predict(client, task(101)).json()["results"]
    client.app.state.backend.database.close()
    assert predict(client, task(101)).json()["results"] == [before]
    problem(predict(client, task(109)), 503, "database")


def test_tasks_that_cannot_be_answered_keep_their_place(client: TestClient, head: str) -> None:
    odd = [
        task(1, image="http://example.com/x.png"),
        task(101),
        task(3, stamp_set="sky", stamp_id=999),
        task(4, stamp_set="elsewhere", stamp_id=0),
        task(5, stamp_set="sky", stamp_id="no number"),
    ]
    results = predict(client, *odd).json()["results"]
    assert [bool(row["result"]) for row in results] == [False, True, False, False, False]
    assert [row.get("error", {}).get("code") for row in results] == [
        "foreign_task", None, "bad_features", "no_features", "foreign_task"
    ]  # fmt: skip
    assert all(row["error"]["hint"] for row in results if "error" in row)


ODD_NUMBERS = ["Infinity", "-Infinity", "NaN", "1e999", "9" * 4000, "9223372036854775808", "-1", "1.5"]
ODD_TEXTS = ['"x"', '""', '"1e0"', '"-1"', '" 1"', '"١"', f'"{"9" * 5000}"', r'"\u0000"', r'"\ud800"']


@pytest.mark.parametrize("odd", [*ODD_NUMBERS, *ODD_TEXTS, "true", "null", "[1]", "{}"])
def test_an_odd_stamp_loses_no_other_task(client: TestClient, head: str, odd: str) -> None:
    for field in ("stamp_set", "stamp_id"):
        tasks = [task(101), {"id": 2, "data": {"stamp_set": "sky", "stamp_id": 1, field: "ODD"}}, task(103)]
        body = json.dumps({**recorded("predict"), "tasks": tasks, "label_config": CONFIG}).replace('"ODD"', odd)
        answer = client.post("/predict", headers={**BASIC, "Content-Type": "application/json"}, content=body)
        assert answer.status_code == 200, answer.text
        results = answer.json()["results"]
        assert [bool(row["result"]) for row in results] == [True, False, True]
        assert results[1]["error"]["hint"]


@pytest.mark.parametrize("written", [3, 3.0, "3"])
def test_a_row_may_be_written_as_a_table_writes_it(client: TestClient, head: str, written: object) -> None:
    (row,) = predict(client, task(1, stamp_set="sky", stamp_id=written)).json()["results"]
    assert row["result"][0]["value"]["choices"] == [CLASSES[3]]


def test_before_any_head_predictions_are_empty(client: TestClient) -> None:
    (row,) = predict(client, task(101)).json()["results"]
    assert row["result"] == [] and row["model_version"]


def test_unknown_projects_are_explained(client: TestClient) -> None:
    body = {**recorded("setup"), "schema": CONFIG, "project": "99.1"}
    found = problem(client.post("/setup", headers=BASIC, json=body), 404, "unknown_project")
    assert "99" in found["message"] and "campaign create" in found["hint"]


def test_label_configs_without_a_usable_tag_are_explained(client: TestClient, head: str) -> None:
    body = {**recorded("setup"), "schema": "<View><Text name='t' value='$t'/></View>"}
    assert "Choices" in problem(client.post("/setup", headers=BASIC, json=body), 422, "label_config")["hint"]
    problem(predict(client, task(101), config="<View"), 422, "label_config")


@pytest.mark.parametrize(
    ("path", "content", "status"),
    [
        ("/predict", b"{", 400),
        ("/predict", b"[]", 422),
        ("/predict", b'{"tasks": 1, "project": "7.1", "label_config": ""}', 422),
        ("/predict", b'{"tasks": [], "project": "x", "label_config": ""}', 422),
        ("/setup", b"\xff\xfe", 400),
        ("/setup", b"", 422),
    ],
)
def test_malformed_bodies(client: TestClient, path: str, content: bytes, status: int) -> None:
    headers = {**BASIC, "Content-Type": "application/json"}
    problem(client.post(path, headers=headers, content=content), status, "malformed")


@pytest.mark.parametrize("content", [b"{", b"[1]", b'{"action": 1}', b"nothing"])
def test_malformed_webhooks(client: TestClient, content: bytes) -> None:
    answer = client.post("/webhook", headers={**SECRET, "Content-Type": "application/json"}, content=content)
    assert answer.status_code in (400, 422)
    problem(answer, answer.status_code, "malformed")


STORABLE_NOWHERE = [
    b"NaN",
    b"Infinity",
    b"-Infinity",
    b"1e400",
    b'"\\u0000"',
    b'"\\ud800"',
    b'{"\\udc00": 1}',
    b'{"\\u0000": 1}',
    b"9" * 5000,
    b"[" * 100_000 + b"]" * 100_000,
    b'"\xff"',
]


@pytest.mark.parametrize("odd", STORABLE_NOWHERE, ids=lambda odd: odd[:12].decode(errors="replace"))
@pytest.mark.parametrize("place", ["annotation", "tasks", "other", "action"])
def test_a_webhook_that_cannot_be_stored_is_refused_and_hides_nothing(
    client: TestClient, database: Database, place: str, odd: bytes
) -> None:
    body = json.dumps({"action": "ANNOTATION_CREATED", "project": {"id": PROJECT}, place: "odd"}).encode()
    headers = {**SECRET, "Content-Type": "application/json"}
    answer = client.post("/webhook", headers=headers, content=body.replace(b'"odd"', odd))
    assert answer.status_code in (400, 422), answer.text
    assert set(answer.json()) == {"code", "message", "hint", "request_id"}
    assert client.post("/webhook", headers=SECRET, json=recorded("annotation_created")).status_code == 201
    assert database.rows("inbox_state", project=PROJECT) == [{"waiting": 1, "failed": 0}]


@pytest.mark.parametrize("odd", [3, None, "x", [3], {"id": 2**70}, {"result": None}, [[]]])
def test_a_webhook_of_an_odd_annotation_is_kept(client: TestClient, database: Database, odd: Any) -> None:
    body = {"action": "ANNOTATION_CREATED", "project": {"id": PROJECT}, "annotation": odd}
    assert client.post("/webhook", headers=SECRET, json=body).status_code == 201
    assert database.rows("inbox_state", project=PROJECT)[0]["waiting"] == 1


def test_an_unknown_route_says_which_there_are(client: TestClient) -> None:
    assert "/predict" in problem(client.get("/nowhere"), 404, "http")["hint"]


@pytest.mark.parametrize("name", WEBHOOKS)
def test_recorded_webhooks_are_kept_with_the_secret(client: TestClient, database: Database, name: str) -> None:
    for headers in ({}, {signing.SECRET_HEADER: "wrong"}, {signing.SECRET_HEADER: ""}):
        problem(client.post("/webhook", headers=headers, json=recorded(name)), 401, "unauthorised")
    assert client.post("/webhook", headers=SECRET, json=recorded(name)).status_code == 201
    assert database.rows("inbox_state", project=PROJECT)[0]["waiting"] == 1


def jobs(database: Database) -> list[tuple[str, str]]:
    with database.transaction() as connection:
        rows = connection.execute("SELECT task_name, queueing_lock FROM procrastinate_jobs ORDER BY id").fetchall()
    return [(row["task_name"], row["queueing_lock"]) for row in rows]


def test_webhooks_wake_the_worker_once(client: TestClient, database: Database) -> None:
    for _ in range(3):
        client.post("/webhook", headers=SECRET, json=recorded("annotation_created"))
    assert jobs(database) == [("campaign:ingest", "ingest")]
    assert database.rows("inbox_state", project=PROJECT)[0]["waiting"] == 3


def test_a_webhooks_job_is_the_one_that_procrastinate_would_defer(client: TestClient, database: Database) -> None:
    with database.transaction() as connection:
        defer_ingest(connection)
        connection.execute("UPDATE procrastinate_jobs SET status = 'doing'")
    client.post("/webhook", headers=SECRET, json=recorded("annotation_created"))
    with database.transaction() as connection:
        text = "SELECT to_jsonb(job) AS job FROM procrastinate_jobs AS job ORDER BY id"
        theirs, ours = (row["job"] for row in connection.execute(text).fetchall())
        text = "SELECT type::text AS type FROM procrastinate_events WHERE job_id = %s"
        assert [row["type"] for row in connection.execute(text, [ours["id"]]).fetchall()] == ["deferred"]
    assert ours["id"] > theirs["id"] and ours["scheduled_at"] is None
    own = {"id", "status", "scheduled_at"}
    assert {name: ours[name] for name in ours.keys() - own} == {name: theirs[name] for name in theirs.keys() - own}


def test_webhooks_of_one_moment_are_all_kept_and_wake_the_worker_once(client: TestClient, database: Database) -> None:
    def send(_: int) -> int:
        return client.post("/webhook", headers=SECRET, json=recorded("annotation_created")).status_code

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(send, range(40))) == {201}
    assert jobs(database) == [("campaign:ingest", "ingest")]
    assert database.rows("inbox_state", project=PROJECT)[0]["waiting"] == 40


def test_a_webhook_whose_job_the_database_cannot_keep_is_refused_as_one_that_will_pass(
    client: TestClient, database: Database
) -> None:
    with database.transaction() as connection:
        name = connection.execute("SELECT current_database() AS name").fetchone()["name"]  # type: ignore[index]
        connection.execute(f'ALTER DATABASE "{name}" SET lock_timeout = 100')
    client.app.state.backend.database.close()  # type: ignore[attr-defined]
    try:
        with TestClient(create_app(SETTINGS, database.url)) as later, database.transaction() as connection:
            connection.execute("LOCK TABLE procrastinate_jobs IN EXCLUSIVE MODE")
            answer = later.post("/webhook", headers=SECRET, json=recorded("annotation_created"))
        problem(answer, 503, "database")
        assert database.rows("inbox_state", project=PROJECT)[0]["waiting"] == 0, "nothing of it is kept"
    finally:
        with database.transaction() as connection:
            connection.execute(f'ALTER DATABASE "{name}" RESET lock_timeout')


def test_start_training_comes_with_credentials_and_refits_at_once(client: TestClient, database: Database) -> None:
    assert client.post("/webhook", headers=BASIC, json=recorded("start_training")).status_code == 201
    assert [name for name, _ in jobs(database)] == ["campaign:learn"]


def test_a_webhook_of_a_foreign_project_is_refused(client: TestClient) -> None:
    body = recorded("annotation_created")
    body["project"]["id"] = 99
    problem(client.post("/webhook", headers=SECRET, json=body), 404, "unknown_project")


def test_a_picture_needs_its_own_signature(client: TestClient, campaign: Campaign) -> None:
    link = signing.stamp_path("sky", 3, campaign.links, SETTINGS)
    answer = client.get(link, headers={"Origin": "http://label-studio.example"})
    assert answer.headers["content-type"] == "image/jpeg"
    assert "access-control-allow-origin" not in answer.headers
    for forged in (link.replace("/3.jpg", "/4.jpg"), link[:-1], link.replace("campaign=", "campaign=9")):
        problem(client.get(forged), 401, "unauthorised")
    problem(client.get("/stamps/sky/3.jpg"), 422, "malformed")


def test_the_picture_is_the_stamp(client: TestClient, campaign: Campaign, tmp_path: Path) -> None:
    (tmp_path / "stamp.png").write_bytes(client.get(signing.stamp_path("sky", 3, campaign.links, SETTINGS)).content)
    with Image.open(tmp_path / "stamp.png") as image:
        assert (image.format, image.size) == ("JPEG", (PICTURE_SIZE, PICTURE_SIZE))
        assert max(image.convert("L").getpixel((PICTURE_SIZE // 2, PICTURE_SIZE // 2)), 0) > 200


def test_a_campaign_of_before_keeps_its_links_and_the_size_that_its_masks_have(
    client: TestClient, campaign: Campaign, database: Database, tmp_path: Path
) -> None:
    with database.transaction() as connection:
        connection.execute("UPDATE campaign SET picture_size = 480")
    for suffix, kind in ((".png", "PNG"), (".jpg", "JPEG")):
        link = signing.stamp_path("sky", 3, campaign.links, SETTINGS).replace(".jpg", suffix)
        (tmp_path / "stamp").write_bytes(client.get(link).content)
        with Image.open(tmp_path / "stamp") as image:
            assert (image.format, image.size) == (kind, (480, 480))


def test_an_example_of_a_class_is_signed_and_is_there_before_and_after_labels(
    client: TestClient, campaign: Campaign, database: Database
) -> None:
    link = signing.example_path("spiral", 0, campaign.links, SETTINGS)
    grey = client.get(link)
    assert (grey.status_code, grey.headers["content-type"]) == (200, "image/jpeg")
    for forged in (link.replace("spiral", "edge-on"), link.replace("/0.jpg", "/1.jpg"), link[:-1]):
        problem(client.get(forged), 401, "unauthorised")
    shown = client.get(link).content
    assert shown == grey.content
    with database.transaction() as connection:
        for row in (2, 5):
            values = {"stamp_set": "sky", "stamp_id": row, "label": "spiral"}
            query(connection, "put_snapshot_label", campaign=campaign.id, **values)
    first, second, third = (
        client.get(signing.example_path("spiral", number, campaign.links, SETTINGS)).content for number in range(3)
    )
    assert len({first, second, third}) == 3 and third == grey.content


def test_how_many_are_labelled_is_counted_when_somebody_looks(
    client: TestClient, campaign: Campaign, database: Database
) -> None:
    link = signing.progress_path(campaign.links, SETTINGS)
    answer = client.get(link)
    assert answer.headers["content-type"].startswith("image/svg+xml") and "0 of 10 labelled" in answer.text
    assert answer.headers["cache-control"] == "no-store"
    problem(client.get(link[:-1]), 401, "unauthorised")
    assert "1,037 of 2,000 labelled" in progress_svg(1037, 2000) and "0 of 0" in progress_svg(0, 0)
    with database.transaction() as connection:
        connection.execute("UPDATE campaign SET links_lapsed = true")
    problem(client.get(link), 401, "unauthorised")


def test_a_set_that_is_mended_while_it_is_shown_shows_what_is_new(
    client: TestClient, campaign: Campaign, head: str, tmp_path: Path
) -> None:
    link = signing.stamp_path("sky", 3, campaign.links, SETTINGS)

    def seen() -> tuple[bytes, str]:
        (row,) = predict(client, task(104)).json()["results"]
        return client.get(link).content, row["result"][0]["value"]["choices"][0]

    picture, answer = seen()
    assert answer == CLASSES[3] and seen() == (picture, answer)
    with h5py.File(tmp_path / "sky.h5") as old:
        mended = tmp_path / "mended.h5"
        shutil.copy(tmp_path / "sky.h5", mended)
        images = np.array(old["images"])
    with h5py.File(mended, "r+") as new:
        new["images"][3] = images[0]
    mended.replace(tmp_path / "sky.h5")
    assert seen() == (client.get(signing.stamp_path("sky", 0, campaign.links, SETTINGS)).content, answer)
    matrix = np.load(tmp_path / "sky.npy")
    matrix[3] = matrix[0]
    np.save(tmp_path / "again.npy", matrix)
    (tmp_path / "again.npy").replace(tmp_path / "sky.npy")
    assert seen()[1] == CLASSES[0]
    (tmp_path / "sky.h5").unlink()
    assert "There is no stamp set" in problem(client.get(link), 400, "bad_stamp")["message"]


def test_stamps_and_sets_that_are_not_there(client: TestClient, campaign: Campaign) -> None:
    problem(client.get(signing.stamp_path("sky", 999, campaign.links, SETTINGS)), 404, "no_stamp")
    problem(client.get(signing.stamp_path("../etc/passwd", 0, campaign.links, SETTINGS)), 404, "http")
    problem(client.get(signing.stamp_path("nowhere", 0, campaign.links, SETTINGS)), 404, "no_stamp")


def test_pictures_of_a_closed_campaign_stay_until_their_links_lapse(
    client: TestClient, database: Database, campaign: Campaign
) -> None:
    link = signing.stamp_path("sky", 3, campaign.links, SETTINGS)
    held = client.app.state.backend.pictures
    for name in ("close_campaign", "lapse_links"):
        assert client.get(link).status_code == 200
        with database.transaction() as connection:
            query(connection, name, campaign=campaign.id)
            query(connection, "announce", campaign=str(campaign.id))
        wait_until(lambda: campaign.id not in held._campaigns)
    problem(client.get(link), 401, "unauthorised")
    client.cookies.set(COOKIE, client.app.state.pages.sessions.cookie(Person("Vera", session="1"))["value"])
    assert client.get(link).status_code == 200, "who is signed in sees what was labelled"
    problem(client.get(link.replace("/3.", "/4.")), 401, "unauthorised")
    client.cookies.set(COOKIE, "forged")
    problem(client.get(link), 401, "unauthorised")


def test_a_promotion_is_served_at_once(client: TestClient, database: Database, campaign: Campaign, head: str) -> None:
    assert predict(client, task(101)).json()["results"][0]["model_version"] == head
    with database.transaction() as connection:
        query(connection, "put_snapshot_label", campaign=campaign.id, stamp_set="sky", stamp_id=5, label=CLASSES[0])
    learn_now(database, campaign)
    wait_until(lambda: predict(client, task(101)).json()["results"][0]["model_version"] != head)


def test_a_promotion_drops_no_other_campaigns_model(
    client: TestClient, database: Database, campaign: Campaign, head: str
) -> None:
    with database.transaction() as connection:
        other = add_campaign(connection, **MORPHOLOGY, name="Other", project=PROJECT + 1)
    predictor = client.app.state.backend.predictor
    held = {project: predictor.serving(project) for project in (PROJECT, PROJECT + 1)}
    with database.transaction() as connection:
        query(connection, "announce", campaign=str(campaign.id))
    wait_until(lambda: predictor.serving(PROJECT) is not held[PROJECT])
    assert predictor.serving(PROJECT + 1) is held[PROJECT + 1]
    # of a payload that names no campaign, any may have changed
    with database.transaction() as connection:
        query(connection, "announce", campaign="")
    wait_until(lambda: predictor.serving(PROJECT + 1) is not held[PROJECT + 1])
    assert predictor.serving(PROJECT + 1).campaign.id == other.id


def test_a_campaign_that_is_taken_back_is_served_no_more(
    client: TestClient, database: Database, campaign: Campaign, head: str
) -> None:
    """Also where its project stays and becomes a campaign again, as after an adoption that failed."""
    with database.transaction() as connection:
        other = add_campaign(connection, **MORPHOLOGY, name="Other", project=PROJECT + 1)
    predictor = client.app.state.backend.predictor
    held = predictor.serving(other.project)
    assert predict(client, task(101)).json()["results"][0]["model_version"] == head
    database.rows("delete_campaign", project=PROJECT)
    wait_until(lambda: predict(client, task(101)).status_code == 404)
    problem(predict(client, task(101)), 404, "unknown_project")
    assert client.get("/health", headers=BASIC).json()["versions"].keys() == {"Other"}
    with database.transaction() as connection:
        again = add_campaign(connection, **MORPHOLOGY, name="Again", project=PROJECT)
    assert predictor.serving(PROJECT).campaign == again
    assert predictor.serving(other.project) is held


def wait_until(ready: Any) -> None:
    processes.wait_until(ready, 10)


def test_a_task_whose_picture_was_fetched_is_answered_by_it(
    client: TestClient, database: Database, campaign: Campaign, head: str
) -> None:
    values = {"campaign": campaign.id, "stamp_set": "sky", "audit": False}
    database.rows("put_adopted_task", **values, task=501, stamp_id=3, picture="/data/upload/1/a.png")
    mine = task(501, photo="/data/upload/1/a.png")
    results = predict(
        client, mine, task(501, photo="/data/upload/1/b.png"), task(502, photo="x"), {**mine, "id": 2**70}
    ).json()["results"]
    assert results[0]["result"][0]["value"]["choices"] == [CLASSES[3]]
    assert [row["error"]["code"] for row in results[1:]] == ["foreign_task"] * 3
    assert "another picture" in results[1]["error"]["message"] and "campaign adopt" in results[2]["error"]["hint"]
    database.rows("delete_tasks", campaign=campaign.id, tasks=[501])
    assert predict(client, mine).json()["results"][0]["error"], "its number may be another task's by now"
