"""What several annotators agree on: what is trained on, judged on, exported and shown."""

import threading
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backend_ml.campaign import status
from backend_ml.kinds.installed import find_kind
from backend_ml.label_studio.regions.choices import ASIDE
from backend_ml.labels import agreed
from backend_ml.labels.agreed import AgreedLabel, agreed_labels, labels_and_annotators
from backend_ml.store.campaigns import all_campaigns
from backend_ml.store.database import Database
from backend_ml.store.records import Campaign
from lvm_training.tables.frozen_labels import stated_digest
from tests.backend_ml.conftest import CLASSES
from tests.backend_ml.webhooks import created, send

A, B = CLASSES[:2]


def choose(database: Database, consensus: str) -> Campaign:
    """The campaign with this consensus."""
    with database.transaction() as connection:
        connection.execute("UPDATE campaign SET consensus = %s", (consensus,))
        return all_campaigns(connection)[0]


def label(database: Database, votes: dict[int, str]) -> None:
    """Annotators 1, 2, 3, ... of each task, by the letters a and b; a dash labels nothing."""
    number = 0
    for task, letters in votes.items():
        for by, letter in enumerate(letters, start=1):
            number += 1
            if letter != "-":
                send(database, created(number, task, {"a": A, "b": B, "?": ASIDE[0]}[letter], by=by, at=number))


# the same in SQL
MAJORITY = """
SELECT DISTINCT ON (stamp_id) stamp_id, label, count(*) AS votes, max(happened_at) AS latest
FROM vote GROUP BY stamp_id, label
ORDER BY stamp_id, votes DESC, latest DESC, label
"""

# 1 and 2 always agree; 3, 4 and 5 agree with them half of the time, and outvote them on stamp 7
VOTES = {101: "aaaab", 102: "bbbaa", 103: "aabab", 104: "bbaba", 105: "aabba", 106: "bbaab", 107: "aabaa", 108: "aabbb"}


def found(database: Database, campaign: Campaign) -> dict[int, AgreedLabel]:
    with database.transaction() as connection:
        return {one.stamp_id: one for one in agreed_labels(connection, campaign)}


def test_reliability_can_overrule_the_majority(database: Database, campaign: Campaign) -> None:
    assert campaign.consensus == "majority"
    label(database, VOTES)
    majority = found(database, choose(database, "majority"))
    reliable = found(database, choose(database, "dawid-skene"))
    assert (majority[7].label, majority[7].votes) == (B, 3)
    assert (reliable[7].label, reliable[7].votes) == (A, 2)
    assert reliable[7].latest == datetime(2026, 1, 1, 12, 0, 37, tzinfo=UTC)
    assert {row: one.label for row, one in reliable.items()} == dict(enumerate([A, B, A, B, A, B, A, A]))
    for consensus, expected in (("majority", B), ("dawid-skene", A)):
        with database.transaction() as connection:
            state = find_kind("morphology").read(connection, choose(database, consensus))
        assert dict(zip(state.training.stamp_id, state.training.label, strict=True))[7] == expected


def test_annotators_are_shown_with_their_reliability(database: Database, campaign: Campaign) -> None:
    assert campaign.consensus == "majority"
    label(database, VOTES)
    for consensus in ("majority", "dawid-skene"):
        chosen = choose(database, consensus)
        with database.transaction() as connection:
            shown = status.campaign_status(connection, chosen)["annotators"]
        assert [row["annotator"] for row in shown] == [1, 2, 3, 4, 5]
        assert {row["labels"] for row in shown} == {8}
        values = [row["reliability"] for row in shown]
        assert values[0] == values[1] > max(values[2:])


def test_without_a_second_opinion_nothing_is_said_of_anybody(database: Database, campaign: Campaign) -> None:
    label(database, {101: "a", 102: "-b"})
    with database.transaction() as connection:
        assert [one.reliability for one in labels_and_annotators(connection, campaign)[1]] == [None, None]


@pytest.mark.parametrize("consensus", ["majority", "dawid-skene"])
def test_one_vote_a_stamp_is_its_label_whatever_the_others_are(
    database: Database, campaign: Campaign, consensus: str
) -> None:
    assert found(database, campaign) == {}
    label(database, {**{101 + i: "a" for i in range(8)}, 109: "b"})
    assert found(database, choose(database, consensus))[8].label == B


@pytest.mark.parametrize("consensus", ["majority", "dawid-skene"])
def test_audit_labels_choices_aside_and_starting_labels(database: Database, campaign: Campaign, consensus: str) -> None:
    database.rows("put_snapshot_label", campaign=campaign.id, stamp_set="sky", stamp_id=3, label=A)
    label(database, {101: "aab", 110: "bba", 102: "??a"})
    chosen = choose(database, consensus)
    with database.transaction() as connection:
        state = find_kind("morphology").read(connection, chosen)
        people = [one.annotator for one in labels_and_annotators(connection, chosen)[1]]
    assert dict(zip(state.training.stamp_id, state.training.label, strict=True)) == {0: A, 3: A}
    assert dict(zip(state.audit.stamp_id, state.audit.label, strict=True)) == {9: B}
    assert people == [1, 2, 3, "starting labels"]


@given(votes=st.lists(st.text("ab?-", max_size=4), min_size=1, max_size=6))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_majority_is_that_of_a_query(database: Database, campaign: Campaign, votes: list[str]) -> None:
    with database.transaction() as connection:
        connection.execute("DELETE FROM label_event")
    label(database, {101 + i: letters for i, letters in enumerate(votes)})
    with database.transaction() as connection:
        rows = connection.execute(MAJORITY).fetchall()
    expected = {row["stamp_id"]: (row["label"], row["votes"], row["latest"]) for row in rows}
    assert {row: (one.label, one.votes, one.latest) for row, one in found(database, campaign).items()} == expected


def test_a_label_that_comes_while_they_are_read_does_no_harm(database: Database, campaign: Campaign) -> None:
    label(database, {101: "a"})
    stop = threading.Event()

    def annotate() -> None:
        for number in range(100, 160):
            database.rows(
                "put_snapshot_label", campaign=campaign.id, stamp_set="sky", stamp_id=number % 10, label=CLASSES[0]
            )
        stop.set()

    thread = threading.Thread(target=annotate)
    thread.start()
    while not stop.is_set():
        assert found(database, campaign)
    thread.join()


def test_what_annotations_state_is_digested_once_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not whenever labels are read: of masks it takes long."""
    rows = [{"id": 3 - i, "stamp_set": "sky", "stamp_id": i, "result": f"[{i}]", "audit": i == 1} for i in range(3)]
    asked = list[int]()

    def digest(answers: Any) -> str:
        asked.append(len(answers))
        return stated_digest(answers)

    monkeypatch.setattr(agreed, "stated_digest", digest)
    counted = agreed.Counted.of(rows, "audit", results=True)
    assert (counted.given, counted.blind, asked) == ((1, 2, 3), (2,), [])
    wanted = stated_digest(("sky", i, f"[{i}]", i == 1) for i in range(3))
    assert (counted.stated, counted.stated, asked) == (wanted, wanted, [3])
    assert agreed.Counted.of(rows, "audit").stated == ""
