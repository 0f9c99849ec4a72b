"""A campaign over a pool larger than its project, on the real servers."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from backend_ml.label_studio.connection import PatientTransport
from backend_ml.labels import events
from backend_ml.local.servers import Servers as Installation
from backend_ml.queue import push, refill, selections
from backend_ml.queue.selections import LoggedSelection
from backend_ml.store.campaigns import all_campaigns
from backend_ml.store.database import Database
from backend_ml.store.records import Campaign
from tests.backend_ml.lenses import annotation, one_arc
from tests.installation import Servers
from tests.live.campaigns import LiveCampaign, created, lens_plan, plan, ranking, resting

pytestmark = pytest.mark.live

POOL, SLICE, BELOW = 200, 20, 10
WATCHED = "refill under test"
# refills a campaign, and dies as soon as Label Studio has the tasks
KILLED = """
import os, signal, sys
from backend_ml.queue import refill
from backend_ml.store import campaigns
from backend_ml.store.database import Database
from backend_ml.label_studio.client import LabelStudio
from backend_ml.settings import Settings

import_stamps = refill.import_stamps

def import_and_die(*arguments):
    import_stamps(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)

refill.import_stamps = import_and_die
settings = Settings()
with Database(settings.database_url.get_secret_value()) as database, LabelStudio.from_settings(settings) as client:
    with database.transaction() as connection:
        campaign = campaigns.campaign_of_id(connection, int(sys.argv[1]))
    refill.refill(settings, database, client, campaign)
"""


@pytest.fixture
def live(
    installation: Installation, servers: Servers, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[LiveCampaign]:
    """Twenty tasks of two hundred stamps, a tenth of each blind; the worker rests, so that nothing happens unasked."""
    whole = plan(tmp_path, request.node.name[:40], n=POOL)
    pool = replace(whole, tasks=SLICE, refill_below=BELOW)
    with resting(installation), created(installation, servers.annotator, pool) as made:
        yield made


def shown(live: LiveCampaign) -> list[int]:
    """The stamps that Label Studio's tasks show."""
    return [task["data"]["stamp_id"] for task in live.admin.data_manager(live.project, [], fields="all")]


def slices(live: LiveCampaign) -> list[LoggedSelection]:
    """The slices that became tasks, the newest first."""
    with live.database.transaction() as connection:
        return selections.served(connection, live.campaign, "slice")


def again(live: LiveCampaign) -> int:
    with live.database.transaction() as connection:
        campaign: Campaign = next(one for one in all_campaigns(connection) if one.id == live.campaign.id)
    return refill.refill(live.installation.settings, live.database, live.admin, campaign)


def open_transactions(live: LiveCampaign) -> int:
    """Connections of the database under watch that idle in a transaction."""
    with psycopg.connect(live.database.url) as connection:
        text = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s AND state LIKE 'idle in trans%%'"
        row = connection.execute(text, (WATCHED,)).fetchone()
    assert row is not None
    return int(row[0])


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
    second, first = slices(live)
    assert first.policy == second.policy == "margin" and first.seed != second.seed
    assert first.last_event < second.last_event and second.version == live.status()["version"]
    with live.database.transaction() as connection:
        logged = [stamp for one in (first, second) for stamp in selections.stamps_of(connection, one.id)]
    assert sorted(stamp.propensity for stamp in logged) == [0.1] * 4 + [1.0] * (2 * SLICE - 4)
    assert [stamp.stamp_id for stamp in sorted(logged, key=lambda one: one.task_id or 0)] == stamps
    assert sum(stamp.audit for stamp in logged) == 4


def test_a_slice_is_not_imported_again_after_a_kill_between_import_and_note(live: LiveCampaign) -> None:
    label(live, 14)
    environment = os.environ | live.installation.environment
    command = [sys.executable, "-c", KILLED, str(live.campaign.id)]
    assert subprocess.run(command, env=environment, check=False).returncode == -signal.SIGKILL
    assert len(shown(live)) == 2 * SLICE and live.status()["tasks"] == {"tasks": SLICE, "audit": 2}, "none is noted"
    assert again(live) == 0, "the tasks are found again, and enough of them wait"
    stamps = shown(live)
    assert len(stamps) == len(set(stamps)) == 2 * SLICE
    assert live.status()["tasks"] == {"tasks": 2 * SLICE, "audit": 4}


def test_no_transaction_is_open_while_label_studio_or_a_model_answers(
    live: LiveCampaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    label(live, 14)
    seen: dict[str, list[int]] = {}

    def watch(owner: type | ModuleType, name: str) -> None:
        true = getattr(owner, name)

        def watched(*arguments: object, **options: object) -> object:
            seen.setdefault(f"{owner.__name__}.{name}", []).append(open_transactions(live))
            return true(*arguments, **options)

        monkeypatch.setattr(owner, name, watched)

    watch(PatientTransport, "handle_request")
    watch(refill, "rank")
    watch(push, "rank")
    settings = live.installation.settings
    with Database(make_conninfo(live.database.url, application_name=WATCHED)) as database:
        assert refill.refill(settings, database, live.admin, live.campaign) == SLICE
        assert push.push(database, live.admin, live.campaign, store=settings.store_folder, top=None)
        with database.transaction() as connection:
            connection.execute("SELECT 1")
            assert open_transactions(live) == 1, "one that is open is seen"
    assert set(seen) == {"PatientTransport.handle_request", f"{refill.__name__}.rank", f"{push.__name__}.rank"}
    assert not any(count for counts in seen.values() for count in counts)


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
        (slice_,) = slices(live)
        assert slice_.policy == "k-centre"
        assert len({row % 5 for row in shown(live)}) == 5
        assert live.status()["tasks"] == {"tasks": 12, "audit": 1}


def test_objects_are_looked_for_in_a_pool(
    installation: Installation, servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pool of lenses: a short list of it is detected on, and what was drawn on elsewhere is not shown again."""
    wanted = replace(lens_plan(tmp_path, "lenses in a pool", n=60), tasks=8, refill_below=4)
    monkeypatch.setattr(refill, "LOOKS", 2)
    with resting(installation), created(installation, servers.annotator, wanted) as live:
        assert live.status()["pool"] == {"stamps": 60, "exhausted": False}
        first = shown(live)
        assert len(first) == 8 and live.status()["tasks"] == {"tasks": 8, "audit": 2}
        detected = installation.settings.store_folder / "detections"
        assert not list(detected.glob(f"{wanted.stamps.stem}-*")), "nobody detects on the whole pool"
        for task in [one.task_id for one in live.waiting() if not one.audit][:4]:
            live.admin.submit(task, annotation(one_arc(), "A"), 1.0)
        with live.database.transaction() as connection:
            events.ingest(connection)
        assert again(live) == 8
        second = [row for row in shown(live) if row not in first]
        assert len(second) == 8
        with live.database.transaction() as connection:
            chosen = selections.latest(connection, live.campaign, "slice")
            assert chosen is not None and chosen.policy == "box-margin" and chosen.candidates == 12
            drawn = {one.propensity for one in selections.stamps_of(connection, chosen.id) if not one.audit}
        assert all(0 < chance <= 1 for chance in drawn)
        rows = live.database.rows("labelled_stamps")
        known = {row["stamp_id"] for row in rows if row["stamp_set"] == wanted.stamps.stem}
        assert len(known) == 4
        other = replace(wanted, name="lenses once more")
        with created(installation, servers.annotator, other) as more:
            assert more.status()["pool"] == {"stamps": 56, "exhausted": False}
            assert not known & set(shown(more))
