"""A folder of pictures or of FITS images as the source of an import."""

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from lvm_training.errors import StampError
from lvm_training.images.bands import UNNAMED, wavelength
from lvm_training.images.fits import FitsStamp, fits_facts, read_fits
from lvm_training.images.fits_file import holds_image
from lvm_training.images.fitting import Fit, fitted, shrinking
from lvm_training.images.not_images import UNREAD, beside_images, unread
from lvm_training.images.pictures import (
    PICTURES,
    Shape,
    check_pixels,
    empty_bands,
    picture_shape,
    picture_white,
    read_picture,
)
from lvm_training.images.sky import SAME_SCALE
from lvm_training.images.unmeasured import said_of_marks
from lvm_training.importing.groups import LOOK, UNKNOWN, FileFacts, chosen, grouped, told
from lvm_training.importing.options import ImportOptions
from lvm_training.importing.sources import Item
from lvm_training.stamps.stampset import Origin, Pixels, Value
from lvm_training.stamps.summary import SATURATED

FITS = (
    ".fits",
    ".fit",
    ".fts",
    *(f".{name}.{packed}" for name in ("fits", "fit", "fts") for packed in ("gz", "fz", "bz2")),
)
ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".7z", ".rar")
ARRAYS = (".npy", ".npz", ".zarr", ".pt", ".mat", ".tfrecord", ".asdf", ".arrow")
TABLES = (".csv", ".tsv", ".txt", ".ecsv", ".vot", ".parquet", ".xlsx")
SUFFIXES = sorted(PICTURES + FITS + UNREAD, key=len, reverse=True)
SMALLEST = 64  # pixels that a shrunk stamp keeps if the images have them: what the model sees
LABELS = "labels.fits"  # of a folder, where it holds no image
EMPTY = " empty"  # what the column `bands` says of those that hold nothing
SHOWN = 3  # different zero points that a note names


