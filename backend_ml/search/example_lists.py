"""What a search begins with: stamps by row or position."""

import re

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
    """The rows that a list names: row numbers and positions RA,DEC, in degrees or sexagesimal.

    Spaces, semicolons or new lines part them; a line of whole numbers is one of rows, whatever parts
    them, so a position has a decimal point or a sign.

    Raises
    ------
    ExampleError
        If a part is neither, or a row is not there.
    QueryError, StampError
        If no stamp is at a position, or the set knows none.
    """
    lines = [line.replace(",", " ") if ROWS.fullmatch(line) else line for line in LINES.split(text)]
    parts = [part for line in lines for part in _parts(line.strip())]
    if len(parts) > MOST_EXAMPLES:
        raise ExampleError(
            f"These are {len(parts)} examples.", f"Name {MOST_EXAMPLES} at most; the rounds find the others."
        )
    return list(dict.fromkeys(_row(part, stamps, pool) for part in parts))


def _parts(line: str) -> list[str]:
    """The rows and positions of a line; a position that has blanks stands alone in one."""
    if not ROWS.fullmatch(line) and read_position(line):
        return [line]
    return [part for part in SPACES.split(line) if part]


def _row(part: str, stamps: StampSet, pool: Features) -> int:
    if part.isascii() and part.isdigit():
        if int(part) >= len(stamps):
            raise ExampleError(f"{stamps.name} has no stamp {part}.", f"Its stamps are 0 to {len(stamps) - 1}.")
        return int(part)
    if position := read_position(part):
        return stamp_at(position.ra, position.dec, Shards([pool]), {pool.stamps: stamps})
    raise ExampleError(
        f"{part!r} is no row and no position.", "Write rows as 17 and positions as 150.1,-1.5 or 10:00:24,-01:30:00."
    )
