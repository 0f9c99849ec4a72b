"""A small sky: ten stamps, and features in which the five classes are plain to see."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap

from lvm_training.pool.features import Origin
from lvm_training.stamps.stampset import StampSet, StampWriter

ENCODER = "e" * 12


def write_stamps(
    folder: Path, n: int = 10, name: str = "sky", *, ra: float = 150, magnitudes: Sequence[float] | None = None
) -> Path:
    """A stamp set of `n` blobs with positions, from a right ascension in degrees on, and magnitudes (17.25)."""
    y, x = np.mgrid[-20:20, -20:20]
    images = np.stack([np.exp(-(x**2 + (y * (1 + i % 5)) ** 2) / 60)[None].repeat(3, axis=0) for i in range(n)]).astype(
        np.float32
    )
    writer = StampWriter(folder / f"{name}.h5", (40, 40))
    writer.append(
        images,
        {"ra": ra + np.arange(n) / 100, "dec": -1.5 - np.arange(n) / 100, "mag_r": np.array(magnitudes or [17.25] * n)},
    )
    return writer.finish()


def write_features(stamps: Path, classes: int = 5, seed: int = 0) -> Path:
    """A feature shard for a stamp set: stamp i looks like class i % `classes`."""
    with StampSet(stamps) as opened:
        n, digest, name = len(opened), opened.digest, opened.name
    generator = np.random.default_rng(seed)
    matrix = np.eye(classes, 16)[np.arange(n) % classes] * 4 + generator.normal(scale=1e-4, size=(n, 16))
    path = stamps.with_suffix(".npy")
    shard = open_memmap(path, mode="w+", dtype=np.float16, shape=matrix.shape)
    shard[:] = matrix
    shard.flush()
    origin = Origin(name=name, stamps=digest, encoder=ENCODER, rows=n, width=16)
    path.with_suffix(".json").write_text(origin.model_dump_json())
    return path
