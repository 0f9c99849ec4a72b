"""An installation moves to another place while people label: the same projects, tasks and labels, and it learns on."""

import json
import os
import threading
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from backend_ml.cli.main import app
from backend_ml.doctor.examine import examined
from backend_ml.label_studio.client import LabelStudio
from backend_ml.label_studio.connection import LabelStudioError
from backend_ml.local import processes
from backend_ml.local import servers as local_servers
from backend_ml.local.servers import Servers as Installation
from backend_ml.settings import read_environment
from tests.installation import Servers, quiet
from tests.live.campaigns import Done, LiveCampaign, live_campaign, run

pytestmark = [pytest.mark.live, pytest.mark.timeout(900)]


def given(*arguments: str) -> Done:
    """A command in a terminal that knows of no installation."""
    unknown = dict.fromkeys(name for name in os.environ if name.startswith("GALAXYLOOP_"))
    result = CliRunner().invoke(app, list(arguments), env=unknown)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Done(result.exit_code, result.stdout, result.stderr)


def signs_in(url: str, email: str, password: str) -> bool:
    """Whether Label Studio's form lets somebody in."""
    with httpx.Client(base_url=url, timeout=60) as client:
        client.get("/user/login/")
        form = {"email": email, "password": password, "csrfmiddlewaretoken": client.cookies["csrftoken"]}
        return client.post("/user/login/", data=form).status_code == httpx.codes.FOUND


def failures(moved: Installation) -> list[str]:
    """What the doctor says fails."""
    with examined(moved.settings) as findings:
        return [f"{one.campaign} {one.check}: {one.text}" for one in findings if one.state == "fail"]


MOST = 40
"""Labels that are given during a backup: some tasks are left for afterwards."""


def kept(live: LiveCampaign, file: Path) -> tuple[int, int]:
    """Make a backup while labels come in; how many of them were given while it was made, and in all."""
    stop, count = threading.Event(), []

    def label() -> None:
        while not stop.is_set() and len(count) < MOST:
            count.append(len(live.team().label(1)))

    thread = threading.Thread(target=label)
    thread.start()
    processes.wait_until(lambda: bool(count), 60, what="a first label")
    before = len(count)
    done = run(live, "backup", "create", str(file), "--json")
    after = len(count)
    stop.set()
    thread.join()
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["label_studio"] == "its database and files" and told["left_out"] == []
    return after - before, len(count)


def test_it_goes_on_elsewhere_as_it_was(installation: Installation, servers: Servers, tmp_path: Path) -> None:
    with live_campaign(installation, servers.annotator, tmp_path, "moving", n=60) as live:
        live.settle(live.team().label(5))
        meanwhile, given_since = kept(live, tmp_path / "all.backup")
        assert meanwhile > 0
        live.wait_for_annotations(5 + given_since)
        before, tasks = set(live.annotations()), live.waiting()
        home = tmp_path / "another host/home"
        done = given("backup", "load", str(tmp_path / "all.backup"), "--home", str(home), "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["administrator"] == local_servers.ADMIN
        here, former = read_environment(home), installation.environment
        different = {
            local_servers.URL,
            local_servers.BACKEND,
            local_servers.PUBLIC,
            "GALAXYLOOP_SECRET",
            "GALAXYLOOP_LABEL_STUDIO_TOKEN",
        }
        assert all(here[name] != former[name] for name in different)
        (tmp_path / "moving.h5").rename(tmp_path / "gone.h5")
        try:
            with local_servers.running(home, quiet, overrides={"GALAXYLOOP_RECONCILE_SECONDS": "5"}) as moved:
                goes_on(moved, live, before)
        finally:
            (tmp_path / "gone.h5").rename(tmp_path / "moving.h5")
        # the copy told the former place nothing
        assert (set(live.annotations()), live.waiting()) == (before, tasks)


def goes_on(moved: Installation, live: LiveCampaign, before: set[int]) -> None:
    """Nothing fails there, what Label Studio knows is known, and the next label is learned."""
    url, password = moved.label_studio_server.url, moved.environment["GALAXYLOOP_TEAM_PASSWORD"]
    assert signs_in(url, local_servers.ADMIN, password) and not signs_in(url, local_servers.ADMIN, "word")
    former = live.installation.environment["GALAXYLOOP_LABEL_STUDIO_TOKEN"]
    with LabelStudio(url, former) as stranger, pytest.raises(LabelStudioError):
        stranger.me()
    colleague = LabelStudio(url, live.installation.environment["GALAXYLOOP_COLLEAGUE_TOKEN"])
    with moved.database() as database, moved.label_studio() as admin, colleague:
        again = LiveCampaign(moved, database, admin, colleague, live.campaign)
        processes.wait_until(lambda: not failures(moved), 120, what="the doctor to find nothing wrong")
        stored = {one.id for one in admin.annotations_since(again.project, None)}
        processes.wait_until(lambda: set(again.annotations()) == stored, 60, what="labels of the last moment")
        assert 5 <= len(stored) <= len(before) and stored <= before
        assert admin.project(again.project).tasks == 60
        version = again.status()["version"]
        again.settle(again.team().label(6))
        again.wait_for_annotations(len(stored) + 6)
        assert len(again.annotations()) == len(stored) + 6 and again.status()["version"] != version
        processes.wait_until(lambda: not failures(moved), 120, what="the doctor to find nothing wrong")
