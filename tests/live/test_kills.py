"""Every process is killed once while a team gives a hundred labels; no annotation is lost, and none counted twice."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from backend_ml.local.servers import Servers as Installation
from tests.installation import Servers
from tests.live import faults
from tests.live.campaigns import live_campaign

pytestmark = pytest.mark.live

LABELS = 100
WEBHOOKS = 300
KILLS = {
    20: faults.kill_worker,
    40: faults.kill_backend,
    60: faults.kill_label_studio,
    80: faults.kill_postgres,
}


@pytest.fixture
def eager(installation: Installation) -> Iterator[Installation]:
    """The installation whose next worker reconciles every three seconds instead of every minute."""
    usual = dict(installation.environment)
    installation.environment["GALAXYLOOP_RECONCILE_SECONDS"] = "3"
    yield installation
    installation.environment.clear()
    installation.environment.update(usual)
    faults.restart_worker(installation)


def test_no_annotation_is_lost_or_counted_twice(eager: Installation, servers: Servers, tmp_path: Path) -> None:
    with live_campaign(eager, servers.annotator, tmp_path, "kills", n=LABELS + 30) as live:
        team, replay = faults.Team(live, LABELS, seed=1), faults.Replay(live, WEBHOOKS, seed=2)
        team.start()
        replay.start()
        for count, strike in KILLS.items():
            team.wait_for(count, 120)
            strike(eager)
        team.wait(180)
        replay.join(120)
        assert replay.accepted > WEBHOOKS / 2
        faults.check_nothing_is_lost_or_doubled(live, team)
