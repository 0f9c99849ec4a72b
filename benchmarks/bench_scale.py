"""Claim: ten million features are ranked from disk at 0.7 of the bare sequential read, and searched in bounded memory.

The features are synthetic: N rows of 384 float16 in shards of a million, each row a centre (of 4,096, sizes lognormal)
+ 16 directions of its neighbourhood with falling spread + a little noise. Queries are drawn in the same way and are not
in the pool. Every file is dropped from the page cache before it is read, so that the disk is measured.

- Ranking: a linear head applied to all rows, the best 1,000 kept, and cosines to one query; the anchor reads the same
  files with `readinto` and does nothing else. They take turns.
- Index: OPQ and IVF-PQ, built shard by shard in a process of its own, then opened memory-mapped and asked one query at
  a time; recall@100 against a pass through all rows.
- Memory: the peak of a process of its own that ranks a shard of 10,000 rows, and all N.

    python -m benchmarks.bench_scale [--rows 10000000] [--ranked 0] [--folder /tmp/scale]
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.report import Row, save
from lvm_training.index.files import index_pool, open_index
from lvm_training.index.scan import BLOCK, best, by_chunks, cosine
from lvm_training.pool.features import Features, Origin
from lvm_training.pool.shards import Shards, unit_vectors

WIDTH, SHARD, PART = 384, 1_000_000, 50_000
CENTRES, DIRECTIONS, NOISE = 4096, 16, 0.05
QUERIES, K, KEPT, TURNS = 50, 100, 1000, 3
LOOKS = ((32, 1000), (128, 4000))  # inverted lists looked into, and rows ranked by their features

Vectors = NDArray[np.float32]


class Sky:
    """Draws clustered rows."""

    def __init__(self) -> None:
        draw = torch.Generator().manual_seed(0)
        self.centres = torch.randn(CENTRES, WIDTH, generator=draw) * torch.linspace(1, 0.1, WIDTH)
        self.axes = torch.randn(64, DIRECTIONS, WIDTH, generator=draw) / WIDTH**0.5
        self.sizes = torch.randn(CENTRES, generator=draw).mul(1.0).exp()
        self.spread = 3 * torch.linspace(1, 0.2, DIRECTIONS)

    def draw(self, rows: int, seed: int) -> Vectors:
        """Rows (n, 384)."""
        draw = torch.Generator().manual_seed(seed)
        chosen = torch.multinomial(self.sizes, rows, replacement=True, generator=draw)
        found = self.centres[chosen]
        family = chosen % len(self.axes)
        for number, axes in enumerate(self.axes):
            mine = (family == number).nonzero()[:, 0]
            found[mine] += (torch.randn(len(mine), DIRECTIONS, generator=draw) * self.spread) @ axes
        vectors: Vectors = found.add_(torch.randn(rows, WIDTH, generator=draw), alpha=NOISE).numpy()
        return vectors

    def write(self, path: Path, rows: int, seed: int) -> Features:
        """A shard of `rows` rows."""
        matrix = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=(rows, WIDTH))  # type: ignore[no-untyped-call]
        for number, start in enumerate(range(0, rows, PART)):
            stop = min(start + PART, rows)
            matrix[start:stop] = self.draw(stop - start, 1000 * (seed + 1) + number)
        matrix.flush()
        origin = Origin(name=path.stem, stamps=path.stem, encoder="synthetic", rows=rows, width=WIDTH)
        path.with_suffix(".json").write_text(origin.model_dump_json())
        return Features.open(path)


def forget(shards: Shards) -> None:
    """Drop the pool's files from the page cache."""
    for shard in shards.features:
        with shard.path.open("rb") as stream:
            os.fsync(stream.fileno())
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def bare(shards: Shards) -> None:
    """Read every file, and do nothing else."""
    buffer = bytearray(BLOCK * WIDTH * 2)
    for shard in shards.features:
        with shard.path.open("rb", buffering=0) as stream:
            while stream.readinto(buffer):
                pass


def seconds(shards: Shards, act: Callable[[], object]) -> float:
    """How long something takes, the files not being in memory."""
    forget(shards)
    started = time.perf_counter()
    act()
    return time.perf_counter() - started


def ranking(shards: Shards, query: Vectors) -> list[Row]:
    """Ranking against the bare read, in turns; the least of each."""
    weights = query / np.linalg.norm(query)
    acts: dict[str, Callable[[], object]] = {
        "bare": lambda: bare(shards),
        "linear head": lambda: best(shards, by_chunks(lambda rows: rows @ weights), KEPT),
        "cosine": lambda: best(shards, cosine(query), KEPT),
    }
    times: dict[str, list[float]] = {name: [] for name in acts}
    for _ in range(TURNS):
        for name, act in acts.items():
            times[name].append(seconds(shards, act))
    least = {name: min(values) for name, values in times.items()}
    size = 2 * WIDTH * len(shards)
    return [
        {"what": name, "rows": len(shards), "s": one, "gb_s": size / one / 1e9, "of_bare": least["bare"] / one}
        for name, one in least.items()
    ]


