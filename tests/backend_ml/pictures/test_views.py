"""Looks at a stamp against the formulas, pixel by pixel."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from backend_ml.pictures.views import BANDS, VIEWS, View, stamp_view
from lvm_training.errors import StampError
from lvm_training.stamps.rendering import Rendering
from lvm_training.stamps.stampset import StampSet, StampWriter

SIDE = 32


def stamps_of(folder: Path, *, delivered: bool) -> StampSet:
    """One stamp whose three planes differ, without a scale, so that nothing is drawn over its picture."""
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2 + 0.5
    light = np.exp(-(x**2 + y**2) / 60)[None] * np.array([0.4, 0.7, 1.0])[:, None, None]
    pixels = (light * 200).astype(np.uint8) if delivered else (light * 0.3).astype(np.float32)
    kind = "as-delivered" if delivered else "nanomaggies"
    writer = StampWriter(folder / "one.h5", (SIDE, SIDE), rendering=kind, pixel_scale=float("nan"))
    writer.append(pixels[None], {})
    return StampSet(writer.finish())


def seen(stamps: StampSet, view: View) -> np.ndarray:
    """A look as numbers from 0 to 1, red, green and blue."""
    png = stamp_view(stamps, 0, Rendering(size=SIDE), view, size=SIDE)
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return image[..., ::-1].transpose(2, 0, 1) / 255.0


def test_a_picture_s_looks_are_its_colours_and_multiples_of_its_light(tmp_path: Path) -> None:
    with stamps_of(tmp_path, delivered=True) as stamps:
        rgb = seen(stamps, "rgb")
        for band, colour in zip(BANDS, (2, 1, 0), strict=True):
            np.testing.assert_allclose(seen(stamps, band), rgb[[colour] * 3], atol=2.5 / 255)
        np.testing.assert_allclose(seen(stamps, "bright"), rgb**2.5, atol=3 / 255)
        sky = np.quantile(rgb.reshape(3, -1), 0.2, axis=1)[:, None, None]
        over = np.clip((rgb - sky) / (1 - sky), 0, None)
        np.testing.assert_allclose(seen(stamps, "faint"), np.arcsinh(12 * over) / np.arcsinh(12), atol=12 / 255)


def test_the_faint_look_of_a_picture_keeps_its_sky_dark_and_its_core_unsaturated(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2 + 0.5
    light = 25 + 200 * np.exp(-(x**2 + y**2) / 12) + 12 * np.exp(-(x**2 + y**2) / 90) + rng.normal(0, 2, (SIDE, SIDE))
    writer = StampWriter(tmp_path / "jpeg.h5", (SIDE, SIDE), rendering="as-delivered", pixel_scale=float("nan"))
    writer.append(np.clip(light, 0, 255).astype(np.uint8)[None, None].repeat(3, axis=1), {})
    with StampSet(writer.finish()) as stamps:
        plain, faint = seen(stamps, "rgb")[0], seen(stamps, "faint")[0]
    halo, corner = np.hypot(x, y) < 9, np.hypot(x, y) > 18
    ring = halo & (np.hypot(x, y) > 7)
    assert np.median(faint[corner]) < 0.15
    assert faint[ring].mean() - faint[corner].mean() > 2 * (plain[ring].mean() - plain[corner].mean())
    assert (faint == 1).mean() < 0.02


def test_a_band_of_measured_light_is_grey_and_the_faint_look_is_brighter(tmp_path: Path) -> None:
    with stamps_of(tmp_path, delivered=False) as stamps:
        for band in BANDS:
            grey = seen(stamps, band)
            assert (grey[0] == grey[1]).all() and (grey[0] == grey[2]).all()
            assert grey[0, SIDE // 2, SIDE // 2] == grey.max() > grey[0, 0, 0]
        bright, ordinary, faint = (seen(stamps, view).mean() for view in ("bright", "rgb", "faint"))
        assert bright < ordinary < faint


@pytest.mark.parametrize("delivered", [True, False])
def test_each_look_is_another_and_a_row_that_is_not_there_has_none(tmp_path: Path, delivered: bool) -> None:
    with stamps_of(tmp_path, delivered=delivered) as stamps:
        assert len({stamp_view(stamps, 0, Rendering(size=SIDE), view, size=SIDE) for view in VIEWS}) == len(VIEWS)
        for view in VIEWS:
            with pytest.raises(StampError):
                stamp_view(stamps, 1, Rendering(size=SIDE), view, size=SIDE)
