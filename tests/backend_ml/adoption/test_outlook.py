"""What adopting a project would do, said before anything is done, and what cannot be adopted so."""

from pathlib import Path
from typing import Any

import pytest

from backend_ml.adoption.addresses import Address, host_of, is_allowed, same_origin
from backend_ml.adoption.fetching import place
from backend_ml.adoption.imported import SOURCE
from backend_ml.adoption.plan import AdoptionPlan, Outlook
from backend_ml.adoption.questions import Question, find_question
from backend_ml.adoption.tasks import KnownTask, UnknownTask
from backend_ml.kinds.installed import find_kind
from backend_ml.kinds.kind import KindError
from backend_ml.label_studio.client import SAMPLING
from backend_ml.store.campaigns import note
from backend_ml.store.database import Database
from backend_ml.store.records import Campaign, CampaignError
from tests.backend_ml.adoption.test_imported import Project, noted, taken, tasks

FORMS = Question("morphology", "form", ("round", "long"), "photo", "<View/>", ("'size' is left to people.",))
LENSES = find_question(find_kind("lenses").label_config())


def plan(**given: Any) -> AdoptionPlan:
    return AdoptionPlan(12, Path("encoder"), **given)


@pytest.mark.parametrize(
    ("question", "given", "said"),
    [
        (FORMS, {"policy": "box-margin"}, r"'box-margin' does not fit a campaign of the kind 'morphology'.*margin"),
        (LENSES, {"policy": "powerbald"}, r"'powerbald' does not fit a campaign of the kind 'lenses'.*box-margin"),
        (FORMS, {"consensus": "dictator"}, r"no consensus 'dictator'.*majority, dawid-skene"),
        (LENSES, {"detector": Path("d"), "pixel_scale": 0.262}, "Boxes are drawn on whole pictures"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_changed(
    question: Question, given: dict[str, Any], said: str
) -> None:
    with pytest.raises(CampaignError, match=said):
        plan(**given).check(question)


def test_what_fits_passes_and_an_unknown_kind_does_not() -> None:
    plan(policy="margin", consensus="dawid-skene", pixel_scale=0.262).check(FORMS)
    plan(policy="box-margin").check(LENSES)
    with pytest.raises(KindError, match="tidal"):
        plan().check(Question("tidal", "form", ("a", "b"), "photo", "<View/>", ()))


def outlook(settings: dict[str, Any], found: list[UnknownTask]) -> dict[str, Any]:
    return Outlook("Rings", settings, None, FORMS, found).as_json()


def test_tasks_are_counted_by_where_their_pictures_are_and_why_they_cannot_be_used() -> None:
    def address(source: str) -> Address:
        return Address("http://x/a.png", False, source, "a.png")

    found = [
        UnknownTask(1, address=address("uploaded")),
        UnknownTask(2, stamp=("sky", 3)),
        UnknownTask(3, reason="no address"),
        UnknownTask(4, address=address("uploaded")),
        UnknownTask(5, address=address("images.example.org")),
        UnknownTask(6, reason="no address"),
        UnknownTask(7, reason="another host"),
    ]
    told = outlook({"total_annotations_number": 8}, found)
    assert (told["tasks"], told["annotations"], told["campaign"]) == (7, 8, "Rings")
    assert told["pictures"] == ["2 from uploaded", "1 from stamps of ours", "1 from images.example.org"]
    assert told["left_out"] == ["2 tasks, first 3: no address", "1 tasks, first 7: another host"]
    assert (told["classes"], told["not_answered"]) == (["round", "long"], ["'size' is left to people."])


@pytest.mark.parametrize(
    ("settings", "said", "unsaid"),
    [
        ({"sampling": SAMPLING, "show_collab_predictions": True}, "model version: 'none'", "task sampling"),
        ({"sampling": "Uniform sampling"}, f"task sampling: 'Uniform sampling' becomes {SAMPLING!r}", "'mine'"),
        ({"sampling": SAMPLING, "model_version": "mine"}, "model version: 'mine' becomes", "task sampling"),
        ({"show_collab_predictions": False}, "predictions are not shown to people", "'mine'"),
        ({"show_collab_predictions": True}, "stay as they are", "not shown to people"),
    ],
)
def test_only_what_changes_is_said_to_change(settings: dict[str, Any], said: str, unsaid: str) -> None:
    changes = " ".join(outlook(settings, [])["changes"])
    assert said in changes and unsaid not in changes


@pytest.mark.parametrize(
    ("known", "picture", "differs"),
    [
        (KnownTask(None, False), "/data/upload/1/a.png", False),
        (KnownTask("/a.png", False), "/a.png", False),
        (KnownTask("/a.png", False), "/b.png", True),
        (KnownTask("/a.png", False), None, True),
        (KnownTask("/a.png", True), "/a.png", True),
        (KnownTask(None, True), "/a.png", True),
    ],
)
def test_a_task_is_another_once_it_shows_another_picture_or_has_a_former_number(
    known: KnownTask, picture: str | None, differs: bool
) -> None:
    assert bool(known.differs(picture)) == differs


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("http://ls.example", "http://LS.example:80/x", True),
        ("https://ls.example:443", "https://ls.example/", True),
        ("http://ls.example", "https://ls.example", False),
        ("http://ls.example", "http://ls.example:8080", False),
        ("http://ls.example", "http://ls.example.evil.org", False),
        ("http://[::1]:8080", "http://[::1]:8080/a", True),
    ],
)
def test_servers_are_told_apart_by_scheme_host_and_port(one: str, other: str, same: bool) -> None:
    assert same_origin(one, other) == same_origin(other, one) == same


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("http://images.example/a", True),
        ("http://IMAGES.example:80/a", True),
        ("https://images.example/a", True),
        ("http://images.example:81/a", False),
        ("http://other.example:81/a", True),
        ("http://user@images.example/a", False),
        ("ftp://images.example/a", False),
        ("http://sub.images.example/a", False),
        ("//images.example/a", False),
    ],
)
def test_only_hosts_that_were_named_are_asked(url: str, allowed: bool) -> None:
    assert is_allowed(url, ["Images.Example", "other.example:81"]) == allowed


