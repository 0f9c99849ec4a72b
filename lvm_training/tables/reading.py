"""Reads a table of any format that people have: found out from its content, not from its name."""

import bz2
import gzip
import hashlib
import io
import math
import re
import warnings
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np

from lvm_training.errors import LabelError
from lvm_training.tables.cells import EXACT, Column, Missing, class_name, clean, remarks, typed
from lvm_training.tables.fits_units import forward
from lvm_training.tables.position_names import UNITS, is_position
from lvm_training.tables.positions import located
from lvm_training.tables.sexagesimal_parts import is_sign
from lvm_training.tables.text import FILE, Raw, TextError, Wanted, below_title, file_column, read_text, without_units
from lvm_training.tables.votable import first_table

_NUMBERED = re.compile(rb"#[ \t]*([0-9]+)[ \t]+[A-Za-z]\w*([ \t].*)?\s*")
_IPAC = re.compile(rb"\|[^\n]*\|\s*\n\|([ \t]*\w+[ \t]*\|)+\s*\n")  # names and types between bars
_IPAC_TYPES = {*b"int long double real float char date i l f d r c".split()}
EXTRA = "pip install 'galaxyloop[excel]'"
NAMES_OF_ROWS = frozenset({"file", "filename", "id", "name", "object", "objid", "source_row", "stamp_id"})
_MACHINE_READABLE = re.compile(rb"^Byte-by-byte Description of file", re.MULTILINE | re.IGNORECASE)
_DESCRIBED = re.compile(rb"^Byte-by-byte Description of files?:?[ \t]+([^\n(]+)", re.MULTILINE | re.IGNORECASE)
_RULED = re.compile(rb"^[-=]{20,}[ \t\r]*$", re.MULTILINE)
README = "ReadMe"  # of the CDS
RULES = 3  # of it above, within and below the description of a file
NOT_OF_CDS = (".csv", ".tsv", ".ecsv")
KINDS = "CSV, TSV, ECSV, FITS, VOTable, Parquet, Excel (.xlsx), IPAC, SExtractor and journals' tables are read."
_FILE_NAME = re.compile(r"\.(png|jpe?g|fits?|fz|gz)$", re.IGNORECASE)
_OTHERS = {
    b"<": "it begins like a web page",
    b"{": "it begins like JSON",
    b"%PDF": "it is PDF",
    b"[{": "it begins like JSON",
    b"\\begin{": "it is LaTeX",
    b"\\documentclass": "it is LaTeX",
    b"version https://git-lfs": "it is a pointer of Git LFS, whose file `git lfs pull` fetches",
}
_LOOKED_AT = 1 << 16  # bytes
UNPACKED = {b"\x1f\x8b": ("gzip", gzip.decompress), b"BZh": ("bzip2", bz2.decompress)}


@dataclass(frozen=True)
class Table:
    """A table: named columns of one length.

    Attributes
    ----------
    name : str
        The file's name.
    columns : dict of str to Column
        In the file's order.
    lines : list of int
        Where each row stands: the line of a text file, else the number of the row, from 1.
    form : str
        Format, delimiter and encoding, for people.
    notes : tuple of str
        What was assumed, and how often; for people.
    digest : str
        12 hex digits of the file's content.
    """

    name: str
    columns: dict[str, Column]
    lines: list[int]
    form: str
    notes: tuple[str, ...]
    digest: str

    def __len__(self) -> int:
        return len(self.lines)

    def about(self) -> dict[str, Any]:
        """What to keep with data that came from it."""
        return {
            "file": self.name,
            "sha256": self.digest,
            "format": self.form,
            "rows": len(self),
            "columns": {name: column.kind for name, column in self.columns.items()},
            "notes": list(self.notes),
        }


