"""Columns of imported sets: labels are joined, names and types kept, and what is left out is said."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from lvm_training.errors import LabelError
from lvm_training.importing import importer
from lvm_training.importing.importer import import_stamps
from lvm_training.stamps.stampset import StampSet
from lvm_training.tables.cells import Missing
from tests.lvm_training.importing.import_inputs import cutout, pictures, stein


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


@pytest.mark.parametrize("given", [5, 2**60 + 77])
def test_ids_of_the_stamps_lose_no_digit_where_a_table_has_gaps(tmp_path: Path, given: int) -> None:
    stein(tmp_path / "chunk.h5", 4)
    (tmp_path / "labels.csv").write_text(f"source_row,inds,ra\n1,{given},7\n2,,\n")
    report = import_stamps(tmp_path / "chunk.h5", tmp_path / "out.h5", labels=tmp_path / "labels.csv")
    with StampSet(report.out) as stamps:
        assert stamps.column("inds").tolist() == [2**60, given, 2**60 + 2, 2**60 + 3]
        assert stamps.column("ra").tolist() == pytest.approx([0, 7, 239.333333, 359])


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


def test_words_that_are_stored_as_bytes_keep_their_letters(tmp_path: Path) -> None:
    stein(tmp_path / "chunk.h5", 3)
    with h5py.File(tmp_path / "chunk.h5", "a") as file:
        file["class"] = np.array(["bogenförmig".encode(), b"arc", "rund-é".encode()])
        file["latin"] = np.array(["é".encode("latin-1"), "é".encode(), b"e"])
        file.create_dataset("vlen", data=["é".encode(), b"", b"a"], dtype=h5py.string_dtype("ascii"))
    with StampSet(tmp_path / "chunk.h5") as stamps:
        assert stamps.column("class").tolist() == ["bogenförmig", "arc", "rund-é"]
        assert stamps.column("latin").tolist() == ["é", "é", "e"]
        assert stamps.column("vlen").tolist() == ["é", "", "a"]


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
