"""Stage `evaluate`: what the encoder's features know of five classes, and what the decoder restores.

No label taught the encoder these classes, but the truth it read in multi-task training holds kindred numbers (a disc,
edge-on, arms). How few labels suffice where it read nothing of them is for `benchmarks/bench_label_efficiency.py`.
"""

import os
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from lvm_training.evaluation.baselines import Weights, pretrained_resnet, whole_lvm, whole_resnet18
from lvm_training.evaluation.metrics import classification_metrics
from lvm_training.evaluation.mirror import hold_up
from lvm_training.evaluation.plots import few_shot_figure, picture_grid
from lvm_training.evaluation.probes import (
    Curve,
    FitPredict,
    Rows,
    few_shot_curve,
    linear_probe,
    nearest_neighbours,
    pixel_pca,
)
from lvm_training.evaluation.real_lenses import real_data
from lvm_training.files import write_csv, write_json
from lvm_training.model.encoder import Encoder, load_checkpoint
from lvm_training.model.lvm import LVM
from lvm_training.model.masking import block_mask, hidden_pixels
from lvm_training.params import EvaluateParams, MultitaskParams, load_params
from lvm_training.paths import (
    EVALUATE_METRICS,
    FEATURE_FILE,
    FEW_SHOT,
    FEW_SHOT_FIGURE,
    LVM_FOLDER,
    RECONSTRUCTION_FIGURE,
    RESTORATION,
    RESTORATION_FIGURE,
    STAMP_FILE,
)
from lvm_training.pool.features import Features
from lvm_training.progress import progress_bar
from lvm_training.restoration.metrics import (
    DegradedSample,
    RestorationRow,
    psnr,
    restoration_table,
    restored_by,
    restored_classically,
    simulated_sample,
    tuned_settings,
)
from lvm_training.simulated.simulated_set import drawn_set, standardised
from lvm_training.simulated.zero_label import zero_label_auc
from lvm_training.stamps.render import render_set
from lvm_training.stamps.rendering import Rendering
from lvm_training.stamps.stampset import StampSet

# the release's classes and what the endless simulator draws of them
MORPHOLOGY_CONCEPTS = {
    "round smooth": "round",
    "in-between smooth": "in-between",
    "cigar-shaped smooth": "cigar",
    "edge-on disc": "edge-on",
    "spiral": "spiral",
}


def probed(features: NDArray[np.float32], labels: list[str], train: Rows, test: Rows, k: int) -> dict[str, float]:
    """Accuracy and macro AUC of the nearest-neighbour and the linear probe with all training labels."""
    known, truth = [labels[row] for row in train], [labels[row] for row in test]
    answers = {
        "knn": nearest_neighbours(features[train], known, features[test], k),
        "linear": linear_probe(features[train], known, features[test], seed=0),
    }
    classes = sorted(set(known))
    measured = {name: classification_metrics(truth, answer, classes) for name, answer in answers.items()}
    return {f"{name}_{key}": values[key] for name, values in measured.items() for key in ("accuracy", "auc")}


def curves(
    features: NDArray[np.float32],
    images: torch.Tensor,
    labels: list[str],
    train: Rows,
    test: Rows,
    p: EvaluateParams,
    *,
    lvm: LVM | None = None,
    pretrained: Weights | None = None,
    balanced: bool = True,
) -> dict[str, Curve]:
    """Few-shot curves of the LVM's features, of principal components of the pixels and of networks trained whole.

    Those are ResNet18 from scratch and, where they are given, `lvm` and the ResNet18 of state `pretrained`, for as
    many draws as `p` says. Their answers are kept in build/resume/. What is `balanced`: see `few_shot_curve`.
    """

    def probe(matrix: NDArray[np.float32]) -> FitPredict:
        return lambda rows, known, wanted: linear_probe(matrix[rows], known, matrix[wanted], seed=p.seed)

    models: dict[str, tuple[FitPredict, int]] = {
        "LVM": (probe(features), p.draws),
        "pixel PCA": (probe(pixel_pca(images, train)), p.draws),
    }
    if p.whole_draws:
        if lvm is not None:
            models["LVM, trained whole"] = (whole_lvm(images, lvm, seed=p.seed), p.whole_draws)
        models["ResNet18 from scratch"] = (whole_resnet18(images, seed=p.seed), p.whole_draws)
        if pretrained is not None:
            models["ResNet18, pretrained alike"] = (
                whole_resnet18(images, seed=p.seed, start=pretrained),
                p.whole_draws,
            )
    return {
        name: few_shot_curve(
            labels, train, test, sizes=p.sizes, draws=draws, seed=p.seed, fit_predict=fit, balanced=balanced
        )
        for name, (fit, draws) in models.items()
    }


def draw_restoration(sample: DegradedSample, pictures: Mapping[str, torch.Tensor], best: str, count: int) -> None:
    """The stamps that were degraded most, what the LVM and the best classical method make of them, and the truth."""
    hardest = np.argsort(psnr(sample.clean, sample.degraded))[:count]
    columns = {"degraded": sample.degraded, best: pictures[best], "LVM": pictures["LVM"], "without noise": sample.clean}
    quality = {name: psnr(sample.clean, values) for name, values in columns.items()}
    captions = [
        [f"{quality[name][row]:.1f} dB" if name != "without noise" else "" for name in columns] for row in hardest
    ]
    rows = [[values[int(row)] for values in columns.values()] for row in hardest]
    picture_grid(
        rows,
        list(columns),
        RESTORATION_FIGURE,
        title="Restoration of simulated stamps",
        field=sample.rendering.field,
        captions=captions,
    )


