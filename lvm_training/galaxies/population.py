"""The population simulated catalogues are drawn from: joint distributions in which the five classes overlap.

Magnitudes and sizes follow Galaxy Zoo DECaLS (most galaxies r < 17.8, a faint tail to 19.5); sizes come from absolute
magnitude and redshift. Neither axis ratio, size, colour nor concentration gives a class away: smooth galaxies are
ellipticals, lenticulars or blue dwarfs, spirals are seen at any inclination, edge-on discs may have large bulges.
"""

from functools import lru_cache
from typing import Any

import numpy as np
from astropy.cosmology import Planck18
from numpy.typing import NDArray

from lvm_training.galaxies.catalogue import MORPHOLOGIES, Galaxy, Morphology, Split, component_fluxes, rounded
from lvm_training.galaxies.growth import equivalent_sersic, light_radii
from lvm_training.galaxies.spectra import EXTINCTION, magnitude, nanomaggies
from lvm_training.galaxies.survey import draw_seeing
from lvm_training.progress import Progress

START_PER_CLASS = 10
TEST_SHARE = 0.2

# mean and spread of axis ratios, and their limits
_AXIS_RATIOS: dict[Morphology, tuple[float, float, float, float]] = {
    "round smooth": (0.84, 0.10, 0.58, 1.0),
    "in-between smooth": (0.66, 0.13, 0.36, 0.94),
    "cigar-shaped smooth": (0.35, 0.10, 0.14, 0.60),
    "edge-on disc": (0.24, 0.10, 0.08, 0.48),
}
# shares of ellipticals, lenticulars and dwarfs
_SMOOTH_KINDS: dict[Morphology, tuple[float, float, float]] = {
    "round smooth": (0.36, 0.34, 0.30),
    "in-between smooth": (0.32, 0.36, 0.32),
    "cigar-shaped smooth": (0.20, 0.45, 0.35),
}
_SIZE_FACTORS: dict[Morphology, float] = {
    "round smooth": 1.05,
    "in-between smooth": 1.1,
    "cigar-shaped smooth": 1.25,
    "edge-on disc": 1.45,
    "spiral": 1.3,
}

Drawn = dict[str, Any]


def draw_catalogue(n: int, seed: int, *, progress: Progress | None = None) -> list[Galaxy]:
    """A catalogue of `n` galaxies, the five classes in equal numbers (within one).

    Row i depends on `seed` and i alone, but for its split: the first galaxies of a longer catalogue are the same.
    `progress` is called with (galaxies drawn, galaxies in all).
    """
    classes = _classes(n, seed)
    galaxies = []
    for row, (kind, split) in enumerate(zip(classes, _splits(classes, seed), strict=True)):
        galaxies.append(draw_galaxy(kind, split, seed, row))
        if progress is not None:
            progress(row + 1, n)
    return galaxies


