"""Units: every way in which surveys say what a count is worth, to a naive oracle."""

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from lvm_training.errors import StampError
from lvm_training.images.fits import Reading, fits_facts, read_fits
from tests.lvm_training.images.images import planes, sky_header, write

PIXEL = 0.262 / 206264.806  # radian


def zero(magnitude: float) -> float:
    """Nanomaggies of a count at a zero point."""
    return float(10 ** ((22.5 - magnitude) / 2.5))


@pytest.mark.parametrize(
    ("cards", "factor"),
    [
        ({"BUNIT": "nanomaggies"}, 1),
        ({"BUNIT": "NMGY"}, 1),
        ({"BUNIT": "maggies"}, 1e9),
        ({"BUNIT": "Jy"}, 1e6 / 3.631),
        ({"BUNIT": "uJy/pixel"}, 1 / 3.631),
        ({"BUNIT": "microJy"}, 1 / 3.631),
        ({"BUNIT": "nJy"}, 1e-3 / 3.631),
        ({"BUNIT": "MJy/sr"}, 1e12 / 3.631 * PIXEL**2),
        ({"BUNIT": "MJy/sr", "PIXAR_SR": 2e-14}, 1e12 / 3.631 * 2e-14),
        ({"BUNIT": "MJy/sr", "PIXAR_A2": 0.01}, 1e12 / 3.631 * 0.01 / 206264.806**2),
        ({"BUNIT": "MJY/SR"}, 1e12 / 3.631 * PIXEL**2),
        ({"BUNIT": "UJY"}, 1 / 3.631),
        ({"BUNIT": "JY/PIXEL"}, 1e6 / 3.631),
        ({"BUNIT": "1e-9 maggy"}, 1),
        ({"BUNIT": "10**-9 maggies"}, 1),
        ({"BUNIT": "nanomaggies (AB mag=22.5)"}, 1),
        ({"BUNIT": "nJy [AB]"}, 1e-3 / 3.631),
        ({"BUNIT": "Maggies"}, 1e9),
        ({"BUNIT": "NanoMaggies / arcsec2"}, 0.262**2),
        ({"BUNIT": "microJansky"}, 1 / 3.631),
        ({"BUNIT": "10 nanoJanskys"}, 1e-2 / 3.631),
        ({"BUNIT": "MegaJansky/sr"}, 1e12 / 3.631 * PIXEL**2),
        ({"BUNIT": "erg/s/cm2/Hz"}, 1e29 / 3.631),
        ({"BUNIT": "erg/s/cm2/Angstrom", "PHOTPLAM": 8045.0}, 1e29 / 3.631 * 8045.0**2 / 2.99792458e18),
        ({"BUNIT": "adu", "MAGZERO": (25.0, "ZP for 1 sec exposure"), "EXPTIME": 90.0}, zero(25) / 90),
        ({"FLUXMAG0": 63095734448.0194}, zero(27)),
        ({"BUNIT": "adu", "FLUXMAG0": 63095734448.0194}, zero(27)),
        *(({key: 30.0}, zero(30)) for key in ("MAGZERO", "MAGZPT", "MAGZP", "PHOTZP", "ZEROPT", "ZP")),
        ({"MAGZERO": "25.5"}, zero(25.5)),
        ({"BUNIT": "electron/s", "MAGZPT": (25.0, "zero point per second"), "EXPTIME": 90.0}, zero(25)),
        ({"BUNIT": "electron", "MAGZPT": (25.0, "[mag/s] for 1 count/s"), "EXPTIME": 90.0}, zero(25) / 90),
        ({"MAGZPT": (25.0, "mag of 1 adu per sec"), "EXPTIME": 90.0}, zero(25) / 90),
        ({"HIERARCH FPA.ZP": 25.0, "EXPTIME": 40.0}, zero(25) / 40),
        ({"BUNIT": "ELECTRONS/S", "PHOTFLAM": 7.0e-20, "PHOTPLAM": 8045.0, "EXPTIME": 500.0}, None),
        ({"PHOTFLAM": 7.0e-20, "PHOTPLAM": 8045.0}, None),
    ],
)
def test_what_a_header_says_becomes_nanomaggies(tmp_path: Path, cards: dict[str, object], factor: float | None) -> None:
    # AB zero point of a flux per wavelength: -2.5 log f - 5 log l - 2.408
    factor = factor or zero(-2.5 * np.log10(7.0e-20) - 5 * np.log10(8045.0) - 2.408)
    path = write(tmp_path / "f.fits", planes(1)[0], sky_header(), **cards)
    np.testing.assert_allclose(read_fits(path).pixels[1], planes(1)[0] * factor, rtol=2e-3)
    assert fits_facts(path).unit


