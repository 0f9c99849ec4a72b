"""Where an import reads from, and an HDF5 stamp set row by row."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from lvm_training.errors import StampError
from lvm_training.images.pictures import Shape, centre_crop, check_pixels
from lvm_training.images.unmeasured import said_of_marks, unmarked
from lvm_training.importing.options import ImportOptions
from lvm_training.stamps.stampset import Origin, Pixels, RenderingKind, StampSet, Value
from lvm_training.stamps.summary import DOCUMENTS

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
    whether it holds numbers; labels are joined by `label_key`, whose values `label_names` gives.
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

    @property
    def documents(self) -> dict[str, Mapping[str, Any]]:
        """What the set it reads from says of itself, and the new one goes on to say."""

    def label_names(self) -> dict[Value, str]:
        """The names that a label table may use for the stamps that are read, in the order of `ids`."""

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
    _cells_at_once = 1 << 16

    def __init__(self, path: Path, options: ImportOptions) -> None:
        size = options.size
        self._stamps = StampSet(path, cut_off=True)
        self.ids: Sequence[Value] = range(len(self._stamps))
        self.rendering, self.origin = self._stamps.rendering, self._stamps.origin
        self.pixel_scale = options.reading.pixel_scale or self._stamps.pixel_scale
        self.shape = (size, size) if size else self._stamps.shape
        if min(self._stamps.shape) < max(self.shape if size else (0, 0)):
            raise StampError(f"The stamps of {path.name} are smaller than {size} pixels.", "Give a smaller size.")
        self._marks: Counter[float] = Counter()
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
            *said_of_marks(self._marks),
        )

    @property
    def about(self) -> dict[str, Any]:
        """What the set keeps of where its stamps come from."""
        source = self._stamps
        stored = {"rows": len(source), "left_out": source.left_out}
        return stored | ({"import": earlier} if (earlier := source.about("import")) else {})

    @property
    def documents(self) -> dict[str, Mapping[str, Any]]:
        """Of a fetch, of labels and of a join; that of an import stands in the new one's."""
        return {name: about for name in DOCUMENTS if name != "import" and (about := self._stamps.about(name))}

    def label_names(self) -> dict[Value, str]:
        files = self._stamps.column("file") if "file" in self.columns else self.ids
        return dict(zip(self.ids, map(str, files), strict=True))

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
        cut, found = unmarked(cast(Pixels, centre_crop(pixels, self.shape)))
        self._marks.update(found)
        try:
            check_pixels(cut)
        except StampError as error:
            return Item(row, reason=error.message)
        return Item(row, cut, columns)
