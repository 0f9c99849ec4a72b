"""The baselines given what the LVM had: a ResNet that reads the truth of as many simulated stamps."""

from pathlib import Path

import lightning
import timm
import torch
import torch.nn.functional as F
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch.utils.data import DataLoader, Dataset

from lvm_training.model.fitting import adamw, fit
from lvm_training.model.ranks import RankBatches, rank_and_world
from lvm_training.params import MultitaskParams, Task
from lvm_training.pretraining.multitask import explained_variance
from lvm_training.pretraining.multitask_data import SimulatedTasks, TaskBatch
from lvm_training.progress import Progress
from lvm_training.scenes.truth import TruthScale, truth_scale
from lvm_training.stamps.rendering import Rendering

PATCH = 4  # of masks, which this model never sees


class TruthReader(lightning.LightningModule):
    """A ResNet whose linear readout gives the truth of simulated stamps: the LVM's classification task alone.

    Parameters
    ----------
    architecture : str
        timm's name, such as "resnet18".
    params : MultitaskParams
        Optimiser and schedule, those of the LVM's multi-task training.
    truths : int
        Number of truth columns.
    """

    def __init__(self, architecture: str, params: MultitaskParams, truths: int) -> None:
        super().__init__()
        self.params = params
        self.network = timm.create_model(architecture, pretrained=False, num_classes=truths)

    def training_step(self, batch: TaskBatch, batch_idx: int) -> torch.Tensor:
        """Smooth L1 distance from what is known."""
        batch = TaskBatch(*batch)
        known = batch.truth.isfinite()
        distance = F.smooth_l1_loss(self.network(batch.images), batch.truth.nan_to_num(), reduction="none")
        loss = (distance * known).sum() / known.sum()
        self.log("train/loss", loss.detach(), batch_size=len(batch.images))
        return loss

    def validation_step(self, batch: TaskBatch, batch_idx: int) -> None:
        """Explained variance, mean over the truth columns."""
        batch = TaskBatch(*batch)
        score = explained_variance(batch.truth, self.network(batch.images)).nanmean()
        self.log("score/classification", score, batch_size=len(batch.images))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """As `fitting.adamw`."""
        return adamw(self, self.params)


class ReadingData(lightning.LightningDataModule):
    """Endless simulated stamps with their truth, the same stamps for the same parameters.

    Parameters
    ----------
    rendering : Rendering
        How pixels become pictures.
    params : MultitaskParams
        Batch size, epochs, seed.
    """

    def __init__(self, rendering: Rendering, params: MultitaskParams) -> None:
        super().__init__()
        self.rendering, self.params = rendering, params
        self.scale: TruthScale = truth_scale(rendering)

    def train_dataloader(self) -> DataLoader[TaskBatch]:
        """This process's batches of the trainer's current epoch."""
        epoch = self.trainer.current_epoch if self.trainer is not None else 0
        rank, world = rank_and_world(self.trainer)
        batches = self._batches(self.params.batch, self.params.epoch_steps * world, (self.params.seed, 0, epoch))
        return self._loader(RankBatches(batches, rank, world))

    def val_dataloader(self) -> DataLoader[TaskBatch]:
        """The same stamps at every epoch and for every process."""
        return self._loader(self._batches(self.params.validation, 1, (self.params.seed, 1)))

    def _batches(self, stamps: int, length: int, seed: tuple[int, ...]) -> SimulatedTasks:
        counts: dict[Task, int] = {"classification": stamps, "restoration": 0, "reconstruction": 0}
        return SimulatedTasks(self.rendering, self.params, PATCH, self.scale, counts, length, seed)

    def _loader(self, batches: Dataset[TaskBatch]) -> DataLoader[TaskBatch]:
        return DataLoader(batches, batch_size=None, num_workers=self.params.workers)


def pretrain_resnet(
    architecture: str, rendering: Rendering, params: MultitaskParams, resume: Path, *, progress: Progress | None = None
) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    """State of a ResNet, for `fit_resnet18(encoder_state=...)` or `detectron.resnet50_state`; its last loss and score.

    Parameters
    ----------
    architecture : str
        timm's name: "resnet18" or "resnet50".
    resume : Path
        Folder of the resume checkpoint, as in `fitting.fit`.
    """
    torch.manual_seed(params.seed)
    data = ReadingData(rendering, params)
    reader = TruthReader(architecture, params, len(data.scale.names))
    metrics = fit(reader, data, params.steps, resume, progress=progress)
    state = {name: tensor.detach().cpu() for name, tensor in reader.network.state_dict().items()}
    return state, metrics
