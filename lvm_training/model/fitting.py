"""How every model is fitted: AdamW with a warm-up and a cosine, Lightning's trainer, checkpoints to resume from."""

import logging
import math
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import lightning
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import nn

from lvm_training.errors import CheckpointError
from lvm_training.files import try_writing, write_atomically
from lvm_training.model.precision import trainer_precision
from lvm_training.model.ranks import Layout, find_layout, leads
from lvm_training.progress import Progress

GRADIENT_LIMIT = 1.0
LAST = "last.ckpt"


class Schedule(Protocol):
    """What an optimiser's schedule needs of a section of parameters."""

    @property
    def steps(self) -> int:
        """Optimiser steps in all."""

    @property
    def warmup(self) -> int:
        """Steps of linear warm-up."""

    @property
    def learning_rate(self) -> float:
        """AdamW's peak learning rate."""

    @property
    def weight_decay(self) -> float:
        """AdamW's weight decay."""


def decay_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """A module's parameters in an optimiser's groups: with weight decay, and norms, biases, position tables without."""
    decayed: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for name, parameter in module.named_parameters():
        is_plain = parameter.ndim < 2 or name.endswith("relative_position_bias_table")
        (plain if is_plain else decayed).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]


def adamw(module: nn.Module, schedule: Schedule) -> OptimizerLRScheduler:
    """AdamW, no decay on norms, biases and position tables; linear warm-up, then a cosine to 0.

    Loshchilov & Hutter 2019 (ICLR); the exceptions are those of Liu et al. 2021 (Swin, section A2.1).
    """

    def rate(step: int) -> float:
        if step < schedule.warmup:
            return (step + 1) / schedule.warmup
        progress = (step - schedule.warmup) / max(1, schedule.steps - schedule.warmup)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))

    optimizer = torch.optim.AdamW(decay_groups(module, schedule.weight_decay), lr=schedule.learning_rate)
    return {
        "optimizer": optimizer,
        "lr_scheduler": {"scheduler": torch.optim.lr_scheduler.LambdaLR(optimizer, rate), "interval": "step"},
    }


class StepReport(lightning.Callback):
    """Tells the first process's caller how far training is: steps done and steps in all."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Report a step."""
        if trainer.is_global_zero:
            self._progress(trainer.global_step, trainer.max_steps)


class Plateau(NamedTuple):
    """When a training has nothing more to gain: a validation score, the higher the better, and for how many epochs it
    may not rise."""

    score: str
    patience: int


