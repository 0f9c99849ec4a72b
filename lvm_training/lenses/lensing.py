"""Strong gravitational lensing: arcs of blue sources behind elliptical lenses, and how they are put on stamps.

Lenses are singular isothermal ellipsoids with external shear (Kormann et al. 1994), computed by lenstronomy (Birrer &
Amara 2018). Coordinates are arcsec from the middle of the picture, x to the right and y down; angles are radians from x
towards y, as in `structure.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from lvm_training.errors import StampError
from lvm_training.galaxies.spectra import galaxy_fluxes
from lvm_training.observation.exposure import SKY, behind_psf
from lvm_training.stamps.stampset import LEGACY_PIXEL_SCALE

if TYPE_CHECKING:
    from lenstronomy.LensModel.single_plane import SinglePlane

Floats = NDArray[np.float64]

OVERSAMPLING = 4  # rays per pixel and axis
# an isothermal ellipsoid as flat as those drawn images a source within half its Einstein radius twice or more
SOURCE_OFFSET = 0.5
FLATTEST_MASS = 0.5
_FAINTEST = 1e-6  # of the peak; what is below is rounding of the Fourier transform


@dataclass(frozen=True)
class Source:
    """A background galaxy of elliptical Sersic profile and 1 nanomaggy in r.

    Attributes
    ----------
    x, y : float
        Where it lies; behind a lens, where it would lie without it.
    radius, sersic : float
        Half-light radius (geometric mean of the axes, arcsec) and Sersic index.
    axis_ratio, angle : float
        Minor over major axis, and direction of the major axis.
    fluxes : tuple of float
        g, r, z fluxes per unit r flux.
    """

    x: float
    y: float
    radius: float
    sersic: float
    axis_ratio: float
    angle: float
    fluxes: tuple[float, float, float]


@dataclass(frozen=True)
class Lens:
    """A singular isothermal ellipsoid in the middle of the picture, with external shear and a source behind it.

    Attributes
    ----------
    einstein_radius : float
        Geometric mean of the axes of the critical curve without shear, arcsec.
    axis_ratio, angle : float
        Of the mass: minor over major axis, and direction of the major axis.
    shear, shear_angle : float
        Strength, and direction in which the image is stretched.
    source : Source
        What is lensed.
    """

    einstein_radius: float
    axis_ratio: float
    angle: float
    shear: float
    shear_angle: float
    source: Source


class Injection(NamedTuple):
    """Stamps with light put on them.

    Attributes
    ----------
    observed : Tensor (N, 3, S, S)
        The stamps with the light and its photon noise.
    arcs : Tensor (N, 3, S, S)
        The light behind the PSF without noise.
    scale : Tensor (N,)
        What the light was multiplied by.
    """

    observed: torch.Tensor
    arcs: torch.Tensor
    scale: torch.Tensor


def draw_source(x: float, y: float, rng: np.random.Generator) -> Source:
    """A small galaxy that forms stars, seen at a redshift near one."""
    fluxes = galaxy_fluxes(rng.uniform(1.2, 1.4), rng.uniform(0.85, 1.0))
    return Source(
        x=x,
        y=y,
        radius=float(np.exp(rng.uniform(np.log(0.15), np.log(0.6)))),
        sersic=rng.uniform(0.7, 2.0),
        axis_ratio=rng.uniform(0.35, 1),
        angle=rng.uniform(0, np.pi),
        fluxes=(float(fluxes[0]), float(fluxes[1]), float(fluxes[2])),
    )


def draw_lens(axis_ratio: float, angle: float, einstein_radius: tuple[float, float], rng: np.random.Generator) -> Lens:
    """A lens for a deflector, with a source that it images more than once.

    Parameters
    ----------
    axis_ratio, angle : float
        Of the deflector's light. The mass follows it, with a scatter of 0.1 in the ratio and 10 degrees in the angle
        (Koopmans et al. 2006).
    einstein_radius : tuple of float
        Smallest and largest Einstein radius, arcsec.
    """
    radius = rng.uniform(*einstein_radius)
    # uniform in the offset, not in the area: the better aligned are magnified more and found more often
    offset, direction = SOURCE_OFFSET * radius * rng.random(), rng.uniform(0, 2 * np.pi)
    return Lens(
        einstein_radius=radius,
        axis_ratio=float(np.clip(rng.normal(axis_ratio, 0.1), FLATTEST_MASS, 1)),
        angle=rng.normal(angle, np.radians(10)),
        shear=min(rng.rayleigh(0.04), 0.15),
        shear_angle=rng.uniform(0, np.pi),
        source=draw_source(offset * np.cos(direction), offset * np.sin(direction), rng),
    )


def lensed_light(lens: Lens, *, size: int, field: float) -> NDArray[np.float32]:
    """All images of a lens's source, shape (3, size, size): g, r, z in nanomaggies per 0.262 arcsec pixel, no PSF."""
    x, y = lens_model().ray_shooting(*_rays(size, field), lens_arguments(lens))
    return _binned(_profile(lens.source, x, y), lens.source, size)


def unlensed_light(source: Source, *, size: int, field: float) -> NDArray[np.float32]:
    """The source without a lens, otherwise as `lensed_light`."""
    return _binned(_profile(source, *_rays(size, field)), source, size)


