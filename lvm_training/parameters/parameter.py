"""The parameters of a galaxy that are measured: what each is called, its unit, and between what it lies."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lvm_training.errors import GalaxyLoopError

HALF_TURN = 180.0  # degrees: an ellipse turned by it is the same
UNKNOWN_ANGLE = 0.6827 * HALF_TURN / 2  # error of an angle that nothing is known of, degrees

Array = NDArray[np.float64]


class ParameterError(GalaxyLoopError):
    """A parameter that is not measured here, or values that cannot be used as one."""

    code = "parameter"


@dataclass(frozen=True)
class Parameter:
    """A parameter.

    Attributes
    ----------
    name : str
        What columns, controls of label configs and options call it.
    about : str
        What it is.
    unit : str
        As FITS and VOTable write it; "" without one.
    ucd : str
        IVOA's word for it (UCD1+).
    least, most : float
        Values outside are no values of it.
    scale : str
        In what it is fitted: as it is, in its logarithm, in ln(1 + z), or as an angle by doubled sine and cosine.
    digits : int
        Decimals that mean something.
    words : str
        What people call it.
    """

    name: str
    about: str
    unit: str
    ucd: str
    least: float
    most: float
    scale: Literal["linear", "log", "log1p", "angle"]
    digits: int
    words: str

    def fitted(self, values: Array) -> Array:
        """Values in the scale in which they are fitted; not for angles."""
        if self.scale == "log":
            return np.log(values)
        return np.log1p(values) if self.scale == "log1p" else values

    def measured(self, fitted: Array, error: Array) -> tuple[Array, Array]:
        """Values and their errors from those in the scale of the fit, to first order."""
        if self.scale == "linear":
            return fitted, error
        # a first step beyond what a parameter can be would overflow
        grown = np.exp(np.clip(fitted, -50, 50))
        return (grown, grown * error) if self.scale == "log" else (grown - 1, grown * error)

    def inside(self, values: Array) -> NDArray[np.bool_]:
        """Which values may be of it; not those that are missing."""
        return (values >= self.least) & (values <= self.most)

    def told(self, value: float, error: float) -> str:
        """A value, its error of two digits, and their unit, both to the same decimal: "18.80 ± 0.11 mag"."""
        decimals = self.digits
        if error > 0 and math.isfinite(error):
            # rounded first: 0.0996 is 0.10
            decimals = max(0, 1 - math.floor(math.log10(float(f"{error:.1e}"))))
        unit = f" {self.unit}" if self.unit else ""
        return f"{value:.{decimals}f} ± {error:.{decimals}f}{unit}"

    @property
    def limits(self) -> str:
        """Between what it lies, in words."""
        return f"{self.least:g} to {self.most:g}{' ' + self.unit if self.unit else ''}"


PARAMETERS: dict[str, Parameter] = {
    one.name: one
    for one in (
        Parameter(
            "mag_r", "Total AB magnitude in r", "mag", "phot.mag;em.opt.R", 5.0, 30.0, "linear", 3, "magnitude in r"
        ),
        Parameter(
            "half_light_radius",
            "Semi-major axis of the ellipse that holds half of the light, before the PSF",
            "arcsec",
            "phys.angSize.smajAxis",
            0.05,
            120.0,
            "log",
            3,
            "half-light radius",
        ),
        Parameter("sersic", "Sersic index", "", "stat.fit.param", 0.1, 12.0, "log", 3, "Sersic index"),
        Parameter("axis_ratio", "Minor over major axis", "", "phys.axisRatio", 0.02, 1.0, "linear", 3, "axis ratio"),
        Parameter(
            "position_angle",
            "Angle of the major axis, from north through east",
            "deg",
            "pos.posAng",
            0.0,
            HALF_TURN,
            "angle",
            2,
            "position angle",
        ),
        Parameter("redshift", "Photometric redshift", "", "src.redshift.phot", 0.0, 10.0, "log1p", 4, "redshift"),
    )
}
"""By name."""

ANGLE = "position_angle"
ELONGATION = "axis_ratio"


def find_parameter(name: str) -> Parameter:
    """The parameter of a name.

    Raises
    ------
    ParameterError
        If there is none; the hint lists the names.
    """
    if name not in PARAMETERS:
        raise ParameterError(f"There is no parameter {name!r}.", f"Choose from: {', '.join(PARAMETERS)}.")
    return PARAMETERS[name]


def angle_between(first: Array, second: Array) -> Array:
    """Difference of position angles, degrees in [-90, 90): those half a turn apart are the same."""
    return np.asarray((first - second + HALF_TURN / 2) % HALF_TURN - HALF_TURN / 2)


def difference(parameter: Parameter, first: Array, second: Array) -> Array:
    """`first` - `second` in the unit of a parameter; angles as `angle_between`."""
    return angle_between(first, second) if parameter.scale == "angle" else np.asarray(first - second)
