"""Ranking a whole pool from disk: every row is read once, scored, and the best are kept.

Memory is that of a few blocks and of the best, whatever the pool's size: rows are read into buffers, not mapped, while
others are being scored. What is asked of some rows alone, because of a filter, is exact too: no index is asked.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from lvm_training.pool.features import Features, widened
from lvm_training.pool.shards import Shards
from lvm_training.progress import Progress

BLOCK = 8192  # rows read at a time
CHUNK = 512  # rows that stay in a core's cache while they are widened and multiplied
MOST_THREADS = 8  # more would wait for the disk
SPARSE = 64  # of so many rows one is wanted, or fewer: they are read one by one

Rows = NDArray[np.int64]
Halves = NDArray[np.float16]
Scores = NDArray[np.float32]


class Score(Protocol):
    """Gives rows (n, D) of a shard one number each (n,), the best the highest; one that is not finite drops a row."""

    def __call__(self, shard: Features, rows: Halves, /) -> Scores: ...


class Best(NamedTuple):
    """The best rows of a pool.

    Attributes
    ----------
    rows : ndarray (k,) int64
        Rows of the pool, the best first, of equal ones the first row first.
    scores : ndarray (k,) float32
    considered : int
        How many rows were scored.
    left_out : int
        How many of them were left out because their features, and so their scores, are not finite.
    """

    rows: Rows
    scores: Scores
    considered: int
    left_out: int


def best(
    shards: Shards,
    score: Score,
    k: int,
    *,
    allowed: NDArray[np.bool_] | None = None,
    progress: Progress | None = None,
) -> Best:
    """The `k` rows of a pool that score highest, or all where there are fewer.

    Parameters
    ----------
    score : Score
        Called with one block after the other.
    allowed : ndarray of bool (N,), optional
        Which rows are considered; all by default. Blocks without one are not read.
    progress : callable, optional
        Called with the rows passed and their number.
    """
    kept, considered, left_out = _Kept(k), 0, 0
    for plan, scores in _scored(shards, score, _planned(shards, allowed)):
        finite = np.isfinite(scores)
        considered, left_out = considered + len(scores), left_out + int(len(scores) - finite.sum())
        kept.add(plan.first + plan.rows[finite], scores[finite])
        if progress is not None:
            progress(plan.first + int(plan.rows[-1]) + 1, len(shards))
    return Best(kept.rows, kept.scores, considered, left_out)


def cosine(query: NDArray[np.float32]) -> Score:
    """Scores rows by their cosine to a query (D,); 0 to a row of norm 0."""
    unit = (query / np.linalg.norm(query)).astype(np.float32)

    def of_chunk(rows: NDArray[np.float32]) -> Scores:
        squares = np.vecdot(rows, rows)
        with np.errstate(invalid="ignore"):  # what is not finite stays so
            found: Scores = (rows @ unit) / np.sqrt(np.where(squares == 0, 1, squares))
        return found.clip(-1, 1)

    return by_chunks(of_chunk)


def by_chunks(score: Callable[[NDArray[np.float32]], Scores]) -> Score:
    """Scores rows as float32, so few at a time that they stay in a core's cache."""

    def scored(shard: Features, rows: Halves) -> Scores:
        return np.concatenate([score(chunk) for chunk in widened(rows, CHUNK)])

    return scored


@dataclass(frozen=True)
class _Plan:
    """Rows of one shard to read, ascending; `first` is the shard's first row in the pool."""

    shard: Features
    first: int
    rows: Rows


def _scored(shards: Shards, score: Score, plans: Iterator[_Plan]) -> Iterator[tuple[_Plan, Scores]]:
    """Scores of each plan's rows, in order; as many plans are read and scored at a time as there are cores."""
    threads = min(os.cpu_count() or 1, MOST_THREADS)
    buffers: SimpleQueue[Halves] = SimpleQueue()
    for _ in range(threads):
        buffers.put(np.empty((min(BLOCK, len(shards)), shards.width), np.float16))

    def scored(plan: _Plan) -> Scores:
        buffer = buffers.get()
        try:
            return score(plan.shard, _read(plan, buffer))
        finally:
            buffers.put(buffer)

    # each block has a core: the threads of BLAS and of torch inside it would only wait for each other
    with threadpool_limits(1), ThreadPoolExecutor(threads) as pool:
        coming: deque[tuple[_Plan, Future[Scores]]] = deque()
        for plan in plans:
            coming.append((plan, pool.submit(scored, plan)))
            if len(coming) > threads:
                done, future = coming.popleft()
                yield done, future.result()
        for done, future in coming:
            yield done, future.result()


def _planned(shards: Shards, allowed: NDArray[np.bool_] | None) -> Iterator[_Plan]:
    for shard, first in zip(shards.features, shards.starts.tolist(), strict=False):
        for start in range(0, len(shard.matrix), BLOCK):
            stop = min(start + BLOCK, len(shard.matrix))
            if allowed is None:
                yield _Plan(shard, first, np.arange(start, stop))
            elif len(places := np.flatnonzero(allowed[first + start : first + stop])):
                yield _Plan(shard, first, start + places)


def _read(plan: _Plan, buffer: Halves) -> Halves:
    """The rows of a plan; those between them are read along where that is faster than to leave them out."""
    matrix, rows = plan.shard.matrix, plan.rows
    low, high = int(rows[0]), int(rows[-1]) + 1
    if high - low > SPARSE * len(rows):
        return _each(matrix, rows, buffer)
    whole = _span(matrix, low, high, buffer)
    return whole if high - low == len(rows) else whole[rows - low]


def _span(matrix: NDArray[Any], low: int, high: int, buffer: Halves) -> Halves:
    if not isinstance(matrix, np.memmap) or matrix.filename is None:
        return np.asarray(matrix[low:high])
    # mapped pages would count as this process's memory, and come page by page
    with open(matrix.filename, "rb", buffering=0) as stream:  # noqa: PTH123
        return _filled(stream, matrix, low, buffer[: high - low])


def _each(matrix: NDArray[Any], rows: Rows, buffer: Halves) -> Halves:
    if not isinstance(matrix, np.memmap) or matrix.filename is None:
        return np.asarray(matrix[rows])
    with open(matrix.filename, "rb", buffering=0) as stream:  # noqa: PTH123
        for place, row in enumerate(rows.tolist()):
            _filled(stream, matrix, row, buffer[place : place + 1])
    return buffer[: len(rows)]


def _filled(stream: Any, matrix: "np.memmap[Any, Any]", row: int, into: Halves) -> Halves:
    stream.seek(matrix.offset + row * matrix.shape[1] * matrix.itemsize)
    left = into.data.cast("B")
    while len(left):
        read = stream.readinto(left)
        if not read:
            raise EOFError(f"{matrix.filename} ends before row {row}: it was truncated meanwhile.")
        left = left[read:]
    return into


class _Kept:
    """The best rows so far, in order."""

    def __init__(self, k: int) -> None:
        self._k = k
        self.rows, self.scores = np.empty(0, np.int64), np.empty(0, np.float32)

    def add(self, rows: Rows, scores: Scores) -> None:
        """Consider more rows, all behind those before."""
        if not self._k:
            return
        # a later row of an equal score never displaces an earlier one
        floor = self.scores[-1] if len(self.scores) == self._k else -np.inf
        good = scores > floor
        rows, scores = np.concatenate([self.rows, rows[good]]), np.concatenate([self.scores, scores[good]])
        order = np.lexsort((rows, -scores))[: self._k]
        self.rows, self.scores = rows[order], scores[order]
