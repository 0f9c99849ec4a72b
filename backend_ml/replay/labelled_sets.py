"""The labelled set a replay reads: a folder of images or a stamp set, its labels, and the features of both halves."""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

import numpy as np
import torch

from backend_ml.replay.plan import LabelledSet
from lvm_training.errors import LabelError
from lvm_training.evaluation.probes import fixed_test_half
from lvm_training.importing.importer import SET_SUFFIXES, import_stamps
from lvm_training.importing.label_table import LabelTable
from lvm_training.model.encoder import Encoder
from lvm_training.pool.embedding import embed_set
from lvm_training.progress import Steps
from lvm_training.stamps.render import render_set
from lvm_training.stamps.stampset import StampSet

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
    """

    data: LabelledSet
    images: torch.Tensor | None
    unlabelled: int
    skipped: int


def read_labelled(
    source: Path,
    *,
    labels: Path | None,
    column: str,
    encoder: Encoder,
    work: Path,
    steps: Steps,
    pixel_scale: float | None = None,
    pictures: bool = False,
) -> Reading:
    """Read a folder of images or a stamp set with its labels; features are kept in `work` for the next replay.

    Parameters
    ----------
    source : Path
        A folder of pictures or FITS images, or a stamp set (HDF5).
    labels : Path, optional
        CSV file with `column` and `file`, or for a stamp set `stamp_id`, the row. By default the folder's `labels.csv`,
        or the stamp set's own columns. Images without a value are left out.
    column : str
        Where the classes are.
    encoder : Encoder
        Makes the features.
    work : Path
        Where features are kept.
    steps : callable
        Shows long work.
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
    if source.suffix.lower() in SET_SUFFIXES:
        return _read(source, labels, column, encoder, work, steps, (), pictures)
    labels = labels or source / "labels.csv"
    if not labels.is_file():
        raise LabelError(f"There are no labels at {labels}.", "Name the CSV file with --labels.")
    with TemporaryDirectory() as scratch:
        stamps = Path(scratch) / f"{source.resolve().name}.h5"
        with steps(f"Importing {source.name}") as progress:
            report = import_stamps(source, stamps, pixel_scale=pixel_scale, progress=progress)
        skipped = [item.file for item in report.skipped]
        return _read(stamps, labels, column, encoder, work, steps, skipped, pictures)


def _read(
    path: Path,
    labels: Path | None,
    column: str,
    encoder: Encoder,
    work: Path,
    steps: Steps,
    skipped: Sequence[str],
    pictures: bool,
) -> Reading:
    with StampSet(path) as stamps:
        files = [str(name) for name in stamps.column("file")] if "file" in stamps.columns else []
        if labels is not None:
            key = STAMP_ID if not files or _has(labels, STAMP_ID) else "file"
            names = list(map(str, range(len(stamps)))) if key == STAMP_ID else files
            values = _joined(labels, key, column, names, skipped)
        elif column in stamps.columns:
            values = [_text(value) for value in stamps.column(column).tolist()]
        else:
            raise LabelError(
                f"{path.name} has no column {column!r}.", f"It has: {', '.join(stamps.columns)}. Or give --labels."
            )
        rows = np.flatnonzero([value != "" for value in values])
        halves = fixed_test_half(files or [f"{stamps.name}-{row}" for row in range(len(stamps))])
        with steps(f"Embedding {stamps.name}") as progress:
            features = embed_set(stamps, encoder, work, progress=progress).rows(rows)
        images = render_set(stamps, rows, encoder.rendering) if pictures else None
    data = LabelledSet(features, [values[row] for row in rows], halves[rows])
    return Reading(data, images, len(values) - len(rows), len(skipped))


def _joined(labels: Path, key: str, column: str, names: Sequence[str], skipped: Sequence[str]) -> list[str]:
    """The class of each name; "" without one."""
    table = LabelTable.read(labels, key)
    if column not in table.columns:
        raise LabelError(f"{labels.name} has no column {column!r}.", f"It has: {', '.join(table.columns) or 'none'}.")
    found = table.matched([*names, *skipped])
    missing = _unmatched(labels, key, set(found.values()))
    if missing:
        raise LabelError(
            f"{len(missing)} rows of {labels.name} name images that are not there, first {missing[0]!r}.",
            "Add the images, or take the rows out: what is measured must be the whole set.",
        )
    return [_text(table.values(found.get(name))[column]) for name in names]


def _unmatched(labels: Path, key: str, found: set[str]) -> list[str]:
    with labels.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.DictReader(stream)
        reader.fieldnames = [name.strip() for name in reader.fieldnames or []]
        named = [(row[key] or "").strip().replace("\\", "/") for row in reader]
    return [name for name in named if PurePosixPath(name).as_posix().lstrip("/") not in found]


def _has(labels: Path, column: str) -> bool:
    try:
        with labels.open(newline="", encoding="utf-8-sig") as stream:
            return column in [name.strip() for name in next(csv.reader(stream), [])]
    except (OSError, UnicodeDecodeError) as error:
        raise LabelError(f"{labels} is not a readable CSV file ({error}).", "Save it as UTF-8 CSV.") from error


def _text(value: object) -> str:
    """A class name: numbers without a needless fraction, and "" for NaN."""
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:g}"
    return str(value).strip()
