"""The leader's forms: what they offer, what they do, and to whom they refuse it."""

import re
from datetime import UTC, datetime
from html import escape, unescape
from pathlib import Path
from typing import Any

import pytest

from backend_ml.label_studio.client import LabelStudio
from backend_ml.sign_in.person import Person
from backend_ml.store.campaigns import campaign_of_id
from backend_ml.store.database import Database
from backend_ml.store.records import Campaign
from tests.backend_ml.conftest import CLASSES, Annotating
from tests.backend_ml.leading.test_classes import OneProject
from tests.backend_ml.leading.test_running import jobs
from tests.backend_ml.sky import write_stamps
from tests.backend_ml.status.conftest import Leader
from tests.backend_ml.status.test_page import whole

NOW = datetime.now(UTC)
FORMS = ["pause", "resume", "close", "reopen", "change", "rename-class", "undo-rename", "set-aside", "take-back", "add"]


def now(database: Database, campaign: Campaign) -> Campaign:
    with database.transaction() as connection:
        found = campaign_of_id(connection, campaign.id)
    assert found is not None
    return found


@pytest.fixture
def project(monkeypatch: pytest.MonkeyPatch) -> OneProject:
    """The Label Studio of who signed in, as if by their own token."""
    server = OneProject()

    def label_studio(_: Person, __: Any) -> LabelStudio:
        return server

    monkeypatch.setattr(Person, "label_studio", label_studio)
    return server


def test_the_page_has_every_form_and_each_goes_where_it_should(
    leader: Leader, database: Database, campaign: Campaign, annotate: Annotating
) -> None:
    annotate(101, "spiral", 3, NOW)
    page = leader.get("/1").text
    assert whole(page)
    for form in {*FORMS} - {"resume", "reopen", "undo-rename", "take-back"}:
        assert f'action="../status/1/{form}"' in page, form
    assert '<option value="margin" selected>' in page and 'name="overlap" value="1"' in page
    assert all(f'<option value="{name}">' in page for name in CLASSES) and '<option value="sky">' in page
    database.rows("close_campaign", campaign=campaign.id)
    closed = leader.get("/1").text
    assert whole(closed) and 'action="../status/1/reopen"' in closed and 'action="../status/1/pause"' not in closed


def test_pausing_and_going_on(leader: Leader, database: Database, campaign: Campaign) -> None:
    assert leader.post("/1/pause").status_code == 303
    assert now(database, campaign).state == "paused"
    page = leader.get("/1").text
    assert "It is paused" in whole(page) and 'action="../status/1/resume"' in page
    assert leader.post("/1/resume").status_code == 303
    assert now(database, campaign).state == "open"
    assert [row["person"] for row in database.rows("changes", campaign=campaign.id)] == ["vera@example.org"] * 2


def test_terms_and_classes(leader: Leader, database: Database, campaign: Campaign, project: OneProject) -> None:
    changed = leader.post("/1/change", policy="entropy", overlap="2", instruction="<p>Look.</p>")
    assert changed.status_code == 303 and (found := now(database, campaign)).policy == "entropy" and found.overlap == 2
    assert project.fields["maximum_annotations"] == 2 and project.fields["expert_instruction"] == "<p>Look.</p>"
    assert leader.post("/1/change", policy="entropy", overlap="2", instruction=" ").status_code == 303
    assert project.fields["expert_instruction"] == "<p>Look.</p>", "empty leaves it"
    odd = '<b>"whirl" & more'
    assert leader.post("/1/rename-class", old="spiral", new=odd).status_code == 303
    assert now(database, campaign).classes[-1] == odd == project.classes[-1]
    page = leader.get("/1").text
    assert "<b>&quot;whirl" not in page and odd not in page and whole(page)
    assert leader.post("/1/rename-class", old="edge-on disc", new="round smooth").status_code == 303
    assert "a part of" in whole(leader.get("/1").text)
    assert leader.post("/1/undo-rename", old="edge-on disc", new="round smooth").status_code == 303
    assert now(database, campaign).classes == (*CLASSES[:4], odd)
    for fields, words in (
        ({"overlap": "many"}, "no whole number"),
        ({"overlap": "0"}, "cannot wait for 0 labels"),
        ({"policy": "best"}, "does not fit"),
        ({}, "Nothing is to be changed"),
    ):
        refused = leader.post("/1/change", **fields)
        assert refused.status_code == 400 and words in whole(refused.text), fields
    refused = leader.post("/1/rename-class", old="nebula", new="cloud").text
    assert "no class" in whole(refused) and "../../status/1\">The campaign's page" in refused
    assert "Go back in your browser" in refused
    assert "Go back in your browser" not in leader.get("/1/nothing.csv").text
    assert leader.post("/1/rename-class", old="cigar-shaped smooth", new=" cigar ").status_code == 303
    assert "cigar" in now(database, campaign).classes