@lru_cache(maxsize=1)
def lens_model() -> "SinglePlane":
    """lenstronomy's model of the lenses, to be called with `lens_arguments`."""
    # slow to import, and only those who draw lenses need it
    from lenstronomy.LensModel.single_plane import SinglePlane

    return SinglePlane(["SIE", "SHEAR"])


def lens_arguments(lens: Lens) -> list[dict[str, float]]:
    """A lens in lenstronomy's parameters."""
    first, second = _ellipticity(lens.axis_ratio, lens.angle)
    cosine, sine = np.cos(2 * lens.shear_angle), np.sin(2 * lens.shear_angle)
    return [
        {"theta_E": lens.einstein_radius, "e1": first, "e2": second, "center_x": 0, "center_y": 0},
        {"gamma1": lens.shear * cosine, "gamma2": lens.shear * sine, "ra_0": 0, "dec_0": 0},
    ]


@lru_cache(maxsize=1)
def _sersic() -> Any:
    from lenstronomy.LightModel.Profiles.sersic import SersicElliptic

    return SersicElliptic()


def _profile(source: Source, x: Floats, y: Floats) -> Floats:
    """Surface brightness in r at points of the source plane, nanomaggies per square arcsec."""
    first, second = _ellipticity(source.axis_ratio, source.angle)
    flux = _sersic().total_flux(1.0, source.radius, source.sersic, first, second)
    values: Floats = _sersic().function(x, y, 1 / flux, source.radius, source.sersic, first, second, source.x, source.y)
    return values


def _ellipticity(axis_ratio: float, angle: float) -> tuple[float, float]:
    """(1 - q) / (1 + q) in the directions cos and sin of the doubled angle."""
    modulus = (1 - axis_ratio) / (1 + axis_ratio)
    return float(modulus * np.cos(2 * angle)), float(modulus * np.sin(2 * angle))


@lru_cache(maxsize=4)
def _rays(size: int, field: float) -> tuple[Floats, Floats]:
    fine = size * OVERSAMPLING
    steps = (np.arange(fine) - (fine - 1) / 2) * field / fine
    x, y = np.meshgrid(steps, steps)
    return x.ravel(), y.ravel()


def _binned(values: Floats, source: Source, size: int) -> NDArray[np.float32]:
    mean = values.reshape(size, OVERSAMPLING, size, OVERSAMPLING).mean(axis=(1, 3)) * LEGACY_PIXEL_SCALE**2
    bands: NDArray[np.float32] = (np.array(source.fluxes)[:, None, None] * mean).astype(np.float32)
    return bands


def significance(light: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """Signal-to-noise ratio of each pixel (N, S, S) over the bands: sqrt of the sum of (light / noise)^2."""
    return (light / noise[:, :, None, None]).square().sum(1).sqrt()


def inject(
    bands: torch.Tensor,
    arcs: torch.Tensor,
    *,
    psf: torch.Tensor,
    noise: torch.Tensor,
    rng: np.random.Generator,
    signal: Sequence[float] | Floats | None = None,
) -> Injection:
    """Put arcs on stamps, real or simulated, as the camera would have seen them.

    Parameters
    ----------
    bands, arcs : Tensor (N, 3, S, S)
        The stamps, and the arcs without PSF and noise: g, r, z in nanomaggies per 0.262 arcsec pixel.
    psf : Tensor (N, 3)
        Sigma of the stamps' PSF, pixels.
    noise : Tensor (N, 3)
        Standard deviation of the stamps' sky, nanomaggies per pixel.
    rng : Generator
        What the photon noise of the arcs is drawn from: variance = noise^2 arcs / sky, which `exposure.noisy` adds to
        that of the sky.
    signal : sequence of float (N,), optional
        Signal-to-noise ratios that the arcs are scaled to, sqrt of the sum of (arcs / noise)^2 over pixels and bands.

    Raises
    ------
    StampError
        If shapes disagree, or arcs without light are to be scaled.
    """
    if bands.shape != arcs.shape or not bands.shape[:2] == psf.shape == noise.shape:
        shapes = ", ".join(str(tuple(part.shape)) for part in (bands, arcs, psf, noise))
        raise StampError(
            f"Stamps, arcs, PSF and noise are of shapes {shapes}.", "Give (N, 3, S, S) twice, (N, 3) twice."
        )
    seen = behind_psf(arcs, psf)
    seen = torch.where(seen > _FAINTEST * seen.amax((2, 3), keepdim=True), seen, 0)
    scale = torch.ones(len(seen))
    if signal is not None:
        total = significance(seen, noise).square().sum((1, 2)).sqrt()
        if not (total > 0).all():
            raise StampError("Arcs without light cannot be scaled to a signal-to-noise ratio.", "Leave them out.")
        scale = torch.as_tensor(np.asarray(signal), dtype=torch.float32) / total
        seen = seen * scale[:, None, None, None]
    spread = noise[:, :, None, None] * torch.sqrt(seen / torch.from_numpy(SKY)[None, :, None, None])
    grain = torch.from_numpy(rng.standard_normal(seen.shape, dtype=np.float32))
    return Injection(bands + seen + spread * grain, seen, scale)
