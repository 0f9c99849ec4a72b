"""A population of endless galaxies that looks like the sky: what people call rings, bars, mergers and irregulars.

`structure.py` lets every structure meet every other. Features learned there did not know a real ring, since real rings
are mostly as old as their discs, even, and apart from a bright core, and blue and patchy galaxies are irregulars. Here
most galaxies are of a kind, drawn as contact sheets of real ones show them; the rest stay as broad as before.
"""

from collections.abc import Callable
from dataclasses import fields, replace

import numpy as np
from numpy.typing import NDArray

from lvm_training.galaxies.spectra import galaxy_fluxes
from lvm_training.scenes.structure import DISC, EDGE_ON, SMOOTH, Structure, draw_structure

USUAL_FIELD = 25.0  # arcsec, for which the broad population was made
SIZES = (0.035, 0.2)  # smallest and largest radius over the field; pictures are cut to fit their galaxy, roughly
FIELD_POWER = 0.75  # galaxies grow nearly with the field, as people cut small stamps around small galaxies

Change = Callable[[Structure, np.random.Generator], Structure]


def draw_either(
    n: int, rng: np.random.Generator, *, field: float, realistic: bool, usual: float = USUAL_FIELD
) -> Structure:
    """`n` galaxies of the realistic or of the broad population, of sizes that fit a field of `field` arcsec.

    Parameters
    ----------
    usual : float
        The field in which the broad population has its own sizes.
    """
    if realistic:
        return draw_realistic(n, rng, field=field)
    structure = draw_structure(n, rng)
    return replace(structure, radius=structure.radius * np.float32((field / usual) ** FIELD_POWER))


def draw_realistic(n: int, rng: np.random.Generator, *, field: float) -> Structure:
    """`n` galaxies of all kinds, their sizes and distances in proportion to a field of `field` arcsec."""
    drawn = draw_structure(n, rng)
    arrays = {one.name: getattr(drawn, one.name).copy() for one in fields(Structure)}
    arrays["radius"] = (field * np.exp(rng.uniform(np.log(SIZES[0]), np.log(SIZES[1]), n))).astype(np.float32)
    arrays["companion_distance"] *= np.float32(field / USUAL_FIELD)
    arrays["brightness"] -= np.float32(0.5)
    broad = Structure(**arrays)
    kinds = rng.choice(len(_KINDS), size=n, p=[share for _, share in _KINDS])
    for number, (change, _) in enumerate(_KINDS):
        rows = np.flatnonzero(kinds == number)
        changed = change(broad.rows(rows), rng)
        for name, values in arrays.items():
            values[rows] = getattr(changed, name)
    return Structure(**arrays)


def _broad(s: Structure, rng: np.random.Generator) -> Structure:
    return s


def _smooth(s: Structure, rng: np.random.Generator) -> Structure:
    """Ellipticals and lenticulars, a third round and a fifth as flat as cigars, mostly old."""
    n = len(s)
    lenticular = rng.random(n) < 0.35
    shape = rng.choice(3, n, p=[0.34, 0.44, 0.22])
    return s.featureless().changed(
        kind=np.full(n, SMOOTH),
        axis_ratio=np.choose(shape, [rng.uniform(0.8, 1, n), rng.uniform(0.42, 0.82, n), rng.uniform(0.16, 0.42, n)]),
        sersic=np.exp(rng.uniform(np.log(0.9), np.log(5.5), n)),
        bulge_fraction=np.where(lenticular, rng.uniform(0.2, 0.7, n), 1),
        bulge_size=np.where(lenticular, rng.uniform(0.12, 0.5, n), 1),
        fluxes=_colours(s, rng, old=(0.0, 0.35), disc=(0.0, 0.5), young=(0.3, 1.0)),
    )


