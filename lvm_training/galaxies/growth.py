"""Curves of growth: the radii that hold given shares of a bulge and disc galaxy's light."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammainc, gammaincinv, kv

_RADII: NDArray[np.float64] = np.geomspace(1e-3, 300, 1200).astype(np.float64)
_SERSIC_INDICES = np.linspace(0.3, 10, 98)


def sersic_growth(radius: NDArray[np.float64], half_light_radius: float, sersic: float) -> NDArray[np.float64]:
    """Share of a Sersic profile's light inside `radius` (Graham & Driver 2005): P(2n, b (R/Re)^(1/n))."""
    b = gammaincinv(2 * sersic, 0.5)
    share: NDArray[np.float64] = gammainc(2 * sersic, b * (radius / half_light_radius) ** (1 / sersic))
    return share


def exponential_growth(radius: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of a face-on exponential disc's light inside `radius`, in scale lengths: 1 - (1 + x) exp(-x)."""
    share: NDArray[np.float64] = 1 - (1 + radius) * np.exp(-radius)
    return share


@lru_cache(maxsize=1)
def edge_on_thickness() -> float:
    """Scale height of sech^2(z / hz) per scale length for a unit axis ratio of the half-light strips.

    Half the light of a disc seen edge-on, I(x) = x K1(x) (van der Kruit & Searle 1981), lies within x half-light
    lengths of the centre, and half of a sech^2 layer within artanh(1/2) scale heights of the plane.
    """
    x = np.linspace(1e-4, 30, 30001)
    light = np.cumsum(x * kv(1, x))
    return float(np.interp(0.5, light / light[-1], x) / np.arctanh(0.5))


@lru_cache(maxsize=1)
def _edge_on_table() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x: NDArray[np.float64] = np.linspace(0.01, 15, 750).astype(np.float64)
    height = edge_on_thickness()
    light = (x * kv(1, x))[:, None] / np.cosh(x[None, :] / height) ** 2
    radius = np.hypot(x[:, None], x[None, :])
    share, _ = np.histogram(radius, bins=np.append(0, x), weights=light)
    return x, np.cumsum(share) / share.sum()


def edge_on_growth(radius: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of an edge-on disc's light inside an ellipse of the disc's axis ratio, semi-major axis in scale lengths."""
    x, share = _edge_on_table()
    return np.asarray(np.interp(radius, x, share))


def light_radii(
    *, bulge_fraction: float, bulge_radius: float, bulge_sersic: float, edge_on: bool, shares: tuple[float, ...]
) -> tuple[float, ...]:
    """Radii, in disc scale lengths, that hold each of `shares` of the light of a bulge and a disc.

    `bulge_radius` is the bulge's half-light radius in disc scale lengths. Bulge and disc count as flattened alike.
    """
    disc = edge_on_growth(_RADII) if edge_on else exponential_growth(_RADII)
    total = bulge_fraction * sersic_growth(_RADII, bulge_radius, bulge_sersic) + (1 - bulge_fraction) * disc
    return tuple(float(np.interp(share, total, _RADII)) for share in shares)


@lru_cache(maxsize=1)
def _sersic_concentrations() -> NDArray[np.float64]:
    b = gammaincinv(2 * _SERSIC_INDICES, 0.5)
    radii = [(gammaincinv(2 * _SERSIC_INDICES, share) / b) ** _SERSIC_INDICES for share in (0.2, 0.8)]
    concentrations: NDArray[np.float64] = radii[1] / radii[0]
    return concentrations


def equivalent_sersic(concentration: float) -> float:
    """The Sersic index whose R80 / R20 is `concentration`: one index for single and composite galaxies."""
    return float(np.interp(concentration, _sersic_concentrations(), _SERSIC_INDICES))
