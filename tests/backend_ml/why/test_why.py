"""Why a galaxy is in the queue: neighbours, place, answer, page and heat map, over a real database."""

import shutil
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cv2
import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient

from backend_ml import signing
from backend_ml.app import create_app
from backend_ml.queue import selections
from backend_ml.queue.selections import Selected, Selection
from backend_ml.store import versions
from backend_ml.store.database import Database, query
from backend_ml.store.records import Campaign
from backend_ml.why.heat import blended
from tests.backend_ml.backend_client import SETTINGS, problem
from tests.backend_ml.conftest import CLASSES
from tests.backend_ml.learned import learn_now
from tests.backend_ml.real_features import with_real_features

ROOT = Path(__file__).parents[3]


@pytest.fixture
def client(database: Database, campaign: Campaign, tmp_path: Path) -> Iterator[TestClient]:
    """The backend over the campaign's database, without a Label Studio."""
    settings = SETTINGS.model_copy(update={"store": tmp_path / "store"})
    with TestClient(create_app(settings, database.url), raise_server_exceptions=False) as opened:
        yield opened


def link(stamp: int, tail: str = "", *, campaign: int = 1, stamp_set: str = "sky") -> str:
    key = signing.link_key("why", stamp_set, stamp, signing.Links(campaign), SETTINGS)
    return f"/why/{campaign}/{stamp_set}/{stamp}{tail}?key={key}"


