"""Restored pixels: units, flux, errors that hold, and stamps that are not as they should be."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from lvm_training.backbones.sources import Wanted, write_backbone
from lvm_training.errors import CheckpointError
from lvm_training.params import ParamsError
from lvm_training.progress import progress_bar
from lvm_training.restoration.error_table import LIGHT, ONE_SIGMA, SPREAD, ErrorTable
from lvm_training.restoration.restorer import Restored, Restorer, flux_ratios
from lvm_training.restoration.restorer import _lumps as lumps_of
from lvm_training.restoration.tiles import ORDER, UNDONE, decoded, tile_starts
from lvm_training.stamps.stampset import LEGACY_PIXEL_SCALE
from lvm_training.stamps.symmetries import symmetry
from tests.lvm_training.parameters.skies import SCALE, SIDE, gaussian, noise
from tests.lvm_training.restoration.skies import RENDERING, Smoothing, smoothing
from tests.other_encoders import write_hub_folder
from tests.tiny_encoder import TINY


@pytest.fixture(scope="module")
def restorer() -> Restorer:
    return smoothing()


def restored(restorer: Restorer, *stamps: NDArray[np.float32], scale: float = SCALE) -> Restored:
    return restorer.restore(np.stack(stamps), "nanomaggies", scale)


def test_every_view_is_taken_back() -> None:
    picture = torch.arange(48.0).reshape(1, 3, 4, 4)
    for view in ORDER:
        assert torch.equal(symmetry(symmetry(picture, view), UNDONE[view]), picture)


@pytest.mark.parametrize("length", [32, 33, 47, 56, 57, 152, 301])
def test_tiles_cover_every_pixel_and_overlap(length: int) -> None:
    starts = tile_starts(length, 32)
    seen = np.zeros(length, dtype=int)
    for start in starts:
        seen[start : start + 32] += 1
    assert starts[0] == 0 and starts[-1] == max(0, length - 32) and seen.min() >= 1
    assert all(after - before <= 24 for before, after in pairwise(starts))


def test_tiles_of_what_changes_nothing_are_the_stamp() -> None:
    class Same(Smoothing):
        def forward(self, images: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
            return images

    values = torch.rand(2, 3, 40, 70)
    found = decoded(Same(TINY), values, RENDERING, "as-delivered", views=8, precision="float32")
    torch.testing.assert_close(found.mean, values)
    assert found.spread.max() < 1e-3


def test_noise_goes_and_flux_stays(restorer: Restorer) -> None:
    truth, grain = gaussian(60, sigma=5), noise(1)
    found = restored(restorer, truth + grain)
    assert found.pixels.shape == (1, 3, SIDE, SIDE) and found.pixels.dtype == np.float32
    assert (found.pixels[0] - truth).std() < 0.5 * grain.std()
    np.testing.assert_allclose(found.pixels.sum(axis=(2, 3)), (truth + grain).sum(axis=(1, 2))[None], rtol=2e-3)
    np.testing.assert_allclose(flux_ratios(found.pixels, (truth + grain)[None], SCALE), 1, atol=0.03)


def test_errors_cover_the_truth_of_simulated_stamps(restorer: Restorer) -> None:
    accuracy = restorer.calibration("nanomaggies", SCALE).accuracy
    assert abs(accuracy.coverage - 0.68) < 0.08 and accuracy.coverage95 > 0.85
    assert abs(accuracy.flux_bias) < 0.01 and accuracy.gain > 3


def test_a_white_core_is_what_was_observed(restorer: Restorer) -> None:
    star = gaussian(20_000, sigma=1.5, ratio=1) + noise(2)
    found = restored(restorer, star)
    core = np.s_[:, SIDE // 2 - 1 : SIDE // 2 + 1, SIDE // 2 - 1 : SIDE // 2 + 1]
    np.testing.assert_allclose(found.pixels[0][core], star[core], rtol=1e-3)


def test_the_unit_is_per_pixel_whatever_the_scale(restorer: Restorer) -> None:
    stamp = gaussian(60, sigma=5) + noise(3)
    fine = restored(restorer, stamp)
    # the same sky in pixels of twice the side has four times the light in each; the scale of simulated ones differs
    coarse = restorer.restore(4 * stamp[None], "nanomaggies", 2 * SCALE)
    np.testing.assert_allclose(coarse.pixels.sum(), 4 * fine.pixels.sum(), rtol=1e-3)
    unknown = restorer.restore(stamp[None], "nanomaggies", float("nan"))
    assert np.array_equal(unknown.pixels, restored(restorer, stamp, scale=LEGACY_PIXEL_SCALE).pixels)


def test_what_was_not_observed_stays_so_and_harms_nothing(restorer: Restorer) -> None:
    stamp = gaussian(60, sigma=5) + noise(4)
    holed = stamp.copy()
    holed[:, :, :9] = np.nan
    holed[1, 30, 40] = np.inf
    found, whole = restored(restorer, holed), restored(restorer, stamp)
    unseen = ~np.isfinite(holed)[None]
    assert np.isnan(found.pixels[unseen]).all() and np.isnan(found.uncertainty[unseen]).all()
    assert np.isfinite(found.pixels[~unseen]).all() and (found.uncertainty[~unseen] > 0).all()
    away = np.s_[:, :, 20:, 45:]
    np.testing.assert_allclose(found.pixels[away], whole.pixels[away], atol=0.01)


@pytest.mark.parametrize("value", [np.nan, 0.0, 3.5])
def test_a_stamp_that_shows_nothing_is_what_it_was(restorer: Restorer, value: float) -> None:
    blank = np.full((3, SIDE, SIDE), value, dtype=np.float32)
    found = restored(restorer, blank, gaussian(60, sigma=5) + noise(5))
    np.testing.assert_allclose(found.pixels[0], blank, rtol=1e-3, atol=1e-3)
    assert np.isfinite(found.pixels[1]).all()


def test_stamps_smaller_than_a_tile_and_not_square_keep_their_shape(restorer: Restorer) -> None:
    pixels = np.random.default_rng(1).normal(0, 0.01, (2, 3, 20, 50)).astype(np.float32)
    found = restorer.restore(pixels, "nanomaggies", SCALE)
    assert found.pixels.shape == pixels.shape and np.isfinite(found.pixels).all()


def test_a_stamp_is_restored_the_same_among_others(restorer: Restorer) -> None:
    stamps = [gaussian(40 + 5 * seed, sigma=4) + noise(seed) for seed in range(3)]
    together = restored(restorer, *stamps)
    for place, stamp in enumerate(stamps):
        np.testing.assert_allclose(restored(restorer, stamp).pixels[0], together.pixels[place], atol=1e-6)


def test_pictures_are_restored_in_their_own_levels(restorer: Restorer) -> None:
    light = gaussian(200, sigma=6)
    truth = 255 * light / light.max()
    picture = (truth + np.random.default_rng(6).normal(0, 8, truth.shape)).round().clip(0, 255).astype(np.uint8)
    found = restorer.restore(picture[None], "as-delivered", float("nan"))
    seen = truth > 20  # the noise of a black sky was cut off at 0
    assert (found.pixels[0] - truth)[seen].std() < 0.8 * (picture - truth)[seen].std()
    assert np.isfinite(found.uncertainty).all()


@pytest.mark.parametrize("sign", [1, -1])
def test_light_that_was_taken_away_or_put_in_is_a_lump(sign: int) -> None:
    taken = np.random.default_rng(7).normal(size=(2, 3, SIDE, SIDE)).astype(np.float32)
    taken[1, 2, 39:42, 11:14] += 5 * sign
    found = lumps_of(taken, np.ones_like(taken), np.zeros(taken.shape, dtype=bool))
    assert 0.9 < found[0].std() < 2 and np.abs(found[0]).max() < 7
    row, column = np.unravel_index(int(np.abs(found[1]).argmax()), (SIDE, SIDE))
    assert abs(row - 40) <= 1 and abs(column - 12) <= 1
    assert sign * found[1, row, column] > 8


def test_a_point_that_the_decoder_smears_is_kept(restorer: Restorer) -> None:
    point = noise(7)
    point[:, 40, 12] += 0.4
    found = restored(restorer, point)
    assert found.pixels[0, 1, 40, 12] > 0.3


def test_the_table_of_errors_gives_the_error_of_each_cell() -> None:
    rng = np.random.default_rng(8)
    noises = rng.uniform(0.5, 2, 40_000).astype(np.float32)
    light = (noises * 10 ** rng.uniform(-1, 2, noises.size)).astype(np.float32)
    spread = (noises * 10 ** rng.uniform(-2, 0.4, noises.size)).astype(np.float32)
    sigma = noises * np.where(light / noises < 8, 0.2, 0.7)
    error = (sigma * rng.normal(size=noises.size)).astype(np.float32)
    table = ErrorTable.fit(error, light, spread, noises)
    assert table.errors.shape == (len(LIGHT) + 1, len(SPREAD) + 1) and np.isfinite(table.errors).all()
    found = table.sigma(light, spread, noises)
    np.testing.assert_allclose(np.median(found / sigma), 1, atol=0.05)
    for bright in (light / noises < 8, light / noises >= 8):
        assert abs((np.abs(error) < found)[bright].mean() - ONE_SIGMA) < 0.03


def test_a_digest_is_of_weights_and_method(restorer: Restorer) -> None:
    assert smoothing().digest == restorer.digest != smoothing(views=1).digest
    other = Smoothing(TINY)
    assert Restorer(other, RENDERING, views=2, stamps=8, precision="float32").digest != restorer.digest


def test_views_that_there_are_not_are_refused() -> None:
    with pytest.raises(ParamsError, match="1 to 8 views, not 9"):
        smoothing(views=9)


def test_an_encoder_without_a_decoder_is_refused(tmp_path: Path) -> None:
    write_backbone(
        Wanted(str(write_hub_folder(tmp_path / "hub"))), tmp_path / "other", tmp_path / "downloads", progress_bar
    )
    with pytest.raises(CheckpointError, match="it gives features, and cannot be trained or draw"):
        Restorer.load(tmp_path / "other")
