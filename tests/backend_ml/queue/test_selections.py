"""The log of selections in a real database: pushes, slices and rounds side by side."""

from typing import Any

import pytest

from backend_ml.queue import selections
from backend_ml.queue.selections import LoggedSelection, Selected, Selection, SelectionSource
from backend_ml.store.campaigns import add_campaign
from backend_ml.store.database import Connection, Database
from backend_ml.store.records import Campaign
from tests.backend_ml.conftest import MORPHOLOGY
from tests.backend_ml.webhooks import created, send

VALUES: dict[str, Any] = {"policy": "margin", "seed": 4, "batch": 3, "candidates": 9, "last_event": 0}


def record(
    connection: Connection, campaign: Campaign, source: SelectionSource, *rows: int, served: bool = True, **values: Any
) -> LoggedSelection:
    stamps = [Selected(stamp_set="sky", stamp_id=row, task_id=101 + row, propensity=0.5) for row in rows]
    selection = Selection(source=source, **{**VALUES, **values})
    return selections.record(connection, campaign, selection, stamps, served=served)


def test_a_selection_is_read_as_it_was_written(database: Database, campaign: Campaign) -> None:
    whole = Selected(
        stamp_set="sky",
        stamp_id=7,
        task_id=108,
        priority=0.25,
        worth=float("-inf"),
        propensity=1 / 3,
        probability=0.9,
        similarity=-0.5,
        audit=True,
    )
    least = Selected(stamp_set="sky", stamp_id=3, propensity=1.0)
    chosen = Selection(source="round", **VALUES, version="v", person="Vera", annotator=2)
    with database.transaction() as connection:
        logged = selections.record(connection, campaign, chosen, [whole, least], served=True)
    with database.transaction() as connection:
        assert selections.latest(connection, campaign, "round") == logged
        assert selections.stamps_of(connection, logged.id) == [whole, least]
    assert logged.served_at == logged.made_at
    assert {name: getattr(logged, name) for name in vars(chosen)} == vars(chosen)


def test_what_was_not_served_yet_is_not_the_latest(database: Database, campaign: Campaign) -> None:
    with database.transaction() as connection:
        first = record(connection, campaign, "push", 0)
        second = record(connection, campaign, "push", 1, served=False)
        assert second.served_at is None
        assert selections.served(connection, campaign, "push") == [first]
        assert selections.place_of(connection, campaign, "sky", 1) is None
        selections.mark_served(connection, second.id)
        assert [one.id for one in selections.served(connection, campaign, "push")] == [second.id, first.id]
        found = selections.place_of(connection, campaign, "sky", 0)
        assert found is not None and not found["latest"]


def test_each_source_person_and_campaign_has_its_own(database: Database, campaign: Campaign) -> None:
    with database.transaction() as connection:
        other = add_campaign(connection, **MORPHOLOGY, name="Other", project=8)
        slice_ = record(connection, campaign, "slice", 0)
        hers = record(connection, campaign, "round", 1, person="Vera")
        his = record(connection, campaign, "round", 2, person="Hen")
        record(connection, other, "round", 3, person="Vera")
        assert selections.served(connection, campaign, "push") == []
        assert selections.served(connection, campaign, "slice") == [slice_]
        assert selections.served(connection, campaign, "round") == [his, hers]
        assert selections.latest(connection, campaign, "round", person="Vera") == hers
        assert selections.count(connection, campaign, "round") == 2 and selections.count(connection, other, "push") == 0
        assert selections.before_others(connection, campaign, "Vera") == [2]
        assert sorted(selections.before_others(connection, campaign, "Ada")) == [1, 2]


def test_the_place_of_a_stamp_is_in_the_newest_push_else_in_the_newest_round(
    database: Database, campaign: Campaign
) -> None:
    with database.transaction() as connection:

        def place(row: int) -> tuple[object, ...] | None:
            found = selections.place_of(connection, campaign, "sky", row)
            return found and (found["round"], found["rank"], found["policy"], found["latest"])

        record(connection, campaign, "round", 0, 1, person="Vera", policy="loop")
        record(connection, campaign, "slice", 5)
        record(connection, campaign, "push", 0, 2)
        record(connection, campaign, "round", 3, 1, person="Hen", policy="random")
        assert place(5) is None, "to become a task is no place in a queue"
        assert place(0) == (None, 0, "margin", True)
        assert place(1) == (2, 1, "random", True)
        record(connection, campaign, "push", 2, policy="entropy")
        assert place(0) == (None, 0, "margin", False)
        assert place(2) == (None, 0, "entropy", True)
        assert selections.place_of(connection, campaign, "other", 0) is None


@pytest.mark.parametrize("known", [True, False])
def test_an_annotator_has_the_name_of_their_newest_round(database: Database, campaign: Campaign, known: bool) -> None:
    with database.transaction() as connection:
        record(connection, campaign, "round", 1, person="V. R.", annotator=2)
        record(connection, campaign, "round", 1, person="Vera", annotator=2)
        record(connection, campaign, "round", 1, person="Somebody")
    if known:
        send(database, created(1, 101, "spiral", by=2))
    with database.transaction() as connection:
        assert selections.annotator_names(connection, campaign) == ({2: "Vera"} if known else {})
