"""Where an import reads from, and an HDF5 stamp set row by row."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

from numpy.typing import NDArray

from lvm_training.errors import StampError
from lvm_training.images.pictures import Shape, centre_crop, check_pixels
from lvm_training.importing.options import ImportOptions
from lvm_training.stamps.stampset import Origin, Pixels, RenderingKind, StampSet, Value

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

    @property
    def about(self) -> Mapping[str, Any]:
        """What the set keeps of where its stamps come from."""

    def label_names(self) -> list[str]:
        """The names that a label table may use, in the order of `ids`."""

    def describe(self, stamp: Value) -> str:
        """How a report calls a stamp."""

    def read(self, stamps: Sequence[Value]) -> Iterator[Item]:
        """Read some stamps in the order given."""


class SetSource:
    """An HDF5 file in the layout of Stein et al. 2021, with or without the attributes of a stamp set.

    Raises
    ------
    StampError
        If it is no such file, or its stamps are smaller than `size`.
    """

    identity = "source_row"
    _rows_at_once = 64

    def __init__(self, path: Path, options: ImportOptions) -> None:
        size = options.size
        self._stamps = StampSet(path)
        self.ids: Sequence[Value] = range(len(self._stamps))
        self.rendering, self.origin = self._stamps.rendering, self._stamps.origin
        self.pixel_scale = options.reading.pixel_scale or self._stamps.pixel_scale
        self.shape = (size, size) if size else self._stamps.shape
        if min(self._stamps.shape) < max(self.shape if size else (0, 0)):
            raise StampError(f"The stamps of {path.name} are smaller than {size} pixels.", "Give a smaller size.")
        self._catalogue = self._stamps.catalogue()
        self.columns: Mapping[str, bool] = {
            name: values.dtype.kind in "iufb" for name, values in self._catalogue.items()
        }
        self.label_key = "file" if "file" in self.columns else self.identity

    @property
    def notes(self) -> tuple[str, ...]:
        left_out = (f"{name}: left out, it has {what}" for name, what in self._stamps.left_out.items())
        words = (f"{name}: read as the words {', '.join(words)}" for name, words in self._stamps.enumerations.items())
        return (*left_out, *words)

    @property
    def about(self) -> dict[str, Any]:
        """What the set keeps of where its stamps come from."""
        source = self._stamps
        stored = {"rows": len(source), "left_out": source.left_out}
        return stored | ({"import": earlier} if (earlier := source.about("import")) else {})

    def label_names(self) -> list[str]:
        return [str(value) for value in self._catalogue.get("file", self.ids)]

    def describe(self, stamp: Value) -> str:
        return f"row {stamp}"

    def read(self, stamps: Sequence[Value]) -> Iterator[Item]:
        rows = [int(stamp) for stamp in stamps]
        for start in range(0, len(rows), self._rows_at_once):
            batch = rows[start : start + self._rows_at_once]
            for row, pixels in zip(batch, self._pixels(batch), strict=True):
                yield self._item(row, pixels)

    def _pixels(self, rows: list[int]) -> list[NDArray[Any] | None]:
        """Pixels of rows; where a damaged chunk stops HDF5, row by row, None for those it holds."""
        wanted = slice(rows[0], rows[-1] + 1) if rows[-1] - rows[0] == len(rows) - 1 else rows
        try:
            return list(self._stamps.pixels(wanted))
        except OSError:
            return [None] if len(rows) == 1 else [self._pixels([row])[0] for row in rows]

    def _item(self, row: int, pixels: NDArray[Any] | None) -> Item:
        if pixels is None:
            return Item(row, reason="unreadable: its part of the file is damaged")
        cut = cast(Pixels, centre_crop(pixels, self.shape))
        try:
            check_pixels(cut)
        except StampError as error:
            return Item(row, reason=error.message)
        return Item(row, cut, {name: values[row] for name, values in self._catalogue.items()} | {self.identity: row})
