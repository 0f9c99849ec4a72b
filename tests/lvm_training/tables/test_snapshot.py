"""Label snapshots: what is written comes back, and a bad line is named."""

from pathlib import Path

import pytest

from lvm_training.errors import LabelError
from lvm_training.tables.cells import Missing
from lvm_training.tables.snapshot import Snapshot, read_snapshot, write_snapshot

HEADER = "stamp_set,stamp_id,label\n"


def test_round_trip(tmp_path: Path) -> None:
    snapshot = Snapshot(["b", "a, c", "a"], [3, 0, 12], ["spiral", 'said "odd"', "edge-on disc"])
    write_snapshot(tmp_path / "deep" / "labels.csv", snapshot)
    assert read_snapshot(tmp_path / "deep" / "labels.csv") == snapshot
    assert len(snapshot) == 3
    write_snapshot(tmp_path / "again.csv", snapshot)
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "deep" / "labels.csv").read_bytes()


@pytest.mark.parametrize("name", ["#1", "# 1", "a#1", 'the "sky"', "a, b", "it's"])
def test_a_set_may_be_called_as_it_likes(tmp_path: Path, name: str) -> None:
    snapshot = Snapshot([name, name], [0, 1], ["#spiral", "round"])
    write_snapshot(tmp_path / "labels.csv", snapshot)
    assert read_snapshot(tmp_path / "labels.csv") == snapshot


def test_sorted_keeps_each_label_with_its_stamp() -> None:
    snapshot = Snapshot(["b", "a", "a"], [3, 12, 9], ["x", "y", "z"])
    assert snapshot.sorted() == Snapshot(["a", "a", "b"], [9, 12, 3], ["z", "y", "x"])


def test_other_columns_and_a_byte_order_mark_are_ignored(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("\ufefflabel,annotator,stamp_id,stamp_set\nspiral,ana,4,m\n", encoding="utf-8")
    assert read_snapshot(path) == Snapshot(["m"], [4], ["spiral"])


def test_rows_without_a_label_are_left_out_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(HEADER.replace(",", "; ") + "m;1;spiral\nm;2.0;\nm;3;NA\nm;4\n;;\n", encoding="utf-16")
    found = read_snapshot(path)
    assert found == Snapshot(["m"], [1], ["spiral"])
    assert "labels.csv: 3 rows without a label are left out" in found.notes
    assert read_snapshot(path, Missing.declared("")) == Snapshot(["m", "m"], [1, 3], ["spiral", "NA"])


@pytest.mark.parametrize("classes", [["true", "false"], ["1.0", "0.0"], ["1", "0"], ["007", "8"]])
def test_classes_stay_as_they_are_written(tmp_path: Path, classes: list[str]) -> None:
    snapshot = Snapshot(["7", "7"], [0, 1], classes)
    write_snapshot(tmp_path / "labels.csv", snapshot)
    assert read_snapshot(tmp_path / "labels.csv") == snapshot


@pytest.mark.parametrize("classes", [["-", "ring"], ["N/A", "null"], ["nan", "1"], ["-99", "1"]])
def test_words_for_missing_values_are_classes_where_a_campaign_has_them(tmp_path: Path, classes: list[str]) -> None:
    snapshot = Snapshot(["m", "m"], [0, 1], classes)
    write_snapshot(tmp_path / "labels.csv", snapshot)
    assert read_snapshot(tmp_path / "labels.csv", Missing.declared("-99"), classes=classes) == snapshot
    (tmp_path / "more.csv").write_text((tmp_path / "labels.csv").read_text() + "m,2,\nm,3,NA\n", encoding="utf-8")
    more = read_snapshot(tmp_path / "more.csv", classes=classes)
    assert (more.stamp_id, more.label) == ([0, 1], classes), "NA and nothing are no classes of it"


def test_an_empty_snapshot(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    write_snapshot(path, Snapshot([], [], []))
    assert len(read_snapshot(path)) == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column stamp_set, stamp_id, label"),
        ("stamp_set,label\nm,spiral\n", "no column stamp_id"),
        (HEADER + "m,1,spiral\nm,-1,spiral\n", "Line 3"),
        (HEADER + "m,1.5,spiral\n", "Line 2"),
        (HEADER + "m,²,spiral\n", "Line 2"),
        (HEADER + "m,,spiral\n", "Line 2"),
        (HEADER + ",1,spiral\n", "Line 2"),
        (HEADER + "m,1,spi\0ral\n", "line 2: character"),
        (HEADER + "m\x1b[2J,1,spiral\n", "line 2: character"),
        (HEADER + f"m,{'9' * 5000},spiral\n", "Line 2"),
        (HEADER + "m,1,spiral\nm,2,spiral\nm,1,round\n", "labels stamp 1 of m 2 times"),
        (HEADER + '"m,1,spiral\n', "not a readable table"),
    ],
)
def test_a_bad_snapshot_says_where(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(LabelError, match=message):
        read_snapshot(path)


def test_a_snapshot_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="not a readable table"):
        read_snapshot(tmp_path / "labels.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(LabelError, match="not a readable table"):
        read_snapshot(tmp_path / "binary.csv")
