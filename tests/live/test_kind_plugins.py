"""Kinds of a package of its own on the real servers: a choice, objects and a head, each one file and one XML."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend_ml.campaign import lifecycle as campaigns
from backend_ml.label_studio.choices import choice_region, find_choices
from backend_ml.label_studio.objects import find_object_controls, object_result
from backend_ml.local import processes
from backend_ml.local.servers import Servers as Installation
from backend_ml.serving.pictures import DISPLAY_SIZE
from lvm_training.heads.snapshot import read_snapshot, write_snapshot
from lvm_training.objects.coco import read_coco
from lvm_training.objects.instances import Instances
from tests.backend_ml.lenses import write_detector
from tests.backend_ml.sky import write_stamps
from tests.live.campaigns import LiveCampaign, encoder, plan, run
from tests.live.conftest import Servers
from tests.lvm_training.detection.detection_pictures import SIDE

pytestmark = pytest.mark.live

TAIL = "tidal tail"
STAMPS = 24


@contextmanager
def begun(
    installation: Installation, servers: Servers, folder: Path, kind: str, *options: str
) -> Iterator[LiveCampaign]:
    """A campaign that the command line makes, its project deleted afterwards."""
    stamps, model = write_stamps(folder, STAMPS, kind), encoder(folder.parent / "encoder")
    command = ["--stamps", str(stamps), "--encoder", str(model), "--kind", kind, "--json", *options]
    with installation.database() as database, installation.label_studio() as admin:
        live = LiveCampaign(installation, database, admin, servers.annotator, None)  # type: ignore[arg-type]
        made = run(live, "campaign", "create", kind, *command)
        assert made.returncode == 0, made.stderr
        with database.transaction() as connection:
            live.campaign = campaigns.find(connection, kind)
        yield live
        campaigns.close(installation.settings, database, admin, live.campaign)
        admin.delete_project(live.project)


def annotate(live: LiveCampaign, count: int, results: Sequence[list[dict[str, Any]]]) -> None:
    """Give the results, in turn, to tasks that are not of the audit slice, and wait for a version they made."""
    before = live.status()["version"]
    for place, task in enumerate([task for task in live.waiting() if not task.audit][:count]):
        live.admin.submit(task.task_id, results[place % len(results)], 1.0)
    processes.wait_until(lambda: live.status()["version"] != before, 120, what="a version of these labels")
    version = str(live.status()["version"])
    assert version.startswith(f"{live.campaign.kind}-")
    processes.wait_until(lambda: live.admin.project(live.project).model_version == version, 60, what="the new queue")
    served = [row for row in live.admin.predictions(live.project) if row.model_version == version]
    assert len(served) == STAMPS - count


def choices(live: LiveCampaign) -> list[list[dict[str, Any]]]:
    """A result for each class of the project's label config."""
    control = find_choices(live.admin.project(live.project).label_config)
    return [[choice_region(control, name, 1.0)] for name in control.classes]


def shown(live: LiveCampaign) -> list[dict[str, Any]]:
    """The regions of the served predictions."""
    version = live.status()["version"]
    tasks = live.admin.data_manager(live.project, [], fields="all")
    found = [one for task in tasks for one in task["predictions"] if one["model_version"] == version]
    return [region for one in found for region in one["result"]]


@pytest.mark.parametrize(("kind", "classes"), [("rings", {"ring", "no ring"}), ("centroids", {"round", "long"})])
def test_a_choice_and_a_head_of_their_own_learn(
    installation: Installation, servers: Servers, tmp_path: Path, kind: str, classes: set[str]
) -> None:
    with begun(installation, servers, tmp_path, kind) as live:
        assert str(live.status()["version"]).startswith("coldstart-")
        assert set(live.campaign.classes) == classes
        annotate(live, 6, choices(live))
        regions = shown(live)
        assert regions and {region["value"]["choices"][0] for region in regions} <= classes
        out = tmp_path / "labels.csv"
        assert run(live, "campaign", "export", kind, "--out", str(out), "--training").returncode == 0
        assert sorted(read_snapshot(out).label) == sorted([*classes] * 3)


def test_objects_of_their_own_learn(installation: Installation, servers: Servers, tmp_path: Path) -> None:
    detector = write_detector(tmp_path / "detector", classes=(TAIL,))
    with begun(installation, servers, tmp_path, "tails", "--detector", str(detector)) as live:
        assert {region["type"] for region in shown(live)} == {"rectanglelabels"}
        masks = np.zeros((1, SIDE, SIDE), dtype=bool)
        masks[0, 4:14, 6:20] = True
        controls = find_object_controls(live.admin.project(live.project).label_config)
        drawn = object_result(controls, Instances.of_masks((TAIL,), masks), width=DISPLAY_SIZE, height=DISPLAY_SIZE)
        annotate(live, 4, [drawn, []])
        assert {region["value"]["rectanglelabels"][0] for region in shown(live)} <= {TAIL}
        out = tmp_path / "tails.json"
        assert run(live, "campaign", "export", "tails", "--out", str(out)).returncode == 0
        pictures, notes = read_coco(json.loads(out.read_text()), (TAIL,))
        assert sorted(len(picture.instances) for picture in pictures) == [0, 0, 1, 1] and not notes


@pytest.mark.parametrize("kind", ["broken", "twice", "outside", "nan"])
def test_a_bad_kind_makes_no_campaign(installation: Installation, servers: Servers, tmp_path: Path, kind: str) -> None:
    before = {project.id for project in servers.admin.sdk.projects.list()}
    wanted, labels = plan(tmp_path, f"bad {kind}"), tmp_path / "start.csv"
    assert wanted.labels is not None
    write_snapshot(labels, wanted.labels)
    with installation.database() as database:
        live = LiveCampaign(installation, database, servers.admin, servers.annotator, None)  # type: ignore[arg-type]
        command = ["--stamps", str(wanted.stamps), "--encoder", str(wanted.encoder), "--labels", str(labels)]
        made = run(live, "campaign", "create", wanted.name, "--kind", kind, *command)
        assert made.returncode != 0 and f"The kind '{kind}'" in " ".join(made.stderr.split())
        assert "Traceback" not in made.stderr
        assert wanted.name not in {row["name"] for row in database.rows("campaigns")}
    assert {project.id for project in servers.admin.sdk.projects.list()} == before
