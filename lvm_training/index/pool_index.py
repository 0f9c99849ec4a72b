"""The pool index: which stamps of a pool look most like a given one.

Similarity is the cosine between features. Candidates come from faiss (Douze et al. 2024, arXiv:2401.08281); they are
ranked by the features in the shards themselves, so that all kinds of index give the same similarities.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import ArrayLike, NDArray

from lvm_training.index.build import build_faiss
from lvm_training.index.plan import IndexPlan, Kind, PoolIndexError, plan_index
from lvm_training.pool.features import Features, FeaturesError
from lvm_training.pool.shards import Shards, unit_vectors
from lvm_training.progress import Progress

PROBES = 32  # inverted lists a query looks into
CANDIDATES = 200  # rows ranked by their features, at least
BATCH = 64  # queries at a time; bounds the memory of ranking

Neighbours = tuple[NDArray[np.int64], NDArray[np.float32]]


class PoolIndex:
    """Nearest neighbours among the features of a pool; any number of threads may search.

    Parameters
    ----------
    index : faiss index
        Of the unit vectors of all rows, inner product.
    shards : Shards
        The pool.
    plan : IndexPlan
        What kind of index it is.
    left_out : int
        Rows whose features are not finite; none of them is ever found.
    """

    def __init__(self, index: Any, shards: Shards, plan: IndexPlan, left_out: int = 0) -> None:
        self.index, self.shards, self.plan, self.left_out = index, shards, plan, left_out

    def __len__(self) -> int:
        return len(self.shards)

    @property
    def encoder(self) -> str:
        """Digest of the encoder whose features are indexed."""
        return self.shards.encoder

    def search(self, queries: ArrayLike, k: int, *, probes: int = PROBES, candidates: int = CANDIDATES) -> Neighbours:
        """The `k` rows most similar to each query, or all rows where there are fewer.

        Parameters
        ----------
        queries : array (Q, D)
            Features from the pool's encoder, of any length but 0.
        k : int
            How many.
        probes : int
            Inverted lists looked into; more where these hold fewer than `k` rows. Exact indices have none.
        candidates : int
            How many rows of an `ivfpq` index are ranked by their features; at least 10 `k` are.

        Returns
        -------
        rows : ndarray (Q, k) int64
            Rows of the pool, the most similar first, of equal ones the first row first. Where more rows than are wanted
            are as similar as the last, which of them are given is left to faiss.
        similarities : ndarray (Q, k) float32
            Their cosines, in [-1, 1]; 0 to a row of norm 0.

        Raises
        ------
        PoolIndexError
            If `k` is less than 1, or a query is of another width, not finite, or of norm 0.
        """
        if k < 1:
            raise PoolIndexError(f"{k} neighbours cannot be searched for.", "Ask for 1 or more.")
        units = self._checked(queries)
        k = min(k, len(self) - self.left_out)
        rows = np.empty((len(units), k), np.int64)
        similarities = np.empty((len(units), k), np.float32)
        for start in range(0, len(units), BATCH):
            part = slice(start, start + BATCH)
            # rows that are left out may stand before those that are wanted
            found = self._candidates(units[part], k + self.left_out, probes, candidates)
            rows[part], similarities[part] = self._ranked(units[part], found, k)
        return rows, similarities

    def nearest_to(self, row: int, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The `k` other rows most similar to a row of the pool, or all where there are fewer.

        Returns
        -------
        rows : ndarray (k,) int64
        similarities : ndarray (k,) float32

        Raises
        ------
        FeaturesError
            If the pool has no such row.
        PoolIndexError
            If `k` is less than 1, or the row's norm is 0.
        """
        shard, place = self.shards.locate(row)
        if k < 1:
            raise PoolIndexError(f"{k} neighbours cannot be searched for.", "Ask for 1 or more.")
        rows, similarities = self.search(shard.rows([place]), k + 1)
        others = rows[0] != row
        return rows[0][others][:k], similarities[0][others][:k]

    def _checked(self, queries: ArrayLike) -> NDArray[np.float32]:
        vectors = np.asarray(queries, dtype=np.float32)
        if vectors.ndim != 2 or vectors.shape[1] != self.shards.width:
            raise PoolIndexError(
                f"Queries are (Q, {self.shards.width}) features, not {vectors.shape}.",
                f"Embed them with encoder {self.encoder}.",
            )
        units = unit_vectors(vectors)
        broken = np.flatnonzero(~np.isfinite(vectors).all(axis=1) | ~units.any(axis=1))
        if broken.size:
            raise PoolIndexError(
                f"Query {broken[0]} is {'of norm 0' if not vectors[broken[0]].any() else 'not finite'}.",
                "Nothing is nearest to it; look at its picture.",
            )
        return units

    def _candidates(self, units: NDArray[np.float32], k: int, probes: int, candidates: int) -> NDArray[np.int64]:
        """Rows that faiss proposes, (q, c) with c >= k; -1 where an inverted index found no more than k."""
        if self.plan.kind == "float32":
            return np.asarray(self.index.search(units, k)[1])
        if self.plan.kind == "float16":
            # rounding moves a similarity by less than 2^-11, so the right rows may be a little further down
            return np.asarray(self.index.search(units, min(2 * k + 32, len(self)))[1])
        wanted = min(max(candidates, 10 * k), len(self))
        while True:
            found = np.asarray(self.index.search(units, wanted, params=_looking_into(min(probes, self.plan.lists)))[1])
            if probes >= self.plan.lists or ((found >= 0).sum(axis=1) >= k).all():
                return found
            probes *= 4

    def _ranked(self, units: NDArray[np.float32], found: NDArray[np.int64], k: int) -> Neighbours:
        unique, places = np.unique(found, return_inverse=True)
        vectors = np.zeros((len(unique), self.shards.width), np.float32)
        vectors[unique >= 0] = self.shards.units(unique[unique >= 0])
        similarities = np.einsum("qcd,qd->qc", vectors[places.reshape(found.shape)], units).clip(-1, 1)
        similarities[(found < 0) | np.isnan(similarities)] = -np.inf
        order = np.lexsort((found, -similarities), axis=-1)[:, :k]
        return np.take_along_axis(found, order, 1), np.take_along_axis(similarities, order, 1)


