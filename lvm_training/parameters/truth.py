"""What is known of galaxies: parameters from the columns of a stamp set, whatever their units."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lvm_training.galaxies.catalogue import COLUMNS
from lvm_training.images.units import NANOMAGGY
from lvm_training.parameters.parameter import (
    HALF_TURN,
    PARAMETERS,
    Parameter,
    ParameterError,
    angle_between,
    find_parameter,
)
from lvm_training.stamps.stampset import StampSet

Array = NDArray[np.float64]
Convert = Callable[[Array, float], Array]
"""Turns values and arcsec per pixel into values in a parameter's own unit."""

JANSKY = 8.9  # AB magnitude of one
MOST_TURNED = 360 + 1e-6  # degrees; what rounding may add
MOST_OUTSIDE = 0.5  # share of a column that may lie outside what a parameter can be
MUCH_FARTHER = 5  # times as far from what a head measures as in another unit: the unit is doubted
FAR = {"mag_r": 1.0, "half_light_radius": 0.4, "axis_ratio": 0.2, "position_angle": 20.0}
"""By how much catalogues and heads do not differ, in the scale of the fit; of parameters in several units."""


def _magnitude(zero: float) -> Convert:
    def convert(flux: Array, scale: float) -> Array:
        # of what is no light there is no magnitude
        return np.asarray(zero - 2.5 * np.log10(np.where(flux > 0, flux, np.nan)))

    return convert


def _times(factor: float) -> Convert:
    return lambda values, scale: values * factor


def _turned(factor: float) -> Convert:
    """Angles within half a turn; what is more than a whole one, such as -999, stands for no value."""

    def convert(values: Array, scale: float) -> Array:
        angles = values * factor
        return np.where(np.abs(angles) <= MOST_TURNED, angles % HALF_TURN, np.nan)

    return convert


UNITS: dict[str, dict[str, Convert]] = {
    "mag_r": {
        "mag": _times(1),
        "nanomaggies": _magnitude(NANOMAGGY),
        "Jy": _magnitude(JANSKY),
        "mJy": _magnitude(JANSKY + 7.5),
        "uJy": _magnitude(JANSKY + 15),
    },
    "half_light_radius": {
        "arcsec": _times(1),
        "pix": lambda values, scale: values * scale,
        "arcmin": _times(60),
        "deg": _times(3600),
    },
    "sersic": {"": _times(1)},
    "axis_ratio": {"": _times(1), "ellipticity": lambda values, scale: 1 - values},
    "position_angle": {
        "deg": _turned(1),
        "rad": _turned(180 / np.pi),
    },
    "redshift": {"": _times(1)},
}
"""By parameter, the units that its values may come in; ellipticity is 1 - q."""

SAME_UNIT = {
    "": "",
    "1": "",
    "ab": "mag",
    "mags": "mag",
    "nanomaggy": "nanomaggies",
    "nmgy": "nanomaggies",
    "jy": "Jy",
    "mjy": "mJy",
    "ujy": "uJy",
    "pixel": "pix",
    "pixels": "pix",
    "px": "pix",
    "arcsecond": "arcsec",
    "arcseconds": "arcsec",
    "degree": "deg",
    "degrees": "deg",
    "radian": "rad",
    "radians": "rad",
}


@dataclass(frozen=True)
class Given:
    """A column that holds a parameter.

    Attributes
    ----------
    column, name : str
        Of the stamp set; of the parameter.
    unit : str or None
        A key of `UNITS`; None where nobody said.
    """

    column: str
    name: str
    unit: str | None = None


SIMULATED = (
    Given("mag_r", "mag_r", "mag"),
    Given("half_light_radius", "half_light_radius", "arcsec"),
    Given("sersic", "sersic", ""),
    Given("axis_ratio", "axis_ratio", ""),
    Given("position_angle", "position_angle", "deg"),
    Given("z_spec", "redshift", ""),
)
"""The truth of drawn galaxies (`galaxies.catalogue`)."""


class Truth(NamedTuple):
    """What is known of N galaxies.

    Attributes
    ----------
    names : tuple of str
        The parameters.
    values : ndarray (N, P)
        In their own units; NaN where one is not known.
    notes : tuple of str
        What was left out, for people.
    """

    names: tuple[str, ...]
    values: Array
    notes: tuple[str, ...]