def why(client: TestClient, stamp: int) -> dict[str, Any]:
    answer = client.get(link(stamp, ".json"))
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def shown(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Every neighbour on a page, the nearest first."""
    return sorted(
        (one for group in found["neighbours"] for one in group["examples"]), key=lambda one: -one["similarity"]
    )


def start_labels(database: Database, campaign: Campaign, stamps: range) -> None:
    with database.transaction() as connection:
        for i in stamps:
            values = {"stamp_set": "sky", "stamp_id": i, "label": CLASSES[i % 5]}
            query(connection, "put_snapshot_label", campaign=campaign.id, **values)


def mark(database: Database, stamp: int, label: str, person: str | None, annotator: int | None = None) -> None:
    values = {"stamp_set": "sky", "stamp_id": stamp, "label": label, "person": person, "annotator": annotator}
    database.rows("put_label", campaign=1, action="labelled", **values)


def push(database: Database, campaign: Campaign, version: str, policy: str, tasks: list[int]) -> None:
    with database.transaction() as connection:
        values = {"version": version, "policy": policy, "seed": 0, "batch": 200, "candidates": 10, "last_event": 0}
        common = {"stamp_set": "sky", "priority": 0.25, "propensity": 0.5}
        stamps = [Selected(**common, task_id=task, stamp_id=task - 101, audit=task == 110) for task in tasks]
        selections.record(connection, campaign, Selection(source="push", **values), stamps, served=True)


def fitted(database: Database, campaign: Campaign) -> str:
    assert learn_now(database, campaign) == "promoted"
    with database.transaction() as connection:
        active = versions.active_version(connection, campaign)
    assert active is not None
    return active.version


def test_the_nearest_examples_come_with_labels_and_who_gave_them(
    client: TestClient, database: Database, campaign: Campaign
) -> None:
    start_labels(database, campaign, range(1, 5))
    mark(database, 6, CLASSES[1], "Ada")
    mark(database, 6, CLASSES[1], None, annotator=12)
    found = why(client, 1)
    assert found["labels"] == {"starting labels": CLASSES[1]}
    first, *others = shown(found)
    assert (first["stamp_id"], first["label"], first["given_by"]) == (6, CLASSES[1], ["Ada", "annotator 12"])
    assert first["similarity"] > 0.99 and all(one["similarity"] < 0 for one in others)
    assert [one["stamp_id"] for one in others] != [] and 1 not in {one["stamp_id"] for one in others}
    picture = urlsplit(first["picture"])
    assert client.get(f"{picture.path}?{picture.query}").headers["content-type"] == "image/jpeg"


def test_people_who_disagree_are_named_with_what_they_said(client: TestClient, database: Database) -> None:
    for person, label in (("Ada", CLASSES[0]), ("Bo", CLASSES[1]), ("Cy", CLASSES[1])):
        mark(database, 5, label, person)
    (example,) = shown(why(client, 0))
    assert example["label"] == CLASSES[1]
    assert example["given_by"] == [f"Ada: {CLASSES[0]}", f"Bo: {CLASSES[1]}", f"Cy: {CLASSES[1]}"]


@pytest.mark.parametrize(("consensus", "expected"), [("majority", CLASSES[1]), ("dawid-skene", CLASSES[0])])
def test_the_label_of_an_example_is_what_the_campaign_agrees_on(
    client: TestClient, database: Database, consensus: str, expected: str
) -> None:
    """On galaxy 7 two who are always of one mind are outvoted by three who are of none."""
    for letters, stamp in zip(
        ("aaabb", "bbaba", "aabab", "bbbaa", "aaaab", "bbbba", "aabbb"), range(1, 8), strict=True
    ):
        for person, letter in zip("VWXYZ", letters, strict=True):
            mark(database, stamp, CLASSES["ab".index(letter)], person)
    with database.transaction() as connection:
        connection.execute("UPDATE campaign SET consensus = %s", (consensus,))
    labels = {one["stamp_id"]: one["label"] for one in shown(why(client, 2))}
    assert labels[7] == expected


def test_the_place_in_the_queue_is_said_in_words(client: TestClient, database: Database, campaign: Campaign) -> None:
    start_labels(database, campaign, range(5))
    version = fitted(database, campaign)
    push(database, campaign, version, "margin", [106, 107, 110])
    push(database, campaign, version, "loop", [107])
    found = why(client, 6)
    assert found["place"]["rank"] == 0 and found["place"]["policy"] == "loop" and found["place"]["latest"]
    assert "Place 1 of 10" in found["place_words"] and "0.5" not in found["place_words"]
    assert "half by how likely" in found["place_words"]
    assert "earlier queue" in why(client, 5)["place_words"] and not why(client, 5)["place"]["latest"]
    assert found["version"] == version and set(found["answer"]) == set(CLASSES)
    assert max(found["answer"], key=found["answer"].get) == CLASSES[1] and CLASSES[1] in found["answer_words"]
    assert set(found["measures"]) == {"margin", "entropy", "probability"}
    assert found["measures"]["probability"] == pytest.approx(max(found["answer"].values()))


def test_nothing_labelled_nothing_queued_no_model(client: TestClient) -> None:
    found = why(client, 3)
    assert found["neighbours"] == [] and "Nobody has labelled" in found["neighbour_words"]
    assert found["place"] is None and "Nothing put it into the queue" in found["place_words"]
    assert found["answer"] == {} and "cold start" in found["answer_words"].lower()
    assert not found["heat"] and "cold start" in found["heat_words"]
    page = client.get(link(3)).text
    assert "cold start" in page and "<meter" not in page and "heat.png" not in page


def blind_parts(found: dict[str, Any]) -> dict[str, Any]:
    return {name: found[name] for name in ("answer", "neighbours", "measures", "similarity", "labels", "heat")}


NOTHING: dict[str, Any] = {"neighbours": [], "similarity": None, "heat": False} | {
    name: {} for name in ("answer", "measures", "labels")
}


def test_a_blind_galaxy_says_nothing_before_it_is_labelled(
    client: TestClient, database: Database, campaign: Campaign
) -> None:
    start_labels(database, campaign, range(5))
    push(database, campaign, fitted(database, campaign), "margin", [110])
    blind = why(client, 9)
    assert blind_parts(blind) == NOTHING
    assert "audit slice" in blind["heat_words"] and "drawn at random" in blind["place_words"]
    page = client.get(link(9)).text
    assert "<meter" not in page and "similarity" not in page and not any(name in page for name in CLASSES)
    problem(client.get(link(9, "/heat.png")), 401, "unauthorised")
    mark(database, 9, CLASSES[4], "Ada")
    assert why(client, 9)["answer"] and shown(why(client, 9))[0]["stamp_id"] == 4


def test_a_label_the_campaign_began_with_opens_no_blind_galaxy(
    client: TestClient, database: Database, campaign: Campaign
) -> None:
    start_labels(database, campaign, range(10))
    fitted(database, campaign)
    assert blind_parts(why(client, 9)) == NOTHING


def test_a_blind_galaxy_of_two_labels_waits_for_both_and_tells_nobody_of_the_first(
    client: TestClient, database: Database, campaign: Campaign
) -> None:
    start_labels(database, campaign, range(5))
    fitted(database, campaign)
    with database.transaction() as connection:
        connection.execute("UPDATE campaign SET overlap = 2")
    mark(database, 9, CLASSES[4], "Ada")
    found = why(client, 9)
    assert blind_parts(found) == NOTHING and "all of its 2 labels" in found["answer_words"]
    assert 9 not in {one["stamp_id"] for one in shown(why(client, 4))}, "nor does the page of a galaxy like it"
    mark(database, 9, CLASSES[3], "Bo")
    found = why(client, 9)
    assert found["labels"] == {"Ada": CLASSES[4], "Bo": CLASSES[3]} and found["answer"]
    assert 9 in {one["stamp_id"] for one in shown(why(client, 4))}


def test_neighbours_are_grouped_by_what_people_said_the_commonest_label_first(
    client: TestClient, database: Database
) -> None:
    with database.transaction() as connection:
        path = Path(query(connection, "stamp_sets")[0]["features"])
    alike = np.load(path)
    alike[:6] = alike[1] + np.eye(6, 16, dtype=np.float16)  # 0 to 5 are alike, and the others are as they were
    np.save(path, alike)
    for stamp, label in {0: 1, 2: 2, 3: 1, 4: 1, 5: 2, 7: 4, 8: 4, 9: 1}.items():
        mark(database, stamp, CLASSES[label], "Ada")
    found = why(client, 1)
    groups = [(group["label"], group["among"], len(group["examples"])) for group in found["neighbours"]]
    assert groups == [(CLASSES[1], 3, 4), (CLASSES[2], 2, 2), (CLASSES[4], 0, 2)]
    assert found["neighbour_words"] == (
        "Of the 5 labelled galaxies that the model sees as most like it, people called"
        f" 3 “{CLASSES[1]}” and 2 “{CLASSES[2]}”."
    )
    assert "none of the nearest" in client.get(link(1)).text


def test_nothing_is_said_to_be_like_a_galaxy_that_is_not(client: TestClient, database: Database) -> None:
    mark(database, 2, CLASSES[2], "Ada")
    found = why(client, 1)
    assert found["neighbour_words"] == "No galaxy that people labelled is like it to the model."
    assert [(group["label"], group["among"]) for group in found["neighbours"]] == [(CLASSES[2], 0)]


def test_disputed_galaxies_are_said_to_be_and_not_that_the_policy_chose_them(
    client: TestClient, database: Database, campaign: Campaign
) -> None:
    start_labels(database, campaign, range(5))
    push(database, campaign, fitted(database, campaign), "margin", [106])
    assert "less sure" in why(client, 5)["place_words"]
    mark(database, 5, CLASSES[0], "Ada")
    mark(database, 5, CLASSES[1], "Bo")
    words = why(client, 5)["place_words"]
    assert "different labels" in words and "less sure" not in words


def test_the_page_leads_to_the_task_the_sky_and_the_next_galaxy(
    client: TestClient, database: Database, campaign: Campaign
) -> None:
    start_labels(database, campaign, range(5))
    push(database, campaign, fitted(database, campaign), "margin", [107, 106, 110])
    found = why(client, 6)["ways"]
    assert found["task"] == "http://127.0.0.1:8080/projects/7/data?task=107" and found["search"] is None
    assert found["viewer"].startswith("https://www.legacysurvey.org/viewer?ra=")
    assert urlsplit(found["next"]).path == "/why/1/sky/5" and found["next_name"] == "sky 5"
    following = urlsplit(found["next"])
    assert client.get(f"{following.path}?{following.query}").status_code == 200
    assert urlsplit(why(client, 9)["ways"]["next"]).path == "/why/1/sky/6", "after the last comes the first"
    assert urlsplit(why(client, 0)["ways"]["next"]).path == "/why/1/sky/6", "and after one that is not in the queue"
    page = client.get(link(6)).text
    assert page.count("<a href=") == 3 and f'href="{escape(found["viewer"])}"' in page


def test_figures_are_seen_by_who_opens_them(client: TestClient, database: Database, campaign: Campaign) -> None:
    start_labels(database, campaign, range(5))
    push(database, campaign, fitted(database, campaign), "entropy", [107, 106])
    seen, folded = client.get(link(6)).text.split("<details>")
    assert "propensity" in folded and "nats" in folded and "cosine" in folded
    assert not any(word in seen for word in ("propensity", "nats", "cosine", "priority", "entropy", "margin"))


@pytest.mark.parametrize("tail", ["", ".json", "/heat.png"])
def test_each_address_needs_its_own_key_and_an_open_campaign(
    client: TestClient, database: Database, campaign: Campaign, tail: str
) -> None:
    right = link(3, tail)
    stamp = signing.link_key("stamp", "sky", 3, campaign.links, SETTINGS)
    for forged in (right[:-1], right.replace("/3", "/4"), right.replace("why/1/", "why/2/"), f"{right[:-32]}{stamp}"):
        problem(client.get(forged), 401, "unauthorised")
    problem(client.get(right.partition("?")[0]), 422, "malformed")
    problem(client.get(link(999, tail)), 404, "no_stamp")
    problem(client.get(link(3, tail, stamp_set="nowhere")), 404, "no_stamp")
    problem(client.get(link(3, tail, campaign=77)), 401, "unauthorised")
    database.rows("close_campaign", campaign=campaign.id)
    problem(client.get(right), 401, "unauthorised")


def test_the_page_runs_no_script_and_escapes_what_people_write(
    client: TestClient, database: Database, campaign: Campaign
) -> None:
    start_labels(database, campaign, range(5))
    fitted(database, campaign)
    mark(database, 6, "<script>alert(1)</script>", '"><img src=x onerror=y>')
    answer = client.get(link(1))
    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert "<script" not in answer.text and "style=" not in answer.text and "<img src=x" not in answer.text
    assert "&lt;script&gt;alert(1)" in answer.text and "heat.png?key=" in answer.text
    assert client.get("/why.css").headers["content-type"].startswith("text/css")


def test_features_that_are_gone_are_explained(client: TestClient, database: Database, campaign: Campaign) -> None:
    start_labels(database, campaign, range(2))
    with database.transaction() as connection:
        connection.execute("UPDATE stamp_set SET features = '/nowhere/at/all.npy'")
    assert "no features" in why(client, 3)["neighbour_words"]


def test_a_heat_map_without_an_encoder_says_what_to_copy(
    client: TestClient, database: Database, campaign: Campaign
) -> None:
    start_labels(database, campaign, range(5))
    fitted(database, campaign)
    assert "encoders" in problem(client.get(link(7, "/heat.png")), 400, "bad_checkpoint")["hint"]


def decoded(answer: httpx.Response) -> Any:
    assert answer.status_code == 200, answer.text
    return cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR)


def test_the_heat_map_is_drawn_over_the_picture(
    client: TestClient, database: Database, campaign: Campaign, tmp_path: Path
) -> None:
    renewed = with_real_features(database, tmp_path / "store")
    assert renewed.id == campaign.id
    start_labels(database, renewed, range(5))
    fitted(database, renewed)
    image = decoded(client.get(link(7, "/heat.png")))
    assert image.shape == (480, 480, 3)
    plain = decoded(client.get(signing.stamp_path("sky", 7, signing.Links(1), SETTINGS)))
    plain = cv2.resize(plain, image.shape[:2], interpolation=cv2.INTER_AREA)
    assert np.abs(image.astype(int) - plain.astype(int)).mean() > 1
    shutil.rmtree(tmp_path / "store" / "encoders")
    assert client.get(link(7, "/heat.png")).status_code == 200, "a map is computed once"


def test_orange_speaks_for_and_blue_against() -> None:
    falls = np.zeros((64, 64))
    falls[:32], falls[48:] = 2.0, -1.0
    image = cv2.imdecode(np.frombuffer(blended(np.zeros((96, 96, 3), np.float32), falls), np.uint8), cv2.IMREAD_COLOR)
    blue, _, red = image[10, 48]
    assert red > 100 and blue < 20
    blue, _, red = image[90, 48]
    assert blue > 50 and red < 20
    assert not cv2.imdecode(
        np.frombuffer(blended(np.zeros((96, 96, 3), np.float32), np.zeros((64, 64))), np.uint8), cv2.IMREAD_COLOR
    ).any()
