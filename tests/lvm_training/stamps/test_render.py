"""The one rendering: where a source lands, what the stretch gives, and how pictures map to stamps and to the sky."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from lvm_training.errors import RenderingError
from lvm_training.stamps.render import MAX_PADDING, Frame, frame, render, render_set, stretch
from lvm_training.stamps.rendering import Rendering
from lvm_training.stamps.stampset import Origin, StampSet, StampWriter

FRAMES = st.builds(
    frame,
    st.tuples(st.integers(20, 300), st.integers(20, 300)),
    st.builds(Rendering, size=st.integers(8, 512), field=st.floats(5, 60)),
    pixel_scale=st.sampled_from([0.262, 0.396, 1.0, math.nan]),
    origin=st.sampled_from(["lower", "upper"]),
)


def source_at(row: int, column: int, size: int = 100) -> NDArray[np.float32]:
    """A stamp with one bright 3 x 3 source around a stored row and column."""
    stamp = np.zeros((1, 3, size, size), np.float32)
    stamp[:, :, row - 1 : row + 2, column - 1 : column + 2] = 1
    return stamp


def brightest(picture: torch.Tensor) -> tuple[int, int]:
    """Row and column of the brightest pixel of a picture (3, S, S)."""
    row, column = divmod(int(picture.sum(0).argmax()), picture.shape[-1])
    return row, column


@pytest.mark.parametrize(("origin", "row"), [("lower", 80), ("upper", 19)])
def test_a_source_in_the_north_east_lands_in_the_upper_left(origin: Origin, row: int) -> None:
    rendering = Rendering(size=64, field=26.2)
    picture = render(source_at(row, 15), rendering, kind="nanomaggies", origin=origin)[0]
    found_row, found_column = brightest(picture)
    assert (found_row, found_column) == (round(19.5 * 0.64 - 0.5), round(15.5 * 0.64 - 0.5))


@pytest.mark.parametrize("origin", ["lower", "upper"])
@pytest.mark.parametrize("pixel_scale", [0.262, 0.131, 0.524])
def test_the_frame_points_at_the_stored_pixel_of_what_the_picture_shows(origin: Origin, pixel_scale: float) -> None:
    rendering = Rendering(size=96)
    stored_row, stored_column = 47, 60
    rows, columns = np.mgrid[:100, :100]
    galaxy = np.exp(-((rows - stored_row) ** 2 + (columns - stored_column) ** 2) / 18).astype(np.float32)
    picture = render(
        np.broadcast_to(galaxy, (1, 3, 100, 100)),
        rendering,
        kind="nanomaggies",
        pixel_scale=pixel_scale,
        origin=origin,
    )[0]
    cut = frame((100, 100), rendering, pixel_scale=pixel_scale, origin=origin)
    light = picture.sum(0).double().clamp(min=0) - float(picture.sum(0).min())
    grid = torch.arange(96, dtype=torch.float64) + 0.5
    x, y = float((light.sum(0) * grid).sum() / light.sum()), float((light.sum(1) * grid).sum() / light.sum())
    column, row = cut.to_stamp(x, y)
    assert (column, row) == (pytest.approx(stored_column + 0.5, abs=0.15), pytest.approx(stored_row + 0.5, abs=0.15))


@given(cut=FRAMES, x=st.floats(-50, 600), y=st.floats(-50, 600))
def test_from_stamp_undoes_to_stamp(cut: Frame, x: float, y: float) -> None:
    back = cut.from_stamp(*cut.to_stamp(x, y))
    assert back == (pytest.approx(x, abs=1e-6), pytest.approx(y, abs=1e-6))


@given(cut=FRAMES)
def test_the_picture_is_the_centre_of_the_stamp(cut: Frame) -> None:
    _, row = cut.to_stamp(cut.size / 2, cut.size / 2)
    assert row == pytest.approx(cut.height / 2, abs=0.51)
    (left, top), (right, bottom) = cut.to_stamp(0, 0), cut.to_stamp(cut.size, cut.size)
    assert right - left == pytest.approx(cut.crop)
    assert abs(bottom - top) == pytest.approx(cut.crop)


def sky_separations(shape: tuple[int, int], wcs: WCS, cut: Frame, ra: float, dec: float) -> list[float]:
    """Arcsec between `Frame.to_sky` and the file's own WCS at the corners and inside of a picture."""
    points = [(0.0, 0.0), (64.0, 0.0), (0.0, 64.0), (17.25, 41.5), (32.0, 32.0)]
    found = []
    for x, y in points:
        column, row = cut.to_stamp(x, y)
        expected = wcs.celestial.pixel_to_world(column - 0.5, row - 0.5)
        sky = cut.to_sky(x, y, ra=ra, dec=dec, width=shape[1], pixel_scale=0.262)
        found.append(float(sky.separation(expected.icrs).arcsec))
    return found