def test_a_host_is_written_with_its_port_unless_that_is_the_scheme_s() -> None:
    said = ["http://a.b", "http://A.b:80/x", "https://a.b:80", "https://a.b:443", "http://[2001:db8::1]:9/x"]
    assert [host_of(one) for one in said] == ["a.b", "a.b", "a.b:80", "a.b", "[2001:db8::1]:9"]


def test_pictures_of_another_address_or_task_lie_elsewhere() -> None:
    def at(task: int, url: str) -> str:
        return place(task, Address(url, True, "uploaded", "a.png"))

    assert at(1, "http://x/a.png") == at(1, "http://x/a.png")
    assert len({at(1, "http://x/a.png"), at(2, "http://x/a.png"), at(1, "http://x/a.png?v=2")}) == 3


def test_tasks_are_listed_only_while_their_number_says_something_new(database: Database, campaign: Campaign) -> None:
    ours = [*range(101, 111)]
    same = Project(*tasks(*ours))
    assert not taken(database, campaign, same) and same.listings == 0
    one_more = Project(*tasks(*ours, 500))
    assert not taken(database, campaign, one_more) and one_more.listings == 1
    assert noted(database, campaign).startswith("One task was")
    again = Project(*tasks(*ours, 500))
    assert not taken(database, campaign, again) and again.listings == 0, "it is noted already"
    two_more = Project(*tasks(*ours, 500, 501))
    assert not taken(database, campaign, two_more) and two_more.listings == 1
    assert noted(database, campaign).startswith("2 tasks were")
    back = Project(*tasks(*ours))
    assert not taken(database, campaign, back) and back.listings == 1
    assert noted(database, campaign) == "", "there is nothing to note any more"


def test_a_note_of_ten_tasks_is_none_of_one(database: Database, campaign: Campaign) -> None:
    with database.transaction() as connection:
        note(connection, campaign.id, SOURCE, "10 tasks were imported by hand.")
    project = Project(*tasks(*range(101, 111), 500))
    taken(database, campaign, project)
    assert project.listings == 1 and noted(database, campaign).startswith("One task was")


def test_tasks_that_name_a_stamp_are_taken_in(database: Database, campaign: Campaign) -> None:
    named = {"id": 500, "data": {"stamp_set": "sky", "stamp_id": 4}}
    nowhere = {"id": 501, "data": {"stamp_set": "sky", "stamp_id": 400}}
    project = Project(*tasks(*range(101, 111)), named, nowhere)
    assert taken(database, campaign, project)
    (row,) = [row for row in database.rows("known_tasks", campaign=campaign.id) if row["task_id"] >= 500]
    assert row["task_id"] == 500 and noted(database, campaign).startswith("One task was")