def _looking_into(lists: int) -> Any:
    """Parameters of one search; setting them on the index would reach other threads' searches."""
    ours: Any = faiss.SearchParametersIVF
    rotated: Any = faiss.SearchParametersPreTransform
    return rotated(index_params=ours(nprobe=lists))


def build_index(
    features: Features | Sequence[Features],
    memory: int | None = None,
    *,
    kind: Kind | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    parts: Callable[[Shards, IndexPlan], Path] | None = None,
) -> PoolIndex:
    """Index the features of a pool, in memory; `plan_index` has the rule that chooses the kind.

    Parameters
    ----------
    features : Features or sequence of Features
        One shard or several of one encoder; the pool's rows count through them in this order.
    memory, kind, seed
        As `plan_index`.
    progress : callable, optional
        Called with the rows added and their number.
    parts : callable, optional
        Names the folder that keeps what is done of a build, for a pool and a plan.

    Raises
    ------
    FeaturesError
        If no row is finite, there is none, or the shards do not belong together.
    PoolIndexError
        If no index fits into the memory.
    """
    shards = Shards([features] if isinstance(features, Features) else features)
    plan = plan_index(len(shards), shards.width, memory, kind=kind, seed=seed)
    folder = None if parts is None else parts(shards, plan)
    left_out = len(shards) - sum(int(shard.finite.sum()) for shard in shards.features)
    if left_out == len(shards):
        raise FeaturesError("No row of the pool is finite.", "Look at the pictures, and embed them again.")
    return PoolIndex(build_faiss(shards, plan, progress, folder), shards, plan, left_out)
