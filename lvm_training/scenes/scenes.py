"""Endless simulated stamps: batches of galaxies drawn at once on the grid of the picture, with their truth.

A batch of 96 stamps of 64 pixels takes a tenth of the time the per-galaxy simulator needs, since it is drawn with few
large tensor operations: arms, rings, bars, edge-on discs, dust, knots, tails, companions, stars, PSF and noise.
"""

from typing import NamedTuple

import numpy as np
import torch

from lvm_training.errors import StampError
from lvm_training.galaxies.spectra import EXTINCTION, nanomaggies
from lvm_training.scenes.exposure import behind_psf, draw_noise, draw_psf, noisy
from lvm_training.scenes.structure import DISC, EDGE_ON, Structure, draw_structure
from lvm_training.scenes.surroundings import Maps, column, companions, field_objects, unit_sum
from lvm_training.stamps.stampset import LEGACY_PIXEL_SCALE

ENDLESS = "endless simulated stamps"  # stands for the data's digest in the cards of models trained on them


class Scenes(NamedTuple):
    """A batch of simulated stamps.

    Attributes
    ----------
    noiseless, observed : Tensor (N, 3, S, S)
        g, r, z in nanomaggies per 0.262 arcsec pixel behind the PSF, without and with noise; row 0 at the top.
    structure : Structure
        What was drawn.
    light : Tensor (N, S, S)
        The galaxy alone in r before the PSF, without companion, unit sum.
    psf : Tensor (N, 3)
        Sigma of the PSF in g, r, z, pixels of the picture.
    noise : Tensor (N, 3)
        Standard deviation of the empty sky, in the units of `observed`.
    objects : Tensor (N, 2 + BACKGROUND, S, S)
        Noiseless r light behind the PSF of each galaxy alone, in the units of `noiseless`: the galaxy, its companion,
        and those in the background; zeros where there is none. Of shape (N, 0, S, S) unless asked for.
    """

    noiseless: torch.Tensor
    observed: torch.Tensor
    structure: Structure
    light: torch.Tensor
    psf: torch.Tensor
    noise: torch.Tensor
    objects: torch.Tensor


def draw_scenes(
    n: int,
    rng: np.random.Generator,
    *,
    size: int,
    field: float,
    structure: Structure | None = None,
    separate: bool = False,
    crowding: float = 1.0,
    depth: tuple[float, float] = (-2.0, 1.0),
) -> Scenes:
    """Draw `n` stamps on a grid of `size` pixels over `field` arcsec.

    Parameters
    ----------
    structure : Structure, optional
        The galaxies in the middle of the stamps; drawn from the whole population if not given.
    separate : bool
        Whether to give the light of each galaxy alone as well.
    crowding : float
        Stars and background galaxies over their usual number.
    depth : tuple of float
        Logarithms of the smallest and largest noise over the survey's.

    Raises
    ------
    StampError
        If the structure given is not of `n` galaxies.
    """
    pixel = field / size
    structure = draw_structure(n, rng) if structure is None else structure
    if len(structure) != n:
        raise StampError(f"The structure of {len(structure)} galaxies was given for {n} stamps.")
    steps = (torch.arange(size, dtype=torch.float32) - (size - 1) / 2) * pixel
    shift = torch.from_numpy(rng.normal(0, 0.3 * pixel, (2, n, 1, 1)).astype(np.float32))
    x = (steps[None, None, :] - shift[0]).expand(n, size, size)
    y = (steps[None, :, None] - shift[1]).expand(n, size, size)
    light, galaxy = _galaxies(structure, x, y, rng)
    drawn = nanomaggies(structure.brightness) * 2 * np.pi * structure.radius**2 * structure.axis_ratio
    flux = torch.from_numpy(drawn.astype(np.float32))[:, None, None, None]
    second = companions(structure, x, y, rng)
    bands = (galaxy + second) * flux
    surroundings, background = field_objects(n, steps, pixel, rng, crowding)
    bands += surroundings
    # fluxes per picture pixel become surface brightness per survey pixel
    scale = (LEGACY_PIXEL_SCALE / pixel) ** 2
    bands *= scale
    psf = draw_psf(n, pixel, rng)
    noiseless = behind_psf(bands, psf)
    noise = draw_noise(n, pixel, rng, depth)
    observed = noisy(noiseless, noise, rng)
    objects = torch.zeros(n, 0, size, size)
    if separate:
        alone = [galaxy[:, 1] * flux[:, 0], second[:, 1] * flux[:, 0], *background]
        objects = behind_psf(torch.stack(alone, dim=1) * scale, psf[:, 1:2].expand(n, len(alone)))
    return Scenes(noiseless, observed, structure, light, psf, noise, objects)


