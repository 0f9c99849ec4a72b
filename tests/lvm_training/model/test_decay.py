"""Which parameters are drawn towards zero, and how the learning rate goes."""

import math
from typing import Any

import pytest
import torch
from torch import nn

from lvm_training.model.fitting import adamw, decay_groups
from lvm_training.model.lvm import LVM
from lvm_training.supervised.picture_classifier import Recipe


def test_every_parameter_is_in_one_group(lvm: LVM) -> None:
    decayed, plain = decay_groups(lvm, 0.05)
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.05, 0.0)
    found = [id(parameter) for group in (decayed, plain) for parameter in group["params"]]
    assert sorted(found) == sorted(id(parameter) for parameter in lvm.parameters())
    names = {id(parameter): name for name, parameter in lvm.named_parameters()}
    left = {names[id(parameter)] for parameter in plain["params"]}
    assert any(name.endswith("relative_position_bias_table") for name in left)
    assert any(name.endswith(".bias") for name in left)
    for parameter in decayed["params"]:
        name = names[id(parameter)]
        assert parameter.ndim >= 2 and not name.endswith((".bias", "relative_position_bias_table")), name


def rates(recipe: Recipe) -> list[float]:
    """The learning rate of each step."""
    made: Any = adamw(nn.Linear(2, 2), recipe)
    optimizer, scheduler = made["optimizer"], made["lr_scheduler"]["scheduler"]
    found = []
    for _ in range(recipe.steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


@pytest.mark.parametrize("steps", [1, 7, 10, 40, 101])
def test_the_rate_rises_in_a_line_and_falls_as_a_cosine(steps: int) -> None:
    recipe = Recipe(steps, 0.1)
    warmup = steps // 10
    wanted = [0.1 * (step + 1) / warmup for step in range(warmup)]
    wanted += [0.05 * (1 + math.cos(math.pi * step / (steps - warmup))) for step in range(steps - warmup)]
    assert rates(recipe) == pytest.approx(wanted)
    assert max(rates(recipe)) == pytest.approx(0.1)


def test_decay_alone_shrinks_weights_and_leaves_biases() -> None:
    layer = nn.Linear(3, 3)
    before = {name: tensor.clone() for name, tensor in layer.state_dict().items()}
    made: Any = adamw(layer, Recipe(5, 0.1, weight_decay=0.5))
    for parameter in layer.parameters():
        parameter.grad = torch.zeros_like(parameter)
    made["optimizer"].step()
    torch.testing.assert_close(layer.weight.data, before["weight"] * (1 - 0.1 * 0.5))
    assert torch.equal(layer.bias.data, before["bias"])
