"""Networks trained whole on pictures and their labels: the LVM, and the baseline, a ResNet18 (He et al. 2016, CVPR)."""

import copy
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import lightning
import numpy as np
import timm
import torch
import torch.nn.functional as F
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset

from lvm_training.errors import CheckpointError, LabelError, StampError
from lvm_training.model.fitting import adamw, fit
from lvm_training.model.lvm import LVM
from lvm_training.model.memory import Say, halving
from lvm_training.model.ranks import Layout, fastest_device
from lvm_training.params import ParamsError
from lvm_training.progress import Progress
from lvm_training.stamps.symmetries import SYMMETRIES, symmetry, turned

BATCH = 64
PREDICTION_BATCH = 256
EPOCH_STEPS = 50  # after which a killed training goes on
LEAST_AT_A_TIME = 2  # pictures: features are standardised over those of a batch
# Steps of a default training: 20 epochs, but never fewer than a small set needs nor more than a large one repays
EPOCHS, LEAST_STEPS, MOST_STEPS = 20, 300, 3000
RESNET_RATE, LVM_RATE = 1e-3, 2e-4  # learning rates


@dataclass(frozen=True)
class Recipe:
    """AdamW with a warm-up over the first tenth of the steps, then a cosine to 0; what `fitting.adamw` reads."""

    steps: int
    learning_rate: float
    weight_decay: float = 0.05
    seed: int = 0

    @property
    def warmup(self) -> int:
        """Steps of linear warm-up."""
        return self.steps // 10


@dataclass(frozen=True)
class Keeping:
    """Where a long training is kept, and who hears of it; as the parameters of `fit_lvm`."""

    resume: Path | None = None
    progress: Progress | None = None
    say: Say = print


