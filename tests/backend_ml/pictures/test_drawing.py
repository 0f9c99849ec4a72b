"""The pictures people see: the model's rendering, with overlays that tell no lies and stay in their corners."""

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from backend_ml.pictures.drawing import BAR_LENGTHS, CORNER, picture
from backend_ml.pictures.framing import framing_words, read_words, shown_rendering
from lvm_training.errors import StampError
from lvm_training.importing.importer import import_stamps
from lvm_training.model.encoder import load_checkpoint
from lvm_training.paths import RELEASED_LVM
from lvm_training.stamps.render import render_set
from lvm_training.stamps.rendering import Rendering
from lvm_training.stamps.stampset import StampSet, StampWriter

SIZE = 400


def stamp_set(path: Path, *, level: float = 0.0, side: int = 120, **attributes: Any) -> StampSet:
    """A set of one stamp of noise around a level (nanomaggies, or 0 to 255 as delivered)."""
    random = np.random.default_rng(0)
    writer = StampWriter(path, (side, side), **attributes)
    if attributes.get("rendering") == "as-delivered":
        noise = random.normal(level, 3, (1, 3, side, side)).clip(0, 255).astype(np.uint8)
        writer.append(noise, {})
    else:
        writer.append(random.normal(level, 0.01, (1, 3, side, side)).astype(np.float32), {})
    return StampSet(writer.finish())


def decoded(png: bytes) -> NDArray[np.int64]:
    """A PNG as (H, W, 3)."""
    image = Image.open(io.BytesIO(png))
    assert (image.format, image.mode) == ("PNG", "RGB")
    return np.asarray(image).astype(np.int64)


def overlay(stamps: StampSet, rendering: Rendering | None = None, **shown: bool) -> NDArray[np.int64]:
    """How much the overlays change each pixel, (H, W)."""
    rendering = rendering or Rendering()
    plain = decoded(picture(stamps, 0, rendering, size=SIZE, north_east=False, scale_bar=False))
    drawn = decoded(picture(stamps, 0, rendering, size=SIZE, **shown))
    return np.abs(drawn - plain).max(axis=2)


def test_without_overlays_it_is_the_models_rendering(tmp_path: Path) -> None:
    stamps = stamp_set(tmp_path / "s.h5", level=0.1)
    plain = decoded(picture(stamps, 0, Rendering(), size=SIZE, north_east=False, scale_bar=False))
    expected = render_set(stamps, np.array([0]), Rendering().sized(SIZE), "bicubic")[0].permute(1, 2, 0).numpy() * 255
    assert plain.shape == (SIZE, SIZE, 3)
    np.testing.assert_allclose(plain, expected, atol=0.51)


@pytest.mark.parametrize("level", [0.0, 0.5, 50.0])
def test_overlays_stay_in_the_lower_corners(tmp_path: Path, level: float) -> None:
    stamps = stamp_set(tmp_path / "s.h5", level=level)
    corner = round(CORNER * SIZE)
    for shown, columns in (
        ({"north_east": False}, slice(0, corner)),
        ({"scale_bar": False}, slice(SIZE - corner, SIZE)),
    ):
        changed = overlay(stamps, **shown)
        assert changed[SIZE - corner :, columns].max() > 60
        changed[SIZE - corner :, columns] = 0
        assert changed.max() == 0


@pytest.mark.parametrize("level", [0.0, 0.05, 0.5, 50.0])
def test_overlays_are_white_on_a_dark_rim_whatever_lies_below(tmp_path: Path, level: float) -> None:
    stamps = stamp_set(tmp_path / "s.h5", level=level)
    drawn = decoded(picture(stamps, 0, Rendering(), size=SIZE))
    corner = round(CORNER * SIZE)
    for square in (drawn[-corner:, :corner], drawn[-corner:, -corner:]):
        white = (square.min(axis=2) > 240).nonzero()
        dark = (square.max(axis=2) < 130).nonzero()
        assert len(white[0]) > 50
        assert len(dark[0]) > 100


