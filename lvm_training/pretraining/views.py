"""The pictures of a stamp that pretraining compares: clean, degraded, and a second view; each stamp drawn for itself.

A stamp's draws come from a generator of its own, so that they do not depend on its batch or the process that reads it.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from lvm_training.observation.degrade import blurred, draw_degradation
from lvm_training.stamps.render import framed, render, stretch, surface_brightness
from lvm_training.stamps.rendering import Rendering
from lvm_training.stamps.stampset import StampSet
from lvm_training.stamps.symmetries import SYMMETRIES, turned

ZOOM = 0.1
OBSERVED = 0.999  # part of a resampled pixel, less rounding

Generators = Sequence[np.random.Generator]


def exposures(stamps: StampSet, rows: NDArray[np.int64], rendering: Rendering) -> tuple[torch.Tensor, torch.Tensor]:
    """Bands g, r, z and clean pictures of some rows, both (N, 3, S, S).

    A picture is NaN where its stamp has no pixel: where a band is NaN or infinite, in that band's colour, and beyond
    the stamp's edge. The bands are empty sky there, as in every rendering. Pictures that came as such have the bands
    they would have been rendered from.
    """
    pixels = stamps.pixels(rows)
    scale, origin = stamps.pixel_scale, stamps.origin
    if stamps.rendering == "as-delivered":
        clean = render(pixels, rendering, kind=stamps.rendering, pixel_scale=scale, origin=origin)
        bands = unstretched(clean, rendering)
    else:
        bands = surface_brightness(pixels, rendering, pixel_scale=scale, origin=origin)
        clean = stretch(bands, rendering)
    seen = np.isfinite(pixels).astype(np.float32)
    observed = framed(seen, rendering, pixel_scale=scale, origin=origin) > OBSERVED
    return bands, clean.masked_fill(~observed.flip(1), torch.nan)


def unstretched(pictures: torch.Tensor, rendering: Rendering) -> torch.Tensor:
    """The bands (N, 3, S, S) that `render.stretch` makes these pictures of.

    Its inverse: the mean colour is asinh(Q I) / sqrt(Q) (Lupton et al. 2004, section 2), so I = sinh(sqrt(Q) mean) / Q.
    A colour that was cut off at 0 or 1 stays there; a picture of another stretch has bands only as its own stretch
    resembles this one, but keeps its black, white and order of brightness.
    """
    q, colours = rendering.softening, pictures.flip(1)
    mean = colours.mean(1, keepdim=True)
    intensity = torch.sinh(q**0.5 * mean) / q
    scales = pictures.new_tensor(rendering.scales)[:, None, None]
    return (colours * intensity / mean.clamp(min=1e-9) - rendering.black) / scales


def worsened(bands: torch.Tensor, generators: Generators, *, pixel_scale: float) -> torch.Tensor:
    """Bands (N, 3, S, S) blurred and made noisier as by `degrade.degrade`, each stamp by a generator of its own."""
    drawn = [draw_degradation(1, rng, pixel_scale=pixel_scale) for rng in generators]
    grain = np.stack([rng.standard_normal(bands.shape[1:], dtype=np.float32) for rng in generators])
    noise = torch.cat([one.noise for one in drawn])[:, :, None, None]
    return blurred(bands, torch.cat([one.blur for one in drawn])) + torch.from_numpy(grain) * noise


def zoomed(bands: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Bands (N, 3, S, S) magnified about their centre by `factors` (N,); mirrored at the edges where these show."""
    matrices = torch.zeros(len(bands), 2, 3)
    matrices[:, 0, 0] = matrices[:, 1, 1] = 1 / factors
    grid = F.affine_grid(matrices, list(bands.shape), align_corners=False)
    return F.grid_sample(bands, grid, padding_mode="reflection", align_corners=False)


def second_views(
    bands: torch.Tensor, kinds: NDArray[np.int64], generators: Generators, rendering: Rendering
) -> torch.Tensor:
    """Other pictures (N, 3, S, S) of the same stamps: another symmetry than `kinds` (N,), zoom and degradation."""
    if not len(bands):
        return bands
    others = (kinds + np.array([rng.integers(1, SYMMETRIES) for rng in generators])) % SYMMETRIES
    factors = torch.tensor([rng.uniform(1 - ZOOM, 1 + ZOOM) for rng in generators], dtype=torch.float32)
    worse = worsened(zoomed(bands, factors), generators, pixel_scale=rendering.field / rendering.size)
    return turned(stretch(worse, rendering), others)
