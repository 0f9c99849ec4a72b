"""Claim: embedding a stamp set from disk keeps 0.9 of the throughput of timm's bare encoder on pictures in memory.

Ours reads HDF5, renders, runs the encoder and writes features; the anchor is the forward pass of the same timm
SwinTransformer, alone. They take turns, so that both see the same machine.

    python -m benchmarks.bench_embedding [stamps.h5]
"""

import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.report import save
from lvm_training.model.encoder import Encoder
from lvm_training.pool.embedding import embed_to
from lvm_training.stages.paths import RELEASED_LVM, STAMP_FILE
from lvm_training.stamps.stampset import StampSet

BATCH = 128
ROUNDS = 5


def ours(stamps: StampSet, encoder: Encoder) -> float:
    """Stamps per second from disk to features."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        embed_to(Path(folder) / "features.npy", stamps, encoder, batch=BATCH)
        return len(stamps) / (time.perf_counter() - started)


@torch.inference_mode()
def anchor(encoder: Encoder, count: int) -> float:
    """Pictures per second through the bare encoder."""
    images = torch.rand(BATCH, 3, encoder.rendering.size, encoder.rendering.size)
    batches = -(-count // BATCH)
    started = time.perf_counter()
    for _ in range(batches):
        encoder.lvm.encoder.forward_features(images)
    return batches * BATCH / (time.perf_counter() - started)


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    encoder = Encoder.load(RELEASED_LVM)
    with StampSet(Path(sys.argv[1]) if len(sys.argv) > 1 else STAMP_FILE) as stamps:
        anchor(encoder, BATCH)
        rounds = [(ours(stamps, encoder), anchor(encoder, len(stamps))) for _ in range(ROUNDS)]
    rates = np.median(np.array(rounds), axis=0)
    save(
        "embedding",
        [
            {
                "stamps": len(stamps),
                "embed_per_s": float(rates[0]),
                "timm_per_s": float(rates[1]),
                "ratio": float(np.median([own / bare for own, bare in rounds])),
            }
        ],
    )


if __name__ == "__main__":
    main()
