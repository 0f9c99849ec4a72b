"""Several feature shards as one pool: rows count through them in order, as unit vectors."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from lvm_training.pool.features import BLOCK, Features, FeaturesError, single


class Shards:
    """The features of a pool, from one file or several of the same encoder.

    Parameters
    ----------
    features : sequence of Features
        In the order in which the pool counts its rows.

    Attributes
    ----------
    features : tuple of Features
        As given.
    encoder : str
        Digest of the encoder that made them.
    width : int
        Length of a feature vector.
    starts : ndarray (n + 1,) int64
        The pool's row at which each shard begins, and the pool's size.

    Raises
    ------
    FeaturesError
        If there is no row, a shard is there twice, or encoders or widths differ.
    """

    def __init__(self, features: Sequence[Features]) -> None:
        self.features = tuple(features)
        self.starts = np.cumsum([0, *(len(shard.matrix) for shard in self.features)], dtype=np.int64)
        if not len(self):
            raise FeaturesError("The pool has no rows.", "Give features of one stamp or more.")
        makers = sorted({f"{shard.encoder} ({shard.matrix.shape[1]} wide)" for shard in self.features})
        if len(makers) > 1:
            raise FeaturesError(
                f"The shards are of different encoders: {', '.join(makers)}.",
                "Embed all stamp sets with one encoder, or name shards of one.",
            )
        if len({shard.stamps for shard in self.features}) < len(self.features):
            names = ", ".join(shard.name for shard in self.features)
            raise FeaturesError(f"A stamp set is twice among {names}.", "Name each shard once.")
        self.encoder, self.width = self.features[0].encoder, int(self.features[0].matrix.shape[1])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def locate(self, row: int) -> tuple[Features, int]:
        """The shard a row of the pool is in, and its row there.

        Raises
        ------
        FeaturesError
            If the pool has no such row.
        """
        if not 0 <= row < len(self):
            raise FeaturesError(
                f"The pool has rows 0 to {len(self) - 1}; row {row} was asked for.", "Name another row."
            )
        place = int(np.searchsorted(self.starts, row, side="right")) - 1
        return self.features[place], row - int(self.starts[place])

    def units(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Some rows divided by their norms, shape (n, D), in the order asked for; as `_units` has it."""
        units = np.empty((len(rows), self.width), np.float32)
        owners = np.searchsorted(self.starts, rows, side="right") - 1
        for place in np.unique(owners):
            mine = owners == place
            units[mine] = _units(self.features[place].matrix[rows[mine] - self.starts[place]])
        return units

    def blocks(self, size: int = BLOCK) -> Iterator[NDArray[np.float32]]:
        """All rows in order, divided by their norms, at most `size` at a time; as `_units` has it."""
        for number in range(len(self.features)):
            yield from self.blocks_of(number, size)

    def blocks_of(self, number: int, size: int = BLOCK) -> Iterator[NDArray[np.float32]]:
        """As `blocks`, of one shard."""
        shard = self.features[number]
        for start in range(0, len(shard.matrix), size):
            yield _units(shard.matrix[start : start + size])


def _units(values: NDArray[np.float16]) -> NDArray[np.float32]:
    """Rows divided by their norms; one of norm 0 stays 0, one that is not finite is NaN throughout."""
    vectors = single(values)
    broken = np.asarray(~np.isfinite(vectors).all(axis=1))
    if broken.any():
        vectors = np.where(broken[:, None], np.float32(np.nan), vectors)
    return unit_vectors(vectors)


def unit_vectors(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows (n, D) divided by their norms; a row of norm 0 stays 0."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    units: NDArray[np.float32] = vectors / np.where(norms > 0, norms, 1)
    return units