def _classes(n: int, seed: int) -> list[Morphology]:
    rng = np.random.default_rng((seed, 0))
    blocks = [rng.permutation(len(MORPHOLOGIES)) for _ in range(-(-n // len(MORPHOLOGIES)))]
    return [MORPHOLOGIES[i] for block in blocks for i in block][:n]


def _splits(classes: list[Morphology], seed: int) -> list[Split]:
    """A tenth of a class at most, `START_PER_CLASS` as a rule, starts labelled; a fifth is for tests."""
    rng = np.random.default_rng((seed, 1))
    splits: list[Split] = ["pool"] * len(classes)
    for kind in MORPHOLOGIES:
        rows = rng.permutation([row for row, name in enumerate(classes) if name == kind])
        start = min(START_PER_CLASS, len(rows) // 4)
        test = start + round(TEST_SHARE * len(rows))
        for row in rows[:start]:
            splits[row] = "start"
        for row in rows[start:test]:
            splits[row] = "test"
    return splits


def draw_galaxy(morphology: Morphology, split: Split, seed: int, row: int) -> Galaxy:
    """One galaxy of a class; its random numbers come from (seed, row)."""
    rng = np.random.default_rng((seed, row, 0))
    mag_r = _r_magnitude(rng)
    redshift, kiloparsec = _distance(mag_r, rng)
    drawn: Drawn = {"mag_r": mag_r, "z_spec": redshift, "position_angle": rng.uniform(0, 180), **_position(rng)}
    luminosity = 10 ** (-0.11 * (mag_r - _distance_modulus(redshift) + 20.8))
    size = 4.1 * _SIZE_FACTORS[morphology] * luminosity * 10 ** rng.normal(0, 0.15) / kiloparsec
    drawn["half_light_radius"] = float(np.clip(size, 1.3, 13.0))
    drawn |= _blank_structure()
    if morphology == "spiral":
        drawn |= _spiral(rng)
    elif morphology == "edge-on disc":
        drawn |= _edge_on(rng)
    else:
        drawn |= _smooth(morphology, rng)
    drawn |= _scaled(drawn, edge_on=morphology == "edge-on disc")
    drawn |= _other_magnitudes(drawn, rng)
    seeing = draw_seeing(rng)
    drawn |= dict(zip(("psf_g", "psf_r", "psf_z"), seeing.psf, strict=True))
    drawn |= dict(zip(("noise_g", "noise_r", "noise_z"), seeing.noise, strict=True))
    values = {name: value if name == "arm_count" else rounded(name, value) for name, value in drawn.items()}
    return Galaxy.model_validate({"morphology": morphology, "split": split, "seed": seed, **values})


def _r_magnitude(rng: np.random.Generator) -> float:
    """Counts rising as 10^(0.35 m) to Galaxy Zoo's limit, and a seventh of the sample fainter."""
    if rng.random() < 0.15:
        return float(rng.uniform(17.8, 19.5))
    faintest, span, slope = 17.8, 2.8, 0.35
    return float(faintest + np.log10(1 - rng.random() * (1 - 10 ** (-slope * span))) / slope)


@lru_cache(maxsize=1)
def _distances() -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    redshifts: NDArray[np.float64] = np.linspace(0.002, 0.6, 600).astype(np.float64)
    modulus = Planck18.distmod(redshifts).value
    return redshifts, modulus, Planck18.kpc_proper_per_arcmin(redshifts).value / 60


def _distance_modulus(redshift: float) -> float:
    redshifts, modulus, _ = _distances()
    return float(np.interp(redshift, redshifts, modulus))


def _distance(mag_r: float, rng: np.random.Generator) -> tuple[float, float]:
    """Redshift, and kpc per arcsec there, of a galaxy of M_r about -20.8."""
    redshifts, modulus, scale = _distances()
    redshift = float(np.interp(mag_r - rng.normal(-20.8, 0.8), modulus, redshifts))
    return min(redshift, 0.3), float(np.interp(redshift, redshifts, scale))


def _position(rng: np.random.Generator) -> dict[str, float]:
    """A point of the southern survey away from the Milky Way: its two galactic caps, uniform on the sphere."""
    ra = rng.uniform(125, 250) if rng.random() < 0.6 else rng.uniform(-40, 60) % 360
    return {"ra": float(ra), "dec": float(np.degrees(np.arcsin(rng.uniform(np.sin(np.radians(-15)), 0.53))))}


def _blank_structure() -> Drawn:
    names = ["young_fraction", "bar_fraction", "bar_radius", "bar_angle", "ring_fraction", "ring_radius", "arm_pitch"]
    names += ["arm_contrast", "flocculence", "clumpiness", "dust", "warp"]
    return dict.fromkeys(names, 0.0) | {"arm_count": 0}


def _axis_ratio(morphology: Morphology, rng: np.random.Generator) -> float:
    mean, spread, lowest, highest = _AXIS_RATIOS[morphology]
    return float(np.clip(rng.normal(mean, spread), lowest, highest))


def _smooth(morphology: Morphology, rng: np.random.Generator) -> Drawn:
    axis_ratio = _axis_ratio(morphology, rng)
    kind = rng.choice(3, p=_SMOOTH_KINDS[morphology])
    drawn: Drawn = {"axis_ratio": axis_ratio, "bulge_axis_ratio": axis_ratio, "bulge_fraction": 1.0}
    if kind == 0:
        early = np.clip(rng.normal(0.05, 0.15), 0, 0.6)
        return drawn | {"bulge_sersic": rng.uniform(2, 5.5), "bulge_type": early, "disc_type": early}
    if kind == 2:
        late = np.clip(rng.normal(0.75, 0.35), 0, 1.4)
        return drawn | {"bulge_sersic": rng.uniform(0.7, 2.0), "bulge_type": late, "disc_type": late}
    bulge_type = np.clip(rng.normal(0.05, 0.15), 0, 0.5)
    drawn |= {"bulge_fraction": rng.uniform(0.15, 0.6), "bulge_sersic": rng.uniform(1.5, 4)}
    drawn |= {"bulge_type": bulge_type, "disc_type": np.clip(bulge_type + rng.normal(0.2, 0.2), 0, 1.2)}
    drawn["bulge_axis_ratio"] = _bulge_axis_ratio(axis_ratio, rng)
    if axis_ratio > 0.5 and rng.random() < 0.2:
        drawn |= {"bar_fraction": rng.uniform(0.03, 0.1), "bar_radius": rng.uniform(0.5, 1), "bar_angle": _angle(rng)}
    return drawn


def _edge_on(rng: np.random.Generator) -> Drawn:
    axis_ratio = _axis_ratio("edge-on disc", rng)
    bulge_fraction = rng.uniform(0, 0.08) if rng.random() < 0.4 else rng.uniform(0.08, 0.5)
    return {
        "axis_ratio": axis_ratio,
        "bulge_fraction": bulge_fraction,
        "bulge_sersic": rng.uniform(1, 3.5),
        "bulge_axis_ratio": max(axis_ratio, rng.uniform(0.45, 0.9)),
        "bulge_type": np.clip(rng.normal(0.1, 0.2), 0, 0.8),
        "disc_type": np.clip(rng.normal(0.65 - 0.5 * bulge_fraction, 0.3), 0, 1.3),
        "young_fraction": rng.uniform(0.0, 0.25),
        "clumpiness": rng.uniform(0, 0.6),
        "dust": rng.uniform(0.4, 4) if rng.random() < 0.6 else rng.uniform(0, 0.4),
        "warp": rng.normal(0, 0.6) if rng.random() < 0.1 else rng.normal(0, 0.12),
    }


def _spiral(rng: np.random.Generator) -> Drawn:
    axis_ratio = np.sqrt(rng.uniform(0.15, 1) ** 2 * 0.96 + 0.04)
    late = rng.uniform()
    drawn: Drawn = {
        "axis_ratio": axis_ratio,
        "bulge_fraction": np.clip(rng.lognormal(np.log(0.3 - 0.22 * late), 0.45), 0.01, 0.6),
        "bulge_sersic": rng.uniform(0.9, 3.5),
        "bulge_axis_ratio": _bulge_axis_ratio(axis_ratio, rng),
        "bulge_type": np.clip(rng.normal(0.05 + 0.2 * late, 0.12), 0, 0.7),
        "disc_type": np.clip(rng.normal(0.1 + 0.6 * late, 0.18), 0, 1.2),
        "young_fraction": np.clip(rng.normal(0.17 + 0.22 * late, 0.06), 0.08, 0.5),
        "arm_count": int(rng.choice([1, 2, 3, 4, 5], p=[0.04, 0.58, 0.18, 0.12, 0.08])),
        "arm_pitch": rng.choice([-1, 1]) * np.clip(rng.normal(15 + 10 * late, 6), 9, 38),
        "arm_contrast": rng.uniform(0.3, 1),
        "flocculence": rng.beta(1.2, 1.8),
        "clumpiness": rng.uniform(0, 0.4 + 0.6 * late),
        "dust": rng.uniform(0, 0.9),
    }
    if rng.random() < 0.5:
        drawn |= {"bar_fraction": rng.uniform(0.04, 0.24), "bar_radius": rng.uniform(0.6, 1.6)}
        drawn["bar_angle"] = _angle(rng)
    if rng.random() < 0.25:
        place = drawn.get("bar_radius", rng.uniform(0.8, 2)) if rng.random() < 0.7 else rng.uniform(1.8, 3)
        drawn |= {"ring_fraction": rng.uniform(0.03, 0.14), "ring_radius": place * rng.uniform(1, 1.1)}
    return drawn


def _angle(rng: np.random.Generator) -> float:
    return float(rng.uniform(0, 180))


def _bulge_axis_ratio(axis_ratio: float, rng: np.random.Generator) -> float:
    """Bulges are rounder than the disc around them."""
    return float(axis_ratio + (1 - axis_ratio) * rng.uniform(0.25, 0.65))


def _scaled(drawn: Drawn, *, edge_on: bool) -> Drawn:
    """Component radii in arcsec that give the half-light radius drawn, and the equivalent Sersic index."""
    size, fraction = drawn["half_light_radius"], drawn["bulge_fraction"]
    index = round(float(drawn["bulge_sersic"]), 1)
    if fraction == 1:
        return {"bulge_radius": size, "disc_scale": 0.0, "sersic": index}
    # bulges of half the light reach one scale length, small ones a fifth of it
    bulge = 0.18 + 0.9 * fraction
    r20, r50, r80 = light_radii(
        bulge_fraction=fraction, bulge_radius=bulge, bulge_sersic=index, edge_on=edge_on, shares=(0.2, 0.5, 0.8)
    )
    scale = size / r50
    radii = {name: drawn[name] * scale for name in ("bar_radius", "ring_radius")}
    return radii | {"bulge_radius": bulge * scale, "disc_scale": scale, "sersic": equivalent_sersic(r80 / r20)}


def _other_magnitudes(drawn: Drawn, rng: np.random.Generator) -> Drawn:
    names = ("bulge_fraction", "bulge_type", "bar_fraction", "disc_type", "young_fraction", "ring_fraction")
    colours = component_fluxes(**{name: drawn[name] for name in names}, redshift=drawn["z_spec"]).sum(axis=0)
    mags = magnitude(nanomaggies(drawn["mag_r"]) * colours)
    # the templates are of little dusty galaxies; metallicity and star formation history scatter colours about them
    reddening = (EXTINCTION - EXTINCTION[1]) * (rng.uniform(0, 0.12) if drawn["young_fraction"] else 0)
    return {
        "mag_g": mags[0] + reddening[0] + rng.normal(0, 0.04),
        "mag_z": mags[2] + reddening[2] + rng.normal(0, 0.025),
    }
