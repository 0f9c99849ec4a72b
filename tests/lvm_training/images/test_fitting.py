"""Images of several sizes as stamps of one: what is cut, what is kept, and that light is neither made nor lost."""

import numpy as np
import pytest
from numpy.typing import NDArray

from lvm_training.errors import StampError
from lvm_training.images.fitting import area_shrunk, checked_fit, fitted, shrinking


def naive(pixels: NDArray[np.float64], factor: float) -> NDArray[np.float64]:
    """Each old pixel cut into 40 x 40 pieces, and each piece put on the new pixel that holds its centre."""
    height, width = pixels.shape
    rows, columns = max(1, round(height / factor)), max(1, round(width / factor))
    new = np.zeros((rows, columns))
    pieces = (np.arange(40) + 0.5) / 40
    for row in range(height):
        for column in range(width):
            ys = np.floor((row + pieces - height / 2) / factor + rows / 2).astype(int)
            xs = np.floor((column + pieces - width / 2) / factor + columns / 2).astype(int)
            ys, xs = ys[(ys >= 0) & (ys < rows)], xs[(xs >= 0) & (xs < columns)]
            np.add.at(new, (ys[:, None], xs[None]), pixels[row, column] / 1600)
    return new


@pytest.mark.parametrize("factor", [1.0, 1.5, 2.0, 3.0])
def test_shrinking_shares_pixels_out_by_area(factor: float) -> None:
    pixels = np.random.default_rng(0).normal(size=(3, 12, 18))
    shrunk = area_shrunk(pixels, factor, fluxes=True)
    for band, expected in zip(shrunk, pixels, strict=True):
        np.testing.assert_allclose(band, naive(expected, factor), atol=0.05)
    np.testing.assert_allclose(shrunk.sum(axis=(1, 2)), pixels.sum(axis=(1, 2)))


def test_brightness_keeps_its_mean_and_fluxes_their_sum() -> None:
    picture = np.full((3, 30, 30), 200, np.uint8)
    assert (area_shrunk(picture, 2.5, fluxes=False) == 200).all()
    flux = np.full((3, 30, 30), 0.5, np.float32)
    np.testing.assert_allclose(area_shrunk(flux, 2.5, fluxes=True), 0.5 * 2.5**2, rtol=1e-6)


def test_what_was_not_measured_is_left_out_of_the_shares() -> None:
    flux = np.ones((3, 8, 8), np.float32)
    flux[:, :2, :3] = np.nan
    shrunk = area_shrunk(flux, 2.0, fluxes=True)
    assert np.isnan(shrunk[:, 0, 0]).all() and np.isnan(shrunk).sum() == 3
    np.testing.assert_allclose(shrunk[:, 0, 1], 4)


@pytest.mark.parametrize("size", [(20, 20), (20, 31), (47, 20), (9, 9)])
def test_every_way_makes_the_shape_and_keeps_the_centre(size: tuple[int, int]) -> None:
    rows, columns = (np.abs(np.arange(side) - (side - 1) / 2) for side in size)
    pixels = np.repeat(np.exp(-(rows[:, None] ** 2 + columns[None] ** 2) / 8)[None], 3, axis=0).astype(np.float32)
    for fit in ("shrink", "pad"):
        stamp = fitted(pixels, (16, 16), fit, fluxes=True)
        assert stamp.shape == (3, 16, 16)
        assert np.nansum(stamp) == pytest.approx(pixels.sum(), rel=0.02)
        y, x = np.unravel_index(np.nanargmax(stamp[0]), (16, 16))
        assert max(abs(y - 7.5), abs(x - 7.5)) <= 1
    if min(size) < 16:
        with pytest.raises(StampError, match="wrong-shaped"):
            fitted(pixels, (16, 16), "crop", fluxes=True)
    else:
        assert fitted(pixels, (16, 16), "crop", fluxes=True).shape == (3, 16, 16)


def test_pictures_are_padded_with_black_and_fluxes_with_nothing_measured() -> None:
    picture = fitted(np.full((3, 4, 4), 9, np.uint8), (6, 6), "pad", fluxes=False)
    assert (picture.dtype, int(picture[0, 0, 0]), int(picture.astype(int).sum())) == (np.uint8, 0, 9 * 48)
    flux = fitted(np.ones((3, 4, 4), np.float32), (6, 6), "pad", fluxes=True)
    assert np.isnan(flux[0, 0, 0]) and np.nansum(flux) == 48


def test_how_far_an_image_shrinks() -> None:
    assert [shrinking(size, (10, 10)) for size in ((5, 5), (10, 10), (10, 30), (25, 10))] == [1, 1, 3, 2.5]
    assert checked_fit(None) is None and checked_fit("pad") == "pad"
    with pytest.raises(StampError, match="crop, shrink, pad"):
        checked_fit("stretch")
