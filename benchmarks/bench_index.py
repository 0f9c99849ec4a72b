"""Claim: among a million stamps the pool index finds 0.95 of the ten nearest in 10 ms a query on two cores.

The anchor is faiss's IndexFlatIP, used bare: exact, all vectors in memory. Both answer the same queries, one at a time,
in the same run; the last column is the anchor's time over ours. The anchor holds `--anchor` rows at most: the true
neighbours in larger pools are found block by block, and its time is in proportion to the rows. Recall is measured on
the real features alone, each row searched for among all of them, and on a pool of N rows expanded from them:

    a new row = row + sum over its k = 10 nearest neighbours of w (neighbour - row),  w ~ Normal(0, s^2 / k)

so that the pool has the local directions of the real one. s is found by bisection such that the median distance of a
query to its nearest row is that within the real features; the percentiles of both are printed. Queries are drawn in
the same way and are not in the pool.

    python -m benchmarks.bench_index [--features shard.npy] [--rows 1000000,2000000] [--kinds ivfpq] [--scratch FOLDER]
"""

import argparse
import os
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import faiss
import numpy as np
from numpy.typing import NDArray

from benchmarks.report import Row, save
from lvm_training.index.files import index_pool
from lvm_training.index.plan import Kind
from lvm_training.index.pool_index import PoolIndex, build_index
from lvm_training.paths import FEATURE_FILE
from lvm_training.pool.features import Features, Origin

NEIGHBOURS = 10
QUERIES, TIMED, TURNS = 200, 30, 4
ANCHORS, AROUND = 8, 48  # neighbourhoods that s is found in, and real rows in each
K = 10
PERCENTILES = (10, 50, 90)
BLOCK = 250_000  # rows that the true neighbours are looked for in at a time
ALL = slice(None)

Vectors = NDArray[np.float32]


