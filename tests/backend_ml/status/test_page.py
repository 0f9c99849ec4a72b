"""What the pages say, to whom, and what is refused."""

import csv
import io
import json
import re
import shutil
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import h5py
import pytest
from fastapi.testclient import TestClient
from psycopg.types.json import Jsonb

from backend_ml.store.campaigns import add_campaign
from backend_ml.store.database import Database
from backend_ml.store.records import Campaign
from tests.backend_ml.conftest import CLASSES, MORPHOLOGY, Annotating
from tests.backend_ml.explore.conftest import ORIGIN
from tests.backend_ml.learned import learn_now
from tests.backend_ml.status.conftest import Leader

NOW = datetime.now(UTC)
VOID = {"meta", "link", "img", "input", "br", "path", "circle", "rect", "polyline"}


class Nesting(HTMLParser):
    """Fails where a tag is not closed, or is a script or a style."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "style") and not {"style", "onclick"} & {name for name, _ in attrs}
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in VOID


def whole(page: str) -> str:
    """The words of a page, whose tags are nested as they should be."""
    parser = Nesting()
    parser.feed(page)
    assert parser.open == []
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


@pytest.mark.parametrize("path", ["", "/", "/1", "/1/labels.csv", "/1/stamps/sky/0.png", "/nowhere/at/all"])
def test_who_is_not_signed_in_is_sent_to_sign_in(site: TestClient, campaign: Campaign, path: str) -> None:
    answer = site.get(f"/status{path}", follow_redirects=False)
    assert answer.status_code == 303 and answer.headers["Location"].startswith((".", "..")), path
    form = site.get(f"/status{path}")
    assert form.status_code == 200 and "/sign-in?next=" in str(form.url) and "Team password" in form.text
    assert whole(form.text) and "no-store" in form.headers["Cache-Control"]


def test_a_campaign_in_full(
    leader: Leader, database: Database, campaign: Campaign, head: str, annotate: Annotating
) -> None:
    for task in range(101, 110):
        annotate(task, CLASSES[task % 5], 3, NOW - timedelta(minutes=task - 100), origin="prediction", seconds=4.0)
        annotate(task, CLASSES[0], 4, NOW - timedelta(minutes=task - 100), origin="prediction-changed", seconds=8.0)
    annotate(110, CLASSES[4], 3, NOW)
    assert learn_now(database, campaign) in ("promoted", "held back")
    page = leader.get("/1")
    assert page.status_code == 200, page.text
    said = whole(page.text)
    assert "10 of 10 tasks done, 100 %" in said and "19 by 2 people" in said
    assert "annotator 3" in said and "annotator 4" in said and head in said
    assert "50 % of 18" in said, "of what was filled in, half was left as it was"
    assert "8 galaxies with different labels" in said
    assert page.text.count('class="point"') + page.text.count('class="point hollow"') == 1
    assert "Learning after" in said and "serves now" in said


def test_the_list_of_all(leader: Leader, database: Database, campaign: Campaign, annotate: Annotating) -> None:
    annotate(101, CLASSES[0], 3, NOW - timedelta(minutes=30))
    said = whole(leader.get().text)
    assert "1 of 10 tasks done, 10 %" in said and "morphology" in said and "none yet" in said
    database.rows("close_campaign", campaign=campaign.id)
    assert "closed" in whole(leader.get().text) and "closed" in whole(leader.get("/1").text)


def test_no_campaigns(leader: Leader) -> None:
    assert "There are no campaigns yet." in whole(leader.get().text)


def test_nobody_labelled(leader: Leader, campaign: Campaign) -> None:
    said = whole(leader.get("/1").text)
    for words in (
        "0 of 10 tasks done, 0 %",
        "unknown while nobody labels",
        "Nobody has labelled yet",
        "nothing to compare",
    ):
        assert words in said
    assert said.count("not ranked yet") == 9 and "blind sample" in said


def test_all_skipped_and_one_person(leader: Leader, campaign: Campaign, annotate: Annotating) -> None:
    for task in range(101, 111):
        annotate(task, None, None, NOW)
    said = whole(leader.get("/1").text)
    assert "0 of 10 tasks done" in said and "unknown while nobody labels" in said and "starting labels" in said


@pytest.mark.parametrize(
    "path", ["/2", "/999999999", "/9999999999", "/x", "/1x", "/-1", "/1/nothing", "/1/stamps/sky/99.png"]
)
def test_what_is_not_there_is_said_as_a_page(leader: Leader, campaign: Campaign, path: str) -> None:
    answer = leader.get(path)
    assert answer.status_code == 404 and whole(answer.text) and "text/html" in answer.headers["Content-Type"]


def test_names_are_no_html(leader: Leader, database: Database, campaign: Campaign, annotate: Annotating) -> None:
    evil = '<img src=x onerror=alert(1)>"&'
    with database.transaction() as connection:
        connection.execute("UPDATE campaign SET name = %s", (evil,))
        connection.execute("INSERT INTO notice (campaign_id, source, text) VALUES (1, 'x', %s)", (evil,))
        connection.execute("INSERT INTO set_aside VALUES (1, 77, 101, %s)", (evil,))
    values = {"stamp_set": "sky", "stamp_id": 1, "annotator": None, "person": evil}
    for label in (evil, "yes"):
        database.rows("put_label", campaign=1, action="labelled", label=label, **values | {"person": evil + label})
    for path in ("", "/1"):
        page = leader.get(path).text
        whole(page)
        assert "<img src=x" not in page and "&lt;img src=x" in page


def test_pages_are_guarded(leader: Leader, campaign: Campaign) -> None:
    for path in ("", "/1"):
        headers = leader.get(path).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "script" not in policy and "form-action 'self'" in policy
        assert headers["X-Frame-Options"] == "DENY" and headers["Cache-Control"] == "no-store"


def test_the_queue_leads_to_why_each_task_is_there(leader: Leader, database: Database, campaign: Campaign) -> None:
    ways = re.findall(r'href="[^"]*?(/why/1/sky/\d+\?key=\w+)">why\?</a>', leader.get("/1").text)
    assert len(set(ways)) == 10
    answer = leader.client.get(ways[0])
    assert answer.status_code == 200 and "Why is sky 0 here?" in answer.text
    database.rows("close_campaign", campaign=campaign.id)
    assert "/why/" not in leader.get("/1").text


def test_promote_and_roll_back(
    leader: Leader, database: Database, campaign: Campaign, head: str, annotate: Annotating
) -> None:
    for task in range(101, 110):
        annotate(task, CLASSES[(task + 1) % 5], 3, NOW)
    assert learn_now(database, campaign) == "promoted"
    served = [row["version"] for row in database.rows("promotions", campaign=1)]
    assert len(served) == 2 and served[1] == head
    answer = leader.post("/1/rollback")
    assert (answer.status_code, answer.headers["Location"]) == (303, "../1")
    assert database.rows("active_version", campaign=1)[0]["version"] == head
    assert leader.post("/1/promote", version=served[0]).status_code == 303
    assert database.rows("active_version", campaign=1)[0]["version"] == served[0]
    assert "pushing the queue to Label Studio: waits" in whole(leader.get("/1").text)
    refused = leader.post("/1/promote", version="none-such")
    assert refused.status_code == 400 and "no version" in whole(refused.text)
    database.rows("close_campaign", campaign=1)
    assert "closed" in whole(leader.post("/1/rollback").text)
    assert leader.post("/7/rollback").status_code == 404


def test_who_rolls_back_leaves_the_version_of_the_page(
    leader: Leader, database: Database, campaign: Campaign, head: str, annotate: Annotating
) -> None:
    """A worker may have promoted another one since, or a second leader rolled back."""
    assert "/rollback" not in leader.get("/1").text
    for task in range(101, 110):
        annotate(task, CLASSES[(task + 1) % 5], 3, NOW)
    assert learn_now(database, campaign) == "promoted"
    served = database.rows("promotions", campaign=1)[0]["version"]
    assert re.findall(r'/rollback">.*?name="version" value="([^"]*)"', leader.get("/1").text) == [served]
    assert leader.post("/1/rollback", version=served).status_code == 303
    late = leader.post("/1/rollback", version=served)
    assert late.status_code == 409 and f"{served} served when you saw the page" in whole(late.text)
    assert database.rows("active_version", campaign=1)[0]["version"] == head, "and not the one before"


def test_what_is_long_ago_is_folded(leader: Leader, database: Database, campaign: Campaign, head: str) -> None:
    """The six newest versions are seen at once, the others, of which each can be promoted too, by opening them."""
    known = {"parent": head, "encoder": "e", "revision": "r", "weights": b"", "detector": None, "seed": 0}
    counts = {"last_event": 1, "labels": 50, "audit_labels": 0, "metrics": Jsonb({})}
    for number in range(8):
        database.rows("put_version", campaign=campaign.id, version=f"morphology-{number}", **known, **counts)
    seen, _, folded = leader.get("/1").text.partition("3 earlier versions")
    assert "morphology-7" in seen and "morphology-2" in seen and f"<b>{head}</b>" not in seen
    assert "morphology-1" in folded and f"<b>{head}</b>" in folded


def test_changes_need_the_form_and_the_page(leader: Leader, campaign: Campaign, head: str) -> None:
    for fields, headers in (
        ({"csrf": ""}, ORIGIN),
        ({"csrf": "wrong"}, ORIGIN),
        ({}, {"Origin": "http://evil.example"}),
        ({}, {"Origin": "null"}),
    ):
        answer = leader.post("/1/promote", headers, version=head, **fields)
        assert answer.status_code == 403 and whole(answer.text)
    body = leader.client.post("/status/1/promote", json={"version": head}, headers=ORIGIN)
    assert body.status_code == 400 and "no form" in whole(body.text)
    leader.client.cookies.clear()
    assert leader.post("/1/promote", version=head).headers["Location"] == "../../sign-in?next=/status/1"


def test_downloads(leader: Leader, campaign: Campaign, head: str, annotate: Annotating) -> None:
    annotate(106, CLASSES[1], 3, NOW)
    answer = leader.get("/1/labels.csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert len(rows) == 6 and rows[5]["label"] == CLASSES[1] and rows[5]["annotators"] == "annotator 3"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="Test-labels.csv"'
    catalogue = list(csv.DictReader(io.StringIO(leader.get("/1/catalogue.csv").text)))
    assert len(catalogue) == 10
    assert leader.get("/1/catalogue.fits").content.startswith(b"SIMPLE  =")
    figures = json.loads(leader.get("/1/status.json").text)
    assert figures["name"] == "Test" and figures["people"][0]["person"] == "annotator 3"
    refused = leader.get("/1/objects.json")
    assert refused.status_code == 400 and "has labels, not objects" in whole(refused.text)


def test_a_picture(leader: Leader, campaign: Campaign) -> None:
    answer = leader.get("/1/stamps/sky/0.png")
    assert answer.content.startswith(b"\x89PNG") and "private" in answer.headers["Cache-Control"]


def test_a_kind_that_is_not_installed(leader: Leader, database: Database, campaign: Campaign, head: str) -> None:
    with database.transaction() as connection:
        connection.execute("UPDATE campaign SET kind = 'gone'")
    for path in ("", "/1", "/1/status.json"):
        assert leader.get(path).status_code == 200
    answer = leader.get("/1/catalogue.csv")
    assert answer.status_code == 400 and "no kind of campaign 'gone'" in whole(answer.text).replace("&#x27;", "'")


def test_a_campaign_of_objects(leader: Leader, lenses: Campaign) -> None:
    said = whole(leader.get("/1").text)
    assert "lenses, open: 0 of 46 tasks done" in said and "32 tasks, labelled blind" in said
    document = json.loads(leader.get("/1/objects.json").text)
    assert document["annotations"] == [] and {one["name"] for one in document["categories"]} >= {"arc"}


def test_a_search_that_is_not_in_label_studio(leader: Leader, database: Database, campaign: Campaign) -> None:
    with database.transaction() as connection:
        values = {**MORPHOLOGY, "kind": "interest", "classes": ("no", "yes"), "policy": "loop"}
        search = add_campaign(connection, **values, name="Rings")
    for stamp, person in ((1, "Vera"), (1, "Cecilia"), (2, "Vera")):
        values = {"stamp_set": "sky", "stamp_id": stamp, "person": person, "annotator": None}
        label = "no" if person == "Cecilia" else "yes"
        database.rows("put_label", campaign=search.id, action="labelled", label=label, **values)
    page = leader.get(f"/{search.id}").text
    said = whole(page)
    assert "3 by 2 people" in said and "no tasks yet" in said and f'href="../explore/{search.id}"' in page
    assert "1 galaxy with different labels" in said and "a tie" in said and "Cecilia and Vera" in said
    assert "0 % of 1 (0–79 %)" in said


def test_experiments_are_told_with_what_came_of_them(leader: Leader, database: Database, campaign: Campaign) -> None:
    assert "Experiments of the pipeline" not in leader.get(f"/{campaign.id}").text
    begun = []
    for name in ("first", "<second>"):
        values = {"repository": "/srv/loop", "baseline": "0" * 40, "labels_file": "rings.parquet", "labels": 320}
        begun += database.rows("begin_experiment", campaign=campaign.id, name=name, **values)
    values = {"revision": "1" * 40, "encoder": "abc", "metrics": Jsonb({"train_loss": 0.125})}
    database.rows("experiment_made", experiment=begun[0]["id"], **values)
    ended = {"version": "v", "branch": "accepted/first", "note": "could not be pushed: no disk"}
    database.rows("end_experiment", experiment=begun[0]["id"], outcome="promoted", **ended)
    said = whole(leader.get(f"/{campaign.id}").text)
    assert "first on 320 labels of rings.parquet: its version serves: train loss 0.125; branch accepted/first;" in said
    assert "could not be pushed: no disk" in said
    assert "&lt;second&gt; on 320 labels of rings.parquet: goes on, or waits for a worker" in said


def test_galaxies_are_called_as_their_files_are(leader: Leader, database: Database, campaign: Campaign) -> None:
    assert "sky 0" in leader.get("/1").text
    path = Path(database.rows("stamp_sets")[0]["path"])
    new = path.with_name("new.h5")
    shutil.copy(path, new)  # the server has the other open
    with h5py.File(new, "a") as file:
        file["file"] = [f"J{row:04}.jpg".encode() for row in range(len(file["images"]))]
    new.replace(path)
    page = leader.get("/1").text
    assert "J0000.jpg" in page and 'alt="Galaxy J0000.jpg"' in page and "sky 0" not in page
    path.unlink()
    assert "sky 0" in leader.get("/1").text


def test_numbers_far_from_the_model_are_said_and_kinds_have_words(
    database: Database, campaign: Campaign, leader: Leader, head: str
) -> None:
    far = {"stamp_set": "sky", "stamp_id": 5, "parameter": "half_light_radius", "number": 4.0, "measured": 1.0}
    metrics = Jsonb({"outliers": [{**far, "errors": 7.5, "perhaps": "in pixels"}]})
    with database.transaction() as connection:
        connection.execute("UPDATE model_version SET metrics = %s WHERE version = %s", (metrics, head))
        connection.execute("UPDATE campaign SET kind = 'interest_rating'")
    page = whole(leader.get("/1").text)
    assert "sky/5 half-light radius 4 against 1, 7.5 errors away, perhaps in pixels" in page
    assert "interest rating, open" in page and "interest rating" in whole(leader.get("").text)


def test_what_is_set_aside_leads_to_its_task(database: Database, campaign: Campaign, leader: Leader) -> None:
    database.rows("put_set_aside", campaign=campaign.id, annotation=9, task=103, reason="It answers 'bar'.")
    page = leader.get("/1").text
    assert "annotation 9 of task 103" in whole(page) and f"/projects/{campaign.project}/data?task=103" in page
