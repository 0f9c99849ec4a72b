"""Oriented features: how a picture's features change as it is turned, which says how the galaxy lies.

An encoder's features are the mean over the eight symmetries of the square, and the same however a galaxy lies. Of the
same eight views, two other means transform as the doubled angle t does: with the signs of cos 2t, which a quarter turn
changes and a mirror does not, and of sin 2t, which both change. They are the projections on two representations of D4:
linear functions of them are equivariant under it, whatever the encoder learned.
"""

import hashlib

import torch

from lvm_training.model.encoder import Encoder
from lvm_training.model.precision import computing
from lvm_training.stamps.symmetries import SYMMETRIES, symmetry

PARTS = 3  # the mean, and the parts that turn as the cosine and the sine of the doubled angle
# `symmetry` numbers quarter turns, and from 4 on those of the mirrored picture
COSINE = tuple((-1) ** (kind % 4) for kind in range(SYMMETRIES))
SINE = tuple(sign if kind < 4 else -sign for kind, sign in enumerate(COSINE))


class OrientedEncoder(Encoder):
    """An encoder that gives each picture's features and, behind them, its oriented ones.

    Parameters
    ----------
    encoder : Encoder
        In all eight views.
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__(encoder.backbone, encoder.rendering, SYMMETRIES, encoder.precision)
        self.plain = self.digest
        self.digest = oriented_digest(self.digest)

    @property
    def width(self) -> int:
        """Length of a feature vector: that of `Encoder`, three times."""
        return PARTS * super().width

    @torch.inference_mode()
    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Feature vectors (B, 3 D) float32 of rendered pictures (B, 3, S, S): mean, cosine and sine parts."""
        images = images.to(self.device)
        signs = torch.tensor([[1] * SYMMETRIES, COSINE, SINE], dtype=torch.float32, device=images.device)
        total = torch.zeros((), device=images.device)
        with computing(images.device, self.precision):
            for kind in range(SYMMETRIES):
                found = self.backbone.features(symmetry(images, kind)).float()
                total = total + signs[:, kind, None, None] * found
        return (total.transpose(0, 1).flatten(1) / SYMMETRIES).cpu()


def oriented_digest(encoder: str) -> str:
    """12 hex digits naming the oriented features of an encoder's digest."""
    return hashlib.sha256(f"oriented {encoder}".encode()).hexdigest()[:12]
