"""Adaptation: pretraining that goes on from a checkpoint, on a user's own unlabelled stamps."""

import hashlib
import math
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from lvm_training.model.encoder import save_checkpoint, starting_point
from lvm_training.model.fitting import fit, measure
from lvm_training.model.lvm import LVM
from lvm_training.model.ranks import find_layout, leads
from lvm_training.params import ParamsError, PretrainParams
from lvm_training.pretraining.data import PretrainingData
from lvm_training.pretraining.sets import TrainingStamps
from lvm_training.pretraining.training import Pretraining
from lvm_training.progress import Progress
from lvm_training.revision import code_revision
from lvm_training.stamps.rendering import Rendering

EPOCHS = 5
LEAST_STEPS, MOST_STEPS = 50, 2000
SEED = 1
LEARNING_RATE = 1.0e-3  # of random weights; a checkpoint is adapted with a tenth
# Features stay of use for few labels; measured on real galaxies (docs/why/model.md), six times as much did harm
INVARIANCE_WEIGHT = 0.05


@dataclass(frozen=True)
class Wishes:
    """What a user asks of an adaptation; what is left open follows from the stamps and the checkpoint.

    Attributes
    ----------
    init : Path, optional
        Folder of the checkpoint to start from, which also gives preset and rendering; without one, random weights.
    preset : str, optional
        Size of the model: that of `init` or of `params`, else nano.
    params : PretrainParams, optional
        How to train. Preset, start and rendering are not taken from it where `init` is given; catalogue columns that
        not every set has are left out.
    steps, batch : int, optional
        In place of those of `params`.
    """

    init: Path | None = None
    preset: str | None = None
    params: PretrainParams | None = None
    steps: int | None = None
    batch: int | None = None


@dataclass(frozen=True)
class Adaptation:
    """What came out.

    Attributes
    ----------
    folder : Path
        Of the checkpoint.
    encoder, parent : str
        Digest of the new encoder, and of the one it started from (empty for random weights).
    stamps, kept_aside : int
        Stamps trained on, and those the losses were measured on.
    steps : int
        Optimiser steps.
    loss_before, loss_after : float, optional
        Restoration loss of the stamps kept aside; None if there were none.
    seconds : float
        Time this run took; a run that went on from a killed one counts its own part.
    """

    folder: Path
    encoder: str
    parent: str
    stamps: int
    kept_aside: int
    steps: int
    loss_before: float | None
    loss_after: float | None
    seconds: float


def adapt(paths: Sequence[Path], out: Path, wishes: Wishes, *, progress: Progress | None = None) -> Adaptation:
    """Train on stamp sets and write a checkpoint to `out`; a killed run that is started again goes on.

    Unless asked otherwise it takes five epochs, at least 50 and at most 2,000 steps.

    Raises
    ------
    CheckpointError
        If `init` cannot be read or a checkpoint not be written.
    ParamsError
        If `out` is `init`, or the preset is unknown or another one than that of `init`.
    StampError
        If a set cannot be read or no stamp is left to train on.
    """
    started = time.monotonic()
    if wishes.init is not None and wishes.init.resolve() == out.resolve():
        raise ParamsError(f"{out} holds the weights to start from.", "Write to another folder.")
    lvm, rendering, parent = _start(wishes)
    params = _settled(wishes, lvm.preset.name, rendering, paths)
    data = PretrainingData(paths, rendering, params, lvm.preset.patch)
    params = _scheduled(wishes, params, len(data.training_rows))
    module = Pretraining(lvm.train(), params)
    key = hashlib.sha256("\n".join([params.model_dump_json(), data.digest, parent]).encode()).hexdigest()[:12]
    resume = out / f"resume-{key}"
    before = measure(module, data).get("validation/restoration")
    metrics = fit(module, data, params.steps, resume, progress=progress)
    encoder = ""
    if leads():
        card = save_checkpoint(
            out,
            lvm,
            rendering,
            data=data.digest,
            code=code_revision(),
            params=params.model_dump(),
            metrics=metrics | ({} if before is None else {"before/restoration": before}),
            parent=parent,
        )
        encoder = card.encoder
        shutil.rmtree(resume)
    return Adaptation(
        out,
        encoder,
        parent,
        len(data.training_rows),
        len(data.validation_rows),
        params.steps,
        before,
        metrics.get("validation/restoration"),
        time.monotonic() - started,
    )


def _start(wishes: Wishes) -> tuple[LVM, Rendering, str]:
    """The weights to start from, their rendering, and the encoder they are (empty for random ones)."""
    given = wishes.params
    return starting_point(
        wishes.init,
        wishes.preset or (given.preset if given and wishes.init is None else None),
        field=given.field if given else Rendering().field,
        seed=given.seed if given else SEED,
    )


def _settled(wishes: Wishes, preset: str, rendering: Rendering, paths: Sequence[Path]) -> PretrainParams:
    """The parameters of the training, except for its length."""
    stamps = TrainingStamps(paths)
    columns = stamps.columns
    stamps.close()
    params = wishes.params or _defaults(preset, rendering, adapted=wishes.init is not None)
    return params.model_copy(
        update={
            "preset": preset,
            "init": str(wishes.init or ""),
            "source": "stamps",
            "field": rendering.field,
            "batch": wishes.batch or params.batch,
            "catalogue": tuple(name for name in params.catalogue if name in columns),
        }
    )


def _defaults(preset: str, rendering: Rendering, *, adapted: bool) -> PretrainParams:
    return PretrainParams(
        preset=preset,
        field=rendering.field,
        steps=1,
        batch=64,
        learning_rate=LEARNING_RATE / 10 if adapted else LEARNING_RATE,
        warmup=0,
        weight_decay=0.05,
        masked_share=0.25,
        mask_ratio=0.5,
        mask_patch=8,
        visible_weight=0.25,
        catalogue=(),
        catalogue_weight=1.0,
        invariance_weight=INVARIANCE_WEIGHT if adapted else 0.0,
        epoch_steps=50,
        workers=0,
        seed=SEED,
    )


def _scheduled(wishes: Wishes, params: PretrainParams, stamps: int) -> PretrainParams:
    """The parameters with the number of steps for that many stamps, a tenth of them warm-up."""
    if wishes.params is not None and wishes.steps is None:
        return params
    layout = find_layout(os.environ, torch.cuda.device_count())
    epoch = math.ceil(stamps / (params.batch * layout.devices * layout.nodes))
    steps = wishes.steps or min(MOST_STEPS, max(LEAST_STEPS, EPOCHS * epoch))
    return params.model_copy(update={"steps": steps, "warmup": steps // 10})
