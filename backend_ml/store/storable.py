"""What comes from outside and PostgreSQL can keep: numbers within its integers, text without what it refuses."""

from typing import Annotated

from pydantic import AfterValidator, Field

INT4, INT8 = 2**31 - 1, 2**63 - 1


def is_storable(text: str) -> bool:
    """Whether PostgreSQL can keep a text: it knows neither NUL nor half of a surrogate pair."""
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def _storable(text: str) -> str:
    if not is_storable(text):
        raise ValueError("it holds a NUL or half of a character")
    return text


def _name(text: str) -> str:
    if not text.isprintable():
        raise ValueError("a name has printable characters alone")
    return text


Text = Annotated[str, AfterValidator(_storable)]
Name = Annotated[str, AfterValidator(_name)]
"""Text on one line: what has a newline or a NUL breaks pages, files and logs that show it."""
Id = Annotated[int, Field(ge=0, le=INT4)]
"""Of a campaign or a project."""
Row = Annotated[int, Field(ge=0, le=INT8)]
"""Of a stamp set."""
