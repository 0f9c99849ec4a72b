"""Pictures with people's labels, as the training of a classifier reads them."""

from collections.abc import Sequence

import lightning
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Subset

from lvm_training.errors import LabelError, StampError
from lvm_training.stamps.symmetries import SYMMETRIES, turned

BATCH = 64
EPOCH_STEPS = 50  # after which a killed training goes on


class LabelledPictures(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """The batches of a training, each picture turned or mirrored at random; the i-th depends on the seed and i alone.

    Parameters
    ----------
    images : Tensor (N, 3, S, S)
        Pictures.
    codes : Tensor (N,)
        Their class codes.
    steps, seed : int
        Number of batches, and what order and symmetries are drawn from.
    parts : int
        In how many parts each batch is given, one after the other.
    """

    def __init__(self, images: torch.Tensor, codes: torch.Tensor, steps: int, seed: int, parts: int = 1) -> None:
        self.images, self.codes, self.seed, self.parts = images, codes, seed, parts
        size = min(BATCH, len(images))
        rng = np.random.default_rng(seed)
        epochs = [rng.permutation(len(images)) for _ in range(-(-steps * size // len(images)))]
        self._batches = np.concatenate(epochs)[: steps * size].reshape(steps, size)

    def __len__(self) -> int:
        return len(self._batches) * self.parts

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        number, part = divmod(index, self.parts)
        rows = self._batches[number]
        kinds = np.random.default_rng((self.seed, number)).integers(SYMMETRIES, size=len(rows))
        rows, kinds = (np.array_split(one, self.parts)[part] for one in (rows, kinds))
        return turned(self.images[rows], kinds), self.codes[rows]


class PictureData(lightning.LightningDataModule):
    """Batches in epochs of `EPOCH_STEPS` steps, so that a training can be kept in between."""

    def __init__(self, batches: LabelledPictures) -> None:
        super().__init__()
        self.batches = batches

    def train_dataloader(self) -> DataLoader[tuple[torch.Tensor, torch.Tensor]]:
        """The batches from the trainer's present step to the end of the epoch."""
        # not by its epoch: without validation, Lightning counts the one that a checkpoint closed again
        step = self.trainer.global_step if self.trainer is not None else 0
        first, last = step, (step // EPOCH_STEPS + 1) * EPOCH_STEPS
        rows = range(first * self.batches.parts, min(last * self.batches.parts, len(self.batches)))
        return DataLoader(Subset(self.batches, rows), batch_size=None)


def check_images(images: torch.Tensor) -> None:
    """Refuse what no classifier can read.

    Raises
    ------
    StampError
        If pictures have another shape than (N, 3, S, S), or pixels that are not finite.
    """
    if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] != images.shape[3] or not len(images):
        raise StampError(
            f"A classifier reads pictures (N, 3, S, S), not {tuple(images.shape)}.", "Render them with `render`."
        )
    # by parts: pictures may lie on disk, and be more than memory holds
    if not all(torch.isfinite(part).all() for part in torch.split(images, BATCH)):
        raise StampError("Some pictures have pixels that are not finite.", "Render them with `render`.")


def check_labels(count: int, labels: Sequence[str], classes: Sequence[str]) -> None:
    """Refuse labels of which no classifier could learn.

    Raises
    ------
    LabelError
        If they are not one for each of `count` pictures, one is not among `classes`, or only one class is labelled.
    """
    if len(labels) != count:
        raise LabelError(f"There are {len(labels)} labels for {count} pictures.")
    unknown = sorted(set(labels) - set(classes))
    if unknown:
        raise LabelError(f"Labels outside the classes: {', '.join(unknown)}.", f"Classes are: {', '.join(classes)}.")
    if len(set(labels)) < 2:
        raise LabelError(f"A classifier needs two classes; only {labels[0]!r} is labelled.", "Label one more class.")
