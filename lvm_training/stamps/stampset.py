"""Stamp sets: HDF5 files of galaxy stamps in the layout of Stein et al. 2021.

A set holds `images` (N, 3, H, W) and one 1-D dataset per catalogue column. Float sets are g, r, z in nanomaggies
per pixel; `as-delivered` sets are uint8 R, G, B pictures. Root attributes state `pixel_scale` (arcsec per pixel, NaN
where unknown), `origin` ("lower": row 0 is the south edge, as in FITS; "upper": row 0 is the top of the picture) and
`rendering` ("nanomaggies" or "as-delivered"). A file without attributes is read as a Stein chunk: nanomaggies,
0.262 arcsec, origin "lower". A column whose name is no name in HDF5, such as `S/N`, has its own name in the
attribute `column` of a dataset of a similar one. Numbers of shape (N, 3) beside nanomaggies are three columns, one
of each band: `flux` is `flux_g`, `flux_r` and `flux_z`.
"""

import hashlib
import json
from collections.abc import Container, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, cast, get_args

import h5py
import numpy as np
from numpy.typing import NDArray

from lvm_training.errors import StampError
from lvm_training.progress import Progress
from lvm_training.stamps.columns import COLUMN, StoredColumn, stored_columns
from lvm_training.stamps.damaged import CutFile, read_around, spans, whole_size
from lvm_training.stamps.journal import Journal

LEGACY_PIXEL_SCALE = 0.262  # arcsec; DESI Legacy Imaging Surveys coadds

RenderingKind = Literal["nanomaggies", "as-delivered"]
Origin = Literal["lower", "upper"]
Pixels = NDArray[np.float32] | NDArray[np.uint8]
Value = str | int | float
Word = TypeVar("Word", bound=str)


