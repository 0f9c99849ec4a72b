"""Saturated pixels: by the header, by a plateau, and those within the stamp alone."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from lvm_training.images.fits import Reading, read_fits
from lvm_training.images.fitting import Fit
from lvm_training.images.unmeasured import saturated
from tests.lvm_training.images.images import camera, planes, sky_header, write

SAID = [np.inf] * 3


def star(side: int = 24, peak: float = 900.0, at: tuple[int, int] = (6, 8)) -> NDArray[np.float32]:
    """Noise with a star of nine pixels."""
    image = planes(1, side)[0]
    image[at[0] - 1 : at[0] + 2, at[1] - 1 : at[1] + 2] += peak
    return image


def test_the_level_of_a_header_is_in_the_units_of_its_pixels(tmp_path: Path) -> None:
    path = write(tmp_path / "f.fits", star(), sky_header(), SATURATE=850.0, MAGZERO=25.0)
    assert read_fits(path).saturated == 9
    for level in (2000.0, 0.0, -1.0, "unknown"):
        assert read_fits(write(tmp_path / "f.fits", star(), sky_header(), SATURATE=level)).saturated == 0
    just = write(tmp_path / "f.fits", star(), sky_header(), SATURATE=float(star().max()), MAGZERO=31.4)
    assert read_fits(just).saturated == 1


def test_each_band_has_its_level_and_a_pixel_counts_once(tmp_path: Path) -> None:
    from astropy.io import fits

    hdus = [fits.ImageHDU(star(at=at), name=band) for at, band in zip(((6, 8), (6, 9), (15, 15)), "grz", strict=True)]
    for hdu, level in zip(hdus, (850, 850, 2000), strict=True):
        hdu.header["SATURATE"] = level
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(tmp_path / "bands.fits")
    assert read_fits(tmp_path / "bands.fits").saturated == 12


@pytest.mark.parametrize(
    ("shape", "fit", "count"),
    [((24, 24), "crop", 9), ((8, 8), "crop", 0), ((12, 12), "crop", 6), ((31, 30), "pad", 9), ((12, 12), "shrink", 9)],
)
def test_those_within_the_stamp_count(tmp_path: Path, shape: tuple[int, int], fit: Fit, count: int) -> None:
    path = write(tmp_path / "f.fits", star(), sky_header(), SATURATE=850.0)
    stamp = read_fits(path, shape, fit=fit)
    assert stamp.saturated == count and stamp.pixels.shape == (3, *shape)


@pytest.mark.parametrize("angle", [90, 30])
def test_they_are_turned_with_the_image(tmp_path: Path, angle: int) -> None:
    head = sky_header((48, 48))
    cosine, sine = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    head.update(PC1_1=cosine, PC1_2=-sine, PC2_1=sine, PC2_2=cosine)
    path = write(tmp_path / "f.fits", star(48, at=(20, 24)), head, SATURATE=850.0)
    assert read_fits(path, (24, 24)).saturated == pytest.approx(9, abs=1)
    assert read_fits(path, (12, 12), Reading(resample=0.524)).saturated == pytest.approx(9, abs=2)


def test_a_plateau_is_saturated_whatever_the_header_says(tmp_path: Path) -> None:
    flat = np.minimum(star(48, peak=900), np.float32(500))
    assert read_fits(write(tmp_path / "f.fits", flat, sky_header((48, 48)))).saturated == 9
    holes = flat.copy()
    holes[:10] = np.nan
    assert saturated(np.repeat(holes[None], 3, 0), SAID).sum() == (holes == 500).sum()


def test_what_is_no_plateau_is_not(tmp_path: Path) -> None:
    counts = np.random.default_rng(0).poisson(3, (3, 64, 64)).astype(np.float32)
    assert not saturated(counts, SAID).any()  # few different values, as of faint counts
    for pixels in (np.zeros((3, 8, 8), np.float32), np.full((3, 8, 8), np.nan, np.float32), planes()):
        assert not saturated(pixels, SAID).any()
    frame = planes()
    frame[:, :4] = 0  # not observed
    assert not saturated(frame, SAID).any()
    white = write(tmp_path / "f.fits", np.minimum(camera(), 30_000), BANDS="RGB")
    assert read_fits(white).saturated == 0
