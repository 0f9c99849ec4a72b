"""Stage `train_detector`: simulated lenses and the LVM become the detector in build/detector/."""

from collections.abc import Mapping
from pathlib import Path

import torch

from lvm_training.detection.checkpoint import save_detector
from lvm_training.detection.design import DetectorDesign
from lvm_training.detection.detector import Detector, train_detector
from lvm_training.detection.detectron import resnet50_state
from lvm_training.files import write_csv, write_json
from lvm_training.lenses.lens_sets import lens_rendering, read_lenses
from lvm_training.lenses.lens_stamps import OBJECTS
from lvm_training.model.encoder import load_checkpoint
from lvm_training.model.ranks import leads, meet
from lvm_training.params import DetectorParams, load_params
from lvm_training.paths import DETECTOR, DETECTOR_CURVE, DETECTOR_METRICS, LENS_FILE, LENS_TRUTH, LVM_FOLDER
from lvm_training.revision import code_revision
from lvm_training.stages.training_run import training_run
from lvm_training.stamps.stampset import StampSet

HELD_OUT = 64  # stamps measured at each epoch
LOSSES = {"train/loss": "all", "train/loss_cls": "class", "train/loss_box_reg": "box", "train/loss_mask": "mask"}


def new_detector(
    params: DetectorParams, encoder: Path, resnet50: Mapping[str, torch.Tensor] | None = None
) -> tuple[Detector, str]:
    """A detector to train, and the encoder it starts from (empty for another start).

    Parameters
    ----------
    encoder : Path
        Checkpoint of the LVM, which also gives the side of the pictures.
    resnet50 : mapping of str to Tensor, optional
        State of timm's ResNet50 that a detector on one starts from.

    Raises
    ------
    CheckpointError
        If `encoder` cannot be read, or `resnet50` is none.
    """
    lvm, card = load_checkpoint(encoder)
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


def main() -> None:
    """Train the active profile's detector."""
    params = load_params().detector
    detector, encoder = new_detector(params, LVM_FOLDER)
    rendering = lens_rendering(detector.design.size)
    train = read_lenses(LENS_FILE, LENS_TRUTH, "train", rendering, limit=params.images)
    held_out = read_lenses(LENS_FILE, LENS_TRUTH, "validation", rendering)
    few = (held_out.images[:HELD_OUT], held_out.truths[:HELD_OUT])
    with StampSet(LENS_FILE) as stamps:
        digest = stamps.digest
    with training_run("detector", params, [digest, encoder]) as run:
        measured = train_detector(
            detector,
            train.images,
            train.truths,
            params,
            run.resume,
            held_out=few,
            logger=run.logger,
            progress=run.progress,
        )
        if leads():
            save_detector(
                DETECTOR,
                detector,
                rendering,
                encoder=encoder,
                data=digest,
                code=code_revision(),
                params=params.model_dump(),
                metrics=measured,
            )
            write_json(DETECTOR_METRICS, measured)
            write_csv(DETECTOR_CURVE, ("step", "part", "loss"), run.curves(LOSSES))
        meet()


if __name__ == "__main__":
    main()
