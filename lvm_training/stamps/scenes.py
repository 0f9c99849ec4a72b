"""Endless simulated stamps: batches of galaxies drawn at once on the grid of the picture, with their truth.

A batch of 96 stamps of 64 pixels takes a tenth of the time the per-galaxy simulator needs, since it is drawn with few
large tensor operations: arms, rings, bars, edge-on discs, dust, knots, tails, companions, stars, PSF and noise.
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from lvm_training.stamps.spectra import EXTINCTION, galaxy_fluxes, nanomaggies, stellar_fluxes
from lvm_training.stamps.stampset import LEGACY_PIXEL_SCALE
from lvm_training.stamps.structure import DISC, EDGE_ON, Structure, draw_structure
from lvm_training.stamps.survey import (
    NOISE_SIGMA,
    NOISE_SIGMA_LIMITS,
    PSF_SIGMA,
    PSF_SIGMA_LIMITS,
    SKY_BRIGHTNESS,
    draw_bands,
)

Maps = torch.Tensor

ENDLESS = "endless simulated stamps"  # stands for the data's digest in the cards of models trained on them
STARS = 5
BACKGROUND = 3
NARROWEST_PSF = 0.7  # pixels; what is narrower rings on the picture's grid
_SKY = 10 ** (0.4 * (22.5 - np.array(SKY_BRIGHTNESS, dtype=np.float32))) * LEGACY_PIXEL_SCALE**2


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
    """

    noiseless: torch.Tensor
    observed: torch.Tensor
    structure: Structure
    light: torch.Tensor


def draw_scenes(n: int, rng: np.random.Generator, *, size: int, field: float) -> Scenes:
    """Draw `n` stamps on a grid of `size` pixels over `field` arcsec."""
    pixel = field / size
    structure = draw_structure(n, rng)
    steps = (torch.arange(size, dtype=torch.float32) - (size - 1) / 2) * pixel
    shift = torch.from_numpy(rng.normal(0, 0.3 * pixel, (2, n, 1, 1)).astype(np.float32))
    x = (steps[None, None, :] - shift[0]).expand(n, size, size)
    y = (steps[None, :, None] - shift[1]).expand(n, size, size)
    light, galaxy = _galaxies(structure, x, y, rng)
    flux = nanomaggies(structure.brightness) * 2 * np.pi * structure.radius**2 * structure.axis_ratio
    bands = galaxy + _companions(structure, x, y, rng)
    bands = bands * torch.from_numpy(flux.astype(np.float32))[:, None, None, None]
    bands += _field(n, steps, pixel, rng)
    # fluxes per picture pixel become surface brightness per survey pixel
    bands *= (LEGACY_PIXEL_SCALE / pixel) ** 2
    wider = np.exp(rng.normal(0, 0.25, (n, 1)))
    sigma = wider * draw_bands(rng, PSF_SIGMA, PSF_SIGMA_LIMITS, n) * LEGACY_PIXEL_SCALE / pixel
    noiseless = _behind_psf(bands, torch.from_numpy(sigma.clip(NARROWEST_PSF).astype(np.float32)))
    return Scenes(noiseless, _noisy(noiseless, pixel, rng), structure, light)


def _column(values: NDArray[np.floating] | NDArray[np.integer]) -> torch.Tensor:
    """(N,) to (N, 1, 1), to be broadcast over maps."""
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))[:, None, None]


def _unit(light: Maps) -> Maps:
    return light / light.sum((1, 2), keepdim=True).clamp(min=1e-20)


