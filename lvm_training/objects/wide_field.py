"""Objects on images larger than a stamp: overlapping tiles, detected one by one, their objects merged."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from lvm_training.errors import RenderingError
from lvm_training.objects.instances import Instances, box_overlaps
from lvm_training.stamps.render import Frame, frame, render
from lvm_training.stamps.rendering import Rendering
from lvm_training.stamps.stampset import Origin, RenderingKind

BATCH = 32
SAME = 0.5  # intersection over union of two boxes of one object
INSIDE = 0.8  # part of the smaller box within the larger one: a piece of an object

Predict = Callable[[torch.Tensor], list[Instances]]
Progress = Callable[[int, int], None]
Floats = NDArray[np.float64]
Pixels = NDArray[np.float32] | NDArray[np.uint8]


@dataclass(frozen=True)
class WideObject:
    """An object on a wide image, in its pixels, counted from the corner of the first stored pixel.

    Attributes
    ----------
    name : str
        Its class.
    score : float
        Probability in [0, 1].
    box : ndarray (4,)
        Columns and rows of the edges: x0, y0, x1, y1.
    mask : ndarray (h, w) of bool
        Its pixels on the tile's rendered grid, rows north to south, of the box alone.
    """

    name: str
    score: float
    box: Floats
    mask: NDArray[np.bool_]


def detect_everywhere(
    pixels: Pixels,
    predict: Predict,
    rendering: Rendering,
    *,
    kind: RenderingKind,
    pixel_scale: float,
    origin: Origin = "lower",
    progress: Progress | None = None,
) -> list[WideObject]:
    """All objects of an image, best first.

    Tiles of the model's field overlap by half, so that whatever is smaller than half a field lies whole in one of them.
    An object cut by a tile's edge gives way to the same object in a neighbouring tile; what is larger than half a field
    stays as the pieces that tiles show.

    Parameters
    ----------
    pixels : ndarray (3, H, W)
        As for `render.render`, of any size.
    predict : callable
        From pictures (N, 3, S, S) to the objects of each.
    rendering : Rendering
        Of the model.
    kind, pixel_scale, origin
        As for `render.render`.
    progress : callable, optional
        Called with the tiles done and their number.

    Raises
    ------
    RenderingError
        If the pixel scale is unknown or does not fit the rendering.
    """
    if not np.isfinite(pixel_scale):
        raise RenderingError("A wide image needs a pixel scale.", "Give arcsec per pixel, such as 0.262.")
    height, width = pixels.shape[1:]
    side = frame((height, width), rendering, pixel_scale=pixel_scale, origin=origin).crop
    tiles = list(_tiles(height, width, side))
    found: list[WideObject] = []
    cut: list[bool] = []
    for start in range(0, len(tiles), BATCH):
        some = tiles[start : start + BATCH]
        stamps = [_cut(pixels, left, top, side) for left, top in some]
        pictures = render(cast(Pixels, np.stack(stamps)), rendering, kind=kind, pixel_scale=pixel_scale, origin=origin)
        here = frame((side, side), rendering, pixel_scale=pixel_scale, origin=origin)
        for (left, top), instances in zip(some, predict(pictures), strict=True):
            for one, at_edge in _placed(instances, here, (left, top), (height, width)):
                found.append(one)
                cut.append(at_edge)
        if progress:
            progress(start + len(some), len(tiles))
    return merged(found, np.array(cut, dtype=bool))


def _tiles(height: int, width: int, side: int) -> Iterator[tuple[int, int]]:
    """Left columns and first stored rows of tiles half overlapping, the last ones flush with the far edge."""

    def starts(length: int) -> list[int]:
        if length <= side:
            return [(length - side) // 2]
        last = length - side
        return [*range(0, last, max(1, side // 2)), last]

    return ((left, top) for top in starts(height) for left in starts(width))


def _cut(pixels: Pixels, left: int, top: int, side: int) -> Pixels:
    """A square of the image; empty sky beyond its edges."""
    square = np.zeros_like(pixels, shape=(3, side, side))
    inside = pixels[:, max(0, top) : top + side, max(0, left) : left + side]
    square[:, max(0, -top) : max(0, -top) + inside.shape[1], max(0, -left) : max(0, -left) + inside.shape[2]] = inside
    return cast(Pixels, square)


def _placed(
    instances: Instances, here: Frame, corner: tuple[int, int], shape: tuple[int, int]
) -> Iterator[tuple[WideObject, bool]]:
    """A tile's objects on an image of `shape` (H, W), and whether an edge of the tile inside the image cuts them.

    `corner` is the tile's left column and first stored row.
    """
    side, margin = here.crop, here.crop / here.size
    first, extent = np.array([*corner, *corner]), np.array([shape[1], shape[0]])
    inner = np.concatenate([first[:2] > 0, first[:2] + side < extent])
    for name, box, mask, score in zip(
        instances.classes, instances.boxes, instances.masks, instances.scores, strict=True
    ):
        ends = np.array([here.to_stamp(box[0], box[1]), here.to_stamp(box[2], box[3])])
        stored = np.concatenate([ends.min(axis=0), ends.max(axis=0)])
        touched = np.concatenate([stored[:2] <= margin, stored[2:] >= side - margin])
        low, high = np.floor(box[:2]).astype(int).clip(0), np.ceil(box[2:]).astype(int)
        place = (stored + first).clip(0, np.concatenate([extent, extent]))
        yield (
            WideObject(name, float(score), place, mask[low[1] : high[1], low[0] : high[0]]),
            bool((touched & inner).any()),
        )


def merged(objects: list[WideObject], cut: NDArray[np.bool_]) -> list[WideObject]:
    """Each object once: whole ones before those that an edge cuts, then by score; a duplicate of its class is dropped.

    Two are the same if their boxes overlap by half (intersection over union), or one that an edge cuts lies by four
    fifths in the other; a whole object within another one is a satellite.
    """
    if not objects:
        return []
    boxes = np.stack([one.box for one in objects])
    scores, names = np.array([one.score for one in objects]), np.array([one.name for one in objects])
    order = np.lexsort((-scores, cut))
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    kept: list[int] = []
    for place in order:
        rivals = [other for other in kept if names[other] == names[place]]
        if rivals:
            overlap = box_overlaps(boxes[[place]], boxes[rivals])[0]
            union = (areas[place] + areas[rivals]) / (1 + overlap)
            contained = overlap * union / np.minimum(areas[place], areas[rivals]).clip(min=1e-12)
            if (overlap >= SAME).any() or (cut[place] and (contained >= INSIDE).any()):
                continue
        kept.append(int(place))
    return [objects[place] for place in sorted(kept, key=lambda place: -scores[place])]
