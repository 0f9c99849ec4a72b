"""FITS images: bands, units, orientation on the sky, and files that are no stamps."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from numpy.typing import NDArray

from lvm_training.errors import StampError
from lvm_training.images.fits import FitsStamp, fits_facts, read_fits
from lvm_training.images.pictures import white_of
from lvm_training.stamps.render import render
from lvm_training.stamps.rendering import Rendering

CENTRE = SkyCoord(150.0, 2.2, unit="deg")
NORTH_UP = np.diag([-1.0, 1.0])


def bands(height: int = 31, width: int = 31) -> NDArray[np.float32]:
    """Noise in three bands."""
    return np.random.default_rng(3).normal(size=(3, height, width)).astype(np.float32)


def header(shape: tuple[int, int], axes: NDArray[np.float64] = NORTH_UP, scale: float = 0.262) -> fits.Header:
    """A tangent WCS whose centre is CENTRE and whose pixel steps point along `axes` (east, north)."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [CENTRE.ra.deg, CENTRE.dec.deg]
    wcs.wcs.crpix = [(shape[1] + 1) / 2, (shape[0] + 1) / 2]
    wcs.wcs.cd = axes * scale / 3600
    head = wcs.to_header()
    head["BANDS"] = "grz"
    return head


def write(path: Path, data: NDArray[Any] | None, head: fits.Header | None = None, **cards: object) -> Path:
    """A FITS file with one image and further cards."""
    hdu = fits.PrimaryHDU(data, head)
    hdu.header.update(cards)
    hdu.writeto(path, overwrite=True)
    return path


def turned(angle: float, *, mirrored: bool = False) -> NDArray[np.float64]:
    """Axes of an image whose y axis points `angle` degrees east of north."""
    cosine, sine = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    axes = np.array([[-cosine, sine], [sine, cosine]])
    return axes @ np.diag([-1.0, 1.0]) if mirrored else axes


def galaxy_image(axes: NDArray[np.float64], shape: tuple[int, int], east: float, north: float) -> NDArray[np.float32]:
    """A Gaussian `east`, `north` pixels from the centre of an image with the given axes."""
    rows, columns = np.mgrid[: shape[0], : shape[1]].astype(float)
    x, y = np.linalg.inv(axes) @ np.array([east, north])
    distance = (columns - (shape[1] - 1) / 2 - x) ** 2 + (rows - (shape[0] - 1) / 2 - y) ** 2
    return np.broadcast_to(np.exp(-distance / 18).astype(np.float32), (3, *shape))


def offset(stamp: FitsStamp) -> tuple[float, float]:
    """Centroid of a north-up stamp, pixels east and north of its centre."""
    light = np.nan_to_num(stamp.pixels[1])
    rows, columns = np.mgrid[: light.shape[0], : light.shape[1]]
    column, row = (light * columns).sum() / light.sum(), (light * rows).sum() / light.sum()
    return (light.shape[1] - 1) / 2 - column, row - (light.shape[0] - 1) / 2


def test_a_legacy_cutout_is_read_as_it_is(tmp_path: Path) -> None:
    path = write(tmp_path / "cutout.fits", bands(), header((31, 31)), BANDS="grz")
    stamp = read_fits(path)
    np.testing.assert_array_equal(stamp.pixels, bands())
    assert stamp.pixels.dtype == np.dtype("=f4")
    assert (stamp.pixel_scale, stamp.bands) == (0.262, "grz")
    assert (stamp.ra, stamp.dec) == (pytest.approx(150.0), pytest.approx(2.2))
    assert (fits_facts(path).shape, fits_facts(path).pixel_scale) == ((31, 31), 0.262)


def test_real_cutouts_are_where_their_names_say(real_data: Path) -> None:
    files = sorted((real_data / "desi-dr9-fits").glob("*.fits"))
    assert len(files) == 12
    for path in files:
        stamp = read_fits(path)
        ra, dec = map(float, path.stem.split("_")[1:])
        assert (stamp.ra, stamp.dec) == (pytest.approx(ra, abs=1e-7), pytest.approx(dec, abs=1e-7))
        assert (stamp.pixels.shape, stamp.pixel_scale, stamp.bands) == ((3, 256, 256), 0.262, "grz")
        np.testing.assert_array_equal(stamp.pixels, fits.getdata(path))


