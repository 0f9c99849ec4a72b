"""Every process is killed once while a team gives a hundred labels; no annotation is lost."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from backend_ml import local_servers, processes
from backend_ml.label_studio_connection import LabelStudioError
from backend_ml.label_studio_server import Admin, start_label_studio
from backend_ml.local_servers import Servers, start_backend, start_worker
from backend_ml.postgres import start_embedded
from backend_ml.processes import free_port
from backend_ml.team import Submission
from tests.live.campaigns import LiveCampaign, live_campaign
from tests.live.conftest import quiet

pytestmark = pytest.mark.live

LABELS = 100


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def kill_worker(servers: Servers) -> None:
    kill(servers.worker.pid)
    servers.worker.stop()
    servers.worker = start_worker(servers.home, servers.environment)


def kill_backend(servers: Servers) -> None:
    kill(servers.backend.pid)
    servers.backend.stop()
    servers.backend = start_backend(servers.home, servers.environment)


def kill_label_studio(servers: Servers) -> None:
    port = int(servers.label_studio_server.url.rpartition(":")[2])
    kill(servers.label_studio_server.pid)
    servers.label_studio_server.stop()
    environment = servers.environment
    admin = Admin(
        local_servers.ADMIN, environment["GALAXYLOOP_TEAM_PASSWORD"], environment["GALAXYLOOP_LABEL_STUDIO_TOKEN"]
    )
    url = environment["GALAXYLOOP_LABEL_STUDIO_DATABASE_URL"]
    servers.label_studio_server = start_label_studio(servers.home, url, admin, port=port)


def kill_postgres(servers: Servers) -> None:
    kill(servers.postgres.pid)
    servers.postgres.stop()
    servers.postgres = start_embedded(servers.home)


KILLS = {20: kill_worker, 40: kill_backend, 60: kill_label_studio, 80: kill_postgres}


def label_stubbornly(live: LiveCampaign, given: list[Submission]) -> None:
    """Give labels one by one, trying again like a person whose page showed an error."""
    team = live.team()
    while len(given) < LABELS:
        try:
            given.extend(team.label(2))
        except LabelStudioError:
            time.sleep(0.5)


def test_no_annotation_is_lost(tmp_path: Path) -> None:
    ports = {"backend_port": free_port(), "label_studio_port": free_port()}
    with (
        local_servers.running(tmp_path / "home", quiet, **ports) as servers,
        servers.colleague() as colleague,
        live_campaign(servers, colleague, tmp_path, "kills", n=LABELS + 30) as live,
    ):
        given: list[Submission] = []
        team = threading.Thread(target=label_stubbornly, args=(live, given))
        team.start()
        for count, strike in KILLS.items():
            processes.wait_until(lambda count=count: len(given) >= count, 120, what=f"{count} labels")  # type: ignore[misc]
            strike(servers)
        team.join(180)
        assert len(given) >= LABELS
        stored = live.admin.annotation_ids(live.project)
        assert {submission.annotation for submission in given} <= stored
        # at the latest the next reconciliation, within a minute, finds what webhooks lost
        processes.wait_until(lambda: set(live.annotations()) == stored, 120, what="every annotation to arrive")
        processes.wait_until(lambda: is_caught_up(live), 60, what="the queue to be renewed")


def is_caught_up(live: LiveCampaign) -> bool:
    refit = live.database.rows("last_run", campaign=live.campaign.id)[0]
    last = live.database.rows("last_event", campaign=live.campaign.id)[0]["id"]
    return bool(refit["last_event"] >= last and live.admin.project(live.project).model_version == refit["version"])
