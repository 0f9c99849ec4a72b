"""The encoder-decoder: shapes, sizes, and that hidden pixels stay hidden."""

import pytest
import torch

from lvm_training.model.lvm import LVM, NANO, PRESETS, DualUpSample, Preset


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_nano_has_the_published_size() -> None:
    lvm = LVM(PRESETS["nano"])
    assert count(lvm.encoder) == 5_117_514
    assert count(lvm.decoder) == 2_038_661
    assert (NANO.width, NANO.grid) == (384, 16)


def test_encoder_parameters_follow_from_the_preset(tiny: Preset) -> None:
    """Counted by hand: each block has 12 C^2 + 13 C, its position table, and stages are joined by merging layers."""
    expected = 3 * 16 * 8 + 8 + 2 * 8 + 2 * 32
    for level, (depth, heads, window) in enumerate(zip(tiny.depths, tiny.heads, (4, 4, 2), strict=True)):
        channels = tiny.embed * 2**level
        expected += depth * (12 * channels**2 + 13 * channels + (2 * window - 1) ** 2 * heads)
        expected += 2 * channels * channels + 4 * channels if level else 0
    assert count(LVM(tiny).encoder) == expected


def test_shapes(lvm: LVM) -> None:
    images = torch.rand(5, 3, 32, 32)
    mask = torch.rand(5, 8, 8) < 0.5
    assert lvm(images, mask).shape == images.shape
    assert lvm(images).shape == images.shape
    restored, features = lvm.restore(images, mask)
    assert torch.equal(restored, lvm(images, mask)) and features.shape == (5, 32)
    assert torch.equal(lvm.restore(images, None)[1], lvm.features(images))
    assert [tuple(stage.shape) for stage in lvm.encode(images)] == [(5, 8, 8, 8), (5, 16, 4, 4), (5, 32, 2, 2)]
    assert lvm.features(images).shape == (5, 32)


def test_features_are_the_mean_of_the_normalised_last_stage(lvm: LVM) -> None:
    images = torch.rand(4, 3, 32, 32)
    last = lvm.encode(images)[-1].permute(0, 2, 3, 1)
    normal = (last - last.mean(-1, keepdim=True)) / torch.sqrt(last.var(-1, keepdim=True, correction=0) + 1e-5)
    torch.testing.assert_close(lvm.features(images), normal.mean(dim=(1, 2)), atol=1e-5, rtol=1e-4)


def test_hidden_pixels_never_reach_the_output(lvm: LVM) -> None:
    images = torch.rand(4, 3, 32, 32)
    mask = torch.rand(4, 8, 8) < 0.6
    hidden = mask.repeat_interleave(4, 1).repeat_interleave(4, 2)[:, None]
    other = torch.where(hidden, torch.rand_like(images), images)
    assert torch.equal(lvm(images, mask), lvm(other, mask))
    assert not torch.equal(lvm(images, mask), lvm(torch.where(hidden, images, torch.rand_like(images)), mask))


def test_a_full_mask_leaves_nothing_of_the_picture(lvm: LVM) -> None:
    mask = torch.ones(2, 8, 8, dtype=torch.bool)
    restored = lvm(torch.rand(2, 3, 32, 32), mask)
    assert torch.equal(restored[0], restored[1])


def test_gradient_reaches_every_parameter(tiny: Preset) -> None:
    lvm = LVM(tiny.model_copy(update={"drop_path": 0.0}))
    images, mask = torch.rand(6, 3, 32, 32), torch.rand(6, 8, 8) < 0.5
    (lvm(images, mask).square().mean() + lvm.features(images).square().mean()).backward()
    still = [name for name, p in lvm.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert still == []


def test_attention_is_scaled_by_the_root_of_the_head_dimension(lvm: LVM) -> None:
    for level, stage in enumerate(lvm.encoder.layers):
        dimension = lvm.preset.embed * 2**level // lvm.preset.heads[level]
        assert {block.attn.scale for block in stage.blocks} == {dimension**-0.5}


@pytest.mark.parametrize("factor", [2, 4])
def test_dual_up_sample_equals_the_concatenation_of_sunet(factor: int) -> None:
    """SUNet's two branches end in 1x1 convolutions, are concatenated and pass one more; folded, that is ours."""
    torch.manual_seed(0)
    up = DualUpSample(8, 6, factor)
    tokens = torch.randn(2, 4, 4, 8)
    maps = tokens.permute(0, 3, 1, 2)
    fine = up.shuffled[2](up.shuffled[1](up.shuffled[0](maps)))
    rough = torch.nn.functional.interpolate(
        up.interpolated[1](up.interpolated[0](maps)), scale_factor=factor, mode="bilinear"
    )
    weight = torch.cat([up.shuffled[3].weight, up.interpolated[2].weight], dim=1)
    expected = torch.nn.functional.conv2d(torch.cat([fine, rough], dim=1), weight, up.interpolated[2].bias)
    assert up(tokens).shape == (2, 4 * factor, 4 * factor, 6)
    torch.testing.assert_close(up(tokens), expected.permute(0, 2, 3, 1), atol=1e-5, rtol=1e-4)


def test_first_weights_depend_on_the_seed_alone(tiny: Preset) -> None:
    models = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        models.append(LVM(tiny).encoder.patch_embed.proj.weight)
    assert torch.equal(models[0], models[1])
    assert not torch.equal(models[0], models[2])
