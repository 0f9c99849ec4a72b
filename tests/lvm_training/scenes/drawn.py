"""Scenes drawn for a test, and the light of one galaxy."""

from dataclasses import fields, replace

import numpy as np
import torch

from lvm_training.scenes import scenes as module
from lvm_training.scenes.scenes import Scenes, draw_scenes
from lvm_training.scenes.structure import SMOOTH, Structure, draw_structure

FIELD = 25.0


def draw(n: int = 64, *, size: int = 64, seed: int = 0) -> Scenes:
    return draw_scenes(n, np.random.default_rng(seed), size=size, field=FIELD)


def light_of(structure: Structure, *, size: int = 128, seed: int = 5) -> torch.Tensor:
    """r light of unit sum of given structures, without neighbours, PSF and noise, (N, S, S)."""
    steps = (torch.arange(size, dtype=torch.float32) - (size - 1) / 2) * FIELD / size
    x, y = (grid.expand(len(structure), size, size) for grid in (steps[None, None, :], steps[None, :, None]))
    return module._galaxies(structure, x, y, np.random.default_rng(seed))[0]


def plain(n: int, **changes: float) -> Structure:
    """Round exponential spheroids of 3 arcsec, changed as asked for."""
    drawn = draw_structure(n, np.random.default_rng(1))
    quiet = {field.name: np.zeros(n, np.float32) for field in fields(Structure) if field.name not in ("kind", "fluxes")}
    settings: dict[str, float] = {"radius": 3, "brightness": 21, "axis_ratio": 1, "sersic": 1, "bulge_fraction": 1}
    settings |= {"bulge_size": 1, "arm_count": 2, "pitch": 0.4, "ring_radius": 1, "ring_width": 0.1, "bar_length": 1}
    settings |= {"companion_distance": 6} | {k: v for k, v in changes.items() if k != "kind"}
    values = quiet | {name: np.full(n, value, np.float32) for name, value in settings.items()}
    return replace(drawn, kind=np.full(n, int(changes.get("kind", SMOOTH))), **values)
