"""Catalogue columns beside the image: numbers and vectors of each galaxy made features that any head takes."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from lvm_training.errors import GalaxyLoopError
from lvm_training.heads.head import SavedHead
from lvm_training.stamps.stampset import StampSet
from lvm_training.tables.cells import SENTINELS

FILE = ".npy"
REACH = 5.0  # of a column's own scale: what lies farther counts as so far
SENTINEL_BELOW = -90.0  # a column without another value so low holds marks of missing ones there
MOST_SQUARED = 8  # columns whose squares and products are taken too
MOST_NUMBERS = 4096  # of one vector
MOST_READ = 50_000  # stamps of a set that what is usual in its columns is learned from
COMPARED_FROM = 20  # known values from which on a column's middle is compared with the one that was learned
NORMAL = 0.5 * (0.8413 - 0.1587)

Values = Mapping[str, NDArray[np.float64]]


class ColumnError(GalaxyLoopError):
    """A column beside the image that is not there, or cannot be used."""

    code = "column"


class Beside(SavedHead):
    """What makes features of columns: each less its median, over its scale, 0 and marked where a value is missing.

    A column's scale is half the width of the middle 68 % of its values. Of few columns the squares and products are
    taken too, since a redshift is no line in colours (Connolly et al. 1995, AJ 110, 2655, section 3). Heads penalise
    every feature alike, and an image has hundreds of them: columns are repeated until together they weigh as much.

    Parameters
    ----------
    widths : ndarray (K,)
        Numbers of each column: 1, or those of a vector.
    centre, scale : ndarray (sum of widths,)
    missing : ndarray (K,)
        Share of the values that were missing when it was fitted. A column without any tells nothing.
    times : ndarray (1,)
        How often the features are repeated.
    classes : tuple of str
        Names of the columns.
    """

    kind: ClassVar[str] = "beside"
    parts: ClassVar[tuple[str, ...]] = ("widths", "centre", "scale", "missing", "times")

    widths: NDArray[np.float32]
    centre: NDArray[np.float32]
    scale: NDArray[np.float32]
    missing: NDArray[np.float32]
    times: NDArray[np.float32]

    @classmethod
    def fit(cls, values: Values, *, image: int) -> Self:
        """What is usual in the columns of N galaxies.

        Parameters
        ----------
        values : mapping of str to ndarray (N,) or (N, W)
            NaN where one is missing.
        image : int
            Features of an image, which the columns are weighed against.
        """
        tables = [_table(one) for one in values.values()]
        centre, scale = zip(*(_usual(one) for one in tables), strict=True)
        share = [float(np.isnan(one).any(axis=1).mean()) if len(one) else 1.0 for one in tables]
        arrays = {
            "widths": np.array([one.shape[1] for one in tables]),
            "centre": np.concatenate(centre),
            "scale": np.concatenate(scale),
            "missing": np.array(share),
            "times": np.ones(1),
        }
        found = cls.from_arrays(arrays, tuple(values))
        nothing = {name: np.full((1, one.shape[1]), np.nan) for name, one in zip(values, tables, strict=True)}
        width = found.features(nothing).shape[1]
        found.times = np.array([max(1, round(image / width))], np.float32)
        return found

    @property
    def digest(self) -> str:
        """12 hex digits naming it."""
        return hashlib.sha256(self.save()).hexdigest()[:12]

    def features(self, values: Values) -> NDArray[np.float32]:
        """Features (n, W) of the columns (n,) or (n, w) of some galaxies, by name.

        Raises
        ------
        ColumnError
            If a column is not among them, or a vector has another length.
        """
        parts, single, start = list[NDArray[np.float64]](), list[NDArray[np.float64]](), 0
        for place, name in enumerate(self.classes):
            width = int(self.widths[place])
            known = slice(start, start := start + width)
            table = _table(self._of(values, name, width))
            with np.errstate(invalid="ignore"):
                standard = np.clip((table - self.centre[known]) / self.scale[known], -REACH, REACH)
            gone = np.asarray(np.isnan(standard).any(axis=1))
            standard = np.where(gone[:, None] | (self.missing[place] == 1), 0.0, standard)
            parts.append(standard)
            if width == 1:
                single.append(standard[:, 0])
            if 0 < self.missing[place] < 1:
                parts.append(gone[:, None].astype(np.float64))
        if len(single) <= MOST_SQUARED:
            parts += [(a * b)[:, None] for i, a in enumerate(single) for b in single[i:]]
        found = np.concatenate(parts, axis=1)
        return np.tile(found, (1, int(self.times[0]))).astype(np.float32)

    def check(self, values: Values, where: str) -> None:
        """Raise a ColumnError if a column of a whole stamp set, `where`, is not as it was learned.

        Its middle lies farther off than any value that was learned from counts: it is in another unit, most likely.
        """
        for place, name in enumerate(self.classes):
            width = int(self.widths[place])
            column = _table(self._of(values, name, width))
            known = column[:, 0][np.isfinite(column[:, 0])]
            if width > 1 or self.missing[place] == 1 or len(known) < COMPARED_FROM:
                continue
            first = int(self.widths[:place].sum())
            middle, learned, scale = float(np.median(known)), float(self.centre[first]), float(self.scale[first])
            if abs(middle - learned) > REACH * scale:
                raise ColumnError(
                    f"The column {name!r} of {where} is {middle:.4g} in the middle, and was {learned:.4g} ± {scale:.2g}"
                    " where the head learned.",
                    "Is it in another unit? Import the set again with the column as it was.",
                )

    def told(self) -> list[dict[str, Any]]:
        """Each column, as the metrics of a version keep it: name, numbers, middle, scale and share missing."""
        found, start = [], 0
        for place, name in enumerate(self.classes):
            one: dict[str, Any] = {"name": name, "numbers": int(self.widths[place])}
            if one["numbers"] == 1:
                one |= {"middle": float(self.centre[start]), "scale": float(self.scale[start])}
            found.append(one | {"missing": round(float(self.missing[place]), 4)})
            start += one["numbers"]
        return found

    def _of(self, values: Values, name: str, width: int) -> NDArray[np.float64]:
        if name not in values:
            raise ColumnError(f"There is no column {name!r}, which the head reads.", "Give all of its columns.")
        found = _table(values[name])
        if found.shape[1] != width:
            raise ColumnError(f"{name!r} has {found.shape[1]} numbers a galaxy, and had {width} when it was learned.")
        return found


def read_column(stamps: StampSet, name: str, rows: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
    """A column of a stamp set as numbers (n,), or a vector of each stamp (n, W); NaN where a value is missing.

    Parameters
    ----------
    name : str
        A catalogue column, a dataset (N, W) of the file, or a `.npy` file of that shape in the set's folder.
    rows : ndarray (n,) of int, optional
        Which stamps, in any order; all by default.

    Raises
    ------
    ColumnError
        If it is not there, holds text, or has another length than the set.
    """
    vectors = _file(stamps, name) if name.endswith(FILE) else stamps.vectors(name)
    if vectors is not None:
        return _vectors(stamps, name, vectors, rows)
    if name not in stamps.columns:
        raise ColumnError(
            f"{stamps.name} has no column {name!r}, which the head reads beside the image.",
            f"Its columns are: {', '.join(stamps.columns) or 'none'}. Import the set again with it"
            " (`galaxyloop data import --labels`), or leave its stamps out.",
        )
    if not stamps.is_number(name):
        example = next((str(one) for one in stamps.column(name)[:100] if str(one).strip()), "")
        comma = " Write decimals with a point, no comma." if "," in example else ""
        raise ColumnError(
            f"The column {name!r} of {stamps.name} holds text: {example[:20]!r}.", f"Give numbers.{comma}"
        )
    values = np.asarray(stamps.column(name), dtype=np.float64)
    marks = np.isin(values, SENTINELS) | ~np.isfinite(values)
    # -99 marks a missing value, unless the column has others about there
    others = values[~marks]
    low = bool(len(others) and others.min() < SENTINEL_BELOW)
    values = np.where(~np.isfinite(values) if low else marks, np.nan, values)
    return values if rows is None else values[rows]


def sampled(stamps: StampSet, names: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """Columns of a set, of at most `MOST_READ` stamps of a larger one.

    Raises
    ------
    ColumnError
        As `read_column`.
    """
    rows = np.unique(np.linspace(0, max(len(stamps) - 1, 0), MOST_READ).astype(np.int64))[: len(stamps)]
    return {name: read_column(stamps, name, rows) for name in names}


def check_alike(ours: StampSet, other: StampSet, names: Sequence[str]) -> None:
    """Raise a ColumnError if another set lacks columns of ours, or has them in other units."""
    if names:
        Beside.fit(sampled(ours, names), image=1).check(sampled(other, names), other.name)


def described(stamps: StampSet, names: Sequence[str]) -> list[str]:
    """What a leader should know of columns before a head reads them: how many values are missing.

    Raises
    ------
    ColumnError
        As `read_column`; also if a column is named twice.
    """
    twice = sorted({name for name in names if list(names).count(name) > 1})
    if twice:
        raise ColumnError(f"The column {twice[0]!r} is named twice.", "Name it once.")
    told = []
    for name in names:
        gone = np.asarray(np.isnan(_table(read_column(stamps, name))).any(axis=1))
        if gone.all():
            told.append(f"{name}: all values are missing; it does no harm and tells nothing")
        elif gone.any():
            told.append(f"{name}: {int(gone.sum())} of {len(gone)} values are missing")
    return told


def _file(stamps: StampSet, name: str) -> NDArray[Any]:
    path = stamps.path.parent / name
    if path.resolve().parent != stamps.path.parent.resolve():
        raise ColumnError(
            f"{name} is not in the folder of {stamps.path.name}.", "Put it there, and name the file alone."
        )
    try:
        found: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise ColumnError(
            f"There is no {name} beside {stamps.path.name}.", f"Put it into {path.parent.absolute()}."
        ) from error
    except (OSError, ValueError, EOFError) as error:
        raise ColumnError(f"{path} is no NumPy file of numbers ({error}).", "Write it with `numpy.save`.") from error
    return found


def _vectors(stamps: StampSet, name: str, found: Any, rows: NDArray[np.int64] | None) -> NDArray[np.float64]:
    if found.ndim != 2 or len(found) != len(stamps) or found.dtype.kind not in "fiu":
        raise ColumnError(
            f"{name} holds {found.dtype} {tuple(found.shape)}, and {stamps.name} has {len(stamps)} stamps.",
            f"It must be numbers of shape ({len(stamps)}, W), a vector of each stamp.",
        )
    if not 1 <= found.shape[1] <= MOST_NUMBERS:
        raise ColumnError(f"A vector of {name} has {found.shape[1]} numbers.", f"{MOST_NUMBERS} are the most.")
    if rows is None:
        values = np.asarray(found[:], dtype=np.float64)
    else:
        # h5py reads only increasing, unique indices
        unique, inverse = np.unique(rows, return_inverse=True)
        values = np.asarray(found[unique], dtype=np.float64)[inverse]
    return np.where(np.isfinite(values), values, np.nan)


def _table(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values[:, None] if values.ndim == 1 else values


def _usual(table: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Median and scale (W,) of what is known; 0 and 1 of what is not, and no scale of 0."""
    known = table[np.isfinite(table).all(axis=1)]
    if not len(known):
        return np.zeros(table.shape[1]), np.ones(table.shape[1])
    low, centre, high = np.quantile(known, [0.5 - NORMAL, 0.5, 0.5 + NORMAL], axis=0)
    scale = (high - low) / 2
    # what is the same of most galaxies may still tell the others apart
    scale = np.where(scale > 0, scale, known.std(axis=0))
    return centre, np.where(scale > 0, scale, 1.0)
