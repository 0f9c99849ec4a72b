"""A box in the user's own file: through that file's WCS, whichever way it lies, and through cuts of pictures."""

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from PIL import Image

from backend_ml.catalogue.tables.boxes import EDGES, GEOMETRY, Ground
from backend_ml.label_studio.labelling import DISPLAY_SIZE
from lvm_training.images.fitting import Fit
from lvm_training.importing.importer import import_stamps
from lvm_training.stamps.rendering import Rendering
from lvm_training.stamps.stampset import StampSet

SCALE, STAMP = 0.262, 40
RENDERING = Rendering(size=32, field=STAMP * SCALE)


def star(height: int, width: int, row: int, column: int) -> np.ndarray:
    """An image with one bright pixel."""
    pixels = np.random.default_rng(0).normal(scale=0.01, size=(3, height, width)).astype(np.float32)
    pixels[:, row, column] = 50
    return pixels


def around(stamps: StampSet, row: int) -> tuple[float, float, float, float]:
    """The box on the picture that people see around the brightest pixel of a stored stamp."""
    pixels = stamps.pixels([row])[0].sum(axis=0)
    y, x = np.unravel_index(np.nanargmax(pixels), pixels.shape)
    top = STAMP - y - 1 if stamps.origin == "lower" else y
    unit = DISPLAY_SIZE / STAMP
    return float(x * unit), float(top * unit), float((x + 1) * unit), float((top + 1) * unit)


@pytest.mark.parametrize(("height", "width", "fit"), [(50, 60, "crop"), (35, 38, "pad"), (36, 45, "pad")])
@pytest.mark.parametrize("turn", ["north up", "south up", "mirrored", "quarter"])
def test_a_bright_pixel_is_found_in_its_fits_file(tmp_path: Path, turn: str, height: int, width: int, fit: Fit) -> None:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], [150.0, 2.0], [30.5, 25.5]
    step = SCALE / 3600
    wcs.wcs.cd = {
        "north up": [[-step, 0], [0, step]],
        "south up": [[-step, 0], [0, -step]],
        "mirrored": [[step, 0], [0, step]],
        "quarter": [[0, step], [step, 0]],
    }[turn]
    row, column = 21, 27
    folder = tmp_path / "field"
    folder.mkdir()
    fits.PrimaryHDU(star(height, width, row, column), wcs.to_header()).writeto(folder / "a.fits")
    out = import_stamps(folder, tmp_path / "set.h5", size=STAMP, fit=fit).out
    with StampSet(out) as stamps:
        position = float(stamps.column("ra")[0]), float(stamps.column("dec")[0])
        told = Ground(RENDERING, stamps).described(around(stamps, 0), -1, "a.fits", position)
    found = [told[f"file_{name}"] for name in EDGES]
    np.testing.assert_allclose(found, [column, row, column + 1, row + 1], atol=0.02)
    centre = wcs.pixel_to_world(column, row)
    assert abs(told["ra"] - centre.ra.deg) * 3600 < 0.01 and abs(told["dec"] - centre.dec.deg) * 3600 < 0.01
    assert set(told) == {column.name for column in GEOMETRY}


@pytest.mark.parametrize(("fit", "near"), [("crop", 0.01), ("shrink", 1.0)])
def test_a_bright_pixel_is_found_in_its_picture(tmp_path: Path, fit: str, near: float) -> None:
    folder = tmp_path / "field"
    folder.mkdir()
    pixels = np.zeros((50, 60, 3), dtype=np.uint8)
    pixels[21:23, 37:39] = 250
    Image.fromarray(pixels).save(folder / "a.png")
    out = import_stamps(folder, tmp_path / "set.h5", size=STAMP, fit=fit).out
    with StampSet(out) as stamps:
        told = Ground(Rendering(size=32), stamps).described(around(stamps, 0), -1, "a.png", (np.nan, np.nan))
    if fit == "crop":
        assert [told[f"file_{name}"] for name in EDGES] == pytest.approx([37, 21, 38, 22], abs=near)
    else:
        assert (told["file_x0"], told["file_y0"]) == pytest.approx((37.5, 21.5), abs=near)
    assert np.isnan([told["ra"], told["width"], told["mask_area"]]).all()


@pytest.mark.parametrize(("height", "width"), [(35, 31), (40, 33), (36, 39)])
def test_a_bright_pixel_is_found_in_a_picture_with_sky_around_it(tmp_path: Path, height: int, width: int) -> None:
    folder = tmp_path / "field"
    folder.mkdir()
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    pixels[21, 27] = 250
    pixels[0, 0] = 9
    Image.fromarray(pixels).save(folder / "a.png")
    out = import_stamps(folder, tmp_path / "set.h5", size=STAMP, fit="pad").out
    with StampSet(out) as stamps:
        told = Ground(Rendering(size=32), stamps).described(around(stamps, 0), -1, "a.png", (np.nan, np.nan))
    assert [told[f"file_{name}"] for name in EDGES] == pytest.approx([27, 21, 28, 22], abs=0.01)


def test_files_that_are_gone_or_odd(tmp_path: Path) -> None:
    folder = tmp_path / "field"
    folder.mkdir()
    fits.PrimaryHDU(star(STAMP, STAMP, 5, 5)).writeto(folder / "a.fits")
    out = import_stamps(folder, tmp_path / "set.h5").out
    with StampSet(out) as stamps:
        ground = Ground(Rendering(size=32), stamps)
        for file in ("a.fits", "gone.fits", "", "b.png"):
            told = ground.described((0, 0, 9, 9), 4, file, (np.nan, np.nan))
            assert np.isnan([told[f"file_{name}"] for name in EDGES]).all()
        (folder / "b.png").write_bytes(b"no picture")
        assert np.isnan(ground.described((0, 0, 9, 9), 4, "b.png", (1.0, 1.0))["file_x0"])
