"""Whether a network can be an encoder: what one look at two pictures tells, before a pool is embedded."""

import numpy as np
import torch

from lvm_training.backbones.backbone import Backbone
from lvm_training.errors import CheckpointError, first_line

WIDEST = 4096  # heads work with matrices of this many rows and columns
ROUNDING = 0.01  # that features of one picture may differ by, alone and beside another
LARGEST = 6e4  # features are kept as float16, which ends at 65,504


def check_backbone(backbone: Backbone, size: int) -> int:
    """The length of a network's feature vectors, found on a galaxy and on empty sky.

    Raises
    ------
    CheckpointError
        If it does not read pictures of that size, gives no finite vectors, the same whatever it sees, or others of a
        picture beside another one.
    """
    pictures = torch.stack([torch.zeros(3, size, size), _galaxy(size)]).to(backbone.device)
    try:
        with torch.inference_mode():
            found, alone = (backbone.features(these).float().cpu() for these in (pictures, pictures[1:]))
    except Exception as error:  # a network may raise whatever it likes
        raise CheckpointError(
            f"{backbone.name} does not read pictures of {size} x {size} pixels: {first_line(error)}.",
            "Give the size that it was made for, with --size, and the number of channels, with --channels.",
        ) from error
    if found.ndim != 2 or len(found) != len(pictures):
        raise CheckpointError(
            f"{backbone.name} gives {tuple(found.shape)} of two pictures, not a vector of each.",
            "An encoder ends with pooled features.",
        )
    if not 2 <= found.shape[1] <= WIDEST:
        raise CheckpointError(
            f"{backbone.name} gives {found.shape[1]} features; from 2 to {WIDEST} can be used.", "Choose another one."
        )
    if not found.isfinite().all():
        raise CheckpointError(
            f"{backbone.name} gives features that are not finite.", "Look at its weights, and at --mean and --std."
        )
    if float(found.abs().max()) > LARGEST:
        raise CheckpointError(
            f"{backbone.name} gives features up to {float(found.abs().max()):.3g}; they are kept as float16, up to"
            f" {LARGEST:.0f}.",
            "Look at --mean and --std: does it read pixels from 0 to 1?",
        )
    if np.array_equal(found[0].numpy(), found[1].numpy()):
        raise CheckpointError(
            f"{backbone.name} gives a galaxy the features of empty sky.",
            "Its weights are missing, or it does not look at the picture.",
        )
    if not torch.allclose(found[1:], alone, rtol=ROUNDING, atol=ROUNDING * float(found.abs().max())):
        raise CheckpointError(
            f"{backbone.name} gives a galaxy other features beside another picture than alone.",
            "It was exported while it trained: call model.eval() before.",
        )
    return int(found.shape[1])


def _galaxy(size: int) -> torch.Tensor:
    """A red bulge in a blue disc, as `render` makes pictures."""
    at = (torch.arange(size) + 0.5) / size - 0.5
    radius = torch.hypot(at[None, :], 1.5 * at[:, None])
    bulge, disc = torch.exp(-radius * 25), 0.6 * torch.exp(-radius * 8)
    return torch.stack([bulge + 0.5 * disc, bulge * 0.7 + 0.7 * disc, bulge * 0.3 + disc]).clamp(0, 1)
