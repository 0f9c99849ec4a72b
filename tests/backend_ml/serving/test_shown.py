"""The stamps that tasks show, held in memory; a naive oracle asks the table each time."""

import numpy as np
import pytest

from backend_ml.serving.shown import ShownStamps
from backend_ml.store.database import Database, DatabaseError, query, query_many
from backend_ml.store.records import Campaign


class Unreachable(Database):
    """A database that must not be asked."""

    def __init__(self) -> None:
        super().__init__("host=/nowhere")

    def rows(self, name: str, /, **values: object) -> list[dict[str, object]]:
        raise DatabaseError("asked")


def read(database: Database, campaign: Campaign) -> ShownStamps:
    with database.transaction() as connection:
        return ShownStamps.read(connection, campaign.id)


def test_what_is_known_is_not_asked_for_again(database: Database, campaign: Campaign) -> None:
    shown = read(database, campaign)
    stamps = {("sky", row) for row in range(10)}
    assert shown.audit(stamps, Unreachable()) == {("sky", 9)}
    assert shown.audit(set(), Unreachable()) == set()
    for odd in (("sky", 10), ("sky", 2**62), ("moon", 9)):
        with pytest.raises(DatabaseError, match="asked"):
            shown.audit({odd}, Unreachable())


def test_tasks_that_came_later_are_looked_up(database: Database, campaign: Campaign) -> None:
    before = read(database, campaign)
    late = {"campaign": campaign.id, "stamp_set": "sky", "audit": True}
    with database.transaction() as connection:
        query_many(connection, "put_task", [{**late, "task": 200 + row, "stamp_id": row} for row in (11, 13)])
        # a second task of a stamp is no reason to answer the first
        query(connection, "put_task", **{**late, "audit": False}, task=300, stamp_id=9)
        query(connection, "delete_tasks", campaign=campaign.id, tasks=[211])
    asked = {("sky", row) for row in (0, 9, 11, 12, 13)}
    for shown in (before, read(database, campaign)):
        assert shown.audit(asked, database) == {("sky", 9), ("sky", 11), ("sky", 13)}


def test_as_the_table_says_for_many(database: Database, campaign: Campaign) -> None:
    draw = np.random.default_rng(5)
    rows = draw.choice(1000, size=300, replace=False)
    tasks = [
        {"campaign": campaign.id, "task": 1000 + int(row), "stamp_set": "sky", "stamp_id": int(row), "audit": blind}
        for row, blind in zip(rows, (draw.random(300) < 0.3).tolist(), strict=True)
        if row > 9
    ]
    with database.transaction() as connection:
        query_many(connection, "put_task", tasks)
    shown, asked = read(database, campaign), {("sky", row) for row in range(1000)}
    assert shown.audit(asked, database) == {("sky", 9)} | {("sky", one["stamp_id"]) for one in tasks if one["audit"]}
