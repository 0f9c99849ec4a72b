"""A campaign over a pool larger than its project, on the real servers."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from backend_ml import events, refill
from backend_ml.local_servers import Servers as Installation
from backend_ml.local_servers import start_worker
from backend_ml.records import Campaign
from tests.live.campaigns import LiveCampaign, created, plan
from tests.live.conftest import Servers
from tests.live.test_queue import ranking

pytestmark = pytest.mark.live

POOL, SLICE, BELOW = 200, 20, 10


@pytest.fixture
def live(
    installation: Installation, servers: Servers, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[LiveCampaign]:
    """Twenty tasks of two hundred stamps, a tenth of each blind; the worker rests, so that nothing happens unasked."""
    whole = plan(tmp_path, request.node.name[:40], n=POOL)
    installation.worker.stop()
    try:
        with created(installation, servers.annotator, replace(whole, tasks=SLICE, refill_below=BELOW)) as made:
            yield made
    finally:
        installation.worker = start_worker(installation.home, installation.environment)


def shown(live: LiveCampaign) -> list[int]:
    """The stamps that Label Studio's tasks show."""
    return [task["data"]["stamp_id"] for task in live.admin.data_manager(live.project, [], fields="all")]


def again(live: LiveCampaign) -> int:
    with live.database.transaction() as connection:
        campaign: Campaign = next(one for one in events.campaigns(connection) if one.id == live.campaign.id)
    return refill.refill(live.installation.settings, live.database, live.admin, campaign)


def label(live: LiveCampaign, count: int) -> None:
    """Label the first of the ranking, and take that in as the worker would."""
    live.team().label(count)
    with live.database.transaction() as connection:
        events.ingest(connection)


def test_slices_of_the_pool_become_tasks_as_the_queue_runs_dry(live: LiveCampaign) -> None:
    assert live.status()["pool"] == {"stamps": POOL, "exhausted": False}
    assert len(shown(live)) == SLICE and live.status()["tasks"] == {"tasks": SLICE, "audit": 2}
    assert len(ranking(live)) == SLICE
    assert again(live) == 0, "enough tasks wait"
    label(live, 14)
    assert again(live) == SLICE and again(live) == 0
    stamps = shown(live)
    assert len(stamps) == len(set(stamps)) == 2 * SLICE, "each stamp is a task once"
    assert live.status()["tasks"] == {"tasks": 2 * SLICE, "audit": 4}
    first, second = live.database.rows("refills", campaign=live.campaign.id)
    assert first["policy"] == second["policy"] == "margin" and first["seed"] != second["seed"]
    logged = live.database.rows("refilled", campaign=live.campaign.id)
    assert sorted(row["propensity"] for row in logged) == [0.1] * 4 + [1.0] * (2 * SLICE - 4)


def test_a_slice_whose_import_was_cut_short_is_not_imported_again(live: LiveCampaign) -> None:
    label(live, 14)
    before = shown(live)
    with live.database.transaction() as connection:
        connection.execute("CREATE TABLE kept AS SELECT * FROM task WHERE campaign_id = %s", (live.campaign.id,))
    assert again(live) == SLICE
    with live.database.transaction() as connection:
        lost = "DELETE FROM task WHERE campaign_id = %s AND task_id NOT IN (SELECT task_id FROM kept)"
        connection.execute(lost, (live.campaign.id,))
        connection.execute("DROP TABLE kept")
    assert again(live) == 0, "the tasks are found again, and enough of them wait"
    stamps = shown(live)
    assert len(stamps) == len(set(stamps)) == len(before) + SLICE
    assert live.status()["tasks"] == {"tasks": 2 * SLICE, "audit": 4}


def test_the_whole_pool_is_labelled_in_the_end(installation: Installation, servers: Servers, tmp_path: Path) -> None:
    small = plan(tmp_path, "to the last", n=30)
    wanted = replace(small, tasks=12, refill_below=40, policy="loop")
    with created(installation, servers.annotator, wanted) as live:
        for _ in range(4):
            again(live)
        assert sorted(shown(live)) == list(range(30))
        assert live.status()["pool"] == {"stamps": 30, "exhausted": True}
        with live.database.transaction() as connection:
            assert not refill.due(connection, live.campaign)


def test_a_cold_pool_begins_with_stamps_that_differ(
    installation: Installation, servers: Servers, tmp_path: Path
) -> None:
    cold = replace(plan(tmp_path, "cold pool", n=POOL, labels=False), tasks=12)
    with created(installation, servers.annotator, cold) as live:
        (slice_,) = live.database.rows("refills", campaign=live.campaign.id)
        assert slice_["policy"] == "k-centre"
        assert len({row % 5 for row in shown(live)}) == 5
        assert live.status()["tasks"] == {"tasks": 12, "audit": 1}
