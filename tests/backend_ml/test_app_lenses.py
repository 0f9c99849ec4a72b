"""A campaign of lenses over HTTP: what Label Studio asks and gets."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from fastapi.testclient import TestClient

from backend_ml import signing
from backend_ml.app import create_app
from backend_ml.label_studio.regions.objects import find_object_controls, read_objects
from backend_ml.plugins.lenses import ARC
from backend_ml.store.database import Database, query
from backend_ml.store.records import Campaign
from lvm_training.stamps.stampset import StampWriter
from tests.backend_ml.backend_client import BASIC, SETTINGS, predict, problem, recorded
from tests.backend_ml.learned import begin_now
from tests.backend_ml.lenses import AUDIT, LENSES, SHOWN, write_detector
from tests.lvm_training.detection.detection_pictures import SIDE


@pytest.fixture
def client(database: Database, lenses: Campaign, tmp_path: Path) -> Iterator[TestClient]:
    """The backend over the campaign's database and store."""
    assert lenses.stamp_set == "sky"
    settings = SETTINGS.model_copy(update={"store": tmp_path / "store"})
    with TestClient(create_app(settings, database.url), raise_server_exceptions=False) as opened:
        yield opened


def show(number: int, stamp: int, stamp_set: str = "sky") -> dict[str, object]:
    return {"id": number, "data": {"stamp_set": stamp_set, "stamp_id": stamp}}


def test_each_task_gets_its_objects_in_order(client: TestClient) -> None:
    answer = predict(client, show(1, 7), show(2, 99), show(3, 0), show(4, 0, "nowhere"), config=LENSES)
    assert answer.status_code == 200, answer.text
    good, missing, again, foreign = answer.json()["results"]
    for one in (good, again):
        assert one["model_version"].startswith("lenses-") and "error" not in one
        read = read_objects(one["result"], find_object_controls(LENSES), width=SIDE, height=SIDE, shown=SHOWN)
        assert ARC in read.instances.classes
    assert good["result"] != again["result"]
    for one in (missing, foreign):
        assert one["result"] == [] and one["error"]["code"] == "no_stamp"


def test_a_label_config_without_boxes_is_refused(client: TestClient) -> None:
    choices = '<View><Image name="i" value="$image"/><Choices name="c" toName="i"><Choice value="a"/></Choices></View>'
    problem(predict(client, show(1, 0), config=choices), 422, "label_config")
    body = {**recorded("setup"), "schema": choices}
    problem(client.post("/setup", headers=BASIC, json=body), 422, "label_config")


def test_the_version_is_known_before_the_detector_is_loaded(client: TestClient, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "store" / "detectors")
    body = {**recorded("setup"), "schema": LENSES}
    answer = client.post("/setup", headers=BASIC, json=body)
    assert answer.status_code == 200 and answer.json()["model_version"].startswith("lenses-")
    found = problem(predict(client, show(1, 0), config=LENSES), 400, "bad_checkpoint")
    assert "detectors" in found["message"]


def test_a_new_version_is_served_when_it_is_promoted(
    client: TestClient, database: Database, lenses: Campaign, tmp_path: Path
) -> None:
    (before,) = predict(client, show(1, 0), config=LENSES).json()["results"]
    version = begin_now(database, lenses, write_detector(tmp_path / "next", 5), tmp_path / "store")
    assert version != before["model_version"]
    answers = iter(lambda: predict(client, show(1, 0), config=LENSES).json()["results"][0]["model_version"], version)
    assert len([seen for seen, _ in zip(answers, range(200), strict=False)]) < 200


def test_why_a_picture_of_a_lens_campaign_is_here(client: TestClient, lenses: Campaign) -> None:
    key = signing.link_key("why", "sky", 0, lenses.links, SETTINGS)
    found = client.get(f"/why/{lenses.id}/sky/0.json?key={key}").json()
    assert ARC in found["answer"] and "scores" in found["answer_words"]
    assert 0 <= found["measures"]["box margin"] <= 1 and "mask disagreement" not in found["measures"]
    assert not found["heat"] and "boxes and masks" in found["heat_words"]
    assert "boxes and masks" in client.get(f"/why/{lenses.id}/sky/0?key={key}").text
    problem(client.get(f"/why/{lenses.id}/sky/0/heat.png?key={key}"), 401, "unauthorised")