def read_table(
    path: Path, *, missing: Missing | None = None, keys: Sequence[str] = (), wanted: Wanted | None = None
) -> Table:
    """Read a table.

    Blanks around names and cells, blank rows, comment lines and byte order marks do no harm; texts are brought into
    the Unicode form NFC. Columns whose cells are numbers are numbers, integers stay integers, positions become
    degrees. Columns that are no cells (arrays, structures) are left out with a note.

    Parameters
    ----------
    path : Path
        CSV or text with tabs, semicolons, bars or blanks, in UTF-8, UTF-16 or Latin-1; ECSV; the first table of a FITS
        file; VOTable; Parquet; the first sheet of an Excel file; IPAC; SExtractor; machine-readable tables of journals.
        Gzip and bzip2 around them are undone.
    missing : Missing, optional
        Which cells stand for no value; the usual words by default.
    keys : sequence of str
        Columns of which one must be there, if any are named; a comment line that has it is the header.
    wanted : callable, optional
        Gives of the names of all columns those that are read; all by default. Catalogues have hundreds.

    Raises
    ------
    LabelError
        If the file cannot be read, has none of `keys`, needs a package that is not installed, has two different columns
        of one name, or cells of a position that are none.
    """
    try:
        data = path.read_bytes()
        raw = _raw(path, data, wanted)
    except (OSError, TextError) as error:
        raise LabelError(f"{path.name} is not a readable table ({error}).", KINDS) from error
    raw = _with_header(raw, keys)
    absent = missing or Missing()
    columns = _named(path, raw)
    if wanted is not None:
        kept = wanted(list(columns))
        columns = {name: cells for name, cells in columns.items() if name in kept}
    if keys and not set(keys) & set(columns):
        columns = _with_file(path, columns, keys, raw.notes)
    columns, lines = _without_blank_rows(columns, raw.lines)
    made = {
        name: cells if isinstance(cells, Column) else typed(cells, absent.without("-") if is_sign(name) else absent)
        for name, cells in columns.items()
    }
    made = {name: _declared(column, absent, raw.units.get(name, "")) for name, column in made.items()}
    notes = [*raw.notes]
    located_columns, said = located(path.name, made, lines)
    for name, cells in columns.items():
        texts = None if isinstance(cells, Column) else cells
        # a position has remarks of its own
        if located_columns[name] is made[name]:
            notes += remarks(name, made[name], texts, lines, absent)
    digest = hashlib.sha256(data).hexdigest()[:12]
    return Table(path.name, located_columns, lines, raw.form, (*notes, *said), digest)


def _with_file(path: Path, columns: dict[str, Any], keys: Sequence[str], notes: list[str]) -> dict[str, Any]:
    """Columns of which the one that names files by another word, such as `Filename` or `image_path`, is `file`."""
    named = file_column(columns)
    if FILE in keys and named is not None and not (isinstance(columns[named], Column) and columns[named].is_number):
        notes.append(f"{named} is taken as the column file")
        return {FILE if name == named else name: cells for name, cells in columns.items()}
    wanted, there = " or ".join(map(repr, keys)), list(columns)
    of_several = "".join(f" ({note})" for note in notes if note.startswith("the first of"))
    if there and (_has_numbers(there) or any(map(_FILE_NAME.search, there))):
        raise LabelError(
            f"{path.name} needs a header with a column {wanted}; its first line, {', '.join(there)}, looks like a row.",
            f"Write the names of the columns above it, such as {keys[0]},label.",
        )
    raise LabelError(
        f"{path.name} needs a column {wanted}; it has {', '.join(there) or 'none'}{of_several}.",
        f"Name the column that says which stamp a row belongs to {wanted}.",
    )


def _raw(path: Path, data: bytes, wanted: Wanted | None) -> Raw:
    """The table that the bytes hold, by what they begin with."""
    for start, (packer, unpack) in UNPACKED.items():
        if data.startswith(start):
            try:
                data = unpack(data)
            except (OSError, EOFError, ValueError) as error:
                raise TextError(f"damaged {packer}: {error}") from error
    head = data[:4096].lstrip(b"\xef\xbb\xbf \t\r\n")
    if head.startswith(b"SIMPLE  ="):
        return _by_astropy(data, "fits", "FITS")
    if head.startswith(b"# %ECSV"):
        return _by_astropy(data.lstrip(b"\xef\xbb\xbf"), "ascii.ecsv", "ECSV")
    if head.startswith(b"<") and b"VOTABLE" in head.upper():
        return _by_astropy(data, "votable", "VOTable")
    if head.startswith(b"PAR1"):
        return _parquet(data, wanted)
    if head.startswith(b"PK\x03\x04"):
        _refuse_archive(path, data)
        return _excel(path, data)
    if head.startswith((b"\x89HDF", b"\xd0\xcf\x11\xe0")):
        what = "HDF5" if head.startswith(b"\x89HDF") else "the old Excel format"
        raise LabelError(f"{path.name} is {what}, not a table that is read here.", "Save it as CSV.")
    if other := next((what for start, what in _OTHERS.items() if head.startswith(start)), None):
        raise TextError(other)
    if _is_sextractor(data):
        return _by_astropy(data, "ascii.sextractor", "SExtractor")
    if _MACHINE_READABLE.search(data[:_LOOKED_AT]):
        _refuse_readme(path, data)
        return _by_astropy(data, "ascii.mrt", "machine-readable table")
    if description := _description_of(path):
        return _by_astropy(description + data, "ascii.mrt", f"table of a {README}")
    if _is_ipac(data):
        return _by_astropy(data, "ascii.ipac", "IPAC")
    return read_text(data, wanted)


