"""Self-supervised pretraining: restore clean stamps from masked, survey-degraded ones."""

import math
import pickle
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import DataLoader, Dataset

from lvm_training.errors import CheckpointError, StampError
from lvm_training.files import write_atomically
from lvm_training.model.lvm import LVM
from lvm_training.params import ParamsError, PretrainParams
from lvm_training.stamps.degrade import degrade
from lvm_training.stamps.render import render_set, stretch, surface_brightness
from lvm_training.stamps.rendering import Rendering
from lvm_training.stamps.stampset import StampSet

VALIDATION_STAMPS = 128
GRADIENT_LIMIT = 1.0


class Batch(NamedTuple):
    """Degraded and clean pictures (B, 3, S, S) and the mask (B, S / patch, S / patch), True where hidden."""

    degraded: torch.Tensor
    clean: torch.Tensor
    mask: torch.Tensor


class PretrainingBatches(Dataset[Batch]):
    """Batches of one epoch; the i-th depends only on the seed, the epoch and i, whoever reads it and when.

    Parameters
    ----------
    path : Path
        The stamp set; each reading process opens it for itself.
    rows : ndarray of int
        The rows to draw from, without replacement.
    rendering : Rendering
        How pixels become pictures.
    params : PretrainParams
        Batch size and masking.
    patch : int
        Side of the model's patches, pixels.
    seed : tuple of int
        What the order, the augmentation, the degradation and the masks are drawn from.
    """

    def __init__(
        self,
        path: Path,
        rows: NDArray[np.int64],
        rendering: Rendering,
        params: PretrainParams,
        patch: int,
        seed: tuple[int, ...],
    ) -> None:
        self.path, self.rendering, self.params, self.patch, self.seed = path, rendering, params, patch, seed
        self._stamps: StampSet | None = None
        order = np.random.default_rng(seed).permutation(rows)
        size = min(params.batch, len(order))
        count = min(len(order) // size, params.epoch_steps)
        self._batches = order[: count * size].reshape(count, size)

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> Batch:
        if self._stamps is None:
            self._stamps = StampSet(self.path)
        rng = np.random.default_rng((*self.seed, index))
        clean, degraded = _turned(*self._pictures(self._stamps, self._batches[index], rng), rng)
        return Batch(degraded, clean, self._mask(len(clean), rng))

    def _pictures(
        self, stamps: StampSet, rows: NDArray[np.int64], rng: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Clean and degraded pictures; pictures that came as such lost their fluxes and stay as they are."""
        if stamps.rendering == "as-delivered":
            clean = render_set(stamps, rows, self.rendering)
            return clean, clean
        bands = surface_brightness(
            stamps.pixels(rows), self.rendering, pixel_scale=stamps.pixel_scale, origin=stamps.origin
        )
        worse = degrade(bands, rng, pixel_scale=self.rendering.field / self.rendering.size)
        return stretch(bands, self.rendering), stretch(worse, self.rendering)

    def _mask(self, count: int, rng: np.random.Generator) -> torch.Tensor:
        """The same number of hidden blocks in each picture, drawn at random (SimMIM, section 3.2)."""
        blocks = self.rendering.size // self.params.mask_patch
        hidden = round(self.params.mask_ratio * blocks**2)
        ranks = rng.random((count, blocks**2)).argsort(axis=1).argsort(axis=1)
        mask = torch.from_numpy(ranks < hidden).reshape(count, blocks, blocks)
        repeat = self.params.mask_patch // self.patch
        return mask.repeat_interleave(repeat, 1).repeat_interleave(repeat, 2)


def _turned(clean: torch.Tensor, degraded: torch.Tensor, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Both pictures of each stamp under the same of the square's eight symmetries."""
    pair = torch.stack([clean, degraded], dim=1)
    kinds = rng.integers(8, size=len(pair))
    for kind in range(1, 8):
        chosen = torch.from_numpy(np.flatnonzero(kinds == kind))
        turned = torch.rot90(pair[chosen], kind % 4, (3, 4))
        pair[chosen] = turned.flip(4) if kind >= 4 else turned
    return pair[:, 0].contiguous(), pair[:, 1].contiguous()


class PretrainingData(lightning.LightningDataModule):
    """The stamps to pretrain on: those outside the `test` split, a few of them kept for validation.

    Parameters
    ----------
    path : Path
        A stamp set.
    rendering : Rendering
        How pixels become pictures.
    params : PretrainParams
        Batch size, masking, workers and seed.
    patch : int
        Side of the model's patches, pixels.

    Raises
    ------
    ParamsError
        If the masked blocks are not whole patches or do not fill the picture.
    StampError
        If no stamp is left to train on.
    """

    def __init__(self, path: Path, rendering: Rendering, params: PretrainParams, patch: int) -> None:
        super().__init__()
        if params.mask_patch % patch or rendering.size % params.mask_patch:
            raise ParamsError(
                f"Masked blocks of {params.mask_patch} pixels do not tile a picture of {rendering.size}.",
                f"`mask_patch` must be a multiple of {patch} that divides {rendering.size}.",
            )
        self.path, self.rendering, self.params, self.patch = path, rendering, params, patch
        with StampSet(path) as stamps:
            rows: NDArray[np.int64] = np.arange(len(stamps))
            if "split" in stamps.columns:
                rows = rows[stamps.column("split") != "test"]
        rows = np.random.default_rng(params.seed).permutation(rows)
        kept = min(VALIDATION_STAMPS, len(rows) // 10)
        self.validation_rows, self.training_rows = rows[:kept], rows[kept:]
        if not len(self.training_rows):
            raise StampError(f"{path.name} has no stamp outside its test split.", "Pretraining needs some.")

    def train_dataloader(self) -> DataLoader[Batch]:
        """Batches of the trainer's current epoch."""
        epoch = self.trainer.current_epoch if self.trainer is not None else 0
        return self._loader(self.training_rows, (self.params.seed, epoch))

    def val_dataloader(self) -> DataLoader[Batch] | list[Any]:
        """The same batches at every epoch."""
        if not len(self.validation_rows):
            return []
        return self._loader(self.validation_rows, (self.params.seed,))

    def _loader(self, rows: NDArray[np.int64], seed: tuple[int, ...]) -> DataLoader[Batch]:
        batches = PretrainingBatches(self.path, rows, self.rendering, self.params, self.patch, seed)
        return DataLoader(batches, batch_size=None, num_workers=self.params.workers)


class Pretraining(lightning.LightningModule):
    """The training loop of the LVM.

    Parameters
    ----------
    lvm : LVM
        The model, trained in place.
    params : PretrainParams
        Optimiser, schedule and loss.
    """

    def __init__(self, lvm: LVM, params: PretrainParams) -> None:
        super().__init__()
        self.lvm, self.params = lvm, params

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed what the model itself draws, so that a resumed run repeats an uninterrupted one."""
        torch.manual_seed(self.params.seed * 1_000_003 + self.global_step)

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        """The loss of one batch."""
        loss = self.loss(batch)
        self.log("train/loss", loss, on_step=True, on_epoch=False, prog_bar=True)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """The same loss on stamps kept aside."""
        self.log("validation/loss", self.loss(batch), prog_bar=True, batch_size=len(batch.clean))

    def loss(self, batch: Batch) -> torch.Tensor:
        """Mean absolute error, a hidden pixel weighing 1 and a visible one `visible_weight`."""
        batch = Batch(*batch)
        patch = self.lvm.preset.patch
        hidden = batch.mask.repeat_interleave(patch, 1).repeat_interleave(patch, 2)[:, None]
        weight = torch.where(hidden, 1.0, self.params.visible_weight)
        error = (self.lvm(batch.degraded, batch.mask) - batch.clean).abs().mean(dim=1, keepdim=True)
        mean: torch.Tensor = (error * weight).sum() / weight.sum()
        return mean

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW, no decay on norms, biases and position tables; linear warm-up, then a cosine to 0."""
        decayed: list[nn.Parameter] = []
        plain: list[nn.Parameter] = []
        for name, parameter in self.named_parameters():
            is_plain = parameter.ndim < 2 or name.endswith("relative_position_bias_table")
            (plain if is_plain else decayed).append(parameter)
        groups = [
            {"params": decayed, "weight_decay": self.params.weight_decay},
            {"params": plain, "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=self.params.learning_rate)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _rate(self, step: int) -> float:
        if step < self.params.warmup:
            return (step + 1) / self.params.warmup
        progress = (step - self.params.warmup) / max(1, self.params.steps - self.params.warmup)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


class AtomicCheckpointIO(TorchCheckpointIO):
    """Resume checkpoints that a kill cannot leave torn, and that cannot run code when they are read."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Write beside `path`, then rename."""
        write_atomically(Path(path), lambda partial: torch.save(checkpoint, partial))

    def load_checkpoint(
        self, path: str | Path, map_location: Any | None = "cpu", weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Tensors and plain values only, whatever is asked for.

        Raises
        ------
        CheckpointError
            If the file is torn or holds anything else.
        """
        try:
            return super().load_checkpoint(path, map_location, weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
            raise CheckpointError(
                f"{path} is no resume checkpoint ({error}).", f"Delete {Path(path).parent} to start the run again."
            ) from error


def pretrain(
    lvm: LVM,
    data: PretrainingData,
    params: PretrainParams,
    resume: Path,
    *,
    logger: lightning.pytorch.loggers.Logger | None = None,
    progress: bool = False,
) -> dict[str, float]:
    """Train `lvm` in place and return the last losses.

    Parameters
    ----------
    resume : Path
        Folder of the resume checkpoint; a run that finds one there goes on from the epoch it closed.
    logger : Logger, optional
        Where losses go.
    progress : bool
        Whether to draw a progress bar.
    """
    checkpoint = ModelCheckpoint(resume, "last", save_on_train_epoch_end=True, enable_version_counter=False)
    trainer = lightning.Trainer(
        max_steps=params.steps,
        max_epochs=-1,
        precision="bf16-mixed" if torch.cuda.is_available() else "32-true",
        gradient_clip_val=GRADIENT_LIMIT,
        reload_dataloaders_every_n_epochs=1,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        logger=logger or False,
        callbacks=[checkpoint],
        plugins=[AtomicCheckpointIO()],
        enable_progress_bar=progress,
        enable_model_summary=False,
    )
    last = resume / "last.ckpt"
    module = Pretraining(lvm, params)
    with warnings.catch_warnings():
        # Lightning 2.6 asks torch for a tree type by a name that torch 2.15 renames
        warnings.filterwarnings("ignore", message=".*LeafSpec.* is deprecated", category=FutureWarning)
        # it is the run that goes on
        warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
        trainer.fit(module, data, ckpt_path=last if last.is_file() else None)
        training = {name: float(value) for name, value in trainer.callback_metrics.items()}
        trainer.validate(module, data, verbose=False)
    return training | {name: float(value) for name, value in trainer.callback_metrics.items()}
