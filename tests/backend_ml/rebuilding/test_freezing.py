"""Labels as they are frozen: what a version learned comes back to the letter, whatever happened to labels since."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from psycopg.types.json import Jsonb

from backend_ml.learning.learned_from import LearnedFrom, _packed, _unpacked
from backend_ml.plugins.choices import Morphology
from backend_ml.rebuilding.freezing import freeze, freeze_version, read_frozen, read_version
from backend_ml.store.campaigns import campaign_of_id
from backend_ml.store.database import Connection, Database, query
from backend_ml.store.records import Campaign, CampaignError
from backend_ml.store.versions import VersionError, active_version
from lvm_training.errors import LabelError
from lvm_training.tables.frozen_labels import Answer, FrozenLabels
from tests.backend_ml.conftest import CLASSES, Annotating
from tests.backend_ml.learned import begin_now, learn_now

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def labelled(database: Database, campaign: Campaign, annotate: Annotating) -> Campaign:
    """Two starting labels, and three people who do not quite agree; task 110 is blind, 108 set aside by its label."""
    for row, label in ((7, "spiral"), (9, "spiral")):
        query_values = {"campaign": campaign.id, "stamp_set": "sky", "stamp_id": row, "label": label}
        database.rows("put_snapshot_label", **query_values)
    said = [
        (101, "round smooth", 11), (101, "spiral", 12), (101, "round smooth", 13),
        (102, "in-between smooth", 11), (103, "cigar-shaped smooth", 12), (104, "edge-on disc", 13),
        (105, "spiral", 11), (110, "spiral", 12), (109, "unsure", 13),
    ]  # fmt: skip
    for minute, (task, label, person) in enumerate(said):
        annotate(task, label, person, NOON + timedelta(minutes=minute))
    return campaign


def now(connection: Connection, campaign: Campaign) -> Campaign:
    found = campaign_of_id(connection, campaign.id)
    assert found is not None
    return found


def frozen_now(database: Database, campaign: Campaign) -> FrozenLabels:
    with database.transaction() as connection:
        return freeze(connection, now(connection, campaign))


def frozen_then(database: Database, campaign: Campaign, version: str) -> FrozenLabels:
    with database.transaction() as connection:
        return freeze_version(connection, read_version(connection, now(connection, campaign), version))


def learned_version(database: Database, campaign: Campaign) -> str:
    with database.transaction() as connection:
        found = now(connection, campaign)
    assert learn_now(database, found) == "promoted"
    with database.transaction() as connection:
        active = active_version(connection, campaign)
    assert active is not None
    return active.version


def disturb(database: Database, campaign: Campaign, annotate: Annotating) -> None:
    """All that a team, a leader and Label Studio may do to labels that are there."""
    annotate(106, "spiral", 14, NOON + timedelta(hours=1))
    annotate(101, "spiral", 14, NOON + timedelta(hours=1))
    annotate(107, "cigar-shaped smooth", 11, NOON + timedelta(hours=1))
    annotate(108, "round smooth", 11, NOON + timedelta(hours=1))
    with database.transaction() as connection:
        for annotation in (4, 5):
            query(connection, "put_deletion", campaign=campaign.id, annotation=annotation, source="webhook")
        query(connection, "delete_tasks", campaign=campaign.id, tasks=[104])
        query(connection, "put_person_aside", campaign=campaign.id, person="the third", annotator=13)
        rows = query(connection, "votes", campaign=campaign.id)
        forged = [row["id"] for row in rows if row["annotator"] == 12 and row["stamp_id"] == 9]
        query(connection, "refute_events", campaign=campaign.id, ids=forged)
        query(
            connection,
            "put_classes",
            campaign=campaign.id,
            classes=["smooth", *CLASSES[2:]],
            renamed=Jsonb(dict.fromkeys(CLASSES[:2], "smooth")),
            simulated=Jsonb({}),
        )
        connection.execute("UPDATE campaign SET consensus = 'dawid-skene', name = 'Later'")


def test_what_a_version_learned_comes_back_after_everything_else_changed(
    database: Database, labelled: Campaign, annotate: Annotating
) -> None:
    before, version = frozen_now(database, labelled), learned_version(database, labelled)
    disturb(database, labelled, annotate)
    after = frozen_now(database, labelled)
    assert frozen_then(database, labelled, version) == before != after
    assert before.snapshot.stamp_id == [0, 1, 2, 3, 4, 7] and before.judged == 1
    assert {one.said for one in after.answers} & {"smooth"}, "the present labels are those of now"
    later = learned_version(database, labelled)
    assert frozen_then(database, labelled, later) == after, "and a later version has its own"
    assert frozen_then(database, labelled, version) == before


def test_an_answer_has_who_when_what_and_how_far_others_agree(database: Database, labelled: Campaign) -> None:
    found = {(one.stamp_id, one.annotator): one for one in frozen_now(database, labelled).answers}
    assert len(found) == 11
    assert found[0, "person 2"] == Answer(
        "sky", 0, NOON + timedelta(minutes=1), "person 2", "spiral", "round smooth", 2, 3, "training", ""
    )
    assert Counter(one.split for one in found.values()) == {"training": 8, "audit": 2, "aside": 1}
    assert found[8, "person 3"].split == "aside" and found[9, "person 2"].split == "audit"
    assert found[7, "starting labels"].said == "spiral"


def test_people_keep_their_numbers_and_have_names_where_asked(
    database: Database, labelled: Campaign, annotate: Annotating
) -> None:
    annotate(106, "spiral", 5, NOON + timedelta(hours=1))
    found = {one.annotator for one in frozen_now(database, labelled).answers}
    assert found == {"person 1", "person 2", "person 3", "person 4", "starting labels"}
    assert next(one for one in frozen_now(database, labelled).answers if one.stamp_id == 5).annotator == "person 4"
    with database.transaction() as connection:
        named = freeze(connection, labelled, lambda person: f"Dr {person}")
    assert {one.annotator for one in named.answers} == {"Dr 11", "Dr 12", "Dr 13", "Dr 5", "starting labels"}
    assert named.snapshot == frozen_now(database, labelled).snapshot


def test_marks_of_the_search_page_are_frozen_as_they_counted(database: Database, labelled: Campaign) -> None:
    mark = {"campaign": labelled.id, "action": "labelled", "stamp_set": "sky", "annotator": None}
    database.rows("put_label", **mark, stamp_id=6, label="spiral", person="Ada")
    database.rows("put_label", **mark, stamp_id=5, label="spiral", person="Ada")
    before, version = frozen_now(database, labelled), learned_version(database, labelled)
    database.rows("put_label", **{**mark, "action": "withdrawn"}, stamp_id=6, label=None, person="Ada")
    database.rows("put_label", **mark, stamp_id=5, label="edge-on disc", person="Ada")
    assert {(one.stamp_id, one.annotator) for one in before.answers} >= {(6, "person 4"), (5, "person 4")}
    assert frozen_then(database, labelled, version) == before != frozen_now(database, labelled)


def test_the_version_that_was_shown_is_the_one_that_had_ranked(
    database: Database, labelled: Campaign, annotate: Annotating
) -> None:
    values = {"campaign": labelled.id, "policy": "margin", "seed": 0, "batch": 1, "candidates": 9, "last_event": 0}
    at = {}
    for version in ("morphology-1", "morphology-2"):
        who = {"source": "push", "version": version, "person": None, "annotator": None, "served": True}
        row = database.rows("put_selection", **values, **who)[0]
        at[version] = row["served_at"]
        chosen = {"stamp_set": "sky", "priority": 1.0, "worth": 1.0, "propensity": 1.0}
        for rank, (stamp, audit) in enumerate(((5, False), (9, True))):
            other = {"probability": None, "similarity": None, "task_id": 101 + stamp, "audit": audit}
            database.rows("put_selected", selection=row["id"], rank=rank, stamp_id=stamp, **chosen, **other)
    between = at["morphology-1"] + (at["morphology-2"] - at["morphology-1"]) / 2
    annotate(106, "spiral", 11, between)
    annotate(106, "spiral", 12, at["morphology-2"] + timedelta(seconds=1))
    annotate(110, "spiral", 13, at["morphology-2"] + timedelta(seconds=1))
    found = {(one.stamp_id, one.annotator): one.shown for one in frozen_now(database, labelled).answers}
    assert found[5, "person 1"] == "morphology-1" and found[5, "person 2"] == "morphology-2"
    assert found[9, "person 3"] == "", "it was shown blind"


def test_what_cannot_be_given_back_is_said(database: Database, labelled: Campaign, annotate: Annotating) -> None:
    cold = begin_now(database, labelled, None)
    version = learned_version(database, labelled) if cold.startswith("coldstart") else cold
    with pytest.raises(VersionError, match="has no version 'morphology-0'"):
        frozen_then(database, labelled, "morphology-0")
    with database.transaction() as connection:
        connection.execute("UPDATE label_event SET label = 'spiral' WHERE annotation_id = 5")
    with pytest.raises(VersionError, match=r"no longer gives the labels .* it has 11 of 11 answers"):
        frozen_then(database, labelled, version)
    with database.transaction() as connection:
        connection.execute("DELETE FROM label_event WHERE annotation_id = 5")
    with pytest.raises(VersionError, match=r"it has 10 of 11 answers"):
        frozen_then(database, labelled, version)
    with database.transaction() as connection:
        connection.execute("DELETE FROM learned_from")
    with pytest.raises(VersionError, match="It was not noted which labels"):
        frozen_then(database, labelled, version)


def test_labels_that_the_database_lost_are_taken_from_where_they_were_frozen(
    database: Database, labelled: Campaign, tmp_path: Path
) -> None:
    version = learned_version(database, labelled)
    frozen = frozen_then(database, labelled, version)
    path = tmp_path / frozen.file_name("Test")
    frozen.write(path)
    with database.transaction() as connection:
        connection.execute("DELETE FROM label_event WHERE annotation_id = 5")
    other = frozen_now(database, labelled)
    other.write(tmp_path / other.file_name("Test"))
    with database.transaction() as connection:
        found = read_version(connection, labelled, version)
    assert read_frozen(found, path) == frozen
    with pytest.raises(VersionError, match=f"{other.file_name('Test')} does not hold the labels that {version}"):
        read_frozen(found, tmp_path / other.file_name("Test"))
    other.write(path)
    with pytest.raises(LabelError, match=f"{path.name} was changed after it was frozen"):
        read_frozen(found, path)


def test_a_cold_start_learned_nothing(database: Database, campaign: Campaign) -> None:
    cold = begin_now(database, campaign, None)
    with pytest.raises(VersionError, match="cold start"):
        frozen_then(database, campaign, cold)


def test_what_a_kind_does_not_count_is_not_frozen(
    database: Database, campaign: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Morphology.read
    monkeypatch.setattr(Morphology, "read", lambda *given: replace(read(*given), counted=None))
    with pytest.raises(CampaignError, match="does not say which labels count"):
        frozen_now(database, campaign)


def test_an_answer_of_nobody_that_is_known_is_no_starting_label(
    database: Database, labelled: Campaign, annotate: Annotating
) -> None:
    annotate(106, "spiral", None, NOON + timedelta(hours=1))
    assert next(one for one in frozen_now(database, labelled).answers if one.stamp_id == 5).annotator == "somebody"


def test_numbers_are_packed_small_and_come_back() -> None:
    numbers = (*range(5, 10_000), 20_000, 2**40)
    assert _unpacked(_packed(numbers)) == numbers and len(_packed(numbers)) < 300
    assert _unpacked(_packed(())) == ()


def test_a_version_is_noted_once(database: Database, labelled: Campaign) -> None:
    version = learned_version(database, labelled)
    with database.transaction() as connection:
        first = LearnedFrom.read(connection, labelled, version)
        assert first is not None and first.recipe.classes == CLASSES and list(first.recipe.sets) == ["sky"]
        LearnedFrom(first.counted, "other", first.recipe).put(connection, labelled, version)
        assert LearnedFrom.read(connection, labelled, version) == first
    assert Path("/proc/cpuinfo").is_file() <= (first.recipe.processor != "")
