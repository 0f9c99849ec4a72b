"""An HDF5 file of pictures, or of fluxes in any order of planes, as the source of an import."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from lvm_training.errors import StampError
from lvm_training.images.bands import COLOURS, Layout, Plane, shown
from lvm_training.images.pictures import DEPTHS, Shape, brightest, centre_crop, check_pixels, white_of
from lvm_training.images.sky import SAME_SCALE
from lvm_training.images.unmeasured import said_of_marks, unmarked
from lvm_training.importing.layouts import ANSWERS, ASK, GALAXY10, ImageDataset, find_images
from lvm_training.importing.options import ImportOptions
from lvm_training.importing.sources import Columns, Item
from lvm_training.stamps.columns import stored_columns
from lvm_training.stamps.damaged import read_around
from lvm_training.stamps.stampset import Origin, Pixels, RenderingKind, Value, open_hdf5

PIXEL_SCALE = "pxscale"  # a column of Galaxy10, arcsec
GREY = ("grey", "gray")
ROWS = 64

Turn = Callable[[NDArray[Any]], Pixels]


class PictureFileSource:
    """Images of an HDF5 file that is no stamp set.

    Integers of 8 and 16 bits are pictures; 3 planes are red, green and blue, one is grey. Floats may be pictures or
    fluxes: `bands` says it.

    Parameters
    ----------
    path : Path
        The file; of one that was cut off what is there is read.
    options : ImportOptions
        Of these `size`, `images`, `layout`, and the pixel scale and bands of `reading` count. The bands of pictures
        are red, green and blue, or grey.

    Raises
    ------
    StampError
        If it is no such file, what it holds may be meant in two ways, or its images are smaller than `size`.
    """

    identity = "source_row"

    def __init__(self, path: Path, options: ImportOptions) -> None:
        size, bands = options.size, options.reading.bands
        self._file, self._lacking = open_hdf5(path, cut_off=True)
        self._marks: Counter[float] = Counter()
        self._layout = find_images(self._file, path.name, images=options.images, layout=options.layout, bands=bands)
        self.ids: Sequence[Value] = range(len(self._layout.images))
        self.shape: Shape = (size, size) if size else self._layout.shape
        if size and min(self._layout.shape) < size:
            raise StampError(f"The images of {path.name} are smaller than {size} pixels.", "Give a smaller size.")
        self._turn, said = _meaning(self._layout, path.name, bands)
        fluxes = bool(bands) and not {*COLOURS, *GREY} & set(bands)
        self.rendering: RenderingKind = "nanomaggies" if fluxes else "as-delivered"
        self.origin: Origin = "lower" if fluxes else "upper"
        inner = str(self._layout.images.name).rpartition("/")[2]
        self._stored, self._left_out = stored_columns(
            self._layout.images.parent, len(self.ids), images=inner, banded=fluxes
        )
        self._drop_damaged()
        self.columns: Mapping[str, bool] = {name: column.is_number for name, column in self._stored.items()}
        self._named = bool(self._layout.name) and self.columns.get(ANSWERS, False)
        if self._named:
            self.columns = {**self.columns, "galaxy10": False}
        self.label_key = "file" if "file" in self.columns else self.identity
        self.pixel_scale, scales = self._scale(options.reading.pixel_scale)
        self._said = (*self._layout.notes, *said, *scales)

    def _drop_damaged(self) -> None:
        for name, column in list(self._stored.items()):
            try:
                for start in range(0, len(self.ids), 1 << 16):
                    column.read(np.s_[start : start + (1 << 16)])
            except OSError:
                del self._stored[name]
                self._left_out[name] = "damaged cells"

    def _scale(self, given: float | None) -> tuple[float, tuple[str, ...]]:
        """The one pixel scale, and what is said of it."""
        if given is not None or PIXEL_SCALE not in self._stored:
            unknown = "the pixel scale is unknown: the whole image is shown, without scale bar (--pixel-scale says it)"
            return given or float("nan"), (unknown,) if given is None and self.rendering == "nanomaggies" else ()
        scales = self._stored[PIXEL_SCALE].read(np.s_[:]).astype(np.float64)
        middle = float(np.median(scales))
        if middle > 0 and (np.abs(scales - middle) <= SAME_SCALE * middle).all():
            return middle, (f"the pixel scale is {middle:g} arcsec, by {PIXEL_SCALE}",)
        span = f"{scales.min():g} to {scales.max():g} arcsec"
        return float("nan"), (f"{PIXEL_SCALE} is {span}: the whole image is shown, without scale bar",)

    @property
    def notes(self) -> tuple[str, ...]:
        cut = f"the file was cut off: its last {self._lacking:,} bytes are not there"
        left_out = (f"{name}: left out, it has {what}" for name, what in self._left_out.items())
        return (*([cut] if self._lacking else []), *self._said, *left_out, *said_of_marks(self._marks))

    @property
    def about(self) -> dict[str, Any]:
        """What the set keeps of where its stamps come from."""
        images = self._layout.images
        return {
            "rows": len(self.ids),
            "images": f"{images.name} {images.shape} {images.dtype}",
            "left_out": self._left_out,
        }

    @property
    def documents(self) -> dict[str, Mapping[str, Any]]:
        """None: it reads from no set."""
        return {}

    def label_names(self) -> dict[Value, str]:
        files = self._stored["file"].read(np.s_[:]) if "file" in self._stored else self.ids
        return dict(zip(self.ids, map(str, files), strict=True))

    def describe(self, stamp: Value) -> str:
        return f"row {stamp}"

    def read(self, stamps: Sequence[Value]) -> Iterator[Item]:
        for start in range(0, len(stamps), ROWS):
            rows = np.array(stamps[start : start + ROWS], dtype=np.int64)
            raw = np.zeros((len(rows), self._layout.planes, *self._layout.shape), self._layout.images.dtype)
            damaged = set(read_around(rows, raw, self._rows))
            columns = {name: column.read(self._wanted(rows)) for name, column in self._stored.items()}
            for place, row in enumerate(rows.tolist()):
                own = {name: values[place] for name, values in columns.items()} | {self.identity: row}
                yield self._item(row, None if row in damaged else raw[place], own)

    @staticmethod
    def _wanted(rows: NDArray[np.int64]) -> slice | NDArray[np.int64]:
        first, last = int(rows[0]), int(rows[-1])
        return slice(first, last + 1) if last - first == len(rows) - 1 else rows

    def _rows(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        return self._layout.read(self._wanted(rows))

    def _item(self, row: int, raw: NDArray[Any] | None, columns: dict[str, Value]) -> Item:
        if raw is None:
            return Item(row, reason="unreadable: its part of the file is damaged")
        if self._named:
            named: dict[Value, str] = dict(enumerate(GALAXY10[self._layout.name]))
            columns["galaxy10"] = named.get(columns[ANSWERS], "")
        raw, found = unmarked(raw)
        self._marks.update(found)
        pixels = cast(Pixels, centre_crop(self._turn(raw), self.shape))
        try:
            check_pixels(pixels)
        except StampError as error:
            return Item(row, reason=error.message)
        return Item(row, pixels, cast(Columns, columns))


def _meaning(layout: ImageDataset, name: str, bands: tuple[str, ...]) -> tuple[Turn, tuple[str, ...]]:
    """What turns an image (P, H, W) into a stamp's pixels (3, H, W), and what was assumed."""
    if bands and not {*COLOURS, *GREY} & set(bands):
        return _fluxes(layout, bands)
    if bands and not set(COLOURS) <= set(bands) and len(bands) > 1:
        raise StampError(f"A picture of {name} needs red, green and blue.", f"{ASK.capitalize()}.")
    if not bands and layout.planes not in (1, 3):
        raise StampError(
            f"The images of {name} have {layout.planes} planes.",
            "Name each: --bands r,g,b,a for pictures with transparency, --bands g,r,i,z and the like for nanomaggies.",
        )
    order = (
        [bands.index(colour) for colour in COLOURS] if len(bands) > 1 else [0] * 3 if layout.planes == 1 else [0, 1, 2]
    )
    white, said = _white(layout, name, given=bool(bands))
    if not bands:
        said = (
            *said,
            "one plane is shown as grey" if layout.planes == 1 else "the planes are taken as red, green, blue",
        )

    def turn(raw: NDArray[Any]) -> Pixels:
        values = raw[order]
        if values.dtype == np.uint8:
            return cast(Pixels, values)
        # as 16-bit PNG are read: rounded, so that white stays white
        with np.errstate(invalid="ignore"):
            scaled = np.floor(values.astype(np.float64) * (255 / white) + 0.5)
        return cast(Pixels, np.nan_to_num(scaled).clip(0, 255).astype(np.uint8))

    return turn, said