def test_a_flux_of_counts_in_all_is_divided_by_the_exposure(tmp_path: Path) -> None:
    cards = {"BUNIT": "ELECTRONS", "PHOTFLAM": 7.0e-20, "PHOTPLAM": 8045.0}
    rate = read_fits(write(tmp_path / "f.fits", planes(1)[0], None, **(cards | {"BUNIT": "ELECTRONS/S"}))).pixels
    whole = read_fits(write(tmp_path / "f.fits", planes(1)[0], None, EXPTIME=500.0, **cards)).pixels
    np.testing.assert_allclose(whole, rate / 500, rtol=1e-5)
    with pytest.raises(StampError, match=r"per second, and EXPTIME is missing.*--zero-point"):
        read_fits(write(tmp_path / "f.fits", planes(1)[0], None, **cards))


@pytest.mark.parametrize("cards", [{"BUNIT": "adu"}, {"BUNIT": "ELECTRONS"}, {}])
def test_a_zero_point_that_may_be_per_second_says_what_was_assumed(tmp_path: Path, cards: dict[str, object]) -> None:
    path = write(tmp_path / "f.fits", planes(1)[0], sky_header(), MAGZERO=30.0, EXPTIME=90.0, **cards)
    np.testing.assert_allclose(read_fits(path).pixels[1], planes(1)[0] * zero(30), rtol=1e-4)
    (remark,) = fits_facts(path).remarks
    assert remark == (
        "MAGZERO is taken as the magnitude of one count of the pixels, not of one a second: EXPTIME says nothing of "
        "it; --zero-point goes before it"
    )
    given = Reading(zero_point=25.0)
    np.testing.assert_allclose(read_fits(path, reading=given).pixels[1], planes(1)[0] * zero(25), rtol=1e-4)
    assert fits_facts(path, given).unit == "the zero point 25 that was given" and not fits_facts(path, given).remarks


@pytest.mark.parametrize(
    "cards",
    [
        {"MAGZERO": 30.0},  # no exposure
        {"MAGZERO": 30.0, "EXPTIME": 1.0},
        {"MAGZERO": 30.0, "EXPTIME": 90.0, "BUNIT": "electron/s"},
        {"MAGZERO": (25.0, "ZP for 1 sec exposure"), "EXPTIME": 90.0, "BUNIT": "adu"},
        {"BUNIT": "nanomaggy", "MAGZERO": 30.0, "EXPTIME": 90.0},
    ],
)
def test_a_zero_point_that_is_clear_is_used_whatever_is_given(tmp_path: Path, cards: dict[str, object]) -> None:
    path = write(tmp_path / "f.fits", planes(1)[0], sky_header(), **cards)
    assert fits_facts(path).remarks == () and fits_facts(path, Reading(zero_point=20.0)).unit == fits_facts(path).unit


