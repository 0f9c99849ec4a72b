"""What a cell means: a missing value, an integer, a number, a truth value, or text."""

import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

EXACT = 1 << 53  # above it a float no longer holds every integer, as survey object ids need
LARGEST = (1 << 63) - 1
DIGITS = 20  # of it, with its sign
WORDS = frozenset({"", "nan", "-nan", "na", "n/a", "#n/a", "<na>", "null", "-", "--", "..."})
SENTINELS = (-99.0, -999.0, -9999.0)
UNSEEN = (
    "\ufeff\u00a0\u200b\u200c\u200d\u200e\u200f\u2060 \t"  # what pages and Word put around what is copied from them
)
TRUTH = {"true": True, "false": False}
_INTEGER = re.compile(r"[+-]?(0|[1-9][0-9]*)")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?|[+-]?(nan|inf|infinity)", re.IGNORECASE)
# 1,234, 1.234,5, 1.5D+03, 50 % and numbers with a typographic minus
_WRITTEN_OTHERWISE = re.compile(
    r"[+\-\u2212]?(?:[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]*)?|[0-9]{1,3}(?:\.[0-9]{3})*,[0-9]+"
    r"|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[dDeE][+\-\u2212]?[0-9]+)?)\s*%?"
)
_LIST = re.compile(r"[0-9]+(?:,\s*[0-9]+){2,}|[0-9]+(?:,\s+[0-9]+)+|[\[(][^\])]*[\])]")
_PAIR = re.compile(r"[1-9][0-9]?,[0-9]{1,2}")  # or a number with a decimal comma
_IDENTIFIER = re.compile(r"[+-]?0[0-9]+")


@dataclass(frozen=True)
class Missing:
    """Which cells stand for no value; an empty one and a NaN always do.

    Attributes
    ----------
    words : frozenset of str
        Texts, in lower case.
    numbers : tuple of float
        Numbers, which only count where they were declared: surveys write -99, but -99 may be a value.
    """

    words: frozenset[str] = WORDS
    numbers: tuple[float, ...] = ()

    @classmethod
    def declared(cls, text: str | None) -> Self:
        """From an option such as "-99,unknown": numbers join the usual words, words take their place."""
        if text is None:
            return cls()
        given = {part.strip().casefold() for part in text.split(",")} - {""}
        numbers = {part for part in given if _NUMBER.fullmatch(part) and math.isfinite(float(part))}
        words = given - numbers if given != numbers or not given else WORDS
        return cls(frozenset(words | {""}), tuple(sorted(map(float, numbers))))

    def without(self, names: Iterable[str]) -> "Missing":
        """The same, but for some names that are values: the classes of a campaign."""
        said = {clean(name).casefold() for name in names} - {""}
        numbers = {float(name) for name in said if _NUMBER.fullmatch(name)}
        return Missing(self.words - said, tuple(number for number in self.numbers if number not in numbers))

    def __contains__(self, cell: str) -> bool:
        if cell.casefold() in self.words:
            return True
        return bool(self.numbers) and _NUMBER.fullmatch(cell) is not None and float(cell) in self.numbers


@dataclass(frozen=True)
class Column:
    """A column of one type.

    Attributes
    ----------
    values : ndarray (N,)
        Integers, floats, booleans or `str` objects; anything where the value is missing.
    missing : ndarray of bool (N,)
    unit : str
        As the file says it; "" where it does not.
    written : sequence of str or None
        The cells of a text as they stand in it.
    """

    values: NDArray[Any]
    missing: NDArray[np.bool_]
    unit: str = ""
    written: Sequence[str] | None = None

    def __len__(self) -> int:
        return len(self.values)

    @property
    def is_number(self) -> bool:
        """Whether it holds numbers or truth values, not text."""
        return self.values.dtype.kind in "iufb"

    @property
    def kind(self) -> str:
        """What it holds, in a word."""
        return {"i": "integer", "u": "integer", "f": "number", "b": "boolean"}.get(self.values.dtype.kind, "text")

    @property
    def lost_digits(self) -> bool:
        """Whether it may be ids that went through floats, as Excel and pandas make them: their last digits are gone."""
        if self.kind != "number" or self.missing.all():
            return False
        known = np.abs(self.values[~self.missing])
        return EXACT < float(known.max()) <= 2 * LARGEST and bool((known == np.floor(known)).all())

    def text(self, row: int) -> str:
        """A cell as a class or an id is written; "" where it is missing."""
        return "" if self.missing[row] else class_name(self.values[row])

    def texts(self) -> list[str]:
        """All cells, as `text` gives them."""
        return [self.text(row) for row in range(len(self))]

    def take(self, rows: Sequence[int] | NDArray[np.int64]) -> "Column":
        """Some rows in the order asked for; -1 is a row that is missing."""
        wanted = np.asarray(rows, dtype=np.int64)
        if not len(self):
            return text_column([""] * len(wanted))
        return Column(self.values[wanted], self.missing[wanted] | (wanted < 0), self.unit)

    def stored(self) -> NDArray[Any]:
        """The column as a stamp set keeps it, which has no other mark of a missing value than NaN and "".

        Integers and truth values with gaps become floats, or text where a float does not hold them.
        """
        if not self.is_number:
            return np.where(self.missing, "", self.values)
        if not self.missing.any():
            return self.values
        known = self.values[~self.missing]
        if self.kind == "integer" and len(known) and max(int(known.max()), -int(known.min())) > EXACT:
            return np.array(self.texts(), dtype=object)
        return np.where(self.missing, np.nan, self.values.astype(np.float64))