class FolderSource:
    """A folder of JPEG and PNG pictures or of FITS images, or one such file.

    Links are followed, to folders too. Names that begin with a dot, and files that hold no image, are passed over;
    images of other formats, masks and weights are left out with their reason. Files of several kinds, bands or pixel
    scales are read by their largest group, or by the one that is asked for.

    Raises
    ------
    StampError
        If there is no such file, none whose header can be read, or no such group.
    """

    identity = label_key = "file"

    def __init__(self, path: Path, options: ImportOptions) -> None:
        self._folder = path if path.is_dir() else path.parent
        self._options = options
        self._files, self._refused = image_files(path)
        if not self._files:
            raise StampError(f"{path} holds no JPEG, PNG or FITS files.", _instead(path))
        self.ids: Sequence[Value] = self._files
        self._facts = self._survey()
        self._groups = grouped(self._facts)
        self._group = chosen(self._groups, options.group)
        self._leave_out()
        first = self._facts[self._group.files[0]]
        self._fits, self.rendering = first.is_fits, first.rendering
        self.origin: Origin = "lower" if first.is_fits else "upper"
        self._whites = Counter(filter(None, (self._facts[file].white for file in self._group.files)))
        self._white = options.white or max(self._whites, default=None)
        self.fit, self.shape = self._fitting()
        self._scale = UNKNOWN if self._group.kind.pixel_scale is None else self._group.kind.pixel_scale
        self._factors = {file: shrinking(self._facts[file].shape, self.shape) for file in self._group.files}
        self.pixel_scale = self._scale * self._factor if self._one_scale else UNKNOWN
        self.columns: Mapping[str, bool] = self._column_kinds()
        self._marks: Counter[float] = Counter()

    def _survey(self) -> dict[str, FileFacts]:
        """What the headers of all files say; those that cannot be stamps are refused."""
        facts = {}
        for file in self._files:
            if file in self._refused:
                continue
            try:
                facts[file] = self._examined(file)
            except StampError as error:
                self._refused[file] = error.message
        if not facts:
            raise StampError(f"None of {len(self._files)} files can be read: {told(self._refused)}.", LOOK)
        return facts

    def _examined(self, file: str) -> FileFacts:
        reading, path = self._options.reading, self._folder / file
        if not is_fits(file):
            return FileFacts(picture_shape(path), reading.pixel_scale or UNKNOWN, white=picture_white(path))
        found = fits_facts(path, reading)
        given = None if reading.resample else reading.pixel_scale
        if given is not None and abs(found.pixel_scale - given) > SAME_SCALE * given:
            raise StampError(f"its own pixel scale is {found.pixel_scale:g} arcsec, not {given:g}")
        return FileFacts(
            found.shape,
            found.pixel_scale,
            True,
            found.rendering,
            found.bands,
            found.one_band,
            found.unit,
            found.white,
            found.telescope,
            found.remarks,
        )

    def _leave_out(self) -> None:
        for group in self._groups:
            if group is not self._group:
                self._refused |= dict.fromkeys(group.files, group.kind.difference(self._group.kind))

    def _fitting(self) -> tuple[Fit, Shape]:
        """How images become stamps of one size, and which."""
        sizes = Counter(self._facts[file].shape for file in self._group.files)
        common = min(sizes, key=lambda shape: (-sizes[shape], shape))
        fit = self._options.fit
        if fit is None:
            # where each image has its own size, it is as large as its galaxy
            whole = 2 * sizes[common] < sizes.total() and self._group.kind.pixel_scale is None
            fit = "shrink" if whole else "crop"
        if self._options.size:
            return fit, (self._options.size, self._options.size)
        if fit == "pad":
            return fit, (max(height for height, _ in sizes), max(width for _, width in sizes))
        if fit == "crop" or len(sizes) == 1:
            return fit, common
        sides = [max(shape) for shape in sizes]
        side = max(min(sides), min(SMALLEST, max(sides)))
        return fit, (side, side)

    @property
    def _factor(self) -> float:
        return next(iter(self._factors.values())) if self.fit == "shrink" else 1.0

    @property
    def _one_scale(self) -> bool:
        factors = self._factors.values()
        return self.fit != "shrink" or max(factors) - min(factors) <= SAME_SCALE

    def _column_kinds(self) -> dict[str, bool]:
        kinds = {"file": False} | ({"ra": True, "dec": True, "bands": False} if self._fits else {})
        if self.rendering == "nanomaggies":
            kinds[SATURATED] = True
        if not self._one_scale:
            kinds["shrunk"] = True
            if self._scale == self._scale:
                kinds["pixel_scale"] = True
        return kinds

    @property
    def notes(self) -> tuple[str, ...]:
        return (
            *self._of_options(),
            *self._of_groups(),
            *self._of_bands(),
            *self._of_units(),
            *self._of_white(),
            *said_of_marks(self._marks),
            *self._of_sizes(),
            *self._of_names(),
        )

    def _of_options(self) -> Iterator[str]:
        reading = self._options.reading
        given = (("bands", reading.bands), ("zero-point", reading.zero_point), ("resample", reading.resample))
        for name, value in given:
            if value not in (None, ()) and (not self._fits or (name != "bands" and self.rendering == "as-delivered")):
                yield f"--{name} is for fluxes in FITS files and was not used"

    def _of_groups(self) -> Iterator[str]:
        if len(self._groups) > 1:
            which = "the one asked for" if self._options.group else "the largest"
            yield f"of {len(self._groups)} kinds of files {which} is read: {self._group}"
            for number, group in enumerate(self._groups, start=1):
                if group is not self._group:
                    yield f"left out: {group}; --group {number} reads it instead"

    def _of_bands(self) -> Iterator[str]:
        facts = [self._facts[file] for file in self._group.files]
        singles = Counter(one.bands for one in facts if one.one_band)
        for band, count in sorted(singles.items()):
            yield f"{count} images have one band ({band}), shown as grey"
        for remark, count in Counter(remark for one in facts for remark in one.remarks).items():
            yield f"{count} images: {remark}"
        if self._fits and self._scale != self._scale:
            yield "pixel scale unknown: --pixel-scale says it; without it stamps are shown whole, with no scale bar"

    def _of_units(self) -> Iterator[str]:
        if not self._fits or self.rendering != "nanomaggies":
            return
        for keyword, values in self.units.items():
            count, said = sum(values.values()), [one for one in values if one]
            if not keyword:
                what = "unit unknown (no BUNIT, no zero point), taken as nanomaggies"
                yield f"{count} images: {what}; --zero-point says it"
            elif not any("nanomagg" in one.lower() for one in said):
                more = f" and {len(said) - SHOWN} others" if len(said) > SHOWN else ""
                yield f"{count} images: converted to nanomaggies by {'; '.join(said[:SHOWN])}{more}"

    def _of_white(self) -> Iterator[str]:
        """How bright white was taken to be, which nothing in a picture of more than 8 bits says."""
        if self._white is None or not self._whites:
            return
        by = "that of the others" if self._options.white else "the depth that the brightest of them need"
        yield f"{self._whites.total()} pictures of more than 8 bits: {self._white:,.0f} is white, {by}"

    @property
    def units(self) -> dict[str, Counter[str]]:
        """What says the unit of how many files, by its keyword; "" where nothing does."""
        found: dict[str, Counter[str]] = {}
        for file in self._group.files:
            unit = self._facts[file].unit
            found.setdefault(unit.partition(" ")[0], Counter())[unit] += 1
        return found

    def _of_sizes(self) -> Iterator[str]:
        shapes = [self._facts[file].shape for file in self._group.files]
        height, width = self.shape
        larger = sum(one[0] > height or one[1] > width for one in shapes)
        smaller = sum(one[0] < height or one[1] < width for one in shapes)
        size = f"{width} x {height} pixels"
        if larger and self.fit == "shrink":
            sides = sorted(max(one) for one in shapes)
            yield (
                f"{larger} images of up to {sides[-1]} pixels are shown whole, shrunk to {size}; "
                "--fit crop cuts them to their centre"
            )
        elif larger:
            yield f"{larger} images were cut to their central {size}; --fit shrink shows them whole"
        if smaller and self.fit == "crop":
            yield f"{smaller} images are smaller than {size} and left out; --fit pad puts empty sky around them"
        elif smaller:
            yield f"{smaller} images are smaller than {size} and have empty sky around them"

    def _of_names(self) -> Iterator[str]:
        stems = Counter(stem(file) for file in self._group.files)
        twins = [name for name, count in stems.items() if count > 1]
        if twins:
            yield f"{len(twins)} names have several files, of other suffixes, first {twins[0]}; all are kept"
        bands: dict[str, list[str]] = {}
        for file in self._group.files:
            if self._facts[file].one_band:
                band = self._facts[file].bands
                band = _band_in(stem(file)) if band == UNNAMED else band
                bands.setdefault(_bandless(stem(file), band), []).append(file)
        several = [files for files in bands.values() if len(files) > 1]
        if several:
            yield (
                f"{len(several)} galaxies have a file for each band, first {', '.join(several[0])}: "
                "each file is a stamp of its own; planes of one file are shown together"
            )

    @property
    def about(self) -> dict[str, Any]:
        """What the set keeps of where its stamps come from."""
        bands = Counter(self._facts[file].bands for file in self._group.files)
        units = {"; ".join(list(v)[:SHOWN]) or "unknown": v.total() for v in self.units.values()}
        return {
            "files": len(self._files),
            "groups": [str(group) for group in self._groups],
            "read": str(self._group),
            "bands": dict(bands) if self._fits else {},
            "units": units if self.rendering == "nanomaggies" else {},
            "white": self._white if self._whites else None,
            "fit": self.fit,
            "sizes": {f"{w} x {h}": n for (h, w), n in self._sizes().most_common(5)},
        }

    def _sizes(self) -> Counter[Shape]:
        return Counter(self._facts[file].shape for file in self._group.files)

    @property
    def documents(self) -> dict[str, Mapping[str, Any]]:
        """None: it reads from no set."""
        return {}

    def label_names(self) -> dict[Value, str]:
        return {file: file for file in sorted(self._group.files)}

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
        path, whole = self._folder / file, self.fit != "crop"
        if self._fits:
            stamp = read_fits(path, self.shape, self._options.reading, fit=self.fit, white=self._white)
            pixels = stamp.pixels
            self._marks.update(stamp.marks)
            columns |= {"ra": stamp.ra, "dec": stamp.dec, "bands": _seen_bands(stamp)}
            if SATURATED in self.columns:
                columns[SATURATED] = stamp.saturated
        else:
            pixels = read_picture(path, self._white)
            if whole:
                check_pixels(pixels)  # before empty sky is put around it
            pixels = fitted(pixels, self.shape, self.fit, fluxes=False)
        if not whole:
            check_pixels(pixels)
        if "shrunk" in self.columns:
            columns["shrunk"] = self._factors[file]
        if "pixel_scale" in self.columns:
            columns["pixel_scale"] = self._scale * self._factors[file]
        return Item(file, pixels, columns)


