"""A campaign's figures against counting its rows by hand: who agrees, what is disputed, what comes next."""

import json
import math
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from backend_ml.queue import selections
from backend_ml.queue.selections import Selected, Selection
from backend_ml.report.agreement import Share
from backend_ml.report.galaxies import DISPUTED, NEXT, disputes, next_tasks
from backend_ml.report.report import as_json, audit_share, judged_version, namer, read_report, read_versions
from backend_ml.store import versions
from backend_ml.store.database import Connection, Database, query
from backend_ml.store.records import Campaign
from tests.backend_ml.conftest import CLASSES, Annotating
from tests.backend_ml.labels.a_world import NOON, World, put_worlds
from tests.conftest import emptied

WORLDS = 8
A, B, C = CLASSES[:3]


def name(who: int | str) -> str:
    return f"<{who}>"


@pytest.fixture(scope="module")
def drawn(shared_database: Database) -> tuple[Database, list[World]]:
    """Worlds that no test changes."""
    database = emptied(shared_database)
    return database, put_worlds(database, 90, WORLDS)


def answers_by_stamp(world: World) -> dict[tuple[str, int], dict[Any, str]]:
    """What each person says of each stamp; what there was at the start is nobody's."""
    found: dict[tuple[str, int], dict[Any, str]] = {}
    times = {row["id"]: row["happened_at"] for row in world.events}
    for number in sorted(world.readable_votes(), key=lambda number: (times[number], number)):
        stamp_set, stamp_id, label, annotator, person, how = world.readable_votes()[number]
        if how != "start":
            found.setdefault((stamp_set, stamp_id), {})[annotator or person or "starting labels"] = label
    return found


def test_agreement_is_counted_apart_for_what_was_shown_blind(drawn: tuple[Database, list[World]]) -> None:
    database, worlds = drawn
    pairs = Counter[str]()
    with database.transaction() as connection:
        for world in worlds:
            report = read_report(connection, world.campaign, NOON)
            said = answers_by_stamp(world)
            for part, blind in ((report.blind, True), (report.filled, False)):
                mine = [labels for stamp, labels in said.items() if world.is_blind(stamp) == blind]
                both = [pair for labels in mine for pair in combinations(labels.values(), 2)]
                assert part.people.galaxies == sum(len(labels) > 1 for labels in mine)
                assert part.people.same == Share(sum(one == other for one, other in both), len(both))
                pairs[f"blind {blind}"] += len(both)
            kept = [row["kept"] for row in query(connection, "answers", campaign=world.campaign.id)]
            assert report.filled.model == Share(kept.count(True), kept.count(True) + kept.count(False))
            left = sum(not task["deleted"] for task in world.tasks.values())
            assert (report.tasks, report.done) == (left, left - len(report.standing.waiting))
            assert report.share_done == pytest.approx(report.done / left)
            assert report.pace.wanted == sum(row["lacking"] for row in report.standing.waiting)
            assert sum(one.labels for one in report.workers) == sum(not one.skipped for one in report.given)
            assert sum(one.skips for one in report.workers) == report.status["annotations"]["skipped"]
    assert min(pairs.values()) > 5


def test_disputed_galaxies_are_those_of_several_answers_the_most_even_first(
    drawn: tuple[Database, list[World]],
) -> None:
    database, worlds = drawn
    seen = 0
    with database.transaction() as connection:
        for world in worlds:
            found, count = disputes(connection, read_report(connection, world.campaign, NOON), name)
            said = {stamp: labels for stamp, labels in answers_by_stamp(world).items() if len(set(labels.values())) > 1}
            assert count == len(said) == len(found)
            assert {(one.stamp_set, one.stamp_id) for one in found} == set(said)
            order = []
            for one in found:
                labels = said[one.stamp_set, one.stamp_id]
                votes = Counter(labels.values())
                assert dict(one.said) == {
                    label: sorted(name(who) for who, theirs in labels.items() if theirs == label) for label in votes
                }
                assert [len(people) for _, people in one.said] == sorted(votes.values(), reverse=True)
                assert one.tied == (sorted(votes.values())[-2:][0] == max(votes.values()))
                entropy = -sum(n / votes.total() * math.log(n / votes.total()) for n in votes.values())
                order.append((not one.tied, -round(entropy, 9)))
                shown = [
                    number
                    for number, task in world.tasks.items()
                    if (task["stamp_set"], task["stamp_id"]) == (one.stamp_set, one.stamp_id) and not task["deleted"]
                ]
                assert one.task_id == min(shown, default=None)
            assert order == sorted(order)
            seen += count
    assert seen > 10