def test_the_page_draws_the_boxes_that_the_task_has(client: TestClient, database: Database, lenses: Campaign) -> None:
    def address(row: int, tail: str = "") -> str:
        key = signing.link_key("why", "sky", row, lenses.links, SETTINGS)
        return f"/why/{lenses.id}/sky/{row}{tail}?key={key}"

    (task,) = predict(client, show(1, 0), config=LENSES).json()["results"]
    regions = sorted((one for one in task["result"] if one["type"] == "rectanglelabels"), key=lambda one: one["score"])
    assert regions
    boxes = client.get(address(0, ".json")).json()["boxes"]
    for box, region in zip(boxes, regions, strict=True):
        assert {name: region["value"][name] for name in ("x", "y", "width", "height")}.items() <= box.items()
        assert (box["label"], box["score"]) == (region["value"]["rectanglelabels"][0], region["score"])
    page = client.get(address(0)).text
    drawn = ElementTree.fromstring(page[page.index("<svg") : page.index("</svg>") + len("</svg>")])
    wanted = [f"{box['label']} {box['score']:.2f}" for box in boxes]
    assert [text.text for text in drawn.iter("text")] == wanted and all(
        words in drawn.attrib["aria-label"] for words in wanted
    )
    assert {one.get("stroke") for one in drawn.iter("rect")} <= {"#f032e6", "#00b37a", "#f5a300"}
    (blind,) = database.rows("audit_stamps", campaign=lenses.id, stamp_sets=["sky"], stamp_ids=[AUDIT])
    assert (
        blind
        and client.get(address(AUDIT, ".json")).json()["boxes"] == []
        and "<svg" not in client.get(address(AUDIT)).text
    )


def test_where_a_task_shows_the_middle_of_its_stamp_the_page_shows_the_rest(
    client: TestClient, database: Database, lenses: Campaign, tmp_path: Path
) -> None:
    def address(tail: str = "", stamp_set: str = "wide") -> str:
        key = signing.link_key("why", stamp_set, 0, lenses.links, SETTINGS)
        return f"/why/{lenses.id}/{stamp_set}/0{tail}?key={key}"

    assert client.get(address(".json", "sky")).json()["framing"] == ""
    assert "whole.jpg" not in client.get(address("", "sky")).text
    writer = StampWriter(tmp_path / "wide.h5", (80, 80))
    bright = np.zeros((1, 3, 80, 80), dtype=np.float32)
    bright[:, :, 8:12, 8:12] = 100  # beyond the middle 40 pixels
    writer.append(bright, {})
    path = writer.finish()
    with database.transaction() as connection:
        query(connection, "put_stamp_set", name="wide", path=str(path), digest="e", features="")
    assert "21″ wide; people see the middle 10.5″" in client.get(address(".json")).json()["framing"]
    assert "The frame is what annotators see" in client.get(address()).text
    rest, shown = (
        cv2.imdecode(np.frombuffer(client.get(path).content, np.uint8), cv2.IMREAD_COLOR)
        for path in (address("/whole.jpg"), signing.stamp_path("wide", 0, lenses.links, SETTINGS))
    )
    there = np.s_[828:852, 108:132]
    assert rest.shape == shown.shape and (rest[there] > 250).all() and not (shown[there] > 250).all()
    problem(client.get(address("/whole.jpg").replace("/0/", "/1/")), 401, "unauthorised")


def test_where_masks_are_compared_the_page_says_how_much_they_disagree(
    client: TestClient, database: Database, lenses: Campaign
) -> None:
    with database.transaction() as connection:
        connection.execute("UPDATE campaign SET policy = 'mask-disagreement'")
    key = signing.link_key("why", "sky", 0, lenses.links, SETTINGS)
    found = client.get(f"/why/{lenses.id}/sky/0.json?key={key}").json()
    assert 0 < found["measures"]["mask disagreement"] < 1
    page = client.get(f"/why/{lenses.id}/sky/0?key={key}")
    assert page.status_code == 200 and "mask disagreement now" in page.text
    answer = predict(client, show(1, 0), config=LENSES).json()["results"][0]
    assert answer["model_version"] == found["version"] and answer["result"]
