"""Contact sheets of simulated and real galaxies."""

import os
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from PIL import Image

from lvm_training.errors import LabelError, StampError
from lvm_training.evaluation.contact_sheet import RENDERING, contact_sheet, main, real_tiles, simulated_tiles
from lvm_training.galaxies.population import draw_catalogue
from lvm_training.galaxies.simulate import draw_noiseless, simulate_set
from lvm_training.stamps.stampset import StampSet


@pytest.fixture(scope="module")
def stamps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate_set(draw_catalogue(15, 0), tmp_path_factory.mktemp("set") / "morphology.h5", processes=1)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    rows = ["file,morphology5"]
    for i, kind in enumerate(["spiral", "edge_on", "round_smooth", "", "spiral"]):
        picture = np.zeros((256, 256, 3), np.uint8)
        picture[96:160, 96:160] = 40 * (i + 1)
        Image.fromarray(picture).save(tmp_path / f"{i}.png")
        rows.append(f"{i}.png,{kind}")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    return tmp_path


def test_real_tiles_are_sorted_by_class_under_our_names(pictures: Path) -> None:
    tiles = real_tiles(pictures, "morphology5")
    assert {kind: len(found) for kind, found in tiles.items()} == {"spiral": 2, "edge-on disc": 1, "round smooth": 1}
    tile = tiles["edge-on disc"][0]
    assert tile.shape == (RENDERING.size, RENDERING.size, 3)
    # the central 152 of 256 pixels
    assert (tile[76, 76] == 80).all()
    assert (tile[10, 10] == 0).all()


def test_fits_without_labels_are_one_block(tmp_path: Path, stamps: Path) -> None:
    galaxy = draw_catalogue(1, 0)[0]
    cube = np.zeros((3, 256, 256), np.float32)
    cube[:, 52:204, 52:204] = draw_noiseless(galaxy, 0)
    fits.writeto(tmp_path / "cutout_1.5_2.5.fits", cube)
    tiles = real_tiles(tmp_path, "morphology5")
    assert list(tiles) == ["all classes"]
    with StampSet(stamps) as opened:
        sheet = contact_sheet(opened, tiles, columns=3)
        shown = simulated_tiles(opened, "all classes", 3)
    assert sheet.size == (6 * 152 + 24, 152 + 26)
    np.testing.assert_array_equal(np.asarray(sheet)[26:, :152], shown[0])
    np.testing.assert_array_equal(np.asarray(sheet)[26:, 3 * 152 + 24 : 4 * 152 + 24], tiles["all classes"][0])


def test_simulated_tiles_are_of_the_class(stamps: Path) -> None:
    with StampSet(stamps) as opened:
        assert len(simulated_tiles(opened, "spiral", 2)) == 2
        assert len(simulated_tiles(opened, "spiral", 99)) == 3
        assert len(simulated_tiles(opened, "all classes", 99)) == 15


def test_the_command_writes_a_png(pictures: Path, stamps: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "sheet.png"
    main(pictures, stamps=stamps, out=out, column="morphology5", columns=2)
    with Image.open(out) as sheet:
        assert sheet.size == (4 * 152 + 24, 3 * (152 + 26))


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StampError, match="no images"):
        real_tiles(tmp_path, "morphology5")


def test_a_table_without_the_column_or_classes_is_refused(pictures: Path) -> None:
    with pytest.raises(LabelError, match="needs the columns file and kind"):
        real_tiles(pictures, "kind")
    (pictures / "labels.csv").write_text("file,morphology5\n0.png,quasar\n")
    with pytest.raises(LabelError, match="names none of the classes"):
        real_tiles(pictures, "morphology5")


def test_real_galaxies_and_simulated_ones_have_like_pixels(stamps: Path) -> None:
    default = Path(__file__).parents[3] / ".." / "shared" / "data"
    folder = Path(os.environ.get("GALAXYLOOP_REAL_DATA", default)) / "galaxy10-decals"
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}")
    real = [tile for tiles in real_tiles(folder, "morphology5").values() for tile in tiles]
    assert len(real) == 40
    with StampSet(stamps) as opened:
        simulated = simulated_tiles(opened, "all classes", 15)
    sky, centre = (slice(0, 20), slice(0, 20)), (slice(72, 80), slice(72, 80))
    for place, tolerance in ((sky, 20), (centre, 50)):
        levels = [np.median([tile[place].mean() for tile in tiles]) for tiles in (real, simulated)]
        assert abs(levels[0] - levels[1]) < tolerance
