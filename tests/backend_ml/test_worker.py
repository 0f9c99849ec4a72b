"""The worker on a real database: jobs run, debounce, retry, and outlive workers that die."""

import asyncio
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np
import pytest
from procrastinate import PsycopgConnector
from psycopg.types.json import Jsonb

from backend_ml import jobs
from backend_ml.campaign import reconcile
from backend_ml.campaign.defer import DEFAULT, GPU, _defer, defer_ingest, defer_learning, defer_push, defer_reconcile
from backend_ml.jobs import Services, StoppingError
from backend_ml.kinds.installed import find_kind
from backend_ml.label_studio.annotations import ListedAnnotation
from backend_ml.label_studio.client import LabelStudio, Project
from backend_ml.label_studio.connection import LabelStudioError
from backend_ml.labels.events import INGEST
from backend_ml.local import processes
from backend_ml.settings import Settings, SettingsError
from backend_ml.store.database import Database, DatabaseError, query
from backend_ml.store.records import Campaign
from backend_ml.worker import _take_jobs, rescue_stalled
from tests.backend_ml.learned import run_jobs
from tests.backend_ml.stored import Stored
from tests.backend_ml.webhooks import annotation, created, deleted, labels, send


def waiting(database: Database) -> list[tuple[str, str]]:
    """Jobs by name and status, oldest first."""
    with database.transaction() as connection:
        rows = connection.execute("SELECT task_name, status::text FROM procrastinate_jobs ORDER BY id").fetchall()
    return [(row["task_name"], row["status"]) for row in rows]


def defer(database: Database, function: Any, *arguments: Any, **options: Any) -> None:
    with database.transaction() as connection:
        function(connection, *arguments, **options)


def die_while_doing(database: Database) -> None:
    """As if a worker had taken the waiting job and been killed."""
    with database.transaction() as connection:
        connection.execute("UPDATE procrastinate_jobs SET status = 'doing', worker_id = NULL WHERE status = 'todo'")


def rescue(database: Database) -> None:
    async def once() -> None:
        with jobs.app.replace_connector(PsycopgConnector(conninfo=database.url)):
            async with jobs.app.open_async():
                await rescue_stalled()

    asyncio.run(once())


def test_a_job_that_waits_is_not_queued_again(database: Database, campaign: Campaign) -> None:
    for _ in range(3):
        defer(database, defer_learning, campaign, asked=False, seconds=60)
    assert waiting(database) == [("campaign:learn", "todo")]


def test_what_takes_minutes_waits_for_a_worker_that_takes_such_jobs(database: Database, campaign: Campaign) -> None:
    defer(database, defer_learning, campaign, asked=False)
    defer(database, defer_learning, replace(campaign, id=campaign.id + 1, kind="lenses"), asked=False)
    with database.transaction() as connection:
        rows = connection.execute("SELECT queue_name FROM procrastinate_jobs ORDER BY id").fetchall()
    assert [row["queue_name"] for row in rows] == ["default", GPU]


def test_the_job_of_a_dead_worker_is_taken_up_again(database: Database, campaign: Campaign) -> None:
    defer(database, defer_learning, campaign, asked=False)
    die_while_doing(database)
    rescue(database)
    assert waiting(database) == [("campaign:learn", "todo")]


def test_a_dead_job_whose_twin_waits_is_dropped(database: Database, campaign: Campaign) -> None:
    defer(database, defer_learning, campaign, asked=False)
    die_while_doing(database)
    defer(database, defer_learning, campaign, asked=False)
    rescue(database)
    assert waiting(database) == [("campaign:learn", "todo")]


def test_a_job_that_fails_while_its_twin_waits_is_dropped(database: Database) -> None:
    """Procrastinate leaves it in the hands of a worker that lives, and what waits for its lock waits for ever."""
    calls: list[int] = []

    @jobs.app.task(name="test:fails", retry=jobs.PATIENCE)
    def fails() -> None:
        calls.append(1)
        if len(calls) == 1:
            again()
        raise DatabaseError("It fails.", "Wait.")

    def again() -> None:
        defer(database, _defer, "test:fails", queueing_lock="fails", lock="fails")

    again()
    run_jobs(database)
    assert len(calls) == 2, "the twin has its turn"
    assert waiting(database) == [("test:fails", "todo")], "and tries again later"


