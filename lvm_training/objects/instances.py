"""Objects on a picture: classes, boxes, masks and scores, whether drawn by a person, simulated or detected."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from lvm_training.errors import GalaxyLoopError

Floats = NDArray[np.float64]
Masks = NDArray[np.bool_]


class InstanceError(GalaxyLoopError):
    """Boxes or masks that do not describe objects on a picture."""

    code = "instances"


@dataclass(frozen=True)
class Instances:
    """K objects on a picture of H x W pixels.

    Attributes
    ----------
    classes : tuple of str
        The objects' classes, K names.
    boxes : ndarray (K, 4)
        x0, y0, x1, y1 in pixels from the picture's top-left corner; edges, so a box of one pixel is 1 wide.
    masks : ndarray (K, H, W) of bool
        The pixels of each object.
    scores : ndarray (K,)
        Probabilities in [0, 1]; 1 for the truth.

    Raises
    ------
    InstanceError
        If shapes disagree, a number is not finite, a box has no area, or a mask no pixel.
    """

    classes: tuple[str, ...]
    boxes: Floats
    masks: Masks
    scores: Floats

    def __post_init__(self) -> None:
        count = len(self.classes)
        if self.boxes.shape != (count, 4) or self.scores.shape != (count,) or self.masks.shape[:-2] != (count,):
            raise InstanceError(
                f"{count} objects need boxes ({count}, 4), masks ({count}, H, W) and {count} scores; these are "
                f"{self.boxes.shape}, {self.masks.shape} and {self.scores.shape}."
            )
        if not (np.isfinite(self.boxes).all() and np.isfinite(self.scores).all()):
            raise InstanceError("A box or a score is not finite.")
        if (self.boxes[:, 2:] <= self.boxes[:, :2]).any():
            raise InstanceError("A box has no area.", "Leave it out.")
        if not self.masks.any(axis=(1, 2)).all():
            raise InstanceError("A mask has no pixel.", "Leave it out.")

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the picture, pixels."""
        height, width = self.masks.shape[1:]
        return height, width

    def rows(self, chosen: NDArray[np.int64] | NDArray[np.bool_]) -> Self:
        """Some of the objects."""
        places = np.arange(len(self))[chosen]
        names = tuple(self.classes[place] for place in places)
        return type(self)(names, self.boxes[places], self.masks[places], self.scores[places])

    def on_grid(self, size: int) -> Self:
        """The same objects on `size` x `size` pixels over the same field, each in the box that bounds its mask.

        Masks are resampled by the nearest pixel; an object that loses its last one is left out.
        """
        if self.shape == (size, size):
            return self
        across, down = (((np.arange(size) + 0.5) * side / size).astype(np.int64) for side in self.shape[::-1])
        masks = self.masks[:, down[:, None], across]
        kept = np.flatnonzero(masks.any(axis=(1, 2)))
        names = tuple(self.classes[place] for place in kept)
        return type(self)(names, bounding_boxes(masks[kept]), masks[kept], self.scores[kept])

    @classmethod
    def empty(cls, shape: tuple[int, int]) -> Self:
        """A picture without objects."""
        return cls((), np.zeros((0, 4)), np.zeros((0, *shape), dtype=bool), np.zeros(0))

    @classmethod
    def of_masks(cls, classes: Sequence[str], masks: Masks) -> Self:
        """True objects from their masks (K, H, W) alone, each in the box that bounds its mask."""
        return cls(tuple(classes), bounding_boxes(masks), masks, np.ones(len(classes)))


def bounding_boxes(masks: Masks) -> Floats:
    """The smallest boxes (K, 4) around masks (K, H, W); zeros around an empty mask."""
    boxes = np.zeros((len(masks), 4))
    for place, mask in enumerate(masks):
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if rows.size:
            boxes[place] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    return boxes


def box_overlaps(first: Floats, second: Floats) -> Floats:
    """Intersection over union of boxes (K, 4) and (M, 4), shape (K, M)."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = (high - low).clip(min=0).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (first, second)]
    union = areas[0][:, None] + areas[1][None, :] - shared
    overlaps: Floats = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return overlaps
