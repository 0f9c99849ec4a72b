"""Networks trained whole on labelled pictures: the LVM, and the baseline, a ResNet18 (He et al. 2016, CVPR)."""

import copy
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import timm
import torch
from lightning.pytorch.loggers import Logger
from torch import nn

from lvm_training.errors import CheckpointError
from lvm_training.model.fitting import fit
from lvm_training.model.lvm import LVM
from lvm_training.model.memory import halving
from lvm_training.model.ranks import Layout, fastest_device
from lvm_training.params import ParamsError
from lvm_training.progress import Progress, Say, write_line
from lvm_training.supervised.labelled_pictures import BATCH, LabelledPictures, PictureData, check_images, check_labels
from lvm_training.supervised.picture_classifier import LVMClassifier, PictureClassifier, Recipe

LEAST_AT_A_TIME = 2  # pictures: features are standardised over those of a batch
# Steps of a default training: 20 epochs, but never fewer than a small set needs nor more than a large one repays
EPOCHS, LEAST_STEPS, MOST_STEPS = 20, 300, 3000
RESNET_RATE, LVM_RATE = 1e-3, 2e-4  # learning rates


@dataclass(frozen=True)
class Keeping:
    """Where a long training is kept, and who hears of it; as the parameters of `fit_lvm`."""

    resume: Path | None = None
    progress: Progress | None = None
    say: Say = write_line
    logger: Logger | None = None


def default_steps(count: int) -> int:
    """Optimiser steps for `count` labelled pictures."""
    epoch = -(-count // BATCH)
    return min(max(LEAST_STEPS, EPOCHS * epoch), MOST_STEPS)


def fit_resnet18(
    images: torch.Tensor,
    labels: Sequence[str],
    classes: Sequence[str],
    *,
    seed: int,
    steps: int | None = None,
    encoder_state: Mapping[str, torch.Tensor] | None = None,
) -> PictureClassifier:
    """A ResNet18 trained on labelled pictures, on a GPU where there is one.

    Parameters
    ----------
    images : Tensor (N, 3, S, S)
        Rendered pictures.
    labels, classes : sequence of str
        N labels, and the names of all classes in the order of the answer.
    seed : int
        First weights, order of the pictures and symmetries; the same seed gives the same weights on one CPU.
    steps : int, optional
        Optimiser steps; by default `default_steps(N)`.
    encoder_state : mapping of str to Tensor, optional
        State of a timm ResNet18 to start from; its classifier (`fc`) is not read. By default random weights.

    Raises
    ------
    LabelError
        If labels and pictures differ in number, a label is not among `classes`, or fewer than two are labelled.
    StampError
        If pictures have another shape or pixels that are not finite.
    ParamsError
        If there is not one step.
    CheckpointError
        If `encoder_state` is no ResNet18's.
    """

    def network() -> nn.Module:
        resnet = timm.create_model("resnet18", pretrained=False, num_classes=len(classes))
        if encoder_state is not None:
            _start_from(resnet, encoder_state)
        return resnet

    return _fitted(network, RESNET_RATE, images, labels, classes, seed, steps)


def fit_lvm(
    images: torch.Tensor,
    labels: Sequence[str],
    classes: Sequence[str],
    lvm: LVM,
    *,
    seed: int,
    steps: int | None = None,
    resume: Path | None = None,
    progress: Progress | None = None,
    say: Say = write_line,
    logger: Logger | None = None,
) -> PictureClassifier:
    """The LVM trained whole on labelled pictures, from its weights on; `lvm` itself stays as it is.

    The other parameters and errors are those of `fit_resnet18`.

    Parameters
    ----------
    lvm : LVM
        Where to start.
    resume : Path, optional
        Folder of a resume checkpoint: what was killed goes on from there and ends the same; a run with other inputs
        needs another one. By default nothing is kept.
    progress : callable, optional
        Called with the steps done and their number.
    say : callable
        Told where memory does not suffice: gradients of half a batch are then added up, and the steps stay the same.
    logger : Logger, optional
        Where the loss of each step goes, as `train/loss`.

    Raises
    ------
    CheckpointError
        As `fitting.fit`.
    """

    def network() -> nn.Module:
        return LVMClassifier(copy.deepcopy(lvm), len(classes))

    keeping = Keeping(resume, progress, say, logger)
    return _fitted(network, LVM_RATE, images, labels, classes, seed, steps, keeping)


def _fitted(
    network: Callable[[], nn.Module],
    learning_rate: float,
    images: torch.Tensor,
    labels: Sequence[str],
    classes: Sequence[str],
    seed: int,
    steps: int | None,
    keeping: Keeping = Keeping(),
) -> PictureClassifier:
    check_images(images)
    check_labels(len(images), labels, classes)
    codes = torch.tensor([list(classes).index(label) for label in labels])
    steps = default_steps(len(labels)) if steps is None else steps
    if steps < 1:
        raise ParamsError(f"A network cannot be trained in {steps} steps.", "Give at least one.")
    batch = min(BATCH, len(labels))

    def trained(at_a_time: int) -> PictureClassifier:
        parts = -(-batch // at_a_time)
        with torch.random.fork_rng(range(torch.cuda.device_count())):
            torch.manual_seed(seed)
            # Lightning keeps the mode it finds
            model = PictureClassifier(network(), classes, Recipe(steps, learning_rate, seed=seed)).train()
            _train(model, LabelledPictures(images, codes, steps, seed, parts), keeping)
        return model

    model = halving(trained, batch, keeping.say, least=LEAST_AT_A_TIME)
    return model.to(fastest_device()).eval()


def _train(model: PictureClassifier, batches: LabelledPictures, keeping: Keeping) -> None:
    # one device: batches are small, and the baseline is to be trained as the LVM is
    layout = Layout("cuda" if torch.cuda.is_available() else "cpu", 1, 1, torchrun=False)
    with warnings.catch_warnings():
        # the pictures are in memory, and handing them between processes costs more than turning them
        warnings.filterwarnings("ignore", message=".*does not have many workers")
        fit(
            model,
            PictureData(batches),
            model.recipe.steps,
            keeping.resume,
            logger=keeping.logger,
            progress=keeping.progress,
            layout=layout,
            accumulated=batches.parts,
        )


def _start_from(resnet: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Load all but the classifier."""
    encoder = {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}
    own = resnet.state_dict()
    expected = {name: tensor.shape for name, tensor in own.items() if not name.startswith("fc.")}
    if {name: tensor.shape for name, tensor in encoder.items()} != expected:
        wrong = sorted(
            name
            for name in expected.keys() | encoder.keys()
            if name not in encoder or encoder[name].shape != expected.get(name)
        )
        raise CheckpointError(
            f"The weights to start from are not a ResNet18's; {len(wrong)} differ, first {wrong[0]}.",
            "Give the state of timm's resnet18 with 3 input channels.",
        )
    resnet.load_state_dict(encoder, strict=False)
