"""What pretraining learns from: batches of clean, degraded and masked pictures with their catalogue values."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import lightning
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from lvm_training.errors import StampError
from lvm_training.model.masking import block_mask, check_blocks
from lvm_training.model.ranks import RankBatches, rank_and_world
from lvm_training.params import ParamsError, PretrainParams
from lvm_training.pretraining.sets import TrainingStamps, epoch_order
from lvm_training.pretraining.views import second_views, worsened
from lvm_training.stamps.render import stretch
from lvm_training.stamps.rendering import Rendering
from lvm_training.stamps.symmetries import SYMMETRIES, turned

VALIDATION_STAMPS = 128


class Batch(NamedTuple):
    """What one step learns from.

    Attributes
    ----------
    degraded, clean : Tensor (B, 3, S, S)
        Pictures of the same stamps; `clean` is NaN where a stamp has no pixel, which counts in no loss.
    mask : Tensor (B, S / patch, S / patch) of bool
        True where a patch is hidden.
    catalogue : Tensor (B, K)
        Standardised catalogue columns, NaN where a value is missing.
    second : Tensor (U, 3, S, S), optional
        Second views of the U stamps without a mask, in their order; None unless the invariance term is wanted.
    """

    degraded: torch.Tensor
    clean: torch.Tensor
    mask: torch.Tensor
    catalogue: torch.Tensor
    second: torch.Tensor | None = None


class PretrainingBatches(Dataset[Batch]):
    """Batches of one epoch, of all processes in their common order.

    A stamp's pictures depend only on the seed and its place in the order, whoever reads it, when, and in what batch.

    Parameters
    ----------
    paths : sequence of Path
        The stamp sets; each reading process opens them for itself.
    rows : ndarray of int
        The rows to draw from, without replacement.
    catalogue : ndarray (N, K)
        Standardised catalogue columns of all the sets' rows.
    rendering : Rendering
        How pixels become pictures.
    params : PretrainParams
        Batch size, masking, and whether second views are wanted.
    patch : int
        Side of the model's patches, pixels.
    seed : tuple of int
        What the order, the augmentation, the degradation and the masks are drawn from.
    world : int
        Processes that share the batches out among them.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        rows: NDArray[np.int64],
        catalogue: NDArray[np.float32],
        rendering: Rendering,
        params: PretrainParams,
        patch: int,
        seed: tuple[int, ...],
        world: int = 1,
    ) -> None:
        self.paths, self.rendering, self.params, self.patch, self.seed = paths, rendering, params, patch, seed
        self._catalogue = catalogue
        self._stamps: TrainingStamps | None = None
        size = min(params.batch, len(rows) // world)
        order = epoch_order(rows, np.random.default_rng(seed), size * world)
        count = min(len(order) // (size * world), params.epoch_steps) * world
        self._batches = order[: count * size].reshape(count, size)

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> Batch:
        if self._stamps is None:
            self._stamps = TrainingStamps(self.paths)
        rows = self._batches[index]
        places = index * len(rows) + np.arange(len(rows))
        generators = [np.random.default_rng((*self.seed, int(place) + 1)) for place in places]
        bands, clean = self._stamps.exposures(rows, self.rendering)
        kinds = np.array([rng.integers(SYMMETRIES) for rng in generators])
        mask = self._mask(places, generators)
        worse = worsened(bands, generators, pixel_scale=self.rendering.field / self.rendering.size)
        degraded = turned(stretch(worse, self.rendering), kinds)
        second = None
        if self.params.invariance_weight > 0:
            whole = np.flatnonzero(~mask.flatten(1).any(1).numpy())
            second = second_views(bands[whole], kinds[whole], [generators[place] for place in whole], self.rendering)
        catalogue = torch.from_numpy(self._catalogue[rows])
        # what was not observed cannot be read off
        catalogue[~clean.isfinite().flatten(1).any(1)] = torch.nan
        return Batch(degraded, turned(clean, kinds), mask, catalogue, second)

    def _mask(self, places: NDArray[np.int64], generators: Sequence[np.random.Generator]) -> torch.Tensor:
        """Masks of SimMIM on the masked share of the places, evenly spread over them."""
        share = self.params.masked_share
        masked = np.floor((places + 1) * share).astype(int) - np.floor(places * share).astype(int)
        masks = [
            block_mask(
                1,
                one,
                size=self.rendering.size,
                patch=self.patch,
                block=self.params.mask_patch,
                ratio=self.params.mask_ratio,
                rng=rng,
            )
            for one, rng in zip(masked.tolist(), generators, strict=True)
        ]
        return torch.cat(masks)


class PretrainingData(lightning.LightningDataModule):
    """The stamps to pretrain on: those outside the `test` split, a few of them kept for validation.

    Every process of a training reads its own batches, and as many as the others: what does not fill a batch for each
    of them is left out of the epoch.

    Parameters
    ----------
    paths : Path or sequence of Path
        One or several stamp sets, of any sizes and pixel scales.
    rendering : Rendering
        How pixels become pictures.
    params : PretrainParams
        Batch size, masking, workers and seed.
    patch : int
        Side of the model's patches, pixels.

    Raises
    ------
    ParamsError
        If the masked blocks are not whole patches or do not fill the picture, or the invariance term is wanted and
        all is masked.
    StampError
        If no stamp is left to train on, none of them shows anything, or a set lacks a catalogue column.
    """

    def __init__(self, paths: Path | Sequence[Path], rendering: Rendering, params: PretrainParams, patch: int) -> None:
        super().__init__()
        check_blocks(params.mask_patch, size=rendering.size, patch=patch)
        if params.invariance_weight > 0 and (1 - params.masked_share) * params.batch < 2:
            raise ParamsError(
                "The invariance term compares unmasked stamps, at least two in a batch.",
                "Lower `masked_share`, or set `invariance_weight` to 0.",
            )
        self.paths = [paths] if isinstance(paths, Path) else list(paths)
        self.rendering, self.params, self.patch = rendering, params, patch
        stamps = TrainingStamps(self.paths)
        self.names, self.digest, self.kinds = stamps.names, stamps.digest, stamps.kinds
        columns = [stamps.column(name).astype(np.float32) for name in params.catalogue]
        rows, total = np.random.default_rng(params.seed).permutation(stamps.outside_test()), len(stamps)
        kept = min(VALIDATION_STAMPS, len(rows) // 10)
        self.validation_rows, self.training_rows = rows[:kept], np.sort(rows[kept:])
        if not len(self.training_rows):
            raise StampError(f"{self.names} has no stamp outside its test split.", "Pretraining needs some.")
        if not stamps.show_something(self.training_rows, rendering):
            raise StampError(
                f"In the pictures, no stamp of {self.names} outside the test split has a finite pixel.",
                "NaN marks pixels that were not observed; a set of nothing else cannot be learned from.",
            )
        stamps.close()
        standard = [_standardised(column, self.training_rows) for column in columns]
        self.catalogue = np.stack(standard, axis=1) if standard else np.zeros((total, 0), np.float32)

    def train_dataloader(self) -> DataLoader[Batch]:
        """This process's batches of the trainer's current epoch."""
        epoch = self.trainer.current_epoch if self.trainer is not None else 0
        return self._loader(self.training_rows, (self.params.seed, 0, epoch))

    def val_dataloader(self) -> DataLoader[Batch] | list[Any]:
        """The same batches at every epoch, shared out among the processes."""
        if len(self.validation_rows) < rank_and_world(self.trainer)[1]:
            return []
        return self._loader(self.validation_rows, (self.params.seed, 1))

    def _loader(self, rows: NDArray[np.int64], seed: tuple[int, ...]) -> DataLoader[Batch]:
        rank, world = rank_and_world(self.trainer)
        if len(rows) < world:
            raise StampError(
                f"{self.names} has {len(rows)} stamps to train on for {world} processes.", "Start fewer processes."
            )
        batches = PretrainingBatches(
            self.paths, rows, self.catalogue, self.rendering, self.params, self.patch, seed, world
        )
        return DataLoader(RankBatches(batches, rank, world), batch_size=None, num_workers=self.params.workers)


def _standardised(column: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """A column in units of its spread over `rows`, around its mean there; what is not finite becomes NaN."""
    known = np.where(np.isfinite(column), column, np.nan)
    if not np.isfinite(known[rows]).any():
        return np.full(len(column), np.nan, np.float32)
    spread = float(np.nanstd(known[rows]))
    standard: NDArray[np.float32] = (known - np.nanmean(known[rows])) / (spread or 1.0)
    return standard.astype(np.float32)
