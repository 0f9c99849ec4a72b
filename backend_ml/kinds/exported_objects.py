"""What people drew, in the pixels of the stored stamps, as a COCO document."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from backend_ml.kinds.kind import Coco
from backend_ml.kinds.models import Stamp
from backend_ml.label_studio.regions.objects import ReadObjects
from lvm_training.objects.coco import coco_document
from lvm_training.objects.instances import Instances, Masks
from lvm_training.objects.outlines import clip_box, fill_box
from lvm_training.stamps.rendering import Rendering
from lvm_training.stamps.stampset import StampSet

# rendering needs torch, and campaigns of choices do without
if TYPE_CHECKING:
    from lvm_training.stamps.render import Frame

Read = Callable[[int], ReadObjects]
"""What an annotation shows on a picture of so many pixels a side."""


def object_document(
    annotated: Sequence[tuple[Stamp, Read]], classes: Sequence[str], sets: Mapping[str, Path], rendering: Rendering
) -> Coco:
    """A COCO document of annotated stamps, named `stamp_set/stamp_id`.

    Coordinates and sizes are those of the stored stamps: an imported picture's own, or its middle's where it was larger
    than the others. Rows are counted as they are stored, from the bottom in FITS images.

    Parameters
    ----------
    sets : mapping of str to Path
        Where each stamp set is.
    rendering : Rendering
        Of the pictures that were annotated.

    Raises
    ------
    StampError
        If a set cannot be read.
    """
    from lvm_training.stamps.render import frame

    frames: dict[str, tuple[Frame, int]] = {}
    for name in {name for (name, _), _ in annotated}:
        with StampSet(sets[name]) as stamps:
            cut = frame(stamps.shape, rendering, pixel_scale=stamps.pixel_scale, origin=stamps.origin)
            frames[name] = cut, stamps.shape[1]
    placed = [on_stamp(read(frames[stamp[0]][0].crop), *frames[stamp[0]]) for stamp, read in annotated]
    names = [f"{name}/{row}" for (name, row), _ in annotated]
    drawn = [one.drawn for one in placed]
    return coco_document([one.instances for one in placed], classes, names=names, drawn=drawn)


def on_stamp(read: ReadObjects, cut: "Frame", width: int) -> ReadObjects:
    """Objects on a picture of `cut.crop` pixels a side as objects on the whole stamp; without those that lie beside it.

    Parameters
    ----------
    cut : Frame
        Where the picture lies on the stamp.
    width : int
        Of the stamp, pixels.
    """
    shape, found = (cut.height, width), read.instances
    masks: Masks = np.zeros((len(found), *shape), dtype=bool)
    top, left = max(0, cut.top), max(0, cut.left)
    part = found.masks[:, top - cut.top :, left - cut.left :][:, : shape[0] - top, : shape[1] - left]
    masks[:, top : top + part.shape[1], left : left + part.shape[2]] = part
    boxes = found.boxes + np.array([cut.left, cut.top] * 2)
    if cut.flipped:
        masks = masks[:, ::-1]
        boxes = np.stack([boxes[:, 0], cut.height - boxes[:, 3], boxes[:, 2], cut.height - boxes[:, 1]], axis=1)
    boxes = np.array([clip_box(box, shape) for box in boxes]).reshape(-1, 4)
    there = [i for i, (x0, y0, x1, y1) in enumerate(boxes) if x1 > x0 and y1 > y0]
    seen = np.array([mask.any() for mask in masks], dtype=bool)
    # of what has no pixel on the stamp, since its mask lies beside or its box reaches in by less than half of one, the
    # box is left
    for i in there:
        if not seen[i]:
            masks[i] = fill_box(boxes[i], shape)
    placed = Instances(tuple(found.classes[i] for i in there), boxes[there], masks[there], found.scores[there])
    return ReadObjects(placed, (read.drawn & seen)[there], read.notes)
