"""Claim: the LVM with a head needs 50 times fewer labels for macro AUC 0.9 than a ResNet18 (Fu et al. 2024).

Real pictures with clean labels below GALAXYLOOP_REAL_DATA and the released weights, which have seen no label of theirs;
the five simulated classes with the pretrained-only encoder, if `release_nano` left it. The test half is fixed by the
hash of the file name; labels of real sets are drawn as they come, of simulated ones the same number of each class. Per
set: the LVM's frozen features (mean over the eight symmetries) under the campaign's head, with and without the prior
that simulated stamps teach; principal components of the pixels; and networks trained whole, the LVM and ResNet18 from
scratch, the latter also judged from one view alone, as papers do. Trainings are kept: a killed run goes on where it
was. With `--resnet-pretraining N` also a ResNet18 that began by reading the truth of simulated stamps for N steps of
profile `nano`; 4,000 take two hours of one core. With `--encoder` the real pictures are judged by another
encoder: a detector's, or one adapted to them without labels by `galaxyloop pretrain --init models/lvm-nano-2`.

    python -m benchmarks.bench_label_efficiency [--draws 10] [--whole-draws 2] [--sets morphology5,bars]
        [--resnet-pretraining 4000] [--encoder build/adapted]
"""

import argparse
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.report import FOLDER, Row, asked_encoder, save
from lvm_training.evaluation.baselines import pretrained_resnet, whole_resnet18
from lvm_training.evaluation.plots import few_shot_figure
from lvm_training.evaluation.probes import (
    Curve,
    FitPredict,
    few_shot_curve,
    fixed_test_half,
    label_efficiency,
    labels_to_reach,
)
from lvm_training.evaluation.real_lenses import real_data
from lvm_training.evaluation.real_sets import RealSet, read_set
from lvm_training.heads.classification import ClassificationHead, feature_scale
from lvm_training.heads.prior import AlignedPrior, Prior
from lvm_training.model.encoder import Encoder
from lvm_training.model.lvm import LVM
from lvm_training.params import load_params
from lvm_training.paths import NANO_BUILD, RELEASED_LVM, STAMP_FILE
from lvm_training.progress import progress_bar
from lvm_training.scenes.simulated_classes import SIMULATED as SIMULATED_CLASSES
from lvm_training.simulated.simulated_set import simulated_set
from lvm_training.stages.evaluate.lvm import curves
from lvm_training.stamps.render import render_set
from lvm_training.stamps.stampset import StampSet
from lvm_training.timed.judging import features


class Question(NamedTuple):
    """What people were asked of real pictures: folders, the task of `real_sets.COLUMNS`, and numbers of labels."""

    folders: tuple[str, ...]
    task: str
    sizes: tuple[int, ...]


REAL: dict[str, Question] = {
    "morphology5": Question(("gz2-sdss", "gz2-sdss-more"), "morphology5", (10, 25, 50, 100, 200, 500)),
    "hubble7": Question(("efigi",), "morphology7", (50, 200)),
    "bars": Question(("efigi",), "bar", (50, 200)),
    "inner-rings": Question(("efigi",), "ring", (50, 200)),
    "perturbed": Question(("efigi",), "perturbation", (50, 200)),
    "mergers": Question(("gz1-sdss",), "merger", (20, 60, 200)),
    "rings": Question(("rings-decals",), "ring", (10, 20, 60)),
    "lens-candidates": Question(("lens-candidates-cfhtls",), "lens", (20, 60)),
    "odd-spirals": Question(("gz2-sdss",), "odd_spiral", (20, 60, 200, 600, 900)),
}
SIMULATED = "simulated"
OURS = {"LVM": "times_frozen", "LVM, trained whole": "times_whole"}  # columns
SIZES = (10, 20, 50, 100, 200, 500, 1000)
SEED = 0
CHUNK = 256  # pictures through the encoder at a time
WHOLE_FROM = 50  # labels
ONE_VIEW = "ResNet18, one view"
WITH_PRIOR = "LVM with prior"


class Pool(NamedTuple):
    """Labelled pictures, which of them are for tests, and whether labels are drawn alike of each class."""

    images: torch.Tensor
    labels: list[str]
    test: NDArray[np.bool_]
    sizes: tuple[int, ...]
    balanced: bool


def real_pool(question: Question, encoder: Encoder, root: Path) -> Pool:
    """Real pictures that have an answer, as the encoder reads them."""
    found = [read_set(root / folder, encoder.rendering) for folder in question.folders]
    sets: list[RealSet] = [one for one in found if one is not None]
    labels = np.concatenate([one.labels[question.task] for one in sets])
    rows = np.flatnonzero(labels != "")
    pictures = torch.cat([one.pictures for one in sets])[torch.from_numpy(rows)]
    files = [str(name) for name in np.array([file for one in sets for file in one.files])[rows]]
    test = fixed_test_half(files)
    # of some sets the test half is kept elsewhere: what is here is halved by the next byte
    test = test if test.any() else fixed_test_half(files, byte=1)
    return Pool(pictures.float() / 255, [str(name) for name in labels[rows]], test, question.sizes, False)


