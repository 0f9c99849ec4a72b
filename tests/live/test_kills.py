"""Every process is killed once while a team gives sixty labels; no annotation is lost, and none counted twice."""

from pathlib import Path

import pytest

from backend_ml.local.servers import Servers as Installation
from tests.installation import Servers
from tests.live import faults
from tests.live.campaigns import live_campaign

pytestmark = pytest.mark.live

LABELS = 60
WEBHOOKS = 180
KILLS = {
    12: faults.kill_worker,
    24: faults.kill_backend,
    36: faults.kill_label_studio,
    48: faults.kill_postgres,
}


def test_no_annotation_is_lost_or_counted_twice(installation: Installation, servers: Servers, tmp_path: Path) -> None:
    with live_campaign(installation, servers.annotator, tmp_path, "kills", n=LABELS + 30) as live:
        team, replay = faults.Team(live, LABELS, seed=1), faults.Replay(live, WEBHOOKS, seed=2)
        team.start()
        replay.start()
        for count, strike in KILLS.items():
            team.wait_for(count, 120)
            strike(installation)
        team.wait(180)
        replay.join(120)
        replay.ended.set()
        assert replay.accepted > WEBHOOKS / 2
        faults.check_nothing_is_lost_or_doubled(live, team)
