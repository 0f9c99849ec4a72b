"""Classes are renamed, merged and split again: labels count as a map by hand says."""

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from psycopg.types.json import Jsonb

from backend_ml.campaign.reconcile import check_label_config
from backend_ml.kinds.installed import find_kind, load_model
from backend_ml.label_studio.client import LabelStudio, Project
from backend_ml.label_studio.regions.choices import find_choices, with_steady_keys
from backend_ml.labels.agreed import agreed_labels, snapshot
from backend_ml.leading.classes import can_rename, flattened, rename_class, undo_rename
from backend_ml.leading.leader import Leader
from backend_ml.learning import learn as learning
from backend_ml.learning.learn import learn, stores_of
from backend_ml.settings import Settings
from backend_ml.store import versions
from backend_ml.store.campaigns import campaign_of_id
from backend_ml.store.database import Database
from backend_ml.store.records import Campaign, CampaignError
from lvm_training.heads.classification import ClassificationHead
from lvm_training.scenes.simulated_classes import check_classes
from tests.backend_ml.conftest import CLASSES, PROJECT
from tests.backend_ml.current_labels import labels_of, training
from tests.backend_ml.leading.test_running import jobs
from tests.backend_ml.learned import NOWHERE, learn_now
from tests.backend_ml.webhooks import created, send


class OneProject(LabelStudio):
    """A Label Studio that has one project, and fails when it is told to."""

    def __init__(self) -> None:
        super().__init__("http://localhost:1", "token")
        self.fields = {
            "label_config": with_steady_keys(find_kind("morphology").label_config()),
            "expert_instruction": "<p><b>5 · spiral</b>: arms</p><p><b>1 · round smooth</b></p>",
        }
        self.fails: Exception | None = None

    def project(self, project: int) -> Project:
        return Project(project, "", self.fields["label_config"], "", None, 0, 0)  # type: ignore[arg-type]

    def update_project(self, project: int, **fields: Any) -> None:
        if self.fails:
            raise self.fails
        self.fields |= fields

    def call(self, method: str, path: str, body: Any = None, **params: Any) -> Any:
        if method == "POST":
            assert path == f"api/projects/{PROJECT}/validate/" and body["label_config"] != self.fields["label_config"]
            return None
        assert (method, path) == ("GET", f"api/projects/{PROJECT}/")
        return self.fields

    @property
    def classes(self) -> tuple[str, ...]:
        return find_choices(self.fields["label_config"], "morphology").classes


class SlowProject(OneProject):
    """One whose first change takes until somebody else has read it too, or a while."""

    def __init__(self) -> None:
        super().__init__()
        self.read, self.changing, self.read_again = threading.Event(), threading.Event(), threading.Event()

    def project(self, project: int) -> Project:
        found = super().project(project)
        (self.read_again if self.read.is_set() else self.read).set()
        return found

    def update_project(self, project: int, **fields: Any) -> None:
        if not self.changing.is_set():
            self.changing.set()
            self.read_again.wait(1.0)
        super().update_project(project, **fields)


@pytest.fixture
def leader(database: Database) -> Leader:
    """Somebody who changes campaigns."""
    return Leader(Settings(), database, OneProject(), "vera")


def project_of(leader: Leader) -> OneProject:
    assert isinstance(leader.label_studio, OneProject)
    return leader.label_studio


def now(database: Database, campaign: Campaign) -> Campaign:
    with database.transaction() as connection:
        found = campaign_of_id(connection, campaign.id)
    assert found is not None
    return found


def test_any_renames_merges_and_splits_are_as_a_map_by_hand(
    database: Database, campaign: Campaign, leader: Leader
) -> None:
    """Random acts; each label is kept as an object that says which class, also an object, it was given for."""
    chance = random.Random(7)
    names = dict(enumerate(CLASSES))  # of each class that people have
    parts: dict[int, tuple[int, str, str]] = {}  # class: which it is a part of, and by which names
    said: dict[int, int] = {}  # stamp: class as it was then
    given: list[str] = []

    def whole(one: int) -> int:
        while one in parts:
            one = parts[one][0]
        return one

    for step in range(40):
        found = now(database, campaign)
        there = [one for one in names if one not in parts]
        act = chance.choice(["label", "label", "rename", "merge", "split"])
        if act == "label":
            stamp, one = chance.randrange(10), chance.choice(there)
            given.append(names[one])
            send(database, created(1000 + stamp, 101 + stamp, names[one], at=step))
            said[stamp] = one
        elif act == "rename":
            one = chance.choice(there)
            new = f"class {step}"
            assert rename_class(leader, found, names[one], new)["merged"] is False
            names[one] = new
        elif act == "merge" and len(there) > 2:
            one, other = chance.sample(there, 2)
            assert rename_class(leader, found, names[one], names[other])["merged"] is True
            parts[one] = (other, names[one], names[other])
        elif act == "split" and parts:
            one = chance.choice(list(parts))
            other, old, new = parts[one]
            # only as long as the class that it is a part of has that name
            if new in found.classes:
                undo_rename(leader, found, old, new)
                del parts[one]
        expected = {stamp: names[whole(one)] for stamp, one in said.items()}
        assert labels_of(database, campaign.id) == expected, (step, act)
        present = now(database, campaign)
        assert sorted(present.classes) == sorted(names[one] for one in names if one not in parts), (step, act)
        assert set(project_of(leader).classes) == set(present.classes), (step, act)
        assert training(database, present) == {stamp: label for stamp, label in expected.items() if stamp != 9}
    texts = [row["label"] for row in database.rows("search_events", campaign=campaign.id, limit=1000)]
    assert texts[::-1] == given, "what was said is kept"


