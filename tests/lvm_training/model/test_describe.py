"""Descriptions of presets, against models that exist and operations counted by hand."""

from functools import cache

import pytest
import torch

from lvm_training.model.describe import Description, describe_model
from lvm_training.model.lvm import LVM, NANO, PAPER, PRESETS, SMALL, Preset


@cache
def described(preset: Preset) -> Description:
    return describe_model(preset)


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def blocks(preset: Preset, level: int, depth: int) -> int:
    """Per token 12 C^2 multiply-adds in four linear layers, and 2 C for each token of its window."""
    channels, grid = preset.embed * 2**level, preset.grid // 2**level
    return depth * grid**2 * (12 * channels**2 + 2 * channels * min(preset.window, grid) ** 2)


def up_sample(channels: int, out: int, factor: int, grid: int) -> int:
    fine = channels // 2 if factor == 2 else channels
    shuffled = grid**2 * channels * fine * factor**2 + (factor * grid) ** 2 * fine * out
    return shuffled + grid**2 * (channels**2 + channels * out)


def encoder_operations(preset: Preset) -> int:
    """Multiply-adds of patches, blocks, and the merging of four tokens of C / 2 channels into one of C."""
    total = preset.grid**2 * 3 * preset.patch**2 * preset.embed
    for level, depth in enumerate(preset.depths):
        channels, grid = preset.embed * 2**level, preset.grid // 2**level
        total += blocks(preset, level, depth) + (grid**2 * 2 * channels**2 if level else 0)
    return total


def decoder_operations(preset: Preset) -> int:
    top = len(preset.depths) - 1
    total = up_sample(preset.width, preset.width // 2, 2, preset.grid // 2**top)
    for level, depth in zip(range(top - 1, -1, -1), preset.decoder_depths, strict=True):
        channels, grid = preset.embed * 2**level, preset.grid // 2**level
        total += grid**2 * 2 * channels**2 + blocks(preset, level, depth)
        total += up_sample(channels, channels // 2, 2, grid) if level else 0
    return total + up_sample(preset.embed, 3, preset.patch, preset.grid)


@pytest.mark.parametrize("preset", PRESETS.values(), ids=lambda preset: preset.name)
def test_operations_are_those_counted_by_hand(preset: Preset) -> None:
    description = described(preset)
    encoding, decoding = 2 * encoder_operations(preset), 2 * decoder_operations(preset)
    assert description.flops == pytest.approx(encoding, rel=0.01)
    assert description.flops_restoration == pytest.approx(encoding + decoding, rel=0.01)


def test_operations_of_the_tiny_model(tiny: Preset) -> None:
    assert describe_model(tiny).flops == pytest.approx(2 * encoder_operations(tiny), rel=0.01)


def test_parameters_are_those_of_the_model(tiny: Preset, lvm: LVM) -> None:
    description = describe_model(tiny)
    assert (description.encoder_parameters, description.decoder_parameters) == (count(lvm.encoder), count(lvm.decoder))
    # beside the two there is the token of a masked patch
    assert description.parameters == count(lvm) == count(lvm.encoder) + count(lvm.decoder) + tiny.embed


def test_parameters_of_the_presets() -> None:
    assert described(NANO).parameters == 5_117_514 + 2_038_661 + 48
    assert 28e6 <= described(SMALL).parameters <= 32e6
    assert described(PAPER).parameters == pytest.approx(100e6, rel=0.01)


def test_shapes_are_those_of_the_model(tiny: Preset, lvm: LVM) -> None:
    description = describe_model(tiny)
    images = torch.rand(1, *description.input_shape)
    maps = lvm.encode(images)
    assert [(stage.channels, stage.grid, stage.grid) for stage in description.stages] == [
        tuple(stage.shape[1:]) for stage in maps
    ]
    assert lvm.features(images).shape == (1, description.feature_width)
    assert [(stage.blocks, stage.heads) for stage in description.stages] == [(2, 1), (2, 2), (2, 2)]
    assert description.preset == "tiny"


def test_describing_draws_no_random_number(tiny: Preset) -> None:
    before = torch.get_rng_state()
    first = describe_model(tiny)
    assert torch.equal(torch.get_rng_state(), before)
    assert describe_model(tiny) == first