def _is_sextractor(data: bytes) -> bool:
    """Whether it begins with comments that number the columns, and has a row with as many cells."""
    numbers: list[int] = []
    for line in io.BytesIO(data):
        found = _NUMBERED.fullmatch(line)
        if found is None:
            return len(numbers) > 1 and numbers[-1] <= len(line.split()) and not line.startswith(b"#")
        if int(found[1]) <= max(numbers, default=0):
            return False
        numbers.append(int(found[1]))
    return False


def _is_ipac(data: bytes) -> bool:
    """Whether names and types of columns stand between bars, below any number of keywords."""
    start = 0
    while data.startswith(b"\\", start) and (end := data.find(b"\n", start)) >= 0:
        start = end + 1
    found = _IPAC.match(data, start)
    return found is not None and any(
        word.strip().lower() in _IPAC_TYPES for word in found[0].splitlines()[1].split(b"|")
    )


def _described(text: bytes) -> list[str]:
    """The data files that a ReadMe of the CDS describes, of which several may share a description."""
    return [name for found in _DESCRIBED.finditer(text) for name in _names(found)]


def _names(description: re.Match[bytes]) -> list[str]:
    return description[1].decode(errors="replace").replace(",", " ").split()


def _refuse_readme(path: Path, data: bytes) -> None:
    """Refuse the ReadMe of a catalogue of the CDS, whose rows stand in files beside it."""
    files, below = _described(data), _RULED.split(data)[-1].strip()
    if files and (not below or below.startswith(b"(End)")):
        raise LabelError(
            f"{path.name} describes {', '.join(files)}, and holds no rows itself.",
            f"Give {files[0]}, with {path.name} beside it under the name ReadMe.",
        )


def _description_of(path: Path) -> bytes:
    """What the ReadMe of the CDS beside a data file says of its columns; nothing where there is none."""
    readme = path.with_name(README)
    if path.suffix.lower() in NOT_OF_CDS or not readme.is_file():
        return b""
    text = readme.read_bytes()
    for found in _DESCRIBED.finditer(text):
        ends = [rule.end() for rule in _RULED.finditer(text, found.start())]
        is_of_it = any(fnmatchcase(path.name.removesuffix(".gz"), name) for name in _names(found))
        if is_of_it and len(ends) >= RULES:
            return text[found.start() : ends[RULES - 1]] + b"\n"
    return b""


def _by_astropy(data: bytes, kind: str, form: str) -> Raw:
    from astropy.table import Column as AstropyColumn
    from astropy.table import Table as AstropyTable

    notes = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # units and headers that are not quite by the standard are read all the same
            if kind == "fits":
                place, count = _first_table(data)
                table = AstropyTable.read(io.BytesIO(data), format=kind, hdu=place)
                if count > 1:
                    notes.append(f"the first of its {count} tables is read")
            elif kind == "votable":
                table, notes = first_table(data)
            else:
                table = AstropyTable.read(io.BytesIO(data), format=kind)
    except (OSError, ValueError, TypeError, KeyError, IndexError, EOFError) as error:
        raise TextError(f"as {form}: {error or type(error).__name__}") from error
    raw = Raw([], [], list(range(1, len(table) + 1)), form, notes)
    for name in table.colnames:
        column = table[name]
        if isinstance(column, AstropyColumn) and column.shape[1:] in ((), (1,)):
            column = column if column.ndim == 1 else column[:, 0]
            _add(raw, name, _cells(column), str(column.unit or ""))
        elif hasattr(column, "isot"):
            _add(raw, name, [str(value) for value in column.isot], "")
        elif hasattr(column, "icrs") and not {"ra", "dec"} & set(table.colnames):
            _add(raw, "ra", np.asarray(column.icrs.ra.deg), "deg")
            _add(raw, "dec", np.asarray(column.icrs.dec.deg), "deg")
        else:
            raw.notes.append(f"{name}: left out, its cells are no single values")
    return raw


