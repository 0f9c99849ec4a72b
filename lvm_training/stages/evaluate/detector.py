"""Stage `evaluate_detector`: how well build/detector/ finds lenses, and what its answers look like."""

import os
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from lvm_training.detection.checkpoint import load_detector
from lvm_training.detection.detector import Detector
from lvm_training.evaluation.plots import picture_grid
from lvm_training.files import write_csv, write_json
from lvm_training.lenses.lens_sets import LensSplit, draw_pool, lens_rendering, population_of, read_lenses
from lvm_training.lenses.lens_stamps import OBJECTS, WANTED
from lvm_training.objects.instances import Instances
from lvm_training.objects.metrics import (
    SCORE,
    average_precision,
    completeness,
    detection_accuracy,
    picture_scores,
    purity_at,
)
from lvm_training.params import LensesParams, load_params
from lvm_training.paths import DETECTION_CURVE, DETECTION_FIGURE, DETECTION_METRICS, DETECTOR, LENS_FILE, LENS_TRUTH
from lvm_training.progress import Progress, progress_bar

RATES = (1e-2, 1e-3)
TOP, PREVALENCE = 100, 0.01
ACROSS = 3  # examples in a row of the figure


def detection_metrics(split: LensSplit, found: Sequence[Instances]) -> dict[str, float]:
    """Accuracy, AP of boxes and masks, and completeness at the false-positive rates that the negatives resolve."""
    scores = picture_scores(found, WANTED)
    metrics = {"accuracy": detection_accuracy(split.truths, found, WANTED)}
    for kind, prefix in (("bbox", "box"), ("segm", "mask")):
        precision = average_precision(split.truths, found, OBJECTS, kind=kind)  # type: ignore[arg-type]
        metrics |= {f"{prefix}_{name}": value for name, value in precision.items()}
    return metrics | completeness_metrics(scores, split.positive)


def completeness_metrics(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> dict[str, float]:
    """Completeness at `RATES`, as far as there are negatives enough."""
    usable = [rate for rate in RATES if rate * (~positive).sum() >= 1]
    return {f"completeness_{rate:g}": completeness(scores, positive, rate) for rate in usable}


def pool_metrics(
    detector: Detector, lenses: LensesParams, size: int, progress: Progress | None = None
) -> dict[str, float]:
    """Purity of the best `TOP` of a pool of `size` stamps, one in a hundred a lens, and completeness in it."""
    rendering = lens_rendering(detector.design.size)
    scores, positive = [], []
    for images, kinds in draw_pool(size, PREVALENCE, population_of(lenses), rendering, seed=lenses.seed):
        scores.append(picture_scores(detector.predict(images), WANTED))
        positive.append(kinds)
        if progress is not None:
            progress(sum(map(len, positive)), size)
    score, lens = np.concatenate(scores), np.concatenate(positive)
    measured = completeness_metrics(score, lens) | {"purity": purity_at(score, lens, TOP)}
    return {f"pool_{name}": value for name, value in measured.items()}


def draw_examples(split: LensSplit, found: Sequence[Instances], count: int) -> None:
    """The first stamps of each kind, as they are, with the truth, and with what was found with a score of one half."""
    rows = [row for kind in np.unique(split.kinds) for row in np.flatnonzero(split.kinds == kind)[:count]]
    sure = [found[row].rows(found[row].scores >= SCORE) for row in rows]
    nothing = Instances.empty(found[0].shape)
    picture_grid(
        [[split.images[row]] * 3 for row in rows],
        ["stamp", "truth", "found"],
        DETECTION_FIGURE,
        title="Test stamps: arcs cyan, deflectors red, galaxies yellow",
        field=lens_rendering(found[0].shape[0]).field,
        captions=[[str(split.kinds[row]), "", ""] for row in rows],
        objects=[[nothing, split.truths[row], one] for row, one in zip(rows, sure, strict=True)],
        across=ACROSS,
    )


def main() -> None:
    """Measure the detector on the test split and on a pool."""
    params = load_params()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    detector, card = load_detector(DETECTOR)
    split = read_lenses(LENS_FILE, LENS_TRUTH, "test", card.rendering)
    with progress_bar("Test split") as progress:
        found = detector.predict(split.images)
        progress(1, 2)
        metrics = detection_metrics(split, found)
        progress(2, 2)
    if params.detector.pool:
        with progress_bar("Pool") as progress:
            metrics |= pool_metrics(detector, params.lenses, params.detector.pool, progress)
    draw_examples(split, found, params.detector.examples)
    scores, positive = picture_scores(found, WANTED), split.positive
    levels = np.unique(scores)[::-1]
    write_csv(
        DETECTION_CURVE,
        ("false_positive_rate", "completeness"),
        [(float((scores[~positive] >= s).mean()), float((scores[positive] >= s).mean())) for s in levels],
    )
    write_json(DETECTION_METRICS, metrics)


if __name__ == "__main__":
    main()
