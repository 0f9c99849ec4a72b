"""Delimited text: its encoding, its delimiter, and its cells as they stand."""

import csv
import io
import re
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from typing import Any

from lvm_training.tables.cells import clean

DELIMITERS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars", " ": "blanks"}
LOOKED_AT = 200  # lines that tell the delimiter
MARKS = {
    b"\xff\xfe\x00\x00": "utf-32",
    b"\x00\x00\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
    b"\xef\xbb\xbf": "utf-8-sig",
}
NAMES = {"utf-8": "UTF-8", "utf-8-sig": "UTF-8", "cp1252": "Latin-1 (Windows-1252)", "latin-1": "Latin-1"}
Wanted = Callable[[Sequence[str]], Container[str]]  # of all columns those that are to be read
_STRANGE = re.compile(r"[\x00-\x08\x0e-\x19\x1b-\x1f]")
_COMMA_NUMBER = re.compile(r"[+-]?[0-9]+,[0-9]+([eE][+-]?[0-9]+)?")
_WHOLE = re.compile(r"[+-]?[0-9]+")
_VALUE = re.compile(r"[+-]?[0-9.]+(?:e[+-]?[0-9]+)?(?:[: ][0-9.: ]*)?", re.IGNORECASE)  # 0.1nm is a unit
_UNIT_WORDS = (
    "deg degree degrees rad radian radians h hour hours hourangle hms dms h:m:s d:m:s hh:mm:ss dd:mm:ss arcmin arcsec "
    "mas mag mags abmag vegamag mag/arcsec2 mag/arcsec^2 jy mjy ujy njy nmgy nanomaggy nanomaggies km/s m/s mpc kpc "
    "pc pix pixel pixels px s sec yr gyr d day days mjd um nm angstrom angstroms aa msun lsun solmass dex none "
    "unitless dimensionless str string text char int integer long float double bool boolean n/a"
)
COLUMN_UNITS = frozenset(_UNIT_WORDS.split())
ROW_NAME = "row_name"
FILE = "file"
_FILES = (
    "file filename filepath imagefile imagefilename imagename imagepath imgfile imgname imgpath path image img "
    "fileloc pngloc jpgloc png jpg jpeg pngfile jpgfile fitsfile fits"
)
FILES = tuple(_FILES.split())  # what people call the column of files, blanks apart, the likeliest first
TITLES = 8  # lines of a title that are looked at
_BOX = re.compile(r"\+[-=+:]+\+|={2,}(?: +={2,})+")  # what MySQL, STILTS and reStructuredText rule around rows
_FORMULA = re.compile(r'="([^"]*)"|\'([0-9]+)')  # as spreadsheets keep digits from being numbers
_RULE = re.compile(r":?-+:?")
_OTHER_COMMA = re.compile(r", |[0-9],[0-9]")


@dataclass
class Raw:
    """A table as its file has it, before its cells are given a meaning.

    Attributes
    ----------
    header : list of str
        Column names.
    columns : list
        For each of them the cells as texts, or a `Column` where the format has types.
    lines : list of int
        Where each row stands, for messages: the line of a text, else the number of the row, from 1.
    form : str
        Format and encoding, for people.
    notes : list of str
        What a reader should know.
    comments : list of str
        Comment lines above the header, which may be one themselves.
    units : dict of str to str
        Of columns of text, as a line below the header says them.
    """

    header: list[str]
    columns: list[Any]
    lines: list[int]
    form: str
    notes: list[str] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)
    units: dict[str, str] = field(default_factory=dict)


class TextError(ValueError):
    """Text that is no table."""


def decoded(data: bytes) -> tuple[str, str]:
    """Text of bytes, and the name of its encoding.

    A byte order mark says it; else zeros in every second byte mean UTF-16; what is not UTF-8 is Latin-1.

    Raises
    ------
    TextError
        If the bytes are no text.
    """
    encoding = next((name for mark, name in MARKS.items() if data.startswith(mark)), None) or _unmarked(data)
    try:
        text = data.decode(encoding).rstrip("\x1a")
    except UnicodeDecodeError as error:
        raise TextError(str(error)) from error
    if found := _STRANGE.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise TextError(f"line {line}: character {found[0]!r} is in no text")
    return text, NAMES.get(encoding, encoding.upper())


def _unmarked(data: bytes) -> str:
    start = data[:4096]
    if start.count(0) > len(start) // 4:
        # ASCII characters have their zero behind them in the little-endian form
        return "utf-16-le" if start[1::2].count(0) >= start[::2].count(0) else "utf-16-be"
    for encoding in ("utf-8", "cp1252"):
        try:
            data.decode(encoding)
        except UnicodeDecodeError:
            continue
        return encoding
    return "latin-1"


