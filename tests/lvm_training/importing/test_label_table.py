"""Label tables: which row belongs to which stamp, and what its cells mean."""

import math
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table as AstropyTable

from lvm_training.errors import LabelError
from lvm_training.importing.label_table import LabelTable, folder_labels


def table(folder: Path, text: str, key: str = "file") -> LabelTable:
    """A label table read from CSV text."""
    (folder / "labels.csv").write_text(text, encoding="utf-8")
    return LabelTable.read(folder / "labels.csv", key)


def stored(labels: LabelTable, *keys: str | None) -> dict[str, list[object]]:
    return {name: column.stored().tolist() for name, column in labels.taken(keys).items()}


def test_columns_are_stored_by_their_type(tmp_path: Path) -> None:
    labels = table(
        tmp_path,
        "file,ring,class,objid,code,bar,z\na.jpg,1,spiral,1237648720693755918,007,True,.5\nb.jpg,0,,2,8,False,\n",
    )
    found = stored(labels, "a.jpg", "b.jpg")
    assert math.isnan(found["z"].pop())  # type: ignore[arg-type]
    assert found == {
        "ring": [1, 0],
        "class": ["spiral", ""],
        "objid": [1237648720693755918, 2],
        "code": ["007", "8"],
        "bar": [True, False],
        "z": [0.5],
    }
    assert [type(found[name][0]) for name in ("ring", "objid", "bar")] == [int, int, bool]


def test_a_stamp_without_a_row_makes_integers_floats_or_exact_text(tmp_path: Path) -> None:
    labels = table(tmp_path, "file,ring,objid,bar\na.jpg,1,1237648720693755918,True\n")
    found = stored(labels, None, "a.jpg")
    assert math.isnan(found["ring"][0]) and math.isnan(found["bar"][0])  # type: ignore[arg-type]
    assert (found["ring"][1], found["bar"][1], found["objid"]) == (1.0, 1.0, ["", "1237648720693755918"])
    assert labels.texts("bar", [None, "a.jpg"]) == ["", "True"]


def test_file_names_of_macos_are_found(tmp_path: Path) -> None:
    labels = table(tmp_path, "file,v\nre\u0301gion/1.jpg,1\n")
    assert labels.matched(["r\u00e9gion/1.jpg"]) == {"r\u00e9gion/1.jpg": "r\u00e9gion/1.jpg"}
    assert table(tmp_path, "file,v\nr\u00e9gion/1.jpg,1\n").matched(["re\u0301gion/1.jpg"])


def test_rows_match_with_and_without_leading_folder(tmp_path: Path) -> None:
    labels = table(tmp_path, "file,v\nimages/a.jpg,1\n./images\\b.jpg,2\nc.jpg,3\nmore/d.jpg,4\n")
    files = ["a.jpg", "images/b.jpg", "images/deep/c.jpg", "e.jpg", "xd.jpg"]
    assert labels.matched(files) == {
        "a.jpg": "images/a.jpg",
        "images/b.jpg": "images/b.jpg",
        "images/deep/c.jpg": "c.jpg",
    }


def test_rows_may_name_files_without_their_suffix(tmp_path: Path) -> None:
    """As catalogues name galaxies; but not where some row has a file's whole name."""
    labels = table(tmp_path, "file,v\nJ0051-01.5,1\n12,2\n")
    files = ["images/J0051-01.5.jpg", "12.fits.fz", "13.JPG"]
    assert labels.matched(files) == {"images/J0051-01.5.jpg": "J0051-01.5", "12.fits.fz": "12"}
    assert "files are named without their suffix" in labels.notes
    labels = table(tmp_path, "file,v\nJ001655.18-002739,1\na.b,2\n")
    assert labels.matched(["J001655.18-002739.1", "", "a.b.png"]) == {"a.b.png": "a.b"}, "no other dot is cut"
    labels = table(tmp_path, "file,v\na,1\nb.jpg,2\n")
    assert labels.matched(["a.jpg", "b.jpg"]) == {"b.jpg": "b.jpg"} and not labels.notes
    with pytest.raises(LabelError, match=r"'a' may be 'a\.jpg' or 'a\.png'.*Write names with their suffix\."):
        table(tmp_path, "file,v\na,1\n").matched(["a.jpg", "a.png"])