class BestWeights(lightning.Callback):
    """Ends a training whose validation score rises no more, and keeps the weights of the best epoch.

    They lie in the resume checkpoint itself, so that a kill cannot separate the two.

    Parameters
    ----------
    plateau : Plateau
        What is watched.
    """

    def __init__(self, plateau: Plateau) -> None:
        self.plateau = plateau
        self.best, self.waited = -math.inf, 0
        self.weights: dict[str, torch.Tensor] = {}

    def on_train_epoch_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """End a run that was killed after its last epoch without training on."""
        if self.waited >= self.plateau.patience:
            trainer.should_stop = True

    def on_validation_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Compare the epoch's score with the best one so far."""
        if trainer.state.fn != TrainerFn.FITTING:
            return
        score = float(trainer.callback_metrics[self.plateau.score])
        if score > self.best:
            self.best, self.waited = score, 0
            self.weights = {name: tensor.detach().cpu().clone() for name, tensor in module.state_dict().items()}
        else:
            self.waited += 1
        trainer.should_stop = trainer.should_stop or self.waited >= self.plateau.patience

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs."""
        return {"best": self.best, "waited": self.waited, "weights": self.weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self.best, self.waited, self.weights = (state_dict[name] for name in ("best", "waited", "weights"))


class SameStart(lightning.Callback):
    """Stops processes that would start from different places, which would otherwise wait for each other for ever."""

    def __init__(self, last: Path, *, found: bool) -> None:
        self._last, self._found = last, found

    def setup(self, trainer: lightning.Trainer, module: lightning.LightningModule, stage: str) -> None:
        """Compare what the processes found.

        Raises
        ------
        CheckpointError
            If some of them see the resume checkpoint and others do not.
        """
        agreed = [trainer.strategy.reduce_boolean_decision(self._found, all=every) for every in (True, False)]
        if stage == "fit" and agreed[0] != agreed[1]:
            raise CheckpointError(
                f"Some processes of this training find {self._last} and others do not.",
                "All machines must see the same folder; put it on a file system they share.",
            )


class AtomicCheckpointIO(TorchCheckpointIO):
    """Resume checkpoints that a kill cannot leave torn, and that cannot run code when they are read."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Write beside `path`, then rename.

        Raises
        ------
        CheckpointError
            If the file cannot be written; an earlier one is then still there.
        """
        try:
            write_atomically(Path(path), lambda partial: torch.save(checkpoint, partial))
        except (OSError, RuntimeError) as error:
            raise CheckpointError(
                f"The resume checkpoint {path} could not be written: {error}.",
                "Free space there, or allow writing, and start the run again: it goes on from its last checkpoint.",
            ) from error

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
        # a torn file raises whatever its first wrong byte leads to
        except Exception as error:
            raise CheckpointError(
                f"{path} is no resume checkpoint ({error}).", f"Delete {Path(path).parent} to start the run again."
            ) from error


def fit(
    module: lightning.LightningModule,
    data: lightning.LightningDataModule,
    steps: int,
    resume: Path | None,
    *,
    plateau: Plateau | None = None,
    logger: Logger | None = None,
    progress: Progress | None = None,
    layout: Layout | None = None,
    accumulated: int = 1,
) -> dict[str, float]:
    """Fit a module for a number of optimiser steps and return what it logged last.

    Runs on the CPU or a GPU; with several GPUs, or several processes that torchrun started on one or more machines,
    with PyTorch's DistributedDataParallel. The data module shares out the batches (`ranks.RankBatches`). torchrun's
    `--max-restarts` needs TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1: without it the processes it starts anew wait for the
    dead ones (pytorch/pytorch issue 135712).

    Parameters
    ----------
    resume : Path or None
        Folder of the resume checkpoint; a run that finds one there goes on from the epoch it closed. All processes
        must see it; only the first one writes. None keeps nothing.
    plateau : Plateau, optional
        Ends the training early where its score rises no more; the module then has the weights that scored best.
    logger : Logger, optional
        Where losses go.
    progress : callable, optional
        Called with the steps done and their number.
    layout : Layout, optional
        Where to run; by default where `find_layout` says.
    accumulated : int
        Batches whose gradients make one step together.

    Raises
    ------
    CheckpointError
        If the resume checkpoint is torn, cannot be written (known before the first step where its folder cannot be),
        or is not seen by all processes.
    ParamsError
        As `ranks.find_layout`.
    """
    callbacks: list[lightning.Callback] = []
    start = None
    if resume is not None:
        last = resume / LAST
        start = last if last.is_file() else None
        saved = ModelCheckpoint(resume, last.stem, save_on_train_epoch_end=True, enable_version_counter=False)
        callbacks = [saved, SameStart(last, found=start is not None)]
    kept = None if plateau is None else BestWeights(plateau)
    if kept is not None:
        callbacks.append(kept)
    if progress is not None:
        callbacks.append(StepReport(progress))
    trainer = _trainer(steps, logger, callbacks, layout, accumulated, keeping=resume is not None)
    if resume is not None and leads():
        _check_writable(resume)
    with _quiet():
        trainer.fit(module, data, ckpt_path=start)
        training = {name: float(value) for name, value in trainer.callback_metrics.items() if name != "step"}
        if type(data).val_dataloader is not lightning.LightningDataModule.val_dataloader:
            trainer.validate(module, data, verbose=False)
        if kept is not None and kept.best >= float(trainer.callback_metrics[kept.plateau.score]):
            module.load_state_dict(kept.weights)
            trainer.validate(module, data, verbose=False)
    return training | {name: float(value) for name, value in trainer.callback_metrics.items()}


def _check_writable(folder: Path) -> None:
    try:
        try_writing(folder)
    except OSError as error:
        raise CheckpointError(
            f"Nothing can be written to {folder}: {error}.",
            "Training needs a folder that can be made there, and the right to write in it.",
        ) from error


def measure(module: lightning.LightningModule, data: lightning.LightningDataModule) -> dict[str, float]:
    """What a module logs of the validation stamps as it is; the devices are those of `fit`."""
    trainer = _trainer(-1, None, [])
    with _quiet():
        trainer.validate(module, data, verbose=False)
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


def _trainer(
    steps: int,
    logger: Logger | None,
    callbacks: list[lightning.Callback],
    layout: Layout | None = None,
    accumulated: int = 1,
    *,
    keeping: bool = False,
) -> lightning.Trainer:
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    layout = layout or find_layout(os.environ, torch.cuda.device_count())
    return lightning.Trainer(
        accelerator=layout.accelerator,
        devices=layout.devices,
        num_nodes=layout.nodes,
        strategy=_strategy(layout),
        use_distributed_sampler=False,
        max_steps=steps,
        max_epochs=-1,
        precision=trainer_precision(layout.accelerator),
        gradient_clip_val=GRADIENT_LIMIT,
        accumulate_grad_batches=accumulated,
        reload_dataloaders_every_n_epochs=1,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        logger=logger or False,
        callbacks=callbacks,
        plugins=[AtomicCheckpointIO(), TorchElasticEnvironment() if layout.torchrun else LightningEnvironment()],
        enable_checkpointing=keeping,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def _strategy(layout: Layout) -> DDPStrategy | str:
    return "auto" if layout.backend is None else DDPStrategy(process_group_backend=layout.backend)


@contextmanager
def drawn_from(seed: int) -> Iterator[None]:
    """Weights that are made meanwhile are drawn from `seed`, on the CPU; nobody else's random numbers move.

    PyTorch seeds each process at random: without it the same training ends elsewhere each time.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


@contextmanager
def _quiet() -> Iterator[None]:
    """Without warnings that say nothing about the run."""
    with warnings.catch_warnings():
        # Lightning 2.6 asks torch for a tree type by a name that torch 2.15 renames
        warnings.filterwarnings("ignore", message=".*LeafSpec.* is deprecated", category=FutureWarning)
        # it is the run that goes on
        warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
        # a set may be too small to keep stamps aside
        warnings.filterwarnings("ignore", message="Total length of .* across ranks is zero")
        yield
