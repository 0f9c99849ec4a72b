"""Imports of HDF5 files: each row is looked at, and what can be read of a damaged file is taken."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from astropy.io import fits

from lvm_training.errors import StampError
from lvm_training.importing.importer import Skipped, import_stamps
from lvm_training.stamps.stampset import StampSet, StampWriter
from lvm_training.stamps.summary import summary
from tests.lvm_training.importing.import_inputs import cutout, pictures, stein


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
