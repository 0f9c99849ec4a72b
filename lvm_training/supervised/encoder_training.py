"""An encoder trained on labelled pictures, together with the layer that reads them: for whoever has some hundred."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from lightning.pytorch.loggers import Logger

from lvm_training.backbones.backbone import encoder_digest
from lvm_training.model.encoder import Encoder, load_checkpoint, save_checkpoint
from lvm_training.model.precision import fast_precision
from lvm_training.model.ranks import fastest_device
from lvm_training.progress import Progress, Say, write_line
from lvm_training.revision import training_revision
from lvm_training.supervised.labelled_pictures import BATCH
from lvm_training.supervised.picture_classifier import LVMClassifier
from lvm_training.supervised.training import fit_lvm


def train_encoder(
    start: Encoder,
    images: torch.Tensor,
    labels: Sequence[str],
    classes: Sequence[str],
    out: Path,
    *,
    seed: int,
    steps: int | None = None,
    resume: Path | None = None,
    progress: Progress | None = None,
    say: Say = write_line,
    logger: Logger | None = None,
) -> Encoder:
    """The encoder that `fit_lvm` makes of `start`, from a checkpoint that is left in `out`.

    The layer that was trained with it is not kept: who uses the encoder fits a head on its features, as on any
    other's. Weights are stored as float16.

    Parameters
    ----------
    start : Encoder
        Where to start; it stays as it is, and gives rendering and views.
    images : Tensor (N, 3, S, S)
        Labelled pictures in its rendering.
    out : Path
        Folder of the checkpoint; an earlier one there is replaced.
    labels, classes, seed, steps, resume, progress, say, logger
        As for `fit_lvm`.

    Raises
    ------
    LabelError, StampError, ParamsError, CheckpointError
        As `fit_lvm` and `save_checkpoint`.
    """
    classifier = fit_lvm(
        images,
        labels,
        classes,
        start.lvm,
        seed=seed,
        steps=steps,
        resume=resume,
        progress=progress,
        say=say,
        logger=logger,
    )
    network, device = classifier.network, fastest_device()
    assert isinstance(network, LVMClassifier)  # noqa: S101 - what `fit_lvm` made
    save_checkpoint(
        out,
        network.lvm,
        start.rendering,
        data=_digest(images, labels),
        code=training_revision(),
        params={"steps": classifier.recipe.steps, "learning_rate": classifier.recipe.learning_rate, "seed": seed},
        metrics={},
        parent=encoder_digest(start.lvm, start.rendering),
        precision=fast_precision(device),
        half=True,
        stamps=classifier.recipe.steps * min(len(images), BATCH),
    )
    lvm, card = load_checkpoint(out)
    return Encoder(lvm.to(device), card.rendering, start.views, fast_precision(device))


def _digest(images: torch.Tensor, labels: Sequence[str]) -> str:
    """12 hex digits naming labelled pictures."""
    data = hashlib.sha256("\0".join(labels).encode())
    for part in torch.split(images, BATCH):
        data.update(part.numpy().tobytes())
    return data.hexdigest()[:12]
