"""The truth a model reads from simulated stamps: what is there, in numbers.

No column names a class of a catalogue, but some are kindred to one: whether there is a disc, it is seen edge-on, it
has arms.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

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
    s = scenes.structure
    r20, r50, r80 = _radii(scenes.light, s, pixel)
    elongation = 1 - s.axis_ratio
    armed = s.arms > 0
    columns: Mapping[str, NDArray[np.floating]] = {
        "size": np.log(r50),
        "concentration": np.log(r80 / r20),
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
    return {name: np.asarray(values, np.float32) for name, values in columns.items()}


def _radii(light: torch.Tensor, s: Structure, pixel: float) -> NDArray[np.float64]:
    """Radii along the major axis, arcsec, that hold 20, 50 and 80 % of the light, shape (3, N)."""
    n, size = light.shape[:2]
    steps = (torch.arange(size, dtype=torch.float32) - (size - 1) / 2) * pixel
    x, y = steps[None, None, :], steps[None, :, None]
    sine, cosine, ratio = (
        torch.from_numpy(np.asarray(v, np.float32))[:, None, None]
        for v in (np.sin(s.angle), np.cos(s.angle), s.axis_ratio)
    )
    radius = torch.hypot(x * cosine + y * sine, (y * cosine - x * sine) / ratio)
    width = size * pixel / _RADIAL_BINS
    bins = (radius / width).long().clamp(max=_RADIAL_BINS - 1).flatten(1)
    growth = torch.zeros(n, _RADIAL_BINS).scatter_add_(1, bins, light.flatten(1)).cumsum(1).numpy()
    growth = growth / growth[:, -1:]
    edges = (np.arange(_RADIAL_BINS) + 1) * width
    return np.array([[np.interp(share, row, edges) for row in growth] for share in (0.2, 0.5, 0.8)])


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
    scenes = draw_scenes(SCALE_STAMPS, np.random.default_rng(0), size=rendering.size, field=rendering.field)
    columns = truth(scenes, pixel=rendering.field / rendering.size)
    matrix = np.stack(list(columns.values()), axis=1)
    return TruthScale(tuple(columns), np.nanmean(matrix, axis=0), np.nanstd(matrix, axis=0))