def recognised(stamps: StampSet) -> tuple[Given, ...]:
    """The columns of a set whose names say what they are: those of drawn galaxies, or a parameter and its unit.

    Names like `mag_r`, `sersic` or `half_light_radius_pix` do; one that leaves a unit open does not.
    """
    if set(COLUMNS) <= set(stamps.columns):
        return SIMULATED
    found: dict[str, Given] = {}
    for column in stamps.columns:
        name = max((one for one in PARAMETERS if column.lower().startswith(one)), key=len, default="")
        rest = column.lower()[len(name) :].strip("_")
        if name and name not in found and stamps.is_number(column):
            try:
                found[name] = Given(
                    column, name, find_unit(PARAMETERS[name], rest) if rest else declared_unit(Given(column, name))
                )
            except ParameterError:
                continue
    return tuple(found.values())


def parse_given(text: str) -> Given:
    """A column as people name it: COLUMN=PARAMETER, or COLUMN=PARAMETER:UNIT.

    Raises
    ------
    ParameterError
        If it is none, or there is no such parameter or unit of it.
    """
    column, equals, rest = text.partition("=")
    name, colon, unit = rest.partition(":")
    if not equals or not column.strip() or not name.strip():
        raise ParameterError(f"{text!r} names no column of a parameter.", "Write COLUMN=PARAMETER:UNIT.")
    parameter = find_parameter(name.strip())
    return Given(column.strip(), parameter.name, find_unit(parameter, unit) if colon else None)


def find_unit(parameter: Parameter, text: str) -> str:
    """The unit of a parameter that a text means.

    Raises
    ------
    ParameterError
        If it is none of its units.
    """
    units = UNITS[parameter.name]
    plain = text.strip()
    found = plain if plain in units else SAME_UNIT.get(plain.lower(), plain.lower())
    if found not in units:
        named = ", ".join(unit or "none" for unit in units)
        raise ParameterError(f"{text!r} is no unit of {parameter.name}.", f"Its units are: {named}.")
    return found


def truth_of(stamps: StampSet, given: Sequence[Given]) -> Truth:
    """Parameters of every stamp of a set, from its columns; what cannot be a value counts as missing.

    Raises
    ------
    ParameterError
        If a column is not there or text, two hold one parameter, a unit cannot be told, most values of a column lie
        outside what its parameter can be, or no column has any.
    """
    twice = sorted({one.name for one in given if sum(one.name == other.name for other in given) > 1})
    if twice:
        raise ParameterError(f"Two columns hold {twice[0]}.", "Name one.")
    found = [_column(stamps, one) for one in given]
    values = np.stack([column for column, _ in found], axis=1) if found else np.empty((len(stamps), 0))
    if not np.isfinite(values).any():
        named = ", ".join(note or one.column for one, (_, note) in zip(given, found, strict=True)) or "none is named"
        raise ParameterError(f"No column of {stamps.name} holds a parameter: {named}.", "Name others.")
    return Truth(tuple(one.name for one in given), values, tuple(note for _, note in found if note))


def _column(stamps: StampSet, given: Given) -> tuple[Array, str]:
    """A parameter of every stamp in its own unit, and what was left out."""
    parameter = find_parameter(given.name)
    if given.column not in stamps.columns:
        raise ParameterError(
            f"{stamps.name} has no column {given.column!r}.", f"Its columns are: {', '.join(stamps.columns) or 'none'}."
        )
    if not stamps.is_number(given.column):
        raise ParameterError(f"The column {given.column!r} of {stamps.name} holds text.", "Name one of numbers.")
    unit = declared_unit(given) if given.unit is None else given.unit
    raw = np.asarray(stamps.column(given.column), dtype=np.float64)
    values = converted(raw, parameter, unit, stamps.pixel_scale)
    known = np.isfinite(raw)
    inside = known & parameter.inside(values)
    outside = int(known.sum() - inside.sum())
    if outside > MOST_OUTSIDE * max(int(known.sum()), 1):
        raise _other_unit(raw[known], given, parameter, unit, stamps)
    notes = []
    if not known.any():
        notes.append(f"{given.column}: all values are missing")
    elif outside:
        notes.append(f"{given.column}: {outside} of {int(known.sum())} values are not {parameter.limits}, left out")
    return np.where(inside, values, np.nan), "; ".join(notes)