def test_positions_on_real_cutouts_agree_with_their_wcs(real_data: Path) -> None:
    files = sorted((real_data / "desi-dr9-fits").glob("*.fits"))
    assert files
    for path in files:
        ra, dec = map(float, path.stem.split("_")[1:])
        with fits.open(path) as hdus:
            shape = hdus[0].shape[1:]
            wcs = WCS(hdus[0].header, naxis=2)
            cut = frame(shape, Rendering(), pixel_scale=0.262, origin="lower")
            assert max(sky_separations(shape, wcs, cut, ra, dec)) < 1e-4


@pytest.mark.parametrize(("ra", "dec"), [(0.0, 0.0), (359.999, 32.1), (120.0, -78.5)])
@pytest.mark.parametrize("shape", [(256, 256), (255, 200)])
@pytest.mark.parametrize("origin", ["lower", "upper"])
def test_positions_on_simulated_cutouts_agree_with_their_wcs(
    ra: float, dec: float, shape: tuple[int, int], origin: Origin
) -> None:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [ra, dec]
    wcs.wcs.crpix = [(shape[1] + 1) / 2, (shape[0] + 1) / 2]
    wcs.wcs.cd = np.diag([-0.262, 0.262 if origin == "lower" else -0.262]) / 3600
    cut = frame(shape, Rendering(), pixel_scale=0.262, origin=origin)
    assert max(sky_separations(shape, wcs, cut, ra, dec)) < 1e-4


def test_left_is_east_and_up_is_north_on_the_sky() -> None:
    for origin in ("lower", "upper"):
        cut = frame((256, 256), Rendering(), pixel_scale=0.262, origin=origin)
        where = {"ra": 10.0, "dec": 5.0, "width": 256, "pixel_scale": 0.262}
        left, up, middle = cut.to_sky(0, 32, **where), cut.to_sky(32, 0, **where), cut.to_sky(32, 32, **where)
        assert left.ra > middle.ra
        assert up.dec > middle.dec
        assert float(left.separation(middle).arcsec) == pytest.approx(95 * 0.262 / 2, abs=0.2)


def naive_stretch(bands: NDArray[np.float64], rendering: Rendering) -> NDArray[np.float64]:
    """The Legacy Surveys viewer's stretch, pixel by pixel."""
    _, height, width = bands.shape
    rgb = np.zeros((3, height, width))
    for row in range(height):
        for column in range(width):
            scaled = [
                max(0.0, bands[band, row, column] * rendering.scales[band] + rendering.black) for band in range(3)
            ]
            intensity = sum(scaled) / 3
            if intensity == 0:
                continue
            factor = math.asinh(rendering.softening * intensity) / math.sqrt(rendering.softening) / intensity
            for colour, band in ((0, 2), (1, 1), (2, 0)):
                rgb[colour, row, column] = min(1.0, max(0.0, scaled[band] * factor))
    return rgb


@given(
    seed=st.integers(0, 999),
    black=st.floats(0, 0.1),
    softening=st.floats(1, 50),
    brightness=st.sampled_from([1e-3, 0.1, 10.0, 1e4]),
)
def test_the_stretch_is_the_viewers(seed: int, black: float, softening: float, brightness: float) -> None:
    rendering = Rendering(black=black, softening=softening)
    bands = np.random.default_rng(seed).normal(scale=brightness, size=(3, 6, 6)).astype(np.float32)
    rgb = stretch(torch.from_numpy(bands)[None], rendering)[0].numpy()
    np.testing.assert_allclose(rgb, naive_stretch(bands.astype(np.float64), rendering), atol=2e-5)


def test_z_is_red_and_g_is_blue() -> None:
    bands = torch.zeros(2, 3, 4, 4)
    bands[0, 2] = 1
    bands[1, 0] = 1
    red, blue = stretch(bands, Rendering())
    assert red[0].min() > red[1].max()
    assert blue[2].min() > blue[1].max()


def test_missing_pixels_are_empty_sky() -> None:
    stamp = source_at(50, 50)
    holes = stamp.copy()
    holes[:, :, 20:30, 20:30] = np.nan
    holes[:, 0, 5, 5] = np.inf
    holes[:, 1, 6, 6] = -np.inf
    pictures = render(np.concatenate([stamp, holes]), Rendering(field=26.2), kind="nanomaggies")
    assert torch.isfinite(pictures).all()
    torch.testing.assert_close(pictures[0], pictures[1])