def test_jobs_of_hours_leave_room_for_all_others(database: Database) -> None:
    began, moment_came = threading.Event(), threading.Event()
    seen: list[bool] = []

    @jobs.app.task(name="test:hours")
    def hours() -> None:
        began.set()
        seen.append(moment_came.wait(20))

    @jobs.app.task(name="test:moment")
    def moment() -> None:
        if began.wait(20):  # the queues begin in no order
            moment_came.set()

    for number in range(3):
        defer(database, _defer, "test:hours", queueing_lock=f"h{number}", lock=f"h{number}", queue=GPU)
    defer(database, _defer, "test:moment", queueing_lock="m", lock="m")

    async def work() -> None:
        stop = asyncio.Event()
        with jobs.app.replace_connector(PsycopgConnector(conninfo=database.url)):
            taking = asyncio.create_task(_take_jobs(None, stop, ()))  # type: ignore[arg-type]
            await asyncio.to_thread(moment_came.wait, 60)
            stop.set()
            await taking

    asyncio.run(work())
    assert seen and all(seen), "the first of hours was there when the moment came"


@pytest.mark.usefixtures("warm_python")
def test_a_worker_that_waits_for_a_lock_stops_when_told(database: Database, campaign: Campaign) -> None:
    defer(database, defer_push, campaign.id)
    environment = os.environ | {"GALAXYLOOP_DATABASE_URL": database.url, "GALAXYLOOP_LABEL_STUDIO_TOKEN": "f" * 40}
    with database.sole("try_lock_queue", campaign=campaign.id):
        worker = subprocess.Popen([sys.executable, "-m", "backend_ml", "worker"], env=environment)
        try:
            processes.wait_until(lambda: ("campaign:push", "doing") in waiting(database), 120, what="the job")
            worker.terminate()
            assert worker.wait(60) == 0
        finally:
            worker.kill()
            worker.wait()
    assert ("campaign:push", "todo") in waiting(database), "the next worker takes it up"


def test_a_project_that_is_gone_keeps_no_other_waiting(database: Database, campaign: Campaign) -> None:
    """Reconciliations and the inbox of every campaign wait for one lock, which a job that is tried again keeps."""

    class Gone(LabelStudio):
        def project(self, project: int) -> Project:
            raise LabelStudioError(f"There is no project {project}.", "Close its campaign.", 404)

    with database.transaction() as connection:
        body = created(1, 101, "spiral")
        defer_reconcile(connection, campaign.id)
        query(connection, "put_inbox", project=campaign.project_id, action=body["action"], body=Jsonb(body), **INGEST)
        defer_ingest(connection)
    with Gone("http://127.0.0.1:1", "token") as label_studio:
        run_jobs(database, label_studio)
    assert labels(database, campaign) == {0: "spiral"}
    (noted,) = database.rows("notices", campaign=campaign.id)
    assert (noted["source"], noted["text"]) == ("reconcile", "There is no project 7. Close its campaign.")


