"""Weights in parts, and what presets say of a stem."""

import shutil
from pathlib import Path

import pytest
import torch

from lvm_training.backbones.backbone import encoder_digest
from lvm_training.errors import CheckpointError
from lvm_training.model.encoder import WEIGHTS, Card, load_checkpoint, save_checkpoint
from lvm_training.model.lvm import LVM, NANO, NANO_96, PRESETS, Preset
from lvm_training.paths import CARD
from lvm_training.stamps.rendering import Rendering

LARGEST = 20_000  # bytes


def written(folder: Path, lvm: LVM, rendering: Rendering, largest: int | None) -> Card:
    return save_checkpoint(
        folder,
        lvm,
        rendering,
        data="none",
        code="none",
        params={},
        metrics={},
        largest=largest,
        precision="bf16",
        stamps=7,
    )


def test_weights_in_parts_are_those_in_one_file(tmp_path: Path, lvm: LVM, rendering: Rendering) -> None:
    card = written(tmp_path, lvm, rendering, LARGEST)
    parts = sorted(path.name for path in tmp_path.iterdir() if path.name != CARD)
    assert len(parts) > 2
    assert parts[0] == f"model-00001-of-{len(parts):05d}.safetensors"
    assert all(path.stat().st_size <= LARGEST for path in tmp_path.iterdir())
    loaded, found = load_checkpoint(tmp_path)
    assert found == card == written(tmp_path / "whole", lvm, rendering, None)
    assert (found.precision, found.stamps) == ("bf16", 7)
    assert all(torch.equal(a, b) for a, b in zip(lvm.state_dict().values(), loaded.state_dict().values(), strict=True))


def test_one_file_takes_the_place_of_parts_and_parts_that_of_a_file(
    tmp_path: Path, lvm: LVM, rendering: Rendering
) -> None:
    for largest, files in ((LARGEST, 3), (None, 2), (LARGEST, 3)):
        card = written(tmp_path, lvm, rendering, largest)
        assert (len(list(tmp_path.iterdir())) == 2) == (files == 2)
        assert (tmp_path / WEIGHTS).exists() == (largest is None)
        assert load_checkpoint(tmp_path)[1] == card


def test_a_part_that_is_missing(tmp_path: Path, lvm: LVM, rendering: Rendering) -> None:
    written(tmp_path, lvm, rendering, LARGEST)
    for part in sorted(tmp_path.glob("model-*")):
        broken = tmp_path.with_name("broken")
        shutil.copytree(tmp_path, broken)
        (broken / part.name).unlink()
        with pytest.raises(CheckpointError, match="no complete LVM checkpoint"):
            load_checkpoint(broken)
        shutil.rmtree(broken)


def test_presets_without_a_stem_are_named_as_before(rendering: Rendering, lvm: LVM, tiny: Preset) -> None:
    assert all("stem" not in preset.model_dump() for preset in PRESETS.values())
    stemmed = tiny.model_copy(update={"stem": True})
    assert Preset.model_validate_json(stemmed.model_dump_json()) == stemmed != tiny
    assert Preset.model_validate_json(tiny.model_dump_json()) == tiny
    assert encoder_digest(LVM(stemmed), rendering) != encoder_digest(lvm, rendering)


def test_a_stem_sees_nothing_of_hidden_patches(tiny: Preset) -> None:
    lvm = LVM(tiny.model_copy(update={"stem": True})).eval()
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    mask = torch.zeros(2, 8, 8, dtype=torch.bool)
    mask[:, 2:5, 3:6] = True
    changed = images.clone()
    changed[:, :, 8:20, 12:24] = 1 - changed[:, :, 8:20, 12:24]
    with torch.inference_mode():
        assert torch.equal(lvm(images, mask), lvm(changed, mask))
        assert not torch.equal(lvm(images), lvm(changed))
        assert lvm.features(images).shape == (2, tiny.width)


def test_a_stem_needs_patches_of_a_power_of_two() -> None:
    with pytest.raises(ValueError, match="halves the picture"):
        Preset(**{**NANO.model_dump(), "patch": 6, "size": 96, "stem": True})


def test_nano_at_96_pixels_has_the_parameters_of_nano() -> None:
    tables = "relative_position_bias_table"
    small, large = (
        {name: weight.shape for name, weight in LVM(preset).state_dict().items() if tables not in name}
        for preset in (NANO, NANO_96)
    )
    assert small == large
