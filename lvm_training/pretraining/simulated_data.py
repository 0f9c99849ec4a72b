"""Pretraining on endless simulated stamps: batches drawn on the fly, for a model that starts from nothing."""

import lightning
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from lvm_training.errors import StampError
from lvm_training.model.masking import block_mask, check_blocks
from lvm_training.model.ranks import RankBatches, rank_and_world
from lvm_training.observation.degrade import degrade
from lvm_training.params import PretrainParams
from lvm_training.pretraining.data import VALIDATION_STAMPS, Batch
from lvm_training.scenes.scenes import draw_scenes
from lvm_training.scenes.truth import TruthScale, truth, truth_scale
from lvm_training.stamps.render import stretch
from lvm_training.stamps.rendering import Rendering


class SimulatedBatches(Dataset[Batch]):
    """Batches of pretraining drawn on the fly; the i-th depends only on the seed and i.

    Parameters
    ----------
    rendering : Rendering
        How pixels become pictures.
    params : PretrainParams
        Batch size, masking, and the measurements a survey's catalogue would hold.
    patch : int
        Side of the model's patches, pixels.
    scale : TruthScale
        Units of the measurements.
    length : int
        Batches.
    seed : tuple of int
        What all is drawn from.
    """

    def __init__(
        self,
        rendering: Rendering,
        params: PretrainParams,
        patch: int,
        scale: TruthScale,
        length: int,
        seed: tuple[int, ...],
    ) -> None:
        self.rendering, self.params, self.patch, self.scale = rendering, params, patch, scale
        self.length, self.seed = length, seed
        self._columns = [scale.names.index(name) for name in params.catalogue]

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Batch:
        rng, params = np.random.default_rng((*self.seed, index)), self.params
        size, field = self.rendering.size, self.rendering.field
        scenes = draw_scenes(params.batch, rng, size=size, field=field)
        worse = degrade(scenes.observed, rng, pixel_scale=field / size)
        known = self.scale.standardised(truth(scenes, pixel=field / size))[:, self._columns]
        mask = block_mask(
            params.batch,
            round(params.masked_share * params.batch),
            size=size,
            patch=self.patch,
            block=params.mask_patch,
            ratio=params.mask_ratio,
            rng=rng,
        )
        clean, degraded = (stretch(bands, self.rendering) for bands in (scenes.observed, worse))
        return Batch(degraded, clean, mask, torch.from_numpy(known))


class SimulatedPretraining(lightning.LightningDataModule):
    """Endless simulated stamps to pretrain on, and a fixed few to measure with.

    Parameters
    ----------
    rendering : Rendering
        How pixels become pictures.
    params : PretrainParams
        Batch size, masking, epochs, seed.
    patch : int
        Side of the model's patches, pixels.

    Raises
    ------
    ParamsError
        As `masking.check_blocks`.
    StampError
        If `params.catalogue` names something the simulation does not measure.
    """

    def __init__(self, rendering: Rendering, params: PretrainParams, patch: int) -> None:
        super().__init__()
        check_blocks(params.mask_patch, size=rendering.size, patch=patch)
        self.rendering, self.params, self.patch = rendering, params, patch
        self.scale = truth_scale(rendering)
        strange = sorted(set(params.catalogue) - set(self.scale.names))
        if strange:
            raise StampError(
                f"Simulated stamps have no measurement {', '.join(strange)}.",
                f"`catalogue` may name: {', '.join(self.scale.names)}.",
            )

    def train_dataloader(self) -> DataLoader[Batch]:
        """Batches of the trainer's current epoch."""
        epoch = self.trainer.current_epoch if self.trainer is not None else 0
        rank, world = rank_and_world(self.trainer)
        batches = self._batches(self.params.epoch_steps * world, (self.params.seed, 0, epoch))
        return self._loader(RankBatches(batches, rank, world))

    def val_dataloader(self) -> DataLoader[Batch]:
        """The same stamps at every epoch and for every process."""
        return self._loader(self._batches(-(-VALIDATION_STAMPS // self.params.batch), (self.params.seed, 1)))

    def _batches(self, length: int, seed: tuple[int, ...]) -> SimulatedBatches:
        return SimulatedBatches(self.rendering, self.params, self.patch, self.scale, length, seed)

    def _loader(self, batches: Dataset[Batch]) -> DataLoader[Batch]:
        return DataLoader(batches, batch_size=None, num_workers=self.params.workers)