def _galaxies(s: Structure, x: Maps, y: Maps, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Light in r (N, S, S) of unit sum, and the bands (N, 3, S, S) per unit r flux."""
    x, y = _displaced(s, x, y, rng)
    sine, cosine = column(np.sin(s.angle)), column(np.cos(s.angle))
    along, across = x * cosine + y * sine, y * cosine - x * sine
    old = torch.zeros_like(along)
    disc, young, depth = torch.zeros_like(along), torch.zeros_like(along), torch.zeros_like(along)
    old += column(s.bulge_fraction) * unit_sum(_spheroid(s, along, across))
    for kind, draw in ((DISC, _disc), (EDGE_ON, _edge_on)):
        rows = np.flatnonzero(s.kind == kind)
        if len(rows):
            chosen = torch.from_numpy(rows)
            drawn = draw(s.rows(rows), along[chosen], across[chosen], rng)
            for target, part in zip((old, disc, young, depth), drawn, strict=True):
                target[chosen] += part
    lenticular = np.flatnonzero((s.kind < DISC) & (s.bulge_fraction < 1))
    if len(lenticular):
        chosen, some = torch.from_numpy(lenticular), s.rows(lenticular)
        radius = torch.hypot(along[chosen], across[chosen] / column(some.axis_ratio))
        disc[chosen] += column(1 - some.bulge_fraction) * unit_sum(torch.exp(-1.68 * radius / column(some.radius)))
    light = torch.stack([old, disc, young], dim=1)
    fluxes = torch.from_numpy(s.fluxes[:, :3])
    bands = torch.einsum("ncij,ncb->nbij", light, fluxes)
    reddening = torch.from_numpy((EXTINCTION / EXTINCTION[0]).astype(np.float32))[None, :, None, None]
    dimmed = bands * torch.exp(-depth[:, None] * reddening)
    # the dust counts as part of the galaxy: its r flux stays the one drawn
    scale = light.sum((1, 2, 3)) / dimmed[:, 1].sum((1, 2)).clamp(min=1e-20)
    return unit_sum(dimmed[:, 1]), dimmed * scale[:, None, None, None]


def _displaced(s: Structure, x: Maps, y: Maps, rng: np.random.Generator) -> tuple[Maps, Maps]:
    """Coordinates bent by a few smooth waves where a galaxy is disturbed."""
    rows = np.flatnonzero(s.disturbance > 0)
    if not len(rows):
        return x, y
    chosen = torch.from_numpy(rows)
    bent = [x.clone(), y.clone()]
    radius, strength = column(s.radius[rows]), column(s.disturbance[rows])
    for target in bent:
        total = torch.zeros_like(x[chosen])
        for _ in range(2):
            kx, ky, phase = (column(rng.normal(0, 0.9, len(rows))) for _ in range(3))
            total += torch.sin((kx * x[chosen] + ky * y[chosen]) / radius + 3 * phase)
        target[chosen] += strength * radius * total
    return bent[0], bent[1]


def _spheroid(s: Structure, along: Maps, across: Maps) -> Maps:
    """Sersic profiles, exp(-b (r / Re)^(1/n)) with b = 2n - 1/3, the cusp softened below the PSF."""
    composite = s.bulge_fraction < 1
    # bulges are rounder than their discs
    ratio = np.where(composite, 0.5 * (1 + s.axis_ratio), s.axis_ratio)
    radius = torch.sqrt(along**2 + (across / column(ratio)) ** 2 + (0.4 * LEGACY_PIXEL_SCALE) ** 2)
    index = column(s.sersic)
    return torch.exp(-(2 * index - 1 / 3) * (radius / column(s.radius * s.bulge_size)) ** (1 / index))


def _disc(s: Structure, x: Maps, across: Maps, rng: np.random.Generator) -> tuple[Maps, Maps, Maps, Maps]:
    """Bar, smooth disc, young light (arms, ring, knots) and optical depth of discs that are not seen edge-on."""
    y = across / column(s.axis_ratio)
    scale = column(s.radius / 1.68)
    radius, angle = torch.hypot(x, y).clamp(min=1e-3), torch.atan2(y, x)
    fading = torch.exp(-radius / scale)
    arms, lanes = _arms(s, radius, angle, rng)
    start = column(np.where(s.bar > 0, s.bar_length * s.radius, 0.35 * s.radius / 1.68))
    opening = 1 / (1 + (start / radius) ** 4)
    contrast = column(s.arms)
    shaped = fading * (1 + 1.4 * contrast * opening * (arms - 0.35)).clamp(min=0)
    young = unit_sum(torch.exp(-radius / (1.35 * scale)) * opening * arms)
    place, width = column(s.ring_radius * s.radius), column(s.ring_width * s.ring_radius * s.radius)
    ring = unit_sum(torch.exp(-0.5 * ((radius - place) / width) ** 2) * (0.6 + 0.4 * lanes.clamp(max=2)))
    young_share, ring_share, bar_share = 0.45 * contrast, column(s.ring), column(s.bar)
    gas = _with_knots(young_share * young + ring_share * ring, s, rng)
    bar = bar_share * unit_sum(_bar(s, x, y))
    rest = (1 - young_share) * (1 - ring_share) * (1 - bar_share)
    body = column(1 - s.bulge_fraction)
    tails = column(s.tails) * unit_sum(_tails(s, radius, angle, rng))
    depth = column(s.dust) * lanes * opening * torch.exp(-radius / (2.5 * scale))
    return body * bar, body * (rest * unit_sum(shaped) + tails), body * gas, depth


def _arms(s: Structure, radius: Maps, angle: Maps, rng: np.random.Generator) -> tuple[Maps, Maps]:
    """Brightness of arms and depth of dust lanes, each within [0, 1] or so.

    Logarithmic spirals, phase = m (theta - ln(R / Re) / tan(pitch)) (Kennicutt 1981), warped by slow waves, beside a
    flocculent pattern of many short arms.
    """
    n = len(s)
    winding = torch.log(radius / column(s.radius))
    turn = winding / column(np.tan(s.pitch))
    turned = angle - turn - column(rng.uniform(0, 6.28, n))
    for order in (1, 2):
        bend, pace, start = rng.normal(0, 0.25 / order, n), rng.uniform(1, 3, n), rng.uniform(0, 6.28, n)
        turned = turned + column(bend) * torch.sin(order * angle + column(pace) * winding + column(start))
    phase = column(s.arm_count) * turned
    grand = torch.exp(column(0.8 + 2.8 * s.arms) * (torch.cos(phase) - 1))
    grand = grand * (1 + column(rng.uniform(0, 0.6, n)) * torch.cos(turned - column(rng.uniform(0, 6.28, n))))
    waves = torch.zeros_like(radius)
    for count in (3, 5, 8, 12):
        pace, shear, start = rng.normal(0, 4.0, n), rng.uniform(0.7, 1.3, n), rng.uniform(0, 6.28, n)
        sheared = count * (angle - turn * column(shear)) + column(pace) * winding
        waves += torch.cos(sheared + column(start))
    patchy = torch.exp(0.6 * waves - 0.35)
    share = column(s.flocculence)
    arms = (1 - share) * grand * (0.6 + 0.4 * patchy) + share * 0.55 * patchy
    lag = column(0.7 * np.sign(s.pitch))
    return arms, torch.exp(3 * (torch.cos(phase + lag) - 1)) * patchy


def _bar(s: Structure, x: Maps, y: Maps) -> Maps:
    """Flat, boxy bars: generalised ellipses of exponent 2.6 (Athanassoula et al. 1990) with a soft edge."""
    sine, cosine = column(np.sin(s.bar_angle)), column(np.cos(s.bar_angle))
    length = column(s.bar_length * s.radius)
    along, across = (x * cosine + y * sine).abs() / length, (y * cosine - x * sine).abs() / (0.3 * length)
    shape = (along**2.6 + across**2.6 + 1e-6) ** (1 / 2.6)
    return torch.exp(-0.8 * shape) * torch.sigmoid((1 - shape) / 0.13)


def _tails(s: Structure, radius: Maps, angle: Maps, rng: np.random.Generator) -> Maps:
    """One or two open arms of stars beyond the disc."""
    n = len(s)
    pitch = np.sign(s.pitch) * np.radians(rng.uniform(35, 65, n))
    turned = angle - torch.log(radius / column(s.radius)) / column(np.tan(pitch)) - column(rng.uniform(0, 6.28, n))
    crest = torch.exp(column(rng.uniform(3, 9, n)) * (torch.cos(column(rng.integers(1, 3, n)) * turned) - 1))
    distance = radius / column(s.radius)
    return crest * torch.exp(-0.5 * ((distance - column(rng.uniform(1.5, 2.6, n))) / 0.8) ** 2)


def _with_knots(light: Maps, s: Structure, rng: np.random.Generator) -> Maps:
    """Part of the light gathered into unresolved knots where it is bright: the peaks of white noise."""
    noise = torch.from_numpy(rng.standard_normal(light.shape, dtype=np.float32))
    knots = light * (noise - 1.7).clamp(min=0) ** 2
    share = 0.5 * column(s.clumps)
    total = light.sum((1, 2), keepdim=True)
    return (1 - share) * light + share * total * unit_sum(knots)


def _edge_on(s: Structure, along: Maps, across: Maps, rng: np.random.Generator) -> tuple[Maps, Maps, Maps, Maps]:
    """Discs seen edge-on: exp(-x / h) sech^2(z / hz), a lane of dust, a warp, knots in a thin layer."""
    n = len(s)
    scale = column(s.radius / 1.68)
    height = column(s.radius / 1.68 * s.axis_ratio * 1.6)
    x = along.abs() / scale
    bend = column(np.where(rng.random(n) < 0.3, rng.normal(0, 1, n), 0))
    z = (across - bend * height * along.sign() * ((x - 1).clamp(min=0) / 2) ** 2) / height
    profile = torch.exp(-x) * torch.sigmoid((column(rng.uniform(3.3, 5.5, n)) - x) / 0.25)
    disc, thin = (unit_sum(profile / torch.cosh((k * z).clamp(-20, 20)) ** 2) for k in (1, 2))
    lane = z - column(rng.normal(0, 0.25, n))
    depth = 1.4 * column(s.dust) * torch.exp(-lane.abs() / 0.35 - x / 3)
    body, share = column(1 - s.bulge_fraction), 0.3
    young = _with_knots(share * thin, s, rng)
    return torch.zeros_like(disc), body * (1 - share) * disc, body * young, depth
