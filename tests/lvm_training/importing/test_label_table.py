"""Label tables: which row belongs to which stamp, and what its cells mean."""

import math
from pathlib import Path

import pytest

from lvm_training.errors import LabelError
from lvm_training.importing.label_table import LabelTable


def table(folder: Path, text: str, key: str = "file") -> LabelTable:
    """A label table read from CSV text."""
    (folder / "labels.csv").write_text(text, encoding="utf-8")
    return LabelTable.read(folder / "labels.csv", key)


def test_numbers_are_floats_and_text_is_text(tmp_path: Path) -> None:
    labels = table(tmp_path, "file,ring,class,objid,code\na.jpg,1,spiral,1237648720693755918,007\nb.jpg,,,2,8\n")
    assert labels.values("a.jpg") == {"ring": 1.0, "class": "spiral", "objid": "1237648720693755918", "code": "007"}
    blank = labels.values("b.jpg")
    assert math.isnan(blank["ring"])  # type: ignore[arg-type]
    assert (blank["class"], blank["objid"]) == ("", "2")
    missing = labels.values(None)
    assert math.isnan(missing["ring"])  # type: ignore[arg-type]
    assert missing["class"] == missing["code"] == ""


@pytest.mark.parametrize(
    ("cells", "number"),
    [(["1", "-2.5e3"], True), (["0", "nan"], True), (["1", "x"], False), (["", ""], False), (["1_000"], False)],
)
def test_a_column_is_numeric_only_if_all_its_cells_are(tmp_path: Path, cells: list[str], number: bool) -> None:
    rows = "".join(f"{i}.jpg,{cell}\n" for i, cell in enumerate(cells))
    assert table(tmp_path, "file,v\n" + rows).is_number("v") is number


def test_rows_match_with_and_without_leading_folder(tmp_path: Path) -> None:
    labels = table(tmp_path, "file,v\nimages/a.jpg,1\n./images\\b.jpg,2\nc.jpg,3\nmore/d.jpg,4\n")
    files = ["a.jpg", "images/b.jpg", "images/deep/c.jpg", "e.jpg", "xd.jpg"]
    assert labels.matched(files) == {
        "a.jpg": "images/a.jpg",
        "images/b.jpg": "images/b.jpg",
        "images/deep/c.jpg": "c.jpg",
    }


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


def test_no_match_is_explained(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match=r"No row of labels\.csv.*'x\.jpg'; the first stamp is 'a\.jpg'"):
        table(tmp_path, "file,v\nx.jpg,1\n").matched(["a.jpg", "b.jpg"])
    with pytest.raises(LabelError, match="No row"):
        table(tmp_path, "file,v\n").matched(["a.jpg"])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("name,v\na.jpg,1\n", "needs one column 'file'.*it has name, v"),
        ("", "needs one column 'file'"),
        ("file,v,v\na.jpg,1,2\n", "needs one column 'file' and a name for each other"),
        ("file,v\na.jpg,1\na.jpg,2\n", "two different rows"),
        ('file,v\n"a.jpg,1\n', "not a readable CSV"),
        ("file,v\na.jpg,1,2\n", "more cells than columns"),
    ],
)
def test_a_table_that_cannot_be_used_says_why(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(LabelError, match=problem):
        table(tmp_path, text)


def test_other_encodings_and_absent_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "latin.csv").write_bytes("file,näme\na.jpg,1\n".encode("latin-1"))
    for name in ("latin.csv", "absent.csv"):
        with pytest.raises(LabelError, match=f"{name} is not a readable CSV"):
            LabelTable.read(tmp_path / name, "file")


def test_spreadsheet_marks_spaces_and_twin_rows_do_no_harm(tmp_path: Path) -> None:
    labels = table(tmp_path, "\ufefffile , v\n a.jpg , 1 \na.jpg,1\n")
    assert (len(labels), labels.columns, labels.values("a.jpg")) == (1, ["v"], {"v": 1.0})
