"""What pretraining learns from: batches of clean, degraded and masked pictures with their catalogue values."""

from pathlib import Path
from typing import Any, NamedTuple

import lightning
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from lvm_training.errors import StampError
from lvm_training.params import ParamsError, PretrainParams
from lvm_training.stamps.degrade import degrade
from lvm_training.stamps.render import render_set, stretch, surface_brightness
from lvm_training.stamps.rendering import Rendering
from lvm_training.stamps.stampset import StampSet

VALIDATION_STAMPS = 128


class Batch(NamedTuple):
    """What one step learns from.

    Attributes
    ----------
    degraded, clean : Tensor (B, 3, S, S)
        Pictures of the same stamps.
    mask : Tensor (B, S / patch, S / patch) of bool
        True where a patch is hidden.
    catalogue : Tensor (B, K)
        Standardised catalogue columns, NaN where a value is missing.
    """

    degraded: torch.Tensor
    clean: torch.Tensor
    mask: torch.Tensor
    catalogue: torch.Tensor


class PretrainingBatches(Dataset[Batch]):
    """Batches of one epoch; the i-th depends only on the seed, the epoch and i, whoever reads it and when.

    Parameters
    ----------
    path : Path
        The stamp set; each reading process opens it for itself.
    rows : ndarray of int
        The rows to draw from, without replacement.
    catalogue : ndarray (N, K)
        Standardised catalogue columns of all the set's rows.
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
        catalogue: NDArray[np.float32],
        rendering: Rendering,
        params: PretrainParams,
        patch: int,
        seed: tuple[int, ...],
    ) -> None:
        self.path, self.rendering, self.params, self.patch, self.seed = path, rendering, params, patch, seed
        self._catalogue = catalogue
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
        rows, rng = self._batches[index], np.random.default_rng((*self.seed, index))
        clean, degraded = _turned(*self._pictures(self._stamps, rows, rng), rng)
        return Batch(degraded, clean, self._mask(len(rows), rng), torch.from_numpy(self._catalogue[rows]))

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
        """The same number of hidden blocks in each masked picture, drawn at random (SimMIM, section 3.2)."""
        blocks = self.rendering.size // self.params.mask_patch
        hidden = round(self.params.mask_ratio * blocks**2)
        ranks = rng.random((count, blocks**2)).argsort(axis=1).argsort(axis=1)
        # the rows come in random order, so the first ones are any
        masked = np.arange(count)[:, None] < round(self.params.masked_share * count)
        mask = torch.from_numpy((ranks < hidden) & masked).reshape(count, blocks, blocks)
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
        If no stamp is left to train on, or the set lacks a catalogue column.
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
            split = stamps.column("split") if "split" in stamps.columns else np.full(len(stamps), "")
            columns = [stamps.column(name).astype(np.float32) for name in params.catalogue]
        rows = np.random.default_rng(params.seed).permutation(np.flatnonzero(split != "test"))
        kept = min(VALIDATION_STAMPS, len(rows) // 10)
        self.validation_rows, self.training_rows = rows[:kept], rows[kept:]
        if not len(self.training_rows):
            raise StampError(f"{path.name} has no stamp outside its test split.", "Pretraining needs some.")
        standard = [_standardised(column, self.training_rows) for column in columns]
        self.catalogue = np.stack(standard, axis=1) if standard else np.zeros((len(split), 0), np.float32)

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
        batches = PretrainingBatches(self.path, rows, self.catalogue, self.rendering, self.params, self.patch, seed)
        return DataLoader(batches, batch_size=None, num_workers=self.params.workers)


def _standardised(column: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """A column in units of its spread over `rows`, around its mean there; what is not finite becomes NaN."""
    known = np.where(np.isfinite(column), column, np.nan)
    spread = float(np.nanstd(known[rows]))
    standard: NDArray[np.float32] = (known - np.nanmean(known[rows])) / (spread or 1.0)
    return standard.astype(np.float32)