@torch.inference_mode()
def draw_reconstruction(lvm: LVM, images: torch.Tensor, rendering: Rendering, masking: MultitaskParams) -> None:
    """Pictures with half their blocks hidden, and what the LVM puts there."""
    count, patch = len(images), lvm.preset.patch
    mask = block_mask(
        count,
        count,
        size=rendering.size,
        patch=patch,
        block=masking.mask_patch,
        ratio=masking.mask_ratio,
        rng=np.random.default_rng(0),
    )
    hidden = hidden_pixels(mask, patch)
    filled = torch.where(hidden, lvm(images, mask), images)
    shown = torch.where(hidden, torch.full_like(images, 0.5), images)
    picture_grid(
        [list(row) for row in zip(images, shown, filled, strict=True)],
        ["stamp", "what is shown", "filled in"],
        RECONSTRUCTION_FIGURE,
        title="Reconstruction of hidden blocks, test split",
        field=rendering.field,
    )


def _few_shot(
    lvm_features: Features, lvm: LVM, rendering: Rendering, p: EvaluateParams
) -> tuple[dict[str, float], torch.Tensor]:
    """Probe metrics and their plots; also the first test pictures."""
    with StampSet(STAMP_FILE) as stamps:
        split, labels = stamps.column("split"), [str(name) for name in stamps.column("morphology")]
        images = render_set(stamps, slice(None), rendering)
    test = np.flatnonzero(split == "test")
    train = np.flatnonzero(split != "test")
    features = lvm_features.rows(np.arange(len(labels)))
    steps = p.resnet_pretraining if p.whole_draws else 0
    pretrained = pretrained_resnet("resnet18", rendering, steps) if steps else None
    found = curves(features, images, labels, train, test, p, lvm=lvm, pretrained=pretrained)
    write_csv(
        FEW_SHOT,
        ("model", "labels", "auc", "spread"),
        [
            (name, *values)
            for name, curve in found.items()
            for values in zip(curve.sizes, curve.mean, curve.spread, strict=True)
        ],
    )
    few_shot_figure(found, FEW_SHOT_FIGURE, title="Five simulated classes, test split")
    metrics = probed(features, labels, train, test, p.neighbours)
    metrics |= {
        f"auc_{name}_{size}": float(value)
        for name, curve in found.items()
        for size, value in zip(curve.sizes, curve.mean, strict=True)
    }
    return metrics, images[torch.from_numpy(test[: p.examples])]


def _restoration(lvm: LVM, rendering: Rendering, p: EvaluateParams) -> list[RestorationRow]:
    sample, tuning = (simulated_sample(n, rendering, p.seed + i) for i, n in enumerate((p.stamps, p.tuning)))
    pictures = {"LVM": restored_by(lvm, sample), **restored_classically(sample, tuned_settings(tuning))}
    rows = restoration_table(sample.clean, sample.degraded, pictures)
    best = max((row for row in rows if row.method not in ("degraded", "LVM")), key=lambda row: row.psnr)
    draw_restoration(sample, pictures, best.method, p.examples)
    write_csv(
        RESTORATION,
        ("method", "psnr", "ssim", "gain"),
        [(row.method, row.psnr, row.ssim, row.gain) for row in rows],
    )
    return rows


def mirrored(encoder: Encoder, features: Features, p: EvaluateParams) -> dict[str, float]:
    """AUC on the release's stamps of a head that only endless stamps of the other simulator taught.

    What the same head is worth on the real pictures that a machine has goes to build/mirror.json and its picture: no
    metric of the pipeline, since another machine has others.
    """
    with progress_bar("Simulated stamps that teach") as progress:
        simulated = drawn_set(encoder, p.simulated, progress=progress)
    with StampSet(STAMP_FILE) as stamps:
        labels = np.asarray(stamps.column("morphology")).astype(str)
    standard = standardised(features.rows(np.arange(len(labels))))
    auc = zero_label_auc(simulated, MORPHOLOGY_CONCEPTS, standard, labels)
    with progress_bar("Real pictures") as progress:
        hold_up(encoder, simulated, real_data(), pictures=p.pictures, progress=progress)
    by_concept = {f"zero_{MORPHOLOGY_CONCEPTS[name]}": value for name, value in auc.items()}
    return {"zero": float(np.mean(list(auc.values()))), **by_concept} if auc else {}


def main() -> None:
    """Measure the encoder and the decoder of build/lvm/."""
    params = load_params()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    lvm, card = load_checkpoint(LVM_FOLDER)
    features = Features.open(FEATURE_FILE)
    with progress_bar("Evaluation") as progress:
        metrics, examples = _few_shot(features, lvm, card.rendering, params.evaluate)
        progress(1, 3)
        rows = _restoration(lvm, card.rendering, params.evaluate)
        progress(2, 3)
        draw_reconstruction(lvm, examples, card.rendering, params.multitask)
        progress(3, 3)
    metrics |= {f"gain_{row.method}": row.gain for row in rows} | {f"ssim_{row.method}": row.ssim for row in rows}
    metrics |= mirrored(Encoder.load(LVM_FOLDER, params.embed.views), features, params.evaluate)
    write_json(EVALUATE_METRICS, metrics)


if __name__ == "__main__":
    main()
