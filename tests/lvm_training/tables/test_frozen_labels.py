"""Frozen labels: the same labels are the same file, and an edited one is refused by its name."""

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from lvm_training.errors import LabelError
from lvm_training.tables.frozen_labels import AUDIT, TRAINING, Answer, FrozenLabels, find_frozen
from lvm_training.tables.snapshot import Snapshot

NOON = datetime(2026, 1, 1, 12, 0, 0, 123456, UTC)


def answer(row: int, said: str, split: str = TRAINING, person: str = "person 1") -> Answer:
    return Answer("sky", row, NOON + timedelta(seconds=row), person, said, said, 1, 1, split, "morphology-1")


LABELS = FrozenLabels(
    "morphology",
    ("spiral", "édge-on"),
    "majority",
    (answer(0, "spiral"), answer(1, "édge-on"), answer(1, "édge-on", person="person 2"), answer(2, "spiral", AUDIT)),
)


def written(folder: Path, labels: FrozenLabels = LABELS, campaign: str = "Rings of M 31!") -> Path:
    path = folder / labels.file_name(campaign)
    labels.write(path)
    return path


def test_it_comes_back_and_equal_labels_are_equal_bytes(tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    path = written(tmp_path)
    assert path.name == f"rings-of-m-31-{LABELS.digest[:12]}.parquet"
    assert FrozenLabels.read(path) == LABELS
    assert path.read_bytes() == written(tmp_path / "again").read_bytes()
    assert LABELS.snapshot == Snapshot(["sky", "sky"], [0, 1], ["spiral", "édge-on"]) and LABELS.judged == 1


def test_every_part_of_it_is_in_its_name(tmp_path: Path) -> None:
    first = LABELS.answers[0]
    others = [
        *(FrozenLabels("morphology", LABELS.classes, "majority", (first._replace(**{name: value}), *LABELS.answers[1:]))
          for name, value in (("label", "édge-on"), ("said", "édge-on"), ("annotator", "person 3"), ("stamp_id", 9),
                              ("at", NOON), ("shown", ""), ("split", AUDIT), ("agreeing", 2), ("answers", 2),
                              ("stamp_set", "other"))
          if getattr(first, name) != value),
        FrozenLabels("interest", LABELS.classes, "majority", LABELS.answers),
        FrozenLabels("morphology", LABELS.classes[::-1], "majority", LABELS.answers),
        FrozenLabels("morphology", LABELS.classes, "dawid-skene", LABELS.answers),
        FrozenLabels("morphology", LABELS.classes, "majority", ()),
    ]  # fmt: skip
    assert len({one.digest for one in (LABELS, *others)}) == len(others) + 1 > 12
    for one in others:
        assert FrozenLabels.read(written(tmp_path, one)) == one


def test_a_file_that_was_edited_is_refused_and_named(tmp_path: Path) -> None:
    path = written(tmp_path)
    table = parquet.read_table(path)
    labels = table.column("label").to_pylist()
    labels[0] = "édge-on"
    place = table.schema.get_field_index("label")
    parquet.write_table(table.set_column(place, "label", pa.array(labels)), path)
    with pytest.raises(LabelError, match=rf"{path.name} was changed after it was frozen") as caught:
        FrozenLabels.read(path)
    assert "Label Studio" in caught.value.hint
    path.rename(path.with_name("rings.parquet"))
    with pytest.raises(LabelError, match="no name of frozen labels"):
        FrozenLabels.read(path.with_name("rings.parquet"))


def test_the_same_content_written_otherwise_is_the_same(tmp_path: Path) -> None:
    path = written(tmp_path)
    table = parquet.read_table(path)
    place = table.schema.get_field_index("at")
    elsewhere = timezone(timedelta(hours=9))
    times = pa.array([one.at.astimezone(elsewhere) for one in LABELS.answers], pa.timestamp("ns", tz="Asia/Tokyo"))
    parquet.write_table(table.set_column(place, "at", times), path, compression="none")
    assert FrozenLabels.read(path) == LABELS


@pytest.mark.parametrize("content", [b"", b"PAR1", b"stamp_set,stamp_id,label\n"])
def test_what_is_no_such_file_is_said(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / LABELS.file_name("x")
    with pytest.raises(LabelError, match="There are no labels at"):
        FrozenLabels.read(path)
    path.write_bytes(content)
    with pytest.raises(LabelError, match="holds no frozen labels"):
        FrozenLabels.read(path)


@pytest.mark.parametrize("metadata", [{}, {b"galaxyloop": b'{"format":2}'}, {b"galaxyloop": b"[]"}])
def test_another_parquet_file_is_refused(tmp_path: Path, metadata: dict[bytes, bytes]) -> None:
    path = tmp_path / LABELS.file_name("x")
    parquet.write_table(pa.table({"label": ["a"]}).replace_schema_metadata(metadata), path)
    with pytest.raises(LabelError, match="holds no frozen labels"):
        FrozenLabels.read(path)


def test_it_is_found_by_its_hash_whatever_its_campaign_was_called(tmp_path: Path) -> None:
    assert find_frozen(tmp_path / "none", LABELS.digest) is None
    path = written(tmp_path, campaign="é")
    assert path.name.startswith("campaign-") and find_frozen(tmp_path, LABELS.digest) == path
    assert find_frozen(tmp_path, "0" * 64) is None


def test_the_digest_of_labels_hangs_on_each_and_not_on_their_order() -> None:
    labels = Snapshot(["a", "b"], [1, 2], ["x", "y"])
    assert labels.digest == Snapshot(["b", "a"], [2, 1], ["y", "x"]).digest
    others = [Snapshot(["a", "b"], [1, 3], ["x", "y"]), Snapshot(["a", "b"], [1, 2], ["x", "x"]), Snapshot([], [], [])]
    assert len({labels.digest, *(one.digest for one in others)}) == 4