class Sampler:
    """Draws rows that lie among real ones as these lie among each other."""

    def __init__(self, real: Vectors) -> None:
        self.real = real / np.linalg.norm(real, axis=1, keepdims=True)
        self.exact = bare(self.real)
        self.near = self.exact.search(self.real, max(AROUND, NEIGHBOURS + 1))[1]

    def draw(self, parent: int, count: int, step: float, rng: np.random.Generator) -> Vectors:
        """Rows (count, D) around one real row."""
        row = self.real[parent]
        weights = rng.normal(scale=step / np.sqrt(NEIGHBOURS), size=(count, NEIGHBOURS)).astype(np.float32)
        rows = row + weights @ (self.real[self.near[parent, 1 : NEIGHBOURS + 1]] - row)
        drawn: Vectors = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return drawn

    def nearest(self) -> Vectors:
        """Distance (1 - cosine) of each real row to the nearest other one."""
        distances: Vectors = 1 - self.exact.search(self.real, 2)[0][:, 1]
        return distances

    def step(self, rows: int) -> float:
        """The s with which a pool of `rows` has the real median distance to the nearest row."""
        rng, wanted = np.random.default_rng(1), float(np.median(self.nearest()))
        places = rng.choice(len(self.real), ANCHORS, replace=False)
        low, high = 0.0, 8.0
        for _ in range(9):
            middle = (low + high) / 2
            found = np.concatenate([self._around(int(place), rows // len(self.real), middle) for place in places])
            low, high = (middle, high) if np.median(found) < wanted else (low, middle)
        return (low + high) / 2

    def _around(self, place: int, each: int, step: float) -> Vectors:
        rng = np.random.default_rng(place)
        pool = np.concatenate([self.draw(int(one), each, step, rng) for one in self.near[place, :AROUND]])
        distances: Vectors = 1 - bare(pool).search(self.draw(place, 16, step, rng), 1)[0][:, 0]
        return distances


class Pool(NamedTuple):
    """A shard of many rows, and queries that are not in it."""

    features: Features
    queries: Vectors
    step: float


def bare(vectors: Vectors) -> faiss.IndexFlatIP:
    """The anchor."""
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    return index


def expand(sampler: Sampler, rows: int, folder: Path) -> Pool:
    """Write a shard of `rows` rows."""
    step, rng = sampler.step(rows), np.random.default_rng(0)
    n, width = sampler.real.shape
    path = folder / "expanded.npy"
    matrix = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=(rows, width))  # type: ignore[no-untyped-call]
    edges = np.linspace(0, rows, n + 1).astype(int)
    for parent, (start, stop) in enumerate(pairwise(edges)):
        matrix[start:stop] = sampler.draw(parent, stop - start, step, rng)
    matrix.flush()
    origin = Origin(name="expanded", stamps="expanded", encoder="expanded", rows=rows, width=width)
    path.with_suffix(".json").write_text(origin.model_dump_json())
    parents = rng.choice(n, QUERIES)
    queries = np.concatenate([sampler.draw(int(parent), 1, step, rng) for parent in parents])
    return Pool(Features.open(path), queries, step)


def units(features: Features, rows: slice = ALL) -> Vectors:
    """Rows in memory, divided by their norms."""
    vectors = np.asarray(features.matrix[rows], dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def nearest(features: Features, queries: Vectors) -> tuple[Vectors, NDArray[np.int64]]:
    """Similarities and rows (Q, K) of the rows nearest to queries, all compared, a block in memory at a time."""
    similarities, rows = np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
    for start in range(0, len(features.matrix), BLOCK):
        more, places = bare(units(features, slice(start, start + BLOCK))).search(queries, K)
        similarities, rows = np.hstack([similarities, more]), np.hstack([rows, places + start])
        best = np.argsort(-similarities, axis=1, kind="stable")[:, :K]
        similarities, rows = (np.take_along_axis(one, best, 1) for one in (similarities, rows))
    return similarities, rows


def recall(found: NDArray[np.int64], truth: NDArray[np.int64]) -> float:
    """Share of the true neighbours that were found."""
    hits = [len(np.intersect1d(*pair)) / len(pair[1]) for pair in zip(found, truth, strict=True)]
    return float(np.mean(hits))


def recall_on_real(features: Features, kind: Kind) -> float:
    """Recall of the other rows nearest to each real row."""
    index, vectors = build_index(features, kind=kind), units(features)
    truth = bare(vectors).search(vectors, K + 1)[1]
    found = index.search(vectors, K + 1)[0]
    rows = np.arange(len(vectors))[:, None]
    others = [
        np.stack([line[line != row][:K] for line, row in zip(each, rows, strict=True)]) for each in (found, truth)
    ]
    return recall(others[0], others[1])


def milliseconds(index: PoolIndex, exact: faiss.IndexFlatIP, queries: Vectors) -> tuple[float, float]:
    """Time of one query, ours and the anchor's: the least of some turns, the median of the queries."""
    times = np.empty((TIMED, TURNS, 2))
    for place, query in enumerate(queries[:TIMED]):
        for turn in range(TURNS):
            started = time.perf_counter()
            index.search(query[None], K)
            between = time.perf_counter()
            exact.search(query[None], K)
            times[place, turn] = between - started, time.perf_counter() - between
    ours, theirs = np.median(times.min(axis=1), axis=0) * 1000
    return float(ours), float(theirs)


def measured(kinds: list[Kind], shard: Path, rows: int, held: int, folder: Path) -> list[Row]:
    """One row of the table for each kind of index; the anchor holds `held` rows at most."""
    real = Features.open(shard)
    print(f"{len(real.matrix)} real rows")
    sampler = Sampler(units(real))
    pool = expand(sampler, rows, folder)
    distances, truth = nearest(pool.features, pool.queries)
    exact = bare(units(pool.features, slice(0, held)))
    for name, values in (("real", sampler.nearest()), ("expanded", 1 - distances[:, 0])):
        shown = ", ".join(f"{value:.4f}" for value in np.percentile(values, PERCENTILES))
        print(f"distance to the nearest row, percentiles {PERCENTILES}, {name}: {shown}")
    found: list[Row] = []
    for kind in kinds:
        started = time.perf_counter()
        index = index_pool(pool.features, folder / kind, kind=kind)
        built = time.perf_counter() - started
        size = sum(file.stat().st_size for file in (folder / kind).rglob("*.faiss"))
        ours, theirs = milliseconds(index, exact, pool.queries)
        theirs *= rows / exact.ntotal
        found.append(
            {
                "kind": kind,
                "rows": rows,
                "recall": recall(index.search(pool.queries, K)[0], truth),
                "on_real": recall_on_real(real, kind),
                "build_s": built,
                "mb": size / 1e6,
                "bytes_a_vector": size / rows,
                "ms": ours,
                "anchor_mb": 4e-6 * rows * index.shards.width,
                "anchor_ms": theirs,
                "times": theirs / ours,
            }
        )
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=Path, default=FEATURE_FILE, help="shard of real features")
    parser.add_argument("--rows", default="1000000", help="of one pool or several, separated by commas")
    parser.add_argument("--anchor", type=int, default=1_000_000, help="rows that the anchor holds in memory")
    parser.add_argument("--scratch", type=Path, help="where pools are written for the time of the run: 768 bytes a row")
    parser.add_argument("--kinds", default="ivfpq", help="of float32, float16, ivfpq; separated by commas")
    asked = parser.parse_args()
    faiss.omp_set_num_threads(len(os.sched_getaffinity(0)))
    found: list[Row] = []
    for rows in map(int, asked.rows.split(",")):
        with tempfile.TemporaryDirectory(dir=asked.scratch) as folder:
            found += measured(asked.kinds.split(","), asked.features, rows, asked.anchor, Path(folder))
            save("index", found)


if __name__ == "__main__":
    main()
