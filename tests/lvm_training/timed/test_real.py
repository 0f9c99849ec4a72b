"""Two views of each real picture: of the same galaxies, never twice alike, drawn by number alone."""

import pytest
import torch

from lvm_training.model.lvm import Preset
from lvm_training.timed import recipe as recipes
from lvm_training.timed.real import real_batch, seen
from lvm_training.timed.recipe import TimedRecipe


@pytest.fixture
def recipe(tiny: Preset, monkeypatch: pytest.MonkeyPatch) -> TimedRecipe:
    monkeypatch.setattr(recipes, "find_preset", lambda name: tiny)
    return TimedRecipe(preset="tiny", real=0.2, mask_patch=8)


def pictures(count: int = 12) -> torch.Tensor:
    """Each of a colour of its own, brighter towards the centre."""
    side = torch.linspace(-1, 1, 32)
    light = torch.exp(-3 * (side[None, :] ** 2 + side[:, None] ** 2))
    colours = torch.rand(count, 3, generator=torch.Generator().manual_seed(1))
    return (colours[:, :, None, None] * light * 255).to(torch.uint8)


def test_a_batch_depends_on_its_number_alone(recipe: TimedRecipe) -> None:
    first, again, next_one = (real_batch(pictures(), 8, recipe, index) for index in (3, 3, 4))
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    assert not torch.equal(first.first, next_one.first)
    other_seed = real_batch(pictures(), 8, recipe.model_copy(update={"seed": 2}), 3)
    assert not torch.equal(first.first, other_seed.first)


@pytest.mark.parametrize("count", [1, 2, 7])
def test_half_are_to_be_filled_in_and_the_views_are_of_one_picture(recipe: TimedRecipe, count: int) -> None:
    batch = real_batch(pictures(1), count, recipe, 0)
    assert batch.first.shape == batch.second.shape == (count, 3, 32, 32)
    assert len(batch.mask) == max(1, count // 2) and batch.mask.any()
    assert not torch.equal(batch.first, batch.second)


def test_a_view_is_a_picture_of_the_same_galaxy() -> None:
    given = pictures().float() / 255
    views = [seen(given, torch.Generator().manual_seed(seed)) for seed in (0, 1)]
    for view in views:
        assert view.shape == given.shape and view.min() >= 0 and view.max() <= 1
        middle = view[:, :, 12:20, 12:20].mean((1, 2, 3))
        edge = view.mean((1, 2, 3))
        assert (middle > edge).all(), "the galaxy stays in the middle"
    assert (views[0] - views[1]).abs().mean((1, 2, 3)).min() > 1e-3


def test_black_pictures_stay_finite() -> None:
    view = seen(torch.zeros(4, 3, 32, 32), torch.Generator().manual_seed(0))
    assert torch.isfinite(view).all() and view.max() < 0.5
