"""What chose a stamp, who saw it and which version ranked it, against reading the whole log by hand."""

from collections import Counter
from typing import Any

import pytest

from backend_ml.queue import selections
from backend_ml.store.database import Database, query
from tests.backend_ml.conftest import CLASSES
from tests.backend_ml.labels.a_world import UNSURE, World, put_worlds
from tests.conftest import emptied

WORLDS = 8


@pytest.fixture(scope="module")
def drawn(shared_database: Database) -> tuple[Database, list[World]]:
    """Worlds that no test changes."""
    database = emptied(shared_database)
    return database, put_worlds(database, 50, WORLDS)


def log_of(world: World, stamp: tuple[str, int]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """The selections that held a stamp, oldest first, and how each held it."""
    return [
        (one, held)
        for one in world.selections
        for held in world.selected
        if held["selection_id"] == one["id"] and (held["stamp_set"], held["stamp_id"]) == stamp
    ]


def test_how_each_stamp_came_to_be_shown(drawn: tuple[Database, list[World]]) -> None:
    database, worlds = drawn
    before, after = 0, 0
    with database.transaction() as connection:
        for world in worlds:
            times = {row["id"]: row["happened_at"] for row in world.events}
            found = query(connection, "catalogue_selected", campaign=world.campaign.id)
            expected = {}
            for stamp in {(row["stamp_set"], row["stamp_id"]) for row in world.selected}:
                log = [(one, held) for one, held in log_of(world, stamp) if one["served_at"] is not None]
                said = [times[n] for n, vote in world.votes().items() if vote[:2] == stamp and vote[5] != "start"]
                earlier = [entry for entry in log if not said or entry[0]["served_at"] <= min(said)]
                if not log:
                    continue
                before, after = before + bool(said and earlier), after + bool(said and not earlier)
                one, held = (earlier or log)[-1]
                policy = "audit slice" if held["audit"] else one["policy"]
                expected[stamp] = (one["source"], policy, held["propensity"])
            assert {
                (row["stamp_set"], row["stamp_id"]): (row["source"], row["policy"], row["propensity"]) for row in found
            } == expected
    assert min(before, after) > 5


def test_which_version_had_ranked_a_stamp_when_somebody_labelled_it(drawn: tuple[Database, list[World]]) -> None:
    database, worlds = drawn
    told = Counter[bool]()
    with database.transaction() as connection:
        for world in worlds:
            times = {row["id"]: row["happened_at"] for row in world.events}
            votes = world.votes()
            asked = {
                "ids": list(votes),
                "stamp_sets": [vote[0] for vote in votes.values()],
                "stamp_ids": [vote[1] for vote in votes.values()],
                "times": [times[number] for number in votes],
            }
            found = query(connection, "versions_shown", campaign=world.campaign.id, **asked)
            expected = {}
            for number, vote in votes.items():
                log = [
                    (one, held)
                    for one, held in log_of(world, vote[:2])
                    if one["source"] != "slice" and one["served_at"] is not None and one["served_at"] <= times[number]
                ]
                if log:
                    one, held = log[-1]
                    expected[number] = None if held["audit"] else one["version"]
            assert {row["id"]: row["version"] for row in found} == expected
            told.update(version is None for version in expected.values())
    assert min(told[True], told[False]) > 5


def test_a_label_belongs_to_the_newest_round_of_its_person_that_showed_its_stamp_before(
    drawn: tuple[Database, list[World]],
) -> None:
    database, worlds = drawn
    counted = 0
    with database.transaction() as connection:
        for world in worlds:
            times = {row["id"]: row["happened_at"] for row in world.events}
            expected = {one["id"]: Counter[str]() for one in world.selections if one["source"] == "round"}
            for number, (stamp_set, stamp_id, label, annotator, person, _) in world.votes().items():
                rounds = [
                    one
                    for one, _ in log_of(world, (stamp_set, stamp_id))
                    if one["source"] == "round" and one["made_at"] <= times[number]
                    if (person is not None and one["person"] == person)
                    or (annotator is not None and one["annotator"] == annotator)
                ]
                if rounds:
                    expected[rounds[-1]["id"]][label] += 1
            found = selections.labelled_rounds(connection, world.campaign, yes=CLASSES[0], no=CLASSES[1], unsure=UNSURE)
            assert [row["id"] for row in found] == sorted(expected)
            for row in found:
                wanted = expected[row["id"]]
                assert (row["yes"], row["no"], row["unsure"]) == tuple(wanted[n] for n in (*CLASSES[:2], UNSURE))
                assert row["shown"] == 5
                counted += wanted.total()
    assert counted > 20


def test_the_place_of_a_stamp_in_the_order(drawn: tuple[Database, list[World]]) -> None:
    database, worlds = drawn
    sources = Counter[str]()
    with database.transaction() as connection:
        for world in worlds:
            pushes = [one for one in world.selections if one["source"] == "push" and one["served_at"] is not None]
            rounds = [one["id"] for one in world.selections if one["source"] == "round"]
            for stamp_id in range(9):
                log = [entry for entry in log_of(world, ("sky", stamp_id)) if entry[0]["served_at"] is not None]
                pushed = [entry for entry in log if entry[0]["source"] == "push"]
                seen = pushed or [entry for entry in log if entry[0]["source"] == "round"]
                found = selections.place_of(connection, world.campaign, "sky", stamp_id)
                if not seen:
                    assert found is None
                    continue
                assert found is not None
                one, held = seen[-1]
                assert (found["policy"], found["rank"], found["audit"]) == (one["policy"], held["rank"], held["audit"])
                assert (found["served_at"], found["ranked"]) == (one["served_at"], one["candidates"])
                assert found["round"] == (rounds.index(one["id"]) + 1 if one["source"] == "round" else None)
                assert found["latest"] == (one["source"] == "round" or one is pushes[-1])
                sources[one["source"]] += 1
    assert min(sources["push"], sources["round"]) > 5


def test_people_are_numbered_in_the_order_of_their_first_answers(drawn: tuple[Database, list[World]]) -> None:
    database, worlds = drawn
    with database.transaction() as connection:
        for world in worlds:
            first: dict[Any, int] = {}
            for row in world.events:
                who = row["annotator"] if row["annotator"] is not None else row["person"]
                if who is not None:
                    first[who] = min(first.get(who, row["id"]), row["id"])
            found = query(connection, "annotator_numbers", campaign=world.campaign.id)
            assert {row["annotator"] or row["person"]: row["number"] for row in found} == {
                who: place for place, who in enumerate(sorted(first, key=first.__getitem__), start=1)
            }


def test_what_is_shown_to_whom(drawn: tuple[Database, list[World]]) -> None:
    database, worlds = drawn
    with database.transaction() as connection:
        for world in worlds:
            asked = [{"stamp_sets": ["sky", "other"], "stamp_ids": [row, row]} for row in range(9)]
            for values in asked:
                found = query(connection, "tasks_of_stamps", campaign=world.campaign.id, **values)
                expected = {
                    (name, row): min(
                        (
                            number
                            for number, task in world.tasks.items()
                            if (task["stamp_set"], task["stamp_id"]) == (name, row) and not task["deleted"]
                        ),
                        default=None,
                    )
                    for name, row in zip(values["stamp_sets"], values["stamp_ids"], strict=True)
                }
                assert {(row["stamp_set"], row["stamp_id"]): row["task_id"] for row in found} == {
                    stamp: task for stamp, task in expected.items() if task is not None
                }
            for row in query(connection, "shown_rows", campaign=world.campaign.id):
                mine = [task for task in world.tasks.values() if task["stamp_set"] == row["stamp_set"]]
                assert row["rows"] == sorted({task["stamp_id"] for task in mine})
                blind = sorted({task["stamp_id"] for task in mine if task["audit"]})
                assert (row["audit"] or []) == blind


def test_what_was_ever_shown_blind(drawn: tuple[Database, list[World]]) -> None:
    database, worlds = drawn
    with database.transaction() as connection:
        for world in worlds:
            blind = {(task["stamp_set"], task["stamp_id"]) for task in world.tasks.values() if task["audit"]}
            for names, rows in ((["sky", "other"], [*range(9)]), (["sky"], [0, 1, 2]), ([], [3]), (["other"], [])):
                asked = {"stamp_sets": names, "stamp_ids": rows}
                found = query(connection, "audit_stamps", campaign=world.campaign.id, **asked)
                assert {(row["stamp_set"], row["stamp_id"]) for row in found} == {
                    stamp for stamp in blind if stamp[0] in names and stamp[1] in rows
                }
