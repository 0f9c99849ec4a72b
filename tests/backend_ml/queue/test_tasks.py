"""Stamps become tasks and tasks name stamps: what a project may hold, who is drawn, what Label Studio is given."""

import math
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend_ml.label_studio.client import LabelStudio
from backend_ml.queue.tasks import audit_slice, import_stamps, named_stamp, remember_tasks
from backend_ml.settings import Settings
from backend_ml.store.database import Database
from backend_ml.store.records import Campaign
from lvm_training.stamps.stampset import StampSet
from tests.backend_ml.sky import write_stamps


@pytest.mark.parametrize(
    ("value", "row"),
    [
        (17, 17),
        (17.0, 17),
        ("17", 17),
        ("0", 0),
        ("017", 17),
        (0, 0),
        (2**63 - 1, 2**63 - 1),
        (2**63, None),
        (float(2**63), None),
        (1e300, None),
        (-1, None),
        ("-1", None),
        (1.5, None),
        ("1.5", None),
        (" 17", None),
        ("٣", None),
        ("9" * 19, None),
        (True, None),
        (None, None),
        ("", None),
        ([17], None),
        (math.inf, None),
        (math.nan, None),
    ],
)
def test_a_row_is_a_whole_number_that_the_database_can_hold(value: Any, row: int | None) -> None:
    assert named_stamp({"stamp_set": "sky", "stamp_id": value}) == (None if row is None else ("sky", row))


@pytest.mark.parametrize("name", [None, ["sky"], {"a": 1}, "a\x00b", "\ud800", 1.5])
def test_a_set_is_named_by_a_text_that_the_database_can_hold(name: Any) -> None:
    assert named_stamp({"stamp_set": name, "stamp_id": 1}) is None
    assert named_stamp({"stamp_id": 1}) is None and named_stamp({"stamp_set": "sky"}) is None
    # a set may be called 2024, which a table of tasks makes a number
    assert named_stamp({"stamp_set": 2024, "stamp_id": "1"}) == ("2024", 1)


@settings(max_examples=60)
@given(st.sampled_from(["sky", "", "a b", 7]), st.one_of(st.integers(), st.floats(), st.integers().map(str)))
def test_whatever_a_task_holds_is_a_stamp_or_none(name: str | int, row: Any) -> None:
    found = named_stamp({"stamp_set": name, "stamp_id": row})
    if found is not None:
        assert found[0] == str(name) and 0 <= found[1] < 2**63 and int(row) == found[1]


@settings(max_examples=40)
@given(st.integers(0, 60), st.floats(0, 1), st.integers(0, 2**31), st.integers(0, 3))
def test_the_audit_slice_is_a_share_of_the_rows_each_once(count: int, fraction: float, seed: int, part: int) -> None:
    rows = np.arange(count) * 3 + 5
    drawn = audit_slice(rows, fraction, seed, part)
    assert len(drawn) == round(count * fraction) and len(set(drawn.tolist())) == len(drawn)
    assert set(drawn.tolist()) <= set(rows.tolist())
    np.testing.assert_array_equal(drawn, audit_slice(rows, fraction, seed, part))


def test_every_row_is_as_likely_and_each_part_and_seed_draws_anew() -> None:
    rows = np.arange(20)
    times = np.zeros(20)
    for seed in range(400):
        times[audit_slice(rows, 0.25, seed)] += 1
    # 100 each, give or take four standard deviations
    assert times.sum() == 2000 and np.abs(times - 100).max() < 4 * np.sqrt(400 * 0.25 * 0.75)
    drawn = [tuple(audit_slice(np.arange(500), 0.1, seed, part)) for seed in (0, 1) for part in (0, 1, 2)]
    assert len(set(drawn)) == 6


class Importing:
    """Label Studio as far as tasks are imported."""

    def __init__(self) -> None:
        self.tasks: list[dict[str, Any]] = []

    def import_tasks(self, project: int, tasks: list[dict[str, Any]], *, on_progress: object) -> list[int]:
        assert project == 7 and on_progress is None
        self.tasks += tasks
        return [500 + place for place in range(len(tasks))]


def test_each_stamp_becomes_a_task_that_names_it(database: Database, campaign: Campaign, tmp_path: Path) -> None:
    values = {"secret": "hush", "public_url": "https://galaxies.example/"}
    server, rows, audit = Importing(), [7, 2, 9], {2}
    with StampSet(write_stamps(tmp_path / "more", 12, magnitudes=np.arange(12.0).tolist())) as stamps:
        numbers = import_stamps(
            Settings.model_validate(values), cast(LabelStudio, server), campaign, stamps, rows, audit
        )
    assert numbers == [500, 501, 502]
    data = [task["data"] for task in server.tasks]
    assert [named_stamp(one) for one in data] == [("sky", row) for row in rows]
    assert [one.get("audit") == "audit" for one in data] == [False, True, False]
    assert [one["catalogue"]["r"] for one in data] == ["7.00 mag", "2.00 mag", "9.00 mag"]
    assert [one["catalogue"]["RA"] for one in data] == ["150.07000°", "150.02000°", "150.09000°"]
    assert all(one["image"].startswith("https://galaxies.example/stamps/") for one in data)
    assert len({one["image"] for one in data}) == 3
    with database.transaction() as connection:
        remember_tasks(connection, campaign, "sky", numbers, rows, audit)
        remember_tasks(connection, campaign, "sky", numbers[:1], [0], {0})
        known = connection.execute("SELECT * FROM task WHERE task_id >= 500 ORDER BY task_id").fetchall()
    assert [(row["stamp_id"], row["audit"]) for row in known] == [(7, False), (2, True), (9, False)], "a task stays"
