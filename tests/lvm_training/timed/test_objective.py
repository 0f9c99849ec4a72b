"""The terms of the loss: nothing for the truth, one for a trivial answer, and only of what they are about."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lvm_training.model.lvm import LVM, Preset
from lvm_training.timed.drawing import Shares, shares_of_batch
from lvm_training.timed.objective import LossWeights, Objective, filling_loss, relative, truth_loss
from lvm_training.timed.recipe import TimedRecipe


@pytest.fixture
def objective(tiny: Preset) -> Objective:
    torch.manual_seed(0)
    weights = LossWeights(0.8, 0.1, 0.1, contrast=0.2)
    return Objective(LVM(tiny).eval(), 4, 3, weights).eval()


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**16), unknown=st.floats(0, 1))
def test_the_mean_truth_costs_one_and_the_truth_nothing(seed: int, unknown: float) -> None:
    rng = np.random.default_rng(seed)
    truth = torch.from_numpy(rng.normal(0, 2, (6, 5)))
    hidden = torch.from_numpy(rng.random((6, 5)) < unknown)
    hidden[0, 0] = False
    truth[hidden] = torch.nan
    assert float(truth_loss(truth.nan_to_num(), truth)) == 0
    assert float(truth_loss(torch.zeros(6, 5, dtype=truth.dtype), truth)) == pytest.approx(1)
    # what is said of unknown truths is neither praised nor blamed
    readings = torch.from_numpy(rng.normal(size=(6, 5)))
    other = torch.where(hidden, readings + 100, readings)
    assert float(truth_loss(readings, truth)) == pytest.approx(float(truth_loss(other, truth)))
    # by hand
    missed = trivial = 0.0
    for value, reading in zip(truth.flatten().tolist(), readings.flatten().tolist(), strict=True):
        if math.isnan(value):
            continue
        for answer, place in ((reading, 0), (0.0, 1)):
            away = abs(answer - value)
            cost = 0.5 * away**2 if away < 1 else away - 0.5
            missed, trivial = (missed + cost, trivial) if place == 0 else (missed, trivial + cost)
    assert float(truth_loss(readings, truth)) == pytest.approx(missed / max(trivial, 1e-6))


def test_a_batch_of_which_nothing_is_known_costs_nothing() -> None:
    nothing = torch.full((3, 2), torch.nan)
    assert float(truth_loss(torch.randn(3, 2), nothing)) == 0


def test_a_picture_left_as_it_was_costs_one() -> None:
    target, given = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8)
    assert float(relative(given, target, given)) == pytest.approx(1)
    assert float(relative(target, target, given)) == 0
    assert float(relative((target + given) / 2, target, given)) == pytest.approx(0.5)
    assert math.isfinite(float(relative(given, target, target)))


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_only_hidden_pixels_count_when_filling_in(share: float) -> None:
    rng = torch.Generator().manual_seed(1)
    target = torch.rand(3, 3, 8, 8, generator=rng)
    hidden = (torch.rand(3, 1, 8, 8, generator=rng) < share).float()
    answer = torch.rand(3, 3, 8, 8, generator=rng)
    elsewhere = answer + 5 * (1 - hidden)
    loss = float(filling_loss(answer, target, hidden))
    assert float(filling_loss(elsewhere, target, hidden)) == pytest.approx(loss)
    assert float(filling_loss(target, target, hidden)) == 0
    if share:
        count = hidden.sum((2, 3), keepdim=True)
        mean = (target * hidden).sum((2, 3), keepdim=True) / count
        assert float(filling_loss(mean.expand_as(target), target, hidden)) == pytest.approx(1)
        assert loss > 0
    else:
        assert loss == 0


@torch.no_grad()
def test_telling_views_apart_costs_less_the_more_alike_they_are(objective: Objective) -> None:
    width = objective.lvm.preset.width
    things = torch.randn(16, width, generator=torch.Generator().manual_seed(2))
    others = torch.randn(16, width, generator=torch.Generator().manual_seed(3))
    same, swapped = objective._contrast(things, things), objective._contrast(things, things.roll(1, 0))
    unlike = objective._contrast(things, others)
    assert 0 < float(same) < float(unlike) < float(swapped)
    alike = objective._contrast(things[:1].expand(16, width), things[:1].expand(16, width))
    assert float(alike) == pytest.approx(1, abs=1e-5), "a guess among sixteen"
    assert float(objective._contrast(things, others)) == pytest.approx(float(objective._contrast(others, things)))


@settings(deadline=None)
@given(
    stamps=st.integers(1, 300),
    restored=st.floats(0.001, 0.499),
    masked=st.floats(0.001, 0.499),
    contrasted=st.floats(0.01, 0.4),
)
def test_every_batch_has_some_of_each_kind(stamps: int, restored: float, masked: float, contrasted: float) -> None:
    recipe = TimedRecipe(restored=restored, masked=masked, contrasted=contrasted, contrast=0.1)
    shares = shares_of_batch(recipe, stamps)
    assert min(shares.restored, shares.masked, shares.pairs) >= 1 and shares.read >= 2
    assert 2 * shares.pairs <= shares.read, "first and second drawings are among those that are read"
    assert shares.total >= stamps
    if stamps >= 2 + shares.restored + shares.masked:
        assert shares.total == stamps
    assert shares_of_batch(recipe.model_copy(update={"contrast": 0.0}), stamps).pairs == 0


def test_weights_are_in_the_order_of_the_losses() -> None:
    weights = LossWeights(truth=1, restoration=2, reconstruction=3, dense=4, dense_tokens=5, contrast=6, real=7)
    assert weights.vector(torch.device("cpu")).tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert Shares(read=5, restored=2, masked=1, pairs=2).total == 8
