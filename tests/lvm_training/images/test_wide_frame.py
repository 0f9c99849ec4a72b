"""Wide frames: stored pixels, turned by flips alone, and what lies behind each of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from numpy.typing import NDArray

from lvm_training.errors import StampError
from lvm_training.images.fits import read_fits, read_frame
from lvm_training.images.pictures import MAX_FRAME_PIXELS, refuse_large
from lvm_training.images.wide_frame import WideFrame, nearest_turn, north_up

SHAPE = (31, 45)
SCALE = 0.262


def axes(angle: float, *, mirrored: bool) -> NDArray[np.float64]:
    """Where x and y point, (east, north), when y lies `angle` degrees east of north."""
    cosine, sine = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    turned = np.array([[-cosine, sine], [sine, cosine]])
    return turned @ np.diag([-1.0, 1.0]) if mirrored else turned


def wcs(shape: tuple[int, int], angle: float = 0, *, mirrored: bool = False) -> WCS:
    sky = WCS(naxis=2)
    sky.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    sky.wcs.crval, sky.wcs.crpix = [150, 40], [(shape[1] + 1) / 2, (shape[0] + 1) / 2]
    sky.wcs.cd = axes(angle, mirrored=mirrored) * SCALE / 3600
    return sky


def write(path: Path, data: NDArray[Any], header: fits.Header | None = None, **cards: object) -> Path:
    hdu = fits.PrimaryHDU(data, header)
    hdu.header.update(cards)
    hdu.writeto(path, overwrite=True)
    return path


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("angle", [0, 0.3, 20, 44, 46, 90, 134, 180, 250, 270, 359])
def test_north_is_up_within_45_degrees_and_each_pixel_is_its_own(tmp_path: Path, angle: float, mirrored: bool) -> None:
    stored = np.random.default_rng(0).normal(size=(3, *SHAPE)).astype(np.float32)
    sky = wcs(SHAPE, angle, mirrored=mirrored)
    frame = read_frame(write(tmp_path / "f.fits", stored, sky.to_header()))
    height, width = frame.pixels.shape[1:]
    rows, columns = np.indices((height, width)).reshape(2, -1)
    points = np.stack([columns, rows], axis=1) + 0.5
    x, y = np.floor(frame.to_file(points)).astype(int).T
    np.testing.assert_array_equal(frame.pixels[:, rows, columns], stored[:, y, x])
    assert len(set(zip(x, y, strict=True))) == stored[0].size

    ra, dec = frame.to_sky(np.array([[width / 2, height / 2], [width / 2, height], [0, height / 2]])).T
    assert (ra[0], dec[0]) == (pytest.approx(150), pytest.approx(40))
    up, east = np.array([ra[1] - ra[0], dec[1] - dec[0]]), np.array([ra[2] - ra[0], dec[2] - dec[0]])
    assert up[1] > abs(up[0] * np.cos(np.radians(40))) and east[0] * np.cos(np.radians(40)) > abs(east[1])


def test_the_nearest_turn_of_a_turn_is_itself_and_flips_are_views() -> None:
    for mirrored in (False, True):
        for angle in (0, 90, 180, 270):
            exact = axes(angle, mirrored=mirrored)
            np.testing.assert_array_equal(nearest_turn(exact), exact.round())
            np.testing.assert_array_equal(nearest_turn(exact + 0.4 * np.array([[1, -1], [1, 1]])), exact.round())
    pixels = np.zeros((3, *SHAPE), np.float32)
    assert np.shares_memory(north_up(pixels, nearest_turn(axes(90, mirrored=True))), pixels)


def test_a_frame_without_a_wcs_has_pixels_and_no_sky(tmp_path: Path) -> None:
    stored = np.random.default_rng(0).normal(size=(3, *SHAPE)).astype(np.float32)
    frame = read_frame(write(tmp_path / "cutout_150.1_2.2.fits", stored))
    np.testing.assert_array_equal(frame.pixels, stored)
    assert np.isnan(frame.pixel_scale) and np.isnan(frame.to_sky(np.ones((2, 2)))).all()
    np.testing.assert_array_equal(frame.to_file(np.array([[3.0, 4.5]])), [[3.0, 4.5]])
    assert frame.to_sky(np.zeros((0, 2))).shape == (0, 2)


def written_layouts(folder: Path) -> list[Path]:
    """One image of more rows than are read at a time, in every layout that stamps may have."""
    data = np.random.default_rng(1).integers(0, 999, (3, 1100, 9)).astype(np.int16)
    head = wcs(data.shape[1:]).to_header()
    head["BANDS"] = "grz"
    names = [
        folder / name for name in ("cube.fits", "deep.fits", "bands.fits", "one.fits", "small.fits.gz", "rice.fits")
    ]
    write(names[0], data[::-1], head.copy(), BANDS="zrg")
    write(names[1], data[:, None], head, BANDS="grz", BUNIT="uJy")
    hdus = [fits.ImageHDU(plane, head, name=band) for plane, band in zip(data, "grz", strict=True)]
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(names[2])
    write(names[3], data[0], head, BUNIT="MJy/sr", FILTER="F814W")
    write(names[4], data.astype(np.float32), head, BZERO=0)
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(data, head)]).writeto(names[5])
    return names


def test_frames_hold_the_pixels_that_stamps_hold(tmp_path: Path) -> None:
    for path in written_layouts(tmp_path):
        stamp, frame = read_fits(path), read_frame(path)
        np.testing.assert_array_equal(frame.pixels, stamp.pixels, err_msg=path.name)
        assert (frame.pixel_scale, frame.bands) == (stamp.pixel_scale, stamp.bands)


def test_a_truncated_frame_and_one_beyond_the_limit_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "f.fits", np.ones((3, 64, 64), np.float32), wcs((64, 64)).to_header())
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(StampError, match="truncated"):
        read_frame(path)
    path.write_bytes(b"")
    with pytest.raises(StampError, match="empty file"):
        read_frame(path)
    # a sparse file: zeros that no disk holds
    side = int(MAX_FRAME_PIXELS**0.5) + 1
    head = fits.Header([("SIMPLE", True), ("BITPIX", 8), ("NAXIS", 2), ("NAXIS1", side), ("NAXIS2", side)]).tostring()
    with path.open("wb") as stream:
        stream.write(head.encode())
        stream.truncate(len(head) + -(-side * side // 2880) * 2880)
    with pytest.raises(StampError, match="too large for 268,435,456 pixels: 16385 x 16385"):
        read_frame(path)


def test_a_frame_may_be_larger_than_a_stamp() -> None:
    refuse_large(10_000, 10_000, MAX_FRAME_PIXELS)
    with pytest.raises(StampError, match="too large for a stamp: 10000 x 10000"):
        refuse_large(10_000, 10_000)


def test_positions_of_a_large_frame_are_those_of_its_wcs() -> None:
    """Corners of 4,000 pixels, .009 rad off the axes, in a mosaic cut an hour of arc from its reference point."""
    sky = wcs((4000, 4000), np.degrees(0.009))
    sky.wcs.crpix = [-12000, 2000]
    pixels = np.broadcast_to(np.float32(0), (3, 4000, 4000))
    frame = WideFrame(pixels, SCALE, "grz", nearest_turn(axes(0, mirrored=False)), sky)
    corners = np.array([[0.5, 0.5], [3999.5, 0.5], [0.5, 3999.5], [3999.5, 3999.5]])
    np.testing.assert_allclose(frame.to_sky(corners), sky.wcs_pix2world(corners - 0.5, 0), atol=1e-9)