def simulated_pool(encoder: Encoder) -> Pool:
    """The release's stamps."""
    with StampSet(STAMP_FILE) as stamps:
        test = np.asarray(stamps.column("split") == "test")
        labels = [str(name) for name in stamps.column("morphology")]
        return Pool(render_set(stamps, slice(None), encoder.rendering), labels, test, SIZES, True)


def read_pool(name: str, checkpoint: Path = RELEASED_LVM) -> tuple[Pool, Encoder] | None:
    """Pictures, labels and test half of a set, and the encoder that may be tested on it; None where one is missing.

    The simulated classes are for the encoder that `release_nano` left before it read any truth, whatever `checkpoint`.
    """
    folder = NANO_BUILD / "pretrained" if name == SIMULATED else checkpoint
    root = real_data()
    needed = [folder] if name == SIMULATED else [root / one for one in REAL[name].folders]
    for path in needed:
        if not path.is_dir():
            print(f"{name}: left out, there is no {path}")
            return None
    encoder = Encoder.load(folder)
    return simulated_pool(encoder) if name == SIMULATED else real_pool(REAL[name], encoder, root), encoder


def taught(name: str, encoder: Encoder) -> Prior | None:
    """What simulated stamps teach of a set's classes; None where the simulator does not draw them."""
    task = REAL[name].task if name in REAL else ""
    if task not in SIMULATED_CLASSES:
        return None
    with progress_bar("Simulated stamps") as progress:
        return simulated_set(encoder, FOLDER / "simulated", progress=progress).prior(SIMULATED_CLASSES[task])


def with_prior(matrix: NDArray[np.float32], classes: list[str], prior: Prior) -> FitPredict:
    """A campaign's head with a prior, aligned to the whole pool."""
    wide = matrix.astype(np.float64)
    aligned = AlignedPrior(prior, wide.mean(axis=0), feature_scale(wide))

    def fit_predict(rows: NDArray[np.int64], known: list[str], wanted: NDArray[np.int64]) -> NDArray[np.float64]:
        head = ClassificationHead.fit(matrix[rows], known, seed=SEED, classes=classes, prior=aligned)
        return np.asarray(head.predict(matrix[wanted]))

    return fit_predict


def measure(
    pool: Pool,
    matrix: NDArray[np.float32],
    draws: int,
    whole_draws: int,
    *,
    lvm: LVM | None = None,
    pretrained: dict[str, torch.Tensor] | None = None,
    prior: Prior | None = None,
) -> dict[str, Curve]:
    """Curves by model as stage `evaluate` measures them, from the pool's features, all on the same draws of labels.

    Networks are trained whole from `WHOLE_FROM` labels on: with fewer nobody would.
    """
    train, test = np.flatnonzero(~pool.test), np.flatnonzero(pool.test)
    changes = {"sizes": pool.sizes, "draws": draws, "whole_draws": 0, "seed": SEED}
    params = load_params().evaluate.model_copy(update=changes)
    found = curves(matrix, pool.images, pool.labels, train, test, params, balanced=pool.balanced)
    if prior is not None:
        found[WITH_PRIOR] = few_shot_curve(
            pool.labels,
            train,
            test,
            sizes=(0, *pool.sizes),
            draws=draws,
            seed=SEED,
            fit_predict=with_prior(matrix, sorted(set(pool.labels)), prior),
            balanced=pool.balanced,
            needed=0,
        )
    sizes = tuple(size for size in pool.sizes if size >= WHOLE_FROM)
    if whole_draws and sizes:
        params = params.model_copy(update={"sizes": sizes, "draws": 1, "whole_draws": whole_draws})
        whole = curves(
            matrix,
            pool.images,
            pool.labels,
            train,
            test,
            params,
            lvm=lvm,
            pretrained=pretrained,
            balanced=pool.balanced,
        )
        found |= {name: curve for name, curve in whole.items() if name not in found}
        found[ONE_VIEW] = few_shot_curve(
            pool.labels,
            train,
            test,
            sizes=sizes,
            draws=whole_draws,
            seed=SEED,
            fit_predict=whole_resnet18(pool.images, seed=SEED, views=1),
            balanced=pool.balanced,
        )
    return found


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
    parser.add_argument("--whole-sets", help="those that networks are trained whole on; default: all")
    parser.add_argument("--resnet-pretraining", type=int, default=0)
    parser.add_argument("--encoder", type=asked_encoder, default=RELEASED_LVM)
    asked = parser.parse_args()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    rows: list[Row] = []
    whole_sets = (asked.whole_sets or asked.sets).split(",")
    for name in asked.sets.split(","):
        read = read_pool(name, asked.encoder)
        if read is None:
            continue
        pool, encoder = read
        steps = asked.resnet_pretraining
        pretrained = pretrained_resnet("resnet18", encoder.rendering, steps) if steps and name != SIMULATED else None
        matrix = features(encoder, pool.images, CHUNK)
        whole_draws = asked.whole_draws if name in whole_sets else 0
        prior = taught(name, encoder)
        lvm = encoder.lvm if whole_draws else None  # features alone may be another's
        curves = measure(pool, matrix, asked.draws, whole_draws, lvm=lvm, pretrained=pretrained, prior=prior)
        few_shot_figure(curves, FOLDER / f"label_efficiency_{name}.png", title=f"Label efficiency, {name}")
        rows.extend(rows_of(name, curves))
    save("label_efficiency", rows)


if __name__ == "__main__":
    main()
