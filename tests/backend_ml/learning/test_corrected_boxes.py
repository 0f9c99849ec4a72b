"""Corrected boxes from Label Studio's regions to what a detector learns: as drawn, under every symmetry."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from backend_ml.kinds.installed import find_kind
from backend_ml.label_studio.regions.objects import (
    CLOSE,
    ReadObjects,
    find_object_controls,
    object_result,
    read_objects,
)
from lvm_training.detection.data import DetectionData, turned_targets
from lvm_training.detection.design import DetectorDesign
from lvm_training.detection.detectron import Targets
from lvm_training.lenses.lens_stamps import OBJECTS
from lvm_training.objects.instances import Instances, bounding_boxes
from lvm_training.stamps.symmetries import SYMMETRIES
from tests.lvm_training.detection.detection_pictures import FOUR_STAGES, Recipe

SIDE = 64
SHOWN = 640
CONTROLS = find_object_controls(find_kind("lenses").label_config())
DESIGN = DetectorDesign(
    backbone="lvm", preset=FOUR_STAGES.model_copy(update={"size": SIDE}), size=SIDE, classes=OBJECTS, channels=32
)
Point = tuple[float, float]
# where each symmetry takes the point (x, y) of a square picture of S pixels, by hand
CARRIED: tuple[Callable[[float, float], Point], ...] = (
    lambda x, y: (x, y),
    lambda x, y: (y, SIDE - x),
    lambda x, y: (SIDE - x, SIDE - y),
    lambda x, y: (SIDE - y, x),
    lambda x, y: (SIDE - x, y),
    lambda x, y: (SIDE - y, SIDE - x),
    lambda x, y: (x, SIDE - y),
    lambda x, y: (y, x),
)


def corrected(*edges: float) -> ReadObjects:
    """An arc predicted in [20, 20, 40, 40], whose box somebody set to other edges, the mask left as it was."""
    mask = np.zeros((1, SIDE, SIDE), dtype=bool)
    mask[0, 20:40, 20:40] = True
    regions = object_result(CONTROLS, Instances.of_masks(("arc",), mask), width=SHOWN, height=SHOWN)
    x0, y0, x1, y1 = (100 * edge / SIDE for edge in edges)
    regions[0]["value"] |= {"x": x0, "y": y0, "width": x1 - x0, "height": y1 - y0}
    return read_objects(regions, CONTROLS, width=SIDE, height=SIDE, shown=(SHOWN,))


def learned(objects: ReadObjects) -> Targets:
    """What training makes of an annotation, before pictures turn."""
    images = torch.zeros(1, 3, SIDE, SIDE)
    (targets,) = DetectionData(images, [objects.instances], DESIGN, Recipe(), drawn=[objects.drawn]).targets
    return targets


@pytest.mark.parametrize("kind", range(SYMMETRIES))
@pytest.mark.parametrize("edges", [(14, 16, 40, 43), (14.3, 16.7, 40.1, 43.9), (22, 21, 39, 40)])
def test_a_corrected_box_is_learned_as_drawn(edges: tuple[float, float, float, float], kind: int) -> None:
    targets = learned(corrected(*edges))
    turned = turned_targets(targets, kind)
    corners = np.array([CARRIED[kind](*corner) for corner in (edges[:2], edges[2:])])
    expected = [*corners.min(axis=0), *corners.max(axis=0)]
    np.testing.assert_allclose(turned.boxes.numpy(), [expected], atol=1e-4)
    pixels = targets.masks[0].nonzero().numpy()[:, ::-1] + 0.5
    carried = np.array([CARRIED[kind](x, y) for x, y in pixels])
    found = turned.masks[0].nonzero().numpy()[:, ::-1] + 0.5
    assert {tuple(point) for point in carried} == {tuple(point) for point in found}
    assert turned.drawn.tolist() == [True] and turned.codes.tolist() == [0]


@pytest.mark.parametrize("kind", range(SYMMETRIES))
def test_boxes_that_bound_their_masks_still_do(kind: int) -> None:
    """So training on simulated lenses, whose truth is of masks, is what it was."""
    rng = np.random.default_rng(kind)
    masks = rng.random((5, SIDE, SIDE)) < 0.001
    masks[:, 30, 31] = True
    truth = Instances.of_masks(("arc",) * 5, masks)
    turned = turned_targets(learned(ReadObjects(truth, np.ones(5, dtype=bool), ())), kind)
    assert np.array_equal(turned.boxes.numpy(), bounding_boxes(turned.masks.numpy()))


def test_a_box_far_from_what_bounds_its_mask_is_noted() -> None:
    resampled = "Region object-0-mask was resampled from 640 x 640 to 64 x 64 pixels."
    noted = ("Region object-0-box and what bounds its mask overlap by 57% alone; both are kept.",)
    assert [note for note in corrected(14, 16, 40, 43).notes if note != resampled] == list(noted)
    for far, notes in ((20 + 20 / CLOSE - 0.1, 0), (20 + 20 / CLOSE + 0.1, 1)):
        found = [note for note in corrected(20, 20, far, 40).notes if note != resampled]
        assert len(found) == notes


def test_a_box_without_a_mask_has_none_to_be_far_from() -> None:
    regions = object_result(CONTROLS, Instances.of_masks(("arc",), np.ones((1, 8, 8), dtype=bool)), width=8, height=8)
    regions[0]["value"]["rotation"] = 30
    found = read_objects(regions[:1], CONTROLS, width=8, height=8)
    assert found.notes == () and found.drawn.tolist() == [False]