def test_rows_of_files_that_are_no_stamps_go_to_no_others(tmp_path: Path) -> None:
    files = ["images/a.png", "old/b.png", "c.fits"]
    left_out = ["masks/a.png", "b.png", "c.jpg"]
    labels = table(tmp_path, "file,v\na.png,1\nb.png,2\nelsewhere.png,3\n")
    found = labels.matched(files, left_out)
    assert found == {"images/a.png": "a.png"}, "b.png is the one that could not be read"
    assert labels.unmatched(found, left_out) == ["elsewhere.png"]
    labels = table(tmp_path, "file,v\nc,1\nb,2\nin/masks/a,3\n")
    found = labels.matched(files, left_out)
    assert found == {"c.fits": "c"} and labels.unmatched(found, left_out) == []


def test_a_whole_path_goes_before_a_partial_one(tmp_path: Path) -> None:
    labels = table(tmp_path, "file,v\n1.jpg,1\ntest/1.jpg,2\n")
    assert labels.matched(["1.jpg", "test/1.jpg"]) == {"1.jpg": "1.jpg", "test/1.jpg": "test/1.jpg"}


@pytest.mark.parametrize(
    ("names", "files"),
    [(["1.jpg"], ["train/1.jpg", "test/1.jpg"]), (["train/1.jpg", "test/1.jpg"], ["1.jpg"])],
)
def test_a_row_that_may_be_two_stamps_is_refused(tmp_path: Path, names: list[str], files: list[str]) -> None:
    labels = table(tmp_path, "file,v\n" + "".join(f"{name},1\n" for name in names))
    with pytest.raises(LabelError, match=r"1\.jpg.* or .*1\.jpg.*with their folders"):
        labels.matched(files)


@pytest.mark.parametrize("end", [".fits", ".PNG", ".fits.gz"])
def test_rows_may_name_the_files_of_another_format(tmp_path: Path, end: str) -> None:
    labels = table(tmp_path, f"file,v\ncut/a{end},1\ncut/b{end},2\ncut/c{end},3\n")
    found = labels.matched(["b.png", "in/cut/a.png"], ["cut/c" + end])
    assert found == {"b.png": f"cut/b{end}", "in/cut/a.png": f"cut/a{end}"}
    assert labels.unmatched(found) == [f"cut/c{end}"]
    assert labels.notes == ("files are named with another suffix",)


def test_rows_of_other_formats_that_may_be_one_stamp_are_refused(tmp_path: Path) -> None:
    labels = table(tmp_path, "file,v\na.fits,1\na.jpg,2\n")
    with pytest.raises(LabelError, match=r"'a' may be 'a\.fits' or 'a\.jpg'.*with their suffix"):
        labels.matched(["a.png"])
    with pytest.raises(LabelError, match="No row"):
        table(tmp_path, "file,v\na.fits,1\n").matched(["a.png"], ["a.fits"])


