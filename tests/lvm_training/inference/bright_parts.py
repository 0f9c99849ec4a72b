"""A detector that finds what is bright, and pictures of discs for it."""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import label

from lvm_training.objects.instances import Instances


def bright_parts(pictures: torch.Tensor) -> list[Instances]:
    """Connected bright parts, their mean brightness as score."""
    found = []
    for picture in pictures.mean(1).numpy():
        parts, count = label(picture > 0.25)
        masks = np.array([parts == number for number in range(1, count + 1)], dtype=bool).reshape(-1, *picture.shape)
        one = Instances.of_masks(["galaxy"] * count, masks)
        scores = np.array([picture[mask].mean() for mask in masks])
        found.append(Instances(one.classes, one.boxes, one.masks, scores))
    return found


def discs(centres: list[tuple[float, float]], radius: float, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """White discs at (column, row), counted from pixel edges, on an empty uint8 image (3, H, W)."""
    rows, columns = np.indices(shape) + 0.5
    image = np.zeros((3, *shape), np.uint8)
    for x, y in centres:
        image[:, np.hypot(columns - x, rows - y) < radius] = 255
    return image
