"""Folders as people have them: several telescopes, sizes, links, odd names; what is left out is said, and why."""

import json
import os
import signal
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table as AstropyTable
from numpy.typing import NDArray
from PIL import Image

from lvm_training.errors import OutputError, StampError
from lvm_training.importing.folder import image_files
from lvm_training.importing.importer import import_stamps
from lvm_training.importing.options import ImportOptions
from lvm_training.stamps.stampset import StampSet
from tests.lvm_training.images.images import camera, planes, sky_header, write


def picture(path: Path, side: int = 16, seed: int = 0) -> Path:
    """A picture file of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def cutouts(
    folder: Path, count: int, *, scale: float = 0.262, side: int = 24, name: str = "c", **cards: object
) -> None:
    """FITS cutouts of one survey."""
    for seed in range(count):
        data = planes(3, side, seed)
        write(folder / f"{name}{seed}.fits", data, sky_header((side, side), scale), **({"BANDS": "grz"} | cards))


def notes_of(path: Path, out: Path, **options: object) -> str:
    """The notes of an import, as one text."""
    return "\n".join(import_stamps(path, out, **options).notes)  # type: ignore[arg-type]


def test_a_mixed_folder_is_read_by_its_largest_group_or_the_one_asked_for(tmp_path: Path) -> None:
    cutouts(tmp_path / "in" / "decals", 4, TELESCOP="Blanco")
    cutouts(tmp_path / "in" / "sdss", 3, scale=0.396, TELESCOP="SDSS 2.5-M")
    cutouts(tmp_path / "in" / "ps1", 2, BANDS="gri")
    picture(tmp_path / "in" / "view.png")
    report = import_stamps(tmp_path / "in", tmp_path / "out.h5")
    assert report.written == 4
    reasons = {item.file: item.reason for item in report.skipped}
    assert reasons["sdss/c0.fits"] == "pixel scale 0.396 arcsec in a set of 0.262 (--resample brings all to one)"
    assert reasons["ps1/c1.fits"] == "gri in a set of grz"
    assert reasons["view.png"] == "a picture among FITS images"
    kind = "FITS, grz, unit unknown, 0.262 arcsec (Blanco): 4 files"
    assert f"of 4 kinds of files the largest is read: {kind}" in report.notes
    assert any("--group 2 reads it instead" in note and "SDSS" in note for note in report.notes)
    for number, (asked, count) in enumerate((("2", 3), ("0.396", 3), ("sdss", 3), ("GRI", 2), ("pictures", 1))):
        other = import_stamps(tmp_path / "in", tmp_path / f"{number}.h5", group=asked)
        assert other.written == count, asked
    for asked, what in (("keck", "No group"), ("arcsec", "Several groups"), ("9", "No group")):
        with pytest.raises(StampError, match=rf"{what}.*--group 1.*0\.396"):
            import_stamps(tmp_path / "in", tmp_path / "none.h5", group=asked)
    assert not (tmp_path / "none.h5").exists()


def test_other_scales_are_resampled_when_asked(tmp_path: Path) -> None:
    cutouts(tmp_path / "in", 2, side=40)
    cutouts(tmp_path / "in", 2, side=40, scale=0.524, name="wide")
    report = import_stamps(tmp_path / "in", tmp_path / "out.h5", resample=0.262, size=36)
    assert (report.written, report.skipped) == (4, ())
    assert "2 images: it was resampled to 0.262 arcsec, its flux kept" in report.notes
    with StampSet(report.out) as stamps:
        assert (stamps.pixel_scale, stamps.shape) == (0.262, (36, 36))
        flux = np.nansum(stamps.pixels(slice(None)), axis=(2, 3))
    for row, seed in enumerate((0, 1)):
        np.testing.assert_allclose(flux[row], planes(3, 40, seed)[:, 2:-2, 2:-2].sum(axis=(1, 2)), rtol=1e-4)
        # the central 18 of 40 pixels hold nearly all of the galaxy's light
        np.testing.assert_allclose(flux[row + 2], planes(3, 40, seed)[:, 11:-11, 11:-11].sum(axis=(1, 2)), rtol=0.05)


def test_a_file_of_unknown_unit_is_not_mixed_with_known_ones(tmp_path: Path) -> None:
    cutouts(tmp_path / "in", 2, MAGZERO=30.0)
    cutouts(tmp_path / "in", 1, name="hsc", FLUXMAG0=63095734448.0)
    cutouts(tmp_path / "in", 1, name="unknown")
    report = import_stamps(tmp_path / "in", tmp_path / "out.h5")
    assert report.written == 3
    assert report.skipped[0].reason == "its unit is unknown in a set of nanomaggies (--zero-point says it)"
    assert "2 images: converted to nanomaggies by MAGZERO 30" in report.notes
    told = notes_of(tmp_path / "in", tmp_path / "told.h5", zero_point=22.5)
    assert "1 images: converted to nanomaggies by the zero point 22.5 that was given" in told
    alone = notes_of(tmp_path / "in" / "unknown0.fits", tmp_path / "alone.h5")
    assert "unit unknown" in alone and "--zero-point" in alone


def test_a_given_scale_does_not_override_what_files_say(tmp_path: Path) -> None:
    cutouts(tmp_path / "in", 2)
    cutouts(tmp_path / "in", 1, scale=0.4, name="other")
    report = import_stamps(tmp_path / "in", tmp_path / "out.h5", pixel_scale=0.262)
    assert [item.reason for item in report.skipped] == ["its own pixel scale is 0.4 arcsec, not 0.262"]


def sizes(folder: Path, sides: tuple[int, ...]) -> Path:
    """Pictures of several sizes, each with a bright middle and a corner of its own colour."""
    folder.mkdir()
    for number, side in enumerate(sides):
        pixels: NDArray[np.uint8] = np.full((side, side, 3), 40, np.uint8)
        pixels[: side // 4, : side // 4] = 200
        Image.fromarray(pixels).save(folder / f"g{number}.png")
    return folder


def test_pictures_of_native_size_are_shown_whole(tmp_path: Path) -> None:
    folder = sizes(tmp_path / "in", (80, 96, 121, 188, 424))
    report = import_stamps(folder, tmp_path / "out.h5")
    assert report.written == 5
    assert "4 images of up to 424 pixels are shown whole, shrunk to 80 x 80 pixels" in "\n".join(report.notes)
    with StampSet(report.out) as stamps:
        assert stamps.shape == (80, 80) and np.isnan(stamps.pixel_scale)
        np.testing.assert_allclose(stamps.column("shrunk").astype(float), np.array([80, 96, 121, 188, 424]) / 80)
        # the corner is there in each
        assert (stamps.pixels(slice(None))[:, :, 5, 5] == 200).all()
    cut = import_stamps(folder, tmp_path / "cut.h5", fit="crop")
    assert "4 images were cut to their central 80 x 80 pixels; --fit shrink shows them whole" in cut.notes
    padded = import_stamps(folder, tmp_path / "padded.h5", fit="pad")
    assert any(note.startswith("4 images are smaller than 424 x 424") for note in padded.notes)
    scaled = import_stamps(folder, tmp_path / "scaled.h5", fit="shrink", pixel_scale=0.262, size=40)
    with StampSet(scaled.out) as stamps:
        scales = stamps.column("pixel_scale").astype(float)
        np.testing.assert_allclose(scales, 0.262 * np.array([80, 96, 121, 188, 424]) / 40)
        assert np.isnan(stamps.pixel_scale)


def test_one_size_shrunk_alike_has_one_scale_and_keeps_its_flux(tmp_path: Path) -> None:
    cutouts(tmp_path / "in", 3, side=48)
    report = import_stamps(tmp_path / "in", tmp_path / "out.h5", fit="shrink", size=24)
    with StampSet(report.out) as stamps:
        assert stamps.pixel_scale == pytest.approx(0.524) and "shrunk" not in stamps.columns
        flux = stamps.pixels(slice(None)).sum(axis=(2, 3))
    np.testing.assert_allclose(flux, [planes(3, 48, seed).sum(axis=(1, 2)) for seed in range(3)], rtol=1e-4)


def test_cut_and_left_out_sizes_are_counted(tmp_path: Path) -> None:
    for number, side in enumerate((24, 24, 24, 30, 40, 9)):
        cutouts(tmp_path / "in" / str(number), 1, side=side)
    report = import_stamps(tmp_path / "in", tmp_path / "out.h5")
    assert report.written == 5
    assert "2 images were cut to their central 24 x 24 pixels; --fit shrink shows them whole" in report.notes
    assert "1 images are smaller than 24 x 24 pixels and left out; --fit pad puts empty sky around them" in report.notes
    assert import_stamps(tmp_path / "in", tmp_path / "pad.h5", fit="pad", size=24).written == 6


def test_links_folders_and_names_as_people_have_them(tmp_path: Path) -> None:
    outside = picture(tmp_path / "elsewhere" / "one.png", seed=1).parent
    folder = tmp_path / "in"
    picture(folder / "a.PNG", seed=2)
    picture(folder / "x.fits" / "b.jpg", seed=3)
    picture(folder / ".hidden" / "c.png")
    picture(folder / ".d.png")
    composed = unicodedata.normalize("NFC", "Galaxié.png")
    picture(folder / unicodedata.normalize("NFD", composed), seed=4)
    (folder / "linked").symlink_to(outside)
    (folder / "link.png").symlink_to(folder / "a.PNG")
    (folder / "loop").symlink_to(folder)
    (folder / "gone.png").symlink_to(tmp_path / "absent.png")
    (folder / "empty.png").touch()
    os.mkfifo(folder / "pipe.png")
    report = import_stamps(folder, tmp_path / "out.h5")
    reasons = {item.file: item.reason for item in report.skipped}
    assert reasons == {
        "empty.png": "empty file",
        "gone.png": "unreadable: No such file or directory",
        "link.png": "the same file as a.PNG, by a link",
        "pipe.png": "not a regular file",
    }
    with StampSet(report.out) as stamps:
        files = [unicodedata.normalize("NFC", str(name)) for name in stamps.column("file")]
    assert files == [composed, "a.PNG", "linked/one.png", "x.fits/b.jpg"] or sorted(files) == sorted(
        [composed, "a.PNG", "linked/one.png", "x.fits/b.jpg"]
    )
    # labels find it whichever form of the letter their table has
    (tmp_path / "labels.csv").write_text(f"file,ring\n{composed},1\n", encoding="utf-8")
    labelled = import_stamps(folder, tmp_path / "labelled.h5", labels=tmp_path / "labels.csv")
    with StampSet(labelled.out) as stamps:
        assert np.nansum(stamps.column("ring").astype(float)) == 1


def test_a_link_to_a_folder_can_be_what_is_imported(tmp_path: Path) -> None:
    picture(tmp_path / "real" / "a.png")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert import_stamps(tmp_path / "link", tmp_path / "out.h5").written == 1
    assert image_files(tmp_path / "link") == (["a.png"], {})


def test_a_folder_that_cannot_be_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(tmp_path / "in" / "a.png")
    picture(tmp_path / "in" / "private" / "b.png")
    listed = os.scandir

    def scan(folder: str) -> object:
        if str(folder).endswith("private"):
            raise PermissionError(13, "Permission denied", str(folder))
        return listed(folder)

    monkeypatch.setattr("os.scandir", scan)
    report = import_stamps(tmp_path / "in", tmp_path / "out.h5")
    assert (report.written, [(item.file, item.reason) for item in report.skipped]) == (
        1,
        [("private", "unreadable: Permission denied")],
    )


def test_a_zero_point_of_0_is_that_of_maggies(tmp_path: Path) -> None:
    """As KiDS has it."""
    write(tmp_path / "in" / "f.fits", planes(1)[0], sky_header(), BUNIT="ADU", MAGZERO=0.0)
    import_stamps(tmp_path / "in", tmp_path / "out.h5", zero_point=0.0)
    with StampSet(tmp_path / "out.h5") as stamps:
        np.testing.assert_allclose(stamps.pixels(np.s_[:1])[0, 1], planes(1)[0] * 1e9, rtol=1e-5)


def test_options_for_fits_files_are_said_to_be_of_no_use_to_pictures(tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a.png")
    assert "--zero-point" in notes_of(tmp_path / "in", tmp_path / "maggies.h5", zero_point=0.0)
    notes = notes_of(tmp_path / "in", tmp_path / "out.h5", bands="r,g,b", zero_point=22.5)
    assert all(f"--{name} is for fluxes in FITS files" in notes for name in ("bands", "zero-point"))


def test_stamp_sets_take_no_options_of_files(tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a.png")
    made = import_stamps(tmp_path / "in", tmp_path / "out.h5").out
    for options in ({"fit": "pad"}, {"group": "1"}, {"zero_point": 22.5}, {"resample": 0.3}):
        with pytest.raises(StampError, match="is for folders of image files"):
            import_stamps(made, tmp_path / "again.h5", **options)  # type: ignore[arg-type]


def test_two_files_of_one_stem_are_both_kept_and_said(tmp_path: Path) -> None:
    for name in ("g1.png", "g1.jpg", "g2.png"):
        picture(tmp_path / "in" / name)
    report = import_stamps(tmp_path / "in", tmp_path / "out.h5")
    assert report.written == 3
    assert "1 names have several files, of other suffixes, first g1; all are kept" in report.notes


def test_files_of_one_band_each_are_told_to_be_of_one_galaxy(tmp_path: Path) -> None:
    for band in "grz":
        for galaxy in ("gal-1", "grz"):
            write(tmp_path / "in" / f"{galaxy}_{band}.fits", planes(3, 24)[0], FILTER=band)
    report = import_stamps(tmp_path / "in", tmp_path / "out.h5")
    assert report.written == 6
    (said,) = [note for note in report.notes if "for each band" in note]
    assert said.startswith("2 galaxies have a file for each band, first gal-1_g.fits, gal-1_r.fits, gal-1_z.fits:")


def test_a_folder_called_like_a_stamp_set_is_a_folder(tmp_path: Path) -> None:
    picture(tmp_path / "field.h5" / "a.png")
    assert import_stamps(tmp_path / "field.h5", tmp_path / "out.h5").written == 1


def test_many_skipped_files_stand_in_a_table_beside_the_set(tmp_path: Path) -> None:
    picture(tmp_path / "in" / "good.png")
    for number in range(30):
        (tmp_path / "in" / f"bad{number}.png").touch()
    report = import_stamps(tmp_path / "in", tmp_path / "out.h5")
    assert report.table == tmp_path / "out.h5.skipped.csv"
    lines = report.table.read_text().splitlines()
    assert (lines[0], len(lines), lines[1]) == ("file,reason", 31, "bad0.png,empty file")
    with StampSet(report.out) as stamps:
        about = stamps.about("import")
    assert (about["skipped"], about["reasons"], len(about["first_skipped"])) == (30, {"empty file": 30}, 20)
    # its own table may be written again, that of somebody else not
    report.out.unlink()
    assert import_stamps(tmp_path / "in", tmp_path / "out.h5").written == 1
    (tmp_path / "other.h5.skipped.csv").write_text("mine")
    with pytest.raises(OutputError, match="is there already"):
        import_stamps(tmp_path / "in", tmp_path / "other.h5")
    assert (tmp_path / "other.h5.skipped.csv").read_text() == "mine"
    assert not (tmp_path / "other.h5").exists()


def test_few_skipped_files_leave_no_table(tmp_path: Path) -> None:
    picture(tmp_path / "in" / "good.png")
    (tmp_path / "in" / "bad.png").touch()
    assert import_stamps(tmp_path / "in", tmp_path / "out.h5").table is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out.h5"]


def test_what_was_assumed_is_kept_in_the_set(tmp_path: Path) -> None:
    cutouts(tmp_path / "in", 3, MAGZERO=30.0)
    report = import_stamps(tmp_path / "in", tmp_path / "out.h5", size=20)
    with StampSet(report.out) as stamps:
        about = stamps.about("import")
    assert about["path"] == str(tmp_path / "in") and about["date"].endswith("UTC")
    assert about["options"] == {"size": 20} and about["bands"] == {"grz": 3}
    assert about["units"] == {"MAGZERO 30": 3} and about["notes"] == list(report.notes)
    again = import_stamps(report.out, tmp_path / "again.h5")
    with StampSet(again.out) as stamps:
        assert stamps.about("import")["import"] == about


def test_long_notes_fit_into_the_set(tmp_path: Path) -> None:
    for number in range(60):
        cards = {"BANDS": "grz", "MAGZERO": 20 + number / 10}
        write(tmp_path / "in" / f"{'x' * 180}{number}.fits", planes(3, 8, number), None, **cards)
    for number in range(200):
        (tmp_path / "in" / f"{'y' * 200}{number}.fits").touch()
    report = import_stamps(tmp_path / "in", tmp_path / "out.h5")
    with StampSet(report.out) as stamps:
        about = stamps.about("import")
    assert about["skipped"] == 200 and len(json.dumps(about)) < 64_000


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"fit": "stretch"}, "crop, shrink, pad"),
        ({"bands": "g,g,r"}, "names no bands"),
        ({"zero_point": float("nan")}, "no zero point"),
        ({"resample": 0.0}, "no pixel scale"),
        ({"resample": 3600.0}, "no pixel scale"),
        ({"size": 100_000}, "cannot be made"),
        ({"pixel_scale": -1.0}, "no pixel scale"),
    ],
)
def test_options_are_checked_before_any_file(tmp_path: Path, options: dict[str, object], what: str) -> None:
    with pytest.raises(StampError, match=what):
        ImportOptions.checked(**options)  # type: ignore[arg-type]
    # the folder is not even looked for
    with pytest.raises(StampError, match=what):
        import_stamps(tmp_path / "absent", tmp_path / "out.h5", **options)  # type: ignore[arg-type]


def test_places_are_checked_before_files_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(tmp_path / "in" / "a.png")
    monkeypatch.setattr("lvm_training.importing.importer._source", lambda *_: pytest.fail("files were read"))
    (tmp_path / "file").touch()
    for out, what in ((tmp_path, "is a folder"), (tmp_path / "file", "exists already")):
        with pytest.raises(StampError, match=what):
            import_stamps(tmp_path / "in", out)
    with pytest.raises(OutputError, match="cannot be written"):
        import_stamps(tmp_path / "in", tmp_path / "file" / "out.h5")


def test_a_failure_at_the_end_leaves_nothing_half_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(tmp_path / "in" / "a.png")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("h5py.File.create_dataset", full)
    with pytest.raises(OSError, match="No space"):
        import_stamps(tmp_path / "in", tmp_path / "out.h5")
    # the journal stays for the next try, which goes on with it
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out.h5.partial"]
    monkeypatch.undo()
    assert import_stamps(tmp_path / "in", tmp_path / "out.h5").written == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out.h5"]


KILLED = """
import os, signal, sys
from pathlib import Path
import h5py
from lvm_training.importing.importer import import_stamps
create = h5py.File.create_dataset
def die(self, name, *rest, **options):
    if name == "file":
        os.kill(os.getpid(), signal.SIGKILL)
    return create(self, name, *rest, **options)
