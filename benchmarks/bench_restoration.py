"""Claim: the LVM restores blurred and noisy stamps by 3 dB or more, and better than every classical method.

Beside the decoder alone stands `galaxyloop restore`, which makes of it and of what was observed pixels in units of
flux. The same degraded stamps, simulated from seeds no training draws, go to the LVM and to total variation, wavelets,
non-local means and Richardson-Lucy, each tuned for PSNR on other stamps. The reference has neither added blur nor
noise. The flux bias is that within 3 arcsec, less 1, against the reference: the median over stamps and bands, and the
median of its size. Pictures have the flux that their stretch gives, taken back.

    python -m benchmarks.bench_restoration [checkpoint [stamps [seeds]]]
"""

import os
import sys
from pathlib import Path

import numpy as np
import torch

from benchmarks.report import Row, save
from lvm_training.model.encoder import load_checkpoint
from lvm_training.paths import RELEASED_LVM
from lvm_training.pretraining.views import unstretched
from lvm_training.restoration.metrics import (
    DegradedSample,
    restoration_table,
    restored_by,
    restored_classically,
    simulated_sample,
    tuned_settings,
)
from lvm_training.restoration.restorer import Restorer, flux_ratios
from lvm_training.stamps.render import stretch
from lvm_training.stamps.stampset import LEGACY_PIXEL_SCALE

STAMPS, TUNING, SEEDS = 200, 24, 3


def main() -> None:
    """Measure and print the mean over seeds and its spread."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    lvm, card = load_checkpoint(Path(sys.argv[1]) if len(sys.argv) > 1 else RELEASED_LVM)
    restorer = Restorer(lvm, card.rendering)
    asked = [int(text) for text in sys.argv[2:4]]
    stamps, seeds = (*asked, *(STAMPS, SEEDS)[len(asked) :])
    tables, biases = [], []
    for seed in range(seeds):
        counts = (stamps, min(TUNING, stamps))
        sample, tuning = (simulated_sample(n, card.rendering, 2 * seed + i) for i, n in enumerate(counts))
        bands = restored_bands(restorer, sample)
        pictures = {"LVM": restored_by(lvm, sample), "restore": stretch(bands, sample.rendering)}
        pictures |= restored_classically(sample, tuned_settings(tuning))
        tables.append(restoration_table(sample.clean, sample.degraded, pictures))
        lights = {name: unstretched(picture, sample.rendering) for name, picture in pictures.items()}
        biases.append([flux_bias(sample, one) for one in (sample.bands, *(lights | {"restore": bands}).values())])
    rows: list[Row] = []
    for same, bias in zip(zip(*tables, strict=True), np.mean(biases, axis=0), strict=True):
        gains = [row.gain for row in same]
        psnr, ssim = (float(np.mean([getattr(row, name) for row in same])) for name in ("psnr", "ssim"))
        spread = float(np.std(gains, ddof=1)) if seeds > 1 else float("nan")
        found: Row = {"method": same[0].method, "psnr": psnr, "ssim": ssim, "gain": float(np.mean(gains))}
        rows.append(found | {"spread": spread, "flux_bias": float(bias[0]), "flux_error": float(bias[1])})
    best = max(float(row["gain"]) for row in rows if row["method"] not in ("LVM", "restore"))
    save("restoration", [row | {"lvm_ahead": float(rows[1]["gain"]) - float(row["gain"])} for row in rows])
    print(f"LVM over the best classical method: {float(rows[1]['gain']) - best:+.2f} dB")


def restored_bands(restorer: Restorer, sample: DegradedSample) -> torch.Tensor:
    """The bands that `galaxyloop restore` makes of a sample's."""
    scale = sample.rendering.field / sample.rendering.size
    area = (scale / LEGACY_PIXEL_SCALE) ** 2
    return torch.from_numpy(restorer.restore(sample.bands.numpy() * area, "nanomaggies", scale).pixels / area)


def flux_bias(sample: DegradedSample, bands: torch.Tensor) -> tuple[float, float]:
    """Median over stamps and bands of restored over true flux within 3 arcsec, less 1, and of its size."""
    scale = sample.rendering.field / sample.rendering.size
    ratios = flux_ratios(bands.numpy(), sample.reference.numpy(), scale) - 1
    return float(np.nanmedian(ratios)), float(np.nanmedian(np.abs(ratios)))


if __name__ == "__main__":
    main()