def test_a_rename_is_taken_back_with_what_was_said_meanwhile(
    database: Database, campaign: Campaign, leader: Leader
) -> None:
    send(database, created(1, 101, "spiral"))
    rename_class(leader, campaign, "spiral", "whirl")
    send(database, created(2, 102, "whirl"))
    assert set(labels_of(database, campaign.id).values()) == {"whirl"}
    undo_rename(leader, campaign, "spiral", "whirl")
    assert set(labels_of(database, campaign.id).values()) == {"spiral"}
    assert now(database, campaign).classes == CLASSES == project_of(leader).classes


def test_what_is_said_of_a_merged_class_meanwhile_stays(database: Database, campaign: Campaign, leader: Leader) -> None:
    send(database, created(1, 101, "spiral"), created(2, 102, "edge-on disc"))
    rename_class(leader, campaign, "spiral", "edge-on disc")
    assert project_of(leader).fields["expert_instruction"].startswith("<p><b>5 · spiral, now edge-on disc</b>: arms")
    send(database, created(3, 103, "edge-on disc"), created(4, 104, "spiral"))
    assert set(labels_of(database, campaign.id).values()) == {"edge-on disc"}
    undo_rename(leader, campaign, "spiral", "edge-on disc")
    found = labels_of(database, campaign.id)
    assert found == {0: "spiral", 1: "edge-on disc", 2: "edge-on disc", 3: "spiral"}
    assert now(database, campaign).classes == CLASSES == project_of(leader).classes
    assert project_of(leader).fields["expert_instruction"].startswith("<p><b>5 · spiral</b>: arms")
    assert [row["what"] for row in database.rows("changes", campaign=campaign.id)] == ["split", "merged"]


def test_versions_follow_and_earlier_ones_answer_by_the_new_names(
    database: Database, campaign: Campaign, head: str, leader: Leader
) -> None:
    stamps = [("sky", row) for row in range(10)]

    def probabilities(version: str) -> Any:
        found = now(database, campaign)
        with database.transaction() as connection:
            versions.promote(connection, found, version, "promoted by hand")
            active = versions.active_version(connection, found)
        assert active is not None
        model = load_model(active, stores_of(database, found, NOWHERE))
        assert model is not None
        answers = model.answer(stamps)
        assert answers.classes == found.classes
        return answers.probabilities

    before = probabilities(head)
    rename_class(leader, campaign, "spiral", "whirl")
    np.testing.assert_allclose(probabilities(head), before)
    rename_class(leader, campaign, "in-between smooth", "round smooth")
    merged = probabilities(head)
    np.testing.assert_allclose(merged[:, 0], before[:, 0] + before[:, 1])
    np.testing.assert_allclose(merged[:, 1:], before[:, 2:])
    assert jobs(database) == ["campaign:learn", "campaign:push"]
    assert learn_now(database, now(database, campaign)) == "promoted"
    with database.transaction() as connection:
        active = versions.active_version(connection, campaign)
    assert active is not None and active.version != head
    undo_rename(leader, campaign, "in-between smooth", "round smooth")
    split = probabilities(active.version)
    assert split.shape == (10, 5) and (split[:, 1] == 0).all(), "until a head is fitted that knows it"
    np.testing.assert_allclose(split.sum(axis=1), 1)


