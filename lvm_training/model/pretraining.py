"""Pretraining: restore clean stamps from masked, survey-degraded ones, and read off what the catalogue measured.

Neither asks a person for a label. The catalogue's shapes, sizes and magnitudes are what any survey measures of every
object; in minutes of training they make features that restoration alone needs days for (docs/why.md).
"""

import math
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import nn

from lvm_training.errors import CheckpointError
from lvm_training.files import write_atomically
from lvm_training.model.lvm import LVM
from lvm_training.model.pretraining_data import Batch, PretrainingData
from lvm_training.params import PretrainParams

GRADIENT_LIMIT = 1.0


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
        self.readout = nn.Linear(lvm.preset.width, len(params.catalogue)) if params.catalogue else None

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed what the model itself draws, so that a resumed run repeats an uninterrupted one."""
        torch.manual_seed(self.params.seed * 1_000_003 + self.global_step)

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        """The loss of one batch."""
        return self._logged("train", batch)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """The same losses on stamps kept aside."""
        self._logged("validation", batch)

    def _logged(self, split: str, batch: Batch) -> torch.Tensor:
        batch = Batch(*batch)
        restoration, catalogue = self.losses(batch)
        loss = restoration + self.params.catalogue_weight * catalogue
        named = {"loss": loss, "restoration": restoration, "catalogue": catalogue}
        if split == "train":
            # the logger's own count writes the steps 0 and 1 both as 1
            self.log("step", float(self.global_step + 1), batch_size=len(batch.clean))
        self.log_dict(
            {f"{split}/{name}": value.detach() for name, value in named.items()},
            batch_size=len(batch.clean),
        )
        return loss

    def losses(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Restoration and catalogue loss.

        The first is the mean absolute error, a hidden pixel weighing 1 and a visible one `visible_weight`; the second
        the smooth L1 distance of the readout from the known catalogue values of unmasked pictures.
        """
        patch = self.lvm.preset.patch
        restored, features = self.lvm.restore(batch.degraded, batch.mask)
        hidden = batch.mask.repeat_interleave(patch, 1).repeat_interleave(patch, 2)[:, None]
        weight = torch.where(hidden, 1.0, self.params.visible_weight)
        error = (restored - batch.clean).abs().mean(dim=1, keepdim=True)
        restoration = (error * weight).sum() / weight.sum()
        if self.readout is None:
            return restoration, restoration.new_zeros(())
        known = batch.catalogue.isfinite() & ~batch.mask.flatten(1).any(1)[:, None]
        distance = F.smooth_l1_loss(self.readout(features), batch.catalogue.nan_to_num(), reduction="none")
        return restoration, (distance * known).sum() / known.sum().clamp(min=1)

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


class StepReport(lightning.Callback):
    """Tells a caller how far training is: steps done and steps in all."""

    def __init__(self, progress: Callable[[int, int], None]) -> None:
        self._progress = progress

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Report a step."""
        self._progress(trainer.global_step, trainer.max_steps)


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
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, float]:
    """Train `lvm` in place and return the last losses.

    Parameters
    ----------
    resume : Path
        Folder of the resume checkpoint; a run that finds one there goes on from the epoch it closed.
    logger : Logger, optional
        Where losses go.
    progress : callable, optional
        Called with the steps done and their number.
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
        callbacks=[checkpoint, StepReport(progress)] if progress is not None else [checkpoint],
        plugins=[AtomicCheckpointIO()],
        enable_progress_bar=False,
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
        training = {name: float(value) for name, value in trainer.callback_metrics.items() if name != "step"}
        trainer.validate(module, data, verbose=False)
    return training | {name: float(value) for name, value in trainer.callback_metrics.items()}