def _seen_bands(stamp: FitsStamp) -> str:
    """Which bands stand for g, r and z, and which of them hold nothing: a galaxy that lacks one has no colour."""
    names = stamp.bands if len(stamp.bands) == len(stamp.pixels) else "grz"
    empty = "".join(names[place] for place in empty_bands(stamp.pixels))
    return f"{stamp.bands}, {empty}{EMPTY}" if empty else stamp.bands


def image_files(path: Path) -> tuple[list[str], dict[str, str]]:
    """Images by their names, in a folder by their paths in it, sorted; and those of them that are not read, and why.

    Links to folders are followed, and a folder that was seen is not looked at again. A file that is there under two
    names, by a link, is read once.
    """
    if not path.is_dir():
        refused = {path.name: unread(path.name)} if path.name.lower().endswith(UNREAD) else {}
        return ([path.name] if _is_image(path.name) else []), refused
    found: list[str] = []
    closed: dict[str, str] = {}
    seen: set[str] = set()

    def note(error: OSError) -> None:
        closed[os.path.relpath(str(error.filename), path)] = f"unreadable: {error.strerror}"

    for folder, inner, names in os.walk(path, followlinks=True, onerror=note):
        real = os.path.realpath(folder)
        inner[:] = [] if real in seen else sorted(name for name in inner if not name.startswith("."))
        if real in seen:
            continue
        seen.add(real)
        place = PurePosixPath(Path(folder).relative_to(path).as_posix())
        found += [str(place / name) for name in names if _is_image(name)]
    found = sorted(file for file in found if file.casefold() != LABELS or holds_image(path / file))
    refused = {file: unread(file) for file in found if file.lower().endswith(UNREAD)}
    refused |= beside_images({file: stem(file) for file in found}) | _unreadable(path, found) | closed
    return sorted(found + list(closed)), refused


