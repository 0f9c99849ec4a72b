"""Small stamp sets of galaxies whose parameters are known."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lvm_training.stamps.stampset import StampWriter

SIDE = 64
SCALE = 0.262


def gaussian(
    flux: float = 300.0,
    *,
    sigma: float = 3.0,
    ratio: float = 0.6,
    angle: float = 30.0,
    at: tuple[float, float] = (0, 0),
) -> NDArray[np.float32]:
    """A galaxy of elliptical Gaussian light in three bands (3, SIDE, SIDE), nanomaggies; angle as in the sky."""
    steps = np.arange(SIDE) - (SIDE - 1) / 2
    x, y = np.meshgrid(steps - at[0], steps - at[1])
    # row 0 in the south and east to the left: the major axis points from north through east
    turn = np.radians(angle)
    along, across = -x * np.sin(turn) + y * np.cos(turn), x * np.cos(turn) + y * np.sin(turn)
    light = np.exp(-0.5 * ((along / sigma) ** 2 + (across / (ratio * sigma)) ** 2))
    return np.stack([flux * light / light.sum() * band for band in (0.7, 1.0, 1.3)]).astype(np.float32)


def noise(seed: int, size: float = 0.01) -> NDArray[np.float32]:
    """Empty sky (3, SIDE, SIDE)."""
    return (size * np.random.default_rng(seed).normal(size=(3, SIDE, SIDE))).astype(np.float32)


def write_set(
    path: Path,
    stamps: list[NDArray[np.float32]],
    columns: Mapping[str, list[Any]] | None = None,
    *,
    pixel_scale: float = SCALE,
) -> Path:
    """A stamp set of these pixels and columns."""
    writer = StampWriter(path, (SIDE, SIDE), pixel_scale=pixel_scale)
    writer.append(np.stack(stamps), columns or {})
    written = writer.finish()
    writer.close()
    return written


def write_galaxies(path: Path, count: int, *, seed: int = 0, pixel_scale: float = SCALE) -> Path:
    """A set of galaxies alone on their stamps, with the columns of drawn ones; the last third is the test split."""
    rng = np.random.default_rng(seed)
    columns = {
        "mag_r": rng.uniform(15.5, 17.5, count),
        "half_light_radius": rng.uniform(0.8, 2.0, count),
        "sersic": rng.uniform(0.45, 0.55, count),
        "axis_ratio": rng.uniform(0.3, 0.9, count),
        "position_angle": rng.uniform(0, 180, count),
        "z_spec": rng.uniform(0.05, 0.1, count),
    }
    stamps = []
    for row in range(count):
        flux = 10 ** ((22.5 - columns["mag_r"][row]) / 2.5)
        # half of the light of a Gaussian lies within 1.1774 of its sigma
        sigma = columns["half_light_radius"][row] / SCALE / 1.1774
        ratio, angle = columns["axis_ratio"][row], columns["position_angle"][row]
        stamps.append(gaussian(flux, sigma=sigma, ratio=ratio, angle=angle) + noise(1000 * seed + row))
    known: dict[str, list[Any]] = {name: values.tolist() for name, values in columns.items()}
    known["split"] = ["pool" if row < 2 * count // 3 else "test" for row in range(count)]
    return write_set(path, stamps, known, pixel_scale=pixel_scale)
