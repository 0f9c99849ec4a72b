"""Features that are drawn: for what is timed and does not look at what they mean."""

from pathlib import Path

import numpy as np

from lvm_training.pool.features import Origin

KINDS = 5
BLOCK = 50_000


def write_features(path: Path, origin: Origin) -> None:
    """Write a feature file of five overlapping kinds, row i of kind i % 5, with its JSON."""
    rng = np.random.default_rng(0)
    centres = rng.normal(scale=0.4, size=(KINDS, origin.width)).astype(np.float32)
    shape = (origin.rows, origin.width)
    matrix = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)  # type: ignore[no-untyped-call]
    for start in range(0, origin.rows, BLOCK):
        kinds = np.arange(start, min(start + BLOCK, origin.rows)) % KINDS
        matrix[start : start + BLOCK] = centres[kinds] + rng.standard_normal((len(kinds), origin.width), np.float32)
    matrix.flush()
    path.with_suffix(".json").write_text(origin.model_dump_json(), encoding="utf-8")
