"""Small models and stamp sets: the real code at a size that runs in a moment."""

import gc
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from lvm_training.model.encoder import Encoder
from lvm_training.model.lvm import LVM, Preset
from lvm_training.params import MultitaskParams, PretrainParams
from lvm_training.stamps.rendering import Rendering
from lvm_training.stamps.stampset import StampWriter
from tests.tiny_encoder import TINY

CLASSES = ("round", "long")


@pytest.fixture
def tiny() -> Preset:
    """A model of 32-pixel pictures with every part of the large ones."""
    return TINY.model_copy(update={"drop_path": 0.1})


@pytest.fixture
def rendering(tiny: Preset) -> Rendering:
    """Pictures for the tiny model."""
    return Rendering(size=tiny.size, field=10.0)


@pytest.fixture
def lvm(tiny: Preset) -> LVM:
    """The tiny model with its first weights."""
    torch.manual_seed(3)
    return LVM(tiny).eval()


@pytest.fixture
def encoder(lvm: LVM, rendering: Rendering) -> Encoder:
    """The tiny model's encoder."""
    return Encoder(lvm, rendering)


@pytest.fixture
def pretrain_params() -> PretrainParams:
    """A short pretraining of the tiny model."""
    return PretrainParams(
        preset="tiny",
        field=10.0,
        steps=9,
        batch=8,
        learning_rate=2e-3,
        warmup=2,
        weight_decay=0.05,
        masked_share=1.0,
        mask_ratio=0.5,
        mask_patch=8,
        visible_weight=0.25,
        catalogue=("axis_ratio", "radius"),
        catalogue_weight=0.5,
        epoch_steps=3,
        workers=0,
        seed=5,
    )


@pytest.fixture
def multitask_params() -> MultitaskParams:
    """A short multi-task training of the tiny model."""
    return MultitaskParams(
        steps=6,
        batch=12,
        learning_rate=2e-3,
        warmup=1,
        weight_decay=0.05,
        shares="shortfall",
        goals={"classification": 0.8, "restoration": 3.0, "reconstruction": 0.6},
        floor=0.1,
        mask_ratio=0.5,
        mask_patch=8,
        epoch_steps=2,
        validation=12,
        workers=0,
        seed=3,
    )


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB, where this user may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=256k", "galaxyloop-test", str(folder)]
    if os.geteuid() or subprocess.run(mounting, capture_output=True).returncode:
        pytest.skip("a file system can be mounted by root alone; the file size limit tests the same")
    yield folder
    # files that a caught error's traceback still holds open
    gc.collect()
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def make_stamps(tmp_path: Path) -> Callable[..., Path]:
    """Writes stamp sets of round and long blobs, every fifth stamp in the test split."""

    def make(count: int = 40, *, name: str = "blobs", seed: int = 0, delivered: bool = False) -> Path:
        rng = np.random.default_rng(seed)
        y, x = np.mgrid[:48, :48] - 23.5
        kinds = rng.integers(2, size=count)
        angle, size = rng.uniform(0, np.pi, count), rng.uniform(3, 5, count)
        along = x * np.cos(angle)[:, None, None] + y * np.sin(angle)[:, None, None]
        across = y * np.cos(angle)[:, None, None] - x * np.sin(angle)[:, None, None]
        thin = np.where(kinds, 0.3, 1.0)[:, None, None]
        light = np.exp(-0.5 * (along**2 + (across / thin) ** 2) / size[:, None, None] ** 2)
        images = light[:, None] * np.array([0.1, 0.2, 0.3])[:, None, None] + rng.normal(0, 0.004, (count, 3, 48, 48))
        kind = "as-delivered" if delivered else "nanomaggies"
        pixels = np.clip(images * 255, 0, 255).astype(np.uint8) if delivered else images.astype(np.float32)
        writer = StampWriter(tmp_path / f"{name}.h5", (48, 48), rendering=kind)
        split = ["test" if row % 5 == 0 else "pool" for row in range(count)]
        columns = {"axis_ratio": thin.ravel(), "radius": size}
        writer.append(pixels, {"morphology": [CLASSES[kind] for kind in kinds], "split": split, **columns})
        return writer.finish()

    return make