h5py.File.create_dataset = die
import_stamps(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def test_a_kill_while_the_set_is_written_leaves_no_set(tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a.png")
    run = subprocess.run([sys.executable, "-c", KILLED, tmp_path / "in", tmp_path / "out.h5"], timeout=120)
    assert run.returncode == -signal.SIGKILL
    assert not (tmp_path / "out.h5").exists()
    assert import_stamps(tmp_path / "in", tmp_path / "out.h5").written == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out.h5"]


def test_colours_in_a_unit_of_flux_are_fluxes(tmp_path: Path) -> None:
    red = np.array([5.0, 0.1, 0.2], np.float32)[:, None, None] * np.ones((1, 24, 24), np.float32)
    red[:, :2] = -0.1
    write(tmp_path / "in" / "a.fits", red, BANDS="r,g,b", BUNIT="nanomaggy")
    report = import_stamps(tmp_path / "in", tmp_path / "out.h5")
    with StampSet(report.out) as stamps:
        assert stamps.rendering == "nanomaggies"
        np.testing.assert_allclose(stamps.pixels([0])[0, :, 12, 12], [0.2, 0.1, 5.0])


def test_colours_of_a_folder_share_one_white(tmp_path: Path) -> None:
    for number, white in enumerate((3000, 40_000)):
        write(tmp_path / "in" / f"{number}.fits", camera(white=white))
    with pytest.raises(StampError, match=r"None of 2 files can be read: 0\.fits and 1 others: .*--bands r,g,b"):
        import_stamps(tmp_path / "in", tmp_path / "none.h5")
    report = import_stamps(tmp_path / "in", tmp_path / "out.h5", bands="r,g,b")
    with StampSet(report.out) as stamps:
        assert (stamps.rendering, stamps.origin) == ("as-delivered", "lower")
        peaks = stamps.pixels(slice(None)).max(axis=(2, 3)).astype(float)
    np.testing.assert_allclose(peaks[1] / 255, np.array([1, 0.5, 0.25]) * 40_000 / 65_535, atol=0.02)
    np.testing.assert_allclose(peaks[0] / 255, np.array([1, 0.5, 0.25]) * 3000 / 65_535, atol=0.02)


def test_a_band_that_holds_nothing_is_told(tmp_path: Path) -> None:
    """A galaxy without z has the colours of none; a picture of no band is no galaxy."""
    for number, value in enumerate((None, 0.0, np.nan)):
        pixels = planes(3)
        if value is not None:
            pixels[number] = value
        write(tmp_path / "in" / f"g{number}.fits", pixels, **sky_header())
    report = import_stamps(tmp_path / "in", tmp_path / "out.h5")
    assert "2 stamps have a band that holds nothing (column 'bands')" in report.notes
    with StampSet(report.out) as stamps:
        assert stamps.column("bands").tolist() == ["grz", "grz, r empty", "grz, z empty"]


def test_images_of_other_formats_are_said(tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a.png")
    picture(tmp_path / "in" / "b.TIF")
    picture(tmp_path / "in" / "c.gif")
    np.save(tmp_path / "in" / "d.npy", planes(3))
    (tmp_path / "in" / "notes.txt").write_text("seen on Monday", encoding="utf-8")
    report = import_stamps(tmp_path / "in", tmp_path / "out.h5")
    assert [(item.file, item.reason.partition(" ")[0]) for item in report.skipped] == [
        ("b.TIF", "TIFF"),
        ("c.gif", "GIF"),
    ]
    with pytest.raises(StampError, match="TIFF is not read: save it as PNG"):
        import_stamps(tmp_path / "in" / "b.TIF", tmp_path / "other.h5")


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("g0.fits", "g0.weight.fits"),
        ("image-r.fits", "invvar-r.fits"),
        ("h_drz_sci.fits", "h_drz_wht.fits"),
        ("images/g0.fits", "masks/g0.fits"),
        ("skycell.1784.stk.r.unconv.fits", "skycell.1784.stk.r.unconv.wt.fits"),
        ("skycell.1784.stk.r.unconv.fits", "skycell.1784.stk.r.unconv.num.fits"),
        ("0000p000_ac51-w1-int-3.fits", "0000p000_ac51-w1-unc-3.fits.gz"),
        ("0000p000_ac51-w1-int-3.fits", "0000p000_ac51-w1-cov-3.fits.gz"),
        ("unwise-w1-img-m.fits", "unwise-w1-std-m.fits"),
        ("unwise-1497p015-w2-img-m.fits", "unwise-1497p015-w2-n-m.fits.gz"),
        ("unwise-1497p015-w2-img-m.fits", "unwise-1497p015-w2-n-u.fits.gz"),
        ("legacysurvey-1501p020-image-r.fits.fz", "legacysurvey-1501p020-chi2-r.fits.fz"),
        ("legacysurvey-1501p020-image-r.fits.fz", "legacysurvey-1501p020-galdepth-r.fits.fz"),
        (
            "EUC_MER_BGSUB-MOSAIC-VIS_TILE102018211-ACBD03_20241018T142710.276838Z_00.00.fits",
            "EUC_MER_MOSAIC-VIS-RMS_TILE102018211-7F3F0A_20241018T142711.001222Z_00.00.fits",
        ),
    ],
)
def test_masks_and_weights_beside_images_are_no_galaxies(tmp_path: Path, image: str, mask: str) -> None:
    for name in (image, mask, "sky.fits"):
        write(tmp_path / "in" / name, planes(3), sky_header(), BANDS="grz")
    report = import_stamps(tmp_path / "in", tmp_path / "out.h5")
    assert {item.file: item.reason for item in report.skipped} == {
        mask: f"a mask, weight or the like by its name: it lies beside {image}"
    }
    assert report.written == 2, "a galaxy may be called sky"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("pictures.zip", "Unpack pictures.zip"),
        ("cutouts.tar.gz", "Unpack cutouts.tar.gz"),
        ("catalogue.csv", "by --labels"),
        ("x.dat", "HDF5 file"),
    ],
)
def test_what_holds_no_images_says_what_to_do(tmp_path: Path, name: str, hint: str) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).write_bytes(b"PK")
    with pytest.raises(StampError, match=hint):
        import_stamps(tmp_path / "in" / name, tmp_path / "out.h5")
    if "Unpack" in hint:
        with pytest.raises(StampError, match=hint):
            import_stamps(tmp_path / "in", tmp_path / "out.h5")


