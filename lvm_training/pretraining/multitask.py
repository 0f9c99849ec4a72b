"""Multi-task training: classification, restoration and reconstruction, each with the share of training it needs.

Fu et al. 2024 (arXiv:2405.10890) train the three tasks together behind one encoder and change their shares as training
goes on; the rule is not published. Here a task's share follows its shortfall: how far it is from its goal on held-out
stamps, on a scale from what a trivial answer reaches (1) to the goal (0).
"""

from pathlib import Path

import lightning
import torch
import torch.nn.functional as F
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import nn

from lvm_training.model.fitting import adamw, drawn_from, fit
from lvm_training.model.lvm import LVM
from lvm_training.model.masking import hidden_pixels
from lvm_training.params import TASKS, MultitaskParams
from lvm_training.pretraining.multitask_data import MultitaskData, TaskBatch
from lvm_training.progress import Progress

CLASSIFICATION, RESTORATION, RECONSTRUCTION = range(len(TASKS))


def shares_of(shortfalls: torch.Tensor, floor: float) -> torch.Tensor:
    """Shares (K,) that add up to 1: `floor` each, and the rest in proportion to the shortfalls (K,) in [0, 1]."""
    total = shortfalls.sum()
    equal = torch.full_like(shortfalls, 1 / len(shortfalls))
    need = shortfalls / total if total > 0 else equal
    return floor + (1 - len(shortfalls) * floor) * need