def _instead(path: Path) -> str:
    """What to do where there are no images."""
    names = sorted(one.name for one in path.iterdir()) if path.is_dir() else [path.name]
    if packed := next((name for name in names if name.lower().endswith(ARCHIVES)), None):
        return f"Unpack {packed}, and give the folder that it makes."
    if path.is_file() and path.name.lower().endswith(TABLES):
        return "It is a table: give the folder of its images, and the table by --labels."
    if arrays := next((name for name in names if name.lower().endswith(ARRAYS)), None):
        return f"Arrays such as {arrays} are not read: write them as `images` (N, 3, H, W) into an HDF5 file."
    if path.is_file():
        return "Save its images as PNG, JPEG or FITS, or in an HDF5 file."
    return "An HDF5 file is imported by its own name."


def _unreadable(folder: Path, files: Sequence[str]) -> dict[str, str]:
    """Names that are not UTF-8, and links to what is read under its own name."""
    refused: dict[str, str] = {}
    real = {file: os.path.realpath(folder / file) for file in files}
    owners = {real[file]: file for file in reversed(files) if not (folder / file).is_symlink()}
    for file in files:
        if file.encode(errors="replace").decode() != file:
            refused[file] = "its name is not UTF-8"
        elif (owner := owners.setdefault(real[file], file)) != file and Path(real[file]).exists():
            refused[file] = f"the same file as {owner}, by a link"
    return refused


def _is_image(name: str) -> bool:
    return name.lower().endswith(PICTURES + FITS + UNREAD) and not name.startswith(".")


def is_fits(file: str) -> bool:
    """Whether a file is FITS by its name."""
    return file.lower().endswith(FITS)


def stem(file: str) -> str:
    """A path without what tells its format and how it is packed; of J001655.18-002739.1 no dot is cut."""
    end = next((end for end in SUFFIXES if file.lower().endswith(end)), "")
    return file[: len(file) - len(end)]


def _bandless(name: str, band: str) -> str:
    """A name without its band, as in `gal-7_r`; as it is where it does not say it."""
    return re.sub(rf"(?<![^_\-. /]){re.escape(band)}(?![^_\-. /])", "", name, flags=re.IGNORECASE) if band else name


def _band_in(name: str) -> str:
    """The band that a name such as `gal-7_r` or `g/gal-7` says; "" where it says none."""
    words = re.split(r"[_\-. /]+", name)
    return next((word for word in reversed(words) if wavelength(word.casefold()) is not None), "")
