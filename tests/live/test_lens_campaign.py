"""A campaign of lenses on the real servers: boxes and masks out and back, fine-tuning, rollback."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend_ml.campaign.create import CampaignMaker
from backend_ml.campaign.plan import CampaignPlan
from backend_ml.label_studio.regions.choices import LabelConfigError, chosen
from backend_ml.label_studio.regions.objects import find_object_controls, read_objects
from backend_ml.label_studio.tabs import AUDIT, LABELLED, QUEUE
from backend_ml.local import processes
from backend_ml.local.servers import Servers as Installation
from backend_ml.plugins.lenses import ARC, NOT_A_LENS
from backend_ml.store.records import CampaignError
from lvm_training.detection.checkpoint import TrainedDetector
from lvm_training.objects.coco import read_coco
from lvm_training.paths import RELEASED_DETECTOR
from lvm_training.tables.snapshot import Snapshot
from tests.backend_ml.lenses import LENSES, OBJECTS, SHOWN, annotation, one_arc
from tests.installation import Servers
from tests.live.campaigns import LiveCampaign, created, lens_plan, run, silent
from tests.live.projects import project_ids
from tests.lvm_training.detection.detection_pictures import SIDE

pytestmark = pytest.mark.live

CONTROLS = find_object_controls(LENSES)


@pytest.fixture
def live(
    installation: Installation, servers: Servers, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[LiveCampaign]:
    """A campaign of 24 stamps, six of them for the audit slice, named after the test."""
    with created(installation, servers.annotator, lens_plan(tmp_path, request.node.name[:40])) as made:
        yield made


def tasks(live: LiveCampaign) -> dict[int, dict[str, Any]]:
    return {task["id"]: task for task in live.admin.data_manager(live.project, [], fields="all")}


def versions(live: LiveCampaign) -> list[str]:
    return [row["version"] for row in live.database.rows("versions", campaign=live.campaign.id)]


def test_boxes_masks_and_grade_are_filled_in_but_for_the_audit_slice(live: LiveCampaign) -> None:
    (version,) = versions(live)
    assert live.admin.project(live.project).model_version == version
    audit = {task.task_id for task in live.waiting() if task.audit}
    assert len(audit) == 6
    views = live.admin.call("GET", "api/dm/views/", project=live.project)
    shown = {
        view["data"]["title"]: live.admin.count_tasks(live.project, view["data"]["filters"]["items"]) for view in views
    }
    assert shown == {QUEUE: 24, LABELLED: 0, AUDIT: 6}
    for task in tasks(live).values():
        (prediction,) = task["predictions"]
        if task["id"] in audit:
            assert prediction["result"] == []
            continue
        read = read_objects(prediction["result"], CONTROLS, width=SIDE, height=SIDE, shown=SHOWN)
        assert ARC in read.instances.classes and read.drawn.any()
        *found, note = prediction["result"]
        assert {region["type"] for region in found} == {"rectanglelabels", "brushlabels", "choices"}
        assert all(0.5 <= region["score"] <= 1 for region in found)
        assert note["value"]["text"][0].startswith("Model: arc ")
        assert chosen(prediction["result"]) == "A"
    text = live.admin.call("GET", f"api/projects/{live.project}/")["expert_instruction"]
    assert "arc" in text and "not a lens" in text


def test_a_task_opened_without_predictions_is_answered_with_objects(live: LiveCampaign) -> None:
    (answer,) = live.opened_anew(next(task.task_id for task in live.waiting() if not task.audit))
    assert answer["model_version"] == versions(live)[0]
    assert ARC in read_objects(answer["result"], CONTROLS, width=SIDE, height=SIDE, shown=SHOWN).instances.classes


def test_corrected_objects_make_the_next_detector(live: LiveCampaign, tmp_path: Path) -> None:
    (first,) = versions(live)
    given = [task.task_id for task in live.waiting() if not task.audit][:6]
    for number, task in enumerate(given):
        lens = number % 2 == 0
        result = annotation(one_arc(number) if lens else None, "B" if lens else NOT_A_LENS)
        live.admin.submit(task, result, 3.0)
    processes.wait_until(lambda: len(versions(live)) > 1, 120, what="the fine-tuned detector")
    second = live.status()["version"]
    assert second != first
    processes.wait_until(lambda: live.admin.project(live.project).model_version == second, 60, what="the new queue")
    live.at_rest()
    assert live.status()["present_run"] is None
    refit = live.status()["last_run"]
    assert isinstance(refit, dict) and refit["outcome"] == "promoted"
    live.wait_for_annotations(len(given))
    served = {row.task for row in live.admin.predictions(live.project) if row.model_version == second}
    assert {task.task_id for task in live.waiting()} == set(tasks(live)) - set(given) <= served

    out = tmp_path / "objects.json"
    assert run(live, "campaign", "export", live.campaign.name, "--out", str(out)).returncode == 0
    pictures, notes = read_coco(json.loads(out.read_text()), OBJECTS)
    assert len(pictures) == 6 and not notes
    for number, picture in enumerate(pictures):
        # stamps of 40 pixels were shown in 32, and count rows from the south
        wanted = one_arc(number).boxes / SIDE * 40 if number % 2 == 0 else np.zeros((0, 4))
        wanted[:, [1, 3]] = 40 - wanted[:, [3, 1]]
        np.testing.assert_allclose(picture.instances.boxes, wanted)

    rolled = json.loads(run(live, "model", "rollback", live.campaign.name, "--json").stdout)["active"]
    assert rolled == first
    processes.wait_until(lambda: live.admin.project(live.project).model_version == first, 60, what="the old queue")


def test_it_begins_with_the_released_detector_unless_another_is_named(
    installation: Installation, servers: Servers, tmp_path: Path
) -> None:
    plan = replace(lens_plan(tmp_path, "out of the box"), detector=None)
    with created(installation, servers.annotator, plan) as made:
        (version,) = made.database.rows("versions", campaign=made.campaign.id)
        card = TrainedDetector.load(RELEASED_DETECTOR).card
        assert version["detector"] == card.detector and made.campaign.rendering == card.rendering
        predictions = made.admin.predictions(made.project)
        assert len(predictions) == len(tasks(made)) and {row.model_version for row in predictions} == {
            version["version"]
        }


def test_fine_tuning_can_be_asked_for(live: LiveCampaign) -> None:
    asked = run(live, "model", "learn", live.campaign.name, "--json")
    assert asked.returncode == 0, asked.stderr
    said = json.loads(asked.stdout)
    assert said["labels_to_learn_from"] == 0 and "it needs 4 labelled pictures" in said["then"]
    rows = live.database.rows
    processes.wait_until(lambda: bool(rows("last_run", campaign=live.campaign.id)), 60, what="the fine-tuning")
    assert rows("last_run", campaign=live.campaign.id)[0]["outcome"] == "too few labels"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "morphology"}, "has no detector"),
        ({"labels": Snapshot([], [], [])}, "labels without boxes"),
        ({"classes": ["ring", "not ring"]}, "classes of its label config"),
    ],
)
def test_a_plan_that_does_not_fit_makes_no_project(
    installation: Installation, servers: Servers, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    before = project_ids(servers)
    wanted = CampaignPlan(**{**vars(lens_plan(tmp_path, "badly made")), **changes})
    with installation.database() as database:
        maker = CampaignMaker(installation.settings, database, servers.admin, silent)
        with pytest.raises((CampaignError, LabelConfigError), match=message):
            maker.create(wanted)
    assert project_ids(servers) == before