class MultiTask(lightning.LightningModule):
    """The training loop of the three tasks.

    Parameters
    ----------
    lvm : LVM
        The model, trained in place.
    params : MultitaskParams
        Optimiser, schedule, goals.
    truths : tuple of str
        Names of the truth columns the readout gives.
    """

    shares: torch.Tensor
    sums: torch.Tensor

    def __init__(self, lvm: LVM, params: MultitaskParams, truths: tuple[str, ...]) -> None:
        super().__init__()
        self.lvm, self.params, self.truths = lvm, params, truths
        with drawn_from(params.seed):
            self.readout = nn.Linear(lvm.preset.width, len(truths))
        # part of the state: a resumed run goes on with the shares it had
        self.register_buffer("shares", torch.full((len(TASKS),), 1 / len(TASKS)))
        self._held_out: list[dict[str, torch.Tensor]] = []

    def on_train_batch_start(self, batch: TaskBatch, batch_idx: int) -> None:
        """Seed what the model itself draws, so that a resumed run repeats an uninterrupted one."""
        torch.manual_seed(self.params.seed * 1_000_003 + self.global_step)

    def outputs(self, batch: TaskBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """Readings (N_classification, K) and pictures (N_others, 3, S, S), one encoder pass for all."""
        maps = self.lvm.maps(batch.images, batch.mask)
        decoded = batch.task != CLASSIFICATION
        readings = self.readout(self.lvm.pooled([maps[-1][~decoded]]))
        return readings, self.lvm.decoder([level[decoded] for level in maps])

    def training_step(self, batch: TaskBatch, batch_idx: int) -> torch.Tensor:
        """The mean over stamps of their tasks' losses, each in units of what a trivial answer loses."""
        batch = TaskBatch(*batch)
        losses = self.losses(batch, *self.outputs(batch))
        counts = torch.bincount(batch.task, minlength=len(TASKS))
        loss = (losses * counts).sum() / counts.sum()
        # the logger's own count writes the steps 0 and 1 both as 1
        self.log("step", float(self.global_step + 1), batch_size=len(batch.images))
        named = {"loss": loss, **dict(zip(TASKS, losses, strict=True))}
        self.log_dict({f"train/{name}": value.detach() for name, value in named.items()}, batch_size=len(batch.images))
        return loss

    def losses(self, batch: TaskBatch, readings: torch.Tensor, pictures: torch.Tensor) -> torch.Tensor:
        """Losses (3,) over those of a trivial answer: the mean truth, the degraded picture, the mean hidden colour."""
        truth = batch.truth[batch.task == CLASSIFICATION]
        known = truth.isfinite()
        distance = F.smooth_l1_loss(readings, truth.nan_to_num(), reduction="none")
        trivial = F.smooth_l1_loss(torch.zeros_like(truth), truth.nan_to_num(), reduction="none")
        classification = (distance * known).sum() / (trivial * known).sum()
        others = batch.task[batch.task != CLASSIFICATION]
        images, target = (part[batch.task != CLASSIFICATION] for part in (batch.images, batch.target))
        error = (pictures - target).abs().mean((1, 2, 3))
        worse = (images - target).abs().mean((1, 2, 3))
        restored = others == RESTORATION
        restoration = error[restored].mean() / worse[restored].mean().clamp(min=1e-6)
        hidden = self._hidden(batch)
        wanted = target[~restored]
        middle = _hidden_mean(wanted, hidden)
        missed = ((pictures[~restored] - wanted).abs() * hidden).sum()
        reconstruction = missed / ((wanted - middle).abs() * hidden).sum().clamp(min=1e-6)
        return torch.stack([classification, restoration, reconstruction])

    def _hidden(self, batch: TaskBatch) -> torch.Tensor:
        """Hidden pixels (N, 1, S, S) of the masked pictures."""
        return hidden_pixels(batch.mask[batch.task == RECONSTRUCTION], self.lvm.preset.patch)

    def validation_step(self, batch: TaskBatch, batch_idx: int) -> None:
        """Gather the sums the scores are made of."""
        batch = TaskBatch(*batch)
        readings, pictures = self.outputs(batch)
        truth = batch.truth[batch.task == CLASSIFICATION]
        others = batch.task[batch.task != CLASSIFICATION]
        images, target = (part[batch.task != CLASSIFICATION] for part in (batch.images, batch.target))
        restored = others == RESTORATION
        before, after = (
            (part.clamp(0, 1) - target[restored]).square().mean((1, 2, 3)).clamp(min=1e-10)
            for part in (images[restored], pictures[restored])
        )
        hidden, wanted = self._hidden(batch), target[~restored]
        self._held_out.append(
            {
                "truth": truth,
                "readings": readings,
                "gain": 10 * torch.log10(before / after),
                "missed": ((pictures[~restored] - wanted).square() * hidden).sum((1, 2, 3)),
                "spread": ((wanted - _hidden_mean(wanted, hidden)).square() * hidden).sum((1, 2, 3)),
            }
        )

    def on_validation_epoch_end(self) -> None:
        """Score the tasks and set their shares for the next epoch."""
        gathered = {name: torch.cat([part[name] for part in self._held_out]) for name in self._held_out[0]}
        self._held_out.clear()
        explained = explained_variance(gathered["truth"], gathered["readings"])
        scores = {
            "classification": float(explained.nanmean()),
            "restoration": float(gathered["gain"].mean()),
            "reconstruction": float(1 - gathered["missed"].sum() / gathered["spread"].sum()),
        }
        self.log_dict({f"score/{task}": score for task, score in scores.items()})
        self.log_dict({f"truth/{name}": float(value) for name, value in zip(self.truths, explained, strict=True)})
        self.log_dict({f"share/{task}": float(share) for task, share in zip(TASKS, self.shares, strict=True)})
        if self.params.shares == "shortfall":
            lacking = [1 - scores[task] / self.params.goals[task] for task in TASKS]
            self.shares.copy_(shares_of(torch.tensor(lacking).clamp(0, 1), self.params.floor))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """As `fitting.adamw`."""
        return adamw(self, self.params)


def explained_variance(truth: torch.Tensor, readings: torch.Tensor) -> torch.Tensor:
    """1 - residual / variance of each column (K,), over the rows (N, K) where it is known; NaN where all are alike."""
    known = truth.isfinite()
    value = truth.nan_to_num()
    count = known.sum(0).clamp(min=1)
    mean = value.sum(0) / count
    residual = ((readings - value).square() * known).sum(0)
    variance = ((value - mean).square() * known).sum(0)
    return torch.where(variance > 0, 1 - residual / variance, torch.nan)


def _hidden_mean(pictures: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
    """The mean colour (N, 3, 1, 1) of the hidden pixels of each picture."""
    return (pictures * hidden).sum((2, 3), keepdim=True) / hidden.sum((2, 3), keepdim=True)


def train_tasks(
    lvm: LVM,
    data: MultitaskData,
    params: MultitaskParams,
    resume: Path,
    *,
    logger: Logger | None = None,
    progress: Progress | None = None,
) -> dict[str, float]:
    """Train `lvm` in place and return the last losses, scores and shares; the rest as in `fitting.fit`."""
    module = MultiTask(lvm, params, data.scale.names)
    return fit(module, data, params.steps, resume, logger=logger, progress=progress)
