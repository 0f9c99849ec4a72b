"""The labelled set a replay reads: a folder of images or a stamp set, its labels, and the features of both halves."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray

from backend_ml.replay.plan import LabelledSet
from lvm_training.errors import LabelError, StampError
from lvm_training.evaluation.probes import fixed_test_half
from lvm_training.importing.importer import SET_SUFFIXES, import_stamps
from lvm_training.importing.label_table import IN_FOLDER, LabelTable, folder_labels
from lvm_training.model.encoder import Encoder
from lvm_training.pool.embedding import embed_set
from lvm_training.progress import Steps
from lvm_training.stamps.render import render_set
from lvm_training.stamps.stampset import StampSet
from lvm_training.tables.cells import Missing, class_names
from lvm_training.tables.reading import Table, read_table

STAMP_ID = "stamp_id"


@dataclass(frozen=True)
class Reading:
    """A labelled set as read.

    Attributes
    ----------
    data : LabelledSet
    images : Tensor (N, 3, S, S), optional
        Its rendered pictures, where they were asked for.
    unlabelled, skipped : int
        Images without a label, and files that could not be used.
    notes : tuple of str
        What was assumed of the images and labels; for people.
    """

    data: LabelledSet
    images: torch.Tensor | None
    unlabelled: int
    skipped: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Labelled:
    """The labelled stamps of a set.

    Attributes
    ----------
    stamps : Path
        The stamp set.
    rows : ndarray (N,)
        Those of it that have a label.
    labels : sequence of str
        Their N classes.
    test : ndarray of bool (N,)
        Which are of the test half.
    unlabelled, skipped, notes
        As of `Reading`.
    """

    stamps: Path
    rows: NDArray[np.int64]
    labels: Sequence[str]
    test: NDArray[np.bool_]
    unlabelled: int
    skipped: int
    notes: tuple[str, ...] = ()


def read_labelled(
    source: Path,
    *,
    labels: Path | None,
    column: str,
    encoder: Encoder,
    work: Path,
    steps: Steps,
    missing: Missing | None = None,
    pixel_scale: float | None = None,
    pictures: bool = False,
) -> Reading:
    """Read a folder of images or a stamp set with its labels; features are kept in `work` for the next replay.

    Parameters
    ----------
    source : Path
        A folder of pictures or FITS images, or a stamp set (HDF5).
    labels : Path, optional
        Table with `column` and `file`, or for a stamp set `stamp_id`, the row. By default the folder's `labels.csv`,
        or the stamp set's own columns. Images without a value are left out.
    column : str
        Where the classes are.
    encoder : Encoder
        Makes the features.
    work : Path
        Where features are kept.
    steps : callable
        Shows long work.
    missing : Missing, optional
        Which values stand for no label.
    pixel_scale : float, optional
        arcsec, for images that do not say.
    pictures : bool
        Whether the rendered pictures are needed as well.

    Raises
    ------
    LabelError
        If there are no labels, no such column, or labels of images that are not there.
    StampError
        If nothing in `source` can be read.
    """
    reading = labelled_stamps(
        source, labels=labels, column=column, steps=steps, missing=missing, pixel_scale=pixel_scale
    )
    with reading as known, StampSet(known.stamps) as stamps:
        features = features_of(known, encoder, work, steps)
        images = render_set(stamps, known.rows, encoder.rendering) if pictures else None
        data = LabelledSet(features, known.labels, known.test)
        return Reading(data, images, known.unlabelled, known.skipped, known.notes)


@contextmanager
def labelled_stamps(
    source: Path,
    *,
    labels: Path | None,
    column: str,
    steps: Steps,
    missing: Missing | None = None,
    pixel_scale: float | None = None,
) -> Iterator[Labelled]:
    """A labelled set without features, which any number of encoders may make while this context lasts.

    Parameters and errors are those of `read_labelled`.
    """
    if not source.exists():
        raise StampError(f"There is nothing at {source}.", "Give a folder of images or a stamp set.")
    is_set = source.suffix.lower() in SET_SUFFIXES
    if not is_set and labels is None:
        labels = folder_labels(source)
        if labels is None:
            raise LabelError(f"There are no labels at {source / IN_FOLDER}.", "Name the table with --labels.")
    # before thousands of files are read
    table = None if labels is None else _labels(labels, column, missing)
    if is_set:
        yield _read(source, table=table, column=column, missing=missing, skipped=())
        return
    with TemporaryDirectory() as scratch:
        stamps = Path(scratch) / f"{source.resolve().name}.h5"
        with steps(f"Importing {source.name}") as progress:
            report = import_stamps(source, stamps, pixel_scale=pixel_scale, progress=progress)
        skipped = [item.file for item in report.skipped]
        known = _read(stamps, table=table, column=column, missing=missing, skipped=skipped)
        yield replace(known, notes=(*report.notes, *known.notes))


def features_of(known: Labelled, encoder: Encoder, work: Path, steps: Steps) -> NDArray[np.float32]:
    """Features (N, D) of the labelled stamps, from a file in `work` that holds those of the whole set.

    Raises
    ------
    FeaturesError
        If it cannot be written.
    """
    with StampSet(known.stamps) as stamps, steps(f"Embedding {stamps.name} with {encoder.preset}") as progress:
        return embed_set(stamps, encoder, work, progress=progress).rows(known.rows)


def _labels(path: Path, column: str, missing: Missing | None) -> Table:
    table = read_table(path, missing=missing, keys=(STAMP_ID, "file"))
    if column not in table.columns:
        others = [name for name in table.columns if name not in (STAMP_ID, "file")]
        raise LabelError(f"{path.name} has no column {column!r}.", f"It has: {', '.join(others) or 'none'}.")
    return table


def _read(path: Path, *, table: Table | None, column: str, missing: Missing | None, skipped: Sequence[str]) -> Labelled:
    notes: tuple[str, ...] = ()
    with StampSet(path) as stamps:
        files = [str(name) for name in stamps.column("file")] if "file" in stamps.columns else []
        if table is not None:
            key = STAMP_ID if not files or STAMP_ID in table.columns else "file"
            labels = LabelTable(table, key)
            names = list(map(str, range(len(stamps)))) if key == STAMP_ID else files
            values, notes = _joined(labels, column, names, skipped), labels.notes
        elif column in stamps.columns:
            values = class_names(stamps.column(column), missing)
        else:
            raise LabelError(
                f"{path.name} has no column {column!r}.", f"It has: {', '.join(stamps.columns)}. Or give --labels."
            )
        rows = np.flatnonzero([value != "" for value in values])
        halves = fixed_test_half(files or [f"{stamps.name}-{row}" for row in range(len(stamps))])
    known = [values[row] for row in rows]
    return Labelled(path, rows, known, halves[rows], len(values) - len(rows), len(skipped), notes)


def _joined(table: LabelTable, column: str, names: Sequence[str], skipped: Sequence[str]) -> list[str]:
    """The class of each name; "" without one."""
    found = table.matched(names, skipped)
    absent = table.unmatched(found, skipped)
    if absent:
        raise LabelError(
            f"{len(absent)} rows of {table.name} name images that are not there, first {absent[0]!r}.",
            "Add the images, or take the rows out: what is measured must be the whole set.",
        )
    return table.texts(column, map(found.get, names))
