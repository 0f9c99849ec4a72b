"""By what names columns of positions go, and which of them belong together."""

import re
from collections.abc import Collection

import numpy as np

from lvm_training.tables.sexagesimal_parts import is_part

RA = (
    "ra",
    "raj2000",
    "ra_j2000",
    "ra_deg",
    "radeg",
    "ra_icrs",
    "alpha_j2000",
    "alpha_sky",
    "alphawin_j2000",
    "alphawin_sky",
    "alphapeak_j2000",
    "alphapsf_j2000",
    "right_ascension",
    "ramean",
    "rastack",
    "coord_ra",
    "s_ra",
)
DEC = (
    "dec",
    "dej2000",
    "decj2000",
    "dec_j2000",
    "de_j2000",
    "dec_deg",
    "decdeg",
    "dedeg",
    "de_icrs",
    "dec_icrs",
    "delta_j2000",
    "delta_sky",
    "deltawin_j2000",
    "deltawin_sky",
    "deltapeak_j2000",
    "deltapsf_j2000",
    "declination",
    "decmean",
    "decstack",
    "coord_dec",
    "s_dec",
)
# of SExtractor: the sky where the image has a WCS, and pixels where it has none
WORLD = tuple((f"x{kind}_world", f"y{kind}_world") for kind in ("", "win", "peak", "psf"))
GALACTIC = (("l", "b"), ("glon", "glat"), ("gal_l", "gal_b"))
UNITS = {
    "": 1.0,
    "deg": 1.0,
    "degree": 1.0,
    "degrees": 1.0,
    "hourangle": 15.0,
    "h": 15.0,
    "hour": 15.0,
    "hours": 15.0,
    "hr": 15.0,
    "hrs": 15.0,
    "rad": 180 / np.pi,
    "arcmin": 1 / 60,
    "arcsec": 1 / 3600,
}
# words beside ra and dec of a galaxy's own position, as of tables matched by TOPCAT (ra_1) and pandas (ra_x)
_BESIDE = (
    "1 2 x y j2000 2000 icrs epoch2000 eq pos coord deg hms dms obj object objects target targ galaxy source src cat "
    "catalog catalogue input image img cutout stamp plug fiber fib metadata best mean med psf u g r i z "
    "sdss gaia desi ls legacy decals hsc ps1 des kids euclid lsst ned"
)
BESIDE = frozenset(_BESIDE.split())
_AXIS = re.compile(r"(?:obj|targ)?(?:(ra)|(dec|decl|de))(?:j?2000|icrs)?")
_WRITTEN_OUT = {"right_ascension": "ra", "rightascension": "ra", "r_a": "ra", "declination": "dec"}
_FORMS = frozenset({"hms", "dms"})  # in which each may be written in its own way
_MARKS = re.compile(r"[^a-z0-9]+")


def called(columns: Collection[str], names: Collection[str]) -> list[str]:
    """Those of the columns that have such names; where there are none, those whose name says a unit besides."""
    said = {column: unit_in_name(column, columns) for column in columns}
    found = [column for column, (name, _) in said.items() if name in names]
    return [column for column in found if not said[column][1]] or found


def unit_in_name(name: str, columns: Collection[str]) -> tuple[str, str]:
    """What a column of a position is called, and the unit that its name says: `RA (rad)` is `ra` in rad.

    Beside `ra_m` or `ra_minute`, `ra_h` is a part of a position, and a right ascension in arcsec is an offset.
    """
    plain = plain_name(name)
    base, _, unit = plain.rpartition("_")
    if unit not in UNITS or plain in (*RA, *DEC) or base not in (*RA, *DEC):
        return plain, ""
    is_part_of_one = any(plain_name(other).startswith(f"{base}_m") for other in columns)
    is_offset = base in RA and unit in ("arcmin", "arcsec")
    return (plain, "") if is_part_of_one or is_offset else (base, unit)


def plain_name(name: str) -> str:
    """The name of a column as its kind is known by: `RA (J2000)` is `ra_j2000`."""
    return _MARKS.sub("_", name.casefold()).strip("_")


def is_position(name: str) -> bool:
    """Whether a column of that name is looked at for a position."""
    return (
        unit_in_name(name, ())[0] in {*RA, *DEC, *(one for pair in (*WORLD, *GALACTIC) for one in pair)}
        or is_part(name)
        or _axis(name) is not None
    )


def paired(columns: Collection[str]) -> list[tuple[str, str]]:
    """Pairs of columns that are a right ascension and a declination by names such as `ra_1`, `dec_1`, in order.

    Behind them are SExtractor's `X_WORLD`, `Y_WORLD` and the like. A pair leaves columns called `ra` and `dec` be.
    """
    axes: dict[tuple[str, ...], dict[str, str]] = {}
    for column in columns:
        if said := _axis(column):
            axes.setdefault(said[1], {}).setdefault(said[0], column)
    named = {plain_name(column): column for column in columns}
    found = [(pair["ra"], pair["dec"]) for pair in axes.values() if len(pair) == 2]
    found += [(named[x], named[y]) for x, y in WORLD if x in named and y in named]
    return [pair for pair in found if {"ra", "dec"}.intersection(columns) <= set(pair)]


def _axis(name: str) -> tuple[str, tuple[str, ...]] | None:
    """Which of ra and dec a name says, and its words beside it; None where it says neither, or something else too."""
    plain = plain_name(name)
    for long, short in _WRITTEN_OUT.items():
        plain = plain.replace(long, short)
    words = plain.split("_")
    axes = [found for word in words if (found := _AXIS.fullmatch(word))]
    beside = tuple(word for word in words if not _AXIS.fullmatch(word))
    if len(axes) != 1 or not BESIDE.issuperset(beside):
        return None
    return "ra" if axes[0][1] else "dec", tuple(word for word in beside if word not in _FORMS)
