"""What a leader changes of a campaign on the real servers, and what Label Studio shows of it."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from backend_ml import signing
from backend_ml.campaign.create import CampaignMaker
from backend_ml.cli.main import app
from backend_ml.kinds.installed import find_kind
from backend_ml.label_studio.client import LabelStudio
from backend_ml.label_studio.connection import LabelStudioError
from backend_ml.label_studio.regions.choices import find_choices
from backend_ml.leading import classes, running, terms
from backend_ml.leading.leader import Leader
from backend_ml.leading.overtaken import OvertakenError
from backend_ml.local import processes
from backend_ml.local.servers import Servers as Installation
from backend_ml.queue import selections
from backend_ml.store.campaigns import campaign_of_id
from backend_ml.store.records import Campaign, CampaignError
from tests.backend_ml.conftest import CLASSES
from tests.installation import Servers
from tests.live.campaigns import LiveCampaign, choice, live_campaign, plan, silent

pytestmark = pytest.mark.live
ODD = 'whirl "of" <arms> & more'


@pytest.fixture
def live(
    installation: Installation, servers: Servers, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[LiveCampaign]:
    """A campaign of thirty tasks with starting labels, named after the test."""
    name = request.node.name.removeprefix("test_")[:40]
    with live_campaign(installation, servers.annotator, tmp_path, name, n=30) as made:
        yield made


def command(live: LiveCampaign, *arguments: str) -> Result:
    """A command in this process: a process of its own for each takes longer than what it does."""
    name, *rest = arguments
    whole = ["campaign", name, live.campaign.name, *rest]
    return CliRunner().invoke(app, whole, env=live.installation.environment)


def told(live: LiveCampaign, *arguments: str) -> Any:
    """What a command says; the campaign is read anew behind it."""
    done = command(live, *arguments, "--json")
    assert done.exit_code == 0, done.output
    live.campaign = present(live)
    return json.loads(done.stdout)


def refused(live: LiveCampaign, *arguments: str) -> str:
    done = command(live, *arguments)
    assert done.exit_code == 1, done.output
    return " ".join(done.stderr.split())


def present(live: LiveCampaign) -> Campaign:
    with live.database.transaction() as connection:
        found = campaign_of_id(connection, live.campaign.id)
    assert found is not None
    return found


def label_config(live: LiveCampaign) -> str:
    return live.admin.project(live.project).label_config


def shown(live: LiveCampaign) -> set[str]:
    """The classes that Label Studio offers."""
    return set(find_choices(label_config(live), "morphology").classes)


def answers(live: LiveCampaign) -> set[str]:
    """What the predictions say that Label Studio serves."""
    served = live.admin.project(live.project).model_version
    found = [row["result"] for row in live.admin.call("GET", "api/predictions/", project=live.project)
             if row["model_version"] == served]  # fmt: skip
    return {region["value"]["choices"][0] for result in found for region in result if region["type"] == "choices"}


def said(live: LiveCampaign, task: int) -> list[str]:
    """What the annotations of a task say in Label Studio."""
    whole = live.admin.call("GET", f"api/tasks/{task}/")
    return [region["value"]["choices"][0] for one in whole["annotations"] for region in one["result"]]


def test_classes_are_renamed_merged_and_split(live: LiveCampaign) -> None:
    first, second, third, fourth = [task for task in live.waiting() if not task.audit][:4]
    live.admin.submit(first.task_id, choice("spiral"), 1.0)
    live.colleague.submit(second.task_id, choice("edge-on disc"), 1.0)
    live.wait_for_annotations(2)

    told(live, "rename-class", "spiral", ODD)
    assert ODD in shown(live) and "spiral" not in shown(live)
    assert live.training()[first.stamp_id] == ODD and said(live, first.task_id) == ["spiral"]
    processes.wait_until(lambda: "spiral" not in answers(live) and ODD in answers(live), 60, what="new predictions")
    # an annotation of before may be submitted again as it is, by somebody whose page is of before too
    live.admin.submit(third.task_id, choice("spiral"), 1.0)
    live.admin.submit(fourth.task_id, choice(ODD), 1.0)
    live.wait_for_training(lambda found: found.get(third.stamp_id) == found.get(fourth.stamp_id) == ODD)

    assert told(live, "rename-class", "edge-on disc", "round smooth")["merged"] is True
    assert "edge-on disc" not in shown(live) and live.training()[second.stamp_id] == "round smooth"
    assert present(live).classes == tuple(found for found in (*CLASSES[:3], ODD))
    processes.wait_until(lambda: answers(live) <= set(present(live).classes), 60, what="new predictions")
    assert told(live, "rename-class", "edge-on disc", "round smooth")["changed"] is False
    told(live, "rename-class", "edge-on disc", "round smooth", "--undo")
    assert "edge-on disc" in shown(live) and live.training()[second.stamp_id] == "edge-on disc"

    assert "no class 'nebula'" in refused(live, "rename-class", "nebula", "cloud")
    assert "was a class before" in refused(live, "rename-class", "round smooth", "spiral")
    assert "was not renamed" in refused(live, "rename-class", "round smooth", "spiral", "--undo")
    instruction = live.admin.call("GET", f"api/projects/{live.project}/")["expert_instruction"]
    assert "· spiral<" not in instruction and "of" in instruction
    whats = [one["what"] for one in told(live, "status")["changes"]]
    assert whats == ["split", "merged", "renamed"]


def test_a_class_is_added_and_one_persons_labels_are_set_aside(live: LiveCampaign) -> None:
    second, fifth = [task for task in live.waiting() if not task.audit][:2]
    live.colleague.submit(second.task_id, choice("edge-on disc"), 1.0)
    config = label_config(live).replace(
        '<Choice value="unsure"', '<Choice value="ring" hotkey="6"/><Choice value="unsure"'
    )
    live.admin.update_project(live.project, label_config=config)
    live.admin.submit(fifth.task_id, choice("ring"), 1.0)
    live.wait_for_annotations(2)
    processes.wait_until(lambda: "ring" in present(live).classes, 90, what="the new class to be taken in")
    live.campaign = present(live)
    live.wait_for_training(lambda found: found.get(fifth.stamp_id) == "ring")
    assert [one["what"] for one in told(live, "status")["changes"]] == ["added classes"]
    # one person's labels
    address = live.colleague.whoami()["email"]
    assert told(live, "set-aside", address)["person"] == address
    assert second.stamp_id not in live.training()
    told(live, "set-aside", address, "--back")
    assert live.training()[second.stamp_id] == "edge-on disc"
    assert "Nobody called 'Nobody'" in refused(live, "set-aside", "Nobody")


def test_a_campaign_pauses_and_changes(live: LiveCampaign, tmp_path: Path) -> None:
    told(live, "pause")
    live.at_rest()
    before, queue = live.status()["version"], answers(live)
    live.team().label(6)
    live.wait_for_annotations(6)
    live.at_rest()
    assert live.status()["version"] == before and live.status()["state"] == "paused" and answers(live) == queue
    assert told(live, "sync")["learned"] == "paused"
    assert len(list(live.admin.data_manager(live.project, []))) == 30
    told(live, "resume")
    processes.wait_until(lambda: live.status()["version"] != before, 120, what="a version of what came meanwhile")
    live.at_rest()

    text = tmp_path / "instruction.html"
    text.write_text("<p>Look twice.</p>")
    told(live, "change", "--policy", "entropy", "--overlap", "2", "--instruction", str(text))
    raw = live.admin.call("GET", f"api/projects/{live.project}/")
    assert raw["maximum_annotations"] == 2 and raw["expert_instruction"] == "<p>Look twice.</p>"
    leader = Leader(live.installation.settings, live.database, live.admin, "vera")
    with pytest.raises(OvertakenError) as said:
        terms.change_terms(leader, live.campaign, instruction="<p>Look.</p>", seen=terms.Seen(instruction=""))
    assert said.value.found == [("instruction", "<p>Look.</p>", "<p>Look twice.</p>")]

    def pushed() -> str | None:
        with live.database.transaction() as connection:
            found = selections.latest(connection, live.campaign, "push")
        return found.policy if found else None

    processes.wait_until(lambda: pushed() == "entropy", 60, what="a push by the new policy")
    assert len(live.waiting()) == 30, "each task waits for another label"
    assert "does not fit" in refused(live, "change", "--policy", "masks")
    assert "cannot wait for 0 labels" in refused(live, "change", "--overlap", "0")
    assert "Nothing is to be changed" in refused(live, "change")


def test_a_campaign_closes_and_opens_again(live: LiveCampaign) -> None:
    settings = live.installation.settings
    link = next(iter(live.admin.data_manager(live.project, [], fields="all")))["data"]["image"]
    told(live, "pause")
    told(live, "close")
    told(live, "close")
    assert live.admin.webhooks(live.project) == [] and httpx.get(link).status_code == 200
    assert live.admin.project(live.project).title.endswith(" (closed)")
    assert "is closed" in refused(live, "change", "--overlap", "1")
    assert told(live, "reopen")["changed"] is True and told(live, "reopen")["changed"] is False
    (hook,) = live.admin.webhooks(live.project)
    assert hook.headers == {signing.SECRET_HEADER: signing.webhook_secret(settings)}
    task = next(task for task in live.waiting() if not task.audit)
    live.admin.submit(task.task_id, choice("spiral"), 1.0)
    live.wait_for_annotations(1)
    assert not live.admin.project(live.project).title.endswith(" (closed)")
    told(live, "close", "--lapse-links")
    processes.wait_until(lambda: httpx.get(link).status_code == 401, 60)
    assert [one["what"] for one in told(live, "status")["changes"]] == [
        "closed", "reopened", "closed", "paused",
    ]  # fmt: skip


def test_a_project_that_is_gone_and_a_label_studio_that_is_down(
    installation: Installation, servers: Servers, tmp_path: Path
) -> None:
    settings = installation.settings
    name = "project that goes"
    with installation.database() as database, installation.label_studio() as admin:
        made = CampaignMaker(settings, database, admin, silent).create(plan(tmp_path, name, n=12, labels=False))
        with LabelStudio("http://127.0.0.1:1", "token", patience=0.2) as away:
            leader = Leader(settings, database, away, "vera")
            with pytest.raises(LabelStudioError):
                terms.change_terms(leader, made, overlap=3, policy="entropy")
            with pytest.raises(LabelStudioError):
                classes.rename_class(leader, made, "spiral", "whirl")
        with database.transaction() as connection:
            found = campaign_of_id(connection, made.id)
        assert found is not None
        # the worker compares the campaign with Label Studio meanwhile, and notes that it did
        assert replace(found, reconciled_at=made.reconciled_at) == made, "nothing has changed"
        leader = Leader(settings, database, admin, "vera")
        admin.delete_project(made.project_id)
        with pytest.raises(CampaignError, match="is gone from Label Studio"):
            terms.change_terms(leader, made, overlap=3)
        with pytest.raises(CampaignError, match="is gone from Label Studio"):
            classes.rename_class(leader, made, "spiral", "whirl")
        live = LiveCampaign(installation, database, admin, servers.annotator, made)
        assert told(live, "close")["state"] == "closed"
        assert "is gone from Label Studio" in refused(live, "reopen")
        with pytest.raises(CampaignError, match="is gone"):
            running.reopen(leader, present(live))
        # another campaign may have the name by now
        again = CampaignMaker(settings, database, admin, silent).create(plan(tmp_path, name, n=12, labels=False))
        assert (again.name, present(live).name) == (name, f"{name} (closed 1)")
        assert told(LiveCampaign(installation, database, admin, servers.annotator, again), "close")
        admin.delete_project(again.project_id)


def test_label_studio_refuses_a_config_without_what_annotations_have(live: LiveCampaign) -> None:
    """The reason why a former choice stays hidden: its settings page asks the same before it saves."""
    task = live.waiting()[0]
    live.admin.submit(task.task_id, choice("spiral"), 1.0)
    without = find_kind("morphology").label_config([name for name in CLASSES if name != "spiral"])
    with pytest.raises(LabelStudioError, match="spiral"):
        live.admin.call("POST", f"api/projects/{live.project}/validate/", {"label_config": without})
