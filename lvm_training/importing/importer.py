"""`galaxyloop data import`: folders of JPEG, PNG or FITS files and HDF5 files become stamp sets.

One fault never costs the rest: what cannot be a stamp is listed with its reason, and an interrupted import goes on
where it stopped.
"""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any, Unpack, cast

import numpy as np
from numpy.typing import NDArray

from lvm_training.errors import LabelError, OutputError, StampError
from lvm_training.files import refuse_others, try_writing, write_csv
from lvm_training.importing.folder import EMPTY, FolderSource
from lvm_training.importing.groups import LOOK, told
from lvm_training.importing.label_table import LabelTable
from lvm_training.importing.layouts import is_hdf5, is_stamp_set, refuse_numpy
from lvm_training.importing.options import Given, ImportOptions
from lvm_training.importing.picture_file import PictureFileSource
from lvm_training.importing.sources import Columns, SetSource, StampSource
from lvm_training.progress import Progress
from lvm_training.stamps.stampset import Pixels, StampWriter
from lvm_training.stamps.summary import SATURATED, saturation
from lvm_training.tables.cells import Missing
from lvm_training.tables.positions import Position, named_position
from lvm_training.tables.reading import Table, read_table

SET_SUFFIXES = (".h5", ".hdf5", ".hdf")
LABEL_KEYS = ("file", "source_row")
BATCH = 64  # stamps that an interruption may cost
LISTED = 20  # skipped files beyond which they are written to a table
SKIPPED_HEADER = ("file", "reason")
NAMED = 8  # columns of a label table that are named
KEPT = 60_000  # bytes of an attribute, of which HDF5 holds no more than 64 KiB


@dataclass(frozen=True)
class Skipped:
    """A file (or row of an HDF5 file) that did not become a stamp, and why."""

    file: str
    reason: str


@dataclass(frozen=True)
class ImportReport:
    """What an import did.

    Attributes
    ----------
    written : int
        Stamps in the set, those of an earlier interrupted run included.
    skipped : tuple of Skipped
        In the order of the input.
    out : Path
        The finished stamp set.
    notes : tuple of str
        What a reader should know: single bands, units, sizes, unknown pixel scales, unused labels.
    table : Path or None
        Where all skipped files stand, if they are many.
    """

    written: int
    skipped: tuple[Skipped, ...]
    out: Path
    notes: tuple[str, ...] = ()
    table: Path | None = None


def import_stamps(
    path: Path,
    out: Path,
    *,
    labels: Path | None = None,
    missing: Missing | None = None,
    strict: bool = False,
    progress: Progress | None = None,
    **given: Unpack[Given],
) -> ImportReport:
    """Import a folder of pictures or FITS images, one such file, or an HDF5 file into the stamp set `out`.

    Folders are searched recursively, in the order of their relative paths, which become the column `file`; rows of an
    HDF5 file keep their columns and get `source_row`. Skipped are files of another kind, band or scale than the group
    that is read; unreadable, truncated and empty (constant) ones; and those of which more than half is NaN, up to there
    it shows as empty sky. What was assumed is kept in the set's attribute `import`, as JSON.

    Parameters
    ----------
    labels : Path, optional
        Table with a column `file` (`source_row` for HDF5 files without `file`), see `read_table`; its other columns are
        added. Stamps without a row get "" or NaN; cells replace a column of the same name. What was assumed of the
        table is kept in the set's attribute `labels`, as JSON.
    missing : Missing, optional
        Which of its cells stand for no value.
    strict : bool
        Whether the first file that would be skipped is an error.
    progress : callable, optional
        Called with the number of files dealt with and their total.
    given : Given
        What files do not say, or what is to be made of them.

    Raises
    ------
    StampError
        If `out` exists, `path` holds nothing to import, or, with `strict`, a file has to be skipped. Stamps written
        until then stay in `<out>.partial`.
    LabelError
        If `labels` cannot be read or joined.
    OutputError
        If the table of skipped files would overwrite one of somebody else.
    """
    path, out = Path(path), Path(out)
    options = ImportOptions.checked(**given)
    listing = _check_places(path, out)
    # before the headers of thousands of files are
    table = None if labels is None else read_table(labels, missing=missing, keys=LABEL_KEYS)
    source = _source(path, options)
    join = _Join(source, table, positions=options.positions_from_names)
    writer = _writer(out, source, _fingerprint(path, labels, missing, options))
    try:
        skipped = _copy(source, join, writer, strict, progress)
        if not len(writer):
            raise _nothing(path, skipped)
        report = _report(out, writer, source, join, skipped, listing)
        _describe(writer, path, source, join, options, report)
        writer.finish()
    finally:
        writer.close()
    return report