def test_real_single_band_images_stand_as_grey(real_data: Path) -> None:
    path = next((real_data / "hst-cluster-fits").rglob("*.fits"))
    stamp = read_fits(path)
    assert (stamp.pixels.shape, stamp.bands) == ((3, 199, 199), "single")
    assert np.isnan([stamp.pixel_scale, stamp.ra, stamp.dec]).all()
    np.testing.assert_array_equal(stamp.pixels[1], fits.getdata(path))


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("angle", [0, 90, 180, 270, 0.3])
def test_quarter_turns_and_mirrors_are_undone_by_flips(tmp_path: Path, angle: float, mirrored: bool) -> None:
    axes, shape = turned(angle, mirrored=mirrored), (31, 45)
    image = galaxy_image(axes, shape, 6, 4) + bands(*shape) * 1e-3
    path = write(tmp_path / "f.fits", image, header(shape, axes))
    stamp = read_fits(path)
    assert stamp.pixels.shape == (3, *((45, 31) if angle in (90, 270) else shape))
    assert offset(stamp) == (pytest.approx(6, abs=0.3), pytest.approx(4, abs=0.3))
    np.testing.assert_array_equal(np.sort(stamp.pixels, axis=None), np.sort(image, axis=None))
    assert fits_facts(path).shape == stamp.pixels.shape[1:]
    assert fits_facts(path).pixel_scale == pytest.approx(0.262, abs=1e-4)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("angle", [30, 135, 200, -61])
def test_other_angles_are_resampled(tmp_path: Path, angle: float, mirrored: bool) -> None:
    axes, shape = turned(angle, mirrored=mirrored), (61, 61)
    path = write(tmp_path / "f.fits", galaxy_image(axes, shape, 10, 7), header(shape, axes))
    stamp = read_fits(path, (41, 41))
    assert (stamp.pixels.shape, stamp.pixel_scale) == ((3, 41, 41), 0.262)
    assert offset(stamp) == (pytest.approx(10, abs=0.15), pytest.approx(7, abs=0.15))
    assert stamp.pixels[1].max() == pytest.approx(1, abs=0.05)
    whole = read_fits(path)
    assert 0.05 < np.isnan(whole.pixels).mean() < 0.2


def test_galactic_images_are_turned_to_north(tmp_path: Path) -> None:
    axes, shape = NORTH_UP, (61, 61)
    head = header(shape)
    head["CTYPE1"], head["CTYPE2"] = "GLON-TAN", "GLAT-TAN"
    head["CRVAL1"], head["CRVAL2"] = CENTRE.galactic.l.deg, CENTRE.galactic.b.deg
    del head["RADESYS"]
    path = write(tmp_path / "f.fits", galaxy_image(axes, shape, 0, 12), head)
    source = WCS(head).pixel_to_world(30, 42).icrs
    east, north = (float(o.arcsec) / 0.262 for o in CENTRE.spherical_offsets_to(source))
    stamp = read_fits(path, (41, 41))
    assert (stamp.ra, stamp.dec) == (pytest.approx(150.0), pytest.approx(2.2))
    assert offset(stamp) == (pytest.approx(east, abs=0.2), pytest.approx(north, abs=0.2))


@pytest.mark.parametrize(("shape", "cut"), [((31, 31), (20, 20)), ((32, 31), (21, 31)), ((30, 30), (20, 20))])
def test_the_position_is_that_of_the_cropped_centre(
    tmp_path: Path, shape: tuple[int, int], cut: tuple[int, int]
) -> None:
    stamp = read_fits(write(tmp_path / "f.fits", bands(*shape), header(shape)), cut)
    top, left = (shape[0] - cut[0]) // 2, (shape[1] - cut[1]) // 2
    np.testing.assert_array_equal(stamp.pixels, bands(*shape)[:, top : top + cut[0], left : left + cut[1]])
    expected = WCS(header(shape)).pixel_to_world(left + (cut[1] - 1) / 2, top + (cut[0] - 1) / 2)
    assert float(expected.separation(SkyCoord(stamp.ra, stamp.dec, unit="deg")).arcsec) < 1e-5


