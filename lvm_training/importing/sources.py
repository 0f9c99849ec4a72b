"""Where an import reads from: a folder of images, or an HDF5 stamp set row by row."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from lvm_training.errors import StampError
from lvm_training.importing.fits import fits_geometry, read_fits
from lvm_training.importing.pictures import Shape, centre_crop, check_pixels, picture_shape, read_picture
from lvm_training.stamps.stampset import Origin, Pixels, RenderingKind, StampSet, Value

PICTURES = (".jpg", ".jpeg", ".png")
FITS = (".fits", ".fit", ".fts", ".fits.gz", ".fits.fz")
SAME_SCALE = 0.01  # relative difference within which two pixel scales are one
UNKNOWN = float("nan")

Columns = Mapping[str, Value]


@dataclass(frozen=True)
class Item:
    """A stamp read, or the reason why it could not be (then `pixels` is None)."""

    stamp: Value
    pixels: Pixels | None = None
    columns: Columns = field(default_factory=dict)
    reason: str = ""


class StampSource(Protocol):
    """What an import needs to know of its input.

    `ids` names each stamp, in order, by its value in the column `identity`; `columns` says of each catalogue column
    whether it holds numbers; labels are joined by `label_key`, whose values `label_names` gives in the order of `ids`.
    """

    ids: Sequence[Value]
    identity: str
    label_key: str
    rendering: RenderingKind
    origin: Origin
    shape: Shape
    pixel_scale: float
    columns: Mapping[str, bool]

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the report should know."""

    def label_names(self) -> list[str]:
        """The names that a label table may use, in the order of `ids`."""

    def describe(self, stamp: Value) -> str:
        """How a report calls a stamp."""

    def read(self, stamps: Sequence[Value]) -> Iterator[Item]:
        """Read some stamps in the order given."""


class FolderSource:
    """A folder of JPEG and PNG pictures or of FITS images, or one such file.

    Other files, and names that begin with a dot, are passed over. Where both kinds lie in a folder the more common
    one is meant.

    Raises
    ------
    StampError
        If there is no such file, or none whose header can be read.
    """

    identity = label_key = "file"
    _read_columns: ClassVar[dict[bool, dict[str, bool]]] = {
        True: {"file": False, "ra": True, "dec": True, "bands": False},
        False: {"file": False},
    }

    def __init__(self, path: Path, size: int | None, pixel_scale: float | None) -> None:
        self._folder = path if path.is_dir() else path.parent
        self._files = _image_files(path)
        if not self._files:
            raise StampError(f"{path} holds no JPEG, PNG or FITS files.", "An HDF5 file is imported by its own name.")
        self.ids: Sequence[Value] = self._files
        self._fits = 2 * sum(map(_is_fits, self._files)) >= len(self._files)
        self.rendering: RenderingKind = "nanomaggies" if self._fits else "as-delivered"
        self.origin: Origin = "lower" if self._fits else "upper"
        self.columns: Mapping[str, bool] = self._read_columns[self._fits]
        self._refused: dict[str, str] = {}
        self._singles: Counter[str] = Counter()
        self._survey(size, pixel_scale)

    def _survey(self, size: int | None, pixel_scale: float | None) -> None:
        """Read all headers: the set's shape and pixel scale, and files that cannot be part of it."""
        shapes: Counter[Shape] = Counter()
        scales: dict[str, float] = {}
        for file in self._files:
            try:
                shape, scales[file] = self._geometry(file)
                shapes[shape] += 1
            except StampError as error:
                self._refused[file] = error.message
        if not shapes:
            file, reason = next(iter(self._refused.items()))
            raise StampError(f"None of {len(self._files)} files can be read; {file}: {reason}.", "Look at the files.")
        self.shape = (size, size) if size else min(shapes, key=lambda shape: (-shapes[shape], shape))
        known = Counter(scale for scale in scales.values() if scale == scale)
        unknown = len(scales) - known.total()
        self.pixel_scale = pixel_scale or UNKNOWN
        if not pixel_scale and known and known.total() >= unknown:
            self.pixel_scale = known.most_common(1)[0][0]
        for file, scale in scales.items():
            if not self._fitting_scale(scale, given=pixel_scale is not None):
                self._refused[file] = f"pixel scale {scale:g} arcsec in a set of {self.pixel_scale:g}"

    def _geometry(self, file: str) -> tuple[Shape, float]:
        if file.encode(errors="replace").decode() != file:
            raise StampError("its name is not UTF-8")
        if _is_fits(file) != self._fits:
            raise StampError("a picture among FITS images" if self._fits else "a FITS image among pictures")
        path = self._folder / file
        return fits_geometry(path) if self._fits else (picture_shape(path), UNKNOWN)

    def _fitting_scale(self, scale: float, *, given: bool) -> bool:
        if scale != scale:
            return given or self.pixel_scale != self.pixel_scale
        return abs(scale - self.pixel_scale) <= SAME_SCALE * self.pixel_scale

    @property
    def notes(self) -> tuple[str, ...]:
        notes = [
            f"{count} images have one band ({band}), shown as grey" for band, count in sorted(self._singles.items())
        ]
        if self._fits and self.pixel_scale != self.pixel_scale:
            notes.append("the pixel scale is unknown: the whole stamp is shown, without scale bar; give one if you can")
        return tuple(notes)

    def label_names(self) -> list[str]:
        return self._files

    def describe(self, stamp: Value) -> str:
        return str(stamp)

    def read(self, stamps: Sequence[Value]) -> Iterator[Item]:
        for stamp in stamps:
            file = str(stamp)
            try:
                yield self._item(file)
            except StampError as error:
                yield Item(file, reason=error.message)

    def _item(self, file: str) -> Item:
        if file in self._refused:
            raise StampError(self._refused[file])
        columns: dict[str, Value] = {"file": file}
        pixels: Pixels
        if self._fits:
            stamp = read_fits(self._folder / file, self.shape)
            pixels = stamp.pixels
            columns |= {"ra": stamp.ra, "dec": stamp.dec, "bands": stamp.bands}
        else:
            pixels = centre_crop(read_picture(self._folder / file), self.shape)
        check_pixels(pixels)
        if columns.get("bands", "grz") != "grz":
            self._singles[str(columns["bands"])] += 1
        return Item(file, pixels, columns)


