"""Claim: the LVM restores blurred and noisy stamps by 3 dB or more, and better than every classical method.

The same degraded stamps, simulated from seeds no training draws, go to the LVM and to total variation, wavelets,
non-local means and Richardson-Lucy, each tuned for PSNR on other stamps. The reference has neither added blur nor
noise.

    python -m benchmarks.bench_restoration [checkpoint]
"""

import os
import sys
from pathlib import Path

import numpy as np
import torch

from benchmarks.report import Row, save
from lvm_training.evaluation.restoration import (
    restoration_table,
    restored_by,
    restored_classically,
    simulated_sample,
    tuned_settings,
)
from lvm_training.model.encoder import load_checkpoint
from lvm_training.paths import RELEASED_LVM

STAMPS, TUNING, SEEDS = 200, 24, 3


def main() -> None:
    """Measure and print the mean over seeds and its spread."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    lvm, card = load_checkpoint(Path(sys.argv[1]) if len(sys.argv) > 1 else RELEASED_LVM)
    tables = []
    for seed in range(SEEDS):
        sample, tuning = (simulated_sample(n, card.rendering, 2 * seed + i) for i, n in enumerate((STAMPS, TUNING)))
        pictures = {"LVM": restored_by(lvm, sample), **restored_classically(sample, tuned_settings(tuning))}
        tables.append(restoration_table(sample.clean, sample.degraded, pictures))
    rows: list[Row] = []
    for same in zip(*tables, strict=True):
        gains = [row.gain for row in same]
        psnr, ssim = (float(np.mean([getattr(row, name) for row in same])) for name in ("psnr", "ssim"))
        spread = float(np.std(gains, ddof=1))
        rows.append(
            {"method": same[0].method, "psnr": psnr, "ssim": ssim, "gain": float(np.mean(gains)), "spread": spread}
        )
    best = max(float(row["gain"]) for row in rows if row["method"] != "LVM")
    save("restoration", [row | {"lvm_ahead": float(rows[1]["gain"]) - float(row["gain"])} for row in rows])
    print(f"LVM over the best classical method: {float(rows[1]['gain']) - best:+.2f} dB")


if __name__ == "__main__":
    main()
