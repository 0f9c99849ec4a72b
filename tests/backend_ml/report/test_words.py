"""Every state that the database can hold has words, and figures are said so that nobody takes them for others."""

import re
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest

from backend_ml import jobs
from backend_ml.report.agreement import Share
from backend_ml.report.pace import Pace
from backend_ml.report.words import (
    OUTCOMES,
    PHASES,
    SPAN_WORDS,
    TASKS,
    change_words,
    chosen_words,
    done_words,
    experiment_words,
    hours_words,
    job_words,
    kappa_words,
    left_words,
    moment,
    rate_words,
    run_words,
    seconds_words,
    share_words,
)
from backend_ml.store.database import Database

RUN: dict[str, Any] = {"job": "learn", "outcome": "promoted", "version": "morphology-1", "seconds": 2.0}
EXPERIMENT: dict[str, Any] = {
    "name": "first", "labels": 1, "labels_file": "rings.parquet", "outcome": None, "metrics": {}, "branch": None,
    "note": None,
}  # fmt: skip


def allowed(database: Database, table: str, column: str) -> set[str]:
    """The values that a table's newest check lets a column have."""
    with database.transaction() as connection:
        rows = connection.execute(
            "SELECT pg_get_constraintdef(oid) AS said FROM pg_constraint"
            " WHERE conrelid = %s::regclass AND contype = 'c'",
            (table,),
        ).fetchall()
    (said,) = [row["said"] for row in rows if re.search(rf"\(\(?{column} = ANY", row["said"])]
    return set(re.findall(r"'([^']+)'::text", said))


def test_whatever_came_of_a_run_has_words(database: Database) -> None:
    outcomes, kinds = allowed(database, "learning_run", "outcome"), allowed(database, "learning_run", "job")
    assert len(outcomes) == 5 and kinds == set(PHASES)
    for outcome in outcomes | allowed(database, "experiment", "outcome"):
        for job in kinds:
            said = run_words(RUN | {"job": job, "outcome": outcome})
            assert said.startswith(PHASES[job]) and OUTCOMES[outcome] in said and said.endswith(": morphology-1.")
        assert OUTCOMES[outcome] in experiment_words(EXPERIMENT | {"outcome": outcome})


def test_every_job_of_a_campaign_has_words() -> None:
    """Those that take no campaign are on no page."""
    of_campaigns = {name for name in jobs.app.tasks if name.startswith("campaign:")}
    assert of_campaigns - {"campaign:ingest", "campaign:reconcile_all"} == set(TASKS)
    for task, words in TASKS.items():
        for status in ("todo", "doing", "failed"):
            assert job_words({"task": task, "status": status, "attempts": 0}).startswith(f"{words}: ")
    assert job_words({"task": "campaign:push", "status": "failed", "attempts": 1}).endswith("failed, tried 1 time")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, "Learning after 2.0 s: its version serves: morphology-1."),
        ({"seconds": None, "version": None}, "Learning: its version serves."),
        ({"seconds": 0.0}, "Learning: its version serves: morphology-1."),
        ({"seconds": 200.0, "job": "encoder"}, "Another encoder after 3 min: its version serves: morphology-1."),
    ],
)
def test_a_run_is_a_sentence_of_what_is_known_of_it(more: dict[str, Any], said: str) -> None:
    assert run_words(RUN | more) == said


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, "first on 1 label of rings.parquet: goes on, or waits for a worker"),
        ({"metrics": {"b_loss": 0.12345, "a": 3.0}}, "waits for a worker: a 3; b loss 0.123"),
        ({"outcome": "failed", "note": "no disk"}, "first on 1 label of rings.parquet: it failed: no disk"),
        (
            {"outcome": "promoted", "branch": "b", "labels": 1200},
            "on 1,200 labels of rings.parquet: its version serves: branch b",
        ),
    ],
)
def test_an_experiment_is_told_with_what_came_of_it(more: dict[str, Any], said: str) -> None:
    assert experiment_words(EXPERIMENT | more).endswith(said)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (None, "–"), (0.0, "0.0 s"), (4.24, "4.2 s"), (89.9, "89.9 s"), (90, "2 min"), (3599, "60 min"),
        (5399, "90 min"), (5400, "2 h"), (172_799, "48 h"), (172_800, "2 days"), (86_400 * 1500, "1,500 days"),
    ],
)  # fmt: skip
def test_spans_grow_with_their_units(seconds: float | None, said: str) -> None:
    assert seconds_words(seconds) == said