def read_text(data: bytes, wanted: Wanted | None = None) -> Raw:
    """A table of delimited text, its delimiter found out; lines that begin with # are comments.

    Cells of columns that are not wanted are not kept, unless a comment may be the header.

    Raises
    ------
    TextError
        If it is no text, a quote does not end, or a row has more cells than there are columns.
    """
    text, encoding = decoded(data)
    lines, numbers, comments, dropped = _lines(text)
    delimiter = None
    if lines and (said := re.fullmatch(r'"?sep=(.)"?\s*', lines[0], re.IGNORECASE)):
        delimiter = said[1]
        del lines[0], numbers[0]
    delimiter = delimiter or _delimiter(lines)
    records = _records(lines, numbers, delimiter)
    header = [clean(name) for name in next(records, (0, []))[1]]
    raw = Raw(header, [], [], f"text, {DELIMITERS.get(delimiter, repr(delimiter))}, {encoding}", comments=comments)
    if encoding.startswith("Latin-1"):
        raw.notes.append(f"it is not UTF-8 and was read as {encoding}")
    if dropped:
        raw.notes.append(f"{dropped} lines that begin with # were passed over")
    header, records = _with_row_names(raw, records, lines[:3], delimiter)
    kept = header if comments or wanted is None else wanted(header)
    places = [place for place, name in enumerate(header) if name in kept]
    rows = _rectangular(raw, _below_rule(raw, records), places)
    raw.header = [header[place] for place in places]
    raw.columns = [[row[place] for row in rows] for place in range(len(places))]
    raw = without_units(raw)
    if delimiter != ",":
        raw.columns = [_decimal_points(raw, name, cells) for name, cells in zip(raw.header, raw.columns, strict=True)]
    return raw


def _lines(text: str) -> tuple[list[str], list[int], list[str], int]:
    """Lines that are not comments, their numbers, the comments above the header, and how many are below it."""
    lines: list[str] = []
    numbers: list[int] = []
    comments: list[str] = []
    below, quoted = 0, False
    for number, line in enumerate(io.StringIO(text, newline=""), start=1):
        if not quoted and line.lstrip(" \t").startswith("#"):
            below += bool(lines)
            if not lines:
                comments.append(line.strip().lstrip("# \t"))
            continue
        if not quoted and _BOX.fullmatch(line.strip()):
            continue
        quoted ^= line.count('"') % 2 == 1
        if quoted or line.strip() or lines:
            lines.append(line)
            numbers.append(number)
    return lines, numbers, comments, below


def _delimiter(lines: Sequence[str]) -> str:
    """The delimiter by which most lines have as many cells as the first; of those the one with most cells."""
    best, choice = (0.0, 0), ","
    for delimiter in DELIMITERS:
        try:
            counts = [
                len(row) for row in csv.reader(_stripped(lines[:LOOKED_AT], delimiter), **_dialect(delimiter)) if row
            ]
        except csv.Error:
            continue
        if counts and counts[0] > 1:
            score = (sum(count == counts[0] for count in counts) / len(counts), counts[0])
            # blanks also part the words of a cell: they count only where nothing else parts
            if score > best and not (delimiter == " " and best > (0.0, 0)):
                best, choice = score, delimiter
    return choice


def _dialect(delimiter: str) -> dict[str, Any]:
    return {"delimiter": delimiter, "skipinitialspace": True}


def _stripped(lines: Iterable[str], delimiter: str) -> Iterable[str]:
    return (line.strip() for line in lines) if delimiter == " " else lines


