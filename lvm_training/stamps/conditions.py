"""Conditions that choose stamps by their catalogue: the one grammar of `--where`, of searches and of campaigns.

    column=value  column!=value     as a cell is written: 1, 1.0 and 01 are one number; an empty value is a missing one
    column<value  <=  >  >=         numbers; a missing value, which surveys write as -99, fits none
    cone(RA,DEC,RADIUS)             on the sky: degrees or sexagesimal; the radius in degrees, 30' or 5"
    box(RA,RA,DEC,DEC)              from the first to the second eastwards, so box(350,10,-1,1) goes through 0

Several conditions must all hold.
"""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lvm_training.errors import StampError
from lvm_training.stamps.stampset import StampSet
from lvm_training.tables.cells import SENTINELS, class_name, matching, numbers
from lvm_training.tables.positions import degrees, read_angle, separation

FORMS = 'Write it as column=value, column>=value, cone(150.1,2.2,30\') or box(150,151,2,3); see "Conditions".'
SHOWN = 1000  # rows whose values a message may name
UNITS = {"": 1.0, "°": 1.0, "deg": 1.0, "'": 1 / 60, "arcmin": 1 / 60, '"': 1 / 3600, "arcsec": 1 / 3600}
_SKY = re.compile(r"\s*(cone|box)\s*\((.*)\)\s*", re.IGNORECASE)
_OPERATOR = re.compile(r"!=|<=|>=|=|<|>")
_RADIUS = re.compile(r"\s*([0-9.]+(?:e[+-]?[0-9]+)?)\s*(°|deg|arcmin|arcsec|'|\"|)\s*", re.IGNORECASE)

Mask = NDArray[np.bool_]


def fitting(stamps: StampSet, conditions: Sequence[str]) -> Mask:
    """Which stamps of a set fit all conditions, shape (N,); one column is in memory at a time.

    Raises
    ------
    StampError
        If one is no condition, its column is missing, or compares what is no number.
    """
    found = np.ones(len(stamps), dtype=bool)
    for condition in conditions:
        found &= _fitting(stamps, condition)
    return found


def fitting_rows(stamps: StampSet, conditions: Sequence[str]) -> NDArray[np.int64]:
    """The rows that fit all conditions, ascending.

    Raises
    ------
    StampError
        As `fitting`, and if none does; the message names values of the column of the first that nothing fits.
    """
    rows: NDArray[np.int64] = np.flatnonzero(fitting(stamps, conditions))
    if conditions and not len(rows):
        alone = next((one for one in conditions if not _fitting(stamps, one).any()), None)
        named = repr(alone) if alone else "all of " + ", ".join(map(repr, conditions))
        raise StampError(f"No stamp of {stamps.path.name} fits {named}.", _values(stamps, alone or conditions[0]))
    return rows


def positions(stamps: StampSet) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Right ascension and declination of a set's stamps, degrees, each (N,); NaN where there is none.

    Raises
    ------
    StampError
        If the set lacks the column `ra` or `dec`.
    """
    ra, dec = stamps.column("ra"), stamps.column("dec")
    return degrees(ra, right_ascension=True), degrees(dec, right_ascension=False)


def within(ra: NDArray[np.float64], dec: NDArray[np.float64], centre: tuple[float, float], radius: float) -> Mask:
    """Which positions lie within a cone; all in degrees."""
    return np.asarray(separation(ra, dec, *centre) <= radius)  # NaN is nowhere


def _fitting(stamps: StampSet, condition: str) -> Mask:
    if sky := _SKY.fullmatch(condition):
        return _on_the_sky(stamps, condition, sky[1].casefold(), sky[2].split(","))
    column, operator, value = _parts(condition, stamps.columns)
    values = stamps.column(column)
    if operator in ("=", "!="):
        equal: Mask = matching(values, value)
        return np.asarray(equal if operator == "=" else ~equal)
    try:
        bound = float(value)
    except ValueError:
        raise StampError(f"{condition!r} compares with {value!r}, no number.", FORMS) from None
    known = numbers(values)
    if len(known) and not np.isfinite(known).any():
        raise StampError(f"{condition!r}: the column {column!r} of {stamps.path.name} holds no numbers.", FORMS)
    known = np.where(np.isin(known, SENTINELS), np.nan, known)
    compare = {"<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal}[operator]
    return np.asarray(compare(known, bound), dtype=bool)


def _parts(condition: str, columns: Sequence[str]) -> tuple[str, str, str]:
    """Column, operator and value; a column's own name may hold an operator."""
    places = list(_OPERATOR.finditer(condition))
    for place in reversed(places):
        column = condition[: place.start()].strip()
        if column in columns or place is places[0]:
            return column, place[0], condition[place.end() :].strip()
    raise StampError(f"{condition!r} is no condition.", FORMS)


def _on_the_sky(stamps: StampSet, condition: str, form: str, parts: Sequence[str]) -> Mask:
    if len(parts) != (3 if form == "cone" else 4):
        raise StampError(f"{condition!r} is no {form}.", FORMS)
    kinds = (True, False) if form == "cone" else (True, True, False, False)
    angles = [_angle(condition, part, right) for part, right in zip(parts, kinds, strict=False)]
    if not {"ra", "dec"} <= set(stamps.columns):
        raise StampError(f"{condition!r}: {stamps.path.name} has no columns ra and dec.", "Give a set with positions.")
    ra, dec = positions(stamps)
    if form == "cone":
        return within(ra, dec, (angles[0], angles[1]), _radius(condition, parts[2]))
    west, east, south, north = angles
    between = (ra >= west) & (ra <= east) if west <= east else (ra >= west) | (ra <= east)
    return np.asarray(between & (dec >= south) & (dec <= north))


def _angle(condition: str, text: str, right_ascension: bool) -> float:
    angle = read_angle(text)
    found = np.nan if angle is None else angle.degrees(right_ascension=right_ascension)
    low, high = (0, 360) if right_ascension else (-90, 90)
    if not low <= found <= high:
        what = "right ascension" if right_ascension else "declination"
        raise StampError(f"{condition!r}: {text.strip()!r} is no {what} from {low} to {high} degrees.", FORMS)
    return float(found)


def _radius(condition: str, text: str) -> float:
    """Degrees."""
    found = _RADIUS.fullmatch(text)
    try:
        return float(found[1]) * UNITS[found[2].casefold()] if found else float("")
    except ValueError:
        raise StampError(f"{condition!r}: {text.strip()!r} is no radius.", FORMS) from None


def _values(stamps: StampSet, condition: str) -> str:
    """What a condition's column has in its place."""
    if _SKY.fullmatch(condition):
        return "Choose another place of the sky; no position of the set lies there."
    column = _parts(condition, stamps.columns)[0]
    there = dict.fromkeys(name for name in map(class_name, stamps.column(column)[:SHOWN]) if name)
    return f"Values of {column} are: {', '.join(there)[:200]}."