class StampSet:
    """A stamp set opened for reading; rows are read on demand, never the whole file.

    Parameters
    ----------
    path : Path
        The HDF5 file.
    cut_off : bool
        Whether a file that was cut off is read as far as it goes; `lacking` says how many bytes of it are not there.

    Attributes
    ----------
    images : h5py.Dataset
        The pixels as stored, shape (N, 3, H, W).

    Raises
    ------
    StampError
        If the file is missing, is not HDF5, or its images or attributes break the layout above.
    """

    def __init__(self, path: Path, *, cut_off: bool = False) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise StampError(f"There is no stamp set at {path}.", "Make one with `galaxyloop data import`.")
        self._file, self.lacking = open_hdf5(self.path, cut_off=cut_off)
        try:
            self.rendering: RenderingKind = self._word("rendering", get_args(RenderingKind))
            self.origin: Origin = self._word("origin", get_args(Origin))
            self.pixel_scale = self._checked_scale()
            self.images = self._checked_images()
            self._check_sources()
        except StampError:
            self._file.close()
            raise

    def _attribute(self, name: str, default: Value) -> Any:
        """An attribute's single value; text as str, however it was written."""
        value = np.asarray(self._file.attrs.get(name, default))
        single = value.item() if value.size == 1 else value.tolist()
        return single.decode(errors="replace") if isinstance(single, bytes) else single

    def _word(self, name: str, allowed: tuple[Word, ...]) -> Word:
        """An attribute that is one of some words, the first of them where it is missing."""
        found = self._attribute(name, allowed[0])
        if found not in allowed:
            raise StampError(
                f"{self.path.name} has the attribute {name} {found!r}.",
                f"It must be one of {', '.join(allowed)}: correct it, or import again.",
            )
        return allowed[allowed.index(found)]

    def _checked_scale(self) -> float:
        found = self._attribute("pixel_scale", LEGACY_PIXEL_SCALE)
        try:
            scale = float(found)
        except (TypeError, ValueError):
            scale = 0.0
        if scale <= 0 or np.isinf(scale):
            raise StampError(
                f"{self.path.name} has the attribute pixel_scale {found!r}.",
                "It must be the arcsec per pixel, above 0, or NaN where that is not known: correct it.",
            )
        return scale

    def _checked_images(self) -> h5py.Dataset:
        images = self._file.get("images")
        if not isinstance(images, h5py.Dataset) or images.ndim != 4 or images.shape[1] != 3:
            found = getattr(images, "shape", None)
            raise StampError(
                f"{self.path.name} has no `images` dataset of shape (N, 3, H, W); found {found}.",
                "Stamp sets follow the layout of Stein et al. 2021; make one with `galaxyloop data import`.",
            )
        if images.dtype != np.uint8 if self.rendering == "as-delivered" else images.dtype.kind != "f":
            raise StampError(
                f"{self.path.name} holds {images.dtype} pixels, which its `rendering` attribute does not allow.",
                "Nanomaggies are floats, as-delivered pictures are uint8.",
            )
        return images

    def parts(self) -> dict[str, Path]:
        """The files that a joined set shows, by the names that it has for them."""
        names = {source.file_name for source in self.images.virtual_sources()} if self.images.is_virtual else set()
        return {name: self.path.resolve().parent / name for name in sorted(names)}

    @property
    def changed(self) -> int:
        """When its file, or one that it shows, was changed last, ns since the epoch."""
        return max(path.stat().st_mtime_ns for path in (self.path, *self.parts().values()))

    def _check_sources(self) -> None:
        """Refuse a joined set of which a part is not there: HDF5 would give its blanks for it."""
        for name, part in self.parts().items():
            if not part.is_file():
                raise StampError(
                    f"{self.path.name} joins {name}, which is not there.",
                    "Move its parts back beside it, or join them anew with `galaxyloop data join`.",
                )
            open_hdf5(part)[0].close()

    def datasets(self) -> dict[str, h5py.Dataset]:
        """The datasets of its columns, by their names in the file."""
        return {str(column.dataset.name).lstrip("/"): column.dataset for column in self._stored[0].values()}

    @property
    def name(self) -> str:
        """The set's name: the file name without its suffix."""
        return self.path.stem

    def __len__(self) -> int:
        return int(self.images.shape[0])

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of a stamp in pixels."""
        return int(self.images.shape[2]), int(self.images.shape[3])

    @property
    def columns(self) -> list[str]:
        """Names of the catalogue columns."""
        return list(self._stored[0])

    @property
    def left_out(self) -> dict[str, str]:
        """What else the file holds that is no column, and what it has instead of one value a stamp."""
        return self._stored[1]

    @property
    def enumerations(self) -> dict[str, list[str]]:
        """Columns that the file keeps as numbers of an HDF5 enumeration, and its words."""
        return {name: sorted(column.words) for name, column in self._stored[0].items() if column.words}

    def is_number(self, name: str) -> bool:
        """Whether a column holds numbers or truth values, not text."""
        return self._stored[0][name].is_number

    @cached_property
    def _stored(self) -> tuple[dict[str, StoredColumn], dict[str, str]]:
        return stored_columns(self._file, len(self), banded=self.rendering == "nanomaggies")

    @property
    def north_up(self) -> bool:
        """Whether it is known that pictures have north up and east left: measured light is turned so, pictures as
        delivered are where who imported them said it.
        """
        return self.rendering == "nanomaggies" or bool(self.about("import").get("options", {}).get("north_up"))

    def about(self, name: str) -> dict[str, Any]:
        """What `StampWriter.describe` kept under a name; empty if nothing."""
        text = self._attribute(name, "{}")
        return cast(dict[str, Any], json.loads(text)) if isinstance(text, str) and text.startswith("{") else {}

    def pixels(self, rows: slice | Sequence[int] | NDArray[np.int64]) -> Pixels:
        """Pixels of some rows in the order asked for, shape (n, 3, H, W).

        Raises
        ------
        StampError
            If there is no such row, or its part of the file is damaged.
        """
        pixels, damaged = self.intact_pixels(rows)
        if damaged:
            raise StampError(
                f"{self.path.name} is damaged: rows {spans(damaged)} cannot be read.",
                "`galaxyloop data import` takes over all others.",
            )
        return pixels

    def intact_pixels(self, rows: slice | Sequence[int] | NDArray[np.int64]) -> tuple[Pixels, list[int]]:
        """Pixels as `pixels` gives them, those of damaged rows NaN or black, and which rows these are, ascending.

        Raises
        ------
        StampError
            If there is no such row.
        """
        dtype = np.uint8 if self.rendering == "as-delivered" else np.float32
        if isinstance(rows, slice):
            try:
                return cast(NDArray[np.float32], self.images[rows].astype(dtype, copy=False)), []
            except OSError:
                rows = range(*rows.indices(len(self)))
        wanted = np.asarray(rows, dtype=np.int64)
        strange = wanted[(wanted < 0) | (wanted >= len(self))]
        if strange.size:
            raise StampError(f"{self.name} has rows 0 to {len(self) - 1}; row {strange[0]} was asked for.")
        # h5py reads only increasing, unique indices
        unique, inverse = np.unique(wanted, return_inverse=True)
        try:
            return cast(NDArray[np.float32], self._rows(unique).astype(dtype, copy=False)[inverse]), []
        except OSError:
            found = np.full((len(unique), *self.images.shape[1:]), 0 if dtype is np.uint8 else np.nan, dtype)
            damaged = read_around(unique, found, self._rows)
        return cast(NDArray[np.float32], found[inverse]), damaged

    def _rows(self, increasing: NDArray[np.int64]) -> NDArray[np.generic]:
        if self.images.compression is not None:
            return cast(NDArray[np.generic], self.images[increasing])
        # ten times faster than h5py's own list of rows
        rows = np.empty((len(increasing), *self.images.shape[1:]), self.images.dtype)
        for place, row in enumerate(increasing):
            self.images.read_direct(rows, np.s_[row], np.s_[place])
        return rows

    def batches(self, size: int) -> Iterator[Pixels]:
        """All pixels in row order, `size` rows at a time."""
        for start in range(0, len(self), size):
            yield self.pixels(slice(start, start + size))

    def column(self, name: str, rows: slice | NDArray[np.int64] = np.s_[:]) -> NDArray[np.generic]:
        """One catalogue column, shape (N,); text columns, and those of an HDF5 enumeration, come as str objects.

        Parameters
        ----------
        name : str
            One of `columns`.
        rows : slice or ndarray
            Only some rows, in ascending order.

        Raises
        ------
        StampError
            If the set has no such column, and the message lists those it has; or if it is damaged.
        """
        if name not in self.columns:
            raise StampError(f"{self.name} has no column {name!r}.", f"It has: {', '.join(self.columns) or 'none'}.")
        try:
            return self._stored[0][name].read(rows)
        except OSError as error:
            raise StampError(f"The column {name!r} of {self.path.name} is damaged.", "Copy the file again.") from error

    def vectors(self, name: str) -> h5py.Dataset | None:
        """A dataset of one vector a stamp, shape (N, W), that is no column; None where there is none."""
        found = None if name in self.columns else self._file.get(name)
        return found if isinstance(found, h5py.Dataset) and found.ndim == 2 else None

    def catalogue(self) -> dict[str, NDArray[np.generic]]:
        """All catalogue columns by name."""
        return {name: self.column(name) for name in self.columns}

    @property
    def digest(self) -> str:
        """12 hex digits naming the content.

        Sets written here carry the SHA-256 of their pixels; for foreign files, which may hold a million rows, the
        digest covers shape, type and 256 evenly spaced rows.
        """
        stored = self._file.attrs.get("sha256")
        if stored is not None:
            return str(stored)[:12]
        sample = np.unique(np.linspace(0, max(len(self) - 1, 0), 256).astype(np.int64))[: len(self)]
        state = hashlib.sha256(f"{self.images.shape}{self.images.dtype}".encode())
        state.update(np.ascontiguousarray(self.intact_pixels(sample)[0]).tobytes())
        return state.hexdigest()[:12]

    def content_digest(self, progress: Progress | None = None, *, rows: int | None = None) -> str:
        """12 hex digits of the pixels as they are now: another than `digest` in a set that was mended in place.

        Every pixel is read; `digest` only says what the writer noted.

        Parameters
        ----------
        rows : int, optional
            Of the first so many stamps alone.
        """
        state, total = hashlib.sha256(), len(self) if rows is None else rows
        for start in range(0, total, 256):
            pixels, _ = self.intact_pixels(slice(start, min(start + 256, total)))
            state.update(np.ascontiguousarray(pixels).tobytes())
            if progress is not None:
                progress(start + len(pixels), total)
        return state.hexdigest()[:12]

    @property
    def is_ours(self) -> bool:
        """Whether the set says the digest of all its pixels, as those written here do."""
        return "sha256" in self._file.attrs

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_hdf5(path: Path, *, cut_off: bool = False) -> tuple[h5py.File, int]:
    """An HDF5 file opened for reading, and how many bytes are lacking at its end.

    Raises
    ------
    StampError
        If it is not HDF5, or cut off and `cut_off` is not allowed.
    """
    try:
        return h5py.File(path, "r"), 0
    except OSError as error:
        size = whole_size(error)
        if cut_off and size is not None:
            try:
                return h5py.File(CutFile(path, size), "r"), size - path.stat().st_size
            except OSError:
                pass  # not even its beginning is there
        hint = "It may be truncated: import or download it again."
        if not cut_off and size is not None:
            hint = "It was cut off: download it again, or `galaxyloop data import` what there is of it."
        raise StampError(f"{path.name} is not a readable HDF5 file ({error}).", hint) from error


def _dataset_name(column: str, taken: Container[str]) -> str:
    """A name that HDF5 does not take for a path."""
    name = column.replace("/", "%2F") if column.strip(".") else column.replace(".", "%2E")
    while name != column and name in taken:
        name += "_"
    return name


def write_columns(file: h5py.File, columns: Mapping[str, NDArray[np.generic]]) -> None:
    """Write catalogue columns (N,) into a stamp set, texts as HDF5's own."""
    for name, values in columns.items():
        text = h5py.string_dtype() if values.dtype.kind in "UO" else None
        place = _dataset_name(name, columns)
        dataset = file.create_dataset(place, data=values.astype(object) if text else values, dtype=text)
        if place != name:
            dataset.attrs[COLUMN] = name