def _writer(out: Path, source: StampSource, fingerprint: str) -> StampWriter:
    """A set of what a source holds, or what an interrupted import of the same left of it."""
    return StampWriter(
        out,
        source.shape,
        rendering=source.rendering,
        pixel_scale=source.pixel_scale,
        origin=source.origin,
        source=fingerprint,
    )


def _report(
    out: Path, writer: StampWriter, source: StampSource, join: "_Join", skipped: Sequence[Skipped], listing: Path
) -> ImportReport:
    """What was written and skipped; many skipped files are listed in a table."""
    notes = (*source.notes, *join.notes, *_of_bands(source, writer), *_of_saturation(source, writer))
    if len(skipped) > LISTED:
        write_csv(listing, SKIPPED_HEADER, ((item.file, item.reason) for item in skipped))
    return ImportReport(len(writer), tuple(skipped), out, notes, listing if len(skipped) > LISTED else None)


def _check_places(path: Path, out: Path) -> Path:
    """Refuse, before anything is read, what is not there or cannot be written; the table of skipped files is named."""
    if out.is_dir():
        raise StampError(f"{out} is a folder.", "Name a file for the stamp set, such as stamps.h5.")
    if out.exists():
        raise StampError(f"{out} exists already.", "Name another file, or delete this one first.")
    if not path.exists():
        raise StampError(f"There is nothing at {path}.", "Give a folder of images or an HDF5 file.")
    listing = out.with_name(out.name + ".skipped.csv")
    refuse_others(listing, ",".join(SKIPPED_HEADER).encode() + b"\n")
    try:
        try_writing(out.parent)
    except OSError as error:
        raise OutputError(f"{out} cannot be written: {error.strerror}.", "Choose another place.") from error
    return listing


def _of_bands(source: StampSource, writer: StampWriter) -> Iterable[str]:
    bands = writer.column("bands") if "bands" in source.columns else []
    lacking = sum(str(told).endswith(EMPTY) for told in bands)
    return (f"{lacking} stamps have a band that holds nothing (column 'bands')",) if lacking else ()


def _of_saturation(source: StampSource, writer: StampWriter) -> Iterable[str]:
    counts = np.array(writer.column(SATURATED) if source.columns.get(SATURATED) else [], dtype=np.float64)
    return (f"{said} (column {SATURATED!r})",) if (said := saturation(counts)) else ()