@pytest.mark.parametrize(
    ("attributes", "bar", "arrows"),
    [
        ({}, True, True),
        ({"pixel_scale": math.nan}, False, False),
        ({"rendering": "as-delivered", "origin": "upper", "pixel_scale": math.nan, "level": 20.0}, False, False),
        ({"rendering": "as-delivered", "origin": "upper", "pixel_scale": 0.262, "level": 20.0}, True, False),
    ],
)
def test_overlays_claim_only_what_is_known(tmp_path: Path, attributes: dict[str, Any], bar: bool, arrows: bool) -> None:
    changed = overlay(stamp_set(tmp_path / "s.h5", **attributes))
    assert bool(changed[:, : SIZE // 2].any()) is bar
    assert bool(changed[:, SIZE // 2 :].any()) is arrows


def white_run(row: NDArray[np.bool_]) -> int:
    """Longest run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(int), [0]])))
    return int(max(edges[1::2] - edges[::2], default=0))


@pytest.mark.parametrize(("field", "length"), [(25.0, 5), (31.0, 5), (40.0, 10), (8.0, 2), (120.0, 30)])
def test_the_bar_is_as_long_as_it_says(tmp_path: Path, field: float, length: int) -> None:
    stamps = stamp_set(tmp_path / "s.h5", side=300)
    changed = overlay(stamps, Rendering(field=field), north_east=False) > 120
    longest = max(white_run(row) for row in changed)
    assert length in BAR_LENGTHS
    assert longest == pytest.approx(SIZE * length / field, abs=5)


def galaxy_towards(path: Path, *, east: int, north: int) -> StampSet:
    """A set in FITS order of one stamp with a source `east`, `north` pixels from its centre."""
    writer = StampWriter(path, (121, 121))
    stamp = np.zeros((1, 3, 121, 121), np.float32)
    stamp[:, :, 60 + north - 2 : 60 + north + 3, 60 - east - 2 : 60 - east + 3] = 1
    writer.append(stamp, {})
    return StampSet(writer.finish())


@pytest.mark.parametrize(("east", "north"), [(30, 0), (0, 30)])
def test_the_arrows_point_to_where_sources_in_that_direction_lie(tmp_path: Path, east: int, north: int) -> None:
    stamps = galaxy_towards(tmp_path / "s.h5", east=east, north=north)
    plain = decoded(picture(stamps, 0, Rendering(), size=SIZE, north_east=False, scale_bar=False)).sum(axis=2)
    row, column = np.argwhere(plain == plain.max()).mean(axis=0)
    towards = (round((column - SIZE / 2) / 150), round((row - SIZE / 2) / 150))
    half = SIZE - round(CORNER * SIZE)
    white = overlay(stamps, scale_bar=False)[half:, half:] > 120
    rows, columns = np.nonzero(white)
    hinge = (int(columns[rows > rows.max() - 12].max()), int(rows.max()))
    up = hinge[1] - int(rows[np.abs(columns - hinge[0]) < 8].min())
    left = hinge[0] - int(columns[np.abs(rows - hinge[1]) < 8].min())
    arrow = {(-1, 0): left, (0, -1): up}[towards]
    assert arrow > 0.09 * SIZE


def test_every_size_has_its_overlays(tmp_path: Path) -> None:
    stamps = stamp_set(tmp_path / "s.h5")
    for size in (64, 200, 1000):
        assert decoded(picture(stamps, 0, Rendering(), size=size)).shape == (size, size, 3)


def test_a_row_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StampError, match="row 1 was asked for"):
        picture(stamp_set(tmp_path / "s.h5"), 1, Rendering())


def test_real_galaxies_have_pictures(real_data: Path, tmp_path: Path) -> None:
    fits = import_stamps(real_data / "desi-dr9-fits", tmp_path / "fits.h5")
    rings = import_stamps(real_data / "rings-decals", tmp_path / "rings.h5")
    with StampSet(fits.out) as stamps:
        assert overlay(stamps).any()
        assert decoded(picture(stamps, 0, Rendering()))[200:280, 200:280].mean() > 100
    with StampSet(rings.out) as stamps:
        assert not overlay(stamps).any()
        delivered = stamps.pixels([3])[0].transpose(1, 2, 0)
        np.testing.assert_array_equal(decoded(picture(stamps, 3, Rendering(), size=256)), delivered)


def test_a_frame_stands_where_what_the_model_reads_ends(tmp_path: Path) -> None:
    stamps = stamp_set(tmp_path / "s.h5", level=0.1, side=200)
    whole = shown_rendering(Rendering(field=25.0), stamps)
    assert whole.field == pytest.approx(200 * 0.262)
    plain, framed = (decoded(picture(stamps, 0, whole, size=SIZE, read=read)) for read in (None, 25.0))
    rows, columns = np.nonzero(np.abs(framed - plain).max(axis=2))
    half = SIZE / 2 * 25 / whole.field
    for places in (rows, columns):
        assert places.min() == pytest.approx(SIZE / 2 - half, abs=2) and places.max() == pytest.approx(
            SIZE / 2 + half, abs=2
        )
    inside = np.hypot(rows - SIZE / 2, columns - SIZE / 2) < half - 3
    assert not inside.any()
    assert "52.4″ wide; the model reads the middle 25″, people see all of them" in framing_words(Rendering(), stamps)


def test_a_picture_of_the_middle_says_so_in_its_upper_left_corner(tmp_path: Path) -> None:
    stamps = stamp_set(tmp_path / "large.h5", side=200)
    plain, said = (decoded(picture(stamps, 0, Rendering(), size=SIZE, crop_said=said)) for said in (False, True))
    rows, columns = np.nonzero(np.abs(said - plain).max(axis=2))
    assert len(rows) > 500 and max(rows.max(), columns.max()) < CORNER * SIZE
    words = "people see the middle 25″, which the model reads, and the whole"
    assert words in framing_words(Rendering(), stamps, shows_whole=False)


@pytest.mark.parametrize("about", [{"side": 96}, {"side": 200, "pixel_scale": math.nan}])
def test_a_picture_of_all_says_nothing(tmp_path: Path, about: dict[str, Any]) -> None:
    stamps = stamp_set(tmp_path / "whole.h5", **about)
    assert framing_words(Rendering(), stamps, shows_whole=False) == ""
    assert picture(stamps, 0, Rendering(), crop_said=True) == picture(stamps, 0, Rendering())


@pytest.mark.parametrize(
    ("about", "words"),
    [
        ({"side": 200}, "stamps are 52.4″ wide; the model reads the middle 25″, people see all of them"),
        ({"side": 96}, "stamps are 25.2″ wide, and the model reads them whole"),
        ({"side": 40}, "stamps are 10.5″ wide; the model reads 25″, of which the rest is empty sky"),
        (
            {"side": 40, "pixel_scale": math.nan},
            "the pixel scale is unknown (--pixel-scale says it): the model reads each stamp whole",
        ),
    ],
)
def test_what_a_model_reads_of_a_set_in_words(tmp_path: Path, about: dict[str, Any], words: str) -> None:
    assert read_words(Rendering(), stamp_set(tmp_path / "set.h5", **about)).startswith(words)


def test_released_encoders_read_what_an_import_says() -> None:
    card = load_checkpoint(Path(__file__).parents[3] / RELEASED_LVM)[1]
    assert card.rendering.field == Rendering().field


def test_where_the_model_reads_all_there_is_no_frame(tmp_path: Path) -> None:
    small = stamp_set(tmp_path / "small.h5", side=90)
    unknown = stamp_set(tmp_path / "unknown.h5", side=200, pixel_scale=math.nan)
    huge = stamp_set(tmp_path / "huge.h5", side=1000)
    for stamps in (small, unknown):
        assert framing_words(Rendering(), stamps) == ""
        shown = shown_rendering(Rendering(), stamps)
        assert picture(stamps, 0, shown, size=SIZE, read=25.0) == picture(stamps, 0, shown, size=SIZE)
    assert shown_rendering(Rendering(), huge).field == 100
    assert "people see the middle 100″" in framing_words(Rendering(), huge)


def test_north_is_drawn_on_pictures_as_delivered_where_who_imported_them_said_so(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    noise = np.random.default_rng(1).integers(0, 90, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "J005130.07-011511.2.png")
    corner = round(CORNER * SIZE)
    for north_up in (True, False):
        out = import_stamps(folder, tmp_path / f"{north_up}.h5", pixel_scale=0.3, north_up=north_up).out
        with StampSet(out) as stamps:
            assert stamps.north_up is north_up
            assert bool(overlay(stamps)[SIZE - corner :, SIZE - corner :].max() > 60) is north_up