def _white(layout: ImageDataset, name: str, *, given: bool) -> tuple[float, tuple[str, ...]]:
    """The value of white, by the depth that the brightest of a sample needs, and what was assumed."""
    dtype = layout.images.dtype
    if dtype == np.uint8:
        return 255, ()
    sample = layout.sample().astype(np.float64)
    low, high = float(np.nanmin(sample)), float(np.nanmax(sample))
    seen = brightest(sample)
    span = f"{dtype} of {low:g} to {high:g}"
    if dtype.kind == "f" and not given:
        raise StampError(f"{name} holds {span}, which may be pictures or fluxes.", f"{ASK.capitalize()}.")
    if low < 0 or high > DEPTHS[-1]:
        raise StampError(
            f"{name} holds {span}: no picture.", "Pictures are 0 to 1, or 0 to 255; --bands g,r,z is for nanomaggies."
        )
    # integers of 0 and 1 are the darkest of 8 bits
    white = white_of(seen if dtype.kind == "f" else max(seen, 2), floats=dtype.kind == "f")
    return white, (f"{span} are taken as pictures in which {white:,.0f} is white",)


def _fluxes(layout: ImageDataset, bands: tuple[str, ...]) -> tuple[Turn, tuple[str, ...]]:
    planes = tuple(Plane(None, (place,), False, band) for place, band in enumerate(bands))
    weights, _, remarks = shown(Layout(planes, "given", 0))
    integers = ["they are integers: if they are pictures, --bands r,g,b"] if layout.images.dtype.kind in "ui" else []
    said = (f"the planes {', '.join(bands)} are taken as nanomaggies", *integers, *remarks)
    used = [np.flatnonzero(row) for row in weights]

    def turn(raw: NDArray[Any]) -> Pixels:
        # a plane that is not used may be NaN
        mixed = [
            np.tensordot(row[places], raw[places].astype(np.float64), 1)
            for row, places in zip(weights, used, strict=True)
        ]
        return cast(Pixels, np.stack(mixed).astype(np.float32))

    return turn, said
