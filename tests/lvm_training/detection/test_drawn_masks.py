"""Masks that nobody drew: not learned from, while the classes and boxes of their objects are."""

from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lvm_training.detection.data import DetectionData
from lvm_training.detection.detector import Detector, train_detector
from lvm_training.detection.detectron import DrawnMaskHead, Targets, build_network, detector_config, losses
from lvm_training.errors import LabelError
from lvm_training.objects.instances import Instances
from tests.lvm_training.detection.detection_pictures import ON_LVM, SIDE, Recipe, labelled, negatives

# so that the anchors of the coarsest map are among those the losses are computed on
DESIGN = ON_LVM.model_copy(update={"anchor_sample": 1024})
PICTURES = 4
ALL, NONE, HALF = [True] * 4, [False] * 4, [True, True, False, False]
Step = tuple[dict[str, float], dict[str, torch.Tensor | None]]
PLAIN = "MaskRCNNConvUpsampleHead"


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(1)
    return build_network(DESIGN).train()


def targets(known: list[bool]) -> list[Targets]:
    """Of `labelled`: an object on each picture, whose mask is drawn or not."""
    drawn = [np.array([one]) for one in known]
    return DetectionData(*labelled(PICTURES), DESIGN, Recipe(), drawn=drawn).targets


def step(network: nn.Module, truths: list[Targets]) -> Step:
    """Losses and gradients of a training step; the samples of proposals are drawn alike in every one."""
    network.zero_grad()
    torch.manual_seed(0)
    found = losses(network, labelled(PICTURES)[0], truths)
    torch.autograd.backward(torch.stack(list(found.values())).sum())
    return {name: value.item() for name, value in found.items()}, {
        name: None if one.grad is None else one.grad.clone() for name, one in network.named_parameters()
    }


def differing(first: dict[str, Any], second: dict[str, Any]) -> list[str]:
    assert first.keys() == second.keys()
    return [name for name in first if not torch.equal(torch.as_tensor(first[name]), torch.as_tensor(second[name]))]


def unlike(first: Step, second: Step) -> list[str]:
    """Losses and gradients that differ."""
    return differing(first[0], second[0]) + differing(first[1], second[1])


def with_mask(truth: Targets, mask: torch.Tensor) -> Targets:
    return truth._replace(masks=mask[None])


def frame_of(truth: Targets) -> torch.Tensor:
    """Another mask in the same bounding box: its rim."""
    x0, y0, x1, y1 = (int(edge) for edge in truth.boxes[0])
    mask = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    mask[y0:y1, x0:x1] = True
    mask[y0 + 2 : y1 - 2, x0 + 2 : x1 - 2] = False
    return mask


@pytest.mark.parametrize("objects", [4, 2, 0])
def test_where_all_masks_are_drawn_losses_and_gradients_are_detectron2s(network: nn.Module, objects: int) -> None:
    from detectron2.modeling import build_model

    config = detector_config(DESIGN).clone()
    config.defrost()
    assert config.MODEL.ROI_MASK_HEAD.NAME != PLAIN
    config.MODEL.ROI_MASK_HEAD.NAME = PLAIN
    plain = build_model(config).train()
    plain.load_state_dict(network.state_dict())
    nothing = DetectionData(*negatives(PICTURES), DESIGN, Recipe()).targets
    truths = targets(ALL)[:objects] + nothing[objects:]
    assert unlike(step(network, truths), step(plain, truths)) == []


def test_an_undrawn_mask_changes_nothing(network: nn.Module) -> None:
    truths = targets(HALF)
    others = [*truths[:2], *(with_mask(truth, frame_of(truth)) for truth in truths[2:])]
    assert unlike(step(network, truths), step(network, others)) == []
    # where the masks count, the same change is seen
    counted = [truth._replace(drawn=torch.tensor([True])) for truth in others]
    assert differing(step(network, targets(ALL))[0], step(network, counted)[0]) == ["loss_mask"]


@pytest.mark.parametrize("known", [HALF, NONE])
def test_box_and_class_of_an_undrawn_object_count(network: nn.Module, known: list[bool]) -> None:
    truths = targets(known)
    wider = [*truths[:3], truths[3]._replace(boxes=truths[3].boxes + torch.tensor([0.0, 0.0, 3.0, 3.0]))]
    other = [*truths[:3], truths[3]._replace(codes=1 - truths[3].codes)]
    before = step(network, truths)[0]
    assert {"loss_box_reg", "loss_rpn_loc"} <= set(differing(before, step(network, wider)[0]))
    assert "loss_cls" in differing(before, step(network, other)[0])


