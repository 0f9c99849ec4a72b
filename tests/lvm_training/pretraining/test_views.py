"""The pictures pretraining compares: what was observed, how pictures are degraded, and second views."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from lvm_training.errors import StampError
from lvm_training.observation.degrade import degrade
from lvm_training.pretraining.views import exposures, second_views, unstretched, worsened, zoomed
from lvm_training.stamps.render import render_set, stretch
from lvm_training.stamps.rendering import Rendering
from lvm_training.stamps.stampset import StampSet, StampWriter
from lvm_training.stamps.symmetries import turned

MakeStamps = Callable[..., Path]


def generators(count: int, seed: int = 0) -> list[np.random.Generator]:
    return [np.random.default_rng((seed, place)) for place in range(count)]


def exposed(path: Path, rendering: Rendering) -> tuple[torch.Tensor, torch.Tensor]:
    with StampSet(path) as stamps:
        return exposures(stamps, np.arange(len(stamps)), rendering)


def test_clean_pictures_are_the_rendering(make_stamps: MakeStamps, rendering: Rendering) -> None:
    for delivered in (False, True):
        path = make_stamps(6, name=f"set{delivered}", delivered=delivered)
        bands, clean = exposed(path, rendering)
        with StampSet(path) as stamps:
            assert torch.equal(clean, render_set(stamps, slice(None), rendering))
        torch.testing.assert_close(stretch(bands, rendering), clean, rtol=0, atol=1e-5)


def test_colours_of_bands_that_were_not_observed_are_not_a_number(
    make_stamps: MakeStamps, rendering: Rendering
) -> None:
    path = make_stamps(4)
    _, whole = exposed(path, rendering)
    with h5py.File(path, "a") as file:
        file["images"][0, :, 20:26, 20:26] = np.nan
        file["images"][1, 2] = np.inf
        file["images"][2] = np.nan
    bands, clean = exposed(path, rendering)
    assert bands.isfinite().all(), "the model sees empty sky there"
    missing = clean.isnan()
    inside = missing[0]
    assert inside.all(0).any() and not inside[:, :8].any(), "only about the hole"
    assert torch.equal(inside[0], inside[2])
    assert missing[1, 0].all() and not missing[1, 1:].any(), "z is the colour red"
    assert missing[2].all()
    assert torch.equal(clean[3], whole[3])
    assert torch.equal(clean[0][~inside], stretch(bands, rendering)[0][~inside])


def test_what_lies_beyond_the_edge_was_not_observed(make_stamps: MakeStamps, rendering: Rendering) -> None:
    for delivered in (False, True):
        wide = rendering.model_copy(update={"field": 4 * 48 * 0.262, "size": 48})
        _, clean = exposed(make_stamps(2, name=f"wide{delivered}", delivered=delivered), wide)
        inside = clean[0, 0].isfinite()
        # a pixel that is resampled from some of the stamp and some of the padding does not count either
        assert inside[19:29, 19:29].all() and inside.sum() == 100


@pytest.mark.parametrize(("side", "pixel_scale"), [(24, 0.5), (100, 0.11), (48, float("nan"))])
def test_other_sizes_and_pixel_scales(tmp_path: Path, rendering: Rendering, side: int, pixel_scale: float) -> None:
    writer = StampWriter(tmp_path / "other.h5", (side, side), pixel_scale=pixel_scale)
    writer.append(np.random.default_rng(1).normal(0, 0.01, (3, 3, side, side)).astype(np.float32), {})
    bands, clean = exposed(writer.finish(), rendering)
    assert bands.shape == clean.shape == (3, 3, rendering.size, rendering.size)
    assert clean.isfinite().all()


def test_two_bands_are_no_stamps(tmp_path: Path, rendering: Rendering) -> None:
    with h5py.File(tmp_path / "two.h5", "w") as file:
        file["images"] = np.zeros((4, 2, 48, 48), np.float32)
    with pytest.raises(StampError, match=r"no `images` dataset of shape \(N, 3, H, W\)"):
        exposed(tmp_path / "two.h5", rendering)


def test_unstretching_is_the_inverse_of_the_stretch(rendering: Rendering) -> None:
    torch.manual_seed(0)
    bands = torch.rand(4, 3, 16, 16) * 0.05
    pictures = stretch(bands, rendering)
    assert pictures.max() < 1
    torch.testing.assert_close(unstretched(pictures, rendering), bands, rtol=1e-4, atol=1e-6)
    extremes = torch.stack([torch.zeros(3, 4, 4), torch.ones(3, 4, 4)])
    again = stretch(unstretched(extremes, rendering), rendering)
    torch.testing.assert_close(again, extremes, rtol=0, atol=1e-5)


def test_one_stamp_is_degraded_like_a_batch_of_one(rendering: Rendering) -> None:
    bands = torch.rand(5, 3, 32, 32)
    together = worsened(bands, generators(5), pixel_scale=0.3)
    for place, rng in enumerate(generators(5)):
        alone = degrade(bands[place : place + 1], rng, pixel_scale=0.3)
        torch.testing.assert_close(together[place : place + 1], alone)


def test_zooming_magnifies_about_the_centre() -> None:
    y, x = torch.meshgrid(torch.arange(33.0) - 16, torch.arange(33.0) - 16, indexing="ij")
    blob = torch.exp(-(x**2 + y**2) / (2 * 3.0**2)).expand(1, 3, -1, -1)
    for factor in (0.9, 1.0, 1.1):
        image = zoomed(blob, torch.tensor([factor]))[0, 0]
        spread = float(((x**2 + y**2) * image).sum() / image.sum()) ** 0.5
        assert spread == pytest.approx(3 * 2**0.5 * factor, rel=0.02)
        assert image.argmax() == 16 * 33 + 16


def test_second_views_are_other_pictures_of_the_same_stamps(make_stamps: MakeStamps, rendering: Rendering) -> None:
    bands, _ = exposed(make_stamps(8), rendering)
    kinds = np.arange(8)
    first = turned(stretch(bands, rendering), kinds)
    second = second_views(bands, kinds, generators(8), rendering)
    assert second.shape == first.shape and second.isfinite().all()
    assert torch.equal(second, second_views(bands, kinds, generators(8), rendering))
    brightness, other = (pictures.mean((1, 2, 3)) for pictures in (first, second))
    assert np.corrcoef(brightness.numpy(), other.numpy())[0, 1] > 0.8
    assert all((one - two).abs().mean() > 1e-3 for one, two in zip(first, second, strict=True))
    none = second_views(bands[:0], kinds[:0], [], rendering)
    assert none.shape == (0, 3, 32, 32)
