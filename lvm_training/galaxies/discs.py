"""Surface brightness of structured discs, before the PSF: arms, bars, rings, knots and dust, face-on to edge-on.

Maps are square float32 arrays centred on the galaxy, pixel (i, j) at offset (j - c, i - c) with c = (side - 1) / 2;
rows run from south to north, columns from east to west.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import k1

from lvm_training.galaxies.catalogue import Galaxy
from lvm_training.galaxies.growth import edge_on_thickness
from lvm_training.galaxies.spectra import EXTINCTION
from lvm_training.stamps.stampset import LEGACY_PIXEL_SCALE

Map = NDArray[np.float32]

DISC_REACH = 6.5  # scale lengths drawn: 99 % of the light


@dataclass(frozen=True)
class DiscLight:
    """Light of a disc galaxy by component, each map of unit sum, and the dust in front of it.

    Attributes
    ----------
    bulge : ndarray (S, S) or None
        Only where dust lies across the bulge; otherwise the bulge is a plain Sersic profile, drawn apart.
    bar, disc, young : ndarray (S, S)
        Bar, smooth disc, and arms with their knots.
    ring : ndarray (S, S)
    depth : ndarray (S, S)
        Optical depth in g.
    """

    bulge: Map | None
    bar: Map
    disc: Map
    young: Map
    ring: Map
    depth: Map

    def attenuated(self, light: Map, band: int) -> Map:
        """A component behind the dust in a band, unit sum again: catalogue magnitudes count what is seen."""
        if not self.depth.any():
            return light
        return _unit(light * np.exp(-self.depth * np.float32(EXTINCTION[band] / EXTINCTION[0])))


def disc_side(galaxy: Galaxy, largest: int) -> int:
    """Even side of a map that holds the disc, pixels."""
    return min(largest, 2 * int(np.ceil(DISC_REACH * galaxy.disc_scale / LEGACY_PIXEL_SCALE)) + 4)


def axes(galaxy: Galaxy, side: int) -> tuple[Map, Map]:
    """Offsets along and across the major axis, arcsec, shape (side, side) each."""
    steps = ((np.arange(side) - (side - 1) / 2) * LEGACY_PIXEL_SCALE).astype(np.float32)
    angle = np.radians(galaxy.position_angle)
    # east of north with east to the left: the major axis points to (-sin, cos)
    sine, cosine = np.float32(np.sin(angle)), np.float32(np.cos(angle))
    x, y = steps[None, :], steps[:, None]
    return -x * sine + y * cosine, x * cosine + y * sine


def draw_disc(galaxy: Galaxy, largest: int, rng: np.random.Generator) -> DiscLight:
    """The structured disc of a galaxy; `largest` bounds the side of the maps."""
    along, across = axes(galaxy, disc_side(galaxy, largest))
    if galaxy.morphology == "edge-on disc":
        return _edge_on(galaxy, along, across, rng)
    return _face_on(galaxy, along, across / np.float32(galaxy.axis_ratio), rng)


def _unit(light: Map) -> Map:
    return light / max(float(light.sum(dtype=np.float64)), 1e-30)


def _face_on(galaxy: Galaxy, x: Map, y: Map, rng: np.random.Generator) -> DiscLight:
    """Disc plane coordinates (x, y) in arcsec, x along the line of nodes."""
    scale = galaxy.disc_scale
    # lopsided: the outer disc is off the bulge's centre
    radius = np.hypot(x, y) * (1 + np.float32(rng.normal(0, 0.05)) * np.cos(np.arctan2(y, x) - rng.uniform(0, 6.28)))
    radius = np.maximum(radius, np.float32(0.05 * scale))
    disc = np.exp(-radius / scale)
    bar = _bar(galaxy, x, y)
    ring = _ring(galaxy, radius, rng)
    if not galaxy.arm_count:
        return DiscLight(None, bar, _unit(disc), _unit(disc), ring, np.zeros_like(disc))
    arms, lanes = _arms(galaxy, radius, np.arctan2(y, x), rng)
    inner = np.float32(_arm_start(galaxy))
    opening = 1 / (1 + (inner / radius) ** 4)
    young = np.exp(-radius / (1.35 * scale)) * opening * arms
    contrast = np.float32(0.6 + 1.1 * galaxy.arm_contrast)
    disc = disc * (1 + contrast * opening * (arms - arms.mean()))
    young = _with_knots(_unit(young), galaxy, rng)
    depth = np.float32(galaxy.dust) * lanes * opening * np.exp(-radius / (2.5 * scale))
    return DiscLight(None, bar, _unit(np.maximum(disc, 0)), young, ring, depth)


def _arm_start(galaxy: Galaxy) -> float:
    return galaxy.bar_radius * 0.95 if galaxy.bar_fraction else 0.35 * galaxy.disc_scale


def _arms(galaxy: Galaxy, radius: Map, angle: Map, rng: np.random.Generator) -> tuple[Map, Map]:
    """Brightness of arms and depth of dust lanes, each within [0, 1] or so.

    Logarithmic spirals, phase = m (theta - ln(R / R0) / tan(pitch)) (Kennicutt 1981), warped by slow waves so that no
    two arms are alike, beside a flocculent pattern of many short arms.
    """
    winding = np.log(radius / np.float32(_arm_start(galaxy)))
    turn = winding / np.float32(np.tan(np.radians(galaxy.arm_pitch)))
    turned = angle - np.float32(np.radians(galaxy.bar_angle)) - turn
    if not galaxy.bar_fraction:
        turned = turned - np.float32(rng.uniform(0, 6.28))
    bend = 0.32 / np.sqrt(galaxy.arm_count)
    for order in (1, 2, 3):
        phase, pace = rng.uniform(0, 6.28), rng.uniform(1, 3)
        turned = turned + np.float32(rng.normal(0, bend / order)) * np.sin(order * angle + pace * winding + phase)
    phase_of_arms = galaxy.arm_count * turned
    sharpness = np.float32(0.8 + 2.8 * galaxy.arm_contrast)
    grand = np.exp(sharpness * (np.cos(phase_of_arms) - 1))
    # one arm outshines the others, and each fades in and out along its length
    grand *= 1 + np.float32(rng.uniform(0, 0.5)) * np.cos(turned - rng.uniform(0, 6.28))
    grand *= 1 + np.float32(0.5) * np.sin(np.float32(rng.uniform(2, 4)) * winding + angle + rng.uniform(0, 6.28))
    patchy = _flocculent(turn, winding, angle, rng)
    share = np.float32(galaxy.flocculence)
    arms = (1 - share) * grand * (np.float32(0.6) + np.float32(0.4) * patchy) + share * np.float32(0.55) * patchy
    lag = np.float32(0.7 * np.sign(galaxy.arm_pitch))
    lanes = np.exp(np.float32(3) * (np.cos(phase_of_arms + lag) - 1)) * patchy
    return arms, lanes


def _flocculent(turn: Map, winding: Map, angle: Map, rng: np.random.Generator) -> Map:
    """A log-normal patchwork of sheared waves, mean about 1."""
    waves = np.zeros_like(turn)
    for count in (3, 4, 5, 7, 9, 12):
        pace = np.float32(rng.normal(0, 4.0))
        sheared = count * (angle - turn * np.float32(rng.uniform(0.7, 1.3))) + pace * winding
        waves += np.cos(sheared + np.float32(rng.uniform(0, 6.28)))
    texture: Map = np.exp(np.float32(0.5) * waves - np.float32(0.35))
    return texture


def _bar(galaxy: Galaxy, x: Map, y: Map) -> Map:
    """A flat, boxy bar: generalised ellipses of exponent 2.6 (Athanassoula et al. 1990) with a soft edge."""
    if not galaxy.bar_fraction:
        return np.zeros_like(x)
    angle = np.radians(galaxy.bar_angle)
    sine, cosine = np.float32(np.sin(angle)), np.float32(np.cos(angle))
    length, width = np.float32(galaxy.bar_radius), np.float32(0.32 * galaxy.bar_radius)
    along, across = np.abs(x * cosine + y * sine) / length, np.abs(y * cosine - x * sine) / width
    shape = (along**2.6 + across**2.6) ** np.float32(1 / 2.6)
    return _unit(np.exp(-np.float32(0.8) * shape) / (1 + np.exp(np.minimum((shape - 1) / np.float32(0.13), 60))))


def _ring(galaxy: Galaxy, radius: Map, rng: np.random.Generator) -> Map:
    if not galaxy.ring_fraction:
        return np.zeros_like(radius)
    width = galaxy.ring_radius * rng.uniform(0.09, 0.18)
    return _unit(np.exp(-0.5 * ((radius - np.float32(galaxy.ring_radius)) / np.float32(width)) ** 2))


def _with_knots(light: Map, galaxy: Galaxy, rng: np.random.Generator) -> Map:
    """Part of the light gathered into unresolved knots that follow it, their fluxes a power law."""
    share = 0.35 * galaxy.clumpiness
    count = int(rng.poisson(8 + 60 * galaxy.clumpiness))
    if not count or share == 0:
        return light
    cumulative = np.cumsum(light.ravel(), dtype=np.float64)
    places = np.searchsorted(cumulative, rng.random(count) * cumulative[-1]).clip(0, light.size - 1)
    fluxes = np.minimum(1 + rng.pareto(1.4, count), 12)
    knots = np.bincount(places, weights=share * fluxes / fluxes.sum(), minlength=light.size)
    return _unit((1 - share) * light + knots.reshape(light.shape).astype(np.float32))


def _edge_on(galaxy: Galaxy, along: Map, across: Map, rng: np.random.Generator) -> DiscLight:
    """A disc seen edge-on: I(x, z) = (x/h) K1(x/h) sech^2(z/hz) (van der Kruit & Searle 1981)."""
    scale = np.float32(galaxy.disc_scale)
    height = np.float32(galaxy.disc_scale * galaxy.axis_ratio * edge_on_thickness())
    x = np.maximum(np.abs(along) / scale, np.float32(0.02))
    bend = np.float32(galaxy.warp) * height * np.sign(along) * (np.maximum(x - 1, 0) / 2) ** 2
    z = (across - bend) / height
    profile = x * k1(x)
    # stellar discs end at three to four scale lengths
    end = np.float32(rng.uniform(3.3, 5.5))
    profile = profile / (1 + np.exp((x - end) / np.float32(0.25)))
    disc = _unit(profile / np.cosh(np.clip(z, -20, 20)) ** 2)
    thin = _unit(profile * x / np.cosh(np.clip(2 * z, -20, 20)) ** 2)
    # a line of sight a degree or two off the plane puts the lane beside the centre
    lane = z - np.float32(rng.normal(0, 0.25))
    patches = 1 + np.float32(0.25) * np.sin(along / scale * rng.uniform(3, 7) + rng.uniform(0, 6.28))
    depth = np.float32(galaxy.dust) * patches * np.exp(-np.abs(lane) / np.float32(0.35) - x / np.float32(3))
    bulge = _bulge(galaxy, along, across)
    empty = np.zeros_like(disc)
    return DiscLight(bulge, empty, disc, _with_knots(thin, galaxy, rng), empty, depth)


def _bulge(galaxy: Galaxy, along: Map, across: Map) -> Map:
    """A Sersic bulge, its cusp softened below the PSF."""
    softening = np.float32(0.4 * LEGACY_PIXEL_SCALE)
    radius = np.sqrt(along**2 + (across / np.float32(galaxy.bulge_axis_ratio)) ** 2 + softening**2)
    b = np.float32(2 * galaxy.bulge_sersic - 1 / 3)
    return _unit(np.exp(-b * (radius / np.float32(galaxy.bulge_radius)) ** np.float32(1 / galaxy.bulge_sersic)))
