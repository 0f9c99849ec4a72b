"""Colours of galaxies and stars: spectra redshifted through the g, r and z bandpasses.

Spectra are the Coleman, Wu & Weedman (1980) templates and bandpasses LSST's g, r and z, as packaged with GalSim, which
carries no DECam ones: LSST's z lies 45 nm bluer than DECam's, which makes r - z about 0.05 mag bluer at low redshift.

Galaxies are mixed from E and Scd: Sbc and Im lie 0.15 mag off the g - r against r - z relation of Legacy Surveys
galaxies. The Scd itself is a little bright in z; `_SCD_Z` brings the mixtures onto the relation.
"""

from functools import lru_cache
from pathlib import Path

import galsim
import numpy as np
from numpy.typing import ArrayLike, NDArray

BANDS = ("g", "r", "z")
TEMPLATES = ("E", "Scd")
REDSHIFT_LIMIT = 1.0
BLUEST = 1.6

# measured on DR9 cutouts of 12 spirals: (g - r, r - z) runs from (0.57, 0.41) to (0.90, 0.70)
_SCD_Z = 0.93

# Legacy Surveys A_b / E(B-V) after Schlafly & Finkbeiner 2011 (legacysurvey.org/dr9/catalogs)
EXTINCTION = np.array([3.214, 2.165, 1.211])

# g - r and r - z along the main sequence from F to M5 dwarfs, roughly the stellar locus (Covey et al. 2007)
_STELLAR_G_R = np.array([0.20, 0.40, 0.60, 0.90, 1.20, 1.42, 1.50, 1.55])
_STELLAR_R_Z = np.array([0.02, 0.12, 0.22, 0.40, 0.65, 1.05, 1.60, 2.20])


@lru_cache(maxsize=1)
def _template_table() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Redshifts (K,) and fluxes relative to r, shape (types, K, bands)."""
    share = Path(galsim.meta_data.share_dir)
    bandpasses = [
        galsim.Bandpass(str(share / "bandpasses" / f"LSST_{band}.dat"), wave_type="nm").withZeropoint("AB").thin(1e-3)
        for band in BANDS
    ]
    redshifts: NDArray[np.float64] = np.linspace(0, REDSHIFT_LIMIT, 21).astype(np.float64)
    table = np.empty((len(TEMPLATES), len(redshifts), len(BANDS)))
    for i, name in enumerate(TEMPLATES):
        spectrum = galsim.SED(str(share / "SEDs" / f"CWW_{name}_ext.sed"), "Ang", "flambda")
        for j, redshift in enumerate(redshifts):
            magnitudes = np.array([spectrum.atRedshift(redshift).calculateMagnitude(b) for b in bandpasses])
            table[i, j] = 10 ** (-0.4 * (magnitudes - magnitudes[1]))
    table[TEMPLATES.index("Scd"), :, BANDS.index("z")] *= _SCD_Z
    return redshifts, table


def galaxy_fluxes(scd_share: ArrayLike, redshift: ArrayLike) -> NDArray[np.float64]:
    """Fluxes in g, r, z per unit flux in r, shape (..., 3).

    Parameters
    ----------
    scd_share : float or array
        Share of the r light with the spectrum of an Scd, the rest being that of an E: 0 is old, 1 forms stars; above
        1, the Scd less old stars it holds, the young light of spiral arms. Clipped to [0, 1.6].
    redshift : float or array
        Redshift, interpolated between templates 0.05 apart; clipped to [0, 1].
    """
    redshifts, table = _template_table()
    share, place = np.broadcast_arrays(
        np.clip(np.asarray(scd_share, float), 0, BLUEST)[..., None],
        np.clip(np.asarray(redshift, float), 0, REDSHIFT_LIMIT)[..., None] / redshifts[1],
    )
    near = np.minimum(place[..., 0].astype(int), len(redshifts) - 2)
    further = place - near[..., None]
    old, late = ((1 - further) * fluxes[near] + further * fluxes[near + 1] for fluxes in table)
    mixed: NDArray[np.float64] = (1 - share) * old + share * late
    return mixed


def stellar_fluxes(sequence: ArrayLike) -> NDArray[np.float64]:
    """Fluxes in g, r, z per unit flux in r of main-sequence stars from F (0) to M5 (1), shape (..., 3)."""
    place = np.asarray(sequence, float) * (len(_STELLAR_G_R) - 1)
    steps = np.arange(len(_STELLAR_G_R))
    g_r, r_z = np.interp(place, steps, _STELLAR_G_R), np.interp(place, steps, _STELLAR_R_Z)
    return np.stack([10 ** (-0.4 * g_r), np.ones_like(g_r), 10 ** (0.4 * r_z)], axis=-1)


def magnitude(flux: ArrayLike) -> NDArray[np.float64]:
    """AB magnitude of a flux in nanomaggies: 22.5 - 2.5 log10(flux)."""
    return np.asarray(22.5 - 2.5 * np.log10(flux))


def nanomaggies(mag: ArrayLike) -> NDArray[np.float64]:
    """Flux in nanomaggies of an AB magnitude, the inverse of `magnitude`."""
    return np.asarray(10 ** (0.4 * (22.5 - np.asarray(mag, float))))
