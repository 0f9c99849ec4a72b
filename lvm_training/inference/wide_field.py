"""Objects on images larger than a stamp: overlapping tiles of several sizes, detected one by one.

What tiles show more than once, `merging.merged` makes one.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from lvm_training.errors import RenderingError
from lvm_training.objects.instances import Instances
from lvm_training.progress import Progress
from lvm_training.stamps.render import Frame, frame, render
from lvm_training.stamps.rendering import Rendering
from lvm_training.stamps.stampset import Origin, Pixels, RenderingKind

BATCH = 32
PASSES = (1, 2, 4)  # sides of the tiles, in the model's field
LARGE = 1 / 4  # of a tile's side: from here on a coarser pass answers for an object, not the finer one
BORDER = 1 / 16  # of a tile's side, by which the part that it answers for reaches into its neighbours'
SMALLEST = 8  # pixels an image must have either way to show an object

Detect = Callable[[torch.Tensor], list[Instances]]
Floats = NDArray[np.float64]


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
    tile : int
        Side of the tile that showed it, in pixels of the image.
    cut : bool
        Whether the box touches the edge of its tile or of the image, so that part of the object may be missing.
    """

    name: str
    score: float
    box: Floats
    tile: int
    cut: bool


def seen_on_tiles(
    pixels: Pixels,
    predict: Detect,
    rendering: Rendering,
    *,
    kind: RenderingKind,
    pixel_scale: float,
    origin: Origin = "lower",
    least: float = 0.0,
    progress: Progress | None = None,
) -> list[WideObject]:
    """What the tiles of an image show, some of it more than once: `merging.merged` takes the duplicates out.

    Tiles overlap by half, and each answers for the objects whose centre lies in its inner half (and a little beyond:
    boxes of one object differ from tile to tile), so that whatever is smaller than half a field lies whole in the tile
    that answers for it. For larger objects follow passes with tiles of two and of four fields at the same number of
    pixels, about a third more tiles; they count from a quarter of their tile on. A pass whose predecessor has the whole
    image on one tile is left out.

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
    least : float
        Objects of a smaller score are left out, before they could stand for one of a larger score.
    progress : callable, optional
        Called with the tiles done and their number.

    Raises
    ------
    RenderingError
        If the pixel scale is unknown or does not fit the rendering, or the image is too small to show an object.
    """
    height, width = pixels.shape[1:]
    _check(height, width, pixel_scale)
    passes = _passes((height, width), rendering, pixel_scale, origin)
    total, done = sum(len(tiles) for _, _, tiles in passes), 0
    found: list[WideObject] = []
    for factor, here, tiles in passes:
        scaled = _widened(rendering, factor)
        for start in range(0, len(tiles), BATCH):
            some = tiles[start : start + BATCH]
            pictures = [
                render(_cut(pixels, corner, here.crop)[None], scaled, kind=kind, pixel_scale=pixel_scale, origin=origin)
                for corner in some
            ]
            for corner, instances in zip(some, predict(torch.cat(pictures)), strict=True):
                placed = _placed(instances, here, corner, (height, width))
                found += [one for one in placed if one.score >= least and (factor == 1 or _large(one))]
            done += len(some)
            if progress:
                progress(done, total)
    return found


def _check(height: int, width: int, pixel_scale: float) -> None:
    if not np.isfinite(pixel_scale):
        raise RenderingError("A wide image needs a pixel scale.", "Give arcsec per pixel, such as 0.262.")
    if min(height, width) < SMALLEST:
        raise RenderingError(
            f"An image of {width} x {height} pixels is too small to show an object.",
            f"Give one of at least {SMALLEST} pixels either way.",
        )


def _widened(rendering: Rendering, factor: int) -> Rendering:
    return rendering.model_copy(update={"field": rendering.field * factor})


def _passes(
    shape: tuple[int, int], rendering: Rendering, pixel_scale: float, origin: Origin
) -> list[tuple[int, Frame, list[tuple[int, int]]]]:
    """Of each pass its factor, the frame of a tile, and the tiles' corners."""
    frame(shape, rendering, pixel_scale=pixel_scale, origin=origin)  # refuses a scale that does not fit
    passes = []
    for factor in PASSES:
        side = round(rendering.field * factor / pixel_scale)
        here = frame((side, side), _widened(rendering, factor), pixel_scale=pixel_scale, origin=origin)
        passes.append((factor, here, list(_tiles(*shape, side))))
        if side >= max(shape):
            break
    return passes


def _tiles(height: int, width: int, side: int) -> Iterator[tuple[int, int]]:
    """Left columns and first stored rows of tiles half overlapping, the last ones flush with the far edge."""

    def starts(length: int) -> list[int]:
        if length <= side:
            return [(length - side) // 2]
        last = length - side
        return [*range(0, last, max(1, side // 2)), last]

    return ((left, top) for top in starts(height) for left in starts(width))


def _cut(pixels: Pixels, corner: tuple[int, int], side: int) -> Pixels:
    """A square of the image; empty sky beyond its edges."""
    left, top = corner
    square = np.zeros_like(pixels, shape=(3, side, side))
    inside = pixels[:, max(0, top) : top + side, max(0, left) : left + side]
    square[:, max(0, -top) : max(0, -top) + inside.shape[1], max(0, -left) : max(0, -left) + inside.shape[2]] = inside
    return cast(Pixels, square)


def _placed(instances: Instances, here: Frame, corner: tuple[int, int], shape: tuple[int, int]) -> Iterator[WideObject]:
    """Those of a tile's objects that it answers for, on an image of `shape` (H, W).

    `corner` is the tile's left column and first stored row.
    """
    if not len(instances):
        return
    side, margin = here.crop, here.crop / here.size
    low, extent = np.array(corner), np.array([shape[1], shape[0]])
    ends = np.array([here.to_stamp(*instances.boxes[:, :2].T), here.to_stamp(*instances.boxes[:, 2:].T)])
    boxes = np.concatenate([ends.min(axis=0), ends.max(axis=0)]).T + np.tile(low, 2)
    bounds = np.concatenate([np.maximum(low, 0), np.minimum(low + side, extent)])
    cut = np.concatenate([boxes[:, :2] <= bounds[:2] + margin, boxes[:, 2:] >= bounds[2:] - margin], axis=1).any(axis=1)
    reach = np.concatenate(
        [
            np.where(low <= 0, -np.inf, low + side * (1 / 4 - BORDER)),
            np.where(low + side >= extent, np.inf, low + side * (3 / 4 + BORDER)),
        ]
    )
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    own = ((middles >= reach[:2]) & (middles <= reach[2:])).all(axis=1)
    boxes = boxes.clip(0, np.tile(extent, 2))
    for place in np.flatnonzero(own):
        name, score = instances.classes[place], float(instances.scores[place])
        yield WideObject(name, score, boxes[place], side, bool(cut[place]))


def _large(one: WideObject) -> bool:
    return bool((one.box[2:] - one.box[:2]).max() >= LARGE * one.tile)
