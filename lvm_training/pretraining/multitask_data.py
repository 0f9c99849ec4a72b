"""What multi-task training learns from: endless simulated stamps, divided among the tasks by their shares."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import lightning
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from lvm_training.model.masking import block_mask, check_blocks
from lvm_training.model.ranks import RankBatches, rank_and_world
from lvm_training.observation.appearance import varied
from lvm_training.observation.degrade import degrade
from lvm_training.params import TASKS, MultitaskParams, Task
from lvm_training.scenes.scenes import draw_scenes
from lvm_training.scenes.truth import TruthScale, truth, truth_scale
from lvm_training.stamps.render import stretch
from lvm_training.stamps.rendering import Rendering


class TaskBatch(NamedTuple):
    """Stamps of all tasks, one task after the other.

    Attributes
    ----------
    images, target : Tensor (N, 3, S, S)
        What the encoder sees, and what the decoder should make of it.
    mask : Tensor (N, S / patch, S / patch) of bool
        True where a patch is hidden: only in reconstruction.
    truth : Tensor (N, K)
        Standardised truth, NaN where there is none.
    task : Tensor (N,) of int
        Index into `TASKS`.
    """

    images: torch.Tensor
    target: torch.Tensor
    mask: torch.Tensor
    truth: torch.Tensor
    task: torch.Tensor


def apportioned(shares: Sequence[float], count: int) -> list[int]:
    """`count` divided as `shares`, whole numbers that add up to it, at least one each (largest remainders)."""
    exact = np.asarray(shares) * count
    whole = np.maximum(np.floor(exact).astype(int), 1)
    order = np.argsort(whole - exact, kind="stable")
    for place in range(count - int(whole.sum())):
        whole[order[place % len(order)]] += 1
    while whole.sum() > count:
        whole[whole.argmax()] -= 1
    return [int(number) for number in whole]


class SimulatedTasks(Dataset[TaskBatch]):
    """Batches drawn on the fly; the i-th depends only on the seed, the shares and i.

    Parameters
    ----------
    rendering : Rendering
        How pixels become pictures.
    params : MultitaskParams
        Masking.
    patch : int
        Side of the model's patches, pixels.
    scale : TruthScale
        Units of the truth.
    counts : mapping of Task to int
        Stamps of each task in a batch.
    length : int
        Batches.
    seed : tuple of int
        What all is drawn from.
    """

    def __init__(
        self,
        rendering: Rendering,
        params: MultitaskParams,
        patch: int,
        scale: TruthScale,
        counts: Mapping[Task, int],
        length: int,
        seed: tuple[int, ...],
    ) -> None:
        self.rendering, self.params, self.patch, self.scale = rendering, params, patch, scale
        self.counts, self.length, self.seed = dict(counts), length, seed

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> TaskBatch:
        rng = np.random.default_rng((*self.seed, index))
        size, field = self.rendering.size, self.rendering.field
        numbers = [self.counts[task] for task in TASKS]
        classified, restored, _ = numbers
        count = sum(numbers)
        scenes = draw_scenes(count, rng, size=size, field=field)
        observed = scenes.observed
        known = torch.from_numpy(self.scale.standardised(truth(scenes, pixel=field / size)))
        known[classified:] = torch.nan
        first, second = slice(0, classified), slice(classified, classified + restored)
        third = slice(classified + restored, count)
        worse = degrade(observed[second], rng, pixel_scale=field / size)
        images = torch.cat(
            [
                varied(observed[first], self.rendering, rng),
                stretch(worse, self.rendering),
                stretch(observed[third], self.rendering),
            ]
        )
        target = torch.cat([images[first], stretch(scenes.noiseless[second], self.rendering), images[third]])
        mask = torch.zeros(count, size // self.patch, size // self.patch, dtype=torch.bool)
        mask[third] = block_mask(
            numbers[2],
            numbers[2],
            size=size,
            patch=self.patch,
            block=self.params.mask_patch,
            ratio=self.params.mask_ratio,
            rng=rng,
        )
        return TaskBatch(images, target, mask, known, torch.from_numpy(np.repeat(np.arange(len(TASKS)), numbers)))


class MultitaskData(lightning.LightningDataModule):
    """Stamps for the trainer: each epoch with the shares the module has measured, and a fixed held-out set.

    Parameters
    ----------
    rendering : Rendering
        How pixels become pictures.
    params : MultitaskParams
        Batch size, masking, epochs, seed.
    patch : int
        Side of the model's patches, pixels.

    Raises
    ------
    ParamsError
        As `masking.check_blocks`.
    """

    def __init__(self, rendering: Rendering, params: MultitaskParams, patch: int) -> None:
        super().__init__()
        check_blocks(params.mask_patch, size=rendering.size, patch=patch)
        self.rendering, self.params, self.patch = rendering, params, patch
        self.scale = truth_scale(rendering)

    def train_dataloader(self) -> DataLoader[TaskBatch]:
        """Batches of the trainer's current epoch, divided by the module's current shares."""
        if self.trainer is None:
            raise RuntimeError("the data module belongs to a trainer")
        shares = self.trainer.lightning_module.get_buffer("shares")
        counts = dict(zip(TASKS, apportioned(shares.tolist(), self.params.batch), strict=True))
        rank, world = rank_and_world(self.trainer)
        seed = (self.params.seed, 0, self.trainer.current_epoch)
        batches = self._batches(counts, self.params.epoch_steps * world, seed)
        return self._loader(RankBatches(batches, rank, world))

    def val_dataloader(self) -> DataLoader[TaskBatch]:
        """The same stamps at every epoch and for every process, as many of each task."""
        each = self.params.batch // len(TASKS)
        length = -(-self.params.validation // each)
        # every process measures all, so that all set the same shares
        return self._loader(self._batches(dict.fromkeys(TASKS, each), length, (self.params.seed, 1)))

    def _batches(self, counts: Mapping[Task, int], length: int, seed: tuple[int, ...]) -> SimulatedTasks:
        return SimulatedTasks(self.rendering, self.params, self.patch, self.scale, counts, length, seed)

    def _loader(self, batches: Dataset[TaskBatch]) -> DataLoader[TaskBatch]:
        return DataLoader(batches, batch_size=None, num_workers=self.params.workers)
