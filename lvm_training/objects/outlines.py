"""Boxes and polygons cut to a picture and filled with pixels."""

import numpy as np
from pycocotools import mask as coco_mask

from lvm_training.objects.instances import Floats, InstanceError, Masks
from lvm_training.objects.run_lengths import RunLengths, unpack_mask

LONGEST_OUTLINE = 1_000_000  # pixels; pycocotools' memory grows with it
FAR = 1e9  # pixels; corners farther away are moved here, so that differences stay finite


def clip_box(box: Floats, shape: tuple[int, int]) -> Floats:
    """The part of a box (x0, y0, x1, y1) on a picture (H, W); it may have no area."""
    height, width = shape
    clipped: Floats = np.clip(box, 0, [width, height, width, height])
    return clipped


def fill_box(box: Floats, shape: tuple[int, int]) -> Masks:
    """The pixels (H, W) whose centres are in a box with area on the picture, or those it begins in if it has none."""
    first, stop = np.ceil(box[:2] - 0.5), np.ceil(box[2:] - 0.5)
    thin = stop <= first
    x0, y0 = np.where(thin, np.floor(box[:2]), first).astype(int)
    x1, y1 = np.where(thin, np.floor(box[:2]) + 1, stop).astype(int)
    mask = np.zeros(shape, dtype=bool)
    mask[y0:y1, x0:x1] = True
    return mask


def fill_outline(points: Floats, shape: tuple[int, int]) -> Masks:
    """The pixels (H, W) inside a polygon, as pycocotools fills it (even-odd where it crosses itself).

    Parameters
    ----------
    points : ndarray (P, 2)
        Its corners x, y in pixels, finite; fewer than three enclose nothing.

    Raises
    ------
    InstanceError
        If the outline on the picture is longer than `LONGEST_OUTLINE`.
    """
    clipped = clip_outline(points, shape)
    if len(clipped) < 3:
        return np.zeros(shape, dtype=bool)
    length = np.abs(clipped - np.roll(clipped, 1, axis=0)).max(axis=1).sum()
    if length > LONGEST_OUTLINE:
        raise InstanceError(f"An outline is {length:.0f} pixels long.", f"At most {LONGEST_OUTLINE} are read.")
    height, width = shape
    (lengths,) = coco_mask.frPyObjects([clipped.ravel().tolist()], height, width)
    return unpack_mask(RunLengths(size=shape, counts=lengths["counts"].decode()), shape)


def clip_outline(points: Floats, shape: tuple[int, int]) -> Floats:
    """The part of a polygon (P, 2) on a picture (H, W), after Sutherland & Hodgman 1974; empty if there is none."""
    height, width = shape
    if len(points) < 3:
        return np.zeros((0, 2))
    points = np.clip(points, -FAR, FAR)
    for axis, sign, edge in ((0, 1, 0), (0, -1, -width), (1, 1, 0), (1, -1, -height)):
        depth = sign * points[:, axis] - edge
        following, onward = np.roll(points, -1, axis=0), np.roll(depth, -1)
        crosses = (depth >= 0) != (onward >= 0)
        share = np.divide(depth, depth - onward, out=np.zeros_like(depth), where=crosses)
        corners = np.stack([points + share[:, None] * (following - points), following], axis=1)
        points = corners[np.stack([crosses, onward >= 0], axis=1)]
    return points
