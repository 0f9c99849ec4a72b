"""What the command line tells of campaigns and versions: in words, within 80 columns, and as JSON."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from click.testing import Result
from psycopg.types.json import Jsonb
from typer.testing import CliRunner

from backend_ml.cli.main import app
from backend_ml.report.agreement import Share
from backend_ml.report.report import Judged
from backend_ml.report.told import metrics_told, version_told
from backend_ml.store.database import Database
from backend_ml.store.records import Campaign
from tests.backend_ml.conftest import CLASSES, Annotating
from tests.backend_ml.learned import learn_now

NOW = datetime.now(UTC)


@pytest.fixture
def run(database: Database, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs a command in a terminal of 80 columns."""
    monkeypatch.setenv("GALAXYLOOP_DATABASE_URL", database.url)
    monkeypatch.setenv("COLUMNS", "80")

    def told(*words: str) -> Result:
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, result.output
        return result

    return told


def test_a_campaign_in_words(run: Any, database: Database, campaign: Campaign, head: str, annotate: Annotating) -> None:
    for task in range(101, 110):
        annotate(task, CLASSES[task % 5], 3, NOW - timedelta(minutes=task - 100), origin="prediction", seconds=4.0)
        annotate(task, CLASSES[0], 4, NOW - timedelta(minutes=task - 100), seconds=8.0)
    annotate(110, CLASSES[4], 3, NOW)
    learn_now(database, campaign)
    database.rows("put_notice", campaign=1, source="push", text="Label Studio is away. " * 8)
    with database.transaction() as connection:
        connection.execute(
            "INSERT INTO selection"
            " (campaign_id, source, policy, seed, batch, candidates, last_event, person, annotator) VALUES"
            " (1, 'round', 'loop', 0, 1, 1, 1, 'Henrietta Leavitt', 3)"
        )
    told = run("campaign", "status", "Test").stdout
    assert max(map(len, told.splitlines())) <= 80
    said = " ".join(told.split())
    for words in (
        "Campaign Test: morphology, open, project 7 of Label Studio",
        "Done 10 of 10 tasks done, 100 %",
        "19 labels by 2 people",
        "Henrietta Leavitt: 10 labels (10 in the last day)",
        "annotator 4: 9 labels",
        "the model's answers, left as filled in: 100 % of 9",
        "right on the audit slice: 0 % of 1 (0–79 %)",
        f"from {head}",
        "Notices push: Label Studio is away.",
    ):
        assert words in said, told
    assert not set("[]{}") & set(told) and "seed" not in told and "None" not in told
    values = json.loads(run("campaign", "status", "Test", "--json").stdout)
    assert {"name", "annotations", "labels", "newer_encoder", "last_run", "notices"} <= set(values)
    assert values["people"][0]["person"] == "Henrietta Leavitt" and values["done"] == 10


def test_nothing_happened_yet(run: Any, campaign: Campaign) -> None:
    said = " ".join(run("campaign", "status", "Test").stdout.split())
    assert "Rate nobody labelled in the last week" in said and "Time left unknown while nobody labels" in said
    assert "Version none yet" in said and "10 tasks waiting, not pushed yet" in said


def test_campaigns_and_versions_fit_80_columns(run: Any, database: Database, campaign: Campaign, head: str) -> None:
    names = [row["version"] for row in database.rows("versions", campaign=1)]
    long = "version-of-a-kind-with-a-name-that-has-more-characters-than-most-0123456789ab"
    metrics = Jsonb({"gate": {"difference": 0.02, "standard_error": 0.011, "passed": True}, "ap": 0.4321})
    with database.transaction() as connection:
        connection.execute(
            "INSERT INTO model_version SELECT campaign_id, %s, version, weights, detector, encoder, seed, last_event,"
            " labels, audit_labels, %s, revision FROM model_version",
            (long, metrics),
        )
    told = run("model", "list", "Test").stdout
    assert max(map(len, told.splitlines())) <= 80 and names == [head]
    assert f"* {head}, of 5 labels" in told and long in told
    assert "+2.0 ± 1.1 points" in told and "ap 0.432" in told and "never served" in told
    assert [row["active"] for row in json.loads(run("model", "list", "Test", "--json").stdout)] == ["*", ""]
    listed = run("campaign", "list").stdout
    assert max(map(len, listed.splitlines())) <= 80 and head in listed and "0 of 10" in listed
    assert json.loads(run("campaign", "list", "--json").stdout)[0]["waiting"] == 10


def test_a_version_that_was_held_back() -> None:
    gate = {"difference": -0.1, "standard_error": 0.03, "passed": False, "audit_labels": 50}
    one = Judged("v2", "v1", 7, Share(30, 50), False, False, NOW, [], {"gate": gate, "prior_share": 0.25})
    assert metrics_told(one) == [
        "against the one before: -10.0 ± 3.0 points: worse, so it was held back",
        "from simulated galaxies: 25 % of its answers",
    ]
    assert "right on the audit slice: 60 % of 50 (46–72 %)" in version_told(one)