def _galaxies(s: Structure, x: Maps, y: Maps, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Light in r (N, S, S) of unit sum, and the bands (N, 3, S, S) per unit r flux."""
    x, y = _displaced(s, x, y, rng)
    sine, cosine = _column(np.sin(s.angle)), _column(np.cos(s.angle))
    along, across = x * cosine + y * sine, y * cosine - x * sine
    old = torch.zeros_like(along)
    disc, young, depth = torch.zeros_like(along), torch.zeros_like(along), torch.zeros_like(along)
    old += _column(s.bulge_fraction) * _unit(_spheroid(s, along, across))
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
        radius = torch.hypot(along[chosen], across[chosen] / _column(some.axis_ratio))
        disc[chosen] += _column(1 - some.bulge_fraction) * _unit(torch.exp(-1.68 * radius / _column(some.radius)))
    light = torch.stack([old, disc, young], dim=1)
    fluxes = torch.from_numpy(s.fluxes[:, :3])
    bands = torch.einsum("ncij,ncb->nbij", light, fluxes)
    reddening = torch.from_numpy((EXTINCTION / EXTINCTION[0]).astype(np.float32))[None, :, None, None]
    dimmed = bands * torch.exp(-depth[:, None] * reddening)
    # the dust counts as part of the galaxy: its r flux stays the one drawn
    scale = light.sum((1, 2, 3)) / dimmed[:, 1].sum((1, 2)).clamp(min=1e-20)
    return _unit(dimmed[:, 1]), dimmed * scale[:, None, None, None]


def _displaced(s: Structure, x: Maps, y: Maps, rng: np.random.Generator) -> tuple[Maps, Maps]:
    """Coordinates bent by a few smooth waves where a galaxy is disturbed."""
    rows = np.flatnonzero(s.disturbance > 0)
    if not len(rows):
        return x, y
    chosen = torch.from_numpy(rows)
    bent = [x.clone(), y.clone()]
    radius, strength = _column(s.radius[rows]), _column(s.disturbance[rows])
    for target in bent:
        total = torch.zeros_like(x[chosen])
        for _ in range(2):
            kx, ky, phase = (_column(rng.normal(0, 0.9, len(rows))) for _ in range(3))
            total += torch.sin((kx * x[chosen] + ky * y[chosen]) / radius + 3 * phase)
        target[chosen] += strength * radius * total
    return bent[0], bent[1]


def _spheroid(s: Structure, along: Maps, across: Maps) -> Maps:
    """Sersic profiles, exp(-b (r / Re)^(1/n)) with b = 2n - 1/3, the cusp softened below the PSF."""
    composite = s.bulge_fraction < 1
    # bulges are rounder than their discs
    ratio = np.where(composite, 0.5 * (1 + s.axis_ratio), s.axis_ratio)
    radius = torch.sqrt(along**2 + (across / _column(ratio)) ** 2 + (0.4 * LEGACY_PIXEL_SCALE) ** 2)
    index = _column(s.sersic)
    return torch.exp(-(2 * index - 1 / 3) * (radius / _column(s.radius * s.bulge_size)) ** (1 / index))


def _disc(s: Structure, x: Maps, across: Maps, rng: np.random.Generator) -> tuple[Maps, Maps, Maps, Maps]:
    """Bar, smooth disc, young light (arms, ring, knots) and optical depth of discs that are not seen edge-on."""
    y = across / _column(s.axis_ratio)
    scale = _column(s.radius / 1.68)
    radius, angle = torch.hypot(x, y).clamp(min=1e-3), torch.atan2(y, x)
    fading = torch.exp(-radius / scale)
    arms, lanes = _arms(s, radius, angle, rng)
    start = _column(np.where(s.bar > 0, s.bar_length * s.radius, 0.35 * s.radius / 1.68))
    opening = 1 / (1 + (start / radius) ** 4)
    contrast = _column(s.arms)
    shaped = fading * (1 + 1.4 * contrast * opening * (arms - 0.35)).clamp(min=0)
    young = _unit(torch.exp(-radius / (1.35 * scale)) * opening * arms)
    place, width = _column(s.ring_radius * s.radius), _column(s.ring_width * s.ring_radius * s.radius)
    ring = _unit(torch.exp(-0.5 * ((radius - place) / width) ** 2) * (0.6 + 0.4 * lanes.clamp(max=2)))
    young_share, ring_share, bar_share = 0.45 * contrast, _column(s.ring), _column(s.bar)
    gas = _with_knots(young_share * young + ring_share * ring, s, rng)
    bar = bar_share * _unit(_bar(s, x, y))
    rest = (1 - young_share) * (1 - ring_share) * (1 - bar_share)
    body = _column(1 - s.bulge_fraction)
    tails = _column(s.tails) * _unit(_tails(s, radius, angle, rng))
    depth = _column(s.dust) * lanes * opening * torch.exp(-radius / (2.5 * scale))
    return body * bar, body * (rest * _unit(shaped) + tails), body * gas, depth


def _arms(s: Structure, radius: Maps, angle: Maps, rng: np.random.Generator) -> tuple[Maps, Maps]:
    """Brightness of arms and depth of dust lanes, each within [0, 1] or so.

    Logarithmic spirals, phase = m (theta - ln(R / Re) / tan(pitch)) (Kennicutt 1981), warped by slow waves, beside a
    flocculent pattern of many short arms.
    """
    n = len(s)
    winding = torch.log(radius / _column(s.radius))
    turn = winding / _column(np.tan(s.pitch))
    turned = angle - turn - _column(rng.uniform(0, 6.28, n))
    for order in (1, 2):
        bend, pace, start = rng.normal(0, 0.25 / order, n), rng.uniform(1, 3, n), rng.uniform(0, 6.28, n)
        turned = turned + _column(bend) * torch.sin(order * angle + _column(pace) * winding + _column(start))
    phase = _column(s.arm_count) * turned
    grand = torch.exp(_column(0.8 + 2.8 * s.arms) * (torch.cos(phase) - 1))
    grand = grand * (1 + _column(rng.uniform(0, 0.6, n)) * torch.cos(turned - _column(rng.uniform(0, 6.28, n))))
    waves = torch.zeros_like(radius)
    for count in (3, 5, 8, 12):
        pace, shear, start = rng.normal(0, 4.0, n), rng.uniform(0.7, 1.3, n), rng.uniform(0, 6.28, n)
        sheared = count * (angle - turn * _column(shear)) + _column(pace) * winding
        waves += torch.cos(sheared + _column(start))
    patchy = torch.exp(0.6 * waves - 0.35)
    share = _column(s.flocculence)
    arms = (1 - share) * grand * (0.6 + 0.4 * patchy) + share * 0.55 * patchy
    lag = _column(0.7 * np.sign(s.pitch))
    return arms, torch.exp(3 * (torch.cos(phase + lag) - 1)) * patchy


def _bar(s: Structure, x: Maps, y: Maps) -> Maps:
    """Flat, boxy bars: generalised ellipses of exponent 2.6 (Athanassoula et al. 1990) with a soft edge."""
    sine, cosine = _column(np.sin(s.bar_angle)), _column(np.cos(s.bar_angle))
    length = _column(s.bar_length * s.radius)
    along, across = (x * cosine + y * sine).abs() / length, (y * cosine - x * sine).abs() / (0.3 * length)
    shape = (along**2.6 + across**2.6 + 1e-6) ** (1 / 2.6)
    return torch.exp(-0.8 * shape) * torch.sigmoid((1 - shape) / 0.13)


def _tails(s: Structure, radius: Maps, angle: Maps, rng: np.random.Generator) -> Maps:
    """One or two open arms of stars beyond the disc."""
    n = len(s)
    pitch = np.sign(s.pitch) * np.radians(rng.uniform(35, 65, n))
    turned = angle - torch.log(radius / _column(s.radius)) / _column(np.tan(pitch)) - _column(rng.uniform(0, 6.28, n))
    crest = torch.exp(_column(rng.uniform(3, 9, n)) * (torch.cos(_column(rng.integers(1, 3, n)) * turned) - 1))
    distance = radius / _column(s.radius)
    return crest * torch.exp(-0.5 * ((distance - _column(rng.uniform(1.5, 2.6, n))) / 0.8) ** 2)


def _with_knots(light: Maps, s: Structure, rng: np.random.Generator) -> Maps:
    """Part of the light gathered into unresolved knots where it is bright: the peaks of white noise."""
    noise = torch.from_numpy(rng.standard_normal(light.shape, dtype=np.float32))
    knots = light * (noise - 1.7).clamp(min=0) ** 2
    share = 0.5 * _column(s.clumps)
    total = light.sum((1, 2), keepdim=True)
    return (1 - share) * light + share * total * _unit(knots)


def _edge_on(s: Structure, along: Maps, across: Maps, rng: np.random.Generator) -> tuple[Maps, Maps, Maps, Maps]:
    """Discs seen edge-on: exp(-x / h) sech^2(z / hz), a lane of dust, a warp, knots in a thin layer."""
    n = len(s)
    scale = _column(s.radius / 1.68)
    height = _column(s.radius / 1.68 * s.axis_ratio * 1.6)
    x = along.abs() / scale
    bend = _column(np.where(rng.random(n) < 0.3, rng.normal(0, 1, n), 0))
    z = (across - bend * height * along.sign() * ((x - 1).clamp(min=0) / 2) ** 2) / height
    profile = torch.exp(-x) * torch.sigmoid((_column(rng.uniform(3.3, 5.5, n)) - x) / 0.25)
    disc, thin = (_unit(profile / torch.cosh((k * z).clamp(-20, 20)) ** 2) for k in (1, 2))
    lane = z - _column(rng.normal(0, 0.25, n))
    depth = 1.4 * _column(s.dust) * torch.exp(-lane.abs() / 0.35 - x / 3)
    body, share = _column(1 - s.bulge_fraction), 0.3
    young = _with_knots(share * thin, s, rng)
    return torch.zeros_like(disc), body * (1 - share) * disc, body * young, depth


def _companions(s: Structure, x: Maps, y: Maps, rng: np.random.Generator) -> torch.Tensor:
    """Second galaxies, (N, 3, S, S) per unit r flux of the first."""
    n, size = len(s), x.shape[-1]
    bands = torch.zeros(n, 3, size, size)
    rows = np.flatnonzero(s.companion > 0)
    if not len(rows):
        return bands
    chosen, some = torch.from_numpy(rows), s.rows(rows)
    x = x[chosen] - _column(some.companion_distance * np.cos(some.companion_angle))
    y = y[chosen] - _column(some.companion_distance * np.sin(some.companion_angle))
    profile = _ellipses(x, y, some.radius * np.sqrt(some.companion) * rng.uniform(0.5, 1.2, len(rows)), rng)
    fluxes = torch.from_numpy(some.fluxes[:, 3] * some.companion[:, None])
    bands[chosen] = profile[:, None] * fluxes[:, :, None, None]
    return bands


def _ellipses(x: Maps, y: Maps, radius: NDArray[np.floating], rng: np.random.Generator) -> Maps:
    """Sersic profiles of unit sum, any axis ratio and direction, indices between 1 and 3."""
    n = len(x)
    angle, ratio, index = rng.uniform(0, np.pi, n), rng.uniform(0.25, 1, n), _column(rng.uniform(1, 3, n))
    sine, cosine = _column(np.sin(angle)), _column(np.cos(angle))
    distance = torch.hypot(x * cosine + y * sine, (y * cosine - x * sine) / _column(ratio))
    return _unit(torch.exp(-(2 * index - 1 / 3) * ((distance + 0.1) / _column(radius)) ** (1 / index)))


def _field(n: int, steps: torch.Tensor, pixel: float, rng: np.random.Generator) -> torch.Tensor:
    """Foreground stars and small background galaxies, (N, 3, S, S) in nanomaggies per picture pixel."""
    size = len(steps)
    bands = torch.zeros(n, 3, size * size)
    present = rng.random((n, STARS)) < 0.25
    column, row = (rng.uniform(0, size - 1, (n, STARS)) for _ in range(2))
    away = np.hypot(column - size / 2, row - size / 2) * pixel > 1.5
    mags = np.maximum(22.5 + np.log10(rng.random((n, STARS))) / 0.2, 14.5)
    flux = (nanomaggies(mags) * (present & away))[..., None] * stellar_fluxes(rng.beta(1.6, 1.1, (n, STARS)))
    left, top = column.astype(int), row.astype(int)
    for down in (0, 1):
        for right in (0, 1):
            share = np.abs(1 - down - (row - top)) * np.abs(1 - right - (column - left))
            places = torch.from_numpy((top + down) * size + left + right)
            values = torch.from_numpy((flux * share[..., None]).astype(np.float32)).transpose(1, 2)
            bands.scatter_add_(2, places[:, None].expand(-1, 3, -1), values)
    bands = bands.reshape(n, 3, size, size)
    for _ in range(BACKGROUND):
        rows = np.flatnonzero(rng.random(n) < 0.4)
        if len(rows):
            bands[torch.from_numpy(rows)] += _background(len(rows), steps, rng)
    return bands


def _background(n: int, steps: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    edge = float(steps[-1])
    x = (steps[None, None, :] - _column(rng.uniform(-edge, edge, n))).expand(n, len(steps), len(steps))
    y = (steps[None, :, None] - _column(rng.uniform(-edge, edge, n))).expand(n, len(steps), len(steps))
    mags = np.maximum(23.4 + np.log10(rng.random(n)) / 0.36, 18)
    profile = _ellipses(x, y, 0.5 * 10 ** (0.13 * (23 - mags)), rng)
    types = rng.uniform(0, 1.3, n)
    fluxes = nanomaggies(mags)[:, None] * galaxy_fluxes(types, rng.uniform(0.05, 0.7, n))
    return profile[:, None] * torch.from_numpy(fluxes.astype(np.float32))[:, :, None, None]


def _behind_psf(bands: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """Bands behind a PSF of `sigma` (N, 3) pixels: two Gaussians, a fifth of the light in one twice as wide.

    The bands are padded by their edge, so that no light comes in from the other side.
    """
    size, pad = bands.shape[-1], bands.shape[-1] // 8
    padded = F.pad(bands, (pad, pad, pad, pad), mode="replicate")
    side = size + 2 * pad
    squares = torch.fft.fftfreq(side)[:, None] ** 2 + torch.fft.rfftfreq(side)[None, :] ** 2
    core = torch.exp(-2 * np.pi**2 * sigma[:, :, None, None] ** 2 * squares)
    transfer = 0.8 * core + 0.2 * core**4
    seen: torch.Tensor = torch.fft.irfft2(torch.fft.rfft2(padded) * transfer, s=(side, side))
    return seen[:, :, pad : pad + size, pad : pad + size].clamp(min=0)


def _noisy(noiseless: torch.Tensor, pixel: float, rng: np.random.Generator) -> torch.Tensor:
    """Sky and photon noise: variance = noise^2 (1 + image / sky), noise the survey's times a factor of up to three."""
    n = len(noiseless)
    deeper = np.exp(rng.uniform(-2.0, 1.0, (n, 1)))
    sigma = deeper * draw_bands(rng, NOISE_SIGMA, NOISE_SIGMA_LIMITS, n) * LEGACY_PIXEL_SCALE / pixel
    sky = torch.from_numpy(_SKY)[None, :, None, None]
    spread = torch.from_numpy(sigma.astype(np.float32))[:, :, None, None] * torch.sqrt(1 + noiseless / sky)
    grain = torch.from_numpy(rng.standard_normal(noiseless.shape, dtype=np.float32))
    return noiseless + spread * grain