def clean(text: str) -> str:
    """Text without blanks around it, in the Unicode form NFC: macOS names files in another one."""
    plain = text.strip()
    # nearly all are, and tables have millions
    return plain if plain.isascii() else unicodedata.normalize("NFC", plain.strip(UNSEEN))


def class_name(value: object) -> str:
    """A value as a class or an id is written: 1 and 1.0 are "1"; NaN is ""."""
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    if isinstance(value, bool | np.bool_):
        return str(bool(value))
    if isinstance(value, int | np.integer):
        return str(int(value))
    if isinstance(value, float | np.floating):
        if math.isnan(value):
            return ""
        return str(int(value)) if math.isfinite(value) and value == int(value) else str(value)
    return clean(str(value))


def class_names(values: NDArray[Any], missing: Missing | None = None) -> list[str]:
    """The class of each value of a stamp set's column; "" where it is missing."""
    names = list(map(class_name, values))
    if values.dtype.kind not in "iufb":
        return typed(names, missing or Missing()).texts()
    return ["" if name in (missing or Missing()) else name for name in names]


def numbers(values: NDArray[Any]) -> NDArray[np.float64]:
    """Values of a stamp set's column as numbers; NaN where one is none."""
    if values.dtype.kind in "iufb":
        return values.astype(np.float64)
    known = (class_name(value) for value in values)
    return np.array([float(text) if _NUMBER.fullmatch(text) else np.nan for text in known], dtype=np.float64)


def matching(values: NDArray[Any], wanted: str) -> NDArray[np.bool_]:
    """Which values are meant by a text: 1, 1.0 and 01 name the same number, an empty text what is missing."""
    text = clean(wanted)
    if values.dtype.kind not in "iufb":
        return np.array([class_name(value) == text for value in values], dtype=bool)
    if text in Missing():
        return np.isnan(values) if values.dtype.kind == "f" else np.zeros(len(values), dtype=bool)
    if text.casefold() in TRUTH:
        # truth values with gaps are kept as 1, 0 and NaN
        return np.asarray(values == TRUTH[text.casefold()])
    if values.dtype.kind in "iu" and _kind(text) == "integer":
        return np.asarray(values == int(text))
    if not _NUMBER.fullmatch(text):
        return np.zeros(len(values), dtype=bool)
    # a single-precision 0.1 is not the double that its text gives
    return np.asarray(values == values.dtype.type(float(text)) if values.dtype.kind == "f" else values == float(text))


def text_column(cells: Iterable[str]) -> Column:
    """A column of text."""
    values = np.array(list(cells), dtype=object)
    return Column(values, np.array([not cell for cell in values], dtype=bool))


