"""What a trained model is worth: on simulated stamps it never saw, and on real pictures with few labels or none."""

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from torch import nn

from lvm_training.model.encoder import Encoder
from lvm_training.model.lvm import LVM
from lvm_training.model.precision import computing, fast_precision
from lvm_training.observation.degrade import degrade
from lvm_training.pretraining.multitask import explained_variance
from lvm_training.scenes.simulated_classes import SIMULATED
from lvm_training.scenes.truth import TruthScale
from lvm_training.simulated.simulated_set import SimulatedSet, drawn_set, standardised
from lvm_training.simulated.zero_label import zero_label_auc
from lvm_training.stamps.render import stretch
from lvm_training.timed.drawing import drawn_scenes, seen_truth, shown
from lvm_training.timed.pack import Pack
from lvm_training.timed.recipe import TimedRecipe

Figures = dict[str, float]
SIZES = (10, 25, 50, 100, 200, 500)
PENALTY = 0.01  # inverse: the prior variance of a weight on standardised features


@torch.no_grad()
def held_out(lvm: LVM, readout: nn.Linear, scale: TruthScale, recipe: TimedRecipe, count: int, chunk: int) -> Figures:
    """`truth/<name>`, explained variance of each truth; their mean; `restoration`, gain of PSNR in dB."""
    device = lvm.mask_token.device
    truths, readings, gains = [], [], []
    for start in range(0, count, chunk):
        rng = np.random.default_rng((recipe.seed, 1, start))
        scenes, field, realistic = drawn_scenes(min(chunk, count - start), recipe, rng, device, parts=False)
        rendering = recipe.rendering.model_copy(update={"field": field})
        pictures = shown(scenes.observed, recipe, field, rng, realistic=realistic)
        worse = stretch(degrade(scenes.observed, rng, pixel_scale=field / rendering.size), rendering)
        with computing(device, fast_precision(device)):
            readings.append(readout(lvm.features(pictures)).float().cpu())
            restored = lvm(worse).float()
        target = stretch(scenes.noiseless, rendering)
        before, after = (
            (one.clamp(0, 1) - target).square().mean((1, 2, 3)).clamp(min=1e-10) for one in (worse, restored)
        )
        gains.append((10 * torch.log10(before / after)).cpu())
        truths.append(seen_truth(scenes, scale, field, recipe).cpu())
    explained = explained_variance(torch.cat(truths), torch.cat(readings))
    named = {f"truth/{name}": float(value) for name, value in zip(scale.names, explained, strict=True)}
    return {"truth": float(explained.nanmean()), "restoration": float(torch.cat(gains).mean()), **named}


def features(encoder: Encoder, pictures: torch.Tensor, chunk: int) -> NDArray[np.float32]:
    """Feature vectors (N, width) of pictures (N, 3, S, S), uint8 or in [0, 1], `chunk` of them at a time."""
    images = (part.float() / 255 if part.dtype == torch.uint8 else part for part in torch.split(pictures, chunk))
    return np.asarray(torch.cat([encoder.features(part) for part in images]).numpy())


def judged(
    lvm: LVM, recipe: TimedRecipe, pack: Pack, *, stamps: int, chunk: int, sizes: Sequence[int], draws: int
) -> Figures:
    """AUC on a pack: `zero/<task>`, `zero/<task>/<class>` from simulated labels alone, `few/<task>/<n>` from n real.

    Zero-label figures of tasks whose names `SIMULATED` has are of all pictures with a label, few-label ones of the test
    half. Each set's features are standardised by all its pictures, without their labels.

    Parameters
    ----------
    stamps : int
        Simulated stamps that give the zero-label classes.
    chunk : int
        Pictures that go through the encoder at a time.
    sizes : sequence of int
        Numbers of real labels.
    draws : int
        Draws of labels for each number of them.
    """
    encoder = Encoder(lvm, recipe.rendering, precision=fast_precision(lvm.mask_token.device))
    matrix = features(encoder, pack.pictures, chunk)
    for name in np.unique(pack.sets):
        rows = pack.sets == name
        matrix[rows] = standardised(matrix[rows])
    simulated = drawn_set(encoder, stamps)
    figures: Figures = {}
    for task, labels in pack.labels.items():
        if task in SIMULATED:
            figures |= _zero(task, simulated, matrix, labels)
        figures |= _few(task, matrix, labels, pack.splits, sizes, recipe.seed, draws)
    zero = [value for name, value in figures.items() if name.startswith("zero/") and name.count("/") == 1]
    few = [value for name, value in figures.items() if name.startswith("few/")]
    return {"zero": float(np.mean(zero)) if zero else np.nan, "few": float(np.mean(few)) if few else np.nan, **figures}


def _zero(task: str, simulated: SimulatedSet, matrix: NDArray[np.float32], labels: NDArray[np.str_]) -> Figures:
    aucs = zero_label_auc(simulated, SIMULATED[task], matrix, labels)
    by_class = {f"zero/{task}/{name}": auc for name, auc in aucs.items()} if len(SIMULATED[task]) > 2 else {}
    return {f"zero/{task}": float(np.mean(list(aucs.values()))), **by_class} if aucs else {}


def _few(
    task: str,
    matrix: NDArray[np.float32],
    labels: NDArray[np.str_],
    splits: NDArray[np.str_],
    sizes: Sequence[int],
    seed: int,
    draws: int,
) -> Figures:
    fit, test = (np.flatnonzero((labels != "") & (splits == split)) for split in ("fit", "test"))
    classes = sorted(set(labels[test]))
    figures: Figures = {}
    for size in [size for size in sizes if size <= len(fit) and len(classes) > 1]:
        aucs = []
        for draw in range(draws):
            rows = np.random.default_rng((seed, draw)).permutation(fit)[:size]
            if len(set(labels[rows])) < 2:
                continue
            probability, names = _fitted(matrix[rows], labels[rows], matrix[test])
            scores = {name: probability[:, place] for place, name in enumerate(names)}
            nothing = np.zeros(len(test))
            aucs.append(np.mean([_auc(labels[test] == name, scores.get(name, nothing)) for name in classes]))
        if aucs:
            figures[f"few/{task}/{size}"] = float(np.mean(aucs))
    return figures


def _fitted(
    known: NDArray[np.float32], labels: NDArray[np.str_], wanted: NDArray[np.float32]
) -> tuple[NDArray[np.float64], list[str]]:
    """Probabilities (M, C) and the names of the classes, from a penalised logistic regression."""
    # the penalty is a sum over stamps' losses against one prior: strengths are those of ClassificationHead
    model = LogisticRegression(C=PENALTY, max_iter=100)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(known, labels)
    return np.asarray(model.predict_proba(wanted)), [str(name) for name in model.classes_]


def _auc(truth: NDArray[np.bool_], score: NDArray[np.float64]) -> float:
    return float(roc_auc_score(truth, score)) if 0 < truth.sum() < len(truth) else float("nan")