def test_no_match_is_explained(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match=r"No row of labels\.csv.*'x\.jpg'; the first stamp is 'a\.jpg'"):
        table(tmp_path, "file,v\nx.jpg,1\n").matched(["a.jpg", "b.jpg"])
    with pytest.raises(LabelError, match="No row"):
        table(tmp_path, "file,v\n").matched(["a.jpg"])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("name,v\na.jpg,1\n", "needs a column 'file'; it has name, v"),
        ("", "needs a column 'file'; it has none"),
        ("file,v,v\na.jpg,1,2\n", "two different columns 'v'"),
        ("file,v\na.jpg,1\na.jpg,2\n", "gives a.jpg two different rows: 'v' in lines 2 and 3"),
        ('file,v\n"a.jpg,1\n', "not a readable table"),
        ("file,v\na.jpg,1,2\n", "more cells than columns"),
        ("file,v\n1.2379E+18,1\n1.2379E+18,1\n", r"the ids in 'file' went through floats.*as text or integers"),
    ],
)
def test_a_table_that_cannot_be_used_says_why(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(LabelError, match=problem):
        table(tmp_path, text)


def test_rows_that_cannot_be_used_are_counted(tmp_path: Path) -> None:
    labels = table(tmp_path, "\ufefffile , v\n a.jpg , 1 \na.jpg,1\n,2\n\n,,\n")
    assert (len(labels), labels.columns, labels.texts("v", ["a.jpg"])) == (1, ["v"], ["1"])
    assert labels.notes == ("1 rows without a file are left out", "1 rows are the same as others")


@pytest.mark.parametrize(
    "name", ["labels.csv", "Labels.csv", "LABELS.CSV", "labels.tsv", "labels.xlsx", "labels.parquet", "labels.vot"]
)
def test_the_table_of_a_folder_is_found_in_every_format(tmp_path: Path, name: str) -> None:
    assert folder_labels(tmp_path) is None
    (tmp_path / "labels.txt").write_text("spiral, smooth")
    (tmp_path / "my-labels.csv").touch()
    (tmp_path / "labels.ecsv").mkdir()
    assert folder_labels(tmp_path) is None
    (tmp_path / name).touch()
    assert folder_labels(tmp_path) == tmp_path / name
    (tmp_path / "labels.csv").touch()
    assert folder_labels(tmp_path) == tmp_path / "labels.csv"
    assert folder_labels(tmp_path / "labels.csv") is None


def test_a_fits_file_of_labels_is_a_table_or_an_image(tmp_path: Path) -> None:
    fits.PrimaryHDU(np.ones((8, 8), dtype=np.int16)).writeto(tmp_path / "labels.fits")
    assert folder_labels(tmp_path) is None, "a map of segments is no table"
    AstropyTable({"file": ["g0.png"], "ring": [1]}).write(tmp_path / "labels.fits", overwrite=True)
    found = folder_labels(tmp_path)
    assert found is not None and LabelTable.read(found, "file").columns == ["ring"]


def test_names_of_the_web_and_of_windows_are_found(tmp_path: Path) -> None:
    labels = table(
        tmp_path,
        "file,v\na%20b.png,1\nC:\\Users\\x\\in\\c.PNG,2\nhttps://host/d/%C3%A9.png?w=9,3\nE F.png,4\nplain.png,5\n",
    )
    found = labels.matched(["a b.png", "c.png", "d/é.png", "e f.png", "plain.png"])
    assert {file: labels.texts("v", [key]) for file, key in found.items()} == {
        "a b.png": ["1"],
        "c.png": ["2"],
        "d/é.png": ["3"],
        "e f.png": ["4"],
        "plain.png": ["5"],
    }
    assert "4 files are named with other capitals or as on the web" in labels.notes
    assert table(tmp_path, "file,v\na%20b.png,1\n").matched(["a%20b.png"])


def test_files_that_differ_as_the_web_writes_them_stay_apart(tmp_path: Path) -> None:
    files = ["a b.png", "a%20b.png"]
    assert table(tmp_path, "file,v\na b.png,1\n").matched(files) == {"a b.png": "a b.png"}
    assert table(tmp_path, "file,v\na%20b.png,1\na b.png,2\n").matched(files) == {file: file for file in files}
    addresses = "https://host/cut.jpg?ra=1,1\nhttps://host/cut.jpg?ra=2,2\n"  # of services, which name no files
    assert table(tmp_path, f"file,v\n{addresses}b.png,3\n").matched(["cut.jpg", "b.png"]) == {"b.png": "b.png"}


def test_files_that_differ_in_capitals_alone_stay_apart(tmp_path: Path) -> None:
    labels = table(tmp_path, "file,v\nA.png,1\nB.png,2\n")
    assert labels.matched(["A.png", "a.png", "b.png", "B.PNG"]) == {"A.png": "A.png"}
