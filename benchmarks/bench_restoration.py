"""Claim: `galaxyloop restore` gains 3 dB or more on blurred and noisy stamps, and more than every classical method.

Beside it stands the decoder alone; `restore` makes of its picture and of what was observed pixels in units of flux. The
same degraded stamps, simulated from seeds no training draws, go to both and to total variation, wavelets, non-local
means and Richardson-Lucy, each tuned for PSNR on other stamps. The reference has neither added blur nor noise. The flux
bias is that within 3 arcsec, less 1, against the reference: the median over stamps and bands, and the median of its
size. Pictures have the flux that their stretch gives, taken back.

With `--judged N`: whether what people say of restored stamps helps. Simulated people, who know the truth, say of N
worse exposures which picture is nearer, and paint where the restored one is far off. The decoder is fine-tuned on that
as campaigns do it, on the same stamps as if all were told apart by no weight, and on simulated stamps alone: the same
steps, seeds and batches. What comes out restores other worse exposures, by the decoder alone.

    python -m benchmarks.bench_restoration [checkpoint [stamps [seeds]]] [--judged N] [--steps 100] [--batch 16]
"""

import argparse
import os
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from benchmarks.report import Row, save
from lvm_training.model.encoder import load_checkpoint
from lvm_training.model.lvm import LVM
from lvm_training.params import FinetuneParams
from lvm_training.paths import RELEASED_LVM
from lvm_training.pretraining.views import unstretched
from lvm_training.restoration.finetuning import ARTEFACT, BETTER, WORSE, Judged, finetune_decoder
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
from lvm_training.stamps.rendering import Rendering
from lvm_training.stamps.stampset import LEGACY_PIXEL_SCALE

STAMPS, TUNING, SEEDS = 200, 24, 3


SEEN = 5  # pixels over which a simulated person sees errors
FAR, TWICE = 0.02, 2.0  # of the white, and of the observation's error, from which one is an artefact
FEWEST_PAINTED = 9  # pixels


class Alike(Judged):
    """A judged tile that counts as any other, wherever somebody painted."""

    @property
    def weight(self) -> NDArray[np.float32]:
        """One for each pixel (S, S)."""
        return np.ones(self.painted.shape, np.float32)


class Unread(Judged):
    """A judged tile that teaches nothing."""

    @property
    def weight(self) -> NDArray[np.float32]:
        """Zero for each pixel (S, S)."""
        return np.zeros(self.painted.shape, np.float32)


def main() -> None:
    """Measure and print the mean over seeds and its spread."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    parser = argparse.ArgumentParser(description="Restoration against classical methods, or what judgements teach.")
    parser.add_argument("checkpoint", nargs="?", type=Path, default=RELEASED_LVM)
    parser.add_argument("stamps", nargs="?", type=int, default=STAMPS)
    parser.add_argument("seeds", nargs="?", type=int, default=SEEDS)
    parser.add_argument("--judged", type=int, default=0, help="stamps that are judged")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch", type=int, default=16)
    asked = parser.parse_args()
    if asked.judged:
        judgements(asked)
    else:
        methods(asked.checkpoint, asked.stamps, asked.seeds)


def judgements(asked: argparse.Namespace) -> None:
    """What a decoder restores before and after it learned from judged stamps."""
    lvm, card = load_checkpoint(asked.checkpoint)
    # stamps go through the decoder at their own pixels
    rendering = card.rendering.model_copy(update={"field": card.rendering.size * LEGACY_PIXEL_SCALE})
    found: dict[str, list[tuple[float, float, float, float]]] = {}
    said = Counter[str]()
    for seed in range(asked.seeds):
        taught, sample = (
            simulated_sample(n, rendering, 200 + 2 * seed + i) for i, n in enumerate((asked.judged, asked.stamps))
        )
        tiles = judged_by_truth(taught, restored_by(lvm, taught))
        said.update(one.said for one in tiles)
        params = FinetuneParams(steps=asked.steps, batch=asked.batch, seed=seed)
        decoders = {"first decoder": lvm}
        for name, kind in (("simulated alone", Unread), ("judged, all alike", Alike), ("as judged", Judged)):
            decoders[name] = tuned(lvm, [kind(*one) for one in tiles], rendering, params)
        pictures = {name: restored_by(one, sample) for name, one in decoders.items()}
        for row in restoration_table(sample.clean, sample.degraded, pictures):
            light = unstretched(pictures.get(row.method, sample.degraded), sample.rendering)
            found.setdefault(row.method, []).append((row.psnr, row.ssim, row.gain, flux_bias(sample, light)[1]))
    names = ("psnr", "ssim", "gain", "flux_error")
    rows: list[Row] = [
        {
            "method": method,
            **dict(zip(names, np.mean(each, axis=0).tolist(), strict=True)),
            "spread": float(np.std([one[2] for one in each], ddof=min(1, len(each) - 1))),
        }
        for method, each in found.items()
    ]
    save("judged-restoration", rows)
    print(f"What was said of {asked.judged} stamps in each of {asked.seeds} runs: {dict(said)}")


def tuned(lvm: LVM, tiles: list[Judged], rendering: Rendering, params: FinetuneParams) -> LVM:
    """The decoder after it learned."""
    with TemporaryDirectory() as folder:
        return finetune_decoder(lvm, tiles, rendering, params, Path(folder) / "resume")


def judged_by_truth(sample: DegradedSample, restored: torch.Tensor) -> list[Judged]:
    """What somebody would say who sees the truth, stamp by stamp."""
    light = unstretched(restored, sample.rendering).numpy()
    pictures = zip(sample.clean.numpy(), sample.degraded.numpy(), restored.numpy(), strict=True)
    found = []
    for place, (true, observed, picture) in enumerate(pictures):
        before, after = (uniform_filter(np.abs(one - true).mean(axis=0), SEEN) for one in (observed, picture))
        painted = (after > FAR) & (after > TWICE * before)
        seen = painted.sum() >= FEWEST_PAINTED
        said = ARTEFACT if seen else BETTER if after.mean() < before.mean() else WORSE
        found.append(Judged(sample.bands[place].numpy(), light[place], said, painted & seen))
    return found


def methods(checkpoint: Path, stamps: int, seeds: int) -> None:
    """Restoration by the LVM against classical methods."""
    lvm, card = load_checkpoint(checkpoint)
    restorer = Restorer(lvm, card.rendering)
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
