"""Signed links are rotated on the real servers: old ones open nothing, Label Studio shows new ones, nothing is lost."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from backend_ml.campaign.create import CampaignMaker
from backend_ml.campaign.links import rotate
from backend_ml.label_studio.labelling import picture_url
from backend_ml.local import processes
from backend_ml.local.servers import Servers as Installation
from backend_ml.store.campaigns import campaign_of_id
from backend_ml.store.database import query
from tests.installation import Servers
from tests.live.campaigns import LiveCampaign, choice, live_campaign, plan, run, silent

pytestmark = pytest.mark.live


@pytest.fixture
def live(
    installation: Installation, servers: Servers, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[LiveCampaign]:
    """A campaign of thirty tasks with starting labels, named after the test."""
    name = request.node.name.removeprefix("test_")[:40]
    with live_campaign(installation, servers.annotator, tmp_path, name, n=30) as made:
        yield made


def shown(live: LiveCampaign) -> dict[int, dict[str, Any]]:
    """The tasks as Label Studio has them: data, predictions, annotations."""
    tasks = live.admin.data_manager(live.project, [], fields="all")
    kept = ("data", "predictions", "annotations", "inner_id", "overlap")
    return {task["id"]: {name: task[name] for name in kept} for task in tasks}


def links(live: LiveCampaign) -> list[str]:
    """The addresses of all pictures, and of what the instruction shows."""
    import html
    import re

    text = live.admin.call("GET", f"api/projects/{live.project}/")["expert_instruction"]
    examples = [html.unescape(found) for found in re.findall(r'src="([^"]*)"', text)]
    tasks = [task["data"] for task in shown(live).values()]
    whys = [html.unescape(re.findall(r'href="([^"]*/why/[^"]*)"', data["links"])[0]) for data in tasks]
    return [*examples, *whys, *(data["image"] for data in tasks)]


def without_links(tasks: dict[int, dict[str, Any]]) -> dict[int, dict[str, Any]]:
    own = ("image", "links", "progress")
    return {
        number: {**task, "data": {name: one for name, one in task["data"].items() if name not in own}}
        for number, task in tasks.items()
    }


def opened(addresses: list[str]) -> set[int]:
    with httpx.Client(trust_env=False) as client:
        return {client.get(address).status_code for address in addresses}


def wait_for_new_links(live: LiveCampaign) -> None:
    """Wait until what was broken off is done; Label Studio is not asked over and over while it has that to do."""

    def done() -> bool:
        with live.database.transaction() as connection:
            found = campaign_of_id(connection, live.campaign.id)
        return found is not None and found.relinks == 0

    processes.wait_until(done, 60, what="new links")
    live.at_rest()


def test_one_command_ends_all_links_and_gives_new_ones(live: LiveCampaign) -> None:
    task = next(iter(shown(live)))
    live.colleague.submit(task, choice("ring"), lead_time=1)
    live.at_rest()
    before, old = shown(live), links(live)
    text = live.admin.call("GET", f"api/projects/{live.project}/")
    assert len(old) > 60 and opened(old) == {200}
    done = run(live, "links", "rotate", live.campaign.name)
    assert done.returncode == 0, done.stderr
    assert "30" in done.stdout and "loads the page again" in " ".join(done.stdout.split())
    new = links(live)
    assert not set(old) & set(new) and len(new) == len(old)
    processes.wait_until(lambda: opened(old[-1:]) == {401}, 20, what="the backend to hear of it")
    assert opened(old) == {401} and opened(new) == {200}
    assert without_links(shown(live)) == without_links(before)
    after = live.admin.call("GET", f"api/projects/{live.project}/")
    assert [after[name] for name in ("label_config", "model_version", "total_annotations_number")] == [
        text[name] for name in ("label_config", "model_version", "total_annotations_number")
    ]
    again = json.loads(run(live, "links", "rotate", live.campaign.name, "--json").stdout)
    assert again == {"campaigns": [{"campaign": live.campaign.name, "state": "open", "tasks": 30}]}


def test_a_worker_ends_what_was_broken_off(live: LiveCampaign) -> None:
    old = links(live)
    with live.database.transaction() as connection:
        rotate(connection, live.campaign, "somebody whose command was killed")
    wait_for_new_links(live)
    new = links(live)
    assert not set(old) & set(new) and opened(new) == {200}
    with live.database.transaction() as connection:
        (change,) = query(connection, "changes", campaign=live.campaign.id)
        found = campaign_of_id(connection, live.campaign.id)
    assert change["what"] == "rotated links" and found is not None and (found.link_series, found.relinks) == (1, 0)


def test_tasks_that_are_imported_meanwhile_get_new_ones_too(
    installation: Installation, servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from backend_ml.campaign import projects

    whole = projects.import_stamps

    def late(settings: Any, label_studio: Any, campaign: Any, *others: Any) -> list[int]:
        with database.transaction() as connection:
            rotate(connection, campaign, "somebody at the same time")
        return whole(settings, label_studio, campaign, *others)

    monkeypatch.setattr(projects, "import_stamps", late)
    wanted = plan(tmp_path, "rotated while it began", n=30)
    with installation.database() as database, installation.label_studio() as admin:
        made = CampaignMaker(installation.settings, database, admin, silent).create(wanted)
        try:
            live = LiveCampaign(installation, database, admin, servers.annotator, made)
            first = picture_url(("sky", 0), made.links, installation.settings)
            wait_for_new_links(live)
            new = links(live)
            assert first not in new and opened(new) == {200}
        finally:
            run(live, "campaign", "close", made.name)
            admin.delete_project(made.project_id)


def test_the_invitation_ends_too(live: LiveCampaign) -> None:
    old = live.admin.invite_url()
    told = json.loads(run(live, "links", "rotate", live.campaign.name, "--invitation", "--json").stdout)
    assert told["invitation"] == live.admin.invite_url() != old
