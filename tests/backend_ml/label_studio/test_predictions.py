"""Which of a task's predictions are written into: the rule over the API, and the same in Label Studio's database."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from backend_ml.label_studio.connection import LabelStudioError
from backend_ml.label_studio.predictions import (
    PredictionRow,
    PredictionRowError,
    missing_rights,
    project_members,
    rewritten,
    rows_of_version,
    vacant_tasks,
    write_in_database,
)
from backend_ml.local.postgres import EmbeddedPostgres

PROJECT, TASK = 7, 30
TABLES = """
CREATE TABLE project (id integer PRIMARY KEY, model_version text);
CREATE TABLE prediction (
    id serial PRIMARY KEY, project_id integer, task_id integer, model_version text, score double precision,
    result jsonb, updated_at timestamptz
);
CREATE TABLE task_completion (id serial PRIMARY KEY, task_id integer, parent_prediction_id integer);
CREATE TABLE prediction_meta (id serial PRIMARY KEY, prediction_id integer);
CREATE TABLE projects_projectmember (id serial PRIMARY KEY, project_id integer);
"""
"""The columns of Label Studio 1.23 that the statements read."""
VERSIONS = st.sampled_from(["", "old", "served", "new"])


@dataclass
class Row:
    """A prediction of the task, and whether an annotation names it."""

    version: str
    named: bool


STATES = st.lists(st.builds(Row, VERSIONS, st.booleans()), max_size=6)


@pytest.fixture(scope="module")
def url(postgres: EmbeddedPostgres) -> Iterator[str]:
    postgres.create_database("predictions")
    url = postgres.url("predictions")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(TABLES)
    yield url


def fill(url: str, rows: list[Row], *, served: str = "served") -> list[int]:
    """Nothing but these predictions; their ids, in order."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("TRUNCATE project, prediction, task_completion, prediction_meta RESTART IDENTITY")
        connection.execute("INSERT INTO project VALUES (%s, %s)", (PROJECT, served))
        ids = []
        for row in rows:
            made = connection.execute(
                "INSERT INTO prediction (project_id, task_id, model_version, score, result) VALUES (%s, %s, %s, 0, %s)"
                " RETURNING id",
                (PROJECT, TASK, row.version, Jsonb(["before"])),
            ).fetchone()
            assert made is not None
            ids.append(int(made[0]))
            if row.named:
                connection.execute(
                    "INSERT INTO task_completion (task_id, parent_prediction_id) VALUES (%s, %s)", (TASK, ids[-1])
                )
    return ids


def stored(url: str) -> dict[int, tuple[str, float, Any]]:
    with psycopg.connect(url) as connection:
        return {
            row[0]: row[1:] for row in connection.execute("SELECT id, model_version, score, result FROM prediction")
        }


def over_the_api(rows: list[Row], ids: list[int]) -> dict[str, Any]:
    """The task as the Data Manager gives it."""
    predictions = [
        {"id": number, "task": TASK, "model_version": row.version, "score": 0.0}
        for number, row in zip(ids, rows, strict=True)
    ]
    annotations = [{"parent_prediction": number} for number, row in zip(ids, rows, strict=True) if row.named]
    return {"id": TASK, "predictions": predictions[::-1], "annotations": [*annotations, {"parent_prediction": None}]}


NEW = PredictionRow(TASK, "new", 3.5, [])


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=STATES, version=st.sampled_from(["new", "served"]))
def test_the_api_and_the_database_write_into_the_same_rows(url: str, rows: list[Row], version: str) -> None:
    new = PredictionRow(TASK, version, 3.5, [])
    ids = fill(url, rows)
    before = stored(url)
    changes = rewritten(over_the_api(rows, ids), new, "served")
    assert vacant_tasks(url, PROJECT, [new]) == (set() if changes else {TASK})
    write_in_database(url, PROJECT, [new])
    after = stored(url)
    wanted = {
        number: (
            changes.get(number, {}).get("model_version", old[0]),
            changes.get(number, {}).get("score", old[1]),
            changes.get(number, {}).get("result", old[2]),
        )
        for number, old in before.items()
    }
    assert after == wanted
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT model_version FROM project").fetchall() == [(version,)]


@given(rows=STATES)
def test_what_an_annotation_names_keeps_its_answer_and_no_row_vanishes(rows: list[Row]) -> None:
    ids = list(range(1, len(rows) + 1))
    changes = rewritten(over_the_api(rows, ids), NEW, "served")
    assert changes.keys() <= set(ids)
    for number, change in changes.items():
        row = rows[number - 1]
        assert not row.named or change.keys() == {"score"}
        assert row.version != "served", "its order is needed until the new version is served"
    whole = [number for number, change in changes.items() if "result" in change]
    assert len(whole) <= 1
    if not changes:
        assert all(row.named or row.version == "served" for row in rows)


