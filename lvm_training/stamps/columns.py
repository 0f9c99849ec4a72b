"""The catalogue columns of an HDF5 file of stamps."""

from dataclasses import dataclass
from typing import Any, cast

import h5py
import numpy as np
from numpy.typing import NDArray

COLUMN = "column"  # attribute of a dataset that could not have its column's name
BANDS = "grz"
NUMBERS = "iufb"


@dataclass(frozen=True)
class StoredColumn:
    """A column in its file: a dataset of one value a stamp, or one band of a dataset of three.

    Attributes
    ----------
    dataset : h5py.Dataset
        Shape (N,) or (N, 3).
    band : int or None
        Which of the three.
    """

    dataset: h5py.Dataset
    band: int | None = None

    @property
    def words(self) -> dict[str, int]:
        """The words of an HDF5 enumeration; empty where it is none."""
        return h5py.check_enum_dtype(self.dataset.dtype) or {}

    @property
    def is_number(self) -> bool:
        """Whether its values are numbers or truth values."""
        return self.dataset.dtype.kind in NUMBERS and not self.words

    def read(self, rows: slice | NDArray[np.int64]) -> NDArray[np.generic]:
        """Values of some rows, in ascending order; text, and the words of an enumeration, as str objects.

        Raises
        ------
        OSError
            If that part of the file is damaged.
        """
        if h5py.check_string_dtype(self.dataset.dtype) is not None:
            return self._texts(rows)
        if self.band is not None:
            return cast(NDArray[np.generic], self.dataset[rows, self.band])
        values = self.dataset[rows]
        if self.words:
            words = {number: word for word, number in self.words.items()}
            return np.array([words.get(number, str(number)) for number in values.tolist()], dtype=object)
        return cast(NDArray[np.generic], values)

    def _texts(self, rows: slice | NDArray[np.int64]) -> NDArray[np.generic]:
        # bytes of NumPy say that they are ASCII, whatever they are
        try:
            return cast(NDArray[np.generic], self.dataset.asstr("utf-8")[rows])
        except UnicodeDecodeError:
            cells = self.dataset.asstr("latin-1")[rows]
            return np.array([_as_utf_8(cell) for cell in cells], dtype=object)


def _as_utf_8(cell: str) -> str:
    """A cell that was read as Latin-1, as UTF-8 if it is."""
    try:
        return cell.encode("latin-1").decode()
    except UnicodeDecodeError:
        return cell


def stored_columns(
    group: h5py.Group, count: int, *, images: str = "images", banded: bool = False
) -> tuple[dict[str, StoredColumn], dict[str, str]]:
    """Columns of the datasets beside the images, by name, and what keeps others from being columns.

    Parameters
    ----------
    group : h5py.Group
        The file, or the group that holds the images.
    count : int
        Stamps, N.
    images : str
        Name of the images.
    banded : bool
        Whether numbers of shape (N, 3) are those of g, r and z, as in the files of Stein et al. 2021: `flux` is read
        as `flux_g`, `flux_r` and `flux_z`.
    """
    found: dict[str, StoredColumn] = {}
    left_out: dict[str, str] = {}
    arrays: dict[str, h5py.Dataset] = {}
    for name in group:
        if name == images:
            continue
        item, why = _opened(group, name, count)
        column = str(item.attrs.get(COLUMN, name)) if item is not None else name
        if item is None or why:
            left_out[column] = why
        elif item.ndim == 1:
            found[column] = StoredColumn(item)
        else:
            arrays[column] = item
    for column, item in arrays.items():
        bands = [f"{column}_{band}" for band in BANDS]
        if banded and item.shape[1:] == (3,) and not set(bands) & found.keys():
            found |= {name: StoredColumn(item, band) for band, name in enumerate(bands)}
        elif item.shape[1:] == (1,):
            found[column] = StoredColumn(item, 0)
        else:
            left_out[column] = f"arrays of {' x '.join(map(str, item.shape[1:]))} as cells"
    return dict(sorted(found.items())), left_out


def _opened(group: h5py.Group, name: str, count: int) -> tuple[h5py.Dataset | None, str]:
    """A dataset, and what keeps it from being a column; "" where nothing does."""
    try:
        item: Any = group[name]
    except (KeyError, OSError):
        return None, "nothing that can be opened"
    if not isinstance(item, h5py.Dataset):
        return None, "datasets of its own: it is a group"
    if not item.ndim:
        return item, "one value for all stamps"
    if item.shape[0] != count:
        return item, f"{item.shape[0]} rows for {count} stamps"
    return item, _strange_cells(item)


def _strange_cells(dataset: h5py.Dataset) -> str:
    kind = dtype_of(dataset)
    if h5py.check_string_dtype(kind) is not None:
        return "" if dataset.ndim == 1 else "arrays of text as cells"
    if kind.names:
        return f"compound cells of {', '.join(kind.names)}"
    if h5py.check_vlen_dtype(kind) is not None or kind.subdtype is not None:
        return "arrays as cells"
    return "" if kind.kind in NUMBERS else f"cells of type {kind}"


def dtype_of(dataset: h5py.Dataset) -> np.dtype[Any]:
    """A dataset's type; that of raw bytes where NumPy has none for it, as for HDF5's times."""
    try:
        return cast("np.dtype[Any]", dataset.dtype)
    except TypeError:
        return np.dtype("V")
