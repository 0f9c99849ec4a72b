"""The encoder of a campaign in Label Studio learns from its labels, takes over, and can be rolled back."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from backend_ml.learning.gate import FEWEST_AUDIT_LABELS
from backend_ml.local import processes
from backend_ml.local.servers import Servers as Installation
from backend_ml.store.named_encoders import add, chosen_folder
from lvm_training.backbones.sources import Wanted
from lvm_training.progress import progress_bar
from tests.backend_ml.conftest import CLASSES
from tests.installation import Servers
from tests.live.campaigns import LiveCampaign, choice, created, plan, run
from tests.live.faults import restart_worker
from tests.other_encoders import NETWORK

pytestmark = pytest.mark.live

LABELS = 16  # ten of them the campaign begins with
UNHEARD = (
    "unheard of"  # nobody teaches it: all heads are as wrong on an audit slice of these, and the gate lets through
)
TRAINING = {"GALAXYLOOP_ENCODER_LABELS": str(LABELS), "GALAXYLOOP_ENCODER_STEPS": "2"}


@pytest.fixture
def training(installation: Installation) -> Iterator[Installation]:
    """The installation with a worker that trains encoders on few labels, in two steps."""
    usual = dict(installation.environment)
    installation.environment.update(TRAINING)
    restart_worker(installation)
    yield installation
    installation.environment.clear()
    installation.environment.update(usual)
    restart_worker(installation)


def is_served(live: LiveCampaign, encoder: str, *, same: bool) -> bool:
    """Whether the project shows a version of that encoder, or of another one."""
    state = live.status()
    shown = live.admin.project(live.project).model_version
    return (state["encoder"] == encoder) == same and shown == state["version"]


def test_it_takes_over_once_there_are_enough_labels_and_goes_when_rolled_back(
    training: Installation, servers: Servers, tmp_path: Path
) -> None:
    wanted = replace(plan(tmp_path, "encoder", n=70, audit=0.5), classes=[*CLASSES, UNHEARD])
    with created(training, servers.annotator, wanted) as live:
        first = str(live.status()["encoder"])
        # all of them, so that the team labels none
        judged = [task for task in live.waiting() if task.audit]
        assert len(judged) >= FEWEST_AUDIT_LABELS
        for task in judged:
            live.colleague.submit(task.task_id, choice(UNHEARD), 1.0)
        live.wait_for_annotations(len(judged))
        assert live.settle(live.team().label(4)) > 0
        assert live.status()["last_encoder_run"] is None
        given = live.team().label(9)  # with 14, a second training would be due
        processes.wait_until(lambda: is_served(live, first, same=False), 240, what="the trained encoder to serve")
        live.at_rest()
        known = live.annotations()
        assert {one.annotation for one in given} <= set(known), "no label is lost"
        waiting = {task.task_id for task in live.waiting()}
        version = live.status()["version"]
        pushed = {row.task for row in live.admin.predictions(live.project) if row.model_version == version}
        assert waiting <= pushed
        done = run(live, "model", "rollback", "encoder")
        assert done.returncode == 0, done.stderr
        processes.wait_until(lambda: is_served(live, first, same=True), 60, what="the first encoder to serve again")


def test_a_campaign_begins_with_anothers_encoder_and_changes_to_one_of_ours(
    installation: Installation, servers: Servers, tmp_path: Path
) -> None:
    store = installation.settings.store_folder
    digest = add(store, Wanted(f"timm:{NETWORK}", size=32, random=True), "random", progress_bar)
    ours = plan(tmp_path, "anothers")
    wanted = replace(ours, encoder=chosen_folder(store, "random", progress_bar))
    with created(installation, servers.annotator, wanted) as live:
        state = live.status()
        assert state["encoder"] == digest
        shown = {row.model_version for row in live.admin.predictions(live.project)}
        assert shown == {state["version"]} and shown != {None}
        assert live.settle(live.team().label(6)) > 0
        assert live.status()["version"] != state["version"], "heads learn on its features"
        done = run(live, "campaign", "encoder", "anothers", "--use", str(ours.encoder))
        assert done.returncode == 0, done.stderr
        processes.wait_until(lambda: is_served(live, digest, same=False), 240, what="the other encoder to serve")
        live.at_rest()
        done = run(live, "model", "rollback", "anothers")
        assert done.returncode == 0, done.stderr
        processes.wait_until(lambda: is_served(live, digest, same=True), 60, what="the first encoder to serve again")