def test_named_planes_are_chosen(tmp_path: Path) -> None:
    griz = np.random.default_rng(0).normal(size=(4, 9, 9)).astype(np.float32)
    for cards in ({"BANDS": "griz"}, {f"BAND{i}": band for i, band in enumerate("griz")}):
        stamp = read_fits(write(tmp_path / "f.fits", griz, **cards))
        np.testing.assert_array_equal(stamp.pixels, griz[[0, 1, 3]])
        assert stamp.bands == "grz"
    reversed_planes = read_fits(write(tmp_path / "f.fits", griz[:3], BANDS="zrg"))
    np.testing.assert_array_equal(reversed_planes.pixels, griz[[2, 1, 0]])


@pytest.mark.parametrize("card", ["FILTER", "BAND", "EXTNAME"])
def test_three_extensions_are_put_together(tmp_path: Path, card: str) -> None:
    hdus = fits.HDUList([fits.PrimaryHDU()])
    for plane, band in zip(bands()[::-1], "zrg", strict=True):
        hdus.append(fits.ImageHDU(plane, header((31, 31))))
        hdus[-1].header[card] = band
    hdus.writeto(tmp_path / "f.fits")
    stamp = read_fits(tmp_path / "f.fits")
    np.testing.assert_array_equal(stamp.pixels, bands())
    assert (stamp.bands, stamp.pixel_scale) == ("grz", 0.262)


def test_a_gzipped_cutout_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "cutout_1.5_-2.5.fits.gz", bands())
    assert path.read_bytes()[:2] == b"\x1f\x8b"
    stamp = read_fits(path)
    np.testing.assert_array_equal(stamp.pixels, bands())
    assert (stamp.ra, stamp.dec) == (1.5, -2.5)


def test_an_image_behind_an_empty_primary_and_compressed_ones_are_read(tmp_path: Path) -> None:
    counts = np.random.default_rng(0).integers(0, 99, (3, 20, 20)).astype(np.int16)
    for extension in (fits.ImageHDU(counts), fits.CompImageHDU(counts)):
        extension.header["BANDS"] = "grz"
        path = tmp_path / f"{type(extension).__name__}.fits"
        fits.HDUList([fits.PrimaryHDU(), extension]).writeto(path)
        np.testing.assert_array_equal(read_fits(path).pixels, counts)


def test_a_single_plane_carries_its_filter(tmp_path: Path) -> None:
    for data in (bands()[0], bands()[:1], bands()[None, :1]):
        stamp = read_fits(write(tmp_path / "f.fits", data, FILTER="F814W"))
        assert stamp.bands == "f814w"
        np.testing.assert_array_equal(stamp.pixels[1], bands()[0])
        picture = render(stamp.pixels[None], Rendering(), kind="nanomaggies")[0]
        torch.testing.assert_close(picture[0], picture[2])
        torch.testing.assert_close(picture[0], picture[1])


@pytest.mark.parametrize(
    ("unit", "factor"),
    [
        ("nanomaggy", 1),
        ("nmgy", 1),
        ("uJy", 1 / 3.631),
        ("Jy/pix", 1e6 / 3.631),
        ("MJy/sr", 1e12 / 3.631 * (0.262 / 206264.806) ** 2),
    ],
)
def test_flux_densities_become_nanomaggies(tmp_path: Path, unit: str, factor: float) -> None:
    stamp = read_fits(write(tmp_path / "f.fits", bands(), header((31, 31)), BUNIT=unit))
    np.testing.assert_allclose(stamp.pixels, bands() * factor, rtol=1e-5)


@pytest.mark.parametrize("unit", ["electron/s", "adu", "counts", "nonsense?", "deg"])
def test_other_units_are_named(tmp_path: Path, unit: str) -> None:
    with pytest.raises(StampError, match=r"BUNIT .* cannot be converted"):
        read_fits(write(tmp_path / "f.fits", bands(), header((31, 31)), BUNIT=unit))


