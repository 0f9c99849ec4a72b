"""What a demo campaign labels: simulated galaxies, or the user's own with or without labels."""

import csv
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lvm_training.errors import LabelError
from lvm_training.heads.snapshot import Snapshot, read_snapshot
from lvm_training.importing.importer import import_stamps
from lvm_training.paths import LABELS, STAMP_FILE
from lvm_training.progress import Steps
from lvm_training.stamps.stampset import StampSet

TRUTH_COLUMN = "morphology"
MOST_CLASSES = 7


@dataclass(frozen=True)
class DemoData:
    """Stamps, and what is known of them.

    Attributes
    ----------
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
    label_sets : tuple of Path
        Stamp sets those labels name, beside `stamps`.
    skipped : int
        Files that could not be used.
    """

    stamps: Path
    rows: list[int]
    classes: tuple[str, ...] | None = None
    truth: dict[int, str] = field(default_factory=dict)
    labels: Snapshot | None = None
    label_sets: tuple[Path, ...] = ()
    skipped: int = 0


def simulated(repository: Path, tasks: int, seed: int) -> DemoData:
    """Simulated galaxies from the pipeline, with its starting labels."""
    stamps = repository / STAMP_FILE
    with StampSet(stamps) as opened:
        truth = [str(label) for label in opened.column(TRUTH_COLUMN)]
        pool = [row for row, split in enumerate(opened.column("split")) if split == "pool"]
    rows = _draw(pool, tasks, seed)
    labels = read_snapshot(repository / LABELS)
    return DemoData(stamps, rows, truth={row: truth[row] for row in rows}, labels=labels)


def real(
    source: Path,
    *,
    home: Path,
    repository: Path,
    labels: Path | None,
    column: str | None,
    tasks: int,
    seed: int,
    steps: Steps,
) -> DemoData:
    """The user's own galaxies: a stamp set, a Stein chunk or a folder of pictures, imported once into `home`.

    With a label column the campaign starts without labels and has that column's classes; without one the model
    answers with the simulated galaxies' classes.

    Raises
    ------
    LabelError
        If the label column is missing or has fewer than two or more than seven classes.
    StampError
        If nothing in `source` can be used.
    """
    labels = labels or _neighbouring_labels(source)
    if labels is not None and column is None:
        column = label_column(labels)
    stamps = home / "stamps" / f"{source.stem}.h5"
    skipped = 0
    if not _is_current(stamps, [source, *([labels] if labels else [])]):
        stamps.unlink(missing_ok=True)
        with steps(f"Importing {source.name}") as progress:
            skipped = len(import_stamps(source, stamps, labels=labels, strict=False, progress=progress).skipped)
    with StampSet(stamps) as opened:
        n = len(opened)
        values = [str(value) for value in opened.column(column)] if column else []
    if column is None:
        start = read_snapshot(repository / LABELS)
        return DemoData(
            stamps, _draw(range(n), tasks, seed), labels=start, label_sets=(repository / STAMP_FILE,), skipped=skipped
        )
    truth = class_names(values, column)
    rows = _draw(list(truth), tasks, seed)
    classes = tuple(sorted(set(truth.values())))
    return DemoData(stamps, rows, classes, {row: truth[row] for row in rows}, skipped=skipped)


def label_column(labels: Path) -> str:
    """The first column of a label file that names two to seven classes.

    Raises
    ------
    LabelError
        If there is none; the hint lists the columns.
    """
    with labels.open(newline="") as file:
        reader = csv.DictReader(file)
        rows, columns = list(reader), list(reader.fieldnames or [])
    for name in columns:
        if name != "file" and 2 <= len({row[name] for row in rows} - {"", None}) <= MOST_CLASSES:
            return name
    raise LabelError(f"No column of {labels.name} has 2 to 7 classes.", f"Name one: COLUMN={'|'.join(columns)}.")


def class_names(values: list[str], column: str) -> dict[int, str]:
    """The class of each labelled row: the column's values, or `<column>` and `not <column>` where they are 1 and 0.

    Raises
    ------
    LabelError
        If fewer than two or more than seven values occur.
    """
    known = {row: value for row, value in enumerate(values) if value not in ("", "nan")}
    counts = Counter(known.values())
    if not 2 <= len(counts) <= MOST_CLASSES:
        raise LabelError(f"The column {column!r} has {len(counts)} classes.", "Choose one with 2 to 7.")
    numbers = {value: float(value) for value in counts if value.replace(".", "", 1).isdigit()}
    if set(numbers) == set(counts) and set(numbers.values()) == {0.0, 1.0}:
        word = column.replace("_", " ")
        return {row: word if numbers[value] else f"not {word}" for row, value in known.items()}
    return known


def _neighbouring_labels(source: Path) -> Path | None:
    beside = source / "labels.csv"
    return beside if source.is_dir() and beside.is_file() else None


def _is_current(stamps: Path, sources: list[Path]) -> bool:
    if not stamps.is_file():
        return False
    files = [file for source in sources for file in ([source] if source.is_file() else source.rglob("*"))]
    return all(file.stat().st_mtime <= stamps.stat().st_mtime for file in files)


def _draw(rows: range | list[int], n: int, seed: int) -> list[int]:
    drawn = np.random.default_rng(seed).permutation(np.asarray(rows))[:n]
    return sorted(int(row) for row in drawn)