def _edge_on(s: Structure, rng: np.random.Generator) -> Structure:
    n = len(s)
    return s.featureless().changed(
        kind=np.full(n, EDGE_ON),
        radius=s.radius * 1.25,
        axis_ratio=rng.uniform(0.06, 0.25, n),
        bulge_fraction=rng.beta(1.3, 4, n),
        bulge_size=rng.uniform(0.12, 0.4, n),
        clumps=s.clumps * (rng.random(n) < 0.5),
        dust=rng.gamma(1.5, 0.5, n) * (rng.random(n) < 0.6),
        fluxes=_colours(s, rng, old=(0.0, 0.3), disc=(0.1, 1.0), young=(0.4, 1.4)),
    )


def _spiral(s: Structure, rng: np.random.Generator) -> Structure:
    n = len(s)
    return s.featureless().changed(
        kind=np.full(n, DISC),
        axis_ratio=_inclined(n, rng),
        bulge_fraction=rng.beta(1.5, 5, n),
        bulge_size=rng.uniform(0.12, 0.4, n),
        arms=rng.uniform(0.3, 1, n),
        clumps=rng.beta(1, 2, n),
        bar=s.bar * (rng.random(n) < 0.5),
        dust=rng.gamma(1.5, 0.3, n) * (rng.random(n) < 0.5),
        companion=s.companion * (rng.random(n) < 0.4),
        fluxes=_colours(s, rng, old=(0.0, 0.3), disc=(0.3, 0.9), young=(0.8, 1.5)),
    )


def _ring(s: Structure, rng: np.random.Generator) -> Structure:
    """A bright core, most often a bar, a shallow gap, and a broad, faint, even ring.

    Nine tenths of the rings are as old as their discs: narrow, bright and blue ones are what ring galaxies are famous
    for, and rare on the sky.
    """
    n = len(s)
    reach = rng.uniform(0.9, 1.9, n)
    colours = _colours(s, rng, old=(0.0, 0.2), disc=(0.0, 0.4), young=(0.6, 1.4))
    aged = rng.random(n) < 0.9
    colours[aged, 2] = colours[aged, 1]
    return s.featureless().changed(
        kind=np.full(n, DISC),
        axis_ratio=_inclined(n, rng),
        bulge_fraction=np.where(rng.random(n) < 0.1, 0.03, rng.uniform(0.2, 0.6, n)),
        bulge_size=rng.uniform(0.12, 0.4, n),
        ring=rng.uniform(0.08, 0.35, n),
        ring_radius=reach,
        ring_width=rng.uniform(0.12, 0.35, n),
        ring_evenness=rng.uniform(0.3, 1, n),
        gap=rng.uniform(0.1, 0.7, n),
        clumps=rng.uniform(0, 0.3, n) * ~aged,
        bar=rng.uniform(0.1, 0.35, n) * (rng.random(n) < 0.7),
        bar_length=reach * rng.uniform(0.45, 0.95, n),
        companion=s.companion * (rng.random(n) < 0.3),
        fluxes=colours,
    )


def _barred(s: Structure, rng: np.random.Generator) -> Structure:
    """A long, old bar with dark zones beside it, whose ends often are bright, and two arms in two thirds."""
    n = len(s)
    return s.featureless().changed(
        kind=np.full(n, DISC),
        axis_ratio=_inclined(n, rng),
        bulge_fraction=rng.uniform(0.02, 0.35, n),
        bulge_size=rng.uniform(0.1, 0.3, n),
        bar=rng.uniform(0.12, 0.42, n),
        bar_length=rng.uniform(0.5, 1.35, n),
        ansae=rng.uniform(0.2, 1, n) * (rng.random(n) < 0.4),
        gap=rng.uniform(0, 0.85, n),
        arms=rng.uniform(0.3, 1, n) * (rng.random(n) < 0.65),
        arm_count=np.where(rng.random(n) < 0.8, 2, s.arm_count),
        ring=rng.uniform(0.08, 0.3, n) * (rng.random(n) < 0.25),
        ring_evenness=rng.uniform(0, 1, n),
        clumps=rng.beta(1, 2.5, n),
        fluxes=_colours(s, rng, old=(0.0, 0.3), disc=(0.2, 0.9), young=(0.7, 1.5)),
    )


