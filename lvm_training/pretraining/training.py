"""Pretraining: restore clean stamps from masked, survey-degraded ones, and read off what the catalogue measured.

Neither asks a person for a label. The catalogue's shapes, sizes and magnitudes are what any survey measures of every
object; in minutes of training they make features that restoration alone needs days for (docs/why/model.md).
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
from lvm_training.model.ranks import mean_over_ranks, rank_and_world
from lvm_training.params import ParamsError, PretrainParams
from lvm_training.pretraining.data import Batch
from lvm_training.progress import Progress

PROJECTION = 256


class Invariance(nn.Module):
    """The term that makes two views of a stamp have like features: VICReg on a small projector.

    Bardes et al. 2022 (ICLR, section 4) with their weights 25, 25, 1, divided by 25: the views' projections agree, each
    of their dimensions varies over the batch, and no two vary together. Each process takes the statistics of its own
    stamps. The projector is dropped after training.

    Parameters
    ----------
    width : int
        Length of a feature vector.

    Raises
    ------
    ParamsError
        If `lightly` is not installed.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        try:
            from lightly.loss import VICRegLoss
        except ImportError as error:
            raise ParamsError(
                f"The invariance term needs the package lightly ({error}).",
                "Install it with `pip install lightly`, or set `invariance_weight` to 0.",
            ) from error
        self.projector = nn.Sequential(
            nn.Linear(width, PROJECTION), nn.LayerNorm(PROJECTION), nn.GELU(), nn.Linear(PROJECTION, PROJECTION)
        )
        self.vicreg = VICRegLoss(lambda_param=1.0, mu_param=1.0, nu_param=0.04)

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """The loss of features (U, width) of two views of the same stamps; 0 for fewer than two stamps."""
        projections: torch.Tensor = self.projector(torch.cat([first, second])).float()
        if len(first) < 2:
            return projections.sum() * 0
        # sums over a batch of squares are too coarse in bf16
        with torch.autocast(projections.device.type, enabled=False):
            loss: torch.Tensor = self.vicreg(*projections.chunk(2))
        return loss


class Pretraining(lightning.LightningModule):
    """The training loop of the LVM.

    Parameters
    ----------
    lvm : LVM
        The model, trained in place.
    params : PretrainParams
        Optimiser, schedule and loss.

    Raises
    ------
    ParamsError
        As `Invariance`.
    """

    def __init__(self, lvm: LVM, params: PretrainParams) -> None:
        super().__init__()
        self.lvm, self.params = lvm, params
        with drawn_from(params.seed):
            self.readout = nn.Linear(lvm.preset.width, len(params.catalogue)) if params.catalogue else None
            self.invariance = Invariance(lvm.preset.width) if params.invariance_weight > 0 else None

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed what the model itself draws, so that a resumed run repeats an uninterrupted one."""
        rank, world = rank_and_world(self.trainer)
        torch.manual_seed(self.params.seed * 1_000_003 + self.global_step * world + rank)

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        """The loss of one batch."""
        return self._logged("train", batch)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """The same losses on stamps kept aside."""
        self._logged("validation", batch)

    def _logged(self, split: str, batch: Batch) -> torch.Tensor:
        batch = Batch(*batch)
        losses = self.losses(batch)
        weights = {"catalogue": self.params.catalogue_weight, "invariance": self.params.invariance_weight}
        loss = torch.stack([weights.get(name, 1.0) * value for name, value in losses.items()]).sum()
        if split == "train":
            # the logger's own count writes the steps 0 and 1 both as 1
            self.log("step", float(self.global_step + 1), batch_size=len(batch.clean))
        named = {"loss": loss, **losses}
        self.log_dict(
            {f"{split}/{name}": value.detach() for name, value in named.items()},
            batch_size=len(batch.clean),
            sync_dist=True,
        )
        return loss

    def losses(self, batch: Batch) -> dict[str, torch.Tensor]:
        """The terms of the loss: `restoration`, `catalogue`, and `invariance` where it has a weight.

        The first is the mean absolute error over the colours that were observed, a hidden pixel weighing 1 and a
        visible one `visible_weight`; the second the smooth L1 distance of the readout from the known catalogue values
        of unmasked pictures. Both are means over the stamps of all processes.
        """
        restored, features = self.lvm.restore(batch.degraded, batch.mask)
        hidden = hidden_pixels(batch.mask, self.lvm.preset.patch)
        weight = torch.where(hidden, 1.0, self.params.visible_weight) * batch.clean.isfinite()
        error = (restored - batch.clean.nan_to_num()).abs()
        # DDP wants every parameter in the loss, also the norm in front of features that nothing reads
        losses = {"restoration": _weighted_mean(error, weight), "catalogue": features.abs().sum() * 0}
        whole = ~batch.mask.flatten(1).any(1)
        if self.readout is not None:
            known = batch.catalogue.isfinite() & whole[:, None]
            distance = F.smooth_l1_loss(self.readout(features), batch.catalogue.nan_to_num(), reduction="none")
            losses["catalogue"] = _weighted_mean(distance, known.to(distance.dtype))
        if self.invariance is not None:
            losses["invariance"] = self.invariance(features[whole], self.lvm.features(_second_of(batch)))
        return losses

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """As `fitting.adamw`."""
        return adamw(self, self.params)


def _weighted_mean(values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """The mean over all processes' values; 0 where no value counts."""
    return (values * weights).sum() / mean_over_ranks(weights.sum()).clamp(min=1e-6)


def _second_of(batch: Batch) -> torch.Tensor:
    if batch.second is None:
        raise ParamsError(
            "These batches have no second views for the invariance term.", "Set `invariance_weight` to 0."
        )
    return batch.second


def pretrain(
    lvm: LVM,
    data: lightning.LightningDataModule,
    params: PretrainParams,
    resume: Path,
    *,
    logger: Logger | None = None,
    progress: Progress | None = None,
) -> dict[str, float]:
    """Train `lvm` in place and return the last losses; `resume`, `logger` and `progress` as in `fitting.fit`."""
    return fit(Pretraining(lvm, params), data, params.steps, resume, logger=logger, progress=progress)
