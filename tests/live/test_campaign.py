"""A campaign on the real servers: what is made, how labels come in, what the team sees."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from backend_ml import signing
from backend_ml.campaign import lifecycle as campaigns
from backend_ml.campaign import status
from backend_ml.campaign.create import CampaignMaker
from backend_ml.local import processes
from backend_ml.local.servers import Servers as Installation
from lvm_training.errors import GalaxyLoopError
from lvm_training.tables.snapshot import Snapshot, read_snapshot
from tests.backend_ml.conftest import CLASSES
from tests.installation import Servers
from tests.live.campaigns import LiveCampaign, choice, live_campaign, plan, resting, run, run_alone, silent, truth
from tests.live.projects import project_ids

pytestmark = pytest.mark.live


@pytest.fixture
def live(
    installation: Installation, servers: Servers, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[LiveCampaign]:
    """A campaign of sixty tasks with starting labels, named after the test."""
    with live_campaign(installation, servers.annotator, tmp_path, request.node.name[:40]) as made:
        yield made


def test_what_a_new_campaign_is(live: LiveCampaign) -> None:
    project = live.admin.project(live.project)
    state = live.status()
    assert project.tasks == 60
    assert project.model_version == state["version"] and project.model_version.startswith("morphology-")
    predictions = live.admin.predictions(live.project)
    assert len(predictions) == 60 and {row.model_version for row in predictions} == {project.model_version}
    raw = live.admin.call("GET", f"api/projects/{live.project}/")
    assert raw["sampling"] == "Uncertainty sampling"
    assert [row["text"] for row in state["notices"] if row["source"] == "starting labels"] == [
        "start.csv: 2 rows without a label are left out"
    ]
    assert raw["show_instruction"] and raw["expert_instruction"].count("<img") == 3 * 5


def test_the_webhook_is_one_and_carries_the_secret(live: LiveCampaign) -> None:
    settings = live.installation.settings
    (hook,) = live.admin.webhooks(live.project)
    assert hook.headers == {signing.SECRET_HEADER: signing.webhook_secret(settings)}
    with resting(live.installation):
        live.admin.call("POST", "api/webhooks/", {"project": live.project, "url": hook.url, "headers": {}})
        campaigns.sync(settings, live.database, live.admin, live.campaign)
    (hook,) = live.admin.webhooks(live.project)
    assert hook.headers == {signing.SECRET_HEADER: signing.webhook_secret(settings)}


def test_audit_tasks_are_shown_without_an_answer(live: LiveCampaign) -> None:
    audit = {task.task_id for task in live.waiting() if task.audit}
    assert len(audit) == 6
    shown = {
        task["id"]: task["predictions"][0]["result"] for task in live.admin.data_manager(live.project, [], fields="all")
    }
    assert {task for task, result in shown.items() if not result} == audit


def test_task_pictures_are_reached_by_a_browser_and_by_nobody_else(live: LiveCampaign) -> None:
    task = next(iter(live.admin.data_manager(live.project, [], fields="all")))
    link = task["data"]["image"]
    assert httpx.get(link).headers["content-type"] == "image/jpeg"
    assert httpx.get(link.partition("?")[0]).status_code == 422
    assert "legacysurvey.org" in task["data"]["links"] and "simbad" in task["data"]["links"]
    assert "RA" in task["data"]["catalogue"]


def test_labels_make_a_new_version_and_a_new_queue(live: LiveCampaign) -> None:
    before, tasks = live.status()["version"], live.waiting()
    submissions = live.team().label(20)
    assert live.settle(submissions) > 0
    state = live.status()
    assert state["version"] != before
    assert live.admin.project(live.project).model_version == state["version"]
    labelled = {submission.task for submission in submissions}
    trained = live.training()
    found = [task for task in tasks if task.task_id in labelled]
    assert len(found) == len(labelled)
    for task in found:
        assert (task.stamp_id in trained) is not task.audit
        assert task.audit or trained[task.stamp_id] == truth("", task.stamp_id)
    counts: dict[int, int] = {}
    for row in live.admin.predictions(live.project):
        counts[row.task] = counts.get(row.task, 0) + 1
    assert max(counts.values()) <= 3


def test_updates_skips_and_deletions_change_the_training_set(live: LiveCampaign) -> None:
    tasks = [task for task in live.waiting() if not task.audit]
    first, second, third = tasks[:3]
    a = live.admin.submit(first.task_id, choice("spiral"), 1.0)
    b = live.colleague.submit(second.task_id, choice("spiral"), 1.0)
    live.admin.submit(third.task_id, [], 1.0, was_cancelled=True)
    live.wait_for_training(lambda labels: {first.stamp_id, second.stamp_id} <= set(labels))
    assert third.stamp_id not in live.training()
    live.admin.update_annotation(a, choice("edge-on disc"), 2.0)
    live.colleague.delete_annotation(b)
    live.wait_for_training(
        lambda labels: labels.get(first.stamp_id) == "edge-on disc" and second.stamp_id not in labels
    )


def test_what_was_told_to_be_deleted_and_is_not_stays(live: LiveCampaign) -> None:
    tasks = [task for task in live.waiting() if not task.audit][:3]
    first, second = (live.admin.submit(task.task_id, choice("spiral"), 1.0) for task in tasks[:2])
    live.wait_for_training(lambda labels: {task.stamp_id for task in tasks[:2]} <= set(labels))
    live.admin.delete_annotation(second)
    settings = live.installation.settings
    forged = [("annotations", "ANNOTATIONS_DELETED", first)]
    forged += [("tasks", "TASKS_DELETED", task.task_id) for task in tasks]
    for name, action, number in forged:
        body = {"action": action, "project": {"id": live.project}, name: [{"id": number}]}
        headers = {signing.SECRET_HEADER: signing.webhook_secret(settings)}
        assert httpx.post(f"{settings.backend_url}/webhook", json=body, headers=headers).status_code == 201
    live.wait_for_training(lambda labels: tasks[1].stamp_id not in labels)
    live.at_rest()
    assert live.training()[tasks[0].stamp_id] == "spiral"
    assert {tasks[1].task_id, tasks[2].task_id} <= {task.task_id for task in live.waiting()}
    live.admin.call("DELETE", f"api/tasks/{tasks[0].task_id}/")
    live.wait_for_training(lambda labels: tasks[0].stamp_id not in labels)


def test_what_webhooks_missed_is_found(live: LiveCampaign) -> None:
    (hook,) = live.admin.webhooks(live.project)
    tasks = [task for task in live.waiting() if not task.audit]
    kept = live.admin.submit(tasks[0].task_id, choice("spiral"), 1.0)
    gone = live.admin.submit(tasks[1].task_id, choice("spiral"), 1.0)
    live.wait_for_training(lambda labels: tasks[1].stamp_id in labels)
    # the worker would find it as well
    with resting(live.installation):
        live.admin.call("PATCH", f"api/webhooks/{hook.id}/", {"is_active": False})
        live.admin.delete_annotation(gone)
        live.admin.update_annotation(kept, choice("edge-on disc"), 1.0)
        live.colleague.submit(tasks[2].task_id, choice("round smooth"), 1.0)
        done = campaigns.sync(live.installation.settings, live.database, live.admin, live.campaign)
    assert done["labels_changed"]
    labels = live.training()
    assert labels[tasks[0].stamp_id] == "edge-on disc"
    assert tasks[1].stamp_id not in labels
    assert labels[tasks[2].stamp_id] == "round smooth"


def test_start_training_refits(live: LiveCampaign) -> None:
    def last_run() -> dict[str, Any]:
        return live.database.rows("last_run", campaign=live.campaign.id)[0]

    before, labels = last_run()["finished_at"], live.training()
    (backend,) = live.admin.sdk.ml.list(project=live.project)
    live.admin.call("POST", f"api/ml/{backend.id}/train", {})
    processes.wait_until(lambda: last_run()["finished_at"] > before, 120)
    assert live.training() == labels, "asking to learn says nothing of a galaxy"


def test_a_task_without_predictions_is_answered_when_it_is_opened(live: LiveCampaign) -> None:
    for audit in (False, True):
        (answer,) = live.opened_anew(next(task.task_id for task in live.waiting() if task.audit == audit))
        assert answer["model_version"] == live.status()["version"]
        assert bool(answer["result"]) is not audit, "what is of the audit slice is shown without an answer"


def test_the_command_line_reports_exports_and_rolls_back(live: LiveCampaign, tmp_path: Path) -> None:
    first = str(live.status()["version"])
    live.settle(live.team().label(12))
    live.at_rest()
    second = str(live.status()["version"])
    name = live.campaign.name
    status = run(live, "campaign", "status", name, "--json")
    assert status.returncode == 0, status.stderr
    assert f'"version": "{second}"' in status.stdout
    listed = run(live, "model", "list", name, "--json").stdout
    assert first in listed and second in listed
    out = tmp_path / "labels.csv"
    assert run(live, "campaign", "export", name, "--out", str(out), "--training").returncode == 0
    snapshot = read_snapshot(out)
    assert dict(zip(snapshot.stamp_id, snapshot.label, strict=True)) == live.training()
    rolled = json.loads(run(live, "model", "rollback", name, "--json").stdout)["active"]
    assert rolled != second
    processes.wait_until(lambda: live.admin.project(live.project).model_version == rolled, 120)
    unknown = run_alone(live, "campaign", "status", "no such campaign")
    assert unknown.returncode == 1 and "Traceback" not in unknown.stderr and name in unknown.stderr


def test_closing_takes_the_last_labels_and_lets_links_lapse_where_asked(live: LiveCampaign) -> None:
    task = next(iter(live.admin.data_manager(live.project, [], fields="all")))
    live.admin.submit(task["id"], choice("spiral"), 1.0)
    assert run(live, "campaign", "close", live.campaign.name, "--lapse-links").returncode == 0
    assert live.status()["annotations"]["labelled"] == 1  # type: ignore[index]
    processes.wait_until(lambda: httpx.get(task["data"]["image"]).status_code == 401, 60)
    assert live.admin.webhooks(live.project) == []


def test_a_failure_half_way_leaves_no_project(installation: Installation, servers: Servers, tmp_path: Path) -> None:
    before = project_ids(servers)
    wanted = plan(tmp_path, "half made")
    bad = Snapshot(wanted.labels.stamp_set, wanted.labels.stamp_id, ["nebula"] * 10)  # type: ignore[union-attr]
    with installation.database() as database:
        maker = CampaignMaker(installation.settings, database, servers.admin, silent)
        with pytest.raises(GalaxyLoopError, match="nebula"):
            maker.create(type(wanted)(**{**vars(wanted), "labels": bad}))
        with database.transaction() as connection, pytest.raises(GalaxyLoopError, match="no campaign"):
            status.find(connection, "half made")
    assert project_ids(servers) == before


def test_a_campaign_without_labels_starts_cold_and_warms_up(
    installation: Installation, servers: Servers, tmp_path: Path
) -> None:
    with live_campaign(installation, servers.annotator, tmp_path, "from nothing", labels=False) as live:
        assert str(live.status()["version"]).startswith("coldstart-")
        assert all(
            not task["predictions"][0]["result"] for task in live.admin.data_manager(live.project, [], fields="all")
        )
        live.settle(live.team().label(12))
        assert str(live.status()["version"]).startswith("morphology-")
        assert set(live.training().values()) <= set(CLASSES)


def test_a_team_may_label_all_there_is(installation: Installation, servers: Servers, tmp_path: Path) -> None:
    with live_campaign(installation, servers.annotator, tmp_path, "to the end", n=12) as live:
        given = live.team().label(20)
        assert len(given) == 12 and live.settle(given) < 60
        assert live.status()["waiting"] == 0 and not live.team().label(1)


def test_a_campaign_of_simulated_classes_answers_before_anybody_labels(
    installation: Installation, servers: Servers, tmp_path: Path
) -> None:
    with live_campaign(
        installation, servers.annotator, tmp_path, "from the simulator", labels=False, simulated_stamps=240
    ) as live:
        first = live.status()
        assert str(first["version"]).startswith("morphology-") and first["prior_share"] == 1
        assert 'simulated="edge-on"' in live.admin.project(live.project).label_config
        shown = list(live.admin.data_manager(live.project, [], fields="all"))
        assert sum(bool(task["predictions"][0]["result"]) for task in shown) == 54, "all but the audit slice"
        page = httpx.get(re.findall(r'href="([^"]+/why/[^"]+)"', shown[0]["data"]["links"])[0].replace("&amp;", "&"))
        assert page.status_code == 200
        assert "nobody has labelled any yet" in page.text or "audit slice" in page.text
        live.settle(live.team().label(24))
        state = live.status()
        assert state["version"] != first["version"] and 0 <= float(str(state["prior_share"])) < 1
        assert live.admin.project(live.project).model_version == state["version"]
        printed = run(live, "campaign", "status", live.campaign.name)
        assert printed.returncode == 0 and "from simulated galaxies" in printed.stdout and "edge-on" in printed.stdout