def _first_table(data: bytes) -> tuple[int, int]:
    """Place of the first table of a FITS file, and how many it has."""
    from astropy.io import fits

    kinds = fits.BinTableHDU, fits.TableHDU
    with fits.open(io.BytesIO(data)) as units:
        tables = [place for place, unit in enumerate(forward(units)) if isinstance(unit, kinds)]
    if not tables:
        raise TextError("this FITS file holds no table")
    return tables[0], len(tables)


def _cells(column: Any) -> Any:
    """A column's numbers as an array, its texts as a list, None where one is masked."""
    if column.dtype.kind in "iufb":
        return np.ma.asarray(column)  # type: ignore[no-untyped-call]
    return [None if value is None or value is np.ma.masked else value for value in column.tolist()]


def _parquet(data: bytes, wanted: Wanted | None) -> Raw:
    from pyarrow import ArrowException, parquet, types  # here: other tables need not wait for its import

    try:
        file = parquet.ParquetFile(io.BytesIO(data))
        names = file.schema_arrow.names
        kept = names if wanted is None else wanted(names)
        table = file.read(columns=[name for name in names if name in kept])
    except (ArrowException, OSError) as error:
        raise TextError(f"as Parquet: {error}") from error
    raw = Raw([], [], list(range(1, table.num_rows + 1)), "Parquet")
    for name, column in zip(table.column_names, table.columns, strict=True):
        plain = (types.is_floating(column.type) or types.is_integer(column.type)) and not column.null_count
        _add(raw, name, column.to_numpy() if plain else column.to_pylist(), "")
    return raw


def _refuse_archive(path: Path, data: bytes) -> None:
    """Refuse a zip file that is no Excel file, as downloads of tables are."""
    try:
        names = zipfile.ZipFile(io.BytesIO(data)).namelist()
    except (zipfile.BadZipFile, ValueError, OSError):
        return  # a damaged Excel file says so itself
    if "content.xml" in names:
        raise LabelError(
            f"{path.name} is an OpenDocument file, not a table that is read here.", "Save it as CSV or .xlsx."
        )
    if "[Content_Types].xml" not in names:
        raise LabelError(
            f"{path.name} is a zip file of {', '.join(names[:3]) or 'nothing'}.", "Unpack it, and give the table."
        )


