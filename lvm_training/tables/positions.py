"""Positions on the sky as people write them: degrees, or sexagesimal hours and degrees."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lvm_training.errors import LabelError
from lvm_training.tables.cells import Column, class_name
from lvm_training.tables.position_names import DEC, GALACTIC, RA, UNITS, called, paired, plain_name, unit_in_name
from lvm_training.tables.sexagesimal_parts import from_parts

Angles = float | NDArray[np.float64]

Form = Literal["degrees", "hours"]
LUMINOSITY, BLUE = "L", "B"  # what capitals stand for
NO_VALUE = (-99.0, -999.0, -9999.0, 999.0, 9999.0)  # where a survey has no position
FEW = 2  # positions from which on hours are suspected

_MINUS = str.maketrans({"−": "-", "–": "-", "º": "°", "’": "'", "′": "'", "″": '"', "”": '"'})
_SEXAGESIMAL = re.compile(
    r"(?P<sign>[+-]?)\s*(?P<first>[0-9]{1,3})\s*(?P<mark>[hd°:\s])\s*(?P<minutes>[0-9]{1,2}(?:\.[0-9]*)?)"
    r"(?:\s*[m':\s]\s*(?P<seconds>[0-9]{1,2}(?:\.[0-9]*)?)?)?\s*(?:s|\"|'')?",
    re.IGNORECASE,
)
_DECIMAL = re.compile(
    r"(?P<value>[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?)\s*(?P<mark>[hd°]|deg)?", re.IGNORECASE
)
_NAMED = re.compile(
    r"(?<![0-9.])(?P<hours>[0-9]{2})(?P<minutes>[0-5][0-9])(?P<seconds>[0-5][0-9](?:\.[0-9]+)?)"
    r"(?P<sign>[+-])(?P<degrees>[0-9]{2})(?P<arcmin>[0-5][0-9])(?P<arcsec>[0-5][0-9](?:\.[0-9]+)?)(?![0-9])"
)
_BLANKS = re.compile(r"[0-9]\s+[0-9]")
_PAIRS = (
    re.compile(r"([^,;]+)[,;]\s*([^,;]+)"),
    re.compile(r"(.*[^\s+-])\s*(?=[+-])(.+)"),
    re.compile(r"(\S+)\s+(\S+)"),
    re.compile(r"(\S+\s+\S+\s+\S+)\s+(\S+\s+\S+\s+\S+)"),
)


class Angle(NamedTuple):
    """An angle as it was written: its number, in hours or degrees, and whether it was sexagesimal and said its unit."""

    number: float
    unit: Form | None
    sexagesimal: bool

    def degrees(self, *, right_ascension: bool) -> float:
        """Degrees: a sexagesimal right ascension that does not say its unit is in hours."""
        unit = self.unit or ("hours" if right_ascension and self.sexagesimal and abs(self.number) < 24 else "degrees")
        return self.number * 15 if unit == "hours" else self.number


class Position(NamedTuple):
    """A position: right ascension and declination in degrees, and how they were read, "" where they were degrees."""

    ra: float
    dec: float
    reading: str = ""


def read_angle(text: str) -> Angle | None:
    """An angle such as 150.1, 10:00:01.5, 10h00m01.5s, 02d12m or 10 00 01.5; None if it is none."""
    plain = text.strip().translate(_MINUS)
    if found := _DECIMAL.fullmatch(plain):
        return Angle(float(found["value"]), _unit(found["mark"]), False)
    found = _SEXAGESIMAL.fullmatch(plain)
    if not found:
        return None
    minutes, seconds = float(found["minutes"]), float(found["seconds"] or 0)
    if found["mark"].isspace() and not found["seconds"]:
        return None
    if minutes >= 60 or seconds >= 60 or (found["seconds"] and minutes % 1):
        return None
    size = int(found["first"]) + minutes / 60 + seconds / 3600
    # the sign of -00:12:01 is not that of its first number
    return Angle(-size if found["sign"] == "-" else size, _unit(found["mark"]), True)


def _unit(mark: str | None) -> Form | None:
    return {"h": "hours", "d": "degrees", "°": "degrees", "deg": "degrees"}.get((mark or "").lower())  # type: ignore[return-value]


def read_position(text: str) -> Position | None:
    """A position such as 150.1,-1.5, 10:00:01.5 +02:12:01 or 10h00m01.5s +02d12m01s; None if it is none."""
    for pair in _PAIRS:
        found = pair.fullmatch(text.strip().translate(_MINUS))
        parts = found.groups() if found else ()
        ra, dec = (read_angle(part) for part in parts) if found else (None, None)
        if ra is None or dec is None or dec.unit == "hours":
            continue
        if ra.sexagesimal != dec.sexagesimal and any(_BLANKS.search(part) for part in parts):
            continue  # 150,-1 17 18 is a position and two rows
        degrees = ra.degrees(right_ascension=True), dec.degrees(right_ascension=False)
        hours = degrees[0] != ra.number
        reading = "right ascension in hours, declination in degrees" if hours else "degrees"
        return Position(*degrees, reading if ra.sexagesimal or dec.sexagesimal or hours else "")
    return None


def named_position(name: str) -> Position | None:
    """The position in a name by the IAU's rule, such as J005130.07-011511.2; None where there is none to the arcsec."""
    found = _NAMED.search(name.translate(_MINUS))
    if found is None:
        return None
    hours, minutes, seconds, whole, arcmin, arcsec = (
        float(found[part]) for part in ("hours", "minutes", "seconds", "degrees", "arcmin", "arcsec")
    )
    dec = whole + arcmin / 60 + arcsec / 3600
    if hours >= 24 or dec > 90:
        return None
    ra = 15 * (hours + minutes / 60 + seconds / 3600)
    return Position(ra, -dec if found["sign"] == "-" else dec, "name")