def typed(cells: Sequence[str], missing: Missing) -> Column:
    """The column that texts make: of integers, numbers or truth values if all that are known are; else of text.

    Integers of more than 63 bits, numbers beside integers that a float cannot hold or beyond any float, and digits
    behind a leading zero are ids, and stay text.
    """
    absent = np.array([cell in missing for cell in cells], dtype=bool)
    known = [cell for cell, gone in zip(cells, absent, strict=True) if not gone]
    kinds = {_kind(cell) for cell in known}
    if kinds == {"integer"}:
        return Column(_filled(known, absent, int, np.int64), absent, written=cells)
    if kinds and kinds <= {"integer", "number"}:
        if all(abs(int(cell)) <= EXACT for cell in known if _kind(cell) == "integer"):
            values = _filled(known, absent, float, np.float64)
            return Column(values, absent | np.isnan(values), written=cells)
    elif kinds == {"boolean"}:
        return Column(_filled(known, absent, lambda cell: TRUTH[cell.casefold()], np.bool_), absent, written=cells)
    return text_column("" if gone else cell for cell, gone in zip(cells, absent, strict=True))


def _filled(known: Sequence[str], absent: NDArray[np.bool_], read: Any, dtype: Any) -> NDArray[Any]:
    values = np.zeros(len(absent), dtype=dtype)
    values[~absent] = [read(cell) for cell in known]
    return values


@lru_cache(maxsize=1 << 16)
def _kind(cell: str) -> str:
    if _INTEGER.fullmatch(cell):
        # Python refuses to read thousands of digits
        return "integer" if len(cell) <= DIGITS and abs(int(cell)) <= LARGEST else "text"
    if cell.casefold() in TRUTH:
        return "boolean"
    if not _NUMBER.fullmatch(cell) or _IDENTIFIER.fullmatch(cell):
        return "text"
    # 12e4567 and 12e4568 are two names, not the same infinity
    return "text" if math.isinf(float(cell)) and not cell.lstrip("+-").isalpha() else "number"


def remarks(
    name: str, column: Column, cells: Sequence[str] | None, lines: Sequence[int], missing: Missing
) -> list[str]:
    """What a reader should know of how a column was taken."""
    found = []
    if cells is not None:
        words = sorted({cell for cell, gone in zip(cells, column.missing, strict=True) if gone and cell})
        if words:
            count = sum(bool(cell) for cell, gone in zip(cells, column.missing, strict=True) if gone)
            found.append(f"{name}: {count} cells {', '.join(words)} are taken as missing (--missing says which are)")
        if not column.is_number:
            found += _nearly_numbers(name, column, lines)
    if column.lost_digits:
        first = int(np.flatnonzero(~column.missing)[0])
        written = cells[first] if cells is not None else f"{column.values[first]:.6g}"
        found.append(
            f"{name}: numbers such as {written} are floats; if they are ids, their last digits are lost and galaxies "
            "cannot be told by them: export them anew as text or integers"
        )
    if column.is_number and column.kind != "boolean":
        known = column.values[~column.missing]
        for sentinel in SENTINELS:
            count = int((known == sentinel).sum())
            if count:
                found.append(f"{name}: {count} cells are {sentinel:g}; if they are missing, --missing={sentinel:g}")
    return found


def _nearly_numbers(name: str, column: Column, lines: Sequence[int]) -> list[str]:
    known = np.flatnonzero(~column.missing)
    odd = [row for row in known if not _is_number(str(column.values[row]))]
    other = [row for row in odd if _is_written_otherwise(str(column.values[row]))]
    if any(_LIST.fullmatch(str(column.values[row])) for row in odd if row not in set(other)):
        return []
    lists = " (lists of numbers stay as they are)" if any(map(_PAIR.fullmatch, map(str, column.values))) else ""
    if other and 2 * (len(odd) - len(other)) < len(known):
        return [
            f"{name}: kept as text, because {len(other)} of {len(known)} cells are such as {column.values[other[0]]!r} "
            f"in line {lines[other[0]]}; write numbers as 1234.5 or 1.5e3{lists}"
        ]
    if not odd or 2 * len(odd) >= len(known):
        return []
    first = odd[0]
    return [
        f"{name}: kept as text, because {len(odd)} of {len(known)} cells are no numbers, first "
        f"{column.values[first]!r} in line {lines[first]}"
    ]


def _is_number(cell: str) -> bool:
    """Whether it is a number, or an integer of more digits than are kept as one."""
    return _kind(cell) in ("integer", "number") or _INTEGER.fullmatch(cell) is not None


def _is_written_otherwise(cell: str) -> bool:
    """Whether it is a number to people, in a form that is not read as one."""
    return not cell.lstrip("+-").isdigit() and _WRITTEN_OTHERWISE.fullmatch(cell) is not None
