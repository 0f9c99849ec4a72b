"""Claim: the LVM with a head needs 50 times fewer labels for macro AUC 0.9 than a ResNet18 (Fu et al. 2024).

Real pictures (`gz2-sdss`, `rings-decals` below GALAXYLOOP_REAL_DATA) with the released weights, which have seen no
label of theirs; the five simulated classes with the pretrained-only encoder, if `release_nano` left it. The test half
is fixed by the hash of the file name. Per set: the LVM's frozen features (mean over the eight symmetries) under the
campaign's head, principal components of the pixels, and networks trained whole, the LVM and ResNet18 from scratch,
whose trainings are kept: a killed run goes on where it was. With `--resnet-pretraining N` also a ResNet18 that began by
reading the truth of simulated stamps for N steps of profile `nano`; 4,000 are as many stamps as the LVM has seen, and
take two hours of one core. With `--encoder FOLDER` the real pictures are judged by another checkpoint, such as one
adapted to them without labels by `galaxyloop pretrain --init models/lvm-nano-2`.

    python -m benchmarks.bench_label_efficiency [--draws 10] [--whole-draws 2] [--sets gz2-sdss,rings-decals]
        [--resnet-pretraining 4000] [--encoder build/adapted]
"""

import argparse
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.report import FOLDER, Row, save
from lvm_training.evaluation.plots import few_shot_figure
from lvm_training.evaluation.probes import Curve, fixed_test_half, label_efficiency, labels_to_reach
from lvm_training.importing.importer import import_stamps
from lvm_training.model.encoder import Encoder
from lvm_training.model.lvm import LVM
from lvm_training.params import load_params
from lvm_training.paths import NANO_BUILD, RELEASED_LVM, STAMP_FILE
from lvm_training.stages.baselines import pretrained_resnet
from lvm_training.stages.evaluate import curves
from lvm_training.stamps.render import render_set
from lvm_training.stamps.stampset import StampSet

REAL: dict[str, tuple[str, tuple[int, ...]]] = {
    "gz2-sdss": ("odd_spiral", (20, 60, 200, 600, 900)),
    "rings-decals": ("ring", (10, 20, 60)),
}
# arcsec, as of the rings; Galaxy Zoo 2 scales its pictures by the galaxies, which then fill the frame alike
PIXEL_SCALE = 0.262
SIMULATED = "simulated"
OURS = {"LVM": "times_frozen", "LVM, trained whole": "times_whole"}  # columns
SIZES = (10, 20, 50, 100, 200, 500, 1000)


class Pool(NamedTuple):
    """Labelled pictures, and which of them are for tests."""

    images: torch.Tensor
    labels: list[str]
    test: NDArray[np.bool_]
    sizes: tuple[int, ...]


def real_pool(name: str, encoder: Encoder, root: Path) -> Pool:
    """A folder of real pictures with its labels."""
    column, sizes = REAL[name]
    folder = root / name
    with TemporaryDirectory() as scratch:
        path = Path(scratch) / f"{name}.h5"
        import_stamps(folder, path, labels=folder / "labels.csv", pixel_scale=PIXEL_SCALE)
        with StampSet(path) as stamps:
            value = stamps.column(column).astype(float)
            rows = np.flatnonzero(np.isfinite(value))
            files = [str(file) for file in stamps.column("file")[rows]]
            images = render_set(stamps, rows, encoder.rendering)
    return Pool(images, [str(int(v)) for v in value[rows]], fixed_test_half(files), sizes)


def simulated_pool(encoder: Encoder) -> Pool:
    """The release's stamps."""
    with StampSet(STAMP_FILE) as stamps:
        test = np.asarray(stamps.column("split") == "test")
        labels = [str(name) for name in stamps.column("morphology")]
        return Pool(render_set(stamps, slice(None), encoder.rendering), labels, test, SIZES)


def read_pool(name: str, checkpoint: Path = RELEASED_LVM) -> tuple[Pool, Encoder] | None:
    """Pictures, labels and test half of a set, and the encoder that may be tested on it; None where one is missing.

    The simulated classes are for the encoder that `release_nano` left before it read any truth, whatever `checkpoint`.
    """
    folder = NANO_BUILD / "pretrained" if name == SIMULATED else checkpoint
    root = Path(os.environ.get("GALAXYLOOP_REAL_DATA", "../shared/data"))
    needed = folder if name == SIMULATED else root / name
    if not needed.is_dir():
        print(f"{name}: left out, there is no {needed}")
        return None
    encoder = Encoder.load(folder)
    return simulated_pool(encoder) if name == SIMULATED else real_pool(name, encoder, root), encoder


def features(encoder: Encoder, images: torch.Tensor) -> NDArray[np.float32]:
    """Features (N, D) as a campaign has them."""
    return torch.cat([encoder.features(part) for part in torch.split(images, 256)]).numpy()


def measure(
    pool: Pool,
    matrix: NDArray[np.float32],
    draws: int,
    whole_draws: int,
    *,
    lvm: LVM | None = None,
    pretrained: dict[str, torch.Tensor] | None = None,
) -> dict[str, Curve]:
    """Curves by model as stage `evaluate` measures them, from the pool's features, all on the same draws of labels."""
    changes = {"sizes": pool.sizes, "draws": draws, "whole_draws": whole_draws, "seed": 0}
    params = load_params().evaluate.model_copy(update=changes)
    train, test = np.flatnonzero(~pool.test), np.flatnonzero(pool.test)
    return curves(matrix, pool.images, pool.labels, train, test, params, lvm=lvm, pretrained=pretrained)


def rows_of(name: str, curves: dict[str, Curve]) -> list[Row]:
    """A row per model and size; beside its last the labels a model needs for AUC 0.9, and over what ours need."""
    needs = {model: labels_to_reach(curve) for model, curve in curves.items()}
    rows: list[Row] = []
    for model, curve in curves.items():
        crossing = needs[model].value
        last: Row = {"labels_to_0.9": f"> {curve.sizes[-1]}" if crossing is None else round(crossing)}
        last |= {name: label_efficiency(needs[model], needs[ours]) for ours, name in OURS.items() if ours in needs}
        for size, mean, spread in zip(curve.sizes, curve.mean, curve.spread, strict=True):
            row: Row = {"set": name, "model": model, "labels": size, "auc": float(mean), "spread": float(spread)}
            shown = last if size == curve.sizes[-1] else dict.fromkeys(last, "")
            rows.append({**row, "draws": len(curve.auc), **shown})
    return rows


def main() -> None:
    """Measure the sets asked for and print one table."""
    parser = argparse.ArgumentParser(description="Labels to macro AUC 0.9.")
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--whole-draws", type=int, default=2)
    parser.add_argument("--sets", default=",".join([SIMULATED, *REAL]))
    parser.add_argument("--resnet-pretraining", type=int, default=0)
    parser.add_argument("--encoder", type=Path, default=RELEASED_LVM)
    asked = parser.parse_args()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    rows = []
    for name in asked.sets.split(","):
        read = read_pool(name, asked.encoder)
        if read is None:
            continue
        pool, encoder = read
        steps = asked.resnet_pretraining
        pretrained = pretrained_resnet("resnet18", encoder.rendering, steps) if steps and name != SIMULATED else None
        matrix = features(encoder, pool.images)
        curves = measure(pool, matrix, asked.draws, asked.whole_draws, lvm=encoder.lvm, pretrained=pretrained)
        few_shot_figure(curves, FOLDER / f"label_efficiency_{name}.png", title=f"Label efficiency, {name}")
        rows.extend(rows_of(name, curves))
    save("label_efficiency", rows)


if __name__ == "__main__":
    main()
