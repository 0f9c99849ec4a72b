"""Tables and pixels among the cases that people report, where their folder is there; other tests have each in small."""

import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from lvm_training.errors import StampError
from lvm_training.importing.importer import import_stamps
from lvm_training.stamps.stampset import StampSet

REPORTS = Path(os.environ.get("GALAXYLOOP_REPORTS", Path(__file__).parents[4] / "shared" / "reports"))
pytestmark = pytest.mark.skipif(not REPORTS.is_dir(), reason="no reports here; set GALAXYLOOP_REPORTS to their folder")


@pytest.mark.parametrize(("name", "column"), [("compound", "catalogue"), ("vlen", "flags")])
def test_columns_that_are_no_single_values(tmp_path: Path, name: str, column: str) -> None:
    report = import_stamps(REPORTS / "10-h5-columns" / "in" / f"{name}.h5", tmp_path / "out.h5")
    assert report.written == 6 and any(note.startswith(f"{column}: left out") for note in report.notes)


def test_a_column_with_a_slash(tmp_path: Path) -> None:
    for name in ("labels", "labels2"):
        folder = REPORTS / "12-column-slash"
        import_stamps(folder / "in", tmp_path / f"{name}.h5", labels=folder / f"{name}.csv")
        with StampSet(tmp_path / f"{name}.h5") as stamps:
            assert stamps.column("S/N").tolist() == list(range(5, 17))
            assert ("S" in stamps.columns) is (name == "labels2")
        with h5py.File(tmp_path / f"{name}.h5") as file:
            assert all(isinstance(item, h5py.Dataset) for item in file.values())


@pytest.mark.parametrize(
    "name", ["13-header-blanks", "13b-bom-few", "16-blank-rows", "17-nan-labels", "18-integer-classes"]
)
def test_labels_of_folders(tmp_path: Path, name: str) -> None:
    folder = REPORTS / name / "in"
    import_stamps(folder, tmp_path / "out.h5", labels=folder / "labels.csv")
    with StampSet(tmp_path / "out.h5") as stamps:
        known = set(stamps.column("ring").tolist())
        assert known <= ({0, 1} if name.startswith("18") else {"yes", "no", ""})
        assert ("" in known) is name.startswith("17")


def test_sexagesimal_positions(tmp_path: Path) -> None:
    folder = REPORTS / "19-sexagesimal"
    report = import_stamps(folder / "in", tmp_path / "out.h5", labels=folder / "labels.csv")
    assert sum("sexagesimal" in note for note in report.notes) == 2
    import_stamps(folder / "in", tmp_path / "z.h5", labels=folder / "labels-z.csv")
    with StampSet(tmp_path / "out.h5") as stamps, StampSet(tmp_path / "z.h5") as redshifts:
        np.testing.assert_allclose(stamps.column("ra").astype(float), 150 + (0.5 + np.arange(12)) / 240)
        assert redshifts.column("z_spec").dtype == np.float64


@pytest.mark.parametrize("name", ["01-rgb-fits", "01b-rgb8-fits"])
def test_colour_cameras_are_asked_about_and_never_white(tmp_path: Path, name: str) -> None:
    folder = REPORTS / name / "in"
    with pytest.raises(StampError, match=r"--bands r,g,b"):
        import_stamps(folder, tmp_path / "out.h5")
    assert not list(tmp_path.iterdir())
    import_stamps(folder, tmp_path / "out.h5", bands="r,g,b")
    with StampSet(tmp_path / "out.h5") as stamps:
        assert (stamps.rendering, stamps.origin) == ("as-delivered", "lower")
        assert np.median(stamps.pixels(slice(None))) < 128


def test_three_surveys_beside_each_other_are_as_bright(tmp_path: Path) -> None:
    report = import_stamps(REPORTS / "05-zero-points" / "in", tmp_path / "out.h5")
    assert report.written == 3 and sum("converted to nanomaggies" in note for note in report.notes) == 2
    with StampSet(tmp_path / "out.h5") as stamps:
        pixels = stamps.pixels(slice(None))
    np.testing.assert_allclose(pixels[:2], pixels[2:].repeat(2, axis=0), rtol=1e-4, atol=1e-5)


def test_a_wcs_without_a_scale(tmp_path: Path) -> None:
    folder = REPORTS / "06-wcs-no-scale" / "in"
    report = import_stamps(folder, tmp_path / "out.h5")
    assert any("pixel scale unknown: --pixel-scale" in note for note in report.notes)
    import_stamps(folder, tmp_path / "told.h5", pixel_scale=0.262)
    with StampSet(tmp_path / "out.h5") as unknown, StampSet(tmp_path / "told.h5") as told:
        assert np.isnan(unknown.pixel_scale) and told.pixel_scale == 0.262
        assert told.column("ra").astype(float) == pytest.approx([150.0] * len(told), abs=1)


def test_native_sizes(tmp_path: Path) -> None:
    folder = REPORTS / "07-native-sizes" / "in"
    report = import_stamps(folder, tmp_path / "out.h5")
    assert any("9 images of up to 424 pixels are shown whole" in note for note in report.notes)
    for fit in ("crop", "shrink", "pad"):
        told = import_stamps(folder, tmp_path / f"{fit}.h5", fit=fit)
        assert told.written == 10 and any(note.startswith("9 images") for note in told.notes)
