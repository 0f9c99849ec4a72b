"""What embedding will take, from a sample that is embedded now."""

import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import psutil
import torch

from lvm_training.model.encoder import Encoder
from lvm_training.stamps.render import render_pixels
from lvm_training.stamps.stampset import StampSet

SAMPLE = 384  # stamps that are measured, at least


class Estimate(NamedTuple):
    """What one process will take.

    Attributes
    ----------
    stamps : int
        Still to be embedded.
    sample : int
        From how many this was measured; fewer than asked for where the sets are small.
    stamps_per_second : float
        Reading and rendering included.
    seconds : float
        For all of them.
    disk_mb : float
        Features, once they are whole.
    memory_mb, gpu_mb : float
        Of the process, and of its graphics card.
    """

    stamps: int
    sample: int
    stamps_per_second: float
    seconds: float
    disk_mb: float
    memory_mb: float
    gpu_mb: float


def estimate(sets: Sequence[StampSet], left: int, encoder: Encoder, *, batch: int = 128) -> Estimate:
    """What embedding `left` stamps of some sets will take; the sample is spread over them, and is not kept."""
    batches = list(_spread(sets, batch))
    # the first pass of an encoder makes its plans and buffers
    _embed(*batches[0], encoder)
    started, sample = time.perf_counter(), 0
    for stamps, rows in batches:
        sample += _embed(stamps, rows, encoder)
    rate = sample / (time.perf_counter() - started)
    on_gpu = encoder.device.type == "cuda"
    return Estimate(
        stamps=left,
        sample=sample,
        stamps_per_second=rate,
        seconds=left / rate,
        disk_mb=2e-6 * encoder.width * left,
        memory_mb=psutil.Process().memory_info().rss / 1e6,
        gpu_mb=torch.cuda.max_memory_allocated() / 1e6 if on_gpu else 0.0,
    )


def _spread(sets: Sequence[StampSet], batch: int) -> Iterator[tuple[StampSet, slice]]:
    """Batches from the sets in turn, at evenly spaced places of each, until they are `SAMPLE` stamps or more."""
    rounds = -(-SAMPLE // (batch * len(sets)))
    for place in np.linspace(0, 1, rounds, endpoint=False):
        for stamps in sets:
            start = int(place * len(stamps))
            yield stamps, slice(start, min(start + batch, len(stamps)))


def _embed(stamps: StampSet, rows: slice, encoder: Encoder) -> int:
    pixels = stamps.pixels(rows)
    encoder.features(render_pixels(stamps, pixels, encoder.rendering))
    return len(pixels)
