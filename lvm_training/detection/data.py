"""Labelled pictures for training a detector: in memory, each time turned or mirrored at random."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import lightning
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from lvm_training.detection.design import DetectorDesign
from lvm_training.detection.detectron import Targets
from lvm_training.errors import LabelError, StampError
from lvm_training.model.fitting import Schedule
from lvm_training.model.ranks import RankBatches, rank_and_world
from lvm_training.objects.instances import Instances
from lvm_training.stamps.symmetries import SYMMETRIES, symmetry, symmetry_of_boxes, turned

Labelled = tuple[torch.Tensor, Sequence[Instances]]  # pictures (N, 3, S, S) and the objects of each
Draw = Callable[[int], Labelled]


class DetectionSchedule(Schedule, Protocol):
    """What a detector's training needs of a section of parameters, beside what its optimiser does."""

    @property
    def batch(self) -> int:
        """Pictures in each optimiser step."""

    @property
    def epoch_steps(self) -> int:
        """Steps between two measurements on held-out pictures; a killed run goes on from the last one."""

    @property
    def seed(self) -> int:
        """What the order of pictures, their symmetries and the samples of proposals are drawn from."""


class DetectionBatch(NamedTuple):
    """Pictures (N, 3, S, S) and the true objects of each."""

    images: torch.Tensor
    targets: list[Targets]


class TurnedPictures(Dataset[DetectionBatch]):
    """Batches of labelled pictures, each under a symmetry of the square; the i-th depends on the seed and i alone.

    Parameters
    ----------
    images : Tensor (N, 3, S, S)
        Pictures.
    targets : sequence of Targets
        Their objects; boxes and masks turn alike, a box that somebody corrected stays as wide as drawn.
    batch, seed : int
        Pictures per batch, at most N, and what order and symmetries are drawn from.
    numbers : range
        The batches that are here.
    """

    def __init__(self, images: torch.Tensor, targets: Sequence[Targets], batch: int, seed: int, numbers: range) -> None:
        self.images, self.targets, self.seed, self.numbers = images, targets, seed, numbers
        self.size = min(batch, len(images))

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> DetectionBatch:
        number = self.numbers[index]
        rows = self._rows(number)
        kinds = np.random.default_rng((self.seed, 1, number)).integers(SYMMETRIES, size=len(rows))
        targets = [turned_targets(self.targets[row], int(kind)) for row, kind in zip(rows, kinds, strict=True)]
        return DetectionBatch(turned(self.images[torch.from_numpy(rows)], kinds), targets)

    def _rows(self, number: int) -> NDArray[np.int64]:
        """Batch after batch runs through all pictures in random order, then through all in another one."""
        count = len(self.images)
        places = range(number * self.size, (number + 1) * self.size)
        orders = {
            around: np.random.default_rng((self.seed, 0, around)).permutation(count)
            for around in {place // count for place in places}
        }
        return np.array([orders[place // count][place % count] for place in places])


def turned_targets(targets: Targets, kind: int) -> Targets:
    """True objects under one of the symmetries, `symmetries.symmetry`; boxes turn as drawn, not around the masks."""
    boxes = symmetry_of_boxes(targets.boxes, kind, targets.masks.shape[-1])
    return targets._replace(boxes=boxes, masks=symmetry(targets.masks[None], kind)[0])


class DetectionData(lightning.LightningDataModule):
    """Labelled pictures in memory.

    Parameters
    ----------
    images : Tensor (N, 3, S, S)
        Pictures.
    truths : sequence of Instances
        The objects of each; none on a negative.
    design : DetectorDesign
        Of the detector to train.
    params : DetectionSchedule
        Batch size, epochs, seed.
    held_out : tuple of images and truths, optional
        Labelled pictures to measure on.
    drawn : sequence of ndarray (K,) of bool, optional
        Which masks of each picture are known (`Targets`); all if not given.
    fresh : callable, optional
        Gives other pictures for each epoch from the second on, by its number, and their objects.

    Raises
    ------
    LabelError
        If there is no picture, or pictures, truths and `drawn` disagree in number or size, or a class is unknown.
    StampError
        If pictures have another shape or pixels that are not finite.
    """

    def __init__(
        self,
        images: torch.Tensor,
        truths: Sequence[Instances],
        design: DetectorDesign,
        params: DetectionSchedule,
        held_out: Labelled | None = None,
        drawn: Sequence[NDArray[np.bool_]] | None = None,
        fresh: Draw | None = None,
    ) -> None:
        super().__init__()
        self.params, self.design, self.fresh = params, design, fresh
        self.images, self.targets = images, _targets(images, truths, design, drawn)
        self.held_out = [DetectionBatch(held_out[0], _targets(*held_out, design))] if held_out else []

    def train_dataloader(self) -> DataLoader[DetectionBatch]:
        """This process's batches of the trainer's current epoch."""
        epoch = self.trainer.current_epoch if self.trainer is not None else 0
        rank, world = rank_and_world(self.trainer)
        length = self.params.epoch_steps * world
        numbers = range(epoch * length, (epoch + 1) * length)
        batches = TurnedPictures(*self._of_epoch(epoch), self.params.batch, self.params.seed, numbers)
        return DataLoader(RankBatches(batches, rank, world), batch_size=None)

    def _of_epoch(self, epoch: int) -> tuple[torch.Tensor, Sequence[Targets]]:
        if self.fresh is None or not epoch:
            return self.images, self.targets
        images, truths = self.fresh(epoch)
        return images, _targets(images, truths, self.design)

    def val_dataloader(self) -> DataLoader[DetectionBatch]:
        """The held-out pictures, the same for every process."""
        return DataLoader(self.held_out, batch_size=None)  # type: ignore[arg-type]


def _targets(
    images: torch.Tensor,
    truths: Sequence[Instances],
    design: DetectorDesign,
    drawn: Sequence[NDArray[np.bool_]] | None = None,
) -> list[Targets]:
    check_images(images, design.size)
    if not len(images) == len(truths) > 0:
        raise LabelError(f"There are {len(truths)} truths for {len(images)} pictures.", "Give one for each.")
    known = [np.ones(len(truth), dtype=bool) for truth in truths] if drawn is None else drawn
    if [len(mask) for mask in known] != [len(truth) for truth in truths]:
        raise LabelError("Which masks are drawn is not said of every object.", "Give one value for each.")
    for truth in truths:
        unknown = sorted(set(truth.classes) - set(design.classes))
        if unknown:
            raise LabelError(f"Objects outside the classes: {', '.join(unknown)}.", f"{', '.join(design.classes)}.")
        if truth.shape != (design.size, design.size):
            raise LabelError(f"Masks of {truth.shape} pixels lie on pictures of {design.size}.", "Render both alike.")
    return [
        Targets(
            torch.tensor([design.classes.index(name) for name in truth.classes], dtype=torch.int64),
            torch.tensor(truth.boxes, dtype=torch.float32),
            torch.tensor(truth.masks),
            torch.tensor(mask, dtype=torch.bool),
        )
        for truth, mask in zip(truths, known, strict=True)
    ]


def check_images(images: torch.Tensor, size: int) -> None:
    """Raise a StampError unless these are finite pictures (N, 3, size, size)."""
    if images.ndim != 4 or images.shape[1:] != (3, size, size):
        raise StampError(
            f"This detector reads pictures (N, 3, {size}, {size}), not {tuple(images.shape)}.",
            "Render them with the rendering of its card.",
        )
    if not torch.isfinite(images).all():
        raise StampError("Some pictures have pixels that are not finite.", "Render them with `render`.")