def test_answers_to_galaxies_that_were_shown_blind_left_nothing_as_it_was_filled_in(
    database: Database, campaign: Campaign, annotate: Annotating
) -> None:
    annotate(101, A, 3, NOON, origin="prediction")
    annotate(102, A, 3, NOON, origin="manual")
    annotate(110, A, 3, NOON, origin="manual")
    with database.transaction() as connection:
        assert read_report(connection, campaign, NOON).filled.model == Share(1, 2)


def test_of_many_disputes_the_first_are_shown_and_all_counted(
    database: Database, campaign: Campaign, annotate: Annotating
) -> None:
    with database.transaction() as connection:
        for task in range(200, 200 + DISPUTED + 3):
            place = {"stamp_set": "sky", "stamp_id": task - 100, "audit": False}
            query(connection, "put_task", campaign=campaign.id, task=task, **place)
    for task in range(200, 200 + DISPUTED + 3):
        annotate(task, A, 1, NOON)
        annotate(task, B, 2, NOON)
    annotate(202, B, 3, NOON)
    annotate(201, C, 3, NOON)
    with database.transaction() as connection:
        found, count = disputes(connection, read_report(connection, campaign, NOON), name)
    assert (len(found), count) == (DISPUTED, DISPUTED + 3)
    assert found[0].task_id == 201, "three of three minds"
    assert found[0].said == [(label, [name(who)]) for label, who in sorted([(A, 1), (B, 2), (C, 3)])]
    assert 202 not in [one.task_id for one in found], "two against one come after all ties"
    assert [one.task_id for one in found[1:]] == sorted(one.task_id or 0 for one in found[1:])


def pushed(connection: Connection, campaign: Campaign, tasks: list[int], policy: str = "margin") -> None:
    about = Selection(source="push", policy=policy, seed=0, batch=1, candidates=9, last_event=0)
    stamps = [Selected(stamp_set="sky", stamp_id=task - 101, task_id=task, propensity=1.0) for task in tasks]
    selections.record(connection, campaign, about, stamps, served=True)


def test_the_next_tasks_are_those_that_wait_in_the_order_of_the_push(
    database: Database, campaign: Campaign, annotate: Annotating
) -> None:
    with database.transaction() as connection:
        connection.execute("UPDATE campaign SET overlap = 3")

    def upcoming() -> list[tuple[int, str]]:
        with database.transaction() as connection:
            return [(one.task_id, one.why) for one in next_tasks(connection, read_report(connection, campaign))]

    plain = "not ranked yet"
    assert upcoming() == [(task, plain) for task in range(101, 110)] + [(110, "blind sample")]
    with database.transaction() as connection:
        pushed(connection, campaign, [103, 110, 101])
        pushed(connection, campaign, [105, 102, 110, 104, 109])
    annotate(102, A, 1, NOON)
    annotate(104, A, 1, NOON)
    annotate(104, B, 2, NOON)
    annotate(110, A, 1, NOON)
    annotate(110, B, 2, NOON)
    for who in (1, 2, 3):
        annotate(105, A, who, NOON)
    assert upcoming() == [
        (102, "most uncertain"), (110, "blind sample"), (104, "disputed"), (109, "most uncertain")
    ]  # fmt: skip
    with database.transaction() as connection:
        pushed(connection, campaign, [109], "a policy of before")
    assert upcoming() == [(109, "a policy of before")]


def test_only_the_first_of_many_that_wait_are_named(database: Database, campaign: Campaign) -> None:
    with database.transaction() as connection:
        for task in range(200, 200 + NEXT):
            place = {"stamp_set": "sky", "stamp_id": 9, "audit": False}
            query(connection, "put_task", campaign=campaign.id, task=task, **place)
        found = next_tasks(connection, read_report(connection, campaign))
    assert [one.task_id for one in found] == [*range(101, 111), 200, 201][:NEXT]


@pytest.mark.parametrize(
    ("accuracy", "n", "share"),
    [
        (0.675, 40, Share(27, 40)),
        (1.0, 3, Share(3, 3)),
        (0, 7, Share(0, 7)),
        (None, 7, Share(0, 0)),
        ("?", 7, Share(0, 0)),
    ],
)
def test_what_a_version_got_right_is_a_count(accuracy: Any, n: int, share: Share) -> None:
    assert audit_share({"metrics": {"audit_accuracy": accuracy}, "audit_labels": n}) == share
    assert audit_share({"metrics": {}, "audit_labels": n}) == Share(0, 0)


