"""The detector of objects on pictures: a Mask R-CNN, its training and its answers."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import lightning
import numpy as np
import torch
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from numpy.typing import NDArray
from torch import nn

from lvm_training.detection.data import DetectionBatch, DetectionData, DetectionSchedule, Draw, Labelled, check_images
from lvm_training.detection.design import DetectorDesign
from lvm_training.detection.detectron import build_network, detect, losses, start_from_lvm, start_from_resnet50
from lvm_training.model.fitting import Plateau, adamw, drawn_from, fit
from lvm_training.model.lvm import LVM
from lvm_training.objects.instances import Instances, box_overlaps
from lvm_training.params import ParamsError
from lvm_training.progress import Progress

THRESHOLD = 0.05
SURE, OVERLAP = 0.5, 0.5  # score and overlap of boxes (intersection over union) that count in validation
VALIDATION = "validation/f1"
PREDICTION_BATCH = 32


class Detector(nn.Module):
    """A Mask R-CNN with random weights.

    Parameters
    ----------
    design : DetectorDesign
        The numbers it is made from.
    """

    def __init__(self, design: DetectorDesign) -> None:
        super().__init__()
        self.design = design
        self.network = build_network(design)

    @classmethod
    def start(
        cls,
        design: DetectorDesign,
        *,
        seed: int,
        lvm: LVM | None = None,
        resnet50: Mapping[str, torch.Tensor] | None = None,
    ) -> Self:
        """A detector to train: weights drawn from `seed`, the backbone's copied where they are given.

        Parameters
        ----------
        lvm : LVM, optional
            Pretrained model whose encoder to copy.
        resnet50 : mapping of str to Tensor, optional
            Pretrained ResNet50 in detectron2's names, as `detectron.resnet50_state` gives them.

        Raises
        ------
        CheckpointError
            If what is given does not fit the design's backbone.
        """
        with drawn_from(seed):
            detector = cls(design)
        if lvm is not None:
            start_from_lvm(detector.network, lvm)
        if resnet50 is not None:
            start_from_resnet50(detector.network, resnet50)
        return detector

    @property
    def classes(self) -> tuple[str, ...]:
        """What it detects."""
        return self.design.classes

    def predict(self, images: torch.Tensor, *, threshold: float = THRESHOLD) -> list[Instances]:
        """Objects with scores above `threshold` on pictures (N, 3, S, S), best first.

        Raises
        ------
        StampError
            If pictures have another shape or pixels that are not finite.
        """
        check_images(images, self.design.size)
        self.eval()
        device = next(self.parameters()).device
        parts = (part.to(device) for part in torch.split(images, PREDICTION_BATCH)) if len(images) else ()
        return [found for part in parts for found in detect(self.network, part, self.classes, threshold)]


class DetectorTraining(lightning.LightningModule):
    """The training loop.

    Parameters
    ----------
    detector : Detector
        Trained in place.
    params : DetectionSchedule
        Optimiser and schedule.
    """

    def __init__(self, detector: Detector, params: DetectionSchedule) -> None:
        super().__init__()
        self.detector, self.params = detector, params

    def on_train_batch_start(self, batch: DetectionBatch, batch_idx: int) -> None:
        """Seed what the model itself draws, so that a resumed run repeats an uninterrupted one."""
        torch.manual_seed(self.params.seed * 1_000_003 + self.global_step)

    def training_step(self, batch: DetectionBatch, batch_idx: int) -> torch.Tensor:
        """The sum of detectron2's losses: class, box and mask of proposals, objectness and place of anchors."""
        parts = losses(self.detector.network, *batch)
        loss = torch.stack(list(parts.values())).sum()
        # the logger's own count writes the steps 0 and 1 both as 1
        self.log("step", float(self.global_step + 1), batch_size=len(batch[0]))
        named = {f"train/{name}": value.detach() for name, value in {"loss": loss, **parts}.items()}
        self.log_dict(named, batch_size=len(batch[0]))
        return loss

    def validation_step(self, batch: DetectionBatch, batch_idx: int) -> None:
        """Completeness and purity, over all objects, of detections with scores above one half, and the mean F1 over
        classes (van Rijsbergen 1979): what a training is stopped by, for in it arcs count as much as galaxies."""
        batch = DetectionBatch(*batch)
        found = self.detector.predict(batch.images, threshold=SURE)
        seen, real, matched, right = (np.zeros(len(self.detector.classes), dtype=np.int64) for _ in range(4))
        for instances, targets in zip(found, batch.targets, strict=True):
            codes = np.array([self.detector.classes.index(name) for name in instances.classes], dtype=np.int64)
            known = targets.codes.cpu().numpy()
            overlaps = box_overlaps(instances.boxes, targets.boxes.double().cpu().numpy())
            same = (codes[:, None] == known) & (overlaps >= OVERLAP)
            for total, some in (
                (seen, codes),
                (real, known),
                (right, codes[same.any(axis=1)]),
                (matched, known[same.any(axis=0)]),
            ):
                total += np.bincount(some, minlength=len(total))
        one = (right + matched) / np.maximum(1, seen + real)
        score = {
            "validation/completeness": matched.sum() / max(1, real.sum()),
            "validation/purity": right.sum() / max(1, seen.sum()),
            VALIDATION: one[seen + real > 0].mean() if (seen + real).any() else 0.0,
        }
        self.log_dict({name: float(value) for name, value in score.items()}, batch_size=len(found), sync_dist=True)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """As `fitting.adamw`; the backbone has the rate of the heads, as in Swin Mask R-CNN."""
        return adamw(self, self.params)


def train_detector(
    detector: Detector,
    images: torch.Tensor,
    truths: Sequence[Instances],
    params: DetectionSchedule,
    resume: Path,
    *,
    held_out: Labelled | None = None,
    drawn: Sequence[NDArray[np.bool_]] | None = None,
    fresh: Draw | None = None,
    patience: int = 0,
    logger: Logger | None = None,
    progress: Progress | None = None,
) -> dict[str, float]:
    """Train `detector` in place and return the last losses and scores; data as in `DetectionData`, rest as in `fit`.

    Parameters
    ----------
    patience : int
        Epochs without a better F1 on the held-out pictures after which training ends, with the best weights; 0 trains
        to the last step.

    Raises
    ------
    ParamsError
        If training diverges, there is patience but nothing is held out, or as `fit`.
    """
    if patience and held_out is None:
        raise ParamsError("A training cannot end early without held-out pictures.", "Hold some out, or set patience 0.")
    data = DetectionData(images, truths, detector.design, params, held_out, drawn, fresh)
    plateau = Plateau(VALIDATION, patience) if patience else None
    # Lightning trains a module in the mode it finds it in
    detector.train()
    with warnings.catch_warnings():
        # the pictures are in memory, and handing them between processes costs more than turning them
        warnings.filterwarnings("ignore", message=".*does not have many workers")
        training = DetectorTraining(detector, params)
        metrics = fit(training, data, params.steps, resume, plateau=plateau, logger=logger, progress=progress)
    detector.eval()
    return metrics
