"""Feature shards of any numbers, and their neighbours found without faiss."""

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lvm_training.pool.features import Features, Origin

ENCODER = "e" * 12


def write_shard(folder: Path, matrix: ArrayLike, name: str = "sky", encoder: str = ENCODER) -> Features:
    """A shard of these rows."""
    values = np.asarray(matrix, dtype=np.float16)
    path = folder / f"{name}.npy"
    np.save(path, values)
    origin = Origin(name=name, stamps=f"stamps of {name}", encoder=encoder, rows=len(values), width=values.shape[1])
    path.with_suffix(".json").write_text(origin.model_dump_json())
    return Features.open(path)


def cloud(rows: int, width: int = 16, seed: int = 0) -> NDArray[np.float32]:
    """Rows in a few directions, as features are."""
    rng = np.random.default_rng(seed)
    few = rng.normal(size=(rows, 5)) @ rng.normal(size=(5, width)) + 0.2 * rng.normal(size=(rows, width))
    return few.astype(np.float32)


def brute_force(pool: ArrayLike, query: ArrayLike) -> NDArray[np.float64]:
    """Cosine of a query to every row, one row after the other; 0 to a row of norm 0."""
    wanted = np.asarray(query, dtype=np.float64)
    return np.array(
        [
            row @ wanted / (np.sqrt(row @ row) * np.sqrt(wanted @ wanted)) if row.any() else 0.0
            for row in np.asarray(pool, dtype=np.float16).astype(np.float64)
        ]
    )
