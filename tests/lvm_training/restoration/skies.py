"""A decoder that was not trained, but gives back what it reads, smoothed: what a good one does to a smooth sky."""

import torch
import torch.nn.functional as F

from lvm_training.model.lvm import LVM
from lvm_training.restoration.restorer import Restorer
from lvm_training.stamps.rendering import Rendering
from tests.tiny_encoder import TINY

RENDERING = Rendering(size=TINY.size, field=8.0)


class Smoothing(LVM):
    """Each picture's mean over five by five pixels; without any weight of its own that matters."""

    def forward(self, images: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """As `LVM.forward`."""
        return F.avg_pool2d(F.pad(images, (2, 2, 2, 2), mode="replicate"), 5, 1)


def smoothing(*, views: int = 2, stamps: int = 8) -> Restorer:
    """A restorer of it."""
    torch.manual_seed(0)
    return Restorer(Smoothing(TINY), RENDERING, views=views, stamps=stamps, precision="float32")