def test_the_first_header_is_asked_too_and_each_band_has_its_own(tmp_path: Path) -> None:
    hdus = [fits.ImageHDU(plane, name=band) for plane, band in zip(planes(), "grz", strict=True)]
    for hdu, magnitude in zip(hdus, (22.5, 25, 30), strict=True):
        hdu.header["MAGZERO"] = magnitude
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(tmp_path / "bands.fits")
    factors = np.array([1, zero(25), zero(30)])[:, None, None]
    np.testing.assert_allclose(read_fits(tmp_path / "bands.fits").pixels, planes() * factors, rtol=1e-5)
    primary = fits.PrimaryHDU()
    primary.header["FLUXMAG0"] = 1e9
    fits.HDUList([primary, fits.ImageHDU(planes(1)[0] * 5)]).writeto(tmp_path / "one.fits")
    np.testing.assert_array_equal(read_fits(tmp_path / "one.fits").pixels[1], planes(1)[0] * 5)
    assert fits_facts(tmp_path / "one.fits").unit == "FLUXMAG0 1e+09"


def test_one_band_without_its_unit_is_not_mixed_with_known_ones(tmp_path: Path) -> None:
    hdus = [fits.ImageHDU(plane, name=band) for plane, band in zip(planes(4), "ugrz", strict=True)]
    for hdu in hdus[1:3]:  # u, which is not shown, has none either
        hdu.header["BUNIT"] = "nanomaggy"
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(tmp_path / "f.fits")
    for read in (read_fits, fits_facts):
        with pytest.raises(StampError, match=r"bands z do not say their unit.*--zero-point"):
            read(tmp_path / "f.fits")
    assert fits_facts(tmp_path / "f.fits", Reading(zero_point=22.5)).unit.startswith("the zero point")
    hdus[3].header["BUNIT"] = "nanomaggy"
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(tmp_path / "f.fits", overwrite=True)
    assert fits_facts(tmp_path / "f.fits").bands == "grz"


def test_the_legacy_viewers_cutouts_are_known_and_others_are_not(tmp_path: Path) -> None:
    assert "nanomaggies" in fits_facts(write(tmp_path / "f.fits", planes(), SURVEY="DECaLS", BANDS="grz")).unit
    path = write(tmp_path / "f.fits", planes(), BANDS="grz")
    assert fits_facts(path).unit == ""
    np.testing.assert_array_equal(read_fits(path).pixels, planes())
    given = read_fits(path, reading=Reading(zero_point=25.0))
    np.testing.assert_allclose(given.pixels, planes() * zero(25), rtol=1e-5)


@pytest.mark.parametrize("unit", ["adu", "counts", "electron/s", "DN", "nonsense?", "deg", "Jy/beam"])
def test_units_without_a_zero_point_name_the_mend(tmp_path: Path, unit: str) -> None:
    path = write(tmp_path / "f.fits", planes(), BANDS="grz", BUNIT=unit)
    for read in (read_fits, fits_facts):
        with pytest.raises(StampError, match=r"BUNIT .* cannot be converted.*--zero-point"):
            read(path)
    np.testing.assert_allclose(read_fits(path, reading=Reading(zero_point=22.5)).pixels, planes(), rtol=1e-6)


def test_units_per_solid_angle_need_one(tmp_path: Path) -> None:
    path = write(tmp_path / "f.fits", planes(), BANDS="grz", BUNIT="MJy/sr")
    with pytest.raises(StampError, match=r"solid angle.*--pixel-scale"):
        read_fits(path)
    given = read_fits(path, reading=Reading(pixel_scale=0.262))
    np.testing.assert_allclose(given.pixels, planes() * (1e12 / 3.631 * PIXEL**2), rtol=2e-3)