def _merger(s: Structure, rng: np.random.Generator) -> Structure:
    """Two nuclei of like brightness within each other's light, bent, with shells, loops and tails."""
    n = len(s)
    disc = rng.random(n) < 0.55
    colours = _colours(s, rng, old=(0.0, 0.5), disc=(0.1, 1.0), young=(0.5, 1.5))
    alike = rng.random(n) < 0.6
    colours[alike, 3] = colours[alike, 1]
    return s.featureless().changed(
        kind=np.where(disc, DISC, SMOOTH),
        radius=s.radius * 0.75,
        axis_ratio=rng.uniform(0.4, 1, n),
        bulge_fraction=np.where(disc, rng.uniform(0.15, 0.6, n), 1),
        bulge_size=np.where(disc, rng.uniform(0.12, 0.5, n), 1),
        sersic=rng.uniform(1, 4, n),
        arms=s.arms * disc,
        clumps=s.clumps * disc,
        disturbance=rng.uniform(0.05, 0.5, n),
        tails=rng.uniform(0.08, 0.5, n) * disc * (rng.random(n) < 0.6),
        debris=rng.uniform(0.05, 0.6, n) * (rng.random(n) < 0.75),
        companion=rng.uniform(0.2, 1.1, n) * (rng.random(n) < 0.9),
        companion_distance=s.radius * 0.75 * rng.uniform(0.5, 3.2, n),
        fluxes=colours,
    )


def _irregular(s: Structure, rng: np.random.Generator) -> Structure:
    """Faint, blue, without a bulge, its clumps anywhere."""
    n = len(s)
    return s.featureless().changed(
        kind=np.full(n, DISC),
        brightness=rng.uniform(20.3, 23.4, n),
        axis_ratio=rng.uniform(0.25, 1, n),
        bulge_fraction=rng.uniform(0, 0.04, n),
        bulge_size=rng.uniform(0.1, 0.3, n),
        arms=rng.uniform(0.15, 0.5, n) * (rng.random(n) < 0.3),
        flocculence=np.ones(n),
        clumps=rng.uniform(0.2, 1, n),
        irregular=rng.uniform(0.08, 1, n),
        disturbance=rng.uniform(0.08, 0.5, n),
        fluxes=_colours(s, rng, old=(0.3, 0.9), disc=(0.6, 1.3), young=(1.0, 1.6)),
    )


def _ruffled(s: Structure, rng: np.random.Generator) -> Structure:
    """A late spiral out of shape, blue and patchy: most of what experts call perturbed."""
    n = len(s)
    return _spiral(s, rng).changed(
        disturbance=rng.uniform(0.25, 0.55, n),
        flocculence=rng.uniform(0.3, 1, n),
        clumps=rng.uniform(0.3, 1, n),
        fluxes=_colours(s, rng, old=(0.2, 0.8), disc=(0.5, 1.2), young=(0.9, 1.6)),
    )


def _inclined(n: int, rng: np.random.Generator) -> NDArray[np.floating]:
    """Axis ratios of discs of thickness 0.2 whose structure can be seen: uniform in cos i."""
    return np.sqrt(0.96 * rng.uniform(0.35, 1, n) ** 2 + 0.04)


def _colours(s: Structure, rng: np.random.Generator, **types: tuple[float, float]) -> NDArray[np.float32]:
    """Fluxes of old, disc and young light of spectral types between limits, at one redshift; the companion's stay."""
    colours, redshift = s.fluxes.copy(), rng.uniform(0.0, 0.2, len(s))
    for part, (low, high) in enumerate(types.values()):
        colours[:, part] = galaxy_fluxes(rng.uniform(low, high, len(s)), redshift)
    return colours


_KINDS: tuple[tuple[Change, float], ...] = (
    (_broad, 0.12),
    (_smooth, 0.22),
    (_edge_on, 0.08),
    (_spiral, 0.14),
    (_ring, 0.13),
    (_barred, 0.09),
    (_merger, 0.1),
    (_irregular, 0.06),
    (_ruffled, 0.06),
)
