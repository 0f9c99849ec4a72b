"""Where an image lies: scales of every legal WCS, those that say none, and scales that are not believed."""

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from lvm_training.errors import StampError
from lvm_training.images.fits import FitsFacts, Reading, fits_facts, read_fits, read_frame
from tests.lvm_training.images.images import SIDE, planes, sky_header, write

STEP = 0.262 / 3600
UNTOLD = Reading()


def bare(**cards: object) -> fits.Header:
    """A WCS with a reference point in the centre, and no scale but what is given."""
    head = fits.Header()
    head.update({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 150.0, "CRVAL2": 2.2, "BANDS": "grz"})
    head.update({"CRPIX1": (SIDE + 1) / 2, "CRPIX2": (SIDE + 1) / 2} | cards)
    return head


def facts(folder: Path, head: fits.Header, reading: Reading = UNTOLD) -> FitsFacts:
    """Of a cutout with that header."""
    return fits_facts(write(folder / "f.fits", planes(), head), reading)


@pytest.mark.parametrize(
    "cards",
    [
        {"CD1_1": -STEP, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": STEP},
        {"CD1_1": STEP, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": STEP},
        {"CD1_1": 0.0, "CD1_2": STEP, "CD2_1": STEP, "CD2_2": 0.0},
        {"CDELT1": -STEP, "CDELT2": STEP, "PC1_1": 0.6, "PC1_2": -0.8, "PC2_1": 0.8, "PC2_2": 0.6},
        {"CDELT1": -STEP, "CDELT2": STEP, "CROTA2": 30.0},
        {"PC1_1": -STEP, "PC2_2": STEP},
        {"PC1_1": -0.262, "PC2_2": 0.262, "CUNIT1": "arcsec", "CUNIT2": "arcsec", "CRVAL1": 150.0 * 3600},
        {"CDELT1": -0.262, "CDELT2": 0.262, "CUNIT1": "arcsec", "CUNIT2": "arcsec", "CRVAL1": 540000.0},
        {"CDELT1": -STEP * 2, "CDELT2": STEP / 2},
        {"CD1_1": -STEP, "CD2_2": STEP, "CTYPE1": "RA---TPV", "CTYPE2": "DEC--TPV", "PV1_1": 1.0, "PV2_1": 1.0},
        {"CTYPE1": "DEC--TAN", "CTYPE2": "RA---TAN", "CRVAL1": 2.2, "CRVAL2": 150.0, "CD1_1": STEP, "CD2_2": -STEP},
        {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "CD1_1": -STEP, "CD2_2": STEP, "A_ORDER": 2}
        | {"B_ORDER": 2, "A_2_0": 1e-7, "B_0_2": 1e-7},
    ],
)
def test_the_scale_of_any_legal_wcs(tmp_path: Path, cards: dict[str, object]) -> None:
    if cards.get("CUNIT2") == "arcsec":
        cards = cards | {"CRVAL2": 2.2 * 3600}
    found = facts(tmp_path, bare(**cards))
    assert found.pixel_scale == pytest.approx(0.262, rel=1e-3)
    stamp = read_fits(tmp_path / "f.fits")
    assert (stamp.ra, stamp.dec) == (pytest.approx(150.0, abs=1e-6), pytest.approx(2.2, abs=1e-6))
    flux = np.nansum(stamp.pixels, axis=(1, 2)) / planes().sum(axis=(1, 2))
    np.testing.assert_allclose(flux, 1, rtol=0.05)


@pytest.mark.parametrize(
    "cards",
    [
        {},
        {"CDELT1": 1.0, "CDELT2": 1.0},
        {"CDELT1": 0.0, "CDELT2": 0.0},
        {"PC1_1": 0.6, "PC1_2": -0.8, "PC2_1": 0.8, "PC2_2": 0.6},
        {"CD1_1": 0.0, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": 0.0},
    ],
)
def test_a_wcs_without_a_scale_says_none(tmp_path: Path, cards: dict[str, object]) -> None:
    found = facts(tmp_path, bare(**cards))
    assert np.isnan(found.pixel_scale)
    assert "its WCS does not say the pixel scale" in found.remarks
    stamp = read_fits(tmp_path / "f.fits")
    assert np.isnan(stamp.pixel_scale)
    # its reference point is the centre's position
    assert (stamp.ra, stamp.dec) == (pytest.approx(150.0), pytest.approx(2.2))
    given = read_fits(tmp_path / "f.fits", reading=Reading(pixel_scale=0.262))
    assert (given.pixel_scale, given.ra) == (0.262, pytest.approx(150.0))
    np.testing.assert_array_equal(given.pixels, planes())
    facts(tmp_path, bare(CRPIX1=1.0))
    assert np.isnan(read_fits(tmp_path / "f.fits").ra)


@pytest.mark.parametrize(
    ("cards", "keyword"),
    [
        ({"PIXSCALE": 0.4}, "PIXSCALE"),
        ({"PIXSCAL": "0.4"}, "PIXSCAL"),
        ({"SECPIX": -0.4}, "SECPIX"),
        ({"SECPIX1": -0.4, "SECPIX2": 0.4}, "SECPIX1"),
        ({"PIXSCAL1": 0.2, "PIXSCAL2": 0.8}, "PIXSCAL1"),
    ],
)
def test_keywords_say_the_scale_where_the_wcs_does_not(tmp_path: Path, cards: dict[str, object], keyword: str) -> None:
    head = fits.Header(cards.items())
    head["BANDS"] = "grz"
    found = facts(tmp_path, head)
    assert found.pixel_scale == pytest.approx(0.4)
    assert any(keyword in remark for remark in found.remarks)
    assert facts(tmp_path, bare(**cards)).pixel_scale == pytest.approx(0.4)
    assert facts(tmp_path, bare(**cards, CDELT1=-STEP, CDELT2=STEP)).pixel_scale == pytest.approx(0.262)
    assert np.isnan(facts(tmp_path, fits.Header({"PIXSCALE": 3600.0, "BANDS": "grz"}.items())).pixel_scale)


@pytest.mark.parametrize("step", [0.262, 20 / 3600, 1e-8])
def test_scales_that_are_not_believed_are_asked_about(tmp_path: Path, step: float) -> None:
    head = bare(CDELT1=-step, CDELT2=step)
    with pytest.raises(StampError, match=r"arcsec a pixel; if that is so, --pixel-scale"):
        facts(tmp_path, head)
    other = facts(tmp_path, head, Reading(pixel_scale=0.262))
    assert other.pixel_scale == 0.262 and any("not believed" in remark for remark in other.remarks)
    same = facts(tmp_path, head, Reading(pixel_scale=step * 3600))
    assert same.pixel_scale == pytest.approx(step * 3600, rel=0.01)


def test_a_centre_that_is_nowhere_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StampError, match=r"nowhere on the sky|unreadable"):
        facts(tmp_path, bare(CTYPE1="RA---AIT", CTYPE2="DEC--AIT", CDELT1=-STEP, CDELT2=STEP, CRPIX1=1e8))


def test_galactic_frames_are_said(tmp_path: Path) -> None:
    head = bare(CTYPE1="GLON-TAN", CTYPE2="GLAT-TAN", CDELT1=-STEP, CDELT2=STEP)
    assert any("galactic" in remark for remark in facts(tmp_path, head).remarks)


@pytest.mark.parametrize("scale", [0.1, 0.4, 0.524])
def test_resampling_keeps_the_flux_and_the_place(tmp_path: Path, scale: float) -> None:
    data = np.repeat(planes(1, 60), 3, axis=0)
    path = write(tmp_path / "f.fits", data, sky_header((60, 60)), BANDS="grz")
    reading = Reading(resample=scale)
    stamp, found = read_fits(path, reading=reading), fits_facts(path, reading)
    assert stamp.pixel_scale == found.pixel_scale == scale
    assert stamp.pixels.shape[1:] == found.shape == (round(60 * 0.262 / scale),) * 2
    assert np.nansum(stamp.pixels[0]) == pytest.approx(data[0].sum(), rel=0.03)
    rows, columns = np.mgrid[: found.shape[0], : found.shape[1]]
    light = np.nan_to_num(stamp.pixels[0])
    for axis in (rows, columns):
        assert (light * axis).sum() / light.sum() == pytest.approx((found.shape[0] - 1) / 2, abs=0.1 / scale)
    flat = write(tmp_path / "g.fits", data, None, BANDS="grz")
    told = read_fits(flat, reading=Reading(resample=scale, pixel_scale=0.262))
    np.testing.assert_allclose(np.nan_to_num(told.pixels), np.nan_to_num(stamp.pixels), atol=1e-3)


@pytest.mark.parametrize(
    ("cards", "alike"),
    [
        ({}, True),
        ({"CRVAL2": 2.2 + STEP / 2, "CRPIX2": (SIDE + 1) / 2 + 0.5}, True),
        ({"CRVAL2": 2.2 + 5 * STEP}, False),
        ({"CDELT1": -0.4 / 3600, "CDELT2": 0.4 / 3600}, False),
        ({"CDELT1": STEP}, False),
        ({"CROTA2": 30.0}, False),
        ({"CTYPE1": "X", "CTYPE2": "Y"}, True),
        ({"CTYPE1": "RA", "CTYPE2": "DEC", "CRVAL1": 0.0, "CRVAL2": 0.0, "CDELT1": 1e-8, "CDELT2": 1e-8}, True),
        ({"CTYPE1": "RA", "CTYPE2": "DEC", "CRVAL1": 0.0, "CRVAL2": 0.0, "CDELT1": 1e-5, "CDELT2": 1e-5}, True),
        ({"CRVAL1": 0.0, "CRVAL2": 0.0, "CDELT1": -1.0, "CDELT2": 1.0}, True),
    ],
)
def test_bands_of_a_file_lie_on_the_same_pixels(tmp_path: Path, cards: dict[str, object], alike: bool) -> None:
    heads = [bare(CDELT1=-STEP, CDELT2=STEP) for _ in "grz"]
    heads[2].update(cards)
    hdus = [fits.ImageHDU(*one) for one in zip(planes(), heads, "grz", strict=True)]
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(tmp_path / "f.fits")
    if alike:
        assert read_fits(tmp_path / "f.fits").bands == "grz"
    else:
        with pytest.raises(StampError, match="band z lies on other pixels of the sky than g"):
            read_fits(tmp_path / "f.fits")


def test_a_wcs_in_the_first_header_is_that_of_the_extensions(tmp_path: Path) -> None:
    hdus = [fits.ImageHDU(plane, name=band) for plane, band in zip(planes(), "grz", strict=True)]
    fits.HDUList([fits.PrimaryHDU(None, bare(CDELT1=-STEP, CDELT2=STEP)), *hdus]).writeto(tmp_path / "f.fits")
    stamp = read_fits(tmp_path / "f.fits")
    assert (stamp.pixel_scale, stamp.ra, stamp.dec) == (0.262, pytest.approx(150), pytest.approx(2.2))


def test_a_placeholder_in_the_first_header_is_not_that_of_the_extensions(tmp_path: Path) -> None:
    hdus = [fits.ImageHDU(plane, name=band) for plane, band in zip(planes(), "grz", strict=True)]
    fits.HDUList([fits.PrimaryHDU(None, bare(CDELT1=-1.0, CDELT2=1.0)), *hdus]).writeto(tmp_path / "f.fits")
    assert np.isnan(fits_facts(tmp_path / "f.fits").pixel_scale)


def test_numbers_of_a_wcs_written_as_text_are_numbers(tmp_path: Path) -> None:
    head = bare(CRVAL1="150.0", CRVAL2="2.2", CRPIX1="12.5", CD1_1=str(-STEP), CD2_2=str(STEP))
    stamp = read_fits(write(tmp_path / "f.fits", planes(1)[0], head))
    assert (stamp.pixel_scale, stamp.ra, stamp.dec) == (0.262, pytest.approx(150), pytest.approx(2.2))
    for odd in ("unknown", "NaN"):
        head["CRVAL1"] = odd
        with pytest.raises(StampError, match=f"CRVAL1 '{odd}', which is no number"):
            read_fits(write(tmp_path / "f.fits", planes(1)[0], head))


@pytest.mark.parametrize("odd", [{"CROTA2": " "}, {"CDELT1": " "}, {"CROTA2": "N/A"}, {"CRVAL3": "none"}])
def test_numbers_of_a_wcs_that_are_not_needed_may_be_blank_or_words(tmp_path: Path, odd: dict[str, str]) -> None:
    head = bare(CRVAL1="1.5D+02", CD1_1=-STEP, CD2_2=STEP, **odd)
    stamp = read_fits(write(tmp_path / "f.fits", planes(1)[0], head))
    assert (stamp.pixel_scale, stamp.ra, stamp.dec) == (0.262, pytest.approx(150), pytest.approx(2.2))


def test_words_in_place_of_a_wcs_are_none(tmp_path: Path) -> None:
    facts = fits_facts(write(tmp_path / "f.fits", planes(1)[0], None, CRVAL1="unknown", PIXSCALE=0.262))
    assert facts.pixel_scale == 0.262


@pytest.mark.parametrize(
    "said",
    [
        "0.262 arcsec/pixel",
        '0.262"',
        "0.262''/px",
        "0.262 asec",
        "262 mas/pix",
        "0.00436667 arcmin",
        "7.27778e-5 deg/pixel",
        (7.27778e-5, "[deg/pixel]"),
        (262.0, "pixel scale, mas"),
        (0.262, "arcsec per pixel"),
        (0.262, "the camera's scale, arcsec/pixel"),
        (0.262, "detector's pixel scale"),
        (0.262, "mean at 5 arcmin off axis, arcsec"),
        (0.262, "arcsec, of a field of 2.5 arcmin"),
        (0.262, "pixel scale at PA = 0 deg"),
        (0.262, "pixel scale of the mask of a massive field"),
        (0.262, "by 'astrometry.net'"),
        (0.00436667, "['/pix]"),
        "0.00436667'",
        0.262,
    ],
)
def test_a_pixel_scale_may_say_its_unit(tmp_path: Path, said: object) -> None:
    facts = fits_facts(write(tmp_path / "f.fits", planes(), BANDS="grz", PIXSCALE=said))
    assert facts.pixel_scale == pytest.approx(0.262, abs=1e-5)
    assert "the pixel scale is that of PIXSCALE" in facts.remarks


@pytest.mark.parametrize("said", ["0.262 furlongs", "unknown", (3.76, "[um] of the detector"), "3.76 micron"])
def test_what_is_no_angle_is_no_pixel_scale(tmp_path: Path, said: object) -> None:
    assert np.isnan(fits_facts(write(tmp_path / "f.fits", planes(), BANDS="grz", PIXSIZE=said)).pixel_scale)


def test_planes_that_come_last_lie_where_their_header_says(tmp_path: Path) -> None:
    planar = read_fits(write(tmp_path / "f.fits", planes(), sky_header(), BANDS="grz"))
    last = read_fits(write(tmp_path / "l.fits", np.moveaxis(planes(), 0, -1), sky_header(), BANDS="grz"))
    assert (last.ra, last.dec) == pytest.approx((planar.ra, planar.dec)) and last.ra == pytest.approx(150.0)


def test_distortions_without_their_suffix_are_not_told_of_each_file(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    head = sky_header()
    head.update({"A_ORDER": 2, "B_ORDER": 2, "A_2_0": 1e-7, "B_0_2": 1e-7})
    fits_facts(write(tmp_path / "f.fits", planes(), head, BANDS="grz"))
    assert "SIP" not in "".join(capfd.readouterr())


def test_a_wcs_at_0_0_says_the_scale_and_no_position(tmp_path: Path) -> None:
    head = sky_header()
    head["CRVAL1"] = head["CRVAL2"] = 0.0
    path = write(tmp_path / "f.fits", planes(), head, BANDS="grz")
    stamp = read_fits(path)
    assert np.isnan([stamp.ra, stamp.dec]).all() and stamp.pixel_scale == 0.262
    assert any("never filled in" in remark for remark in fits_facts(path).remarks)
    assert read_frame(path).wcs is None
    named = read_fits(path.rename(tmp_path / "cutout_150.1000_2.2000.fits"))
    assert (named.ra, named.dec) == (150.1, 2.2)
    head.update({"CTYPE1": "RA---CAR", "CTYPE2": "DEC--CAR", "CRPIX1": 1e5, "CRPIX2": 1e5})  # a map of the whole sky
    assert read_fits(write(tmp_path / "map.fits", planes(), head, BANDS="grz")).ra == pytest.approx(7.28, abs=0.1)
