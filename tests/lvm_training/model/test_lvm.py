"""The encoder-decoder: shapes, sizes, and that hidden pixels stay hidden."""

import hashlib
import json
from collections.abc import Iterator

import pytest
import torch
from pydantic import ValidationError
from timm.layers import DropPath
from timm.models.swin_transformer import SwinTransformerBlock, SwinTransformerStage

from lvm_training.model.lvm import LVM, NANO, PAPER, PRESETS, SMALL, DualUpSample, Preset, find_preset
from lvm_training.params import ParamsError


def without_memory(preset: Preset) -> LVM:
    with torch.device("meta"):
        return LVM(preset)


def stages(lvm: LVM) -> Iterator[tuple[int, SwinTransformerStage]]:
    """Every stage of encoder and decoder with its level, 0 being the finest."""
    yield from enumerate(lvm.encoder.layers)
    yield from ((len(lvm.decoder.stages) - 1 - place, stage.attend) for place, stage in enumerate(lvm.decoder.stages))


def drop_rates(stage: SwinTransformerStage) -> list[float]:
    return [b.drop_path1.drop_prob if isinstance(b.drop_path1, DropPath) else 0.0 for b in stage.blocks]


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_nano_has_the_published_size() -> None:
    lvm = LVM(PRESETS["nano"])
    assert count(lvm.encoder) == 5_117_514
    assert count(lvm.decoder) == 2_038_661
    assert (NANO.width, NANO.grid) == (384, 16)


def test_paper_has_the_published_size() -> None:
    """100 M +- 1 %; the authors' encoder has 76.95 M without its stem."""
    lvm = without_memory(PAPER)
    assert 99.0e6 <= count(lvm) <= 101.0e6
    assert count(lvm.encoder) == pytest.approx(76.95e6, rel=5e-4)
    assert [stage.dim for stage in lvm.encoder.layers[1:]] == [96, 192, 384] and PAPER.width == 768


def test_small_is_a_third_of_paper() -> None:
    assert 28e6 <= count(without_memory(SMALL)) <= 32e6
    assert (SMALL.width, SMALL.size) == (768, 128)


def test_nano_is_what_released_weights_were_trained_with() -> None:
    """Digests of checkpoints hold the preset's numbers, and their files the names and shapes of its weights."""
    numbers = (
        '{"name": "nano", "size": 64, "patch": 4, "embed": 48, "depths": [2, 2, 2, 2], "heads": [3, 6, 12, 24], '
        '"decoder_depths": [2, 2, 2], "window": 8, "drop_path": 0.0}'
    )
    assert json.dumps(NANO.model_dump()) == numbers
    weights = without_memory(NANO).state_dict()
    shapes = json.dumps([[name, list(tensor.shape)] for name, tensor in weights.items()])
    assert hashlib.sha256(shapes.encode()).hexdigest()[:12] == "103301307678"