def test_beyond_the_edge_lies_empty_sky() -> None:
    stamp = np.full((1, 3, 40, 60), 0.5, np.float32)
    rendering = Rendering(size=80, field=80 * 0.262)
    picture = render(stamp, rendering, kind="nanomaggies")[0]
    sky = stretch(torch.zeros(1, 3, 1, 1), rendering)[0]
    inside = stretch(torch.full((1, 3, 1, 1), 0.5), rendering)[0]
    torch.testing.assert_close(picture[:, 20:60, 10:70], inside.expand(3, 40, 60))
    for edge in (picture[:, :20], picture[:, 60:], picture[:, :, :10].flatten(1), picture[:, :, 70:].flatten(1)):
        torch.testing.assert_close(edge.flatten(1), sky[:, 0].expand(3, edge[0].numel()))


def test_one_surface_brightness_has_one_colour_at_any_pixel_scale() -> None:
    per_square_arcsec = np.array([0.5, 1.0, 2.0], np.float32)[None, :, None, None]
    colours = []
    for pixel_scale in (0.131, 0.262, 0.396):
        stamp = np.broadcast_to(per_square_arcsec * pixel_scale**2, (1, 3, 256, 256)).astype(np.float32)
        picture = render(stamp, Rendering(), kind="nanomaggies", pixel_scale=pixel_scale)[0]
        colours.append(picture[:, 32, 32])
    assert 0 < float(colours[0].min()) < float(colours[0].max()) < 1
    torch.testing.assert_close(colours[0], colours[1])
    torch.testing.assert_close(colours[0], colours[2])


def test_nanomaggies_of_unknown_pixel_scale_show_the_whole_stamp() -> None:
    picture = render(source_at(97, 2), Rendering(size=100), kind="nanomaggies", pixel_scale=math.nan)[0]
    assert torch.isfinite(picture).all()
    assert brightest(picture) == (1, 1)


def test_pictures_as_delivered_keep_their_values() -> None:
    stamp = np.random.default_rng(0).integers(0, 256, (2, 3, 32, 32)).astype(np.uint8)
    pictures = render(stamp, Rendering(size=32), kind="as-delivered", pixel_scale=math.nan, origin="upper")
    np.testing.assert_allclose(pictures.numpy(), stamp / 255, atol=1e-6)


def test_of_an_oblong_picture_the_central_square_is_shown() -> None:
    stamp = np.random.default_rng(0).integers(0, 256, (1, 3, 20, 31)).astype(np.uint8)
    picture = render(stamp, Rendering(size=20), kind="as-delivered", pixel_scale=math.nan, origin="upper")
    np.testing.assert_allclose(picture.numpy(), stamp[..., 5:25] / 255, atol=1e-6)


@pytest.mark.parametrize("pixel_scale", [100.0, 25 / 256 / MAX_PADDING / 2, 1e-9])
def test_a_pixel_scale_that_cannot_be_right_is_refused(pixel_scale: float) -> None:
    with pytest.raises(RenderingError, match="pixel_scale"):
        render(np.zeros((1, 3, 256, 256), np.float32), Rendering(), kind="nanomaggies", pixel_scale=pixel_scale)


def test_a_larger_picture_shows_the_same_field() -> None:
    stamp = source_at(70, 30)
    small, large = Rendering(field=26.2), Rendering(field=26.2).sized(480)
    rows_and_columns = np.array(
        [[(p + 0.5) / r.size for p in brightest(render(stamp, r, kind="nanomaggies")[0])] for r in (small, large)]
    )
    np.testing.assert_allclose(rows_and_columns[0], rows_and_columns[1], atol=1 / 64)
    assert small.digest != large.digest
    assert small.digest == Rendering(field=26.2).digest


def test_a_set_is_rendered_with_its_own_attributes(tmp_path: Path) -> None:
    writer = StampWriter(tmp_path / "s.h5", (100, 100), pixel_scale=0.4, origin="upper")
    images = np.concatenate([source_at(30, 30), source_at(70, 40), source_at(50, 50)])
    writer.append(images, {})
    with StampSet(writer.finish()) as stamps:
        pictures = render_set(stamps, np.array([2, 0]), Rendering())
    expected = render(images[[2, 0]], Rendering(), kind="nanomaggies", pixel_scale=0.4, origin="upper")
    assert torch.equal(pictures, expected)