def test_a_table_of_labels_in_fits_is_no_image_that_is_skipped(tmp_path: Path) -> None:
    write(tmp_path / "in" / "g0.fits", planes(1)[0], sky_header())
    AstropyTable({"file": ["g0.fits"], "ring": [1]}).write(tmp_path / "in" / "Labels.fits")
    report = import_stamps(tmp_path / "in", tmp_path / "out.h5", labels=tmp_path / "in" / "Labels.fits", strict=True)
    assert (report.written, report.skipped) == (1, ())
    write(tmp_path / "image" / "labels.fits", planes(1)[0], sky_header())
    assert image_files(tmp_path / "image") == (["labels.fits"], {})


def test_jpeg_as_windows_names_it_is_read(tmp_path: Path) -> None:
    Image.fromarray(np.arange(768, dtype=np.uint8).reshape(16, 16, 3)).save(tmp_path / "g0.jfif", format="JPEG")
    assert image_files(tmp_path) == (["g0.jfif"], {})
    assert import_stamps(tmp_path, tmp_path / "out.h5").written == 1


def test_two_tiles_and_bands_of_one_survey_are_both_images(tmp_path: Path) -> None:
    names = [
        *(
            f"EUC_MER_BGSUB-MOSAIC-{band}_TILE1020182{tile}-ACBD03_20241018T142710.2Z_00.00.fits"
            for band, tile in (("VIS", 11), ("NIR-H", 11), ("VIS", 12))
        ),
        *(f"unwise-1497p015-w{band}-img-m.fits" for band in (1, 2)),
        "g0_n.fits",
        "g0.fits",
    ]
    for name in names:
        write(tmp_path / "in" / name, planes(1)[0], sky_header())
    assert image_files(tmp_path / "in") == (sorted(names), {})