def test_an_unknown_preset_is_named_with_those_there_are() -> None:
    assert find_preset("small") is SMALL
    with pytest.raises(ParamsError, match="no preset 'large'") as raised:
        find_preset("large")
    assert "nano, nano-96, small, paper" in raised.value.hint


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depths": (2, 2)}, "one number per stage"),
        ({"heads": (1, 2, 2, 2)}, "one number per stage"),
        ({"decoder_depths": (1, 1, 1)}, "one number per stage"),
        ({"heads": (1, 3, 2)}, "divide into its heads"),
        ({"size": 40}, "divide into patches"),
        ({"patch": 0}, "greater than 0"),
        ({"depths": (2, 0, 2)}, "greater than 0"),
        ({"drop_path": 1.0}, "less than 1"),
    ],
)
def test_numbers_that_make_no_model_are_refused(tiny: Preset, change: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Preset.model_validate(tiny.model_dump() | change)


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


def test_paper_learns_in_one_step() -> None:
    """One real step of the largest model: every parameter gets a finite gradient."""
    torch.manual_seed(0)
    lvm = LVM(PAPER).train()
    images, mask = torch.rand(1, 3, 128, 128), torch.rand(1, 32, 32) < 0.5
    restored, features = lvm.restore(images, mask)
    assert restored.shape == images.shape and features.shape == (1, 768)
    (restored.square().mean() + features.square().mean()).backward()
    broken = [name for name, p in lvm.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert broken == []
    assert lvm.encoder.patch_embed.proj.weight.grad.abs().max() > 0


@pytest.mark.parametrize(
    ("preset", "dimensions"), [(NANO, (16, 16, 16, 16)), (SMALL, (32, 32, 32, 32)), (PAPER, (12, 24, 48, 96))]
)
def test_attention_is_scaled_by_the_root_of_the_head_dimension(preset: Preset, dimensions: tuple[int, ...]) -> None:
    for level, stage in stages(without_memory(preset)):
        for block in stage.blocks:
            assert block.attn.qkv.weight.shape == (3 * block.attn.num_heads * dimensions[level], block.dim)
            assert block.attn.scale == dimensions[level] ** -0.5


def test_attention_equals_its_formula(lvm: LVM) -> None:
    """softmax(q k / sqrt(d) + b) v, head by head (Liu et al. 2021, equation 4)."""
    attention = lvm.encoder.layers[1].blocks[0].attn
    heads, width = 2, 8
    tokens = torch.randn(3, 16, heads * width)
    places = [(i, j) for i in range(4) for j in range(4)]
    # the table's rows go over the 7 x 7 differences of places in a window of 4 x 4
    index = torch.tensor([[(a - c + 3) * 7 + (b - d + 3) for c, d in places] for a, b in places])
    queries, keys, values = attention.qkv(tokens).split(heads * width, dim=-1)
    answers = []
    for head in range(heads):
        part = slice(head * width, (head + 1) * width)
        logits = 10 * queries[..., part] @ keys[..., part].transpose(1, 2) / width**0.5
        logits = logits + attention.relative_position_bias_table[:, head][index]
        answers.append(logits.softmax(dim=-1) @ values[..., part])
    with torch.no_grad():
        # larger logits, so that their scale shows
        attention.qkv.weight[: heads * width] *= 10
        attention.qkv.bias[: heads * width] *= 10
    torch.testing.assert_close(attention(tokens), attention.proj(torch.cat(answers, dim=-1)), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("preset", PRESETS.values(), ids=lambda preset: preset.name)
def test_windows_shift_where_the_grid_has_several(preset: Preset) -> None:
    for level, stage in stages(without_memory(preset)):
        grid = preset.grid // 2**level
        for place, block in enumerate(stage.blocks):
            assert isinstance(block, SwinTransformerBlock)
            assert block.window_size == (min(preset.window, grid),) * 2
            assert block.shift_size == ((preset.window // 2,) * 2 if grid > preset.window and place % 2 else (0, 0))


def test_decoder_repeats_the_stochastic_depth_of_the_encoder() -> None:
    rates = torch.linspace(0, 0.1, 32).reshape(4, 8)
    for level, stage in stages(without_memory(PAPER)):
        assert drop_rates(stage) == pytest.approx(rates[level].tolist())
    nano = without_memory(NANO)
    assert not any(isinstance(module, DropPath) for module in nano.modules())
    # stages of unequal depth cover the same range
    small = dict(enumerate(reversed(without_memory(SMALL).decoder.stages)))
    assert drop_rates(small[1].attend) == pytest.approx([0.1 * 2 / 9, 0.1 * 3 / 9])
    assert drop_rates(small[2].attend) == pytest.approx([0.1 * 4 / 9])


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


def stretched_by_hand(table: torch.Tensor, old: int, new: int) -> torch.Tensor:
    """A position table of windows of `old` tokens for windows of `new`, value by value, edges continued (Keys 1981)."""

    def weight(distance: float) -> float:
        d, a = abs(distance), -0.75
        if d <= 1:
            return (a + 2) * d**3 - (a + 3) * d**2 + 1
        return a * (d**3 - 5 * d**2 + 8 * d - 4) if d < 2 else 0.0

    before, after = 2 * old - 1, 2 * new - 1
    planes = table.reshape(before, before, -1)
    made = torch.zeros(after, after, planes.shape[-1])
    for row in range(after):
        for column in range(after):
            y, x = ((place + 0.5) * before / after - 0.5 for place in (row, column))
            for i in range(int(y // 1) - 1, int(y // 1) + 3):
                for j in range(int(x // 1) - 1, int(x // 1) + 3):
                    near = planes[min(max(i, 0), before - 1), min(max(j, 0), before - 1)]
                    made[row, column] += weight(y - i) * weight(x - j) * near
    return made.reshape(after**2, -1)


def test_the_same_weights_read_pictures_of_another_size(tiny: Preset) -> None:
    """Windows that grew with the grid have stretched tables; all else, and what torch draws next, is as it was."""
    torch.manual_seed(3)
    lvm = LVM(tiny).eval()
    with torch.no_grad():
        for name, tensor in lvm.named_parameters():
            if name.endswith("relative_position_bias_table"):
                tensor.normal_()
    before = torch.get_rng_state()
    large = lvm.resized(2 * tiny.size)
    assert torch.equal(torch.get_rng_state(), before) and not large.training
    assert large.preset == tiny.model_copy(update={"size": 2 * tiny.size, "name": f"{tiny.name}-{2 * tiny.size}"})
    changed = set()
    for name, tensor in large.state_dict().items():
        given = lvm.state_dict()[name]
        if tensor.shape == given.shape:
            assert torch.equal(tensor, given)
            continue
        changed.add(name)
        old, new = (round((len(one) ** 0.5 + 1) / 2) for one in (given, tensor))
        torch.testing.assert_close(tensor, stretched_by_hand(given, old, new), atol=1e-4, rtol=1e-4)
    assert changed and all(name.endswith("relative_position_bias_table") for name in changed)
    with torch.inference_mode():
        assert large(torch.rand(1, 3, 2 * tiny.size, 2 * tiny.size)).shape[-1] == 2 * tiny.size
    assert lvm.resized(tiny.size) is lvm
    with pytest.raises(ValidationError, match="must divide"):
        lvm.resized(tiny.size + 1)
