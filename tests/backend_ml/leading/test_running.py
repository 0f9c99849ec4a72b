"""A campaign is paused and goes on, on the command line and for the worker."""

import json
from typing import Any

import pytest
from psycopg.errors import UniqueViolation
from typer.testing import CliRunner, Result

from backend_ml.campaign.defer import (
    DEFAULT,
    GPU,
    defer_encoder,
    defer_ingest,
    defer_learning,
    defer_push,
    defer_simulation,
)
from backend_ml.cli.main import app
from backend_ml.leading import running
from backend_ml.store import versions
from backend_ml.store.campaigns import add_campaign
from backend_ml.store.database import Database, query
from backend_ml.store.records import Campaign, CampaignError
from tests.backend_ml.conftest import MORPHOLOGY
from tests.backend_ml.learned import learn_now, run_jobs
from tests.backend_ml.webhooks import created, labels, send


@pytest.fixture(autouse=True)
def here(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands find the database in their environment, and who gives them."""
    monkeypatch.setenv("GALAXYLOOP_DATABASE_URL", database.url)
    monkeypatch.setenv("LOGNAME", "vera")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)])


def told(*arguments: object) -> Any:
    done = run(*arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def jobs(database: Database) -> list[str]:
    with database.transaction() as connection:
        rows = connection.execute("SELECT task_name FROM procrastinate_jobs WHERE status = 'todo' ORDER BY id")
        return [row["task_name"] for row in rows.fetchall()]


def active(database: Database, campaign: Campaign) -> str | None:
    with database.transaction() as connection:
        found = versions.active_version(connection, campaign)
    return found.version if found else None


def test_a_paused_campaign_keeps_labels_and_learns_when_it_is_resumed(
    database: Database, campaign: Campaign, head: str
) -> None:
    assert told("campaign", "pause", "Test") == {"campaign": "Test", "state": "paused", "changed": True}
    assert told("campaign", "pause", "Test")["changed"] is False, "said twice, done once"
    assert told("campaign", "status", "Test")["state"] == "paused"
    assert told("campaign", "list")[0]["state"] == "paused"
    send(database, created(1, 106, "spiral"), created(2, 107, "spiral"))
    with database.transaction() as connection:
        defer_ingest(connection)
        defer_learning(connection, campaign, asked=False)
        defer_push(connection, campaign.id)
    run_jobs(database)
    assert jobs(database) == [] and active(database, campaign) == head
    assert labels(database, campaign)[5] == "spiral", "nothing that came is lost"
    assert told("campaign", "resume", "Test")["changed"] is True
    assert told("campaign", "resume", "Test")["changed"] is False
    assert jobs(database) == ["campaign:reconcile", "campaign:learn", "campaign:push"]
    assert learn_now(database, campaign) == "promoted" and active(database, campaign) != head
    status = told("campaign", "status", "Test")
    assert status["state"] == "open"
    assert [(one["person"], one["what"]) for one in status["changes"]] == [("vera", "resumed"), ("vera", "paused")]


def test_what_somebody_asked_for_is_done_once_the_campaign_is_resumed(
    database: Database, campaign: Campaign, head: str
) -> None:
    encoder = "0" * 12
    with database.transaction() as connection:
        defer_encoder(connection, campaign, encoder)
        defer_learning(connection, campaign, asked=True)
        defer_learning(connection, campaign, asked=False)
        defer_simulation(connection, campaign)
    told("campaign", "pause", "Test")
    for queue in (GPU, DEFAULT):
        run_jobs(database, queue=queue)
    assert jobs(database) == []
    told("campaign", "resume", "Test")
    caught_up = ["campaign:reconcile", "campaign:learn", "campaign:push"]
    assert jobs(database) == [*caught_up, "campaign:encoder", "campaign:learn", "campaign:simulate"]
    with database.transaction() as connection:
        found = connection.execute("SELECT * FROM procrastinate_jobs WHERE status = 'todo' ORDER BY id").fetchall()
        defer_encoder(connection, campaign, encoder)
    assert found[3]["args"] == {"campaign_id": campaign.id, "encoder": encoder} and found[3]["queue_name"] == GPU
    assert [job["args"]["asked"] for job in found if job["task_name"] == "campaign:learn"] == [False, True]
    assert len(jobs(database)) == len(found), "it is the job that it was"
    told("campaign", "pause", "Test")
    told("campaign", "resume", "Test")
    assert len(jobs(database)) == len(found), "once"


def test_what_somebody_asked_for_is_forgotten_once_the_campaign_is_closed(
    database: Database, campaign: Campaign, head: str
) -> None:
    with database.transaction() as connection:
        defer_encoder(connection, campaign, "0" * 12)
    told("campaign", "pause", "Test")
    run_jobs(database, queue=GPU)
    database.rows("close_campaign", campaign=campaign.id)
    with database.transaction() as connection:
        assert query(connection, "open_campaign", campaign=campaign.id, state="closed")
        running.catch_up(connection, campaign)
    assert jobs(database) == ["campaign:reconcile", "campaign:learn", "campaign:push"]


def test_what_cannot_be_paused_or_resumed_says_so(database: Database, campaign: Campaign) -> None:
    database.rows("close_campaign", campaign=campaign.id)
    for command in ("pause", "resume"):
        refused = run("campaign", command, "Test")
        assert refused.exit_code == 1 and "'Test' is closed" in refused.stderr and "reopen" in refused.stderr
        assert run("campaign", command, "No such").exit_code == 1
    with database.transaction() as connection:
        add_campaign(connection, **MORPHOLOGY | {"kind": "interest", "policy": "loop"}, name="A search")
    assert "not in Label Studio" in run("campaign", "pause", "A search").stderr


def test_an_encoder_is_not_asked_for_while_a_campaign_is_paused(
    database: Database, campaign: Campaign, head: str
) -> None:
    told("campaign", "pause", "Test")
    refused = run("campaign", "encoder", "Test", "--train")
    assert refused.exit_code == 1 and "paused" in refused.stderr and jobs(database) == []


def test_two_leaders_at_once_pause_once(database: Database, campaign: Campaign) -> None:
    with database.transaction() as connection:
        assert running.pause(connection, campaign, "vera")
    with database.transaction() as connection:
        assert not running.pause(connection, campaign, "edwin"), "who read the campaign before the pause"
    assert [row["person"] for row in database.rows("changes", campaign=campaign.id)] == ["vera"]


def test_a_campaign_that_is_gone_is_not_changed(database: Database, campaign: Campaign) -> None:
    database.rows("delete_campaign", project=campaign.project)
    with database.transaction() as connection, pytest.raises(CampaignError, match="is closed"):
        running.pause(connection, campaign, "vera")


def test_a_closed_campaign_gives_up_its_name(database: Database, campaign: Campaign) -> None:
    def make(project: int) -> Campaign:
        with database.transaction() as connection:
            return add_campaign(connection, **MORPHOLOGY, name="Test", project=project)

    with pytest.raises(UniqueViolation):
        make(70)
    for project in (71, 72):
        database.rows("close_campaign", campaign=database.rows("campaigns")[-1]["id"])
        make(project)
    listed = {row["name"]: (row["state"], row["project"]) for row in told("campaign", "list")}
    assert listed == {
        "Test (closed 1)": ("closed", campaign.project),
        "Test (closed 2)": ("closed", 71),
        "Test": ("open", 72),
    }
    assert told("campaign", "status", "Test (closed 1)")["project"] == campaign.project