def test_masks_beside_images_that_are_not_read_are_no_galaxies(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "g0.tif")
    picture(tmp_path / "masks" / "g0.png")
    assert image_files(tmp_path)[1]["masks/g0.png"].endswith("it lies beside images/g0.tif")


@pytest.mark.parametrize("row", ["g{}.png", "g{}"])
def test_labels_are_joined_to_images_beside_masks(tmp_path: Path, row: str) -> None:
    for number in (0, 1):
        picture(tmp_path / "in" / "images" / f"g{number}.png", seed=number)
        picture(tmp_path / "in" / "masks" / f"g{number}.png", seed=number)
    (tmp_path / "labels.csv").write_text(f"file,ring\n{row.format(0)},1\n", encoding="utf-8")
    report = import_stamps(tmp_path / "in", tmp_path / "out.h5", labels=tmp_path / "labels.csv")
    assert "ring of labels.csv joined; 1 of 2 images have no row in it" in report.notes
    with StampSet(report.out) as stamps:
        assert stamps.column("ring").astype(float)[0] == 1


def test_words_that_pictures_have_leave_none_out(tmp_path: Path) -> None:
    """Folders of classes and remarks are no masks; a mask is."""
    names = ["con/g0.png", "g0.png", "sky ring.png", "ring.png", "galaxy 1 error.png", "galaxy 1.png", "var/g0.jpg"]
    for name in (*names, "g0_mask.png"):
        picture(tmp_path / name)
    write(tmp_path / "g1.fits", planes(3))
    write(tmp_path / "time" / "g1.fits", planes(3))
    assert list(image_files(tmp_path)[1]) == ["g0_mask.png"]


@pytest.mark.parametrize("name", ["gal{}-{}.fits", "{1}/gal{0}.fits", "frame_{1}_{0}.fits"])
def test_bands_that_names_alone_say_are_told_of(tmp_path: Path, name: str) -> None:
    for number in range(2):
        for band in "gr":
            write(tmp_path / "in" / name.format(number, band), planes(1)[0], sky_header(), BUNIT="nanomaggy")
    assert "2 galaxies have a file for each band, first" in notes_of(tmp_path / "in", tmp_path / "out.h5")
