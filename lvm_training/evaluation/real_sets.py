"""Folders of real pictures with people's labels, by task; most are tasks that simulated stamps can teach.

Such a set is a folder with pictures and a `labels.csv`, whose column `file` names them. What other columns mean is in
`COLUMNS`; those that it does not know are passed over, and so are pictures that cannot be read.
"""

import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from lvm_training.errors import LabelError, StampError
from lvm_training.images.pictures import read_picture
from lvm_training.stamps.rendering import Rendering
from lvm_training.tables.reading import read_table

TABLE, FILE = "labels.csv", "file"
NO, YES = "0", "1"
CANDIDATES, CONFIRMED = "lens-candidates-cfhtls", "lenses-panstarrs"
FIELDS: Mapping[str, float] = MappingProxyType({CANDIDATES: 23.0, CONFIRMED: 30.0, "rings-decals": 67.1})
"""Arcsec across the pictures of sets of which that is known."""

_SPELLINGS = {"round_smooth": "completely_round_smooth"}
_GRADES = {"lens": YES, "unlikely": NO}


def _at_least_half(value: str) -> str:
    """An attribute from 0 to 1 as yes or no; -1 is not judged (Baillard et al. 2011)."""
    strength = float(value)
    return "" if strength < 0 else YES if strength >= 0.5 else NO


def _galaxy_zoo_merger(value: str) -> str:
    return "" if value in ("", "dont_know") else YES if value == "merger" else NO


# by column of labels.csv: the task, and the class that a value stands for
COLUMNS: Mapping[str, tuple[str, Callable[[str], str]]] = MappingProxyType(
    {
        "morphology5": ("morphology5", lambda value: _SPELLINGS.get(value, value)),
        "morphology7": ("morphology7", str),
        "odd_spiral": ("odd_spiral", str),
        "ring": ("ring", str),
        "inner_ring": ("ring", _at_least_half),
        "bar_length": ("bar", _at_least_half),
        "perturbation": ("perturbation", _at_least_half),
        "morphology": ("merger", _galaxy_zoo_merger),
        "grade": ("lens", lambda value: _GRADES.get(value, "")),
    }
)


@dataclass(frozen=True)
class RealSet:
    """Real pictures of one set.

    Attributes
    ----------
    name : str
        Its folder.
    pictures : Tensor (N, 3, S, S) uint8
        R, G, B: what an encoder reads of them; whole pictures where `FIELDS` does not say how much sky they show.
    labels : mapping of str to ndarray (N,) of str
        Classes by task, empty where there is none.
    files : tuple of str
        What the N pictures are called in the table.
    """

    name: str
    pictures: torch.Tensor
    labels: Mapping[str, NDArray[np.str_]]
    files: tuple[str, ...]


def set_folders(root: Path) -> list[Path]:
    """The folders of sets below `root`, or `root` itself if it is one; none if it does not exist."""
    return sorted(table.parent for table in (root / TABLE, *root.glob(f"*/{TABLE}")) if table.is_file())


def listed_rows(folder: Path, columns: Collection[str]) -> list[dict[str, str]]:
    """The rows of a set's table: its column `file`, and those of `columns` that it has, "" where a value is missing.

    Raises
    ------
    LabelError
        If it is no table.
    """
    table = read_table(folder / TABLE, wanted=lambda header: {FILE, *columns} & set(header))
    cells = {}
    for name, column in table.columns.items():
        texts = column.written or column.texts()
        cells[name] = ["" if gone else text for text, gone in zip(texts, column.missing, strict=True)]
    return [{name: column[row] for name, column in cells.items()} for row in range(len(table))]


def read_set(folder: Path, rendering: Rendering, *, most: int | None = None) -> RealSet | None:
    """Pictures of a set as an encoder reads them, at most `most` of each class of each task; None without such a task.

    Which ones they are follows from the names of their files, so that each machine takes the same.

    Raises
    ------
    LabelError
        If the table has no column `file`, or a value that is no number where one belongs.
    StampError
        If pictures with labels cannot be read, all of them.
    """
    rows = listed_rows(folder, COLUMNS)
    known = [column for column in COLUMNS if rows and column in rows[0]]
    if not known:
        return None
    if FILE not in rows[0]:
        raise LabelError(f"{folder / TABLE} has no column `file`.", "It names the picture of each row.")
    rows.sort(key=lambda row: hashlib.sha256(Path(row[FILE]).name.encode()).digest())
    labels = {COLUMNS[column][0]: _classes(folder, rows, column) for column in known}
    chosen = sorted({row for values in labels.values() for row in _first(values, most)})
    pictures, kept, share = [], [], _read_share(folder.name, rendering)
    for row in chosen:
        try:
            pictures.append(_picture(folder / rows[row][FILE], rendering.size, share))
        except (StampError, OSError):
            continue
        kept.append(row)
    if chosen and not kept:
        raise StampError(f"No picture of {folder} can be read.", f"{TABLE} names them in its column `file`.")
    if not kept:
        return None
    stacked = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()
    files = tuple(rows[row][FILE] for row in kept)
    return RealSet(folder.name, stacked, {task: values[kept] for task, values in labels.items()}, files)


def _classes(folder: Path, rows: list[dict[str, str]], column: str) -> NDArray[np.str_]:
    meaning = COLUMNS[column][1]
    try:
        return np.array([meaning(row[column]) for row in rows], dtype=np.str_)
    except ValueError as error:
        raise LabelError(
            f"{folder / TABLE}, column {column}: {error}.", "It holds numbers from 0 to 1, or -1."
        ) from error


def _first(values: NDArray[np.str_], most: int | None) -> list[int]:
    """Rows of the first `most` of each class."""
    return [int(row) for name in np.unique(values) if name for row in np.flatnonzero(values == name)[:most]]


def _read_share(name: str, rendering: Rendering) -> float:
    """Share of a picture's width that an encoder reads: the middle, where the set shows more sky."""
    return min(1.0, rendering.field / FIELDS[name]) if name in FIELDS else 1.0


def _picture(path: Path, size: int, share: float) -> NDArray[np.uint8]:
    colours = Image.fromarray(np.moveaxis(read_picture(path), 0, -1))
    left, top = (side * (1 - share) / 2 for side in colours.size)
    middle = (left, top, colours.width - left, colours.height - top)
    return np.asarray(colours.resize((size, size), Image.Resampling.BICUBIC, box=middle))
