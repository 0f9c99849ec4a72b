"""Stamps of any size through a decoder of one size: tiles at the stamp's own pixels, in several views, blended.

Nothing is resampled, so that no resolution is lost and no light moves between pixels.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from lvm_training.model.lvm import LVM
from lvm_training.model.precision import Precision, computing
from lvm_training.pretraining.views import unstretched
from lvm_training.stamps.render import stretch
from lvm_training.stamps.rendering import Rendering
from lvm_training.stamps.stampset import RenderingKind
from lvm_training.stamps.symmetries import symmetry

OVERLAP = 0.25  # of a tile, with each of its neighbours
BORDER = 0.125  # of a tile, over which its weight falls towards the edge
PICTURES = 128  # through the decoder at a time
# the first views are as unlike one another as they can be
ORDER = (0, 5, 2, 7, 1, 4, 3, 6)
UNDONE = (0, 3, 2, 1, 4, 5, 6, 7)  # which symmetry takes each one back


class Decoded(NamedTuple):
    """What a decoder makes of stamps.

    Attributes
    ----------
    mean, spread : Tensor (n, 3, H, W)
        Mean and standard deviation over the views, in the units of what was given.
    """

    mean: torch.Tensor
    spread: torch.Tensor


def tile_starts(length: int, tile: int) -> list[int]:
    """Where tiles begin that cover `length` pixels evenly, and overlap by `OVERLAP` of a tile at least."""
    step = tile * (1 - OVERLAP)
    count = max(1, math.ceil((length - tile * OVERLAP) / step))
    return [round(start) for start in np.linspace(0, max(0, length - tile), count)]


def as_picture(values: torch.Tensor, rendering: Rendering, kind: RenderingKind) -> torch.Tensor:
    """What the decoder reads of bands in nanomaggies per 0.262 arcsec pixel, or of pictures, which it reads as such."""
    return stretch(values, rendering) if kind == "nanomaggies" else values.clamp(0, 1)


def decoded(
    lvm: LVM, values: torch.Tensor, rendering: Rendering, kind: RenderingKind, *, views: int, precision: Precision
) -> Decoded:
    """Stamps (n, 3, H, W) restored by the decoder alone, as bands or pictures: see `as_picture`.

    Parameters
    ----------
    views : int
        In how many of the square's eight symmetries each tile is restored.
    """
    tile = rendering.size
    height, width = values.shape[2:]
    padded = F.pad(values, (0, max(0, tile - width), 0, max(0, tile - height)))
    corners = [(y, x) for y in tile_starts(padded.shape[2], tile) for x in tile_starts(padded.shape[3], tile)]
    weight = _window(tile)
    mean, spread = torch.zeros_like(padded), torch.zeros_like(padded)
    total = torch.zeros(padded.shape[2:])
    for y, x in corners:
        place = (slice(y, y + tile), slice(x, x + tile))
        seen = _in_views(lvm, padded[:, :, *place], rendering, kind, views, precision)
        mean[:, :, *place] += weight * seen.mean
        spread[:, :, *place] += weight * seen.spread
        total[place] += weight
    return Decoded((mean / total)[:, :, :height, :width], (spread / total)[:, :, :height, :width])


def _in_views(
    lvm: LVM, values: torch.Tensor, rendering: Rendering, kind: RenderingKind, views: int, precision: Precision
) -> Decoded:
    pictures = as_picture(values, rendering, kind)
    total, squares = torch.zeros_like(values), torch.zeros_like(values)
    for view in ORDER[:views]:
        restored = symmetry(_pictures(lvm, symmetry(pictures, view), precision), UNDONE[view])
        found = unstretched(restored, rendering) if kind == "nanomaggies" else restored
        total += found
        squares += found**2
    mean = total / views
    spread = (squares / views - mean**2).clamp(min=0).sqrt()
    return Decoded(mean, spread)


@torch.inference_mode()
def _pictures(lvm: LVM, pictures: torch.Tensor, precision: Precision) -> torch.Tensor:
    parts: Sequence[torch.Tensor] = torch.split(pictures, PICTURES)
    with computing(lvm.device, precision):
        return torch.cat([lvm(part.to(lvm.device)).float().clamp(0, 1).cpu() for part in parts])


def _window(tile: int) -> torch.Tensor:
    """Weights (tile, tile) that fall towards the edges, where a tile sees only one side of a pixel."""
    near = torch.arange(tile) + 0.5
    ramp = (torch.minimum(near, near.flip(0)) / (BORDER * tile)).clamp(max=1)
    return ramp[:, None] * ramp[None, :]