def test_the_name_tells_the_position_where_the_header_does_not(tmp_path: Path) -> None:
    for name, ra, dec in (("cutout_11.73_-0.37.fits", 11.73, -0.37), ("cutout_3_+1.5.FITS", 3.0, 1.5)):
        stamp = read_fits(write(tmp_path / name, bands()))
        assert (stamp.ra, stamp.dec) == (ra, dec)
    assert np.isnan(read_fits(write(tmp_path / "ngc_4565.fits", bands())).ra)


@pytest.mark.parametrize(
    ("data", "cards", "reason"),
    [
        (None, {}, "no image"),
        (np.zeros(9, "f4"), {}, "no image"),
        (np.ones((5, 9, 9), "f4"), {}, "wrong-shaped"),
        (np.ones((2, 3, 9, 9), "f4"), {}, "wrong-shaped"),
        (np.ones((3, 9, 9), "f4"), {"BANDS": "ugr"}, "wrong bands: ugr"),
    ],
)
def test_files_without_stamps_say_why(
    tmp_path: Path, data: NDArray[np.float32] | None, cards: dict[str, str], reason: str
) -> None:
    path = write(tmp_path / "f.fits", data, **cards)
    for read in (read_fits, fits_facts):
        with pytest.raises(StampError, match=reason):
            read(path)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.99])
def test_a_truncated_file_is_truncated(tmp_path: Path, share: float) -> None:
    path = write(tmp_path / "f.fits", bands(64, 64), header((64, 64)))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with warnings.catch_warnings(), pytest.raises(StampError, match="truncated"):
        warnings.simplefilter("error")
        read_fits(path)


@pytest.mark.parametrize("content", [b"", b"SIMPLE  =", b"not FITS" * 999])
def test_what_is_no_fits_says_so(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "f.fits").write_bytes(content)
    with pytest.raises(StampError, match=r"empty file|unreadable|truncated"):
        read_fits(tmp_path / "f.fits")


def test_a_mosaic_is_refused_by_its_header(tmp_path: Path) -> None:
    path = write(tmp_path / "f.fits", bands())
    path.write_bytes(path.read_bytes().replace(b"NAXIS1  =                   31", b"NAXIS1  =            999999999"))
    with pytest.raises(StampError, match=r"too large|truncated"):
        read_fits(path)


def test_damaged_headers_never_raise_anything_but_a_reason(tmp_path: Path) -> None:
    path = write(tmp_path / "f.fits", bands(9, 9), header((9, 9)), BANDS="grz", BUNIT="nanomaggy")
    content, random = path.read_bytes(), np.random.default_rng(5)
    outcomes = set()
    for _ in range(120):
        damaged = bytearray(content)
        for position in random.integers(0, 2880, 8):
            damaged[position] = random.integers(32, 127)
        path.write_bytes(damaged)
        try:
            outcomes.add(read_fits(path).pixels.dtype.name)
        except StampError:
            outcomes.add("refused")
    assert outcomes == {"float32", "refused"}


def test_values_beyond_float32_count_as_missing(tmp_path: Path) -> None:
    huge = bands().astype(np.float64)
    huge[0, 0, 0] = 1e300
    assert np.isinf(read_fits(write(tmp_path / "f.fits", huge)).pixels[0, 0, 0])


def test_an_image_smaller_than_asked_for_is_wrong_shaped(tmp_path: Path) -> None:
    for axes in (NORTH_UP, turned(30)):
        with pytest.raises(StampError, match="31 x 31 pixels where 40 x 40"):
            read_fits(write(tmp_path / "f.fits", bands(), header((31, 31), axes)), (40, 40))


@pytest.mark.parametrize(
    ("brightest", "white"), [(1.3, 1), (300, 255), (1023, 1023), (1200, 4095), (5000, 16383), (20_000, 65535)]
)
def test_floats_beyond_white_are_of_a_deeper_camera_but_where_they_are_scaled(brightest: float, white: float) -> None:
    assert white_of(brightest, floats=True) == white