def test_longer_is_never_said_to_be_shorter() -> None:
    units = {"min": 1, "h": 60, "days": 60 * 24}
    said = [hours_words(minutes / 60).replace(",", "").split() for minutes in range(1, 60 * 24 * 9)]
    lengths = [int(number) * units[unit] for number, unit in said]
    assert all(one <= other for one, other in pairwise(lengths))
    assert all(abs(length - minutes) <= max(0.5, 0.34 * minutes) for minutes, length in enumerate(lengths, start=1))


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (Share(0, 0), "nothing to compare yet"),
        (Share(0, 1), "0 % of 1 (0–79 %)"),
        (Share(1, 1), "100 % of 1 (21–100 %)"),
        (Share(2.5, 5), "50 % of 5 (17–83 %)"),
        (Share(1200, 2400), "50 % of 2,400 (48–52 %)"),
    ],
)
def test_a_share_is_told_with_its_n_and_its_interval(share: Share, said: str) -> None:
    assert share_words(share) == said


@pytest.mark.parametrize("n", [1, 2, 30, 4000])
def test_an_interval_holds_its_share_and_mirrors(n: int) -> None:
    for right in {0, 1, n // 2, n}:
        low, high = Share(right, n).interval
        assert 0 <= low <= right / n + 1e-12 and right / n - 1e-12 <= high <= 1
        other = Share(n - right, n).interval
        assert (1 - other[1], 1 - other[0]) == pytest.approx((low, high))


def test_what_cannot_be_known_is_said_so() -> None:
    assert kappa_words(None, 0) == "no galaxy has labels of two people"
    assert kappa_words(None, 1) == "κ undefined: all labels are the same, on 1 galaxy"
    assert kappa_words(-0.126, 2) == "κ -0.13, on 2 galaxies"
    assert moment(None) == "–" and moment(datetime(2026, 1, 2, 3, 4, tzinfo=UTC)) == "2026-01-02 03:04 UTC"


@pytest.mark.parametrize("state", ["paused", "closed"])
def test_no_end_is_promised_where_nothing_goes_on(state: str) -> None:
    assert left_words(Pace(30, "hour", 30.0, 60), 100, state) == state
    assert left_words(Pace(30, "hour", 30.0, 60), 100) == "about 2 h at the rate of the last hour"


@pytest.mark.parametrize("span", SPAN_WORDS)
@pytest.mark.parametrize(
    ("per_hour", "said"), [(2.0, "2 labels an hour"), (1.99, "47.8 labels a day"), (0.01, "0.2 labels a day")]
)
def test_slow_rates_are_told_by_the_day(span: str, per_hour: float, said: str) -> None:
    assert rate_words(Pace(1200, span, per_hour, 5)) == f"{said} (1,200 in {SPAN_WORDS[span]})"


def test_of_several_labels_a_galaxy_what_is_begun_comes_first() -> None:
    assert chosen_words("margin", 1) == "the policy margin; 1 label of each galaxy"
    assert chosen_words("loop", 2) == "the policy loop; 2 labels of each galaxy; those begun come first"


def test_all_is_done_with_the_last_task_alone() -> None:
    for tasks in (1, 3, 7, 199, 1000, 123_456):
        said = [done_words(done, tasks).rpartition(", ")[2] for done in (0, tasks - 1, tasks)]
        assert said[0] == "0 %" and said[2] == "100 %" and (tasks == 1 or said[1] != "100 %")


def test_a_change_is_told_with_its_details() -> None:
    told = {"person": "vera", "what": "changed", "details": {"labels_of": "Ana", "overlap": 2}}
    assert change_words(told) == "vera: changed (labels of Ana, overlap 2)"
    assert change_words(told | {"details": {}}) == "vera: changed"
