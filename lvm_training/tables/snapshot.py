"""Label snapshots: what a team had labelled at one moment, as a CSV file with stamp_set, stamp_id and label."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lvm_training.errors import LabelError
from lvm_training.files import write_csv
from lvm_training.tables.cells import Column, Missing
from lvm_training.tables.reading import Table, read_table

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
    notes : sequence of str
        What was assumed when it was read; for people.
    """

    stamp_set: Sequence[str]
    stamp_id: Sequence[int]
    label: Sequence[str]
    notes: Sequence[str] = field(default=(), compare=False)

    def __len__(self) -> int:
        return len(self.label)

    @property
    def digest(self) -> str:
        """SHA-256 of the labels, whatever order they were given in."""
        ordered = self.sorted()
        state = hashlib.sha256()
        for row in zip(ordered.stamp_set, ordered.stamp_id, ordered.label, strict=True):
            state.update("\0".join(map(str, row)).encode() + b"\n")
        return state.hexdigest()

    def sorted(self) -> "Snapshot":
        """The same labels ordered by set and stamp: what a head is trained on, whatever order they were given in."""
        rows = sorted(zip(self.stamp_set, self.stamp_id, self.label, strict=True))
        return Snapshot([row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows])


def read_snapshot(path: Path, missing: Missing | None = None, *, classes: Iterable[str] = ()) -> Snapshot:
    """Read and check a snapshot, from a table of any format; rows without a label are left out and counted.

    Parameters
    ----------
    missing : Missing, optional
        Which cells stand for no label.
    classes : iterable of str
        Names that are labels, whatever `missing` says.

    Raises
    ------
    LabelError
        If the file is missing or no table, lacks a column, names a stamp that cannot be one, or gives one stamp two
        labels; the message names the line.
    """
    unlabelled = (missing or Missing()).without(classes)
    table = read_table(path, missing=unlabelled)
    absent = [name for name in COLUMNS if name not in table.columns]
    if absent:
        raise LabelError(f"{path.name} has no column {', '.join(absent)}.", f"It needs {', '.join(COLUMNS)}.")
    labelled = [row for row in range(len(table)) if _is_label(table.columns["label"], row, unlabelled)]
    rows = [_row(table, row) for row in labelled]
    (name, stamp), count = Counter(row[:2] for row in rows).most_common(1)[0] if rows else (("", 0), 0)
    if count > 1:
        raise LabelError(
            f"{path.name} labels stamp {stamp} of {name} {count} times.", "A snapshot has one label per stamp."
        )
    left_out = len(table) - len(rows)
    notes = [*table.notes, *([f"{left_out} rows without a label are left out"] if left_out else [])]
    named = [f"{path.name}: {note}" for note in notes]
    return Snapshot([row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows], named)


def _is_label(cells: Column, row: int, missing: Missing) -> bool:
    # a class may be called nan, which among numbers is none
    return cells.written[row] not in missing if cells.written else not cells.missing[row]


def _row(table: Table, row: int) -> tuple[str, int, str]:
    name, stamp, label = (table.columns[column] for column in COLUMNS)
    # a class is the text that it is: "true" is not "True", nor "1.0" what a campaign calls 1
    words = [cells.written[row] if cells.written else cells.text(row) for cells in (name, label)]
    number = ROW.fullmatch(stamp.text(row))
    if not all(words) or not number or not "".join(words).isprintable():
        raise LabelError(
            f"Line {table.lines[row]} of {table.name} is not a label: {words[0]!r}, {stamp.text(row)!r}, {words[1]!r}.",
            "Each needs a stamp set, a row number from 0, and a class, of printable characters.",
        )
    return words[0], int(number[0]), words[1]


def write_snapshot(path: Path, snapshot: Snapshot) -> None:
    """Write a snapshot that `read_snapshot` gives back; equal snapshots give equal bytes."""
    write_csv(path, COLUMNS, zip(snapshot.stamp_set, snapshot.stamp_id, snapshot.label, strict=True))
