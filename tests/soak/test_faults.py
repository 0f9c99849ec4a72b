"""Kills at random moments, webhooks lost, doubled and reordered, two workers, Label Studio away, a full disk.

GALAXYLOOP_SOAK_LABELS and GALAXYLOOP_SOAK_WEBHOOKS make it shorter, GALAXYLOOP_SOAK_SEED another one.
"""

import os
import random
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from backend_ml import signing
from backend_ml.local import processes
from backend_ml.local import servers as local_servers
from backend_ml.local.postgres import start_embedded
from backend_ml.local.servers import Servers
from tests.backend_ml.backend_client import recorded
from tests.installation import quiet
from tests.live import faults
from tests.live.campaigns import LiveCampaign, live_campaign

pytestmark = [pytest.mark.live, pytest.mark.soak, pytest.mark.timeout(7200)]

LABELS = int(os.environ.get("GALAXYLOOP_SOAK_LABELS", "2000"))
WEBHOOKS = int(os.environ.get("GALAXYLOOP_SOAK_WEBHOOKS", "10000"))
SEED = int(os.environ.get("GALAXYLOOP_SOAK_SEED", "1"))
KILLS = max(8, LABELS // 50)
AWAY = 150.0  # seconds: longer than a client waits for Label Studio
DISK = 700_000_000


@contextmanager
def installed(home: Path, **more: str) -> Iterator[Servers]:
    """Servers of a test's own, which reconcile every ten seconds."""
    ports = {"backend_port": processes.free_port(), "label_studio_port": processes.free_port()}
    overrides = {"GALAXYLOOP_RECONCILE_SECONDS": "10", **more}
    with local_servers.running(home, quiet, **ports, overrides=overrides) as running:
        yield running


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Servers]:
    """Servers that nobody else uses."""
    with installed(tmp_path / "home") as servers:
        yield servers


def test_kills_at_random_moments(own: Servers, tmp_path: Path) -> None:
    draw = random.Random(SEED)
    folder = tmp_path / "stamps"
    folder.mkdir()
    with (
        own.colleague() as colleague,
        faults.SecondWorker(own) as second,
        live_campaign(own, colleague, folder, "soak", n=LABELS + LABELS // 4 + 50) as live,
    ):
        team, replay = faults.Team(live, LABELS, SEED), faults.Replay(live, WEBHOOKS, SEED)
        team.start()
        replay.start()
        strikes = [faults.kill_worker, faults.kill_backend, faults.kill_postgres, lambda _: second.kill()]
        planned = faults.strikes_at(draw, strikes, KILLS, LABELS)
        planned.insert(KILLS // 2, (LABELS // 2, lambda servers: faults.kill_label_studio(servers, AWAY)))
        for count, strike in planned:
            team.wait_for(count, 1800)
            time.sleep(draw.random())
            strike(own)
        team.wait(3600)
        replay.join(3600)
        print(
            f"{len(team.given)} labels, {len(planned)} strikes, webhooks {replay.accepted} taken {replay.refused} not"
        )
        faults.check_nothing_is_lost_or_doubled(live, team)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, in memory; needs root."""
    disk = tmp_path / "disk"
    disk.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK},mode=755", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(disk: Path) -> Path:
    """Leave nothing free on a disk."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(b"\0" * 65536):
            pass
    assert shutil.disk_usage(disk).free < 65536
    return ballast


def test_a_full_disk(small_disk: Path, tmp_path: Path) -> None:
    folder = tmp_path / "stamps"
    folder.mkdir()
    with (
        installed(small_disk / "home", GALAXYLOOP_PUSH_TOP="20") as servers,
        servers.colleague() as colleague,
        live_campaign(servers, colleague, folder, "full", n=120) as live,
    ):
        team = faults.Team(live, 80, SEED)
        team.start()
        team.wait_for(20, 300)
        ballast = fill(small_disk)
        statuses = [send(live) for _ in range(200)]
        print(f"answers to webhooks on a full disk: {Counter(statuses)}")
        assert set(statuses) <= {0, 201, 503}
        assert 503 in statuses, "what cannot be kept is refused"
        ballast.unlink()
        if not servers.postgres.process.alive:
            servers.postgres.stop()
            servers.postgres = start_embedded(servers.home)
        team.wait(600)
        faults.check_nothing_is_lost_or_doubled(live, team)


def send(live: LiveCampaign) -> int:
    """The backend's answer to a webhook that takes room and says nothing of labels; 0 if there is none."""
    settings = live.installation.settings
    body = recorded("project_updated")
    body["project"] |= {"id": live.project, "title": os.urandom(20_000).hex()}
    headers = {signing.SECRET_HEADER: signing.webhook_secret(settings)}
    try:
        return httpx.post(f"{settings.backend_url}/webhook", json=body, headers=headers, timeout=30).status_code
    except httpx.TransportError:
        return 0
