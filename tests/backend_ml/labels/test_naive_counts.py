"""What the database says of a campaign, against counting through all rows by hand, in worlds drawn at random.

Each world is one of two that have the same tasks, annotations, people and stamps, so that nothing of another campaign
goes unnoticed.
"""

import math
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest

from backend_ml.labels.agreed import agreed_labels
from backend_ml.store.database import Connection, Database, query
from tests.backend_ml.conftest import CLASSES
from tests.backend_ml.labels.a_world import PEOPLE, UNSURE, World, newest_of, put_worlds
from tests.conftest import emptied

WORLDS = 8


@pytest.fixture(scope="module")
def drawn(shared_database: Database) -> tuple[Database, list[World]]:
    """Worlds that no test changes."""
    database = emptied(shared_database)
    return database, put_worlds(database, 0, WORLDS)


def test_labels_and_all_that_is_counted_of_them(drawn: tuple[Database, list[World]]) -> None:
    database, worlds = drawn
    seen = Counter[str]()
    with database.transaction() as connection:
        for world in worlds:
            votes = query(connection, "votes", campaign=world.campaign.id)
            names = ("stamp_set", "stamp_id", "label", "annotator", "person", "given")
            assert {row["id"]: tuple(row[name] for name in names) for row in votes} == world.readable_votes()
            seen["set aside"] += len(world.votes()) - len(votes)
            seen.update(row["given"] for row in votes)
            for row in votes:
                stamp = (row["stamp_set"], row["stamp_id"])
                assert row["blind"] == world.is_blind(stamp)
                assert row["audited"] == world.is_blind(stamp, there=True)
                seen["blind, gone"] += row["blind"] and not row["audited"]
            order = [(row["stamp_set"], row["stamp_id"], row["happened_at"], row["id"]) for row in votes]
            assert order == sorted(order)
            _count_annotations(connection, world)
            _agree(connection, world)
    assert min(seen[name] for name in ("annotation", "start", "mark", "blind, gone", "set aside")) > 0


