"""Label snapshots: what a team had labelled at one moment, as a CSV file with stamp_set, stamp_id and label."""

import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lvm_training.errors import LabelError
from lvm_training.files import write_csv

COLUMNS = ("stamp_set", "stamp_id", "label")
ROW = re.compile("[0-9]{1,18}")


@dataclass(frozen=True)
class Snapshot:
    """Labels by stamp, one entry of each sequence per label.

    Attributes
    ----------
    stamp_set : sequence of str
        Name of the stamp set.
    stamp_id : sequence of int
        Row in that set.
    label : sequence of str
        The class.
    """

    stamp_set: Sequence[str]
    stamp_id: Sequence[int]
    label: Sequence[str]

    def __len__(self) -> int:
        return len(self.label)

    def sorted(self) -> "Snapshot":
        """The same labels ordered by set and stamp: what a head is trained on, whatever order they were given in."""
        rows = sorted(zip(self.stamp_set, self.stamp_id, self.label, strict=True))
        return Snapshot([row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows])


def read_snapshot(path: Path) -> Snapshot:
    """Read and check a snapshot.

    Raises
    ------
    LabelError
        If the file is missing or not CSV, lacks a column, has an empty cell or a `stamp_id` that is no row number, or
        gives one stamp two labels; the message names the line.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, strict=True)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or [])]
            if missing:
                raise LabelError(f"{path.name} has no column {', '.join(missing)}.", f"It needs {', '.join(COLUMNS)}.")
            rows = [_row(path, reader.line_num, record) for record in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise LabelError(f"{path} is not a readable CSV file ({error}).", "Save it as UTF-8 CSV.") from error
    (name, stamp), count = Counter(row[:2] for row in rows).most_common(1)[0] if rows else (("", 0), 0)
    if count > 1:
        raise LabelError(
            f"{path.name} labels stamp {stamp} of {name} {count} times.", "A snapshot has one label per stamp."
        )
    return Snapshot([row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows])


def _row(path: Path, line: int, record: dict[str, str | None]) -> tuple[str, int, str]:
    name, stamp, label = ((record[column] or "").strip() for column in COLUMNS)
    row = ROW.fullmatch(stamp)
    if not name or not label or not row or not (name + label).isprintable():
        raise LabelError(
            f"Line {line} of {path.name} is not a label: {name!r}, {stamp!r}, {label!r}.",
            "Each needs a stamp set, a row number from 0, and a class, of printable characters.",
        )
    return name, int(stamp), label


def write_snapshot(path: Path, snapshot: Snapshot) -> None:
    """Write a snapshot that `read_snapshot` gives back; equal snapshots give equal bytes."""
    write_csv(path, COLUMNS, zip(snapshot.stamp_set, snapshot.stamp_id, snapshot.label, strict=True))
