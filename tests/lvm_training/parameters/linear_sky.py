"""Galaxies whose features say linearly what their parameters are."""

import numpy as np

from lvm_training.parameters.head import ParameterHead
from lvm_training.parameters.parameter import PARAMETERS

NAMES = tuple(PARAMETERS)
WIDTH = 24


class Sky:
    """Galaxies whose features say linearly what their parameters are, with noise that the features do not tell."""

    def __init__(self, count: int, *, seed: int = 0, noise: float = 0.1) -> None:
        rng = np.random.default_rng(seed)
        ratio = rng.uniform(0.1, 0.9, count)
        angle = rng.uniform(0, 180, count)
        size, brightness = rng.normal(0.8, 0.4, count), rng.normal(17, 1, count)
        hidden = np.stack([brightness - 17, size, rng.normal(0.6, 0.3, count), 4 * ratio, rng.normal(0, 1, count)], 1)
        mixing = np.random.default_rng(99).normal(size=(5, WIDTH))
        self.features = (hidden @ mixing + 0.05 * rng.normal(size=(count, WIDTH))).astype(np.float32)
        long, twice = 1 - ratio, np.radians(2 * angle)
        turns = np.stack([long * np.cos(twice), long * np.sin(twice)], axis=1)
        self.oriented = (turns[:, :, None] * np.random.default_rng(98).normal(size=WIDTH)).astype(np.float32)
        self.oriented += (0.2 * noise * rng.normal(size=self.oriented.shape)).astype(np.float32)
        noisy = noise * rng.normal(size=(2, count))
        self.truth = np.stack(
            [
                brightness + noisy[0],
                np.exp(size + noisy[1]),
                np.exp(hidden[:, 2]),
                ratio,
                angle,
                np.expm1(0.1 + 0.02 * hidden[:, 4]),
            ],
            axis=1,
        )

    def fit(self, rows: slice = slice(None), **options: object) -> ParameterHead:
        """A head of some of them."""
        return ParameterHead.fit(
            self.features[rows],
            self.truth[rows],
            names=NAMES,
            seed=1,
            oriented=self.oriented[rows],
            **options,  # type: ignore[arg-type]
        )