def degrees(values: NDArray[Any], *, right_ascension: bool) -> NDArray[np.float64]:
    """Degrees of a stamp set's column, which other makers fill with text too; NaN where there is no position."""
    if values.dtype.kind in "iufb":
        found = values.astype(np.float64)
    else:
        found = _angles_in_degrees([read_angle(class_name(value)) for value in values], right_ascension)[0]
    absent = np.isin(found, NO_VALUE) | (np.abs(found) > (360 if right_ascension else 90))
    return np.where(absent, np.nan, np.where(found < 0, found + 360, found) if right_ascension else found)


def _angles_in_degrees(angles: Sequence[Angle | None], right_ascension: bool) -> tuple[NDArray[np.float64], Form]:
    """Degrees of a column's angles, and whether some were in hours."""
    # one right ascension beyond 24 means that the others are not in hours either
    hours = right_ascension and all(abs(one.number) < 24 for one in angles if one and one.sexagesimal and not one.unit)
    found = [np.nan if one is None else one.degrees(right_ascension=hours) for one in angles]
    converted = any(one and one.degrees(right_ascension=hours) != one.number for one in angles)
    return np.array(found, dtype=np.float64), "hours" if converted else "degrees"


def located(name: str, columns: dict[str, Column], lines: Sequence[int]) -> tuple[dict[str, Column], list[str]]:
    """The columns with positions in degrees, and what was assumed of them.

    Columns of the usual names of right ascension and declination are converted, also of names such as `RA [deg]`; where
    none is called `ra` or `dec`, a copy of the first of them is. Where there are none but such as say another unit,
    `ra (rad)`, these stay as they are beside their copies. Where there are none but hours, minutes and seconds in
    columns of their own, or galactic coordinates, these become `ra` and `dec`.

    Parameters
    ----------
    name : str
        The table's, for messages.
    lines : sequence of int
        Where each row stands.

    Raises
    ------
    LabelError
        If a cell is no angle, or lies nowhere on the sky, or a column's unit is none of an angle; column and line are
        named.
    """
    found, notes = dict(columns), []
    pairs = {kind: called(columns, names) for kind, names in (("ra", RA), ("dec", DEC))}
    angles: dict[str, Column] = {}
    for kind, names in pairs.items():
        for column in names:
            unit = unit_in_name(column, columns)[1]
            values = replace(columns[column], unit=columns[column].unit or unit)
            angles[column], said = _in_degrees(name, column, values, kind == "ra", lines)
            notes += said
            _check_range(name, column, angles, kind == "ra", pairs, lines)
            if not unit:
                found[column] = angles[column]
    copied = {kind: names[0] for kind, names in pairs.items() if names and kind not in columns}
    if copied and pairs["ra"] and pairs["dec"]:
        found |= {kind: angles[column] for kind, column in copied.items()}
        are = "are" if len(copied) > 1 else "is"
        notes.append(f"{', '.join(copied.values())} {are} taken as the position: {', '.join(copied)}")
    if not (pairs["ra"] and pairs["dec"]) and (others := paired(columns)):
        made, said = _of_pair(name, columns, others, lines)
        notes += said
        if made:
            return found | made, notes
    if not pairs["ra"] and not pairs["dec"]:
        made, said = from_parts(columns, lines)
        found |= made
        notes += said or _from_galactic(found, lines)
    return found, notes