def test_a_try_that_failed_in_between_is_mended_by_another(
    database: Database, campaign: Campaign, leader: Leader, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = project_of(leader)
    project.fails = CampaignError("down")
    with pytest.raises(CampaignError, match="down"):
        rename_class(leader, campaign, "spiral", "whirl")
    assert now(database, campaign).classes == CLASSES, "nothing has changed"
    project.fails = None
    with monkeypatch.context() as broken:
        broken.setattr("backend_ml.leading.classes.log_change", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            rename_class(leader, campaign, "spiral", "whirl")
    assert now(database, campaign).classes == CLASSES and "whirl" in project.classes
    assert rename_class(leader, campaign, "spiral", "whirl")["changed"] is True
    again = rename_class(leader, campaign, "spiral", "whirl")
    assert again == {"classes": [*CLASSES[:4], "whirl"], "merged": False, "changed": False}


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("ring", "shell", "no class 'ring'. The classes are: round smooth"),
        ("spiral", "spiral", "called 'spiral' already"),
        ("spiral", " ", "cannot be a class"),
        ("spiral", "", "cannot be a class"),
        ("spiral", "a\nb", "cannot be a class"),
        ("spiral", "x\0", "cannot be a class"),
        ("spiral", "a" * 101, "cannot be a class"),
        ("spiral", "unsure", "is no class"),
    ],
)
def test_what_cannot_be_is_refused(
    database: Database, campaign: Campaign, leader: Leader, old: str, new: str, words: str
) -> None:
    before = dict(project_of(leader).fields)
    with pytest.raises(CampaignError, match=words):
        rename_class(leader, campaign, old, new)
    assert project_of(leader).fields == before and now(database, campaign).classes == CLASSES


def test_names_of_former_classes_and_undoing_what_was_not_done(
    database: Database, campaign: Campaign, leader: Leader
) -> None:
    rename_class(leader, campaign, "spiral", "whirl")
    with pytest.raises(CampaignError, match=r"'spiral' was a class before; .* counts as 'whirl'"):
        rename_class(leader, campaign, "edge-on disc", "spiral")
    with pytest.raises(CampaignError, match="was not renamed"):
        undo_rename(leader, campaign, "spiral", "edge-on disc")
    for old in CLASSES[:3]:
        rename_class(leader, campaign, old, "edge-on disc")
    with pytest.raises(CampaignError, match="1 classes do not fit"):
        rename_class(leader, campaign, "whirl", "edge-on disc")
    database.rows("close_campaign", campaign=campaign.id)
    with pytest.raises(CampaignError, match="is closed"):
        rename_class(leader, campaign, "whirl", "vortex")


def test_simulated_classes_follow(database: Database, campaign: Campaign, leader: Leader) -> None:
    drawn = {"round smooth": "round", "in-between smooth": "in-between", "spiral": "spiral"}
    with database.transaction() as connection:
        connection.execute("UPDATE campaign SET simulated = %s::jsonb", (str(drawn).replace("'", '"'),))
    rename_class(leader, campaign, "spiral", "whirl")
    assert now(database, campaign).simulated == {"round smooth": "round", "in-between smooth": "in-between"} | {
        "whirl": "spiral"
    }
    rename_class(leader, campaign, "in-between smooth", "round smooth")
    assert now(database, campaign).simulated == {"round smooth": "round,in-between", "whirl": "spiral"}
    undo_rename(leader, campaign, "in-between smooth", "round smooth")
    assert now(database, campaign).simulated == {"round smooth": "round", "in-between smooth": "in-between"} | {
        "whirl": "spiral"
    }


def test_what_is_drawn_of_a_class_that_is_split_again_teaches_it_alone(
    database: Database, campaign: Campaign, leader: Leader
) -> None:
    """Whatever happened to the other one meanwhile; a concept that teaches two classes is refused by every fit."""
    drawn = {"round smooth": "round", "in-between smooth": "in-between", "spiral": "spiral"}
    with database.transaction() as connection:
        connection.execute("UPDATE campaign SET simulated = %s", (Jsonb(drawn),))
    rename_class(leader, campaign, "in-between smooth", "round smooth")
    rename_class(leader, campaign, "round smooth", "smooth")
    undo_rename(leader, campaign, "in-between smooth", "round smooth")
    found = now(database, campaign).simulated
    check_classes(found)
    assert found == {"smooth": "round", "in-between smooth": "in-between", "spiral": "spiral"}
    rename_class(leader, campaign, "in-between smooth", "spiral")
    rename_class(leader, campaign, "spiral", "smooth")
    undo_rename(leader, campaign, "in-between smooth", "spiral")
    found = now(database, campaign).simulated
    check_classes(found)
    assert found["in-between smooth"] == "in-between" and set(found["smooth"].split(",")) == {"round", "spiral"}