def put_version(connection: Connection, campaign: Campaign, number: int, *, right: float | None) -> str:
    metrics = {} if right is None else {"audit_accuracy": right}
    counts = {"seed": number, "last_event": 0, "labels": 10 * number, "audit_labels": 20, "revision": "r"}
    version = versions.version_name("head", "e" * 12, bytes([number]), campaign.classes)
    versions.add_version(
        connection,
        campaign,
        version=version,
        parent=None,
        encoder="e" * 12,
        weights=bytes([number]),
        metrics=metrics,
        **counts,
    )
    return version


def test_versions_tell_when_they_served_and_which_serves_now(
    database: Database, campaign: Campaign, tmp_path: Path
) -> None:
    made = []
    for number, right in ((1, 0.5), (2, 0.75), (3, None)):
        with database.transaction() as connection:
            made.append(put_version(connection, campaign, number, right=right))
    first, second = made[:2]
    for version, reason in ((first, "created"), (second, "refit"), (first, "rolled back")):
        with database.transaction() as connection:
            versions.promote(connection, campaign, version, reason)  # type: ignore[arg-type]
    with database.transaction() as connection:
        report = read_report(connection, campaign)
        found = read_versions(connection, campaign, first)
        alone = judged_version(connection, campaign, second)
    assert [one.version for one in found] == made
    assert [[why for _, why in one.served] for one in found] == [["created", "rolled back"], ["refit"], []]
    assert all(one[0] <= other[0] for version in found for one, other in combinations(version.served, 2))
    assert [one.active for one in found] == [True, False, False]
    assert [one.audit for one in found] == [Share(10, 20), Share(15, 20), Share(0, 0)]
    assert [one.labels for one in found] == [10, 20, 30] and not any(one.cold_start for one in found)
    assert report.active is not None and report.active.version == first == report.status["version"]
    assert report.blind.model == Share(10, 20)
    assert (alone.version, alone.active) == (second, False)


def test_people_have_the_names_they_signed_in_with_in_all_figures(
    database: Database, campaign: Campaign, annotate: Annotating
) -> None:
    for task, label in ((101, A), (102, B), (110, A)):
        annotate(task, label, 3, NOON, seconds=4.0)
        annotate(task, A, 8, NOON + timedelta(minutes=1), seconds=2.0)
    with database.transaction() as connection:
        for person in ("Henrietta", "Henrietta Leavitt"):
            about = {"policy": "loop", "seed": 0, "batch": 1, "candidates": 1, "last_event": 0}
            round_ = Selection(source="round", person=person, annotator=3, **about)
            selections.record(connection, campaign, round_, [], served=True)
        named = namer(connection, campaign, lambda number: f"annotator {number}")
        told = as_json(read_report(connection, campaign, NOON + timedelta(hours=1)), named)
    assert (named(3), named(8), named("Vera")) == ("Henrietta Leavitt", "annotator 8", "Vera")
    assert [(one["person"], one["labels"]) for one in told["people"]] == [("Henrietta Leavitt", 3), ("annotator 8", 3)]
    (blind,), (filled,) = (told["agreement"][part]["people"]["pairs"] for part in ("blind", "pre_annotated"))
    assert blind["people"] == filled["people"] == ["Henrietta Leavitt", "annotator 8"]
    assert (blind["same"], filled["same"]) == ({"right": 1, "n": 1}, {"right": 1, "n": 2})
    assert (told["done"], told["pace"]["labels"], told["pace"]["span"]) == (3, 6, "week")
    assert told["pace"]["hours_left"] == pytest.approx(7 / 6)
    assert json.loads(json.dumps(told, default=str))["people"][1]["seconds"] == 2.0


def test_another_persons_day(database: Database, campaign: Campaign, annotate: Annotating) -> None:
    """Labels after midnight and skips, seen from the other end of the day."""
    now = datetime(2026, 1, 2, 0, 30, tzinfo=UTC)
    for minutes, label in ((10, A), (40, A), (90, None), (24 * 60 - 1, B), (24 * 60 + 1, B)):
        annotate(101 + minutes % 9, label, 5, now - timedelta(minutes=minutes))
    with database.transaction() as connection:
        (one,) = read_report(connection, campaign, now).workers
    assert (one.labels, one.skips, one.last_hour, one.last_day) == (4, 1, 2, 3)
    # in the hours of 0, of 23, and of 0 the day before
    assert one.per_hour == pytest.approx(4 / 3) and one.seconds is None


def test_what_is_partly_right_is_not_rounded_to_whole_galaxies() -> None:
    half = audit_share({"metrics": {"audit_accuracy": 0.55}, "audit_labels": 2})
    assert (half.right, half.n, half.value) == (1.1, 2, 0.55)
    assert audit_share({"metrics": {"audit_accuracy": 0.9}, "audit_labels": 10}).right == 9
