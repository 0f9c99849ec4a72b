"""Masks of SimMIM: square blocks hidden at random."""

import numpy as np
import torch

from lvm_training.params import ParamsError


def check_blocks(block: int, *, size: int, patch: int) -> None:
    """Refuse masked blocks that are not whole patches or do not fill a picture; all are sides in pixels.

    Raises
    ------
    ParamsError
        If one does not divide as it must.
    """
    if block % patch or size % block:
        raise ParamsError(
            f"Masked blocks of {block} pixels do not tile a picture of {size}.",
            f"`mask_patch` must be a multiple of {patch} that divides {size}.",
        )


def block_mask(
    count: int, masked: int, *, size: int, patch: int, block: int, ratio: float, rng: np.random.Generator
) -> torch.Tensor:
    """Masks (count, size / patch, size / patch) of bool, True where a patch is hidden.

    Xie et al. 2022 (SimMIM), section 3.2: whole blocks of `block` pixels, the same number in each masked picture.

    Parameters
    ----------
    masked : int
        Pictures that are masked, the first ones; the others stay whole.
    ratio : float
        Share of the blocks that is hidden.
    """
    blocks = size // block
    ranks = rng.random((count, blocks**2)).argsort(axis=1).argsort(axis=1)
    hidden = (ranks < round(ratio * blocks**2)) & (np.arange(count)[:, None] < masked)
    return _enlarged(torch.from_numpy(hidden).reshape(count, blocks, blocks), block // patch)


def hidden_pixels(mask: torch.Tensor, patch: int) -> torch.Tensor:
    """True at the pixels (N, 1, S, S) of hidden patches, from a mask (N, S / patch, S / patch)."""
    return _enlarged(mask, patch)[:, None]


def _enlarged(mask: torch.Tensor, factor: int) -> torch.Tensor:
    """Masks (N, H, W) on a grid `factor` times as fine."""
    return mask.repeat_interleave(factor, 1).repeat_interleave(factor, 2)
