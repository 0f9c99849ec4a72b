"""Fine-tuning of a decoder on restorations that people judged; the encoder, and so all features, stay as they are.

Nobody knows the true picture of a real stamp. What people said of its restoration says what it shall come nearer to:
where it was better, the decoder shall give it again, also from a worse exposure of the same stamp; where it was worse,
or had an artefact, the observation is the better picture, noise and all. The loss is absolute, so that noise moves it
to the middle and no further. Simulated stamps, whose truth is known, are half of every batch, or the decoder would
learn to leave the noise in.
"""

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import NamedTuple

import lightning
import numpy as np
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from lvm_training.errors import LabelError
from lvm_training.model.fitting import adamw, fit
from lvm_training.model.lvm import LVM
from lvm_training.observation.degrade import degrade
from lvm_training.params import FinetuneParams
from lvm_training.progress import Progress
from lvm_training.scenes.scenes import draw_scenes
from lvm_training.stamps.render import stretch
from lvm_training.stamps.rendering import Rendering
from lvm_training.stamps.stampset import LEGACY_PIXEL_SCALE
from lvm_training.stamps.symmetries import SYMMETRIES, turned

BETTER, WORSE, ARTEFACT = "better", "worse", "artefact"
WEIGHTS = {BETTER: 1.0, WORSE: 2.0, ARTEFACT: 2.0}
"""How much a judged stamp counts."""
BRUSHED = 4.0  # times as much where somebody painted


class Judged(NamedTuple):
    """A tile of a stamp that somebody judged.

    Attributes
    ----------
    bands : ndarray (3, S, S)
        As observed, in nanomaggies per 0.262 arcsec pixel; empty sky where it was not.
    restored : ndarray (3, S, S)
        As it was restored.
    said : str
        One of `WEIGHTS`.
    painted : ndarray (S, S) of bool
        Where an artefact was painted.
    """

    bands: NDArray[np.float32]
    restored: NDArray[np.float32]
    said: str
    painted: NDArray[np.bool_]

    @property
    def target(self) -> NDArray[np.float32]:
        """What it shall come nearer to, as bands."""
        if self.said == BETTER:
            return self.restored
        # an artefact without a place may be anywhere
        kept = (self.said == ARTEFACT) & self.painted.any() & ~self.painted
        return np.where(kept, self.restored, self.bands).astype(np.float32)

    @property
    def weight(self) -> NDArray[np.float32]:
        """How much each pixel counts (S, S)."""
        return (WEIGHTS[self.said] * np.where(self.painted, BRUSHED, 1.0)).astype(np.float32)


class JudgedBatches(Dataset[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]):
    """Pictures to restore, targets and weights; the i-th batch depends on the seed and i alone."""

    def __init__(self, judged: Sequence[Judged], rendering: Rendering, params: FinetuneParams) -> None:
        self._rendering, self._params = rendering, params
        self._bands = torch.from_numpy(np.stack([one.bands for one in judged]))
        self._target = stretch(torch.from_numpy(np.stack([one.target for one in judged])), rendering)
        self._weight = torch.from_numpy(np.stack([one.weight for one in judged]))[:, None]

    def __len__(self) -> int:
        return self._params.steps

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        rng = np.random.default_rng((self._params.seed, index))
        size = self._rendering.size
        half = max(1, self._params.batch // 2)
        rows = rng.integers(len(self._bands), size=half)
        scenes = draw_scenes(half, rng, size=size, field=size * LEGACY_PIXEL_SCALE, realism=True)
        bands = torch.cat([self._bands[rows], scenes.observed])
        # every other exposure is as it was: that is what is restored later
        worse = degrade(bands, rng, pixel_scale=LEGACY_PIXEL_SCALE)
        bands = torch.where(torch.from_numpy(rng.random(len(bands)) < 0.5)[:, None, None, None], worse, bands)
        target = torch.cat([self._target[rows], stretch(scenes.noiseless, self._rendering)])
        weight = torch.cat([self._weight[rows], torch.ones(half, 1, size, size)])
        kinds = rng.integers(SYMMETRIES, size=len(bands))
        shown = torch.cat([stretch(bands, self._rendering), target, weight.expand(-1, 3, -1, -1)], dim=0)
        pictures, target, weight = turned(shown, np.tile(kinds, 3)).chunk(3)
        return pictures, target, weight


class _Data(lightning.LightningDataModule):
    def __init__(self, batches: JudgedBatches, steps: int) -> None:
        super().__init__()
        self._batches, self._steps = batches, steps

    def train_dataloader(self) -> DataLoader[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """The batches of the trainer's current epoch."""
        done = self.trainer.global_step if self.trainer is not None else 0
        rows = range(done, min(done + self._steps, len(self._batches)))
        return DataLoader(torch.utils.data.Subset(self._batches, rows), batch_size=None)


class DecoderTuning(lightning.LightningModule):
    """The training loop: weighted absolute error of the decoder behind a frozen encoder."""

    def __init__(self, lvm: LVM, params: FinetuneParams) -> None:
        super().__init__()
        self.lvm, self.params = lvm, params
        self.lvm.requires_grad_(False)
        self.lvm.decoder.requires_grad_(True)

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor, torch.Tensor], batch_idx: int) -> torch.Tensor:
        """The loss of one batch."""
        pictures, target, weight = batch
        with torch.no_grad():
            maps = self.lvm.maps(pictures)
        loss: torch.Tensor = ((self.lvm.decoder(maps) - target).abs() * weight).sum() / weight.sum()
        self.log("loss", loss.detach())
        return loss

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """As `fitting.adamw`, of the decoder."""
        return adamw(self.lvm.decoder, self.params)


def finetune_decoder(
    lvm: LVM,
    judged: Sequence[Judged],
    rendering: Rendering,
    params: FinetuneParams,
    resume: Path,
    *,
    progress: Progress | None = None,
) -> LVM:
    """A model with the decoder of `lvm`, which stays as it is, after it learned from what people said.

    The same inputs give the same weights.

    Raises
    ------
    LabelError
        If nothing was judged.
    CheckpointError
        As `fitting.fit`.
    """
    if not judged:
        raise LabelError("There is no judged restoration to learn from.", "Judge some first.")
    tuned = deepcopy(lvm).train()
    data = _Data(JudgedBatches(judged, rendering, params), params.epoch_steps)
    fit(DecoderTuning(tuned, params), data, params.steps, resume, progress=progress)
    return tuned.requires_grad_(True).cpu().eval()
