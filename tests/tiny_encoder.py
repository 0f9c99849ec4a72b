"""The smallest encoder that has every part of the large ones, for tests."""

from pathlib import Path

import torch

from lvm_training.model.encoder import save_checkpoint
from lvm_training.model.lvm import LVM, NANO, Preset
from lvm_training.stamps.rendering import Rendering

TINY = Preset(
    name="tiny",
    size=32,
    patch=4,
    embed=8,
    depths=(2, 2, 2),
    heads=(1, 2, 2),
    decoder_depths=(1, 1),
    window=4,
    drop_path=0.0,
)

THIN = NANO.model_copy(
    update={"embed": 8, "depths": (1, 1, 1, 1), "heads": (1, 1, 2, 2), "decoder_depths": (1, 1, 1), "window": 4}
)
"""The released weights' shape of pyramid, which detectors need, with few channels and blocks."""


def tiny_lvm(seed: int) -> LVM:
    """A model of random weights."""
    torch.manual_seed(seed)
    return LVM(TINY).eval()


def write_tiny(folder: Path, rendering: Rendering, *, seed: int = 0, lvm: LVM | None = None) -> Path:
    """A checkpoint of random weights, or of `lvm`."""
    save_checkpoint(folder, lvm or tiny_lvm(seed), rendering, data="", code="", params={}, metrics={})
    return folder