class StampWriter:
    """Writes a stamp set batch by batch into the journal `<path>.partial`, and the HDF5 file when finished.

    An interrupted writer leaves the journal; opening a new writer on the same path goes on behind its last complete
    batch (`len(writer)` says where), so nothing already written is lost.

    Parameters
    ----------
    path : Path
        Where the finished set will stand.
    shape : tuple of int
        Height and width of every stamp, pixels.
    rendering, pixel_scale, origin
        The contract's attributes (module docstring).
    source : str
        Where the stamps come from; kept as an attribute. Unfinished sets of another source are not gone on with.

    Raises
    ------
    StampError
        If the unfinished set of `path` is of another kind or being written by another process.
    """

    def __init__(
        self,
        path: Path,
        shape: tuple[int, int],
        *,
        rendering: RenderingKind = "nanomaggies",
        pixel_scale: float = LEGACY_PIXEL_SCALE,
        origin: Origin = "lower",
        source: str = "",
    ) -> None:
        self.path = Path(path)
        self.partial = self.path.with_name(self.path.name + ".partial")
        self._shape = (3, *shape)
        self._dtype = np.dtype("<f4" if rendering == "nanomaggies" else "u1")
        self._attributes: dict[str, Value] = {
            "rendering": rendering,
            "pixel_scale": pixel_scale,
            "origin": origin,
            "source": source,
        }
        self._descriptions: dict[str, str] = {}
        self._journal = Journal(self.partial, self._attributes, self._shape, self._dtype)

    def __len__(self) -> int:
        return len(self._journal)

    def describe(self, name: str, document: Mapping[str, Any]) -> None:
        """Let the finished set keep a document as JSON, in an attribute; `StampSet.about` gives it back."""
        self._descriptions[name] = json.dumps(document, ensure_ascii=False)

    def column(self, name: str) -> list[Value]:
        """Values of a column already written; empty if there is none."""
        parts = self._journal.columns.get(name, [])
        return [value for values in parts for value in cast(list[Value], values.tolist())]

    def append(
        self,
        images: Pixels,
        columns: Mapping[str, Sequence[Value] | NDArray[np.generic]],
    ) -> None:
        """Add a batch: `images` (n, 3, H, W) and n values for each column; on disk when this returns.

        Raises
        ------
        StampError
            If the shape is another, or the columns are not those of the batches before, with one value per stamp, or it
            cannot be written.
        """
        if images.shape[1:] != self._shape:
            raise StampError(f"Stamps of shape {images.shape[1:]} do not fit into a set of {self._shape}.")
        if len(self) and columns.keys() != self._journal.columns.keys():
            raise StampError(
                f"Columns {sorted(columns)} differ from those of the {len(self)} stamps already written, "
                f"{sorted(self._journal.columns)}."
            )
        arrays = {name: np.asarray(values) for name, values in columns.items()}
        for name, values in arrays.items():
            if values.shape != (len(images),):
                raise StampError(f"Column {name!r} has {len(values)} values for {len(images)} stamps.")
        self._journal.append(images, arrays)

    def finish(self) -> Path:
        """Write the HDF5 file with the digest of its pixels, move it into place and remove the journal."""
        writing = self.path.with_name(self.path.name + ".writing")
        try:
            self._write(writing)
            writing.replace(self.path)
        except BaseException:
            writing.unlink(missing_ok=True)
            raise
        self._journal.close()
        self.partial.unlink(missing_ok=True)
        return self.path

    def _write(self, writing: Path) -> None:
        with h5py.File(writing, "w") as file:
            file.attrs.update(self._attributes | self._descriptions)
            whole, chunk = (len(self), *self._shape), (16, *self._shape)
            images = file.create_dataset("images", whole, self._dtype, chunks=chunk, maxshape=(None, *self._shape))
            state, start = hashlib.sha256(), 0
            for pixels in self._journal.batches():
                state.update(pixels.tobytes())
                images[start : start + len(pixels)] = pixels
                start += len(pixels)
            file.attrs["sha256"] = state.hexdigest()
            write_columns(file, {name: np.concatenate(parts) for name, parts in self._journal.columns.items()})

    def close(self) -> None:
        """Close without finishing; the journal stays for the next run, unless it holds nothing."""
        self._journal.close()