def _of_pair(
    name: str, columns: dict[str, Column], pairs: Sequence[tuple[str, str]], lines: Sequence[int]
) -> tuple[dict[str, Column], list[str]]:
    """Columns `ra` and `dec` of the first of some pairs whose names mean positions, if its cells are; what was done."""
    pair, notes, made = dict(zip(("ra", "dec"), pairs[0], strict=True)), list[str](), dict[str, Column]()
    if _are_pixels(columns, pair["ra"]):
        return {}, [f"{', '.join(pairs[0])} are pixels, and no position"]
    for kind, column in pair.items():
        try:
            made[kind], said = _in_degrees(name, column, columns[column], kind == "ra", lines)
            _check_range(name, kind, made, kind == "ra", {"ra": list(made), "dec": []}, lines)
        except LabelError as error:
            return {}, [f"{', '.join(pairs[0])} are named like a position, but {error.message}"]
        notes += said
    more = [f"{' and '.join(map(', '.join, pairs[1:]))} may be it, too"] if pairs[1:] else []
    return made, [*notes, "; ".join([f"{', '.join(pairs[0])} are taken as the position: ra, dec", *more])]


def _are_pixels(columns: dict[str, Column], name: str) -> bool:
    """Whether a column such as X_WORLD repeats X_IMAGE, as SExtractor has it of an image without a WCS."""
    named = {plain_name(column): column for column in columns}
    image = named.get(plain_name(name).replace("_world", "_image"), name)
    return image != name and np.array_equal(columns[image].values, columns[name].values)


def _from_galactic(columns: dict[str, Column], lines: Sequence[int]) -> list[str]:
    """Add `ra` and `dec` of galactic coordinates, if there are any; what was done."""
    named = {plain_name(column): column for column in columns if column not in (LUMINOSITY, BLUE)}
    pair = next((two for two in GALACTIC if set(two) <= named.keys()), None)
    if pair is None:
        return []
    longitude, latitude = (columns[named[one]] for one in pair)
    said = f"{named[pair[0]]}, {named[pair[1]]} are named like galactic coordinates, but"
    if not longitude.is_number or not latitude.is_number:
        return [f"{said} are no numbers of degrees"]
    absent = longitude.missing | latitude.missing
    both = []
    for one in (longitude, latitude):
        factor = _degrees_in(one.unit)
        if factor is None:
            return [f"{said} are in {one.unit}, no unit of an angle"]
        both.append(np.where(absent, 0, one.values * factor))
    wrong = np.flatnonzero((np.abs(both[0]) > 360) | (np.abs(both[1]) > 90))
    if len(wrong):
        return [f"{said} line {lines[wrong[0]]} is nowhere on the sky"]
    from astropy import units as u  # here: most tables have no need of it, and it takes half a second
    from astropy.coordinates import SkyCoord

    sky = SkyCoord(*(angles * u.deg for angles in both), frame="galactic").icrs
    columns["ra"] = Column(np.where(absent, np.nan, sky.ra.deg), absent, "deg")
    columns["dec"] = Column(np.where(absent, np.nan, sky.dec.deg), absent, "deg")
    names = f"{named[pair[0]]}, {named[pair[1]]}"
    notes = [f"{names} are galactic coordinates: converted to ra, dec (ICRS, degrees)"]
    small = both[0].max(initial=0) <= 2 * np.pi and np.abs(both[1]).max(initial=0) <= np.pi / 2
    if small and not longitude.unit and not latitude.unit and (~absent).sum() >= FEW:
        notes.append(f"{names}: all lie within 6.29 and 1.58: taken as degrees; if they are radians, convert them")
    return notes


