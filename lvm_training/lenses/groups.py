"""Groups of old galaxies: what lies around the brightest one, in front of arcs wider than those of a galaxy alone."""

import numpy as np
from numpy.typing import NDArray

from lvm_training.galaxies.spectra import nanomaggies
from lvm_training.lenses.lensing import Source, unlensed_light
from lvm_training.scenes.structure import Structure

MEMBERS = (1, 5)  # beside the brightest, fewest and most
NEAREST, FARTHEST = 0.9, 8.0  # arcsec from the middle, between which the logarithm of the distance is uniform
FAINTEST, BRIGHTEST = 0.04, 0.9  # r flux over that of the brightest, its logarithm uniform
GROUP_RADII = 2.0  # Einstein radii of groups over those of galaxies (More et al. 2012, ApJ 749, 38: 2 to 8 arcsec)


def draw_members(s: Structure, rng: np.random.Generator, *, size: int, field: float) -> NDArray[np.float32]:
    """Light of the other members of groups around N galaxies, without PSF and noise.

    Returns
    -------
    ndarray (N, M, 3, size, size)
        g, r, z in nanomaggies per 0.262 arcsec pixel of each member, zeros where a group has fewer.
    """
    light = np.zeros((len(s), MEMBERS[1], 3, size, size), np.float32)
    fluxes = nanomaggies(s.brightness) * 2 * np.pi * s.radius**2 * s.axis_ratio
    for row, count in enumerate(rng.integers(MEMBERS[0], MEMBERS[1] + 1, len(s))):
        for place in range(count):
            share = float(np.exp(rng.uniform(np.log(FAINTEST), np.log(BRIGHTEST))))
            member = _draw_member(s, row, share, rng)
            light[row, place] = unlensed_light(member, size=size, field=field) * np.float32(fluxes[row] * share)
    return light


def _draw_member(s: Structure, row: int, share: float, rng: np.random.Generator) -> Source:
    """A galaxy as old as the brightest, smaller as it is fainter (Shen et al. 2003, MNRAS 343, 978: R ~ L^0.6)."""
    distance, direction = float(np.exp(rng.uniform(np.log(NEAREST), np.log(FARTHEST)))), rng.uniform(0, 2 * np.pi)
    colours = s.fluxes[row, 0] / s.fluxes[row, 0, 1] * np.exp(rng.normal(0, 0.05, 3))
    return Source(
        x=distance * np.cos(direction),
        y=distance * np.sin(direction),
        radius=float(max(s.radius[row] * share**0.6 * np.exp(rng.normal(0, 0.2)), 0.2)),
        sersic=rng.uniform(2, 5),
        axis_ratio=1 - 0.6 * rng.beta(1.3, 2.2),
        angle=rng.uniform(0, np.pi),
        fluxes=(float(colours[0]), float(colours[1]), float(colours[2])),
    )
