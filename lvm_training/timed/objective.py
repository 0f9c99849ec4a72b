"""What a training in given minutes learns: truth, restoration, filling in, parts, contrast, real pictures."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from lvm_training.model.lvm import LVM, DualUpSample
from lvm_training.model.masking import hidden_pixels
from lvm_training.timed.drawing import DrawnBatch, Shares

TEMPERATURE = 0.2
PROJECTION = 128
CELL = 4  # pixels; the grid on which the last stage's tokens name parts
SKY_WEIGHT = 0.05  # of a pixel in which there is nothing but sky
LOSSES = ("truth", "restoration", "reconstruction", "dense", "dense_tokens", "contrast", "real")


class RealBatch(NamedTuple):
    """Real pictures: two views of each, and the mask under which the first is filled in, as in `DrawnBatch`."""

    first: torch.Tensor
    second: torch.Tensor
    mask: torch.Tensor


@dataclass(frozen=True)
class LossWeights:
    """Weights of the terms beside the truth's, which is 1 less the shares of restored and masked stamps."""

    truth: float
    restoration: float
    reconstruction: float
    dense: float = 0.0
    dense_tokens: float = 0.0
    contrast: float = 0.0
    real: float = 0.0

    def vector(self, device: torch.device) -> torch.Tensor:
        """The weights in the order of `LOSSES`."""
        return torch.tensor([getattr(self, name) for name in LOSSES], device=device)