@given(
    pushes=st.lists(st.sampled_from(["a", "b", "c"]), max_size=8),
    opened=st.lists(st.booleans(), min_size=8, max_size=8),
)
def test_pushes_need_two_rows_besides_the_named_ones(pushes: list[str], opened: list[bool]) -> None:
    """As the client does: what is rewritten is rewritten, a task without a free row gets one more."""
    rows: list[Row] = []
    served = ""
    for version, submits in zip(pushes, opened, strict=False):
        ids = list(range(1, len(rows) + 1))
        changes = rewritten(over_the_api(rows, ids), PredictionRow(TASK, version, 1.0, []), served)
        for number, change in changes.items():
            rows[number - 1].version = change.get("model_version", rows[number - 1].version)
        if not changes:
            rows.append(Row(version, False))
        served = version
        assert any(row.version == served for row in rows)
        if submits:
            next(row for row in rows if row.version == served).named = True
    assert sum(not row.named for row in rows) <= 2


@pytest.mark.parametrize(
    "row",
    [
        PredictionRow(1, "v", float("nan"), []),
        PredictionRow(1, "v", float("inf"), []),
        PredictionRow(1, "v", 0.5, [{"score": 0.5}, {"score": float("-inf")}]),
        PredictionRow(1, "v", 0.5, [{"score": "high"}]),
        PredictionRow(1, "", 0.5, []),
    ],
)
def test_what_label_studio_would_stumble_over_is_refused(row: PredictionRow) -> None:
    with pytest.raises(PredictionRowError, match=r"task 1|Task 1"):
        row.check()


def test_scores_of_the_prediction_and_of_regions_may_be_any_finite_numbers() -> None:
    row = PredictionRow(1, "v", -3, [{"score": 0}, {"type": "choices"}])
    row.check()
    assert row.result == [{"score": 0}, {"type": "choices"}]


def test_members_are_counted_where_the_database_is_known(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("INSERT INTO projects_projectmember (project_id) VALUES (7), (7), (8)")
    assert [project_members(url, project) for project in (7, 8, 9)] == [2, 1, 0]
    assert project_members("", 7) is None


def test_a_database_that_is_not_label_studio_s_is_named(postgres: EmbeddedPostgres) -> None:
    postgres.create_database("of_others")
    for url in (postgres.url("of_others"), "postgresql://127.0.0.1:1/nowhere"):
        with pytest.raises(LabelStudioError, match="database refused") as found:
            vacant_tasks(url, PROJECT, [NEW])
        assert "GALAXYLOOP_LABEL_STUDIO_DATABASE_URL" in found.value.hint


@pytest.mark.parametrize("theirs", ["theirs-1", "undefined", "", "morphology"])
def test_predictions_of_others_stay_as_they_are(url: str, theirs: str) -> None:
    rows = [Row(theirs, False), Row("morphology-a", False), Row("morphology-c", False), Row("morphology-c", False)]
    ids = fill(url, rows, served="morphology-b")
    new = PredictionRow(TASK, "morphology-c", 3.5, [])
    assert rewritten(over_the_api(rows, ids), new, "morphology-b").keys() == set(ids[2:])
    write_in_database(url, PROJECT, [new])
    after = stored(url)
    assert after[ids[0]] == (theirs, 0.0, ["before"])
    assert [after[number][0] for number in ids[1:]] == ["morphology-a", "morphology-c", "morphology-spare"]
    alone = [Row(theirs, False)]
    ids = fill(url, alone, served="morphology-b")
    assert rewritten(over_the_api(alone, ids), new, "morphology-b") == {}
    assert vacant_tasks(url, PROJECT, [new]) == {TASK}


@given(rows=STATES, version=VERSIONS)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_predictions_of_a_version_are_counted_but_for_those_that_somebody_answered_from(
    url: str, rows: list[Row], version: str
) -> None:
    fill(url, rows)
    with psycopg.connect(url, autocommit=True) as connection:
        for project, task in ((PROJECT, TASK + 1), (PROJECT + 1, TASK)):
            connection.execute(
                "INSERT INTO prediction (project_id, task_id, model_version, score, result)"
                " VALUES (%s, %s, %s, 0, '[]')",
                (project, task, version),
            )
    mine = sum(row.version == version and not row.named for row in rows)
    assert rows_of_version(url, PROJECT, [TASK], version) == ({TASK: mine} if mine else {})
    assert rows_of_version(url, PROJECT, [TASK, TASK + 1, 99], version) == {TASK + 1: 1} | (
        {TASK: mine} if mine else {}
    )
    assert rows_of_version(url, PROJECT, [], version) == {}


def test_each_right_that_is_missing_is_named(postgres: EmbeddedPostgres, url: str) -> None:
    assert missing_rights(url) == ([], "")
    postgres.create_database("nothing")
    tables = ["prediction", "prediction_meta", "project", "projects_projectmember", "task_completion"]
    found, role = missing_rights(postgres.url("nothing"))
    assert found == tables and role
    asked = url + ("&" if "?" in url else "?") + "options=-c%20role%3Dstranger"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE ROLE stranger")
        try:
            assert missing_rights(asked) == (tables, "stranger")
            for done, grant in enumerate(tables, start=1):
                connection.execute(f"GRANT SELECT ON {grant} TO stranger")  # type: ignore[call-overload]
                lacking = [name for name in tables[:done] if name in ("prediction", "project")] + tables[done:]
                assert missing_rights(asked)[0] == sorted(lacking)
            connection.execute("GRANT UPDATE ON prediction TO stranger")
            assert missing_rights(asked) == (["project"], "stranger")
        finally:
            connection.execute("DROP OWNED BY stranger; DROP ROLE stranger")