def test_what_is_no_ab_zero_point_is_not_used(tmp_path: Path) -> None:
    vega = write(tmp_path / "f.fits", planes(1)[0], None, MAGZERO=25.0, MAGSYS="Vega")
    with pytest.raises(StampError, match="Vega"):
        read_fits(vega)
    with pytest.raises(StampError, match="Vega"):  # as unWISE writes it
        read_fits(write(tmp_path / "f.fits", planes(1)[0], None, MAGZP=(22.5, "[mag] Vega zero point")))
    assert fits_facts(tmp_path / "f.fits", Reading(zero_point=25.2)).unit == "the zero point 25.2 that was given"
    assert any(
        "--zero-point 0 says" in told
        for told in fits_facts(write(tmp_path / "f.fits", planes(1)[0], None, ZP=0)).remarks
    )
    for odd in (0.0, -21.1, 99.0, "unknown", True):
        assert fits_facts(write(tmp_path / "f.fits", planes(1)[0], None, MAGZERO=odd)).unit == ""
    assert fits_facts(write(tmp_path / "f.fits", planes(1)[0], None, PHOTZPT=-21.1)).unit == ""
    assert fits_facts(write(tmp_path / "f.fits", planes(1)[0], None, FLUXMAG0=0.0)).unit == ""


@pytest.mark.parametrize(
    ("system", "key", "comment", "ab"),
    [
        ("", "ABMAGZP", "AB = Vega + 0.62", True),
        ("AB", "MAGZERO", "AB zero point (not Vega)", True),
        ("AB", "MAGZERO", "Vega + 0.62", True),
        ("", "MAGZERO", "AB zero point (not Vega)", True),
        ("", "MAGZERO", "Vega zero point; add 0.62 for AB", False),
        ("Vega", "MAGZERO", "zero point, AB - 0.62", False),
        ("", "MAGZERO", "about that of Vega", False),
    ],
)
def test_the_system_is_the_one_said_first_by_card_key_and_comment(
    tmp_path: Path, system: str, key: str, comment: str, ab: bool
) -> None:
    cards = {key: (25.0, comment)} | ({"MAGSYS": system} if system else {})
    path = write(tmp_path / "f.fits", planes(1)[0], None, **cards)
    if ab:
        assert fits_facts(path).unit == f"{key} 25"
    else:
        with pytest.raises(StampError, match="Vega"):
            fits_facts(path)


def test_blank_and_scaled_integers(tmp_path: Path) -> None:
    for dtype, blank in ((np.int16, -32768), (np.uint16, -1)):
        data = np.array([[1, 2], [3, 4]], dtype)
        data[1, 1] = blank if dtype == np.int16 else 32767
        path = write(tmp_path / "f.fits", data, None, BLANK=blank, BUNIT="nanomaggy")
        np.testing.assert_array_equal(read_fits(path).pixels[1], [[1, 2], [3, np.nan]])


def test_asinh_magnitudes_of_pan_starrs_become_linear(tmp_path: Path) -> None:
    flux = planes(1)[0].astype(np.float64)
    stored = np.arcsinh((flux - 0.1) / (2 * 3.0)) * 2.5 / np.log(10)
    path = write(tmp_path / "f.fits", stored, None, BSOFTEN=3.0, BOFFSET=0.1, MAGZERO=22.5)
    np.testing.assert_allclose(read_fits(path).pixels[1], flux, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "cards",
    [
        {"MAGZERO1": 30.0, "MAGZERO2": 27.5, "MAGZERO3": 25.0},
        {"MAGZERO0": 30.0, "MAGZERO1": 27.5, "MAGZERO2": 25.0},
        {"MAGZPG": 30.0, "MAGZPR": 27.5, "MAGZPZ": 25.0, "MAGZP": 22.5},
        {"HIERARCH MAGZERO_G": 30.0, "HIERARCH MAGZERO_R": 27.5, "HIERARCH MAGZERO_Z": 25.0},
        {"MAGZERO": "30.0, 27.5, 25.0"},
        {"ZP": "[30.0 27.5 25.0]"},
    ],
)
def test_planes_of_a_cube_have_zero_points_of_their_own(tmp_path: Path, cards: dict[str, object]) -> None:
    path = write(tmp_path / "f.fits", planes(3), sky_header(), BANDS="grz", **cards)
    factors = np.array([zero(30), zero(27.5), zero(25)])[:, None, None]
    np.testing.assert_allclose(read_fits(path).pixels, planes(3) * factors, rtol=1e-4)