class Objective(nn.Module):
    """The model with all that is learned beside it and thrown away afterwards.

    Parameters
    ----------
    lvm : LVM
        Trained in place.
    truths, parts : int
        Numbers of truth columns and of parts of the light.
    weights : LossWeights
        Terms of weight 0 are left out and count 0.
    """

    def __init__(self, lvm: LVM, truths: int, parts: int, weights: LossWeights) -> None:
        super().__init__()
        self.lvm, self.weights = lvm, weights
        preset = lvm.preset
        self.readout = nn.Linear(preset.width, truths)
        self.cells = preset.size // CELL * 2 ** (len(preset.depths) - 1) // preset.grid  # of a last token, along a side
        if weights.dense:
            self.parts = DualUpSample(preset.embed, parts + 1, preset.patch)
        if weights.dense_tokens:
            self.token_parts = nn.Linear(preset.width, (parts + 1) * self.cells**2)
        if weights.contrast or weights.real:
            self.projector = nn.Sequential(
                nn.Linear(preset.width, preset.width), nn.GELU(), nn.Linear(preset.width, PROJECTION)
            )

    def forward(self, batch: DrawnBatch, real: RealBatch | None, shares: Shares) -> torch.Tensor:
        """Losses in the order of `LOSSES`, each about 1 for a trivial answer; `shares` are those of the batch."""
        filled = 0 if real is None else len(real.mask)
        images, mask = batch.images, batch.mask
        if real is not None:
            images = torch.cat([images, real.first[:filled], real.first, real.second])
            whole = mask.new_zeros(2 * len(real.first), *mask.shape[1:])
            mask = torch.cat([mask, real.mask, whole])
        maps = self.lvm.maps(images, mask)
        known, drawn = shares.read + shares.restored, shares.total
        features = self.lvm.pooled([torch.cat([maps[-1][:known], maps[-1][drawn + filled :]])])
        first = 0 if self.weights.dense else shares.read
        tokens = self.lvm.decoder.tokens([level[first : drawn + filled] for level in maps])
        pictures = self.lvm.decoder.drawn(tokens[shares.read - first :]).float()
        losses = dict.fromkeys(LOSSES, pictures.new_zeros(()))
        losses["truth"] = truth_loss(self.readout(features[:known]).float(), batch.truth)
        inputs, target = batch.images[shares.read :], batch.target
        restored = slice(0, shares.restored)
        losses["restoration"] = relative(pictures[restored], target[restored], inputs[restored])
        hidden = hidden_pixels(batch.mask[known:], self.lvm.preset.patch)
        masked = slice(shares.restored, shares.restored + shares.masked)
        losses["reconstruction"] = filling_loss(pictures[masked], target[masked], hidden)
        if self.weights.dense:
            logits = self.parts(tokens[:known]).permute(0, 3, 1, 2)
            losses["dense"] = parts_loss(logits.float(), batch.parts)
        if self.weights.dense_tokens:
            logits = self._named(self.token_parts(maps[-1][:known])).float()
            losses["dense_tokens"] = parts_loss(logits, F.avg_pool2d(batch.parts, CELL))
        if self.weights.contrast:
            ends = features[: shares.pairs], features[shares.read - shares.pairs : shares.read]
            losses["contrast"] = self._contrast(*ends)
        if real is not None:
            views = features[known:].chunk(2)
            seen = hidden_pixels(real.mask, self.lvm.preset.patch)
            filling = filling_loss(pictures[len(target) :], real.first[:filled], seen)
            losses["real"] = 0.5 * (filling + self._contrast(*views))
        return torch.stack([losses[name] for name in LOSSES])

    def _named(self, tokens: torch.Tensor) -> torch.Tensor:
        """Logits (N, P, g c, g c) on cells, of tokens (N, g, g, P c^2)."""
        return F.pixel_shuffle(tokens.permute(0, 3, 1, 2), self.cells)

    def _contrast(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """InfoNCE between two views (U, width) of the same things, over that of a guess, ln U.

        van den Oord et al. 2018 (arXiv:1807.03748), symmetric, on projections of unit length.
        """
        projected = self.projector(torch.cat([first, second])).float()
        one, other = F.normalize(projected, dim=1).chunk(2)
        with torch.autocast(one.device.type, enabled=False):
            likeness = one @ other.T / TEMPERATURE
        own = torch.arange(len(one), device=one.device)
        loss = 0.5 * (F.cross_entropy(likeness, own) + F.cross_entropy(likeness.T, own))
        return loss / math.log(max(2, len(one)))


def truth_loss(readings: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Smooth L1 distance from what is known, over that of the mean truth."""
    known, value = truth.isfinite(), truth.nan_to_num()
    distance = F.smooth_l1_loss(readings, value, reduction="none")
    trivial = F.smooth_l1_loss(torch.zeros_like(value), value, reduction="none")
    return (distance * known).sum() / (trivial * known).sum().clamp(min=1e-6)


def relative(pictures: torch.Tensor, target: torch.Tensor, given: torch.Tensor) -> torch.Tensor:
    """Mean absolute error over that of the pictures that were given."""
    return (pictures - target).abs().mean() / (given - target).abs().mean().clamp(min=1e-6)


def filling_loss(pictures: torch.Tensor, target: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
    """Absolute error in hidden pixels (N, 1, S, S), over that of their mean colour."""
    middle = (target * hidden).sum((2, 3), keepdim=True) / hidden.sum((2, 3), keepdim=True).clamp(min=1)
    missed = ((pictures - target).abs() * hidden).sum()
    return missed / ((target - middle).abs() * hidden).sum().clamp(min=1e-6)


def parts_loss(logits: torch.Tensor, parts: torch.Tensor) -> torch.Tensor:
    """Divergence of shares named by logits (N, P + 1, H, W) from true ones (N, P, H, W), over that of the mean shares.

    The last logit is the sky's, to which goes what is missing to a sum of 1; a pixel counts by what is not sky in it,
    and a little where there is nothing else.
    """
    sky = (1 - parts.sum(1, keepdim=True)).clamp(min=0)
    parts = torch.cat([parts, sky], dim=1)
    weight = 1 - sky[:, 0] + SKY_WEIGHT
    mean = (parts * weight[:, None]).sum((0, 2, 3)) / weight.sum()
    own = torch.xlogy(parts, parts).sum(1)
    missed = own - (parts * logits.log_softmax(1)).sum(1)
    trivial = own - (parts * mean.clamp(min=1e-6).log()[:, None, None]).sum(1)
    return (missed * weight).sum() / (trivial * weight).sum().clamp(min=1e-6)