def _describe(
    writer: StampWriter, path: Path, source: StampSource, join: "_Join", options: ImportOptions, report: ImportReport
) -> None:
    """Let the set keep what was read, assumed and skipped."""
    labels = {"labels": join.about} if join.about else {}
    for name, document in (source.documents | labels).items():
        writer.describe(name, document)
    reasons = Counter(item.reason.partition(":")[0] for item in report.skipped)
    about: dict[str, Any] = {
        "path": str(path),
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC",
        "galaxyloop": version("galaxyloop"),
        "options": options.about(),
        **source.about,
        "written": report.written,
        "notes": list(report.notes),
        "skipped": len(report.skipped),
        "reasons": dict(reasons.most_common(LISTED)),
        "first_skipped": {item.file: item.reason for item in report.skipped[:LISTED]},
    }
    while len(json.dumps(about)) > KEPT and (about["notes"] or about["first_skipped"]):
        about["notes"], about["first_skipped"] = about["notes"][: len(about["notes"]) // 2], {}
    writer.describe("import", about)


def _source(path: Path, options: ImportOptions) -> StampSource:
    if path.is_file() and (path.suffix.lower() in SET_SUFFIXES or is_hdf5(path)):
        options.refuse_those_of_folders()
        return SetSource(path, options) if is_stamp_set(path, options) else PictureFileSource(path, options)
    refuse_numpy(path)
    return FolderSource(path, options)


def _fingerprint(path: Path, labels: Path | None, missing: Missing | None, options: ImportOptions) -> str:
    state = hashlib.sha256(f"{path.resolve()}|{options}".encode())
    if labels is not None:
        state.update(labels.read_bytes())
    if missing is not None:
        state.update(f"{sorted(missing.words)}{missing.numbers}".encode())
    return f"{path.name} {state.hexdigest()[:12]}"


class _Join:
    """The label columns of each stamp.

    Attributes
    ----------
    notes : tuple of str
        What was assumed of the labels, and what of them was not used.
    about : dict
        What the set keeps of where they come from.
    """

    def __init__(self, source: StampSource, read: Table | None, *, positions: bool = False) -> None:
        self.notes: tuple[str, ...] = ()
        self._positions = _named_positions(source) if positions else {}
        self.about: dict[str, Any] = {}
        self._values: dict[str, NDArray[Any]] = {}
        self._gaps: dict[str, NDArray[np.bool_]] = {}
        self._places: dict[Hashable, int] = {}
        if positions:
            known = sum(position is not None for position in self._positions.values())
            self.notes = (f"{known} of {len(self._positions)} names hold a position, taken as ra, dec",)
        if read is None:
            return
        stamps, table = source.label_names(), LabelTable(read, source.label_key)
        names = list(stamps.values())
        rows = table.matched(names, [source.describe(stamp) for stamp in source.ids if stamp not in stamps])
        # of one type in all batches, whether or not the first has gaps
        taken = table.taken(rows.get(name) for name in names)
        # gaps of a column that the stamps have are filled from there: its integers need no mark of a missing one
        self._values = {
            name: column.values if name in source.columns and column.is_number else column.stored()
            for name, column in taken.items()
        }
        self._gaps = {name: column.missing for name, column in taken.items()}
        self._places = {stamp: place for place, stamp in enumerate(stamps)}
        _refuse_clashes(table, self._values, source)
        self.notes = (*self.notes, self._joined(table, len(names) - len(rows), len(names)), *self._of_table(table))
        self.notes = (*self.notes, *self._unused(table, rows.values()))
        self.about = read.about() | {"notes": list(self.notes), "joined": len(rows)}

    @staticmethod
    def _joined(table: LabelTable, without: int, stamps: int) -> str:
        named, more = table.columns[:NAMED], len(table.columns) - NAMED
        said = f"{', '.join(named) or 'no column'}{f' and {more} others' if more > 0 else ''} of {table.name} joined"
        return f"{said}; {without} of {stamps} images have no row in it" if without else said

    @staticmethod
    def _of_table(table: LabelTable) -> Iterable[str]:
        return (f"{table.name}: {note}" for note in table.notes)

    @staticmethod
    def _unused(table: LabelTable, used: Iterable[str]) -> Iterable[str]:
        unused = len(table) - len(set(used))
        return (f"{unused} rows of {table.name} name no stamp here",) if unused else ()

    def columns(self, stamp: Hashable, own: Columns) -> Columns:
        """The columns `own` of a stamp, those its name tells and those of its row; an empty cell replaces nothing."""
        if self._positions:
            position = self._positions[stamp]
            told = dict(zip(("ra", "dec"), position[:2] if position else (math.nan, math.nan), strict=True))
            own = {**own, **{name: value for name, value in told.items() if own.get(name, math.nan) != own.get(name)}}
        if not self._values:
            return own
        joined, place = dict(own), self._places[stamp]
        for name, values in self._values.items():
            kept = own[name] if name in own and self._gaps[name][place] else values[place]
            floats = values.dtype.kind == "f" or isinstance(own.get(name), float | np.floating)
            joined[name] = float(kept) if floats else kept
        return joined


def _named_positions(source: StampSource) -> dict[Hashable, Position | None]:
    return {stamp: named_position(PurePosixPath(name).name) for stamp, name in source.label_names().items()}


def _refuse_clashes(table: LabelTable, values: dict[str, NDArray[Any]], source: StampSource) -> None:
    for name, cells in values.items():
        number = cells.dtype.kind in "iufb"
        if name in ("images", source.identity) or source.columns.get(name, number) != number:
            raise LabelError(
                f"Column {name!r} of {table.name} does not fit the column of that name of the stamps.",
                "Give it another name.",
            )


def _copy(
    source: StampSource, join: _Join, writer: StampWriter, strict: bool, progress: Progress | None
) -> list[Skipped]:
    done = set(writer.column(source.identity))
    waiting = [stamp for stamp in source.ids if stamp not in done]
    skipped: list[Skipped] = []
    batch: list[tuple[Pixels, Columns]] = []
    for count, item in enumerate(source.read(waiting), start=len(done) + 1):
        if item.pixels is not None:
            batch.append((item.pixels, join.columns(item.stamp, item.columns)))
        else:
            skipped.append(Skipped(source.describe(item.stamp), item.reason))
        if len(batch) == BATCH or (strict and skipped):
            _append(writer, batch)
        if strict and skipped:
            raise _refused(skipped[0], writer)
        if progress:
            progress(count, len(source.ids))
    _append(writer, batch)
    return skipped


def _append(writer: StampWriter, batch: list[tuple[Pixels, Columns]]) -> None:
    if not batch:
        return
    names = batch[0][1]
    writer.append(
        cast(Pixels, np.stack([pixels for pixels, _ in batch])),
        {name: np.asarray([columns[name] for _, columns in batch]) for name in names},
    )
    batch.clear()


def _refused(skipped: Skipped, writer: StampWriter) -> StampError:
    return StampError(
        f"{skipped.file}: {skipped.reason}.",
        f"Mend or remove it and run again ({len(writer)} stamps are kept), or leave --strict out to skip it.",
    )


def _nothing(path: Path, skipped: list[Skipped]) -> StampError:
    reasons = told({item.file: item.reason for item in skipped})
    return StampError(f"None of the {len(skipped)} stamps in {path.name} can be used: {reasons}.", LOOK)