def test_what_a_person_left_as_it_was_overwrites_nobody(
    leader: Leader, database: Database, campaign: Campaign, project: OneProject
) -> None:
    """Of an old page only what its reader changed is taken, also where somebody else changed the rest meanwhile."""
    old = terms_shown(leader)
    assert leader.post("/1/change", **old | {"policy": "entropy"}).status_code == 303
    assert "maximum_annotations" not in project.fields
    assert leader.post("/1/change", **old | {"overlap": "3"}).status_code == 303
    assert (found := now(database, campaign)).policy == "entropy" and found.overlap == 3
    assert leader.post("/1/change", **old | {"instruction": "<p>Look.</p>"}).status_code == 303
    assert (found := now(database, campaign)).policy == "entropy" and found.overlap == 3
    assert project.fields["maximum_annotations"] == 3
    assert "Nothing is to be changed" in whole(leader.post("/1/change", **old).text)
    back = terms_shown(leader) | {"policy": campaign.policy, "overlap": str(campaign.overlap)}
    assert leader.post("/1/change", **back).status_code == 303
    assert now(database, campaign) == campaign and project.fields["maximum_annotations"] == campaign.overlap


@pytest.mark.parametrize(
    ("field", "theirs", "mine"),
    [("policy", "entropy", "loop"), ("overlap", "3", "2"), ("instruction", "<p>Look.</p>", "<p>See & tell.</p>")],
)
def test_what_somebody_else_changed_meanwhile_is_said_and_not_overwritten(
    leader: Leader, database: Database, campaign: Campaign, project: OneProject, field: str, theirs: str, mine: str
) -> None:
    old = terms_shown(leader)
    assert leader.post("/1/change", **old | {field: theirs}).status_code == 303
    before, fields = now(database, campaign), dict(project.fields)
    refused = leader.post("/1/change", **old | {field: mine})
    assert refused.status_code == 409 and (said := whole(refused.text))
    assert "Somebody else" in said and escape(theirs) in refused.text and escape(mine) in refused.text
    assert now(database, campaign) == before and project.fields == fields
    assert len(database.rows("changes", campaign=campaign.id)) == 1
    assert leader.post("/1/change", **old | {field: theirs}).status_code == 303, "both wanted the same"
    assert leader.post("/1/change", **terms_shown(leader) | {field: mine}).status_code == 303, "of a page of now"
    terms = {"policy": now(database, campaign).policy, "overlap": str(now(database, campaign).overlap)}
    assert (terms | {"instruction": project.fields["expert_instruction"]})[field] == mine


def test_a_class_that_somebody_else_renamed_meanwhile_is_said(
    leader: Leader, database: Database, campaign: Campaign, project: OneProject
) -> None:
    """Also where a name that was free is a class by now: to take it would merge both."""
    (seen,) = re.findall(r'name="classes_was" value="([^"]*)"', leader.get("/1").text)
    old = {"classes_was": unescape(seen).replace("\n", "\r\n")}  # as browsers send lines
    assert leader.post("/1/rename-class", **old, old="spiral", new="whirl").status_code == 303
    before, config = now(database, campaign), project.fields["label_config"]
    for name, new, words in (
        ("spiral", "arms", "“spiral” is “whirl”"),
        ("edge-on disc", "whirl", "“whirl” is a class"),
        ("edge-on disc", "spiral", "“spiral” is “whirl”"),
    ):
        refused = leader.post("/1/rename-class", **old, old=name, new=new)
        assert refused.status_code == 409 and words in whole(refused.text), (name, new)
        assert "Somebody else" in whole(refused.text) and f"“{name}” becomes “{new}”" in whole(refused.text)
    assert now(database, campaign) == before and project.fields["label_config"] == config
    assert leader.post("/1/rename-class", **old, old="spiral", new="whirl").status_code == 303, "both wanted the same"
    assert leader.post("/1/rename-class", **old, old="edge-on disc", new="flat").status_code == 303


