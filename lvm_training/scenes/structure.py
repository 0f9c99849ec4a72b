"""What an endless supply of simulated galaxies is drawn from: structure drawn feature by feature, almost independently.

The release's catalogue (`population.py`) is a survey in miniature, with its correlations. This population is broader on
purpose: every kind of structure meets every size, colour and inclination, so that a model which reads the truth cannot
take a short cut through what usually goes together (domain randomisation, Tobin et al. 2017, IROS).
"""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lvm_training.galaxies.spectra import galaxy_fluxes

Values = NDArray[np.float32]

SMOOTH, DISC, EDGE_ON = 0, 1, 2
KIND_SHARES = (0.35, 0.5, 0.15)


@dataclass(frozen=True)
class Structure:
    """Parameters of N galaxies, arrays (N,) unless stated. Lengths in arcsec, angles in radians.

    Attributes
    ----------
    kind : ndarray of int
        `SMOOTH`, `DISC` or `EDGE_ON`.
    radius : ndarray
        Half-light radius of the spheroid, or 1.68 scale lengths of the disc.
    brightness : ndarray
        Mean surface brightness within `radius`, AB mag per square arcsec in r.
    axis_ratio, angle : ndarray
        Minor over major axis; direction of the major axis from the picture's x towards its y.
    sersic, bulge_fraction, bulge_size : ndarray
        Sersic index and share of the light of the spheroid, its half-light radius over `radius`.
    arms, arm_count, pitch : ndarray
        Contrast of the arms (0 where there are none), their number, and their pitch angle, whose sign is the winding.
    flocculence, clumps : ndarray
        Share of patchy structure in the arms, and of young light in knots.
    ring, ring_radius, ring_width, bar, bar_length, bar_angle : ndarray
        Shares of the light in ring and bar (0 where there are none); sizes over `radius`.
    dust : ndarray
        Optical depth in g of the lanes.
    disturbance : ndarray
        Displacement of the light by smooth waves, over `radius`; 0 in three quarters.
    tails : ndarray
        Share of the light in tidal tails.
    companion, companion_distance, companion_angle : ndarray
        Flux of a second galaxy over the first's (0 where there is none), and where it lies.
    gap, ring_evenness, ansae, debris, irregular : ndarray
        What only `realistic.py` draws, 0 in `draw_structure`: depth of the dark gap inside a ring or beside a bar; how
        far a ring lacks patches; brightness of a bar's ends; light in shells and loops, and in large young clumps
        anywhere on the disc, over the galaxy's.
    fluxes : ndarray (N, 4, 3)
        g, r, z fluxes of old, disc, young and companion light per unit r flux.
    """

    kind: NDArray[np.int64]
    radius: Values
    brightness: Values
    axis_ratio: Values
    angle: Values
    sersic: Values
    bulge_fraction: Values
    bulge_size: Values
    arms: Values
    arm_count: Values
    pitch: Values
    flocculence: Values
    clumps: Values
    ring: Values
    ring_radius: Values
    ring_width: Values
    bar: Values
    bar_length: Values
    bar_angle: Values
    dust: Values
    disturbance: Values
    tails: Values
    companion: Values
    companion_distance: Values
    companion_angle: Values
    gap: Values
    ring_evenness: Values
    ansae: Values
    debris: Values
    irregular: Values
    fluxes: Values

    def __len__(self) -> int:
        return len(self.kind)

    def changed(self, **values: NDArray[Any]) -> "Structure":
        """The same galaxies with other values, each in the type it has here."""
        kept: dict[str, Any] = {name: array.astype(getattr(self, name).dtype) for name, array in values.items()}
        return replace(self, **kept)

    def featureless(self) -> "Structure":
        """Without arms, ring, bar, dust, disturbance, tails and clumps; companions stay."""
        names = ("arms", "ring", "bar", "dust", "disturbance", "tails", "clumps")
        return self.changed(**dict.fromkeys(names, np.zeros(len(self))))

    def rows(self, chosen: NDArray[np.int64]) -> "Structure":
        """Some of the galaxies."""
        return Structure(**{field.name: getattr(self, field.name)[chosen] for field in fields(self)})


