"""Stage `train_detector`: simulated lenses and the LVM become the detector in build/detector/."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from lvm_training.detection.checkpoint import load_detector, save_detector
from lvm_training.detection.data import Draw, Labelled
from lvm_training.detection.design import DetectorDesign
from lvm_training.detection.detector import Detector, train_detector
from lvm_training.detection.detectron import resnet50_state
from lvm_training.files import write_csv, write_json
from lvm_training.lenses.lens_sets import lens_rendering, population_of, read_lenses, simulated_pictures
from lvm_training.lenses.lens_stamps import OBJECTS
from lvm_training.model.encoder import load_checkpoint
from lvm_training.model.ranks import leads, meet
from lvm_training.model.training_run import training_run
from lvm_training.params import DetectorParams, LensesParams, load_params
from lvm_training.paths import DETECTOR, DETECTOR_CURVE, DETECTOR_METRICS, LENS_FILE, LENS_TRUTH, LVM_FOLDER
from lvm_training.revision import training_revision
from lvm_training.stamps.rendering import Rendering
from lvm_training.stamps.stampset import StampSet

STREAM = 5  # 0 to 4 are those of the lens sets, pools and fine-tunings of the same seed
LOSSES = {"train/loss": "all", "train/loss_cls": "class", "train/loss_box_reg": "box", "train/loss_mask": "mask"}


def new_detector(
    params: DetectorParams, encoder: Path, resnet50: Mapping[str, torch.Tensor] | None = None
) -> tuple[Detector, str]:
    """A detector to train, and the encoder it starts from (empty for another start).

    Parameters
    ----------
    encoder : Path
        Checkpoint of the LVM, which also gives the side of the pictures unless `params` name one.
    resnet50 : mapping of str to Tensor, optional
        State of timm's ResNet50 that a detector on one starts from.

    Raises
    ------
    CheckpointError
        If `encoder` cannot be read, or `resnet50` is none.
    """
    lvm, card = load_checkpoint(encoder)
    lvm = lvm.resized(params.size or lvm.preset.size)
    preset = lvm.preset if params.backbone == "lvm" else None
    design = DetectorDesign(
        backbone=params.backbone, preset=preset, size=lvm.preset.size, classes=OBJECTS, channels=params.channels
    )
    if params.start == "scratch":
        return Detector.start(design, seed=params.seed), ""
    if params.backbone == "lvm":
        return Detector.start(design, seed=params.seed, lvm=lvm), card.encoder
    state = None if resnet50 is None else resnet50_state(resnet50)
    return Detector.start(design, seed=params.seed, resnet50=state), ""


def fresh_lenses(params: DetectorParams, lenses: LensesParams, rendering: Rendering) -> Draw:
    """Draws the simulated pictures of an epoch; those of a number are always the same."""
    population = population_of(lenses)

    def draw(epoch: int) -> Labelled:
        rng = np.random.default_rng((params.seed, STREAM, epoch))
        return simulated_pictures(params.images, rng, population, rendering, realism=params.realism)

    return draw


class Inputs(NamedTuple):
    """What a detector is trained from: stamps, their truth, and the LVM's checkpoint."""

    stamps: Path
    truth: Path
    encoder: Path


class Outputs(NamedTuple):
    """Where a detector goes, what was measured of it, and the curve of its loss."""

    detector: Path
    metrics: Path
    curve: Path


def run_training(
    name: str,
    params: DetectorParams,
    lenses: LensesParams,
    inputs: Inputs,
    outputs: Outputs,
    *,
    judged: Callable[[Detector], Mapping[str, float]] | None = None,
    half: bool = False,
) -> None:
    """Train a detector as the parameters say and write it; a killed run goes on.

    Parameters
    ----------
    name : str
        What the run is called, on the terminal and in build/resume.
    lenses : LensesParams
        What stamps are drawn from that are drawn anew.
    judged : callable, optional
        Gives more to write on the card, from the detector as it is stored.
    half : bool
        Whether to store float16.
    """
    detector, encoder = new_detector(params, inputs.encoder)
    rendering = lens_rendering(detector.design.size)
    held_out = read_lenses(inputs.stamps, inputs.truth, "validation", rendering, limit=params.held_out)
    fresh = fresh_lenses(params, lenses, rendering) if params.endless else None
    if fresh is None:
        train = read_lenses(inputs.stamps, inputs.truth, "train", rendering, limit=params.images)
    images, truths = fresh(0) if fresh else (train.images, train.truths)
    with StampSet(inputs.stamps) as stamps:
        digest = stamps.digest
    with training_run(name, params, [digest, encoder]) as run:
        measured = train_detector(
            detector,
            images,
            truths,
            params,
            run.resume,
            held_out=(held_out.images, held_out.truths),
            fresh=fresh,
            patience=params.patience,
            logger=run.logger,
            progress=run.progress,
        )
        if leads():
            about: dict[str, Any] = {"encoder": encoder, "data": digest, "code": training_revision()}
            about |= {"params": params.model_dump(), "half": half}
            save_detector(outputs.detector, detector, rendering, metrics=measured, **about)
            if judged is not None:
                measured |= judged(load_detector(outputs.detector)[0])
                save_detector(outputs.detector, detector, rendering, metrics=measured, **about)
            write_json(outputs.metrics, measured)
            write_csv(outputs.curve, ("step", "part", "loss"), run.curves(LOSSES))
        meet()


def main() -> None:
    """Train the active profile's detector."""
    params = load_params()
    inputs = Inputs(LENS_FILE, LENS_TRUTH, LVM_FOLDER)
    run_training(
        "detector", params.detector, params.lenses, inputs, Outputs(DETECTOR, DETECTOR_METRICS, DETECTOR_CURVE)
    )


if __name__ == "__main__":
    main()