@pytest.mark.parametrize(
    "error",
    [KeyError("what was of it is gone"), LabelStudioError("There is no project 7.", "Close its campaign.", 404)],
    ids=["a failure", "Label Studio refuses"],
)
def test_a_job_whose_campaign_was_taken_back_meanwhile_just_ends(
    database: Database, campaign: Campaign, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def taken_back(*_: Any, **__: Any) -> None:
        with database.transaction() as connection:
            connection.execute("DELETE FROM campaign")
        raise error

    monkeypatch.setattr(jobs.reconcile, "reconcile", taken_back)
    defer(database, defer_reconcile, campaign.id)
    run_jobs(database)
    with database.transaction() as connection:
        ended = connection.execute(
            "SELECT status FROM procrastinate_jobs WHERE task_name = 'campaign:reconcile'"
        ).fetchall()
    assert [row["status"] for row in ended] == ["succeeded"]


def test_webhooks_become_labels_and_a_debounced_refit(database: Database, campaign: Campaign) -> None:
    with database.transaction() as connection:
        for number in (1, 2):
            body = created(number, 100 + number, "spiral")
            query(
                connection,
                "put_inbox",
                project=campaign.project_id,
                action=body["action"],
                body=Jsonb(body),
                **INGEST,
            )
        defer_ingest(connection)
    run_jobs(database, settings=Settings(refit_debounce=60))
    assert labels(database, campaign) == {0: "spiral", 1: "spiral"}
    assert ("campaign:learn", "todo") in waiting(database)


def test_webhooks_are_taken_in_before_jobs_that_wait_already(database: Database, campaign: Campaign) -> None:
    seen: list[dict[int, str]] = []

    @jobs.app.task(name="test:looks")
    def looks() -> None:
        seen.append(labels(database, campaign))

    for number, asked in enumerate(("by the webhook", "by reconciling")):
        body = created(1 + number, 101 + number, "spiral")
        with database.transaction() as connection:
            _defer(connection, "test:looks", queueing_lock="looks", lock="looks")
            query(
                connection, "put_inbox", project=campaign.project_id, action=body["action"], body=Jsonb(body), **INGEST
            )
            if asked == "by reconciling":
                connection.execute("DELETE FROM procrastinate_jobs WHERE task_name = 'campaign:ingest'")
                defer_ingest(connection)
        run_jobs(database, settings=Settings(refit_debounce=60))
    del jobs.app.tasks["test:looks"]
    assert seen == [{0: "spiral"}, {0: "spiral", 1: "spiral"}]


@pytest.mark.parametrize(("seconds", "gaps"), [(60, [60, 60]), (3, [3, 3]), (45, [45, 15])])
def test_how_often_campaigns_are_reconciled_is_a_setting(
    monkeypatch: pytest.MonkeyPatch, seconds: int, gaps: list[int]
) -> None:
    monkeypatch.setattr(jobs.app.periodic_registry, "periodic_tasks", {})
    assert Settings(reconcile_seconds=seconds).reconcile_seconds == seconds
    jobs.reconcile_every(60)
    jobs.reconcile_every(seconds)
    (periodic,) = jobs.app.periodic_registry.periodic_tasks.values()
    assert periodic.task.name == "campaign:reconcile_all"
    full_minute = 1_800_000_000
    periodic.croniter.set_current(start_time=full_minute)
    times = [periodic.croniter.get_next(ret_type=float) for _ in gaps]
    assert list(np.diff([full_minute, *times])) == gaps


@pytest.mark.parametrize("seconds", [0, 61, 2.5, "often"])
def test_odd_times_between_reconciliations_are_refused(seconds: object) -> None:
    with pytest.raises(SettingsError, match="GALAXYLOOP_RECONCILE_SECONDS"):
        Settings.model_validate({"reconcile_seconds": seconds})


def noted_by_learning(database: Database, campaign: Campaign) -> list[dict[str, Any]]:
    # reconciliation, which finds no Label Studio here, has a notice of its own
    return [row for row in database.rows("notices", campaign=campaign.id) if row["source"] == "learn"]


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_failure_that_waiting_cannot_mend_is_noted_on_the_campaign(database: Database, campaign: Campaign) -> None:
    for i, label in enumerate(("spiral", "edge-on disc")):
        database.rows("put_snapshot_label", campaign=campaign.id, stamp_set="elsewhere", stamp_id=i, label=label)
    defer(database, defer_learning, campaign, asked=False)
    run_jobs(database)
    (noted,) = noted_by_learning(database, campaign)
    assert "elsewhere" in noted["text"]
    assert ("campaign:learn", "failed") in waiting(database)
    # what a reconciliation says of the label config is another matter
    with database.transaction() as connection:
        reconcile.check_label_config(connection, campaign, find_kind("morphology").label_config())
    assert noted_by_learning(database, campaign) == [noted]
    with database.transaction() as connection:
        connection.execute("DELETE FROM label_event")
    defer(database, defer_learning, campaign, asked=False)
    run_jobs(database)
    assert noted_by_learning(database, campaign) == []


@pytest.mark.parametrize("error", [DatabaseError("It is away."), StoppingError("The worker stops.")])
def test_a_comparison_that_comes_again_anyway_is_not_given_up(
    database: Database, campaign: Campaign, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def broken_off(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(jobs.reconcile, "reconcile", broken_off)
    defer(database, defer_reconcile, campaign.id)
    run_jobs(database)
    assert database.rows("failed_jobs") == database.rows("notices", campaign=campaign.id) == []


class BrokenOff(Stored):
    """One that answers a reconciliation, unless it is `silent` on changes, and is away when its tasks are asked for."""

    asked, silent = 0, False

    def project(self, project: int) -> Project:
        self.asked += 1
        if self.asked > 1:
            raise LabelStudioError("It is away.")
        return super().project(project)

    def annotations_since(self, project: int, since: datetime | None) -> Iterator[ListedAnnotation]:
        if self.silent:
            raise LabelStudioError("It is away.")
        return super().annotations_since(project, since)


def compare(database: Database, campaign: Campaign, label_studio: BrokenOff) -> None:
    """Run the job of a reconciliation, and what it asks for."""
    label_studio.asked = 0
    defer(database, defer_reconcile, campaign.id)
    run_jobs(database, label_studio)  # type: ignore[arg-type]


def test_labels_that_a_comparison_finds_are_learned_whatever_breaks_off_the_rest(
    database: Database, campaign: Campaign
) -> None:
    def learned() -> int:
        return sum(int(row["last_event"]) for row in database.rows("last_run", campaign=campaign.id))

    label_studio = BrokenOff({1: annotation(1, 101, "spiral")})
    compare(database, campaign, label_studio)
    assert labels(database, campaign) == {0: "spiral"} and learned() == 1
    label_studio.bodies.clear()
    send(database, deleted(1))
    label_studio.silent = True
    compare(database, campaign, label_studio)
    assert labels(database, campaign) == {} and learned() == 2


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_learning_that_was_given_up_is_asked_for_again_an_hour_later(database: Database, campaign: Campaign) -> None:
    for i, label in enumerate(("spiral", "edge-on disc")):
        database.rows("put_snapshot_label", campaign=campaign.id, stamp_set="elsewhere", stamp_id=i, label=label)

    def failed() -> Any:
        with database.transaction() as connection:
            text = "SELECT id, status::text, args FROM procrastinate_jobs WHERE task_name = 'campaign:learn'"
            (job,) = connection.execute(text).fetchall()
        assert job["status"] == "failed" and job["args"]["asked"] is True
        return job["id"]

    defer(database, defer_learning, campaign, asked=True)
    run_jobs(database)
    before = failed()
    # a fit that takes long does not fail all day
    for hours, queue, again in ((0, DEFAULT, False), (2, GPU, False), (0, DEFAULT, True), (25, GPU, True)):
        with database.transaction() as connection:
            connection.execute("UPDATE procrastinate_events SET at = at - make_interval(hours => %s)", (hours,))
            connection.execute("UPDATE procrastinate_jobs SET queue_name = %s WHERE id = %s", (queue, before))
        compare(database, campaign, BrokenOff())
        assert (failed() != before) is again
        before = failed()


def test_jobs_of_a_closed_campaign_do_nothing(database: Database, campaign: Campaign) -> None:
    defer(database, defer_learning, campaign, asked=False)
    database.rows("close_campaign", campaign=campaign.id)
    run_jobs(database)
    assert database.rows("last_run", campaign=campaign.id) == []


def test_the_log_of_a_job_that_breaks_has_a_traceback_and_no_secret(
    database: Database, campaign: Campaign, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    token, password = "9f8e7d6c5b4a39281706", "starlight-and-dust"
    settings = Settings.model_validate({"label_studio_token": token, "team_password": password})

    def breaks(services: Services, campaign: Campaign) -> None:
        label_studio = LabelStudio.from_settings(services.settings)
        raise RuntimeError(f"it broke with {label_studio} and {services}")

    monkeypatch.setattr(jobs, "learn", lambda *_: breaks(Services(settings, database, None), campaign))  # type: ignore[arg-type]
    defer(database, defer_learning, campaign, asked=False)
    run_jobs(database)
    text = "\n".join(logging.Formatter().format(record) for record in caplog.records)
    assert "RuntimeError: it broke with" in text and "Traceback" in text
    assert token not in text and password not in text