def converted(raw: Array, parameter: Parameter, unit: str, pixel_scale: float) -> Array:
    """Values in a parameter's own unit.

    Raises
    ------
    ParameterError
        If they are in pixels whose size is unknown.
    """
    if unit == "pix" and not np.isfinite(pixel_scale):
        raise ParameterError(
            f"{parameter.name} is given in pixels, and the pixel scale of the stamps is unknown.",
            "Import the stamps with --pixel-scale, or give arcsec.",
        )
    return np.asarray(UNITS[parameter.name][unit](raw, pixel_scale))


def declared_unit(given: Given) -> str:
    """The unit that a column's name declares, as in `R50_pix`, `mag_r` or `ellipticity`; none needs no word.

    Raises
    ------
    ParameterError
        If the name says nothing, and the parameter has several and needs one.
    """
    units = list(UNITS[given.name])
    words = re.findall(r"[a-z]+", given.column.lower())
    said = [SAME_UNIT.get(word, word) for word in words]
    found = [unit for unit in units if unit and (unit in said or unit.lower() in words)]
    if len(found) == 1:
        return found[0]
    if "" in units:
        return ""
    raise ParameterError(
        f"The unit of the column {given.column!r} is unknown: {given.name} may be in {', '.join(units)}.",
        f"Say it: {given.column}={given.name}:{units[0]}",
    )


def doubtful_unit(given: Given, raw: Array, measured: Array, pixel_scale: float) -> str:
    """What to say of a column that would be much more like what a head measures in another unit; "" if it would not.

    Parameters
    ----------
    raw : ndarray (N,)
        The column's values.
    measured : ndarray (N,)
        What a head measures of the same galaxies, in the parameter's own unit.
    """
    unit = declared_unit(given) if given.unit is None else given.unit
    units = [one for one in UNITS[given.name] if one != "pix" or np.isfinite(pixel_scale)]
    away = {one: _away(converted(raw, PARAMETERS[given.name], one, pixel_scale), measured, given.name) for one in units}
    nearest = min(away, key=lambda one: away[one])
    if len(units) < 2 or away[unit] <= max(FAR[given.name], MUCH_FARTHER * away[nearest]):
        return ""
    return (
        f"{given.column}: as {_in_unit(given.name, unit)} its values are far from what is measured, and as"
        f" {_in_unit(given.name, nearest)} near. Is the unit right?"
    )


def _in_unit(name: str, unit: str) -> str:
    return f"{name}:{unit}" if unit else name


def _away(values: Array, measured: Array, name: str) -> float:
    """Median distance of values from measured ones, in the scale of the fit; infinite where most cannot be values."""
    parameter = PARAMETERS[name]
    known = np.isfinite(measured) & np.isfinite(values)
    inside = known & parameter.inside(values)
    if inside.sum() <= MOST_OUTSIDE * len(values):
        return float("inf")
    if parameter.scale == "angle":
        return float(np.median(np.abs(angle_between(values[inside], measured[inside]))))
    return float(np.median(np.abs(parameter.fitted(values[inside]) - parameter.fitted(measured[inside]))))


def _other_unit(raw: Array, given: Given, parameter: Parameter, unit: str, stamps: StampSet) -> ParameterError:
    """What to say of a column most of whose values cannot be what they are said to be."""
    told = f" in {unit}" if unit else ""
    fitting = [
        other
        for other in UNITS[parameter.name]
        if other != unit
        and not (other == "pix" and not np.isfinite(stamps.pixel_scale))
        and parameter.inside(converted(raw, parameter, other, stamps.pixel_scale)).mean() > MOST_OUTSIDE
    ]
    likely = f" Are they in {' or '.join(fitting)}? {given.column}={parameter.name}:{fitting[0]}" if fitting else ""
    return ParameterError(
        f"Most values of {given.column!r}{told} are no {parameter.words}: it lies between {parameter.limits}.",
        f"Say what unit they have, or name another column.{likely}",
    )
