"""Pictures as other viewers would make them."""

import numpy as np
import torch

from lvm_training.observation.appearance import GROUP, varied
from lvm_training.stamps.render import stretch
from lvm_training.stamps.rendering import Rendering


def bands(n: int) -> torch.Tensor:
    y, x = torch.meshgrid(torch.linspace(-3, 3, 16), torch.linspace(-3, 3, 16), indexing="ij")
    light = torch.exp(-(x**2 + y**2))
    return (light * torch.tensor([0.1, 0.2, 0.3])[:, None, None]).expand(n, 3, 16, 16).clone()


def test_without_variation_they_are_the_models_own_rendering() -> None:
    rendering = Rendering(size=16)
    pictures = varied(bands(5), rendering, np.random.default_rng(0), share=0.0)
    assert torch.equal(pictures, stretch(bands(5), rendering))


def test_all_stay_pictures_and_the_centre_stays_brightest() -> None:
    pictures = varied(bands(20 * GROUP), Rendering(size=16), np.random.default_rng(0), share=1.0)
    assert pictures.isfinite().all() and pictures.min() >= 0 and pictures.max() <= 1
    grey = pictures.mean(1)
    assert (grey[:, 7:9, 7:9].mean((1, 2)) > grey[:, :2].mean((1, 2))).all()
    assert (pictures * 255 - (pictures * 255).round()).abs().max() < 1e-3, "256 levels, as in a JPEG"


def test_about_the_asked_share_differs_and_no_two_alike() -> None:
    own = stretch(bands(100 * GROUP), Rendering(size=16))
    pictures = varied(bands(100 * GROUP), Rendering(size=16), np.random.default_rng(1), share=0.5)
    other = (pictures != own).flatten(1).any(1)
    assert 0.35 < other.float().mean() < 0.65
    colours = pictures[other].mean((2, 3))
    assert colours.std(0).min() > 0.03


def test_a_last_group_may_be_smaller() -> None:
    assert varied(bands(GROUP + 1), Rendering(size=16), np.random.default_rng(0)).shape == (GROUP + 1, 3, 16, 16)
