"""A campaign of ten thousand tasks: the queue stays exact and predictions stay few."""

from collections import Counter
from pathlib import Path

import pytest

from backend_ml.local.servers import Servers as Installation
from tests.installation import Servers
from tests.live.campaigns import live_campaign, ranking

pytestmark = [pytest.mark.live, pytest.mark.soak]

TASKS = 10_000


def test_ten_rounds(installation: Installation, servers: Servers, tmp_path: Path) -> None:
    with live_campaign(installation, servers.annotator, tmp_path, "ten thousand", n=TASKS) as live:
        labelled: set[int] = set()
        for _ in range(10):
            submissions = live.team().label(20)
            live.settle(submissions)
            labelled |= {submission.task for submission in submissions}
            first = live.admin.next_task(live.project)
            assert first is not None and first["id"] == ranking(live)[0]
        assert len(labelled) == 200, "no task was served twice"
        rows = Counter(row.task for row in live.admin.predictions(live.project))
        assert len(rows) == TASKS and max(rows.values()) <= 3