def _in_degrees(
    name: str, column: str, values: Column, right_ascension: bool, lines: Sequence[int]
) -> tuple[Column, list[str]]:
    notes = []
    factor = _degrees_in(values.unit) if values.is_number else 1.0
    if factor is None:
        raise LabelError(
            f"{name}: {column!r} is in {values.unit}, no unit of an angle.", "Write its unit as deg or hour."
        )
    if values.is_number:
        degrees = np.where(values.missing, np.nan, values.values.astype(np.float64))
    else:
        degrees, said = _parsed(name, column, values, right_ascension, lines)
        notes += said
    absent = ~np.isfinite(degrees) | np.isin(degrees, NO_VALUE if right_ascension else (*NO_VALUE, 99.0))
    marks = int((absent & ~values.missing & np.isfinite(degrees)).sum())
    if marks:
        notes.append(f"{column}: {marks} cells of -99, 999 and the like are taken as missing")
    degrees[absent] = np.nan
    if factor != 1:
        # after the marks of no value, which have no unit
        notes.append(f"{column}: converted from {values.unit} to degrees")
        degrees = degrees * factor
    known = degrees[~absent]
    if right_ascension and (known < 0).any():
        notes.append(f"{column}: {int((known < 0).sum())} right ascensions below 0 are counted from 360 degrees")
        degrees = np.where(degrees < 0, degrees + 360, degrees)
    plain = values.is_number and not values.unit
    if right_ascension and plain and len(known) >= FEW and (known >= 0).all() and (known < 24).all():
        notes.append(
            f"{column}: all {len(known)} lie between 0 and 24: taken as degrees; if they are hours or radians, let the "
            "name say so: ra (h), ra (rad)"
        )
    return Column(degrees, absent, "deg"), notes


def _degrees_in(unit: str) -> float | None:
    """Degrees in a unit as a file writes it; None where it is none of an angle."""
    plain = unit.casefold().strip("- ")  # --- stands for none
    if plain in UNITS:
        return UNITS[plain]
    from astropy import units as u  # here: most tables have no need of it

    try:
        return float(u.Unit(unit).to(u.deg))
    except (ValueError, TypeError):
        return None


def _parsed(
    name: str, column: str, values: Column, right_ascension: bool, lines: Sequence[int]
) -> tuple[NDArray[np.float64], list[str]]:
    angles: list[Angle | None] = [None] * len(values)
    for row in np.flatnonzero(~values.missing):
        angles[row] = angle = read_angle(str(values.values[row]))
        if angle is None or (angle.unit == "hours" and not right_ascension):
            raise LabelError(
                f"{name}: {column!r} in line {lines[row]} is {values.values[row]!r}, no angle.",
                "Write degrees or 10:00:01.5, leave the cell empty, or declare it with --missing.",
            )
    found, unit = _angles_in_degrees(angles, right_ascension)
    sexagesimal = sum(one is not None and one.sexagesimal for one in angles)
    return found, [f"{column}: {sexagesimal} sexagesimal cells are read as {unit} and kept in degrees"]