def test_a_fit_that_began_before_a_rename_learns_the_classes_as_they_are(
    database: Database, campaign: Campaign, head: str, leader: Leader
) -> None:
    send(database, *(created(task, task, CLASSES[task % 5], at=task - 100) for task in range(101, 109)))
    before = stores_of(database, campaign, NOWHERE)
    rename_class(leader, campaign, CLASSES[101 % 5], "whirl")
    assert learn(database, before) == "promoted"
    assert served_classes(database, campaign) == set(now(database, campaign).classes)


def test_a_rename_while_a_fit_is_judged_sends_it_back(
    database: Database, campaign: Campaign, head: str, leader: Leader, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(database, *(created(task, task, CLASSES[task % 5], at=task - 100) for task in range(101, 109)))
    promoted, acts = learning._promoted, iter([lambda: rename_class(leader, campaign, CLASSES[101 % 5], "whirl")])

    def renamed_first(*arguments: Any) -> Any:
        next(acts, lambda: None)()
        return promoted(*arguments)

    monkeypatch.setattr(learning, "_promoted", renamed_first)
    assert learn_now(database, campaign) == "promoted"
    assert served_classes(database, campaign) == set(now(database, campaign).classes)


def served_classes(database: Database, campaign: Campaign) -> set[str]:
    """The classes that the head knows which serves."""
    with database.transaction() as connection:
        active = versions.active_version(connection, campaign)
    assert active is not None and active.weights is not None
    return set(ClassificationHead.load(active.weights).classes)


def test_the_name_of_a_rename_that_goes_on_is_no_new_class(
    database: Database, campaign: Campaign, leader: Leader
) -> None:
    """Label Studio knows it first; whoever compares the two at that moment must not take it for one."""
    project = project_of(leader)
    update = project.update_project

    def compared_in_between(number: int, **fields: Any) -> None:
        update(number, **fields)
        with database.transaction() as connection:
            assert not check_label_config(connection, now(database, campaign), project.fields["label_config"])

    project.update_project = compared_in_between  # type: ignore[method-assign]
    assert rename_class(leader, campaign, "spiral", "whirl")["merged"] is False
    assert now(database, campaign).classes == (*CLASSES[:4], "whirl")
    with database.transaction() as connection:
        assert not check_label_config(connection, now(database, campaign), project.fields["label_config"])
    assert database.rows("notices", campaign=campaign.id) == []


def test_chains_end_at_the_last_name() -> None:
    assert flattened({"a": "b", "b": "c", "x": "b"}) == {"a": "c", "b": "c", "x": "c"}
    assert flattened({}) == {}


def test_labels_of_former_classes_are_told_by_their_snapshot(
    database: Database, campaign: Campaign, leader: Leader
) -> None:
    """Starting labels too, in both halves."""
    for row in (3, 9):
        database.rows("put_snapshot_label", campaign=campaign.id, stamp_set="sky", stamp_id=row, label="spiral")
    rename_class(leader, campaign, "spiral", "whirl")
    found = now(database, campaign)
    with database.transaction() as connection:
        agreed = agreed_labels(connection, found)
    assert snapshot(agreed, found.classes, audit=False).label == ["whirl"]
    assert snapshot(agreed, found.classes, audit=True).label == ["whirl"]


def test_of_two_leaders_at_one_moment_neither_undoes_what_the_other_did(database: Database, campaign: Campaign) -> None:
    leader = Leader(Settings(), database, SlowProject(), "vera")
    with ThreadPoolExecutor(2) as pool:
        both = [
            pool.submit(rename_class, leader, campaign, old, new)
            for old, new in (("edge-on disc", "A"), ("spiral", "B"))
        ]
        assert all(one.result()["changed"] for one in both)
    found = now(database, campaign)
    assert {"A", "B"} <= set(found.classes) and set(project_of(leader).classes) == set(found.classes)


def test_who_waits_too_long_for_another_leader_is_told(
    database: Database, campaign: Campaign, leader: Leader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend_ml.leading.leader.LONGEST_WAIT", 0.3)
    with (
        database.sole("try_lock_connection", campaign=campaign.id),
        pytest.raises(CampaignError, match="Somebody else changes 'Test'"),
    ):
        rename_class(leader, campaign, "spiral", "whirl")
    assert rename_class(leader, campaign, "spiral", "whirl")["changed"]


def test_classes_that_are_the_kinds_or_the_owners_are_not_offered_to_be_renamed(campaign: Campaign) -> None:
    assert can_rename(campaign)
    assert not can_rename(replace(campaign, label_config="<View/>"))
    for kind in ("parameters", "restoration", "interest_rating", "galaxy_zoo", "interest"):
        own = find_kind(kind)
        made = replace(campaign, kind=kind, classes=tuple(own.offered(own.label_config())))
        assert not can_rename(made), kind
    assert not can_rename(replace(campaign, kind="gone"))
