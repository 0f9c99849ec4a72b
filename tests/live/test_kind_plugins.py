"""Kinds of a package of its own on the real servers: a choice, objects and a head, each one file and one XML."""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend_ml.campaign.create import CampaignMaker
from backend_ml.campaign.plan import CampaignPlan
from backend_ml.kinds.installed import find_kind
from backend_ml.kinds.kind import KindError
from backend_ml.label_studio.regions.choices import choice_region, find_choices
from backend_ml.label_studio.regions.objects import find_object_controls, object_result
from backend_ml.local.servers import Servers as Installation
from backend_ml.pictures.drawing import DISPLAY_SIZE
from lvm_training.objects.coco import read_coco
from lvm_training.objects.instances import Instances
from tests.backend_ml.lenses import write_detector
from tests.backend_ml.sky import write_stamps
from tests.installation import Servers
from tests.live.campaigns import LiveCampaign, created, encoder, plan, run, run_alone, silent
from tests.live.projects import project_ids
from tests.lvm_training.detection.detection_pictures import SIDE

pytestmark = pytest.mark.live

TAIL = "tidal tail"
STAMPS = 24


@pytest.fixture(autouse=True)
def packages(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Packages of kinds, good ones and bad ones, which backend and worker have from the start, here too."""
    monkeypatch.syspath_prepend(installation.environment["PYTHONPATH"].partition(os.pathsep)[0])
    find_kind.cache_clear()
    yield
    find_kind.cache_clear()


def wanted(folder: Path, kind: str, **options: Any) -> CampaignPlan:
    """A campaign of a kind over blobs, a quarter of them for the audit slice."""
    stamps = write_stamps(folder, STAMPS, f"{kind}_stamps")
    return CampaignPlan(kind, stamps, encoder(folder.parent / "encoder"), kind=kind, audit_fraction=0.25, **options)


def annotate(live: LiveCampaign, count: int, results: Sequence[list[dict[str, Any]]]) -> None:
    """Give the results, in turn, to tasks that are not of the audit slice, and wait for the queue of what they made."""
    before = live.status()["version"]
    for place, task in enumerate([task for task in live.waiting() if not task.audit][:count]):
        live.admin.submit(task.task_id, results[place % len(results)], 1.0)
    live.wait_for_annotations(count)
    live.at_rest()
    state: dict[str, Any] = live.status()
    version = str(state["version"])
    assert version.startswith(f"{live.campaign.kind}-") and version != before
    assert version == state["last_push"]["version"] == live.admin.project(live.project).model_version
    waiting = {task.task_id for task in live.waiting()}
    assert len(waiting) == STAMPS - count
    assert waiting <= {row.task for row in live.admin.predictions(live.project) if row.model_version == version}


def choices(live: LiveCampaign) -> list[list[dict[str, Any]]]:
    """A result for each class of the project's label config."""
    control = find_choices(live.admin.project(live.project).label_config)
    return [[choice_region(control, name, 1.0)] for name in control.classes]


def shown(live: LiveCampaign) -> list[dict[str, Any]]:
    """The regions of the served predictions."""
    return [region for result in live.answers().values() for region in result]


@pytest.mark.parametrize(("kind", "classes"), [("rings", {"ring", "no ring"}), ("centroids", {"round", "long"})])
def test_a_choice_and_a_head_of_their_own_learn(
    installation: Installation, servers: Servers, tmp_path: Path, kind: str, classes: set[str]
) -> None:
    with created(installation, servers.annotator, wanted(tmp_path, kind)) as live:
        assert str(live.status()["version"]).startswith("coldstart-")
        assert set(live.campaign.classes) == classes
        annotate(live, 6, choices(live))
        regions = shown(live)
        assert regions and {region["value"]["choices"][0] for region in regions} <= classes
        assert sorted(live.training().values()) == sorted([*classes] * 3)


def test_objects_of_their_own_learn(installation: Installation, servers: Servers, tmp_path: Path) -> None:
    detector = write_detector(tmp_path / "detector", classes=(TAIL,))
    with created(installation, servers.annotator, wanted(tmp_path, "tails", detector=detector)) as live:
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


@pytest.mark.parametrize("kind", ["twice", "outside", "nan", "failing"])
def test_a_bad_kind_makes_no_campaign(installation: Installation, servers: Servers, tmp_path: Path, kind: str) -> None:
    before = project_ids(servers)
    given = replace(plan(tmp_path, f"bad {kind}"), kind=kind)
    with installation.database() as database:
        with pytest.raises(KindError, match=f"The kind '{kind}'"):
            CampaignMaker(installation.settings, database, servers.admin, silent).create(given)
        assert given.name not in {row["name"] for row in database.rows("campaigns")}
    assert project_ids(servers) == before


def test_the_command_line_names_a_kind_that_cannot_be_imported(
    installation: Installation, servers: Servers, tmp_path: Path
) -> None:
    given = plan(tmp_path, "broken")
    with installation.database() as database:
        live = LiveCampaign(installation, database, servers.admin, servers.annotator, None)  # type: ignore[arg-type]
        command = ["--stamps", str(given.stamps), "--encoder", str(given.encoder), "--kind", "broken"]
        made = run_alone(live, "campaign", "create", given.name, *command)
    said = " ".join(made.stderr.split())
    assert made.returncode != 0 and "Traceback" not in said
    assert "The kind 'broken' of bad-kinds cannot be used" in said and "a_package_that_nobody_has" in said
