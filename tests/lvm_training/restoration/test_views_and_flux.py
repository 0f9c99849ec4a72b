"""What must not matter to restored pixels: how a stamp lies, its type, and its place in the batch; and their flux."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from lvm_training.model.lvm import LVM
from lvm_training.restoration.restorer import APERTURES, Restorer, flux_ratios, unit_of
from lvm_training.restoration.tiles import decoded
from lvm_training.stamps.symmetries import SYMMETRIES, symmetry
from tests.lvm_training.parameters.skies import SCALE, gaussian, noise
from tests.lvm_training.restoration.skies import RENDERING, smoothing
from tests.tiny_encoder import TINY, tiny_lvm


class Leaning(LVM):
    """A decoder that answers otherwise for each way that a picture lies: brighter to the right and below."""

    def forward(self, images: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """As `LVM.forward`."""
        ramp = torch.linspace(0, 0.2, images.shape[-1])
        return 0.5 * images + ramp + 2 * ramp[:, None]


def turns(picture: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """The eight ways that a square lies."""
    return [np.rot90(one, times, (-2, -1)) for one in (picture, picture[..., ::-1]) for times in range(4)]


@pytest.fixture(scope="module")
def symmetric() -> Restorer:
    return smoothing(views=SYMMETRIES, stamps=1)


def test_mean_and_spread_are_those_of_eight_answers_taken_back() -> None:
    size = TINY.size
    picture = np.random.default_rng(0).uniform(0.2, 0.6, (3, size, size)).astype(np.float32)
    ramp = np.linspace(0, 0.2, size)
    lean = ramp + 2 * ramp[:, None]
    # a turned ramp, taken back, is a ramp of another direction
    answers = np.stack([0.5 * picture + turned for turned in turns(lean)])
    values = torch.from_numpy(picture)[None]
    found = decoded(Leaning(TINY), values, RENDERING, "as-delivered", views=8, precision="float32")
    np.testing.assert_allclose(found.mean[0], answers.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(found.spread[0], answers.std(axis=0), atol=1e-3)


@pytest.mark.parametrize("turn", [1, 6])
def test_eight_views_restore_a_turned_stamp_to_the_turned_restoration(turn: int) -> None:
    lvm = tiny_lvm(3).eval()
    values = torch.rand(1, 3, 32, 50, generator=torch.Generator().manual_seed(0))

    def restored(one: torch.Tensor) -> torch.Tensor:
        return decoded(lvm, one, RENDERING, "as-delivered", views=8, precision="float32").mean

    torch.testing.assert_close(restored(symmetry(values, turn)), symmetry(restored(values), turn), atol=2e-5, rtol=1e-3)


@pytest.mark.parametrize("turn", [1, 2, 4, 5])
def test_light_errors_and_lumps_turn_with_the_stamp(symmetric: Restorer, turn: int) -> None:
    stamp = gaussian(60, sigma=4, at=(3, -5)) + noise(1)
    stamp[1, 10, 20] = np.nan
    upright = symmetric.restore(stamp[None], "nanomaggies", SCALE)
    turned = symmetric.restore(np.ascontiguousarray(turns(stamp)[turn])[None], "nanomaggies", SCALE)
    for before, after, least in (
        (upright.pixels, turned.pixels, 1e-4),
        (upright.uncertainty, turned.uncertainty, 1e-4),
        (upright.lumps, turned.lumps, 0.02),
    ):
        np.testing.assert_allclose(turns(before)[turn], after, atol=least)


@pytest.mark.parametrize("dtype", ["f2", "f4", ">f4", "f8", ">f8"])
def test_pixels_of_any_type_are_restored_as_the_numbers_that_they_are(symmetric: Restorer, dtype: str) -> None:
    stamp = (gaussian(60, sigma=4) + noise(2)).astype(np.float16)
    found = symmetric.restore(stamp[None].astype(dtype), "nanomaggies", SCALE)  # type: ignore[arg-type]
    wanted = symmetric.restore(stamp[None].astype(np.float32), "nanomaggies", SCALE)
    np.testing.assert_allclose(found.pixels, wanted.pixels, atol=1e-6)
    assert found.pixels.dtype == np.float32


def test_a_band_that_nobody_observed_stays_so_and_the_others_are_restored(symmetric: Restorer) -> None:
    stamp = gaussian(60, sigma=4) + noise(3)
    lacking = stamp.copy()
    lacking[2] = np.nan
    found = symmetric.restore(lacking[None], "nanomaggies", SCALE)
    assert np.isnan(found.pixels[0, 2]).all() and np.isnan(found.uncertainty[0, 2]).all()
    assert np.isfinite(found.pixels[0, :2]).all() and np.isfinite(found.lumps).all()
    ratios = flux_ratios(found.pixels, lacking[None], SCALE)[0]
    assert np.isnan(ratios[2]) and np.allclose(ratios[:2], 1, atol=0.05)


@pytest.mark.parametrize(("height", "width"), [(40, 40), (41, 41), (40, 61), (9, 9), (1, 1)])
@pytest.mark.parametrize("scale", [0.262, 1.0, np.nan])
def test_flux_is_summed_within_three_arcsec_of_the_middle(height: int, width: int, scale: float) -> None:
    rng = np.random.default_rng(height)
    observed = rng.uniform(0.5, 1.5, (2, 3, height, width)).astype(np.float32)
    restored = rng.uniform(0.5, 1.5, observed.shape).astype(np.float32)
    observed[0, 1, height // 2, width // 2] = np.nan
    radius = min(height, width) / 4 if np.isnan(scale) else APERTURES / scale
    wanted = np.full((2, 3), np.nan)
    for stamp, band in np.ndindex(2, 3):
        sums = [0.0, 0.0]
        for row, column in np.ndindex(height, width):
            pixel = observed[stamp, band, row, column]
            if np.isfinite(pixel) and np.hypot(row + 0.5 - height / 2, column + 0.5 - width / 2) <= radius:
                sums = [sums[0] + restored[stamp, band, row, column], sums[1] + pixel]
        wanted[stamp, band] = sums[0] / sums[1] if sums[1] else np.nan
    np.testing.assert_allclose(flux_ratios(restored, observed, scale), wanted, rtol=1e-5)


@pytest.mark.parametrize("factor", [1e-20, 1.0, 1e20])
def test_a_ratio_of_fluxes_has_no_unit_and_dark_has_none(factor: float) -> None:
    light = gaussian(60, sigma=4)[None] * np.float32(factor)
    np.testing.assert_allclose(flux_ratios(2 * light, light, SCALE), 2, rtol=1e-5)
    for dark in (np.zeros_like(light), -light):
        assert np.isnan(flux_ratios(light, dark, SCALE)).all()


def test_a_pixel_of_another_size_has_its_share_of_the_sky() -> None:
    for scale in (0.1, 0.262, 0.396, 1.0):
        # the same sky through 0.262 arcsec pixels
        assert unit_of("nanomaggies", scale) == pytest.approx((scale / 0.262) ** 2)
    assert unit_of("nanomaggies", float("nan")) == 1 and unit_of("as-delivered", 0.5) == 255
