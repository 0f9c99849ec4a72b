"""What a catalogue's columns are called and mean: legal names in every format, units, UCDs, descriptions."""

import re
import unicodedata
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

LONGEST = 40  # characters of what a class adds to a column's name

Kind = Literal["text", "int", "long", "float", "bool"]
Batch = Mapping[str, NDArray[Any]]
"""Some rows: an array for each column, text as str objects; "" and NaN stand for no value."""


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes
    ----------
    name : str
        ASCII letters, digits and underscores.
    kind : str
        Text, int (32 bits), long (64 bits), float (64 bits) or bool.
    about : str
        What it says.
    unit : str
        As FITS and VOTable write it; "" without one.
    ucd : str
        IVOA's word for what it is (UCD1+).
    width : int
        Bytes of the longest text, escaped as `ascii_text` does.
    """

    name: str
    kind: Kind
    about: str
    unit: str = ""
    ucd: str = ""
    width: int = 1


class Fact(NamedTuple):
    """A line of a catalogue's header: FITS keyword, name in words, and text."""

    keyword: str
    name: str
    text: str


@dataclass(frozen=True)
class Sheet:
    """A table that is written a batch at a time.

    Attributes
    ----------
    name : str
        Of the FITS extension, and in the name of a file of its own.
    columns : sequence of Column
    rows : int
    batches : callable
        Gives the rows from the first on; may be asked for once.
    facts : sequence of Fact
    """

    name: str
    columns: Sequence[Column]
    rows: int
    batches: Callable[[], Iterator[Batch]]
    facts: Sequence[Fact]


def class_slugs(classes: Sequence[str]) -> dict[str, str]:
    """What each class is called in names of columns, by class: ASCII, lower case, and different for each.

    Accents are dropped, a letter of another script is spelled out (α: alpha), everything else becomes an underscore.
    Classes that would have one name are numbered in their order, since FITS does not tell cases apart.
    """
    plain = [re.sub(r"[^a-z0-9]+", "_", _spelled(name).lower()).strip("_")[:LONGEST].strip("_") for name in classes]
    return dict(zip(classes, told_apart([name or "class" for name in plain]), strict=True))


def told_apart(names: Sequence[str], taken: Collection[str] = ()) -> list[str]:
    """Names of which each is one of its own, and none of those taken: a number stands behind what was there before."""
    found: dict[str, None] = {}
    for name in names:
        own, number = name, 1
        while own in found or own in taken:
            number += 1
            own = f"{name}_{number}"
        found[own] = None
    return list(found)


def renamed(names: Sequence[str], told: Sequence[str]) -> list[str]:
    """Which of some names are told as another one, in words."""
    return [
        f"another column is called {name}: what is answered to {name} is in {own}"
        for name, own in zip(names, told, strict=True)
        if name != own
    ]


def _spelled(text: str) -> str:
    letters = []
    for letter in unicodedata.normalize("NFKD", text):
        word = unicodedata.name(letter, "").rpartition(" ")[2] if not letter.isascii() and letter.isalpha() else letter
        letters.append("" if unicodedata.combining(letter) else word)
    return "".join(letters)


def clean_text(value: object) -> str:
    """Text that every format can hold: without blanks around it, and ? for what controls, ends a line or is nothing."""
    text = (value.decode(errors="replace") if isinstance(value, bytes) else str(value)).strip()
    if text.isprintable():
        return text
    return "".join("?" if unicodedata.category(letter) in ("Cc", "Cs", "Cn", "Zl", "Zp") else letter for letter in text)


def ascii_text(text: str) -> bytes:
    r"""Text as FITS holds it, in ASCII alone: é is \xe9, α is \u03b1."""
    return text.encode("ascii", "backslashreplace")


def text_width(values: Sequence[str]) -> int:
    """Bytes of the longest of some texts, 1 at least."""
    return max((len(ascii_text(value)) for value in values), default=1) or 1


def texts(values: Sequence[str]) -> NDArray[np.object_]:
    """Texts as a column of a batch."""
    return np.array(values, dtype=object)
