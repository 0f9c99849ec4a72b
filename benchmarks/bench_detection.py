"""Claim: with 1,000 images Mask R-CNN on the LVM finds 96.7 % of lenses, on a ResNet50 93.1 % (Fu et al. 2024).

The same simulated lenses and look-alikes, images seen, augmentation and heads for both; accuracy as in
`objects.metrics`. The ResNet50 is trained in earnest: nothing frozen, batch norm trained, the learning rate tuned on
the validation split with as many trials as the LVM's, from random weights and, with `--resnet-pretraining N`, from N
steps of reading the truth of simulated stamps. Detectors that are trained and what was measured are kept in
build/benchmarks/detection; a killed run goes on where it was.

    python -m benchmarks.bench_detection [--images 1000,300,100] [--steps 500] [--rates 3e-4,1e-3] [--seeds 1]
        [--resnet-pretraining 600] [--pool 20000]
"""

import argparse
import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.baselines import pretrained_resnet
from benchmarks.report import FOLDER, Row, save
from lvm_training.files import write_json
from lvm_training.model.detection import train_detector
from lvm_training.model.detection_checkpoint import load_detector, save_detector
from lvm_training.model.encoder import load_checkpoint
from lvm_training.objects.lens_sets import lens_rendering, read_lenses, write_lenses
from lvm_training.params import DetectorParams, load_params
from lvm_training.revision import code_revision
from lvm_training.stages.evaluate_detector import detection_metrics, pool_metrics
from lvm_training.stages.paths import RELEASED_LVM
from lvm_training.stages.train_detector import new_detector
from lvm_training.stamps.stampset import StampSet
from lvm_training.training_run import training_run

KEPT = FOLDER / "detection"
STAMPS, TRUTH = KEPT / "lenses.h5", KEPT / "lenses.json"
SHOWN = ("accuracy", "box_ap50", "mask_ap", "box_ap50_arc", "mask_ap_arc", "completeness_0.01")


def reads_truth(params: DetectorParams) -> bool:
    """Whether the backbone begins by reading the truth of simulated stamps."""
    return params.backbone == "resnet50" and params.start == "pretrained"


def kept_at(params: DetectorParams, resnet_steps: int) -> Path:
    """Where a training's detector is kept, by what it depends on; its measurements lie beside it."""
    card = load_checkpoint(RELEASED_LVM)[1]
    with StampSet(STAMPS) as stamps:
        inputs = [stamps.digest, card.encoder, str(resnet_steps if reads_truth(params) else 0)]
    key = hashlib.sha256("\n".join([params.model_dump_json(), *inputs]).encode()).hexdigest()[:12]
    return KEPT / f"{params.backbone}-{params.start}-{params.images}-{key}"


def trained(params: DetectorParams, resnet_steps: int) -> dict[str, dict[str, float]]:
    """Metrics of a training by split, and the seconds a stamp takes; what was measured before is read."""
    place = kept_at(params, resnet_steps)
    path = place.with_suffix(".json")
    if path.is_file():
        found: dict[str, dict[str, float]] = json.loads(path.read_text())
        return found
    lvm, card = load_checkpoint(RELEASED_LVM)
    state = pretrained_resnet("resnet50", card.rendering, resnet_steps) if reads_truth(params) else None
    detector, encoder = new_detector(params, RELEASED_LVM, state)
    rendering = lens_rendering(lvm.preset.size)
    train = read_lenses(STAMPS, TRUTH, "train", rendering, limit=params.images)
    with training_run(place.name, params, [place.name]) as run:
        losses = train_detector(detector, train.images, train.truths, params, run.resume, progress=run.progress)
    about: dict[str, Any] = {"encoder": encoder, "data": place.name[-12:], "code": code_revision()}
    save_detector(place, detector, rendering, metrics=losses, params=params.model_dump(), **about)
    metrics = {}
    for split in ("validation", "test"):
        pictures = read_lenses(STAMPS, TRUTH, split, rendering)
        started = time.perf_counter()
        answers = detector.predict(pictures.images)
        seconds = (time.perf_counter() - started) / len(answers)
        metrics[split] = detection_metrics(pictures, answers) | {"seconds": seconds}
    write_json(path, metrics)
    return metrics


def in_pool(params: DetectorParams, resnet_steps: int, size: int) -> dict[str, float]:
    """Purity of the best hundred of a pool in which one stamp in a hundred is a lens; kept like a training."""
    place = kept_at(params, resnet_steps)
    path = place.with_suffix(f".pool-{size}.json")
    if not path.is_file():
        write_json(path, pool_metrics(load_detector(place)[0], load_params(profile="nano").lenses, size))
    found: dict[str, float] = json.loads(path.read_text())
    return found


def tuned_rate(params: DetectorParams, rates: list[float], resnet_steps: int) -> float:
    """The learning rate with the best accuracy on the validation split."""
    trials = {rate: trained(params.model_copy(update={"learning_rate": rate}), resnet_steps) for rate in rates}
    return max(rates, key=lambda rate: trials[rate]["validation"]["accuracy"])


def main() -> None:
    """Tune, train and measure; print a row per model, number of images and seed."""
    parser = argparse.ArgumentParser(description="Mask R-CNN on the LVM against ResNet50.")
    parser.add_argument("--images", default="1000,300,100")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--rates", default="3e-4,1e-3")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--resnet-pretraining", type=int, default=0)
    parser.add_argument("--pool", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    profile = load_params(profile="nano")
    if not TRUTH.is_file():
        write_lenses(STAMPS, TRUTH, profile.lenses)
    starts = [("lvm", "pretrained"), ("resnet50", "scratch")]
    starts += [("resnet50", "pretrained")] if asked.resnet_pretraining else []
    counts, rates = [int(n) for n in asked.images.split(",")], [float(rate) for rate in asked.rates.split(",")]
    rows: list[Row] = []
    for backbone, start in starts:
        changes: dict[str, Any] = {"backbone": backbone, "start": start, "steps": asked.steps, "epoch_steps": 100}
        base = profile.detector.model_copy(update=changes | {"warmup": asked.steps // 10, "images": max(counts)})
        rate = tuned_rate(base, rates, asked.resnet_pretraining)
        for images in counts:
            for seed in range(1, asked.seeds + 1):
                params = base.model_copy(update={"images": images, "learning_rate": rate, "seed": seed})
                measured = trained(params, asked.resnet_pretraining)["test"]
                shown = {name: measured[name] for name in (*SHOWN, "seconds")}
                if asked.pool and images == max(counts):
                    shown |= in_pool(params, asked.resnet_pretraining, asked.pool)
                rows.append(
                    {"backbone": backbone, "start": start, "images": images, "rate": rate, "seed": seed, **shown}
                )
    save("detection", rows)


if __name__ == "__main__":
    main()