@pytest.mark.parametrize(
    "cards", [{"MAGZERO1": 30.0, "MAGZERO2": 27.5}, {"MAGZPG": 30.0, "MAGZPI": 27.5}, {"MAGZERO": "30 27.5"}]
)
def test_zero_points_of_some_planes_are_of_none(tmp_path: Path, cards: dict[str, object]) -> None:
    path = write(tmp_path / "f.fits", planes(3), sky_header(), BANDS="grz", **cards)
    assert fits_facts(path).unit == ""


@pytest.mark.parametrize(
    "unit",
    [
        "mag",
        "ABmag",
        "mag/arcsec2",
        "AB magnitudes",
        "log10(erg/s)",
        "dex(Jy)",
        "mag (AB)",
        "[AB mag]",
        "surface brightness (AB mag/arcsec^2)",
    ],
)
def test_magnitudes_are_no_fluxes_whatever_zero_point_is_given(tmp_path: Path, unit: str) -> None:
    path = write(tmp_path / "f.fits", planes(), BANDS="grz", BUNIT=unit)
    with pytest.raises(StampError, match="is magnitudes or a logarithm; write fluxes"):
        read_fits(path, reading=Reading(zero_point=22.5))


@pytest.mark.parametrize(
    "card", [{"ORIGIN": "2MASS"}, {"TELESCOP": "WISE"}, {"SURVEY": "WISE 3.4"}, {"INSTRUME": "WFCAM"}]
)
def test_zero_points_of_surveys_in_vega_magnitudes_are_vega_s(tmp_path: Path, card: dict[str, str]) -> None:
    path = write(tmp_path / "f.fits", planes(1)[0], None, MAGZP=(20.9, "[mag] zero point"), **card)
    with pytest.raises(StampError, match="MAGZP is a Vega magnitude"):
        fits_facts(path)
    assert fits_facts(path, Reading(zero_point=21.8)).unit == "the zero point 21.8 that was given"
    path = write(tmp_path / "f.fits", planes(1)[0], None, MAGZP=(20.9, "[mag] zero point"), MAGSYS="AB", **card)
    assert fits_facts(path).unit == "MAGZP 20.9"


def test_nanomaggies_of_wise_in_the_legacy_viewer_are_vega_s(tmp_path: Path) -> None:
    path = write(tmp_path / "f.fits", planes(1)[0], sky_header(), SURVEY="unWISE NEO7", BANDS="1")
    with pytest.raises(StampError, match=r"Vega nanomaggies.*--zero-point 25\.2 of W1"):
        fits_facts(path)
    np.testing.assert_allclose(
        read_fits(path, reading=Reading(zero_point=25.2)).pixels[1], planes(1)[0] * zero(25.2), rtol=1e-6
    )


@pytest.mark.parametrize("name", ["Wise Observatory", "WISE 1m", "Wise 40-inch"])
def test_the_observatory_called_wise_is_not_the_satellite(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "f.fits", planes(1)[0], None, MAGZERO=25.0, TELESCOP=name)
    assert fits_facts(path).unit == "MAGZERO 25"


@pytest.mark.parametrize(
    "cards",
    [
        {"BUNIT": "nanomaggy", "MAGZP": (22.5, "[mag] Magnitude zeropoint (in Vega mag)"), "BAND": 1},
        {"BUNIT": "Vega nanomaggies", "BAND": "W1"},
        {"BUNIT": "nanomaggies (Vega)"},
        {"BUNIT": "NMGY", "TELESCOP": "WISE"},
        {"BUNIT": "nanomaggy", "MAGSYS": "VEGA"},
    ],
)
def test_nanomaggies_of_unwise_are_vega_s(tmp_path: Path, cards: dict[str, object]) -> None:
    path = write(tmp_path / "f.fits", planes(1)[0], sky_header(), **cards)
    with pytest.raises(StampError, match=r"Vega nanomaggies.*--zero-point 25\.2 of W1"):
        fits_facts(path)
    given = read_fits(path, reading=Reading(zero_point=25.2)).pixels[1]
    np.testing.assert_allclose(given, planes(1)[0] * zero(25.2), rtol=1e-6)


