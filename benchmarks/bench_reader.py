"""Claim: reading a stamp set gives 0.9 or more of the stamps a second that h5py alone reads from the same file.

Ours checks rows, keeps their order, reads around damage and gives float32; the anchor slices the dataset. They take
turns on one file that is in the page cache, so that the code is compared and not the disk. Three ways: all in
order, batches of rows drawn at random, and one stamp at a time.

    python -m benchmarks.bench_reader [stamps.h5] [--rows 1500] [--seed 0]
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import h5py
import numpy as np
import typer
from numpy.typing import NDArray

from benchmarks.report import Row, save
from lvm_training.stamps.stampset import StampSet, StampWriter

BATCH = 256
SINGLES = 400
ROUNDS = 9
SIDE = 152  # of a stamp in the layout of Stein et al. 2021

Read = Callable[[slice | NDArray[np.int64]], NDArray[np.generic]]


def written(path: Path, rows: int, seed: int) -> Path:
    """A set of noise in the survey's size."""
    rng = np.random.default_rng(seed)
    writer = StampWriter(path, (SIDE, SIDE))
    for start in range(0, rows, BATCH):
        writer.append(rng.normal(size=(min(BATCH, rows - start), 3, SIDE, SIDE)).astype(np.float32), {})
    return writer.finish()


def plans(count: int, seed: int) -> dict[str, list[slice | NDArray[np.int64]]]:
    """What is read, by its name."""
    order = np.random.default_rng(seed).permutation(count)
    drawn = [np.sort(order[start : start + BATCH]) for start in range(0, count, BATCH)]
    return {
        "in order": [slice(start, start + BATCH) for start in range(0, count, BATCH)],
        "drawn at random": list(drawn),
        "one at a time": [slice(row, row + 1) for row in order[:SINGLES].tolist()],
    }


def rate(read: Read, wanted: list[slice | NDArray[np.int64]]) -> float:
    """Stamps a second."""
    started, stamps = time.perf_counter(), 0
    for rows in wanted:
        stamps += len(read(rows))
    return stamps / (time.perf_counter() - started)


def main(
    stamps: Annotated[Path | None, typer.Argument(help="A stamp set; by default one of noise is made.")] = None,
    rows: Annotated[int, typer.Option(help="Stamps of the set that is made.", min=BATCH)] = 1500,
    seed: Annotated[int, typer.Option(help="Draws noise and rows.")] = 0,
) -> None:
    """Measure the three ways and print."""
    found: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        path = stamps or written(Path(folder) / "noise.h5", rows, seed)
        with StampSet(path) as ours, h5py.File(path) as file:
            images = file["images"]
            size = images.dtype.itemsize * int(np.prod(images.shape[1:])) / 1e6
            for name, wanted in plans(len(ours), seed).items():
                rounds = [(rate(ours.pixels, wanted), rate(images.__getitem__, wanted)) for _ in range(ROUNDS)]
                own, bare = (float(value) for value in np.median(np.array(rounds), axis=0))
                ratio = float(np.median([one / other for one, other in rounds]))
                found.append(
                    {
                        "read": name,
                        "stamps_per_s": own,
                        "mb_per_s": own * size,
                        "h5py_stamps_per_s": bare,
                        "h5py_mb_per_s": bare * size,
                        "ratio": ratio,
                    }
                )
    save("reader", found)


if __name__ == "__main__":
    typer.run(main)
