"""Imports: folders and files in, stamp sets out, nothing lost on the way."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from PIL import Image

from lvm_training.errors import StampError
from lvm_training.importing import importer
from lvm_training.importing.importer import Skipped, import_stamps
from lvm_training.stamps.stampset import StampSet
from tests.lvm_training.importing.import_inputs import cutout, noise, pictures


def test_a_folder_of_pictures_becomes_an_as_delivered_set(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "in" / "sub")
    pictures(tmp_path / "in", 1)
    (tmp_path / "in" / "notes.txt").write_text("passed over")
    (tmp_path / "in" / ".g9.png").write_text("passed over")
    counts: list[tuple[int, int]] = []
    report = import_stamps(tmp_path / "in", tmp_path / "out.h5", progress=lambda *count: counts.append(count))
    assert (report.written, report.skipped, report.out) == (6, (), tmp_path / "out.h5")
    assert counts == [(done, 6) for done in range(1, 7)]
    with StampSet(report.out) as stamps:
        assert (stamps.rendering, stamps.origin, stamps.shape) == ("as-delivered", "upper", (16, 16))
        assert np.isnan(stamps.pixel_scale)
        assert stamps.column("file").tolist() == ["g0.png", *(f"sub/g{i}.png" for i in range(5))]
        np.testing.assert_array_equal(stamps.pixels([3])[0], np.moveaxis(noise(16, 2), -1, 0))
    assert folder.exists()


def test_a_folder_of_fits_becomes_a_nanomaggies_set(tmp_path: Path) -> None:
    for seed in range(3):
        cutout(tmp_path / "in" / f"c{seed}.fits", seed)
    report = import_stamps(tmp_path / "in", tmp_path / "out.h5")
    with StampSet(report.out) as stamps:
        assert (stamps.rendering, stamps.origin, stamps.pixel_scale) == ("nanomaggies", "lower", 0.262)
        np.testing.assert_allclose(stamps.column("ra").astype(float), [10, 11, 12])
        assert stamps.column("bands").tolist() == ["grz"] * 3
        np.testing.assert_array_equal(stamps.pixels([1])[0], fits.getdata(tmp_path / "in" / "c1.fits"))


def test_one_file_is_a_set_of_one(tmp_path: Path) -> None:
    report = import_stamps(cutout(tmp_path / "cutout.FITS"), tmp_path / "out.h5", size=8)
    with StampSet(report.out) as stamps:
        assert (len(stamps), stamps.shape, stamps.column("file").tolist()) == (1, (8, 8), ["cutout.FITS"])


def test_every_bad_file_is_listed_with_its_reason(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "in", 4)
    content = (folder / "g0.png").read_bytes()
    (folder / "a-empty.png").touch()
    (folder / "b-half.png").write_bytes(content[: len(content) // 2])
    (folder / "c-text.jpg").write_text("no picture")
    Image.fromarray(noise(9)).save(folder / "d-small.png")
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(folder / "e-black.png")
    cutout(folder / "f.fits")
    (folder / "g-gone.png").symlink_to(tmp_path / "absent.png")
    Image.fromarray(noise(21)).save(folder / "h-large.png")
    report = import_stamps(folder, tmp_path / "out.h5")
    assert report.written == 5
    assert {skipped.file: skipped.reason for skipped in report.skipped} == {
        "a-empty.png": "empty file",
        "b-half.png": "truncated",
        "c-text.jpg": "unreadable: not a JPEG or PNG",
        "d-small.png": "wrong-shaped: 9 x 9 pixels where 16 x 16 are needed",
        "e-black.png": "empty: every pixel is the same",
        "f.fits": "a FITS image among pictures",
        "g-gone.png": "unreadable: No such file or directory",
    }
    with StampSet(report.out) as stamps:
        large = stamps.pixels([stamps.column("file").tolist().index("h-large.png")])[0]
    np.testing.assert_array_equal(large, np.moveaxis(noise(21)[2:18, 2:18], -1, 0))


def test_bad_fits_files_are_listed_too(tmp_path: Path) -> None:
    for seed in range(3):
        cutout(tmp_path / "in" / f"good{seed}.fits", seed)
    nan = np.full((3, 16, 16), np.nan, np.float32)
    nan[:, :7] = 1
    fits.PrimaryHDU(nan, fits.getheader(tmp_path / "in" / "good0.fits")).writeto(tmp_path / "in" / "nan.fits")
    cutout(tmp_path / "in" / "other.fits", scale=0.4)
    cutout(tmp_path / "in" / "scaleless.fits", scale=None)
    content = (tmp_path / "in" / "good0.fits").read_bytes()
    (tmp_path / "in" / "short.fits").write_bytes(content[:4000])
    Image.fromarray(noise(16)).save(tmp_path / "in" / "preview.png")
    report = import_stamps(tmp_path / "in", tmp_path / "out.h5")
    assert report.written == 3
    assert report.skipped == (
        Skipped("nan.fits", "NaN-filled: 56% of the pixels"),
        Skipped("other.fits", "pixel scale 0.4 arcsec in a set of 0.262 (--resample brings all to one)"),
        Skipped("preview.png", "a picture among FITS images"),
        Skipped("scaleless.fits", "pixel scale unknown in a set of 0.262 (--pixel-scale says it)"),
        Skipped("short.fits", "truncated"),
    )


def test_a_given_pixel_scale_serves_files_that_do_not_say(tmp_path: Path) -> None:
    for index, scale in enumerate((None, None, 0.262)):
        cutout(tmp_path / "in" / f"{index}.fits", index, scale=scale)
    given = import_stamps(tmp_path / "in", tmp_path / "given.h5", pixel_scale=0.262)
    unknown = import_stamps(tmp_path / "in", tmp_path / "unknown.h5")
    with StampSet(given.out) as one, StampSet(unknown.out) as other:
        assert (len(one), one.pixel_scale) == (3, 0.262)
        assert not any("pixel scale" in note for note in given.notes)
        assert len(other) == 2
        assert np.isnan(other.pixel_scale)
    assert any("pixel scale unknown" in note and "--pixel-scale" in note for note in unknown.notes)


def test_the_smaller_of_two_equally_common_sizes_is_taken(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "in", 1, side=12)
    Image.fromarray(noise(20)).save(folder / "z.png")
    assert import_stamps(folder, tmp_path / "out.h5").written == 2
    with StampSet(tmp_path / "out.h5") as stamps:
        assert stamps.shape == (12, 12)
    report = import_stamps(folder, tmp_path / "large.h5", size=20)
    assert [skipped.file for skipped in report.skipped] == ["g0.png"]


def test_strict_stops_at_the_first_bad_file_and_keeps_what_was_read(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "in", 3)
    (folder / "g1.png").write_text("damaged")
    with pytest.raises(StampError, match=r"g1\.png: unreadable: not a JPEG or PNG.*\(1 stamps are kept\)"):
        import_stamps(folder, tmp_path / "out.h5", strict=True)
    assert (tmp_path / "out.h5.partial").exists()
    assert not (tmp_path / "out.h5").exists()
    assert import_stamps(folder, tmp_path / "out.h5").written == 2


def test_an_existing_set_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "out.h5").write_text("precious")
    with pytest.raises(StampError, match="exists already"):
        import_stamps(pictures(tmp_path / "in"), tmp_path / "out.h5")
    assert (tmp_path / "out.h5").read_text() == "precious"


def test_nothing_to_import_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(StampError, match="holds no JPEG"):
        import_stamps(tmp_path / "in", tmp_path / "out.h5")
    with pytest.raises(StampError, match="nothing at"):
        import_stamps(tmp_path / "absent", tmp_path / "out.h5")
    (tmp_path / "in" / "a.png").write_text("damaged")
    with pytest.raises(StampError, match=r"a\.png: unreadable"):
        import_stamps(tmp_path / "in", tmp_path / "out.h5")
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(tmp_path / "in" / "a.png")
    with pytest.raises(StampError, match=r"None of the 1 stamps.*a\.png: empty"):
        import_stamps(tmp_path / "in", tmp_path / "out.h5")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize("wrong", [{"size": 0}, {"pixel_scale": 0.0}, {"pixel_scale": float("nan")}])
def test_sizes_and_scales_that_cannot_be_are_refused(tmp_path: Path, wrong: dict[str, float]) -> None:
    with pytest.raises(StampError):
        import_stamps(pictures(tmp_path / "in"), tmp_path / "out.h5", **wrong)  # type: ignore[arg-type]


def test_an_interrupted_import_goes_on_without_reading_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = pictures(tmp_path / "in", 10)
    (folder / "g1.png").write_text("damaged")
    monkeypatch.setattr(importer, "BATCH", 3)

    def interrupt(done: int, total: int) -> None:
        if done == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_stamps(folder, tmp_path / "out.h5", progress=interrupt)
    for index in (0, 2, 3, 4, 5, 6):  # two batches of three are written; they need not be read again
        shutil.copyfile(folder / "g9.png", folder / f"g{index}.png")
    seen: list[int] = []
    report = import_stamps(folder, tmp_path / "out.h5", progress=lambda done, _: seen.append(done))
    assert (report.written, report.skipped) == (9, (Skipped("g1.png", "unreadable: not a JPEG or PNG"),))
    assert seen == [7, 8, 9, 10]
    with StampSet(report.out) as stamps:
        assert stamps.column("file").tolist() == [f"g{i}.png" for i in (0, 2, 3, 4, 5, 6, 7, 8, 9)]
        np.testing.assert_array_equal(stamps.pixels([3])[0], np.moveaxis(noise(16, 4), -1, 0))


def test_an_interrupted_import_of_something_else_is_not_mixed_in(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "in", 3)
    (folder / "g2.png").write_text("damaged")
    with pytest.raises(StampError):
        import_stamps(folder, tmp_path / "out.h5", strict=True)
    (tmp_path / "labels.csv").write_text("file,ring\ng0.png,1\n")
    for other in ({"path": pictures(tmp_path / "other")}, {"path": folder, "labels": tmp_path / "labels.csv"}):
        with pytest.raises(StampError, match="another source"):
            import_stamps(out=tmp_path / "out.h5", **other)


IMPORT = """
import sys, time
from pathlib import Path
from lvm_training.importing import importer
importer.BATCH = 4
def slowly(done, total):
    print(done, flush=True)
    time.sleep(0.002)