def _records(lines: Sequence[str], numbers: Sequence[int], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Rows with the number of their last line; blank ones are left out."""
    reader = csv.reader(_stripped(lines, delimiter), strict=True, **_dialect(delimiter))
    try:
        for record in reader:
            if any(cell.strip() for cell in record):
                yield numbers[reader.line_num - 1], record
    except csv.Error as error:
        line = numbers[min(reader.line_num, len(numbers)) - 1] if numbers else 1
        raise TextError(f"line {line}: {error}") from error


def _with_row_names(
    raw: Raw, records: Iterator[tuple[int, list[str]]], lines: Sequence[str], delimiter: str
) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    """The header with a place for the names of rows that R writes before each, for which the header has no cell.

    They are in quotes, as the header is, or numbers; a comma of prose or of decimals makes a row longer, too.
    """
    quoted = all(line.lstrip().startswith('"') for line in lines)
    other = delimiter == "," and any(map(_OTHER_COMMA.search, lines[1:]))
    first = list(islice(records, 2))
    records = chain(first, records)
    longer = len(first) > 0 and all(len(record) == len(raw.header) + 1 and record[-1].strip() for _, record in first)
    names = [record[0].strip() for _, record in first]
    numbered = all(map(str.isdecimal, names)) and names == sorted(set(names), key=int)
    if not longer or not (quoted or (numbered and not other)):
        return raw.header, records
    raw.header = ["" if numbered else ROW_NAME, *raw.header]
    said = "left out" if numbered else f"the column {ROW_NAME}"
    raw.notes.append(f"its rows have a cell more than its header, as R writes names of rows: these are {said}")
    return raw.header, records


def file_column(names: Iterable[str]) -> str | None:
    """The column that is called `file`, or by another word for it, such as `Filename` or `image_path`."""
    words = {"".join(re.findall(r"[a-z]+", name.casefold())): name for name in reversed(list(names))}
    return next((words[word] for word in FILES if word in words), None)


def below_title(raw: Raw, keys: Container[str]) -> Raw | None:
    """The table below lines of a title, as sheets have them, if one of its first rows names a column of `keys`."""
    if any(not isinstance(cells, list) for cells in raw.columns):
        return None
    for row in range(min(TITLES, len(raw.lines))):
        names = [clean(cells[row]) for cells in raw.columns]
        is_header = any(name in keys for name in names) or (FILE in keys and file_column(names) is not None)
        if is_header and not any(map(_VALUE.fullmatch, names)):
            note = f"the header is that of line {raw.lines[row]}, below a title"
            columns = [cells[row + 1 :] for cells in raw.columns]
            lines = raw.lines[row + 1 :]
            return without_units(replace(raw, header=names, columns=columns, lines=lines, notes=[*raw.notes, note]))
    return None


def without_units(raw: Raw) -> Raw:
    """The table without a line of units below its header, as sheets and CSV files have; its angles keep theirs.

    All cells of such a line are units, and one stands above nothing but numbers.
    """
    cells = [column[0] if isinstance(column, list) and column else "" for column in raw.columns]
    units = _units(cells)
    said = [place for place, unit in enumerate(units) if unit.strip("-")]
    if not said or not all(units[place] in COLUMN_UNITS for place in said):
        return raw
    below = ([cell.replace(",", ".") for cell in raw.columns[place][1:] if cell] for place in said)
    if not any(column and all(map(_VALUE.fullmatch, column)) for column in below):
        return raw
    return replace(
        raw,
        columns=[column[1:] for column in raw.columns],
        lines=raw.lines[1:],
        notes=[*raw.notes, "the line of units below its header was passed over"],
        units=dict(zip(raw.header, units, strict=True)),
    )


def _units(cells: Iterable[object]) -> list[str]:
    """Units as they are looked up: `[Deg]` is `deg`."""
    return [clean(str(cell or "")).strip("[]() ").casefold() for cell in cells]


def _below_rule(raw: Raw, records: Iterator[tuple[int, list[str]]]) -> Iterator[tuple[int, list[str]]]:
    """Rows without the line of dashes that VizieR, Markdown and others rule under a header, or under its units."""
    first = list(islice(records, 2))
    ruled = [_is_rule(record, sum(map(bool, raw.header))) for _, record in first]
    if any(ruled[:1]):
        raw.notes.append("the line of dashes below its header was passed over")
    elif any(ruled) and not any(map(_VALUE.fullmatch, first[0][1])):
        raw.notes.append("the lines of units and of dashes below its header were passed over")
        raw.units = dict(zip(raw.header, _units(first[0][1]), strict=False))
    else:
        return chain(first, records)
    return chain(first[ruled.index(True) + 1 :], records)


def _is_rule(record: Sequence[str], columns: int) -> bool:
    """Whether a row is dashes in each of its columns, and not marks of missing values, which are shorter."""
    cells = [cell.strip() for cell in record if cell.strip()]
    return len(cells) == columns and all(map(_RULE.fullmatch, cells)) and max(map(len, cells)) > len("--")


def _rectangular(raw: Raw, records: Iterable[tuple[int, list[str]]], places: Sequence[int]) -> list[list[str]]:
    """The cells of each row at some places; the header of `raw` is still that of all columns."""
    width, rows, short = len(raw.header), [], 0
    for line, record in records:
        if any(cell.strip() for cell in record[width:]):
            raise TextError(
                f"line {line} has more cells than columns ({len(record)} and {width}); quote cells with commas"
            )
        short += len(record) < width
        rows.append([_cell(record[place]) if place < len(record) else "" for place in places])
        raw.lines.append(line)
    if short:
        raw.notes.append(f"{short} rows are shorter than the header; what they lack is missing")
    return rows


def _cell(text: str) -> str:
    """A cell without blanks and without what spreadsheets put around digits: ="0012" or '0012."""
    plain = clean(text)
    if plain[:1] in ("=", "'") and (found := _FORMULA.fullmatch(plain)):
        return found[1] or found[2] or ""
    return plain


def _decimal_points(raw: Raw, name: str, cells: list[str]) -> list[str]:
    """Cells of a column whose numbers have a comma, as Excel writes them in much of Europe, with a point."""
    known = [cell for cell in cells if cell]
    commas = [cell for cell in known if _COMMA_NUMBER.fullmatch(cell)]
    if not commas or any(cell not in commas and not _WHOLE.fullmatch(cell) for cell in set(known) - set(commas)):
        return cells
    raw.notes.append(f"{name}: the comma of its numbers is read as a decimal point")
    return [cell.replace(",", ".") for cell in cells]
