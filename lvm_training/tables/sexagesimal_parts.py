"""Positions whose hours, minutes and seconds stand in columns of their own, as the CDS and journals print them."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from lvm_training.tables.cells import Column, numbers

SIGNS = frozenset({"de-", "dec-", "de_sign", "dec_sign"})
_RA = (("rah", "ra_h"), ("ram", "ra_m"), ("ras", "ra_s"))
_DEC = (("ded", "decd", "de_d", "dec_d"), ("dem", "decm", "de_m", "dec_m"), ("des", "decs", "de_s", "dec_s"))


def is_sign(name: str) -> bool:
    """Whether a column of that name holds the signs of declinations, so that its - is no missing value."""
    return name.casefold() in SIGNS


def is_part(name: str) -> bool:
    """Whether a column of that name may be a part of a position."""
    return is_sign(name) or any(name.casefold() in names for names in (*_RA, *_DEC))


def from_parts(columns: Mapping[str, Column], lines: Sequence[int]) -> tuple[dict[str, Column], list[str]]:
    """Columns `ra` and `dec` in degrees of RAh, RAm, RAs, DE-, DEd, DEm, DEs, if they are there; what was done.

    Seconds may be lacking. A declination is negative by its sign or by that of its degrees.
    """
    plain = {name.casefold(): name for name in columns}
    east, north = ([next((plain[one] for one in names if one in plain), "") for names in part] for part in (_RA, _DEC))
    if not all((*east[:2], *north[:2])):
        return {}, []
    sign = next((name for name in columns if is_sign(name)), "")
    used = ", ".join(name for name in (*east, sign, *north) if name)
    south = np.any([_is_south(columns[name]) for name in (sign, north[0]) if name], axis=0)
    ra = 15 * _sum([_values(columns, name) for name in east if name])
    dec = _sum([_values(columns, name) for name in north if name]) * np.where(south, -1, 1)
    wrong = np.flatnonzero((ra >= 360) | (np.abs(dec) > 90))
    if len(wrong):
        return {}, [f"{used} are named like parts of positions, but line {lines[wrong[0]]} is nowhere on the sky"]
    absent = ~np.isfinite(ra + dec)
    notes = [f"{used} are parts of positions: ra, dec are made of them, in degrees"]
    if not sign and columns[north[0]].written is None and (np.abs(dec) < 1).any():
        notes.append(f"{north[0]}: 0 degrees are taken as north, since a number has no -0")
    return {"ra": Column(ra, absent, "deg"), "dec": Column(dec, absent, "deg")}, notes


def _is_south(column: Column) -> NDArray[np.bool_]:
    """Which cells begin with a minus, that of -0 too where it was written, or with an S."""
    return np.array([text.startswith(("-", "−", "S", "s")) for text in column.written or column.texts()], dtype=bool)


def _values(columns: Mapping[str, Column], name: str) -> NDArray[np.float64]:
    """The size of each number of a column: NaN where it is missing, infinite where it is none."""
    column = columns[name]
    found = np.abs(numbers(column.values))
    return np.where(column.missing, np.nan, np.where(np.isnan(found), np.inf, found))


def _sum(parts: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Hours or degrees of wholes, minutes and seconds, which may be missing; infinite where one is beyond 60."""
    whole, minutes, *seconds = parts
    total = whole + np.where(minutes > 60, np.inf, minutes) / 60
    for part in seconds:
        total += np.where(part > 60, np.inf, np.nan_to_num(part, posinf=np.inf)) / 3600
    return total
