"""What a search begins with: stamps by row, position, file or catalogue id."""

import re

from backend_ml.label_studio.labelling import named_rows
from lvm_training.errors import GalaxyLoopError
from lvm_training.index.queries import stamp_at
from lvm_training.pool.features import Features
from lvm_training.pool.shards import Shards
from lvm_training.stamps.stampset import StampSet
from lvm_training.tables.positions import read_position

LINES = re.compile(r"[;\n]")
ROWS = re.compile(r"[\d\s,]+")
SPACES = re.compile(r"(?<![,\s])\s+(?![,\s])")
MOST_EXAMPLES = 50


class ExampleError(GalaxyLoopError):
    """An example that is not understood, or cannot be used."""

    code = "bad_example"


def find_stamps(text: str, stamps: StampSet, pool: Features) -> list[int]:
    """The rows that a list names: row numbers, positions RA,DEC in degrees or sexagesimal, files and catalogue ids.

    Spaces, semicolons or new lines part them; a line of whole numbers is one of rows, whatever parts
    them, so a position has a decimal point or a sign. A whole number beyond the set's rows is an id. A file may be
    named without its folders and its suffix.

    Raises
    ------
    ExampleError
        If a part is none of these, a row is not there, or a name stands for several.
    QueryError, StampError
        If no stamp is at a position, or the set knows none.
    """
    lines = [line.replace(",", " ") if ROWS.fullmatch(line) else line for line in LINES.split(text)]
    parts = [part for line in lines for part in _parts(line.strip(), stamps)]
    if len(parts) > MOST_EXAMPLES:
        raise ExampleError(
            f"These are {len(parts)} examples.", f"Name {MOST_EXAMPLES} at most; the rounds find the others."
        )
    return list(dict.fromkeys(_row(part, stamps, pool) for part in parts))


def _parts(line: str, stamps: StampSet) -> list[str]:
    """The rows, positions and names of a line; a position or a name that has blanks stands alone in one."""
    if line and not ROWS.fullmatch(line) and (read_position(line) or named_rows(stamps, line)):
        return [line]
    return [part for part in SPACES.split(line) if part]


def _row(part: str, stamps: StampSet, pool: Features) -> int:
    if part.isascii() and part.isdigit():
        if int(part) >= len(stamps) and not named_rows(stamps, part):
            raise ExampleError(f"{stamps.name} has no stamp {part}.", f"Its stamps are 0 to {len(stamps) - 1}.")
        if int(part) < len(stamps):
            return int(part)
    named = named_rows(stamps, part)
    if len(named) > 1:
        raise ExampleError(f"{part!r} is the name of {len(named)} stamps.", f"Write one of the rows {named[:5]}.")
    if named:
        return named[0]
    if position := read_position(part):
        return stamp_at(position.ra, position.dec, Shards([pool]), {pool.stamps: stamps})
    raise ExampleError(
        f"{part!r} is no row, no position, and no file or id of {stamps.name}.",
        "Write rows as 17, positions as 150.1,-1.5 or 10:00:24,-01:30:00, and files as J1000+01.jpg.",
    )