def _count_annotations(connection: Connection, world: World) -> None:
    there = world.annotations()
    counts = query(connection, "annotation_counts", campaign=world.campaign.id)[0]
    assert counts == {
        "labelled": sum(row["action"] == "labelled" for row in there),
        "skipped": sum(row["action"] == "skipped" for row in there),
        "annotators": len({row["annotator"] for row in there} - {None}),
        "without_stamp": sum(world.stamp(row) is None for row in there),
    }
    known = query(connection, "known_annotations", campaign=world.campaign.id)
    assert {row["annotation_id"]: row["task_id"] for row in known} == {
        row["annotation_id"]: row["task_id"] for row in there
    }
    left = [task for task in world.tasks.values() if not task["deleted"]]
    assert query(connection, "task_counts", campaign=world.campaign.id)[0] == {
        "tasks": len(left),
        "audit": sum(task["audit"] for task in left),
    }
    last = query(connection, "last_event", campaign=world.campaign.id)[0]["id"]
    assert last == max(row["id"] for row in world.events)
    for event in (0, last // 2, last):
        found = query(connection, "labelled_since", campaign=world.campaign.id, event=event)[0]["stamps"]
        assert found == len({world.stamp(row) for row in world.events if row["id"] > event} - {None})


def _agree(connection: Connection, world: World) -> None:
    """The majority, of equals the latest, of these the first by name."""
    by_stamp: dict[tuple[str, int], list[tuple[str, Any]]] = {}
    times = {row["id"]: row["happened_at"] for row in world.events}
    for number, (stamp_set, stamp_id, label, *_) in world.readable_votes().items():
        by_stamp.setdefault((stamp_set, stamp_id), []).append((label, times[number]))
    agreed = {(one.stamp_set, one.stamp_id): one for one in agreed_labels(connection, world.campaign)}
    assert set(agreed) == set(by_stamp)
    for stamp, given in by_stamp.items():
        found = agreed[stamp]
        mine = [at for label, at in given if label == found.label]
        assert (found.votes, found.latest) == (len(mine), max(mine))
        for other in {label for label, _ in given} - {found.label}:
            theirs = [at for label, at in given if label == other]
            assert (len(mine), max(mine)) > (len(theirs), max(theirs)) or (
                (len(mine), max(mine)) == (len(theirs), max(theirs)) and found.label < other
            )


def test_tasks_that_wait_lack_labels_and_are_disputed(drawn: tuple[Database, list[World]]) -> None:
    database, worlds = drawn
    shares = []
    with database.transaction() as connection:
        for world in worlds:
            waiting = query(connection, "unlabelled_tasks", campaign=world.campaign.id)
            found = {row["task_id"]: (row["lacking"], row["disagreement"]) for row in waiting}
            expected = _waiting(world)
            assert list(found) == sorted(expected)
            for task, (lacking, entropy) in expected.items():
                assert found[task] == (lacking, pytest.approx(entropy, abs=1e-9)), task
            assert {row["task_id"]: row["audit"] for row in waiting} == {
                task: world.tasks[task]["audit"] for task in expected
            }
            shares.append((len(expected), sum(entropy > 0 for _, entropy in expected.values())))
    assert 0 < sum(n for n, _ in shares) < 14 * WORLDS and sum(disputed for _, disputed in shares) > 3


def _waiting(world: World) -> dict[int, tuple[int, float]]:
    there = [row for row in world.annotations() if row["action"] == "labelled"]
    known = {row["annotation_id"] for row in there}
    expected = {}
    for number, task in world.tasks.items():
        given = sum(row["task_id"] == number for row in there)
        odd = sum(row["task_id"] == number and row["annotation_id"] not in known for row in world.odd)
        said = {row["label"] for row in world.marks() if (row["stamp_set"], row["stamp_id"]) == _place(task)}
        of_one_mind = len(said) == 1 and said != {UNSURE}
        if task["deleted"] or given + odd >= world.campaign.overlap or of_one_mind:
            continue
        votes = Counter(row["label"] for row in world.counted() if row["task_id"] == number)
        entropy = -sum(n / votes.total() * math.log(n / votes.total()) for n in votes.values())
        expected[number] = (max(world.campaign.overlap - given, 1), entropy)
    return expected


def _place(task: dict[str, Any]) -> tuple[str, int]:
    return task["stamp_set"], task["stamp_id"]


def test_what_each_person_did_and_whether_they_kept_what_was_filled_in(drawn: tuple[Database, list[World]]) -> None:
    database, worlds = drawn
    kept = Counter[bool | None]()
    with database.transaction() as connection:
        for world in worlds:
            found = query(connection, "answers", campaign=world.campaign.id)
            expected = []
            for row in world.annotations():
                skipped = row["action"] == "skipped"
                origins = [region.get("origin") for region in row["result"] or ()]
                same: bool | None = None
                # nothing is filled in of the audit slice
                shown = not world.tasks.get(row["task_id"], {}).get("audit", False)
                if row["parent_prediction"] is not None and shown and not skipped and origins:
                    # one that is not named says nothing, unless another one was changed
                    told = [origin == "prediction" for origin in origins if origin is not None]
                    same = False if False in told else True if told else None
                expected.append((row["annotator"], None, skipped, row["happened_at"], row["lead_time"], same))
            times = {row["id"]: row["happened_at"] for row in world.events}
            for number, (_, _, _, annotator, person, how) in world.votes().items():
                if how == "mark":
                    expected.append((annotator, person, False, times[number], None, None))
            names = ("annotator", "person", "skipped", "happened_at", "lead_time", "kept")
            told_rows = [tuple(row[name] for name in names) for row in found]
            assert Counter(told_rows) == Counter(expected)
            assert all(one[3] <= other[3] for one, other in pairwise(told_rows))
            kept.update(row["kept"] for row in found)
    assert min(kept[True], kept[False], kept[None]) > 5


def test_what_one_person_said_in_a_search(drawn: tuple[Database, list[World]]) -> None:
    database, worlds = drawn
    lengths = Counter[str]()
    with database.transaction() as connection:
        for world in worlds:
            for person, annotator in PEOPLE.items():
                asked = {"stamp_set": "sky", "person": person, "annotator": annotator}
                found = query(connection, "own_labels", campaign=world.campaign.id, **asked)
                mine = [
                    (row["stamp_id"], row["label"], None, True)
                    for row in world.marks()
                    if (row["stamp_set"], row["person"]) == ("sky", person)
                ]
                theirs = [
                    (world.tasks[row["task_id"]]["stamp_id"], row["label"], row["annotation_id"], False)
                    for row in world.annotations()
                    if row["annotator"] == annotator and annotator is not None and row["action"] == "labelled"
                    if (world.stamp(row) or ("", 0))[0] == "sky"
                ]
                names = ("stamp_id", "label", "annotation_id", "here")
                assert Counter(tuple(row[name] for name in names) for row in found) == Counter(mine + theirs)
                assert all(one["happened_at"] >= other["happened_at"] for one, other in pairwise(found))
                lengths.update(mine=len(mine), theirs=len(theirs))
    assert min(lengths.values()) > 10


def test_stamps_that_people_know_already(drawn: tuple[Database, list[World]]) -> None:
    database, worlds = drawn
    known = [
        {vote[:2] for vote in world.votes().values()} | {row["stamp"] for row in world.counted() if row["stamp"]}
        for world in worlds
    ]
    with database.transaction() as connection, connection.transaction(force_rollback=True):
        connection.execute("UPDATE campaign SET classes = %s WHERE id = %s", (list(CLASSES[:2]), worlds[1].campaign.id))
        connection.execute("UPDATE campaign SET kind = 'interest' WHERE id = %s", (worlds[2].campaign.id,))

        def asked(world: World, *, elsewhere: bool) -> set[tuple[str, int]]:
            rows = query(connection, "labelled_for", campaign=world.campaign.id, elsewhere=elsewhere)
            return {(row["stamp_set"], row["stamp_id"]) for row in rows}

        for world, mine in zip(worlds, known, strict=True):
            assert asked(world, elsewhere=False) == mine
        alike = set.union(*(known[place] for place in range(WORLDS) if place not in (1, 2)))
        assert asked(worlds[0], elsewhere=True) == alike
        assert [asked(worlds[place], elsewhere=True) for place in (1, 2)] == [known[1], known[2]]


def test_answers_to_trees_and_drawn_objects_are_the_newest_of_each_person_and_stamp(
    drawn: tuple[Database, list[World]],
) -> None:
    database, worlds = drawn
    with database.transaction() as connection:
        for world in worlds:
            placed = [row for row in world.counted() if row["stamp"] is not None]
            by_person = newest_of(
                placed,
                lambda row: (row["stamp"], -row["annotation_id"] if row["annotator"] is None else row["annotator"]),
            )
            found = query(connection, "vote_results", campaign=world.campaign.id)
            names = ("stamp_set", "stamp_id", "annotation_id", "annotator", "task_id")
            assert Counter(tuple(row[name] for name in names) for row in found) == Counter(
                (*row["stamp"], row["annotation_id"], row["annotator"], row["task_id"]) for row in by_person.values()
            )
            newest = newest_of(placed, lambda row: row["stamp"])
            drawn_objects = query(connection, "object_labels", campaign=world.campaign.id)
            assert {(row["stamp_set"], row["stamp_id"]): row["id"] for row in drawn_objects} == {
                stamp: row["id"] for stamp, row in newest.items()
            }


def test_what_the_catalogue_counts(drawn: tuple[Database, list[World]]) -> None:
    database, worlds = drawn
    with database.transaction() as connection:
        for world in worlds:
            expected: dict[tuple[str, int], list[int]] = {}
            for row in world.annotations():
                if (stamp := world.stamp(row)) is not None:
                    counts = expected.setdefault(stamp, [0, 0, 0])
                    counts[0] += row["action"] == "labelled"
                    counts[1] += row["action"] == "skipped"
            for row in world.odd:
                task = world.tasks[row["task_id"]]
                if not task["deleted"]:
                    expected.setdefault(_place(task), [0, 0, 0])[2] += 1
            found = query(connection, "catalogue_annotations", campaign=world.campaign.id)
            assert {
                (row["stamp_set"], row["stamp_id"]): [row["labelled"], row["skipped"], row["aside"]] for row in found
            } == expected
            tasks = query(connection, "catalogue_tasks", campaign=world.campaign.id)
            places = {_place(task) for task in world.tasks.values()}
            assert {(row["stamp_set"], row["stamp_id"]): (row["audit"], row["deleted"]) for row in tasks} == {
                place: (
                    world.is_blind(place, there=True),
                    all(task["deleted"] for task in world.tasks.values() if _place(task) == place),
                )
                for place in places
            }
