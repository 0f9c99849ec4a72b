"""Imports: folders and HDF5 files in, stamp sets out, nothing lost on the way."""

import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from numpy.typing import NDArray
from PIL import Image

from lvm_training.errors import LabelError, StampError
from lvm_training.importing import importer
from lvm_training.importing.importer import Skipped, import_stamps
from lvm_training.stamps.stampset import StampSet, StampWriter
from lvm_training.stamps.summary import summary
from lvm_training.tables.cells import Missing


def noise(side: int, seed: int = 0) -> NDArray[np.uint8]:
    """A picture (side, side, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3)).astype(np.uint8)


def pictures(folder: Path, count: int = 5, side: int = 16) -> Path:
    """A folder of `count` PNG files."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        Image.fromarray(noise(side, index)).save(folder / f"g{index}.png")
    return folder


def cutout(path: Path, seed: int = 0, side: int = 16, scale: float | None = 0.262) -> Path:
    """A g, r, z FITS cutout."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = fits.Header()
    if scale is not None:
        wcs = WCS(naxis=2)
        wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
        wcs.wcs.crval = [10.0 + seed, 5.0]
        wcs.wcs.crpix = [(side + 1) / 2] * 2
        wcs.wcs.cdelt = [-scale / 3600, scale / 3600]
        header = wcs.to_header()
    pixels = np.random.default_rng(seed).normal(size=(3, side, side)).astype(np.float32)
    fits.PrimaryHDU(pixels, header).writeto(path)
    return path


def stein(path: Path, count: int = 150, side: int = 12) -> NDArray[np.float32]:
    """A Stein chunk with catalogue columns; its pixels are given back."""
    images = np.random.default_rng(1).normal(size=(count, 3, side, side)).astype(np.float32)
    with h5py.File(path, "w") as file:
        file["images"] = images
        file["ra"] = np.linspace(0, 359, count)
        file["flux"] = np.arange(count)[:, None] * np.arange(1, 4, dtype=np.float32)
        file["inds"] = np.arange(count, dtype=np.int64) + 2**60
        file["source_type"] = np.array([b"SER", b"DEV", b"PSF"])[np.arange(count) % 3]
    return images


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


def test_a_stein_file_is_checked_row_by_row(tmp_path: Path) -> None:
    images = stein(tmp_path / "chunk.h5")
    with h5py.File(tmp_path / "chunk.h5", "a") as file:
        file["images"][17] = np.nan
        file["images"][70, :, :8] = np.nan
        file["images"][149] = 0
        file["images"][3, 0, 0, 0] = np.nan
    report = import_stamps(tmp_path / "chunk.h5", tmp_path / "out.h5")
    assert report.skipped == (
        Skipped("row 17", "all NaN"),
        Skipped("row 70", "NaN-filled: 67% of the pixels"),
        Skipped("row 149", "empty: every pixel is the same"),
    )
    kept = np.setdiff1d(np.arange(150), [17, 70, 149])
    with StampSet(report.out) as stamps:
        assert (stamps.rendering, stamps.pixel_scale, stamps.origin) == ("nanomaggies", 0.262, "lower")
        assert stamps.columns == ["flux_g", "flux_r", "flux_z", "inds", "ra", "source_row", "source_type"]
        np.testing.assert_array_equal(stamps.column("flux_r"), 2 * kept)
        np.testing.assert_array_equal(stamps.column("source_row"), kept)
        np.testing.assert_array_equal(stamps.column("inds"), kept + 2**60)
        assert stamps.column("source_type")[:3].tolist() == ["SER", "DEV", "PSF"]
        np.testing.assert_array_equal(stamps.pixels(slice(4, None)), images[kept[4:]])
        assert np.isnan(stamps.pixels([3])[0, 0, 0, 0])


def test_a_damaged_chunk_costs_only_its_own_rows(tmp_path: Path) -> None:
    images = np.random.default_rng(1).normal(size=(40, 3, 12, 12)).astype(np.float32)
    with h5py.File(tmp_path / "chunk.h5", "w") as file:
        data = file.create_dataset("images", data=images, chunks=(8, 3, 12, 12), compression="gzip")
        place = data.id.get_chunk_info(2).byte_offset
    content = bytearray((tmp_path / "chunk.h5").read_bytes())
    content[place : place + 400] = bytes(400)
    (tmp_path / "chunk.h5").write_bytes(content)
    report = import_stamps(tmp_path / "chunk.h5", tmp_path / "out.h5")
    assert [skipped.file for skipped in report.skipped] == [f"row {row}" for row in range(16, 24)]
    assert {skipped.reason for skipped in report.skipped} == {"unreadable: its part of the file is damaged"}
    with StampSet(report.out) as stamps:
        np.testing.assert_array_equal(stamps.pixels(slice(None)), np.delete(images, range(16, 24), axis=0))


@pytest.mark.parametrize("compression", [None, "gzip", "lzf"])
def test_of_a_file_that_was_cut_off_the_rows_that_are_there_are_taken(tmp_path: Path, compression: str | None) -> None:
    images = np.random.default_rng(1).normal(size=(40, 3, 12, 12)).astype(np.float32)
    path = tmp_path / "chunk.h5"
    with h5py.File(path, "w") as file:
        file["ra"] = np.arange(40.0)
        chunks = None if compression is None else (8, 3, 12, 12)
        file.create_dataset("images", data=images, chunks=chunks, compression=compression)
        file["dec"] = np.arange(40.0)
        file["name"] = np.array([f"g{row}" for row in range(40)], dtype=object)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(StampError, match=r"cut off.*data import"):
        StampSet(path)
    report = import_stamps(path, tmp_path / "out.h5")
    lost = [int(item.file.removeprefix("row ")) for item in report.skipped]
    assert 5 < len(lost) < 20 and lost == list(range(40 - len(lost), 40)) and report.written + len(lost) == 40
    assert report.notes[0] == f"the file was cut off: its last {len(whole) - len(whole) * 2 // 3:,} bytes are not there"
    assert "dec: left out, it has damaged cells" in report.notes or "name: left out" in "".join(report.notes)
    with StampSet(report.out) as stamps:
        np.testing.assert_array_equal(stamps.pixels(slice(None)), images[: report.written])
        assert stamps.column("ra").tolist() == list(range(report.written))
    path.write_bytes(whole[:100])
    with pytest.raises(StampError, match="not a readable HDF5"):
        import_stamps(path, tmp_path / "none.h5")


def test_what_a_set_says_of_itself_goes_on_with_it(tmp_path: Path) -> None:
    kept = {"survey": {"survey": "legacy-surveys", "layer": "ls-dr10"}, "labels": {"path": "votes.csv"}}
    writer = StampWriter(tmp_path / "fetched.h5", (12, 12), source="legacy-surveys 0123")
    writer.append(np.random.default_rng(0).normal(size=(3, 3, 12, 12)).astype(np.float32), {"file": ["a", "b", "c"]})
    for name, document in kept.items():
        writer.describe(name, document)
    writer.finish()
    with StampSet(import_stamps(tmp_path / "fetched.h5", tmp_path / "out.h5", size=8).out) as stamps:
        assert {name: stamps.about(name) for name in kept} == kept
    (tmp_path / "own.csv").write_text("file,kind\na,ring\n")
    again = import_stamps(tmp_path / "out.h5", tmp_path / "labelled.h5", labels=tmp_path / "own.csv")
    with StampSet(again.out) as stamps:
        assert stamps.about("survey") == kept["survey"] and stamps.about("labels") != kept["labels"]


def test_saturated_pixels_are_counted(tmp_path: Path) -> None:
    for seed, level in enumerate((1e9, 2.0, 1.0)):
        path = cutout(tmp_path / "in" / f"g{seed}.fits", seed)
        fits.setval(path, "SATURATE", value=level)
    report = import_stamps(tmp_path / "in", tmp_path / "out.h5")
    with StampSet(report.out) as stamps:
        counts = stamps.column("saturated").tolist()
        expected = [(stamps.pixels([row])[0] >= level).any(axis=0).sum() for row, level in enumerate((1e9, 2, 1))]
        assert counts == expected and counts[0] == 0 < counts[1] < counts[2]
        said = f"2 stamps have saturated pixels, up to {counts[2]}"
        assert summary(stamps)["saturated"] == said and f"{said} (column 'saturated')" in report.notes
    few = import_stamps(tmp_path / "in" / "g0.fits", tmp_path / "none.h5")
    with StampSet(few.out) as stamps:
        assert summary(stamps)["saturated"] == "none" and not any("saturated" in note for note in few.notes)
    with StampSet(import_stamps(pictures(tmp_path / "png"), tmp_path / "png.h5").out) as stamps:
        assert "saturated" not in summary(stamps) and "saturated" not in stamps.columns


def test_a_stein_file_can_be_cropped_but_not_enlarged(tmp_path: Path) -> None:
    images = stein(tmp_path / "chunk.h5")
    import_stamps(tmp_path / "chunk.h5", tmp_path / "out.h5", size=8)
    with StampSet(tmp_path / "out.h5") as stamps:
        np.testing.assert_array_equal(stamps.pixels([5])[0], images[5, :, 2:10, 2:10])
    with pytest.raises(StampError, match="smaller than 13"):
        import_stamps(tmp_path / "chunk.h5", tmp_path / "more.h5", size=13)


def test_labels_are_joined_by_file(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "in" / "images", 3)
    (tmp_path / "labels.csv").write_text(
        "file,ring,class\nimages/g0.png,1,spiral\nimages/g2.png,0,\nimages/x.png,1,a\n"
    )
    for path in (folder, folder.parent):
        report = import_stamps(path, tmp_path / f"{path.name}.h5", labels=tmp_path / "labels.csv")
        assert report.notes[1:] == ("1 rows of labels.csv name no stamp here",)
        with StampSet(report.out) as stamps:
            np.testing.assert_array_equal(stamps.column("ring"), [1, np.nan, 0])
            assert stamps.column("class").tolist() == ["spiral", "", ""]


def test_columns_keep_their_names_types_and_what_was_assumed(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "in", 3)
    table = tmp_path / "labels.csv"
    table.write_text("file;S;S/N;S%2FN;.;id\n" + "".join(f"g{i}.png;x;{5 + i}.5;a;NA;{2**62 + i}\n" for i in range(3)))
    report = import_stamps(folder, tmp_path / "out.h5", labels=table)
    with StampSet(report.out) as stamps:
        assert stamps.columns == [".", "S", "S%2FN", "S/N", "file", "id"]
        assert stamps.column("S/N").tolist() == [5.5, 6.5, 7.5]
        assert stamps.column("S").tolist() == ["x"] * 3 and stamps.column("S%2FN").tolist() == ["a"] * 3
        assert stamps.column("id").tolist() == [2**62, 2**62 + 1, 2**62 + 2]
        assert set(stamps.catalogue()) == set(stamps.columns)
        about = stamps.about("labels")
        assert (stamps.about("nothing"), stamps.about("rendering")) == ({}, {})
    assert (about["file"], about["rows"], about["joined"]) == ("labels.csv", 3, 3)
    assert about["columns"]["S/N"] == "number" and about["notes"] == list(report.notes)
    assert report.notes == (
        "S, S/N, S%2FN, ., id of labels.csv joined",
        "labels.csv: .: 3 cells NA are taken as missing (--missing says which are)",
    )
    again = import_stamps(report.out, tmp_path / "again.h5")
    with StampSet(again.out) as stamps:
        assert stamps.column("S/N").tolist() == [5.5, 6.5, 7.5]


def test_missing_cells_can_be_declared(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "in", 3)
    (tmp_path / "labels.csv").write_text("file,region,mag\ng0.png,NA,-99\ng1.png,EU,20\ng2.png,?,21\n")
    report = import_stamps(
        folder, tmp_path / "out.h5", labels=tmp_path / "labels.csv", missing=Missing.declared("?,-99")
    )
    with StampSet(report.out) as stamps:
        assert stamps.column("region").tolist() == ["NA", "EU", ""]
        np.testing.assert_array_equal(stamps.column("mag"), [np.nan, 20, 21])


def test_integers_keep_their_type_over_batches_with_gaps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importer, "BATCH", 2)
    folder = pictures(tmp_path / "in", 6)
    rows = "".join(f"g{i}.png,{2**60 + i},{i}\n" for i in range(5))
    (tmp_path / "labels.csv").write_text("file,id,n\n" + rows)
    with StampSet(import_stamps(folder, tmp_path / "out.h5", labels=tmp_path / "labels.csv").out) as stamps:
        assert stamps.column("id").tolist() == [*(str(2**60 + i) for i in range(5)), ""]
        np.testing.assert_array_equal(stamps.column("n"), [0, 1, 2, 3, 4, np.nan])


def test_columns_that_are_no_single_values_are_left_out_with_a_note(tmp_path: Path) -> None:
    stein(tmp_path / "chunk.h5", 6)
    with h5py.File(tmp_path / "chunk.h5", "a") as file:
        file["catalogue"] = np.zeros(6, dtype=[("id", "<i8"), ("type", "S8")])
        file.create_dataset("flags", (6,), h5py.vlen_dtype(np.int32))
        file.create_dataset("flux5", (6,), np.dtype((np.float32, (5,))))
        file.create_dataset("link", (6,), h5py.ref_dtype)
        file["shapelets"], file["psf"] = np.ones((6, 5)), np.ones((6, 2, 2))
        file["few"], file["version"], file["group/ra"] = np.ones(5), 3, np.ones(6)
        file["away"] = h5py.SoftLink("/nowhere")
        h5py.h5d.create(file.id, b"time", h5py.h5t.UNIX_D32LE, h5py.h5s.create_simple((6,)))
        file["column"] = np.arange(6.0)[:, None]
        file["shape"] = np.ones(6, complex)
        words = h5py.enum_dtype({"ROUND": 1, "SPIRAL": 0}, basetype="i4")
        file.create_dataset("class", data=np.array([0, 1, 1, 0, 1, 7]), dtype=words)
        file["seen"] = np.array([True, False] * 3)
        file["latin"] = np.array(["é".encode("latin-1")] * 6)
    with StampSet(tmp_path / "chunk.h5") as stamps:
        assert set(stamps.left_out) == {"catalogue", "flags", "flux5", "link", "shape"} | {
            "shapelets",
            "psf",
            "away",
            "time",
            "few",
            "version",
            "group",
        }
        assert stamps.column("column").tolist() == list(range(6))
        assert stamps.column("class").tolist() == ["SPIRAL", "ROUND", "ROUND", "SPIRAL", "ROUND", "7"]
        assert stamps.column("seen").tolist() == [True, False] * 3
        assert set(stamps.catalogue()) == set(stamps.columns)
    report = import_stamps(tmp_path / "chunk.h5", tmp_path / "out.h5")
    assert "catalogue: left out, it has compound cells of id, type" in report.notes
    assert "flags: left out, it has arrays as cells" in report.notes
    assert "shapelets: left out, it has arrays of 5 as cells" in report.notes
    assert "few: left out, it has 5 rows for 6 stamps" in report.notes
    assert "version: left out, it has one value for all stamps" in report.notes
    assert "group: left out, it has datasets of its own: it is a group" in report.notes
    assert "class: read as the words ROUND, SPIRAL" in report.notes
    with StampSet(report.out) as stamps:
        assert stamps.column("class")[:2].tolist() == ["SPIRAL", "ROUND"]
        assert stamps.column("seen").tolist() == [True, False] * 3


def test_labels_of_a_stein_file_are_joined_by_row(tmp_path: Path) -> None:
    stein(tmp_path / "chunk.h5")
    (tmp_path / "labels.csv").write_text("source_row,lens\n149,1\n0,0\n")
    import_stamps(tmp_path / "chunk.h5", tmp_path / "out.h5", labels=tmp_path / "labels.csv")
    with StampSet(tmp_path / "out.h5") as stamps:
        lens = stamps.column("lens").astype(float)
    assert (lens[0], lens[149], np.isnan(lens).sum()) == (0, 1, 148)
    (tmp_path / "labels.csv").write_text("file,lens\na,1\n")
    with pytest.raises(LabelError, match="'source_row'"):
        import_stamps(tmp_path / "chunk.h5", tmp_path / "more.h5", labels=tmp_path / "labels.csv")


def test_labels_may_say_where_a_stamp_lies(tmp_path: Path) -> None:
    cutout(tmp_path / "in" / "a.fits", scale=None)
    cutout(tmp_path / "in" / "cutout_7.0_8.0.fits", scale=None)
    (tmp_path / "labels.csv").write_text("file,ra,dec\na.fits,1.5,-2\n")
    import_stamps(tmp_path / "in", tmp_path / "out.h5", labels=tmp_path / "labels.csv")
    with StampSet(tmp_path / "out.h5") as stamps:
        assert stamps.column("ra").tolist() == [1.5, 7]
        assert stamps.column("dec").tolist() == [-2, 8]
    (tmp_path / "labels.csv").write_text("file,ra,dec\na.fits,10:00:00,-00:30:00\n")
    report = import_stamps(tmp_path / "in", tmp_path / "hours.h5", labels=tmp_path / "labels.csv")
    assert "labels.csv: ra: 1 sexagesimal cells are read as hours and kept in degrees" in report.notes
    with StampSet(report.out) as stamps:
        np.testing.assert_allclose(stamps.column("ra").astype(float), [150, 7])
        np.testing.assert_allclose(stamps.column("dec").astype(float), [-0.5, 8])
    (tmp_path / "labels.csv").write_text("file,ra\na.fits,somewhere\n")
    with pytest.raises(LabelError, match="'ra' in line 2"):
        import_stamps(tmp_path / "in", tmp_path / "more.h5", labels=tmp_path / "labels.csv")


def test_labels_that_fit_nothing_leave_no_file(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("file,ring\nx.png,1\n")
    with pytest.raises(LabelError, match="No row"):
        import_stamps(pictures(tmp_path / "in"), tmp_path / "out.h5", labels=tmp_path / "labels.csv")
    assert not list(tmp_path.glob("out.h5*"))


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