class LVMClassifier(nn.Module):
    """Logits (N, C) of pictures: the LVM's features, standardised, under a linear layer that begins at zero.

    Parameters
    ----------
    lvm : LVM
        Whose weights are trained; pass a copy of one that is to stay as it is.
    classes : int
        Number of classes.
    """

    def __init__(self, lvm: LVM, classes: int) -> None:
        super().__init__()
        self.lvm = lvm
        self.norm = nn.BatchNorm1d(lvm.preset.width, affine=False)
        self.linear = nn.Linear(lvm.preset.width, classes)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (N, C) of pictures (N, 3, S, S)."""
        logits: torch.Tensor = self.linear(self.norm(self.lvm.features(images)))
        return logits


class PictureClassifier(lightning.LightningModule):
    """A network that classifies pictures.

    Parameters
    ----------
    network : Module
        From pictures (N, 3, S, S) to logits (N, C).
    classes : sequence of str
        Names of the classes.
    recipe : Recipe
        How it is trained.
    """

    def __init__(self, network: nn.Module, classes: Sequence[str], recipe: Recipe) -> None:
        super().__init__()
        self.network, self.classes, self.recipe = network, tuple(classes), recipe

    def on_train_batch_start(self, batch: tuple[torch.Tensor, torch.Tensor], batch_idx: int) -> None:
        """Seed what the network itself draws, so that a resumed run repeats an uninterrupted one."""
        torch.manual_seed(self.recipe.seed * 1_000_003 + self.global_step)

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], batch_idx: int) -> torch.Tensor:
        """Cross-entropy of one batch of pictures and class codes."""
        images, codes = batch
        return F.cross_entropy(self.network(images), codes)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """As `fitting.adamw`."""
        return adamw(self, self.recipe)

    @torch.inference_mode()
    def predict(self, images: torch.Tensor, views: int = SYMMETRIES) -> NDArray[np.float64]:
        """Probabilities (N, C) of pictures (N, 3, S, S) in the order of `classes`, mean over the eight symmetries.

        With `views` of 1 the pictures are looked at as they are, which is what most papers do.

        Raises
        ------
        StampError
            If pictures have another shape or pixels that are not finite.
        """
        _check_images(images)
        self.eval()
        parts = [
            self._mean_probability(part.to(self.device), views).cpu().numpy()
            for part in torch.split(images, PREDICTION_BATCH)
        ]
        return np.concatenate(parts)

    def _mean_probability(self, images: torch.Tensor, views: int) -> torch.Tensor:
        seen = (symmetry(images, kind) for kind in range(views))
        return torch.stack([self.network(view).double().softmax(1) for view in seen]).mean(0)


class LabelledPictures(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """The batches of a training, each picture turned or mirrored at random; the i-th depends on the seed and i alone.

    Parameters
    ----------
    images : Tensor (N, 3, S, S)
        Pictures.
    codes : Tensor (N,)
        Their class codes.
    steps, seed : int
        Number of batches, and what order and symmetries are drawn from.
    parts : int
        In how many parts each batch is given, one after the other.
    """

    def __init__(self, images: torch.Tensor, codes: torch.Tensor, steps: int, seed: int, parts: int = 1) -> None:
        self.images, self.codes, self.seed, self.parts = images, codes, seed, parts
        size = min(BATCH, len(images))
        rng = np.random.default_rng(seed)
        epochs = [rng.permutation(len(images)) for _ in range(-(-steps * size // len(images)))]
        self._batches = np.concatenate(epochs)[: steps * size].reshape(steps, size)

    def __len__(self) -> int:
        return len(self._batches) * self.parts

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        number, part = divmod(index, self.parts)
        rows = self._batches[number]
        kinds = np.random.default_rng((self.seed, number)).integers(SYMMETRIES, size=len(rows))
        rows, kinds = (np.array_split(one, self.parts)[part] for one in (rows, kinds))
        return turned(self.images[rows], kinds), self.codes[rows]


class PictureData(lightning.LightningDataModule):
    """Batches in epochs of `EPOCH_STEPS` steps, so that a training can be kept in between."""

    def __init__(self, batches: LabelledPictures) -> None:
        super().__init__()
        self.batches = batches

    def train_dataloader(self) -> DataLoader[tuple[torch.Tensor, torch.Tensor]]:
        """The batches from the trainer's present step to the end of the epoch."""
        # not by its epoch: without validation, Lightning counts the one that a checkpoint closed again
        step = self.trainer.global_step if self.trainer is not None else 0
        first, last = step, (step // EPOCH_STEPS + 1) * EPOCH_STEPS
        rows = range(first * self.batches.parts, min(last * self.batches.parts, len(self.batches)))
        return DataLoader(Subset(self.batches, rows), batch_size=None)


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
    say: Say = print,
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

    Raises
    ------
    CheckpointError
        As `fitting.fit`.
    """

    def network() -> nn.Module:
        return LVMClassifier(copy.deepcopy(lvm), len(classes))

    keeping = Keeping(resume, progress, say)
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
    _check_images(images)
    _check_labels(len(images), labels, classes)
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


def _check_images(images: torch.Tensor) -> None:
    if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] != images.shape[3] or not len(images):
        raise StampError(
            f"A classifier reads pictures (N, 3, S, S), not {tuple(images.shape)}.", "Render them with `render`."
        )
    if not torch.isfinite(images).all():
        raise StampError("Some pictures have pixels that are not finite.", "Render them with `render`.")


def _check_labels(count: int, labels: Sequence[str], classes: Sequence[str]) -> None:
    if len(labels) != count:
        raise LabelError(f"There are {len(labels)} labels for {count} pictures.")
    unknown = sorted(set(labels) - set(classes))
    if unknown:
        raise LabelError(f"Labels outside the classes: {', '.join(unknown)}.", f"Classes are: {', '.join(classes)}.")
    if len(set(labels)) < 2:
        raise LabelError(f"A classifier needs two classes; only {labels[0]!r} is labelled.", "Label one more class.")
