"""Galaxies of known shape on stamps of known noise."""

import numpy as np
from numpy.typing import NDArray

SIDE, NOISE = 64, 0.01


def galaxy(axis_ratio: float = 0.5, angle: float = 0.6, scale: float = 5.0) -> NDArray[np.float64]:
    """An elliptical exponential disc, 1 in the middle."""
    y, x = np.indices((SIDE, SIDE)) - (SIDE - 1) / 2
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    light: NDArray[np.float64] = np.exp(-np.hypot(along * np.sqrt(axis_ratio), across / np.sqrt(axis_ratio)) / scale)
    return light


def noisy(light: NDArray[np.float64], seed: int = 0) -> NDArray[np.float32]:
    return (light + np.random.default_rng(seed).normal(0, NOISE, light.shape)).astype(np.float32)
