"""What a demo campaign labels: simulated galaxies, or the user's own with or without labels."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lvm_training.errors import LabelError, StampError
from lvm_training.importing.importer import LABEL_KEYS, import_stamps
from lvm_training.importing.label_table import folder_labels
from lvm_training.paths import LABELS, STAMP_FILE
from lvm_training.progress import Steps
from lvm_training.stamps.stampset import StampSet
from lvm_training.tables.cells import Missing, class_names
from lvm_training.tables.reading import Table, read_table
from lvm_training.tables.snapshot import Snapshot, read_snapshot

TRUTH_COLUMN = "morphology"
MOST_CLASSES = 7


@dataclass(frozen=True)
class DemoData:
    """Stamps, and what is known of them.

    Attributes
    ----------
    name : str
        What people call it.
    stamps : Path
        The stamp set.
    rows : list of int
        Which of its stamps become tasks.
    classes : tuple of str or None
        The campaign's classes; None takes the morphology label config's.
    truth : dict
        True class by row; empty without labels.
    labels : Snapshot or None
        Labels to start from.
    skipped : int
        Files that could not be used.
    notes : tuple of str
        What was assumed; for people.
    """

    name: str
    stamps: Path
    rows: list[int]
    classes: tuple[str, ...] | None = None
    truth: dict[int, str] = field(default_factory=dict)
    labels: Snapshot | None = None
    skipped: int = 0
    notes: tuple[str, ...] = ()


def simulated(repository: Path, tasks: int, seed: int) -> DemoData:
    """Simulated galaxies from the pipeline, with its starting labels."""
    stamps = repository / STAMP_FILE
    with StampSet(stamps) as opened:
        truth = [str(label) for label in opened.column(TRUTH_COLUMN)]
        pool = [row for row, split in enumerate(opened.column("split")) if split == "pool"]
    rows = _draw(pool, tasks, seed)
    labels = read_snapshot(repository / LABELS)
    return DemoData(stamps.stem, stamps, rows, truth={row: truth[row] for row in rows}, labels=labels)


def real(
    source: Path,
    *,
    home: Path,
    labels: Path | None,
    column: str | None,
    tasks: int,
    seed: int,
    steps: Steps,
    missing: Missing | None = None,
) -> DemoData:
    """The user's own galaxies: a stamp set, a Stein chunk or a folder of pictures, imported once into `home`.

    With a label column the campaign has that column's classes; without one it has those of the morphology label config,
    which the simulator draws.

    Raises
    ------
    LabelError
        If the label column is missing or has fewer than two or more than seven classes.
    StampError
        If nothing in `source` can be used.
    """
    table, column = find_labels(source, labels, column, missing)
    name = source.stem if source.is_file() else source.name
    state = hashlib.sha256(_listing(source).encode())
    if table is not None:
        labels = labels or folder_labels(source)
        state.update(f"{table.digest}{missing}".encode())
    # named by content: the sets of two folders of one name, or of one folder before and after, are not mixed up
    stamps, skipped, notes = home / "stamps" / f"{name}-{state.hexdigest()[:8]}.h5", 0, tuple[str, ...]()
    if not stamps.is_file():
        with steps(f"Importing {source.name}") as progress:
            report = import_stamps(source, stamps, labels=labels, missing=missing, progress=progress)
        skipped, notes = len(report.skipped), report.notes
    with StampSet(stamps) as opened:
        n = len(opened)
        values = class_names(opened.column(column), missing) if column else []
    if column is None:
        return DemoData(name, stamps, _draw(range(n), tasks, seed), skipped=skipped, notes=notes)
    truth = label_classes(values, column)
    rows = _draw(list(truth), tasks, seed)
    classes = tuple(sorted(set(truth.values())))
    return DemoData(name, stamps, rows, classes, {row: truth[row] for row in rows}, skipped=skipped, notes=notes)


def find_labels(
    source: Path, labels: Path | None, column: str | None, missing: Missing | None
) -> tuple[Table | None, str | None]:
    """The table of labels, given or the folder's own, and the column of the classes; None where there is none.

    Raises
    ------
    LabelError
        If the table cannot be read or lacks the column.
    StampError
        If there is no `source`.
    """
    if not source.exists():
        raise StampError(f"There is nothing at {source}.", "Give a folder of images or an HDF5 file.")
    labels = labels or folder_labels(source)
    if labels is None:
        return None, column
    table = read_table(labels, missing=missing, keys=LABEL_KEYS)
    if column is not None and column not in table.columns and source.is_dir():
        raise LabelError(f"{table.name} has no column {column!r}.", f"It has: {', '.join(table.columns)}.")
    return table, column or label_column(table)


def label_column(table: Table) -> str:
    """The first column of a label table that names two to seven classes.

    Raises
    ------
    LabelError
        If there is none; the hint lists the columns.
    """
    for name, column in table.columns.items():
        if name not in LABEL_KEYS and 2 <= len(set(column.texts()) - {""}) <= MOST_CLASSES:
            return name
    raise LabelError(f"No column of {table.name} has 2 to 7 classes.", f"Name one: COLUMN={'|'.join(table.columns)}.")


def label_classes(values: Sequence[str], column: str) -> dict[int, str]:
    """The class of each labelled row: the column's values, or `<column>` and `not <column>` where they are 1 and 0.

    Raises
    ------
    LabelError
        If fewer than two or more than seven values occur.
    """
    known = {row: value for row, value in enumerate(values) if value}
    counts = Counter(known.values())
    if not 2 <= len(counts) <= MOST_CLASSES:
        raise LabelError(f"The column {column!r} has {len(counts)} classes.", "Choose one with 2 to 7.")
    if set(counts) in ({"0", "1"}, {"False", "True"}):
        word = column.replace("_", " ")
        return {row: word if value in ("1", "True") else f"not {word}" for row, value in known.items()}
    return known


def _listing(source: Path) -> str:
    """The files of a folder, or the one, with their sizes and times of change."""
    files = [source] if source.is_file() else sorted(source.rglob("*"))
    found = ((file, file.stat()) for file in files if file.is_file())
    return "\n".join([str(source), *(f"{file} {about.st_size} {about.st_mtime_ns}" for file, about in found)])


def _draw(rows: range | list[int], n: int, seed: int) -> list[int]:
    drawn = np.random.default_rng(seed).permutation(np.asarray(rows))[:n]
    return sorted(int(row) for row in drawn)