def _excel(path: Path, data: bytes) -> Raw:
    try:
        from openpyxl import load_workbook
    except ImportError as error:
        raise LabelError(f"{path.name} is an Excel file, which needs the package openpyxl.", EXTRA) from error
    try:
        book = load_workbook(io.BytesIO(data), read_only=True, data_only=True)
    except (KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
        raise TextError(f"as Excel: {error}") from error
    sheet = book.worksheets[0]
    rows = [[_excel_cell(value) for value in row] for row in sheet.iter_rows(values_only=True)]
    numbers = [number for number, row in enumerate(rows, start=1) if any(row)]
    filled = [rows[number - 1] for number in numbers]
    header = [clean(name) for name in filled[0]] if filled else []
    raw = Raw(header, [[clean(row[place]) for row in filled[1:]] for place in range(len(header))], numbers[1:], "Excel")
    if len(book.worksheets) > 1:
        raw.notes.append(f"the first of its {len(book.worksheets)} sheets is read: {sheet.title}")
    return without_units(raw)


def _excel_cell(value: object) -> str:
    """A cell as text; Excel takes 10:00:01.5 for a time of day, and formulas that fail for #N/A."""
    if value is None:
        return ""
    if isinstance(value, float) and EXACT < abs(value) < math.inf:
        return repr(value)  # an id that lost its last digits must not look like one that did not
    return value.isoformat() if hasattr(value, "isoformat") else class_name(value)


def _add(raw: Raw, name: str, cells: Any, unit: str) -> None:
    """Take in a typed column: numbers as they are, texts as texts."""
    if isinstance(cells, np.ndarray):
        values, absent = np.ma.getdata(cells), np.ma.getmaskarray(cells)  # type: ignore[no-untyped-call]
        if values.dtype.kind == "u" and values.size and int(values.max()) >> 63:
            made: Any = [class_name(value) for value in values]
        else:
            # FITS is big-endian, and h5py keeps what it is given
            native = values.astype(np.int64 if values.dtype.kind in "iu" else values.dtype.newbyteorder("="))
            made = Column(native, absent | (np.isnan(native) if native.dtype.kind == "f" else False), unit)
    elif any(isinstance(value, list | dict | tuple | set | np.ndarray | np.void) for value in cells):
        raw.notes.append(f"{name}: left out, its cells are no single values")
        return
    else:
        made = _from_objects(cells)
    raw.header.append(clean(name))
    raw.columns.append(made)


def _from_objects(cells: Sequence[object]) -> Any:
    """Python values: numbers of one kind as they are, all else as text."""
    absent = np.array([value is None or value != value for value in cells], dtype=bool)
    known = [value for value in cells if value is not None and value == value]
    for kind, dtype in ((bool, np.bool_), (int, np.int64), (float, np.float64)):
        fits = all(type(value) is kind for value in known)
        if known and fits and (kind is not int or all(abs(int(str(value))) < 1 << 63 for value in known)):
            values = np.zeros(len(cells), dtype=dtype)
            values[~absent] = np.array(known, dtype=dtype)
            return Column(values, absent)
    return ["" if gone else _excel_cell(value) for value, gone in zip(cells, absent, strict=True)]


def _with_header(raw: Raw, keys: Sequence[str]) -> Raw:
    """The table, its header taken from a comment line if only that has one of `keys`, or what it has are values.

    A comment above values is a sentence unless it names a position or what a row belongs to.
    """
    if set(keys) & set(raw.header) or (FILE in keys and file_column(raw.header)):
        return raw
    if (below := below_title(raw, keys)) is not None:
        return below
    if not raw.comments or not raw.form.startswith("text"):
        return raw
    names = [clean(name) for name in raw.comments[-1].replace(";", ",").replace("\t", ",").split(",")]
    if len(names) == 1:
        names = raw.comments[-1].split()
    are_values = _has_numbers(raw.header) and not _has_numbers(names) and any(map(_is_usual, names))
    if not (set(keys) & set(names) or are_values) or len(names) != len(raw.header):
        return raw
    columns = [[clean(first), *cells] for first, cells in zip(raw.header, raw.columns, strict=True)]
    line = min(raw.lines, default=2) - 1
    note = f"the header is taken from the comment above the rows: {', '.join(names)}"
    return Raw(names, columns, [line, *raw.lines], raw.form, [*raw.notes, note])


def _is_usual(name: str) -> bool:
    return is_position(name) or name.casefold() in NAMES_OF_ROWS


def _has_numbers(names: Sequence[str]) -> bool:
    return any(typed([name], Missing()).is_number for name in names)


def _named(path: Path, raw: Raw) -> dict[str, Any]:
    """Columns by name: those without a name are left out, twins are one."""
    found: dict[str, Any] = {}
    for name, cells in zip(raw.header, raw.columns, strict=True):
        if not name:
            if any(cells if not isinstance(cells, Column) else ~cells.missing):
                raw.notes.append("a column without a name is left out")
        elif name not in found:
            found[name] = cells
        elif _same(found[name], cells):
            raw.notes.append(f"{name}: two columns of this name are the same, one is kept")
        else:
            raise LabelError(f"{path.name} has two different columns {name!r}.", "Give one of them another name.")
    return found


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Column) and isinstance(other, Column):
        return one.texts() == other.texts()
    return not isinstance(one, Column) and not isinstance(other, Column) and list(one) == list(other)


def _without_blank_rows(columns: dict[str, Any], lines: Sequence[int]) -> tuple[dict[str, Any], list[int]]:
    filled = np.zeros(len(lines), dtype=bool)
    for cells in columns.values():
        filled |= ~cells.missing if isinstance(cells, Column) else np.array([bool(cell) for cell in cells], dtype=bool)
    if filled.all():
        return columns, list(lines)
    kept = np.flatnonzero(filled)
    rows: Iterable[int] = kept.tolist()
    fewer = {
        name: cells.take(kept) if isinstance(cells, Column) else [cells[row] for row in rows]
        for name, cells in columns.items()
    }
    return fewer, [lines[row] for row in rows]


def _declared(column: Column, missing: Missing, unit: str) -> Column:
    """A column with the numbers that were declared missing taken so, and the unit of an angle that a line says."""
    if unit in UNITS:
        column = replace(column, unit=column.unit or unit)
    if not column.is_number or not missing.numbers:
        return column
    return replace(column, missing=column.missing | np.isin(column.values, missing.numbers))