def test_without_a_drawn_mask_the_loss_is_zero_and_reaches_every_parameter(network: nn.Module) -> None:
    """DistributedDataParallel waits for a gradient of each parameter, if only of zeros."""
    found, gradients = step(network, targets(NONE))
    assert found["loss_mask"] == 0 < found["loss_cls"]
    assert [name for name, gradient in gradients.items() if gradient is None] == []
    heads = [gradient for name, gradient in gradients.items() if "mask_head" in name]
    assert heads and not any(gradient.any() for gradient in heads if gradient is not None)


def proposals(rng: np.random.Generator, known: list[bool]) -> Any:
    """Foreground proposals of a picture as detectron2 hands them to the mask head; without objects no such fields."""
    from detectron2.structures import BitMasks, Boxes, Instances

    if not known:
        return Instances((SIDE, SIDE), proposal_boxes=Boxes(torch.zeros(0, 4)), gt_classes=torch.zeros(0).long())
    count = len(known)
    corners = rng.uniform(0, 10, (count, 2))
    boxes = Boxes(torch.from_numpy(np.hstack([corners, corners + rng.uniform(5, 15, (count, 2))])).float())
    fields = {
        "proposal_boxes": boxes,
        "gt_classes": torch.from_numpy(rng.integers(2, size=count)),
        "gt_masks": BitMasks(torch.from_numpy(rng.random((count, SIDE, SIDE)) < 0.5)),
        "gt_drawn": torch.tensor(known),
    }
    return Instances((SIDE, SIDE), **fields)


def test_the_loss_is_detectron2s_over_the_drawn_ones_among_others() -> None:
    from detectron2.layers import ShapeSpec
    from detectron2.modeling.roi_heads.mask_head import MaskRCNNConvUpsampleHead
    from detectron2.utils.events import EventStorage

    rng = np.random.default_rng(4)
    known: list[list[bool]] = [[True, False, True], [], [False, False], [False, True, True, False]]
    pictures = [proposals(rng, drawn) for drawn in known]
    torch.manual_seed(3)
    maps = torch.randn(9, 8, 14, 14)
    head = DrawnMaskHead(ShapeSpec(channels=8), num_classes=2, conv_dims=[8, 8])
    plain = MaskRCNNConvUpsampleHead(ShapeSpec(channels=8), num_classes=2, conv_dims=[8, 8])
    plain.load_state_dict(head.state_dict())
    chosen = [place for place, drawn in enumerate(chain(*known)) if drawn]
    with EventStorage():
        found = head(maps, pictures)["loss_mask"]
        alone = plain(maps[chosen], [one[one.gt_drawn] for one in pictures if len(one)])["loss_mask"]
        every = plain(maps, pictures)["loss_mask"]
    assert found == alone != every


def test_which_masks_are_drawn_is_said_of_every_object() -> None:
    images, truths = labelled(3)
    for drawn in ([np.array([True])] * 2, [np.array([True, False]), *[np.array([True])] * 2]):
        with pytest.raises(LabelError, match="not said of every object"):
            DetectionData(images, truths, ON_LVM, Recipe(), drawn=drawn)
    given = DetectionData(images, truths, ON_LVM, Recipe(), drawn=[np.array([known]) for known in (True, False, True)])
    assert [one.drawn.tolist() for one in given.targets] == [[True], [False], [True]]
    assert all(one.drawn.all() for one in DetectionData(images, truths, ON_LVM, Recipe()).targets)


def test_training_leaves_the_mask_head_as_it_was_where_no_mask_is_drawn(tmp_path: Path) -> None:
    images, truths = labelled(3)
    filled = [Instances.of_masks(one.classes, np.ones((1, SIDE, SIDE), dtype=bool)) for one in truths]
    params = Recipe(steps=2, weight_decay=0.0)
    states = {}
    for name, known in (("drawn", True), ("undrawn", False)):
        detector = Detector.start(ON_LVM, seed=0)
        before = {key: value.clone() for key, value in detector.state_dict().items()}
        drawn = [np.array([known])] * 3
        metrics = train_detector(detector, images, filled, params, tmp_path / name, drawn=drawn)
        after = detector.state_dict()
        states[name] = [key for key in before if not torch.equal(before[key], after[key])]
        assert (metrics["train/loss_mask"] > 0) == known
    assert any("mask_head" in key for key in states["drawn"])
    assert not any("mask_head" in key for key in states["undrawn"]) and any("box_head" in k for k in states["undrawn"])
