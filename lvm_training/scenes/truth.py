"""The truth a model reads from simulated stamps: what is there, in numbers.

No column names a class of a catalogue, but some are kindred to one: whether there is a disc, it is seen edge-on, it
has arms.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from lvm_training.observation.maps import column, on_device
from lvm_training.scenes.scenes import Scenes, draw_scenes
from lvm_training.scenes.structure import DISC, EDGE_ON, SMOOTH, Structure
from lvm_training.stamps.rendering import Rendering

SCALE_STAMPS = 512
_RADIAL_BINS = 128


def truth(scenes: Scenes, *, pixel: float) -> dict[str, NDArray[np.float32]]:
    """Truth columns (N,) by name; NaN where a galaxy does not have what is asked for.

    Parameters
    ----------
    scenes : Scenes
        The stamps.
    pixel : float
        Arcsec per pixel.

    Notes
    -----
    `size` is ln R50 (arcsec) and `concentration` ln(R80 / R20), both of the noiseless light in ellipses of the galaxy's
    axis ratio; `cosine` and `sine` are (1 - q) of the doubled position angle, which is smooth where the angle is
    undefined; strengths are 0 where a feature is absent.
    """
    r20, r50, r80 = _radii(scenes.light, scenes.structure, pixel).cpu().numpy()
    columns = {"size": np.log(r50), "concentration": np.log(r80 / r20), **_drawn(scenes.structure)}
    return {name: np.asarray(values, np.float32) for name, values in columns.items()}


def standard_truth(scenes: Scenes, scale: "TruthScale", *, pixel: float) -> torch.Tensor:
    """The matrix (N, K) of `scale.standardised(truth(...))` on the device of the scenes, without waiting for it."""
    drawn, device = _drawn(scenes.structure), scenes.light.device
    zeros = np.zeros(len(scenes.structure))
    known = {name: np.asarray(drawn.get(name, zeros), np.float32) for name in scale.names}
    matrix = on_device(scale.standardised(known), device)
    r20, r50, r80 = _radii(scenes.light, scenes.structure, pixel)
    for name, values in (("size", r50.log()), ("concentration", (r80 / r20).log())):
        place = scale.names.index(name)
        matrix[:, place] = (values.float() - float(scale.mean[place])) / float(scale.spread[place])
    return matrix


def _drawn(s: Structure) -> dict[str, NDArray[np.floating]]:
    """The columns that were drawn; the others are measured on the light."""
    elongation = 1 - s.axis_ratio
    armed = s.arms > 0
    return {
        "brightness": s.brightness,
        "axis_ratio": s.axis_ratio,
        "cosine": elongation * np.cos(2 * s.angle),
        "sine": elongation * np.sin(2 * s.angle),
        "disc": (s.kind == DISC).astype(float),
        "edge_on": (s.kind == EDGE_ON).astype(float),
        "bulge": s.bulge_fraction,
        "arms": s.arms,
        "armed": armed.astype(float),
        "arm_count": np.where(armed, s.arm_count, np.nan),
        "pitch": np.where(armed, np.abs(s.pitch), np.nan),
        "winding": np.sign(s.pitch) * s.arms,
        "ring": np.sqrt(s.ring),
        "bar": np.sqrt(s.bar),
        "clumps": np.where(s.kind == SMOOTH, 0, s.clumps * (s.arms + s.ring + (s.kind == EDGE_ON))),
        "dust": np.sqrt(s.dust),
        "disturbance": s.disturbance,
        "tails": np.sqrt(s.tails),
        "companion": np.sqrt(s.companion),
        "colour": -2.5 * np.log10(s.fluxes[:, 1, 0]),
    }


def _radii(light: torch.Tensor, s: Structure, pixel: float) -> torch.Tensor:
    """Radii along the major axis, arcsec, that hold 20, 50 and 80 % of the light, shape (3, N), on its device."""
    (n, size), device = light.shape[:2], light.device
    steps = (torch.arange(size, dtype=torch.float32, device=device) - (size - 1) / 2) * pixel
    x, y = steps[None, None, :], steps[None, :, None]
    sine, cosine, ratio = (column(values, device) for values in (np.sin(s.angle), np.cos(s.angle), s.axis_ratio))
    radius = torch.hypot(x * cosine + y * sine, (y * cosine - x * sine) / ratio)
    width = size * pixel / _RADIAL_BINS
    bins = (radius / width).long().clamp(max=_RADIAL_BINS - 1).flatten(1)
    growth = torch.zeros(n, _RADIAL_BINS, device=device).scatter_add_(1, bins, light.flatten(1)).cumsum(1)
    return _crossings((growth / growth[:, -1:]).double(), (0.2, 0.5, 0.8), width).T


def _crossings(growth: torch.Tensor, shares: tuple[float, ...], width: float) -> torch.Tensor:
    """Where curves (N, B) that rise to 1 reach each share, (N, shares): `numpy.interp`, to the bit, row by row.

    A curve has its b-th value at (b + 1) `width`.
    """
    edges = (torch.arange(growth.shape[1], dtype=torch.float64, device=growth.device) + 1) * width
    wanted = torch.stack([torch.full_like(growth[:, 0], share) for share in shares], dim=1)
    below = torch.searchsorted(growth, wanted, right=True) - 1
    first = below.clamp(0, growth.shape[1] - 2)
    low, high = growth.gather(1, first), growth.gather(1, first + 1)
    slope = (edges[first + 1] - edges[first]) / (high - low)
    return torch.where(below < 0, edges[0], slope * (wanted - low) + edges[first])


class TruthScale(NamedTuple):
    """Mean and spread of each truth column over the population, which the readout's targets are measured in."""

    names: tuple[str, ...]
    mean: NDArray[np.float32]
    spread: NDArray[np.float32]

    def standardised(self, columns: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        """Columns as a matrix (N, K) in these units."""
        matrix = np.stack([columns[name] for name in self.names], axis=1)
        standard: NDArray[np.float32] = ((matrix - self.mean) / self.spread).astype(np.float32)
        return standard


def truth_scale(rendering: Rendering) -> TruthScale:
    """The scale, measured on stamps of a fixed seed, so that every run reads in the same units."""
    return _scale(rendering.size, rendering.field)


@lru_cache(maxsize=8)
def _scale(size: int, field: float) -> TruthScale:
    """Kept: the stamps take seconds to draw, and each part of a training asks for it."""
    scenes = draw_scenes(SCALE_STAMPS, np.random.default_rng(0), size=size, field=field)
    columns = truth(scenes, pixel=field / size)
    matrix = np.stack(list(columns.values()), axis=1)
    return TruthScale(tuple(columns), np.nanmean(matrix, axis=0), np.nanstd(matrix, axis=0))