def truth(shards: Shards, queries: Vectors) -> NDArray[np.int64]:
    """The K nearest rows of each query, by a pass through all."""
    units, rows = unit_vectors(queries), np.empty((len(queries), 0), np.int64)
    values, start = np.empty((len(queries), 0), np.float32), 0
    for block in shards.blocks(BLOCK):
        here = np.broadcast_to(np.arange(start, start + len(block)), (len(queries), len(block)))
        values, rows = np.concatenate([values, units @ block.T], axis=1), np.concatenate([rows, here], axis=1)
        order = np.argpartition(-values, min(K, values.shape[1] - 1), axis=1)[:, :K]
        values, rows = np.take_along_axis(values, order, 1), np.take_along_axis(rows, order, 1)
        start += len(block)
    return rows


def apart(*arguments: object) -> dict[str, float]:
    """What another process of this module tells, its peak memory among it."""
    command = [sys.executable, "-m", "benchmarks.bench_scale", *map(str, arguments)]
    told: dict[str, float] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return told


def opened(folder: Path) -> Shards:
    """The pool of a folder."""
    return Shards([Features.open(path) for path in sorted(folder.glob("*.npy"))])


def alone(act: str, folder: Path) -> None:
    """One act, in this process alone, and its figures."""
    shards, started = opened(folder), time.perf_counter()
    before = peak_mb()
    if act == "build":
        index_pool(shards.features, folder / "index", kind="ivfpq")
    else:
        weights = np.ones(WIDTH, np.float32)
        best(shards, by_chunks(lambda rows: rows @ weights), KEPT)
    print(json.dumps({"s": time.perf_counter() - started, "peak_mb": peak_mb(), "before_mb": before}))


def peak_mb() -> float:
    """Most memory that this process had; `ru_maxrss` begins with that of the process which started it."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1e3


def searching(shards: Shards, folder: Path, queries: Vectors) -> list[Row]:
    """The index: what it costs, and what it finds."""
    built = apart("--act", "build", "--folder", folder, "--threads", faiss.omp_get_max_threads())
    index = open_index(folder / "index", shards.features)
    size = next((folder / "index").glob("*/index.faiss")).stat().st_size
    exact, rows = truth(shards, queries), list[Row]()
    for probes, candidates in LOOKS:
        times, hits = [], []
        for query, right in zip(queries, exact, strict=True):
            started = time.perf_counter()
            found = index.search(query[None], K, probes=probes, candidates=candidates)[0][0]
            times.append(1000 * (time.perf_counter() - started))
            hits.append(len(np.intersect1d(found, right)) / K)
        rows.append(
            {
                "rows": len(shards),
                "probes": probes,
                "candidates": candidates,
                "recall_at_100": float(np.mean(hits)),
                "ms_median": float(np.median(times)),
                "ms_least": min(times),
                "bytes_a_vector": size / len(shards),
                "build_s": built["s"],
                "build_peak_mb": built["peak_mb"],
                "lists": index.plan.lists,
            }
        )
    return rows


def copies(folder: Path, rows: int) -> Path:
    """A pool of so many rows from copies of the shards there are: a disk reads them as it reads others."""
    home, shards = folder / "copies", opened(folder)
    home.mkdir()
    for number in range(-(-rows // len(shards.features[0].matrix))):
        shard = shards.features[number % len(shards.features)]
        path = home / f"{number:05d}.npy"
        shutil.copyfile(shard.path, path)
        origin = shard.origin.model_copy(update={"name": path.stem, "stamps": path.stem})
        path.with_suffix(".json").write_text(origin.model_dump_json())
    return home


def main() -> None:
    """Write the pool, measure and print, and remove it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--ranked", type=int, default=0, help="rows ranked; more than ROWS are copies of them")
    parser.add_argument("--folder", type=Path, default=Path("/tmp/scale"))  # noqa: S108
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of faiss; ranking takes all")
    parser.add_argument("--act", default="")
    asked = parser.parse_args()
    faiss.omp_set_num_threads(asked.threads)
    torch.set_num_threads(asked.threads)
    if asked.act:
        alone(asked.act, asked.folder)
        return
    asked.folder.mkdir(parents=True)
    try:
        sky = Sky()
        for number, start in enumerate(range(0, asked.rows, SHARD)):
            sky.write(asked.folder / f"{number:05d}.npy", min(SHARD, asked.rows - start), number)
        queries = sky.draw(QUERIES, 7)
        ranked = copies(asked.folder, asked.ranked) if asked.ranked else asked.folder
        save("scale_ranking", ranking(opened(ranked), queries[0]))
        few = asked.folder / "few"
        few.mkdir()
        sky.write(few / "one.npy", 10_000, 0)
        each = [{"rows": len(opened(one)), **apart("--act", "rank", "--folder", one)} for one in (few, ranked)]
        save("scale_memory", list[Row](each))
        if ranked != asked.folder:
            shutil.rmtree(ranked)
        save("scale_index", searching(opened(asked.folder), asked.folder, queries))
    finally:
        shutil.rmtree(asked.folder)


if __name__ == "__main__":
    main()
