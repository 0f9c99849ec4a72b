"""Contact sheets of simulated and real lenses."""

import os
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from PIL import Image

from lvm_training.errors import LabelError, StampError
from lvm_training.evaluation.contact_sheet import Tile, tile
from lvm_training.evaluation.lens_contact_sheet import (
    COLOURS,
    RENDERING,
    TITLE,
    Block,
    lens_contact_sheet,
    main,
    marked,
    real_blocks,
    simulated_blocks,
)
from lvm_training.lenses.lens_stamps import FIELD, OBJECTS, SIZE, LensPopulation
from lvm_training.lenses.lookalikes import LOOK_ALIKES
from lvm_training.objects.instances import Instances, Masks
from lvm_training.stamps.render import render

ROOT = Path(__file__).parents[3]
SIDE = RENDERING.size


@pytest.fixture(scope="module")
def blocks() -> list[Block]:
    return simulated_blocks(LensPopulation(), 3, seed=2)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A table of two kinds and pictures of 120 pixels, in the middle a square of 20."""
    rows = ["file,category"]
    for place, kind in enumerate(["lensed_galaxies", "lensed_quasars", "lensed_galaxies"]):
        picture = np.zeros((120, 120, 3), np.uint8)
        picture[50:70, 50:70] = 60 * (place + 1)
        Image.fromarray(picture).save(tmp_path / f"{place}.png")
        rows.append(f"{place}.png,{kind}")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    return tmp_path


def test_lenses_come_first_then_every_kind_of_look_alike_then_what_is_on_the_lenses(blocks: list[Block]) -> None:
    assert [len(block.tiles) for block in blocks] == [6, 6, *[3] * len(LOOK_ALIKES), 3]
    assert blocks[0].title == "simulated: lenses"
    assert blocks[1].title == "simulated: lenses and look-alikes as other surveys show them"
    for block, kind in zip(blocks[2:-1], LOOK_ALIKES, strict=True):
        assert block.title == f"simulated: no lenses, {kind.replace('_', ' ')}"
    assert all(one.shape == (SIDE, SIDE, 3) for block in blocks for one in block.tiles)
    again = simulated_blocks(LensPopulation(), 3, seed=2)
    for block, other in zip(blocks, again, strict=True):
        np.testing.assert_array_equal(block.tiles, other.tiles)


def test_objects_are_drawn_on_the_last_row_alone(blocks: list[Block]) -> None:
    colours = {name: np.array([int(code[at : at + 2], 16) for at in (1, 3, 5)]) for name, code in COLOURS.items()}
    assert set(colours) == set(OBJECTS)
    for plain, drawn in zip(blocks[0].tiles, blocks[-1].tiles, strict=False):
        changed = (plain != drawn).any(axis=2)
        assert changed.any() and not changed.all()
        hues = {name: (drawn == colour).all(axis=2) for name, colour in colours.items()}
        assert (changed <= np.logical_or.reduce(list(hues.values()))).all()
        assert hues["arc"].any() and hues["deflector"].any()
    for block in blocks[:-1]:
        assert not any((one == colours["arc"]).all(axis=2).any() for one in block.tiles)


def test_box_and_outline_of_an_object() -> None:
    mask = np.zeros((1, SIZE, SIZE), dtype=bool)
    mask[0, 10:14, 20:30] = True
    mask[0, 10:30, 20:24] = True
    found = marked(np.zeros((SIDE, SIDE, 3), np.uint8), Instances.of_masks(("deflector",), mask))
    lit: Masks = found.max(axis=2) > 0
    rows, columns = np.nonzero(lit)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (20, 59, 40, 59)
    # the box has the far corner, which the mask has not, and both are hollow
    assert lit[59, 59] and lit[20, 40] and lit[28:59, 47].all() and lit[27, 48:59].all()
    assert not lit[21:27, 41:47].any() and not lit[29:58, 49:58].any()


def test_a_picture_without_objects_is_left_alone() -> None:
    shown = np.full((SIDE, SIDE, 3), 7, np.uint8)
    np.testing.assert_array_equal(marked(shown, Instances.empty((SIZE, SIZE))), shown)


def test_real_pictures_are_sorted_and_framed_alike(pictures: Path) -> None:
    galaxies, quasars = real_blocks(pictures, 1, pixel_scale=0.25, column="category")
    assert galaxies.title == "real: lensed galaxies, 2 of 2; pictures in their own colours, 0.25 arcsec a pixel"
    assert quasars.title.startswith("real: lensed quasars, 1 of 1;")
    assert [int(one[SIDE // 2, SIDE // 2, 0]) for one in galaxies.tiles] == [60, 180]
    lit = (galaxies.tiles[1][SIDE // 2, :, 0] > 90).sum()
    assert lit == pytest.approx(20 * 0.25 / FIELD * SIDE, abs=1)


def test_an_unknown_pixel_scale_shows_the_whole_and_says_so(pictures: Path) -> None:
    (everything,) = real_blocks(pictures, 2, pixel_scale=np.nan, column="survey")
    assert everything.title == "real: all, 3 of 3; pictures in their own colours, of unknown pixel scale, whole"
    assert (everything.tiles[2][SIDE // 2, :, 0] > 90).sum() == pytest.approx(20 / 120 * SIDE, abs=1)


def test_no_more_real_ones_than_rows_are_shown(pictures: Path) -> None:
    (everything,) = real_blocks(pictures, 1, pixel_scale=0.25, column="survey")
    assert len(everything.tiles) == 2 and everything.title.startswith("real: all, 2 of 3;")


def test_fits_cutouts_are_rendered_as_simulated_stamps_are(tmp_path: Path) -> None:
    cube = np.zeros((3, SIZE, SIZE), np.float32)
    cube[:, 30:34, 30:34] = 1.0
    fits.writeto(tmp_path / "cutout_1.5_2.5.fits", cube, fits.Header({"BANDS": "grz"}))
    (block,) = real_blocks(tmp_path, 3, pixel_scale=0.262, column="category")
    assert block.title == "real: all, 1 of 1"
    np.testing.assert_array_equal(block.tiles[0], tile(render(cube[None], RENDERING, kind="nanomaggies")[0].numpy()))


def test_the_command_writes_a_png(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    sizes = []
    for number, real in enumerate((None, pictures)):
        out = tmp_path / "new" / f"{number}.png"
        main(real, out=out, pixel_scale=0.25, column="category", columns=2, seed=1)
        with Image.open(out) as sheet:
            sizes.append(sheet.size)
    simulated = (2 + 2 + len(LOOK_ALIKES) + 1) * SIDE + (3 + len(LOOK_ALIKES)) * TITLE
    assert sizes == [(2 * SIDE, simulated), (2 * SIDE, simulated + 2 * (SIDE + TITLE))]


def test_blocks_stand_below_their_titles() -> None:
    tiles: list[Tile] = [np.full((SIDE, SIDE, 3), level, np.uint8) for level in (10, 20, 30)]
    sheet = np.asarray(lens_contact_sheet([Block("one", tiles), Block("two", tiles[1:2])], 2))
    assert sheet.shape == (3 * SIDE + 2 * TITLE, 2 * SIDE, 3)
    middle = SIDE // 2
    assert [int(sheet[TITLE + middle, middle + step, 0]) for step in (0, SIDE)] == [10, 20]
    assert [int(sheet[TITLE + SIDE + middle, middle + step, 0]) for step in (0, SIDE)] == [30, 255]
    assert int(sheet[2 * TITLE + 2 * SIDE + middle, middle, 0]) == 20
    assert (sheet[TITLE + 2 * SIDE : 2 * TITLE + 2 * SIDE] < 100).any()


def test_folders_that_name_no_images(tmp_path: Path) -> None:
    with pytest.raises(StampError, match="no images"):
        real_blocks(tmp_path, 2, pixel_scale=0.25, column="category")
    for text in ("file,category\n", "name,category\na.png,ring\n"):
        (tmp_path / "labels.csv").write_text(text)
        with pytest.raises(LabelError, match="names no images"):
            real_blocks(tmp_path, 2, pixel_scale=0.25, column="category")


def test_real_lenses_are_read() -> None:
    folder = Path(os.environ.get("GALAXYLOOP_REAL_DATA", ROOT / ".." / "shared" / "data")) / "lenses-panstarrs"
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}")
    blocks = real_blocks(folder, 4, pixel_scale=0.25, column="category")
    assert {block.title.split(",")[0]: len(block.tiles) for block in blocks} == {
        "real: lensed galaxies": 8,
        "real: lensed quasars": 8,
        "real: lensed supernovae": 3,
    }
