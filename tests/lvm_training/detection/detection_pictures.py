"""Small detectors, and pictures for them: a red square or a blue disc in one quarter of a noisy ground."""

from dataclasses import dataclass

import numpy as np
import torch

from lvm_training.detection.design import DetectorDesign
from lvm_training.model.lvm import Preset
from lvm_training.objects.instances import Instances

SIDE = 32
CLASSES = ("square", "disc")
CORNERS = ((3, 3), (19, 19), (3, 19), (19, 3))  # first row and column of an object of 10 pixels
FOUR_STAGES = Preset(
    name="four",
    size=SIDE,
    patch=4,
    embed=16,
    depths=(1, 1, 1, 1),
    heads=(1, 2, 2, 2),
    decoder_depths=(1, 1, 1),
    window=4,
    drop_path=0.0,
)
ON_LVM = DetectorDesign(
    backbone="lvm",
    preset=FOUR_STAGES,
    size=SIDE,
    classes=CLASSES,
    channels=32,
    candidates=30,
    training_proposals=24,
    proposals=24,
    anchor_sample=16,
    proposal_sample=12,
    mask_layers=1,
)
ON_RESNET = ON_LVM.model_copy(update={"backbone": "resnet50", "preset": None})


@dataclass(frozen=True)
class Recipe:
    """A training of five steps."""

    steps: int = 5
    batch: int = 3
    learning_rate: float = 1e-3
    warmup: int = 1
    weight_decay: float = 0.01
    epoch_steps: int = 2
    seed: int = 3


def labelled(count: int, *, seed: int = 0) -> tuple[torch.Tensor, list[Instances]]:
    """Pictures (count, 3, 32, 32) of squares and discs in turn, and what is on them."""
    rng = np.random.default_rng(seed)
    images = rng.uniform(0, 0.2, (count, 3, SIDE, SIDE)).astype(np.float32)
    inside = np.arange(10) - 4.5
    shapes = np.ones((10, 10), dtype=bool), inside[:, None] ** 2 + inside**2 <= 25
    masks = np.zeros((count, SIDE, SIDE), dtype=bool)
    for place in range(count):
        row, column = CORNERS[place % 4]
        masks[place, row : row + 10, column : column + 10] = shapes[place % 2]
        images[place, 2 * (place % 2)] += 0.8 * masks[place]
    truths = [Instances.of_masks((CLASSES[place % 2],), masks[[place]]) for place in range(count)]
    return torch.from_numpy(images), truths


def negatives(count: int) -> tuple[torch.Tensor, list[Instances]]:
    """Pictures of the ground alone."""
    return torch.from_numpy(np.random.default_rng(1).uniform(0, 0.2, (count, 3, SIDE, SIDE))).float(), [
        Instances.empty((SIDE, SIDE)) for _ in range(count)
    ]