def draw_structure(n: int, rng: np.random.Generator) -> Structure:
    """`n` galaxies of all kinds."""
    kind = rng.choice(3, size=n, p=KIND_SHARES)
    disc, edge_on = kind == DISC, kind == EDGE_ON
    values = {
        "radius": np.exp(rng.uniform(np.log(1.2), np.log(7.0), n)),
        "brightness": rng.uniform(19.3, 23.6, n),
        "angle": rng.uniform(0, np.pi, n),
        "axis_ratio": np.select(
            [disc, edge_on],
            # a disc of thickness 0.2 seen from anywhere but the edge: uniform in cos i
            [np.sqrt(0.96 * rng.uniform(0.3, 1, n) ** 2 + 0.04), rng.uniform(0.07, 0.28, n)],
            1 - 0.85 * rng.beta(1.1, 2.2, n),
        ),
        **_spheroid(kind, rng),
        **_disc_features(disc, rng),
        **_surroundings(n, rng),
        **dict.fromkeys(("gap", "ring_evenness", "ansae", "debris", "irregular"), np.zeros(n)),
    }
    values["dust"] = np.where(edge_on | ((values["arms"] > 0) & (rng.random(n) < 0.5)), rng.gamma(1.5, 0.5, n), 0)
    values["clumps"] = np.where(kind == SMOOTH, 0, values["clumps"])
    arrays = {name: np.asarray(value, np.float32) for name, value in values.items()}
    return Structure(kind=kind, fluxes=_colours(kind, values["bulge_fraction"], rng), **arrays)


def _spheroid(kind: NDArray[np.int64], rng: np.random.Generator) -> dict[str, NDArray[np.float64]]:
    n, smooth = len(kind), kind == SMOOTH
    lenticular = smooth & (rng.random(n) < 0.3)
    return {
        "sersic": np.where(smooth, np.exp(rng.uniform(np.log(0.7), np.log(6), n)), rng.uniform(0.8, 4, n)),
        "bulge_fraction": np.where(smooth & ~lenticular, 1.0, rng.beta(1.2, 3, n)),
        "bulge_size": np.where(smooth & ~lenticular, 1.0, np.exp(rng.uniform(np.log(0.12), np.log(0.6), n))),
    }


def _disc_features(disc: NDArray[np.bool_], rng: np.random.Generator) -> dict[str, NDArray[np.float64]]:
    """Arms in two thirds of the discs, rings and bars in a third each, whatever else they have."""
    n = len(disc)

    def some(share: float, values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(disc & (rng.random(n) < share), values, 0.0)

    return {
        "arms": some(0.67, rng.uniform(0.15, 1, n)),
        "arm_count": rng.choice([1, 2, 3, 4, 5], n, p=[0.1, 0.5, 0.18, 0.13, 0.09]).astype(float),
        "pitch": rng.choice([-1, 1], n) * np.radians(rng.uniform(8, 40, n)),
        "flocculence": rng.beta(1, 1.6, n),
        "clumps": rng.beta(1, 2, n),
        "ring": some(0.33, rng.uniform(0.06, 0.6, n)),
        "ring_radius": rng.uniform(0.5, 1.9, n),
        "ring_width": rng.uniform(0.07, 0.25, n),
        "bar": some(0.35, rng.uniform(0.06, 0.4, n)),
        "bar_length": rng.uniform(0.3, 1.0, n),
        "bar_angle": rng.uniform(0, np.pi, n),
    }


def _surroundings(n: int, rng: np.random.Generator) -> dict[str, NDArray[np.float64]]:
    """Disturbances, tails and companions, which come together more often than alone."""
    met = rng.random(n) < 0.3
    disturbed = rng.random(n) < np.where(met, 0.5, 0.15)
    return {
        "companion": np.where(met, 10 ** rng.uniform(-1.5, 0.1, n), 0),
        "companion_distance": rng.uniform(1.8, 10, n),
        "companion_angle": rng.uniform(0, 2 * np.pi, n),
        "disturbance": np.where(disturbed, rng.uniform(0.08, 0.5, n), 0),
        "tails": np.where(disturbed & (rng.random(n) < 0.5), rng.uniform(0.05, 0.4, n), 0),
    }


def _colours(kind: NDArray[np.int64], bulge_fraction: NDArray[np.float64], rng: np.random.Generator) -> Values:
    n = len(kind)
    redshift = rng.uniform(0.0, 0.3, n)
    old = np.clip(rng.normal(0.15, 0.25, n), 0, 1.2)
    # blue spheroids and red discs exist, and colour must not give the structure away
    disc = np.where(rng.random(n) < 0.25, old, np.clip(rng.normal(0.65, 0.35, n), 0, 1.3))
    late = np.where((kind == SMOOTH) & (bulge_fraction == 1), rng.uniform(0, 1.3, n), old)
    young = np.clip(disc + rng.uniform(0.1, 1.2, n), 0, 1.6)
    types = np.stack([np.where(rng.random(n) < 0.4, late, old), disc, young, rng.uniform(0, 1.3, n)], axis=1)
    return galaxy_fluxes(types, redshift[:, None]).astype(np.float32)