class SetSource:
    """An HDF5 file in the layout of Stein et al. 2021, with or without the attributes of a stamp set.

    Raises
    ------
    StampError
        If it is no such file, or its stamps are smaller than `size`.
    """

    identity = "source_row"
    _rows_at_once = 64
    _cells_at_once = 1 << 16

    def __init__(self, path: Path, size: int | None, pixel_scale: float | None) -> None:
        self._stamps = StampSet(path, cut_off=True)
        self.ids: Sequence[Value] = range(len(self._stamps))
        self.rendering, self.origin = self._stamps.rendering, self._stamps.origin
        self.pixel_scale = pixel_scale or self._stamps.pixel_scale
        self.shape = (size, size) if size else self._stamps.shape
        if min(self._stamps.shape) < max(self.shape if size else (0, 0)):
            raise StampError(f"The stamps of {path.name} are smaller than {size} pixels.", "Give a smaller size.")
        self._damaged = [name for name in self._stamps.columns if not self._readable(name)]
        self.columns: Mapping[str, bool] = {
            name: self._stamps.is_number(name) for name in self._stamps.columns if name not in self._damaged
        }
        self.label_key = "file" if "file" in self.columns else self.identity

    def _readable(self, column: str) -> bool:
        try:
            for start in range(0, len(self.ids), self._cells_at_once):
                self._stamps.column(column, np.s_[start : start + self._cells_at_once])
        except StampError:
            return False
        return True

    @property
    def notes(self) -> tuple[str, ...]:
        left_out = self._stamps.left_out | dict.fromkeys(self._damaged, "damaged cells")
        words = (f"{name}: read as the words {', '.join(words)}" for name, words in self._stamps.enumerations.items())
        cut = self._stamps.lacking
        return (
            *([f"the file was cut off: its last {cut:,} bytes are not there"] if cut else []),
            *(f"{name}: left out, it has {what}" for name, what in left_out.items()),
            *words,
        )

    def label_names(self) -> list[str]:
        return [str(value) for value in (self._stamps.column("file") if "file" in self.columns else self.ids)]

    def describe(self, stamp: Value) -> str:
        return f"row {stamp}"

    def read(self, stamps: Sequence[Value]) -> Iterator[Item]:
        for start in range(0, len(stamps), self._rows_at_once):
            batch = np.array(stamps[start : start + self._rows_at_once], dtype=np.int64)
            whole = int(batch[-1]) - int(batch[0]) == len(batch) - 1
            wanted = slice(int(batch[0]), int(batch[-1]) + 1) if whole else batch
            pixels, damaged = self._stamps.intact_pixels(wanted)
            catalogue = {name: self._stamps.column(name, wanted) for name in self.columns}
            for place, row in enumerate(batch.tolist()):
                columns = {name: values[place] for name, values in catalogue.items()} | {self.identity: row}
                yield self._item(row, None if row in damaged else pixels[place], columns)

    def _item(self, row: int, pixels: NDArray[Any] | None, columns: Columns) -> Item:
        if pixels is None:
            return Item(row, reason="unreadable: its part of the file is damaged")
        cut = cast(Pixels, centre_crop(pixels, self.shape))
        try:
            check_pixels(cut)
        except StampError as error:
            return Item(row, reason=error.message)
        return Item(row, cut, columns)


def _image_files(path: Path) -> list[str]:
    if path.is_file():
        return [path.name] if path.name.lower().endswith(PICTURES + FITS) else []
    files = (
        found.relative_to(path)
        for found in path.rglob("*")
        if found.name.lower().endswith(PICTURES + FITS) and not found.is_dir()
    )
    return sorted(file.as_posix() for file in files if not any(part.startswith(".") for part in file.parts))


def _is_fits(file: str) -> bool:
    return file.lower().endswith(FITS)