def terms_shown(leader: Leader) -> dict[str, str]:
    """What a browser sends of the form of policy, overlap and instruction, if nobody touches it."""
    form = leader.get("/1").text.partition('action="../status/1/change"')[2].partition("</form>")[0]
    (policy,) = re.findall(r'<option value="([^"]*)" selected>', form)
    return dict(re.findall(r'name="(\w+)" value="([^"]*)"', form)) | {"policy": policy, "instruction": ""}


def test_labels_of_one_person(leader: Leader, database: Database, campaign: Campaign, annotate: Annotating) -> None:
    """Also of one who calls himself as Label Studio numbers another."""
    annotate(101, "spiral", 3, NOW)
    annotate(102, "spiral", 4, NOW)
    marked = {"stamp_set": "sky", "stamp_id": 5, "label": "spiral", "annotator": None}
    database.rows("put_label", campaign=campaign.id, action="labelled", person="3", **marked)
    page = leader.get("/1").text
    assert page.count('name="annotator" value="3"') == page.count('name="person" value="3"') == 1

    def aside() -> list[str]:
        return [row["person"] for row in database.rows("people_aside", campaign=campaign.id)]

    assert leader.post("/1/set-aside", annotator="3").status_code == 303
    assert aside() == ["annotator 3"]
    assert leader.post("/1/set-aside", person="3").status_code == 303
    assert aside() == ["3", "annotator 3"]
    page = leader.get("/1").text
    assert 'action="../status/1/take-back"' in page and "set aside" in whole(page)
    assert leader.post("/1/take-back", annotator="3").status_code == 303
    assert leader.post("/1/take-back", person="3").status_code == 303
    assert aside() == []
    for unknown in ({"person": "annotator 3"}, {"person": "Nobody"}, {"annotator": "9"}, {"annotator": "x"}, {}):
        assert leader.post("/1/set-aside", **unknown).status_code == 400, unknown
    assert aside() == []


def test_adding_waits_for_a_worker(leader: Leader, database: Database, campaign: Campaign, tmp_path: Path) -> None:
    path = write_stamps(tmp_path, 12, "more", ra=10)
    database.rows("put_stamp_set", name="more", path=str(path), digest="m", features="")
    assert leader.post("/1/add", stamp_set="more", where="mag_r<18; dec<0").status_code == 303
    with database.transaction() as connection:
        (job,) = connection.execute("SELECT task_name, queue_name, args FROM procrastinate_jobs").fetchall()
    assert (job["task_name"], job["queue_name"]) == ("campaign:add", "gpu")
    assert job["args"] == {
        "campaign_id": 1,
        "stamp_set": "more",
        "where": "mag_r<18;dec<0",
        "person": "vera@example.org",
    }
    assert leader.post("/1/add", stamp_set="none", where="").status_code == 400
    refused = leader.post("/1/add", stamp_set="more", where="colour<3")
    assert refused.status_code == 400 and "colour" in whole(refused.text)
    assert jobs(database) == ["campaign:add"]


@pytest.mark.parametrize("form", [*FORMS, "promote", "rollback"])
def test_who_came_with_the_team_password_leads_nothing(
    member: Leader, database: Database, campaign: Campaign, head: str, form: str
) -> None:
    page = member.get("/1").text
    assert 'action="../status/1/' not in page and "of their own may change this campaign" in whole(page)
    fields = {"person": "3", "old": "spiral", "new": "arms", "policy": "entropy", "stamp_set": "sky", "version": head}
    refused = member.post(f"/1/{form}", **fields)
    assert refused.status_code == 403 and "leads no campaign" in whole(refused.text)
    assert now(database, campaign) == campaign and jobs(database) == []
    assert database.rows("changes", campaign=campaign.id) == []


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_others_are_refused(leader: Leader, database: Database, campaign: Campaign, form: str) -> None:
    for headers, fields in (({"Origin": "http://elsewhere.org"}, {}), (None, {"csrf": "another"})):
        refused = leader.post(f"/1/{form}", headers, **fields)
        assert refused.status_code == 403, form
    assert leader.post(f"/99/{form}").status_code in (400, 403, 404)
    leader.client.cookies.clear()
    assert leader.post(f"/1/{form}").headers["Location"].endswith("sign-in?next=/status/1")
    assert now(database, campaign) == campaign and jobs(database) == []