@pytest.mark.parametrize(
    "cards",
    [
        {"BUNIT": "nanomaggy", "SURVEY": "WISE", "MAGSYS": "AB"},
        {"BUNIT": "nanomaggies (AB mag=22.5)", "TELESCOP": "WISE"},
        {"BUNIT": "nanomaggy", "MAGZP": (22.5, "AB zero point")},
        {"BUNIT": "nanomaggy", "TELESCOP": "VISTA", "INSTRUME": "VIRCAM", "MAGZERO": 22.5},
        {"BUNIT": "nanomaggies", "SURVEY": "2MASS"},
    ],
)
def test_nanomaggies_said_to_be_ab_or_of_other_surveys_are(tmp_path: Path, cards: dict[str, object]) -> None:
    path = write(tmp_path / "f.fits", planes(1)[0], sky_header(), **cards)
    np.testing.assert_array_equal(read_fits(path).pixels[1], planes(1)[0])


@pytest.mark.parametrize("unit", ["", "ADU"])
def test_counts_of_unwise_are_refused_with_their_own_zero_points(tmp_path: Path, unit: str) -> None:
    # the Legacy Surveys' bricks of W1 to W4 say no unit
    cards = {"MAGZERO": 22.5, "MAGSYS": "Vega", "TELESCOP": "WISE"} | ({"BUNIT": unit} if unit else {})
    with pytest.raises(StampError, match=r"Vega magnitude.*--zero-point 25\.2 of W1"):
        fits_facts(write(tmp_path / "f.fits", planes(1)[0], sky_header(), **cards))


@pytest.mark.parametrize("unit", ["", "ADU"])
def test_pixels_of_kids_are_maggies(tmp_path: Path, unit: str) -> None:
    cards = {"PHOTZP": (0.0, "[mag] MAG=-2.5*log(data)+PHOTZP")} | ({"BUNIT": unit} if unit else {})
    path = write(tmp_path / "f.fits", planes(1)[0] * 1e-9, sky_header(), INSTRUME="OMEGACAM", **cards)
    np.testing.assert_allclose(read_fits(path).pixels[1], planes(1)[0], rtol=1e-5)
    assert fits_facts(path).unit == "PHOTZP 0: maggies, as of KiDS"
    path = write(tmp_path / "f.fits", planes(1)[0], sky_header(), **cards)
    if unit:
        with pytest.raises(StampError, match=r"PHOTZP is 0, which only maggies have \(--zero-point 0\)"):
            fits_facts(path)
    else:
        assert "PHOTZP 0 is not taken for a zero point" in fits_facts(path).remarks[0]


@pytest.mark.parametrize(
    ("cards", "factor"),
    [
        ({"BUNIT": "adu", "MAGZERO": "25.0 mag"}, zero(25)),
        ({"MAGZERO": "25.0 AB mag", "TELESCOP": "WISE"}, zero(25)),
        ({"BUNIT": "adu", "MAGZERO": "25.0 mag/s", "EXPTIME": "90.0 s"}, zero(25) / 90),
    ],
)
def test_a_zero_point_may_be_a_text_with_its_unit(tmp_path: Path, cards: dict[str, object], factor: float) -> None:
    path = write(tmp_path / "f.fits", planes(1)[0], sky_header(), **cards)
    np.testing.assert_allclose(read_fits(path).pixels[1], planes(1)[0] * factor, rtol=1e-5)
    with pytest.raises(StampError, match="Vega"):
        fits_facts(write(tmp_path / "f.fits", planes(1)[0], None, MAGZERO="25.0 mag (Vega)"))