importer.import_stamps(Path(sys.argv[1]), Path(sys.argv[2]), progress=slowly)
"""


def test_a_killed_import_is_finished_by_the_next(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "in", 120)
    with subprocess.Popen(
        [sys.executable, "-c", IMPORT, folder, tmp_path / "out.h5"], stdout=subprocess.PIPE, text=True
    ) as importing:
        assert importing.stdout is not None
        for _ in range(50):
            importing.stdout.readline()
        importing.kill()
    seen: list[int] = []
    report = import_stamps(folder, tmp_path / "out.h5", progress=lambda done, _: seen.append(done))
    assert (report.written, report.skipped) == (120, ())
    assert 49 <= seen[0] < 120
    whole = import_stamps(folder, tmp_path / "whole.h5")
    with StampSet(report.out) as stamps, StampSet(whole.out) as expected:
        assert stamps.digest == expected.digest
        assert stamps.column("file").tolist() == expected.column("file").tolist()


@pytest.mark.parametrize(
    ("name", "count", "side", "kind"),
    [
        ("gz2-sdss", 5101, 128, "as-delivered"),
        ("rings-decals", 156, 256, "as-delivered"),
        ("galaxy10-decals", 50, 256, "as-delivered"),
        ("lenses-panstarrs", 320, 120, "as-delivered"),
        ("desi-dr9-fits", 12, 256, "nanomaggies"),
        ("hst-cluster-fits", 38, 199, "nanomaggies"),
    ],
)
def test_real_folders_are_imported_whole(
    real_data: Path, tmp_path: Path, name: str, count: int, side: int, kind: str
) -> None:
    labels = real_data / name / "labels.csv"
    report = import_stamps(
        real_data / name, tmp_path / "out.h5", labels=labels if labels.exists() else None, strict=True
    )
    assert report.written == count
    with StampSet(report.out) as stamps:
        assert (stamps.shape, stamps.rendering) == ((side, side), kind)
        if name == "rings-decals":
            assert sorted(set(stamps.column("ring"))) == [0, 1]
        if name == "galaxy10-decals":
            assert set(stamps.column("morphology5")) >= {"", "edge_on", "spiral"}


def test_names_say_where_galaxies_are_if_who_imports_them_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "sky"
    folder.mkdir()
    for number, name in enumerate(("J005130.07-011511.2.jpg", "J095632.20+005254.0.jpg", "nameless.jpg")):
        noise = np.random.default_rng(number).integers(0, 255, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / name)
    (tmp_path / "labels.csv").write_text("file,ra,dec\nJ095632.20+005254.0.jpg,10.5,-3\nnameless.jpg,,\n")
    told = import_stamps(folder, tmp_path / "told.h5", positions_from_names=True, labels=tmp_path / "labels.csv")
    assert "2 of 3 names hold a position, taken as ra, dec" in told.notes
    with StampSet(told.out) as stamps:
        np.testing.assert_allclose(stamps.column("ra"), [15 * (51 * 60 + 30.07) / 3600, 10.5, np.nan])
        np.testing.assert_allclose(stamps.column("dec"), [-(1 + 15 / 60 + 11.2 / 3600), -3, np.nan])
    with StampSet(import_stamps(folder, tmp_path / "plain.h5").out) as stamps:
        assert not {"ra", "dec"} & set(stamps.columns)