def _check_range(
    name: str,
    column: str,
    columns: dict[str, Column],
    right_ascension: bool,
    pairs: dict[str, list[str]],
    lines: Sequence[int],
) -> None:
    values = columns[column].values
    low, high = (0, 360) if right_ascension else (-90, 90)
    wrong = np.flatnonzero((values < low) | (values > high))
    if not len(wrong):
        return
    hint = "Mend it, leave the cell empty, or declare the number with --missing."
    others = [columns[other].values for other in pairs["ra"][:1]]
    if not right_ascension and others and np.nanmax(np.abs(others[0]), initial=0) <= 90:
        hint = "Have ra and dec changed places?"
    raise LabelError(
        f"{name}: {column!r} in line {lines[wrong[0]]} is {values[wrong[0]]:g} degrees, nowhere on the sky.", hint
    )


def separation(ra: Angles, dec: Angles, other_ra: Angles, other_dec: Angles) -> NDArray[np.float64]:
    """Degrees between positions in degrees, elementwise; NaN if one is.

    By the haversine formula, which is exact for small angles too.
    """
    x, y, u, v = (np.radians(angle) for angle in (ra, dec, other_ra, other_dec))
    half = np.sin((y - v) / 2) ** 2 + np.cos(y) * np.cos(v) * np.sin((x - u) / 2) ** 2
    return np.asarray(np.degrees(2 * np.arcsin(np.sqrt(np.clip(half, 0, 1)))))


def nearest(
    ra: NDArray[np.float64],
    dec: NDArray[np.float64],
    other_ra: NDArray[np.float64],
    other_dec: NDArray[np.float64],
    *,
    within: float = 180.0,
    rank: int = 1,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Which of other positions is nearest to each, and how far it is; all in degrees.

    Parameters
    ----------
    within : float
        Those further away do not count; what is far from all is soon known to be.
    rank : int
        2 for the second nearest, and so on.

    Returns
    -------
    rows : ndarray (N,)
        -1 where there is none, or the position is NaN; of other positions NaN is never near.
    separation : ndarray (N,)
        NaN there.
    """
    from scipy.spatial import KDTree  # here: the command line has no need of it

    rows, apart = np.full(len(ra), -1, dtype=np.int64), np.full(len(ra), np.nan)
    here, there = np.flatnonzero(np.isfinite(ra + dec)), np.flatnonzero(np.isfinite(other_ra + other_dec))
    if len(here) and len(there):
        chord = 2 * np.sin(np.radians(min(within, 180.0)) / 2)
        tree = KDTree(_directions(other_ra[there], other_dec[there]))
        # the bound itself is beyond it
        chords, places = tree.query(_directions(ra[here], dec[here]), [rank], distance_upper_bound=chord + 1e-12)
        found = places[:, 0] < len(there)
        rows[here[found]] = there[places[found, 0]]
        apart[here[found]] = np.degrees(2 * np.arcsin(np.clip(chords[found, 0] / 2, 0, 1)))
    return rows, apart


def repeated(ra: NDArray[np.float64], dec: NDArray[np.float64], *, within: float) -> NDArray[np.bool_]:
    """Which positions (N,) lie within so much of an earlier one; all in degrees, NaN is near nothing."""
    from scipy.spatial import KDTree

    again, here = np.zeros(len(ra), dtype=bool), np.flatnonzero(np.isfinite(ra + dec))
    chord = 2 * np.sin(np.radians(within) / 2)
    pairs = KDTree(_directions(ra[here], dec[here])).query_pairs(chord, output_type="ndarray")
    again[here[pairs.max(axis=1)]] = True
    return again


def _directions(ra: NDArray[np.float64], dec: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit vectors (N, 3)."""
    x, y = np.radians(ra), np.radians(dec)
    return np.stack([np.cos(y) * np.cos(x), np.cos(y) * np.sin(x), np.sin(y)], axis=1)
