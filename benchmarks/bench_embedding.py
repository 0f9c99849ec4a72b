"""Claim: embedding a stamp set from disk keeps 0.9 of the throughput of timm's bare encoder on pictures in memory.

Ours reads HDF5, renders, runs the encoder and writes features; the anchor is the forward pass of the same timm
SwinTransformer, alone. They take turns, so that both see the same machine. Both are measured in pictures through the
encoder: with 8 views a stamp is eight pictures.

    python -m benchmarks.bench_embedding [stamps.h5]
"""

import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.report import Row, save
from lvm_training.model.encoder import Encoder
from lvm_training.paths import RELEASED_LVM, STAMP_FILE
from lvm_training.pool.embedding import embed_to
from lvm_training.stamps.stampset import StampSet
from lvm_training.stamps.symmetries import SYMMETRIES

BATCH = 128
ROUNDS = 5


def ours(stamps: StampSet, encoder: Encoder) -> float:
    """Pictures per second from disk to features."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        embed_to(Path(folder) / "features.npy", stamps, encoder, batch=BATCH)
        return encoder.views * len(stamps) / (time.perf_counter() - started)


@torch.inference_mode()
def anchor(encoder: Encoder, count: int) -> float:
    """Pictures per second through the bare encoder."""
    size = encoder.rendering.size
    images = torch.rand(BATCH, 3, size, size, device=encoder.device)
    batches = -(-count // BATCH)
    started = time.perf_counter()
    for _ in range(batches):
        encoder.lvm.encoder.forward_features(images)
    return batches * BATCH / (time.perf_counter() - started)


def main() -> None:
    """Measure with one view and with all, and print."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    rows: list[Row] = []
    with StampSet(Path(sys.argv[1]) if len(sys.argv) > 1 else STAMP_FILE) as stamps:
        for views in (1, SYMMETRIES):
            encoder = Encoder.load(RELEASED_LVM, views)
            anchor(encoder, BATCH)
            rounds = [(ours(stamps, encoder), anchor(encoder, len(stamps))) for _ in range(ROUNDS)]
            embed, bare = (float(rate) for rate in np.median(np.array(rounds), axis=0))
            ratio = float(np.median([own / other for own, other in rounds]))
            rows.append(
                {
                    "views": views,
                    "stamps": len(stamps),
                    "stamps_per_s": embed / views,
                    "pictures_per_s": embed,
                    "timm_per_s": bare,
                    "ratio": ratio,
                }
            )
    save("embedding", rows)


if __name__ == "__main__":
    main()
