"""Networks that classify pictures."""

from collections.abc import Sequence
from dataclasses import dataclass

import lightning
import numpy as np
import torch
import torch.nn.functional as F
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from numpy.typing import NDArray
from torch import nn

from lvm_training.model.fitting import adamw
from lvm_training.model.lvm import LVM
from lvm_training.stamps.symmetries import SYMMETRIES, symmetry
from lvm_training.supervised.labelled_pictures import check_images

PREDICTION_BATCH = 256


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
        loss = F.cross_entropy(self.network(images), codes)
        # the logger's own count writes the steps 0 and 1 both as 1
        self.log("step", float(self.global_step + 1), batch_size=len(images))
        self.log("train/loss", loss.detach(), batch_size=len(images))
        return loss

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
        check_images(images)
        self.eval()
        parts = [
            self._mean_probability(part.to(self.device), views).cpu().numpy()
            for part in torch.split(images, PREDICTION_BATCH)
        ]
        return np.concatenate(parts)

    def _mean_probability(self, images: torch.Tensor, views: int) -> torch.Tensor:
        seen = (symmetry(images, kind) for kind in range(views))
        return torch.stack([self.network(view).double().softmax(1) for view in seen]).mean(0)
