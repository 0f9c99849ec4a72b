"""A campaign of lenses in miniature: stamps, and a detector that sees an arc wherever it looks."""

from pathlib import Path
from typing import Any

import torch

from backend_ml.kinds.installed import find_kind
from backend_ml.label_studio.regions.choices import choice_region
from backend_ml.label_studio.regions.objects import find_object_controls, object_result
from backend_ml.pictures.drawing import DISPLAY_SIZE
from backend_ml.store.records import PICTURE_SIZES
from lvm_training.detection.checkpoint import save_detector
from lvm_training.detection.detector import Detector
from lvm_training.objects.instances import Instances
from lvm_training.stamps.rendering import Rendering
from tests.lvm_training.detection.detection_pictures import ON_LVM, SIDE

LENSES = find_kind("lenses").label_config()
OBJECTS = ("arc", "deflector", "galaxy")
N, AUDIT = 46, 32
SHOWN = PICTURE_SIZES
RENDERING = Rendering(size=SIDE, field=40 * 0.262)


def write_detector(folder: Path, seed: int = 4, classes: tuple[str, ...] = OBJECTS) -> Path:
    """Random weights, but for a bias by which every proposal is of the first class with a score of about 0.9."""
    detector = Detector.start(ON_LVM.model_copy(update={"classes": classes}), seed=seed)
    with torch.no_grad():
        detector.get_submodule("network.roi_heads.box_predictor.cls_score").bias[0] += 4  # type: ignore[operator]
    given: dict[str, Any] = {"encoder": "", "data": "", "code": "", "params": {}, "metrics": {}}
    save_detector(folder, detector, RENDERING, **given)
    return folder


def annotation(objects: Instances | None, grade: str | None) -> list[dict[str, Any]]:
    """The result that Label Studio has of somebody who drew these objects and chose this grade."""
    controls = find_object_controls(LENSES)
    regions = object_result(controls, objects, width=DISPLAY_SIZE, height=DISPLAY_SIZE) if objects else []
    if grade is not None and controls.grade is not None:
        regions.append(choice_region(controls.grade, grade, 1.0))
    return regions


def one_arc(column: int = 4) -> Instances:
    """An arc of 6 by 10 pixels on a picture of 32, and the deflector beside it."""
    masks = torch.zeros(2, SIDE, SIDE, dtype=torch.bool)
    masks[0, 4:14, column : column + 6] = True
    masks[1, 14:22, 14:22] = True
    return Instances.of_masks(("arc", "deflector"), masks.numpy())


def nothing(*_: object) -> None:
    """A report that nobody reads."""
