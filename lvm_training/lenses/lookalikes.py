"""Structures of the galaxies that lens, and of those that are mistaken for lenses."""

from collections.abc import Callable
from dataclasses import fields

import numpy as np
from numpy.typing import NDArray

from lvm_training.galaxies.spectra import galaxy_fluxes
from lvm_training.scenes.structure import DISC, SMOOTH, Structure, draw_structure

LENS = "lens"
# early types with unlensed blue sources around them: as much like a lens as can be
NEIGHBOURS = "neighbours"
RING, SPIRAL, MERGER, EARLY_TYPE, ANY = "ring", "spiral", "merger", "early_type", "any"
LOOK_ALIKES = (RING, SPIRAL, MERGER, NEIGHBOURS, EARLY_TYPE, ANY)

Kinds = NDArray[np.str_]


def draw_structures(kinds: Kinds, rng: np.random.Generator) -> Structure:
    """One galaxy of each kind asked for, `LENS` or one of `LOOK_ALIKES`, in that order."""
    drawn = draw_structure(len(kinds), rng)
    arrays = {field.name: getattr(drawn, field.name).copy() for field in fields(Structure)}
    for kind, change in _CHANGES.items():
        rows = np.flatnonzero(np.isin(kinds, kind))
        changed = change(drawn.rows(rows), rng)
        for name, values in arrays.items():
            values[rows] = getattr(changed, name)
    return Structure(**arrays)


def _early_type(s: Structure, rng: np.random.Generator) -> Structure:
    """Luminous, old and concentrated, one in five with a companion, which is as old in half."""
    n = len(s)
    redshift = rng.uniform(0.15, 0.6, n)
    colours = s.fluxes.copy()
    colours[:, :3] = galaxy_fluxes(rng.uniform(0, 0.12, n), redshift)[:, None]
    old = rng.random(n) < 0.5
    colours[old, 3] = colours[old, 0]
    near = (rng.random(n) < 0.2) * 10 ** rng.uniform(-1.5, -0.3, n)
    return _quiet(s).changed(
        kind=np.full(n, SMOOTH),
        radius=np.exp(rng.uniform(np.log(0.8), np.log(2.5), n)),
        brightness=rng.uniform(21.2, 23.2, n),
        axis_ratio=1 - 0.6 * rng.beta(1.3, 2.2, n),
        sersic=rng.uniform(2.5, 6, n),
        bulge_fraction=np.ones(n),
        bulge_size=np.ones(n),
        companion=near,
        companion_distance=rng.uniform(3.0, 8.0, n),
        fluxes=colours,
    )


def _ring(s: Structure, rng: np.random.Generator) -> Structure:
    """A blue ring around a red bulge, almost face-on, as large as an Einstein ring or a little larger."""
    n = len(s)
    radius = rng.uniform(1.2, 3.0, n)
    return _disc(s, rng).changed(
        radius=radius,
        brightness=rng.uniform(21, 23, n),
        axis_ratio=rng.uniform(0.75, 1, n),
        bulge_fraction=rng.uniform(0.25, 0.6, n),
        bulge_size=rng.uniform(0.3, 0.8, n) / radius,
        ring=rng.uniform(0.7, 0.97, n),
        ring_radius=rng.uniform(1.5, 3.5, n) / radius,
        ring_width=rng.uniform(0.05, 0.15, n),
        clumps=rng.uniform(0, 0.7, n),
    )


def _spiral(s: Structure, rng: np.random.Generator) -> Structure:
    n = len(s)
    return _disc(s, rng).changed(
        radius=rng.uniform(1.3, 3.5, n),
        brightness=rng.uniform(20.5, 22.8, n),
        axis_ratio=rng.uniform(0.45, 1, n),
        bulge_fraction=rng.uniform(0.15, 0.5, n),
        arms=rng.uniform(0.6, 1, n),
        arm_count=rng.choice([1, 2, 3], n, p=[0.2, 0.65, 0.15]),
        flocculence=rng.uniform(0, 0.4, n),
        ring=s.ring * (rng.random(n) < 0.3),
    )


def _merger(s: Structure, rng: np.random.Generator) -> Structure:
    n = len(s)
    return s.changed(
        kind=np.full(n, DISC),
        radius=rng.uniform(1.0, 3.0, n),
        brightness=rng.uniform(20.5, 22.8, n),
        axis_ratio=rng.uniform(0.4, 1, n),
        bulge_fraction=rng.uniform(0.2, 0.6, n),
        disturbance=rng.uniform(0.1, 0.5, n),
        tails=rng.uniform(0.15, 0.5, n),
        companion=(rng.random(n) < 0.7) * 10 ** rng.uniform(-1.0, 0.0, n),
        companion_distance=rng.uniform(1.5, 5.0, n),
    )


def _disc(s: Structure, rng: np.random.Generator) -> Structure:
    """An undisturbed disc, its bulge old and its arms and ring young."""
    n = len(s)
    redshift = rng.uniform(0.03, 0.25, n)
    colours = s.fluxes.copy()
    for part, (low, high) in enumerate(((0.0, 0.2), (0.3, 0.9), (0.9, 1.5))):
        colours[:, part] = galaxy_fluxes(rng.uniform(low, high, n), redshift)
    return _quiet(s).changed(kind=np.full(n, DISC), fluxes=colours)


def _quiet(s: Structure) -> Structure:
    """Without any feature or companion."""
    return s.featureless().changed(companion=np.zeros(len(s)))


_CHANGES: dict[str | tuple[str, ...], Callable[[Structure, np.random.Generator], Structure]] = {
    (LENS, NEIGHBOURS, EARLY_TYPE): _early_type,
    RING: _ring,
    SPIRAL: _spiral,
    MERGER: _merger,
}
