"""Every process is killed once while a team gives a hundred labels; no annotation is lost."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend_ml.demo.annotators import Submission
from backend_ml.label_studio.connection import LabelStudioError
from backend_ml.local import processes
from backend_ml.local import servers as local_servers
from backend_ml.local.label_studio import Admin, start_label_studio
from backend_ml.local.postgres import start_embedded
from backend_ml.local.servers import Servers as Installation
from backend_ml.local.servers import start_backend, start_worker
from tests.installation import Servers
from tests.live.campaigns import LiveCampaign, live_campaign

pytestmark = pytest.mark.live

LABELS = 100


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def restart_worker(servers: Installation) -> None:
    servers.worker.stop()
    servers.worker = start_worker(servers.home, servers.environment)


def kill_worker(servers: Installation) -> None:
    kill(servers.worker.pid)
    restart_worker(servers)


def kill_backend(servers: Installation) -> None:
    kill(servers.backend.pid)
    servers.backend.stop()
    servers.backend = start_backend(servers.home, servers.environment)


def kill_label_studio(servers: Installation) -> None:
    port = int(servers.label_studio_server.url.rpartition(":")[2])
    kill(servers.label_studio_server.pid)
    servers.label_studio_server.stop()
    environment = servers.environment
    admin = Admin(
        local_servers.ADMIN, environment["GALAXYLOOP_TEAM_PASSWORD"], environment["GALAXYLOOP_LABEL_STUDIO_TOKEN"]
    )
    url = environment["GALAXYLOOP_LABEL_STUDIO_DATABASE_URL"]
    servers.label_studio_server = start_label_studio(servers.home, url, admin, port=port)


def kill_postgres(servers: Installation) -> None:
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


@pytest.fixture
def eager(installation: Installation) -> Iterator[Installation]:
    """The installation with a worker that reconciles every three seconds instead of every minute."""
    usual = dict(installation.environment)
    installation.environment["GALAXYLOOP_RECONCILE_SECONDS"] = "3"
    restart_worker(installation)
    yield installation
    installation.environment.clear()
    installation.environment.update(usual)
    restart_worker(installation)


def test_no_annotation_is_lost(eager: Installation, servers: Servers, tmp_path: Path) -> None:
    with live_campaign(eager, servers.annotator, tmp_path, "kills", n=LABELS + 30) as live:
        given: list[Submission] = []
        team = threading.Thread(target=label_stubbornly, args=(live, given))
        team.start()
        for count, strike in KILLS.items():
            processes.wait_until(lambda count=count: len(given) >= count, 120, what=f"{count} labels")  # type: ignore[misc]
            strike(eager)
        team.join(180)
        assert len(given) >= LABELS
        stored = live.admin.annotation_ids(live.project)
        assert {submission.annotation for submission in given} <= stored
        # at the latest the next reconciliation finds what webhooks lost
        processes.wait_until(lambda: set(live.annotations()) == stored, 120, what="every annotation to arrive")
        processes.wait_until(lambda: is_caught_up(live), 60, what="the queue to be renewed")


def is_caught_up(live: LiveCampaign) -> bool:
    refit = live.database.rows("last_run", campaign=live.campaign.id)[0]
    last = live.database.rows("last_event", campaign=live.campaign.id)[0]["id"]
    return bool(refit["last_event"] >= last and live.admin.project(live.project).model_version == refit["version"])
