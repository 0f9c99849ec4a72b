"""The simulated catalogue: everything that defines a galaxy but its noise, its neighbours and its knots."""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from lvm_training.errors import StampError
from lvm_training.galaxies.spectra import galaxy_fluxes
from lvm_training.galaxies.survey import Seeing

Morphology = Literal["round smooth", "in-between smooth", "cigar-shaped smooth", "edge-on disc", "spiral"]
MORPHOLOGIES: tuple[Morphology, ...] = get_args(Morphology)
Split = Literal["pool", "test", "start"]

YOUNG_TYPE = 1.5  # arms, rings and knots: bluer than any template of a whole galaxy

# decimals kept: few enough that a last bit of a mathematical library never shows in the file
_DECIMALS = {
    "ra": 5,
    "dec": 5,
    "z_spec": 4,
    "position_angle": 2,
    "bar_angle": 2,
    "arm_pitch": 2,
    "bulge_sersic": 1,
    "noise_g": 5,
    "noise_r": 5,
    "noise_z": 5,
}
_DEFAULT_DECIMALS = 3


class Galaxy(BaseModel):
    """One row of the catalogue. Angles in degrees, radii in arcsec along the major axis, AB magnitudes.

    Attributes
    ----------
    seed : int
        The catalogue's seed: with the row number it seeds the galaxy's own random numbers.
    half_light_radius : float
        Semi-major axis of the ellipse that holds half of the r light, before the PSF.
    sersic : float
        Sersic index of the same R80 / R20; of a single-Sersic galaxy its own index.
    axis_ratio, position_angle : float
        Minor over major axis of the outer isophotes; angle east of north.
    bulge_fraction, young_fraction, bar_fraction, ring_fraction : float
        Shares of the r light in the bulge, and in arms, bar and ring; the rest is a smooth disc.
    bulge_type, disc_type : float
        Spectral types: `scd_share` of `spectra.galaxy_fluxes`, 0 (E) to 1 (Scd) and bluer.
    disc_scale : float
        Exponential scale length; 0 where there is no disc.
    bar_angle : float
        Angle of the bar in the plane of the disc from its line of nodes.
    arm_count : int
        Number of spiral arms; 0 where there are none.
    arm_pitch : float
        Pitch angle; its sign is the sense of winding.
    arm_contrast, flocculence, clumpiness : float
        Sharpness of the arms, share of patchy structure beside grand-design arms, and of light in knots.
    dust : float
        Optical depth in g of the dust lane (edge-on) or of the lanes along the arms.
    warp : float
        Bend of an edge-on disc, in scale heights at three scale lengths.
    psf_*, noise_* : float
        As in `survey.Seeing`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    morphology: Morphology
    split: Split
    seed: int
    ra: float
    dec: float
    z_spec: float
    mag_g: float
    mag_r: float
    mag_z: float
    half_light_radius: float
    sersic: float
    axis_ratio: float
    position_angle: float
    bulge_fraction: float
    bulge_radius: float
    bulge_sersic: float
    bulge_axis_ratio: float
    bulge_type: float
    disc_scale: float
    disc_type: float
    young_fraction: float
    bar_fraction: float
    bar_radius: float
    bar_angle: float
    ring_fraction: float
    ring_radius: float
    arm_count: int
    arm_pitch: float
    arm_contrast: float
    flocculence: float
    clumpiness: float
    dust: float
    warp: float
    psf_g: float
    psf_r: float
    psf_z: float
    noise_g: float
    noise_r: float
    noise_z: float

    @property
    def seeing(self) -> Seeing:
        """PSF and noise of this galaxy's stamp."""
        return Seeing((self.psf_g, self.psf_r, self.psf_z), (self.noise_g, self.noise_r, self.noise_z))


COLUMNS: tuple[str, ...] = tuple(Galaxy.model_fields)


def rounded(name: str, value: float) -> float:
    """A column's value as the catalogue keeps it."""
    return round(float(value), _DECIMALS.get(name, _DEFAULT_DECIMALS))


def component_fluxes(
    *,
    bulge_fraction: float,
    bulge_type: float,
    bar_fraction: float,
    disc_type: float,
    young_fraction: float,
    ring_fraction: float,
    redshift: float,
) -> NDArray[np.float64]:
    """Fluxes of old (bulge, bar), disc and young (arms, ring) light in g, r, z per unit r flux of all, shape (3, 3).

    Bulge and bar share a spectral type; so do arms and ring, which are `YOUNG_TYPE`.
    """
    old, young = bulge_fraction + bar_fraction, young_fraction + ring_fraction
    shares = np.array([old, 1 - old - young, young])
    return shares[:, None] * galaxy_fluxes(np.array([bulge_type, disc_type, YOUNG_TYPE]), redshift)


def write_catalogue(galaxies: Sequence[Galaxy], path: Path) -> None:
    """Write a catalogue as CSV: the same galaxies give the same bytes."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for galaxy in galaxies:
        writer.writerow(_cell(name, value) for name, value in galaxy.model_dump().items())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.getvalue(), encoding="utf-8")


def _cell(name: str, value: str | int | float) -> str:
    return f"{value:.{_DECIMALS.get(name, _DEFAULT_DECIMALS)}f}" if isinstance(value, float) else str(value)


def read_catalogue(path: Path) -> list[Galaxy]:
    """Read a catalogue written by `write_catalogue`.

    Raises
    ------
    StampError
        If the file is missing, has other columns, or holds a value that is not of its column's type.
    """
    if not path.is_file():
        raise StampError(f"There is no catalogue at {path}.", "Make it with `make data`.")
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = sorted(set(COLUMNS) - set(reader.fieldnames or ()))
        if missing:
            raise StampError(f"{path} lacks the columns {', '.join(missing)}.", "Make it again with `make data`.")
        return list(_parsed(reader, path))


def _parsed(rows: "csv.DictReader[str]", path: Path) -> Iterator[Galaxy]:
    for number, row in enumerate(rows):
        try:
            yield Galaxy.model_validate(row)
        except ValidationError as error:
            fault = error.errors()[0]
            raise StampError(
                f"Row {number} of {path} is not a galaxy: {'.'.join(map(str, fault['loc']))}: {fault['msg']}.",
                "Make the catalogue again with `make data`.",
            ) from error
