"""Light of the galaxies in the middle of endless simulated stamps: spheroids, discs with all their features, dust."""

from typing import NamedTuple

import numpy as np
import torch

from lvm_training.galaxies.spectra import EXTINCTION
from lvm_training.observation.maps import Maps, column, columns, on_device, standard_normal, unit_sum
from lvm_training.scenes.structure import DISC, EDGE_ON, Structure
from lvm_training.stamps.stampset import LEGACY_PIXEL_SCALE

# what the light of a galaxy is made of, pixel by pixel
GALAXY_PARTS = ("bulge", "disc", "arms", "ring", "bar", "clumps", "tails")


class Galaxies(NamedTuple):
    """Galaxies alone: r light (N, S, S) of unit sum, bands (N, 3, S, S) per unit r flux, and the parts of their r band.

    `parts` (N, GALAXY_PARTS, S, S) sum to the r band; of shape (N, 0, S, S) unless asked for.
    """

    light: Maps
    bands: torch.Tensor
    parts: torch.Tensor


class _Disc(NamedTuple):
    """Light of a disc (N, S, S) by its colour, the optical depth of its dust in g, and its parts after the bulge."""

    bar: Maps
    disc: Maps
    young: Maps
    depth: Maps
    parts: torch.Tensor


def galaxies(s: Structure, x: Maps, y: Maps, rng: np.random.Generator, *, dense: bool = False) -> Galaxies:
    """Galaxies on coordinates `x`, `y` (arcsec from the middle); with `dense`, their parts as well."""
    device = x.device
    x, y = _displaced(s, x, y, rng)
    sine, cosine = column(np.sin(s.angle), device), column(np.cos(s.angle), device)
    along, across = x * cosine + y * sine, y * cosine - x * sine
    old = torch.zeros_like(along)
    disc, young, depth = torch.zeros_like(along), torch.zeros_like(along), torch.zeros_like(along)
    old += column(s.bulge_fraction, device) * unit_sum(_spheroid(s, along, across))
    parts = torch.zeros(len(s), len(GALAXY_PARTS) if dense else 0, *x.shape[1:], device=device)
    parts[:, :1] = old[:, None]
    for kind, draw in ((DISC, _disc), (EDGE_ON, _edge_on)):
        rows = np.flatnonzero(s.kind == kind)
        if len(rows):
            chosen = on_device(rows, device)
            drawn = draw(s.rows(rows), along[chosen], across[chosen], rng, dense)
            for target, part in zip((old, disc, young, depth), drawn[:4], strict=True):
                target[chosen] += part
            parts[chosen, 1:] += drawn.parts
    lenticular = np.flatnonzero((s.kind < DISC) & (s.bulge_fraction < 1))
    if len(lenticular):
        chosen, some = on_device(lenticular, device), s.rows(lenticular)
        ratio, size, share = columns(device, some.axis_ratio, some.radius, 1 - some.bulge_fraction)
        radius = torch.hypot(along[chosen], across[chosen] / ratio)
        smooth = share * unit_sum(torch.exp(-1.68 * radius / size))
        disc[chosen] += smooth
        parts[chosen, 1:2] += smooth[:, None]
    _add_strewn(s, along, across, rng, disc, young, parts)
    light = torch.stack([old, disc, young], dim=1)
    fluxes = on_device(s.fluxes[:, :3], device)
    bands = torch.einsum("ncij,ncb->nbij", light, fluxes)
    reddening = on_device((EXTINCTION / EXTINCTION[0]).astype(np.float32), device)[None, :, None, None]
    dimmed = bands * torch.exp(-depth[:, None] * reddening)
    # the dust counts as part of the galaxy: its r flux stays the one drawn
    scale = light.sum((1, 2, 3)) / dimmed[:, 1].sum((1, 2)).clamp(min=1e-20)
    if dense:
        # a colour has its fluxes per unit r flux, so that the parts add up whatever colours they have
        parts = parts * torch.exp(-depth[:, None] * reddening[:, 1:2]) * scale[:, None, None, None]
    return Galaxies(unit_sum(dimmed[:, 1]), dimmed * scale[:, None, None, None], parts)


def _displaced(s: Structure, x: Maps, y: Maps, rng: np.random.Generator) -> tuple[Maps, Maps]:
    """Coordinates bent by a few smooth waves where a galaxy is disturbed."""
    rows, device = np.flatnonzero(s.disturbance > 0), x.device
    if not len(rows):
        return x, y
    chosen = on_device(rows, device)
    bent = [x.clone(), y.clone()]
    radius, strength = column(s.radius[rows], device), column(s.disturbance[rows], device)
    for target in bent:
        total = torch.zeros_like(x[chosen])
        for _ in range(2):
            kx, ky, phase = (column(rng.normal(0, 0.9, len(rows)), device) for _ in range(3))
            total += torch.sin((kx * x[chosen] + ky * y[chosen]) / radius + 3 * phase)
        target[chosen] += strength * radius * total
    return bent[0], bent[1]


def _spheroid(s: Structure, along: Maps, across: Maps) -> Maps:
    """Sersic profiles, exp(-b (r / Re)^(1/n)) with b = 2n - 1/3, the cusp softened below the PSF."""
    device, composite = along.device, s.bulge_fraction < 1
    # bulges are rounder than their discs
    ratio = np.where(composite, 0.5 * (1 + s.axis_ratio), s.axis_ratio)
    radius = torch.sqrt(along**2 + (across / column(ratio, device)) ** 2 + (0.4 * LEGACY_PIXEL_SCALE) ** 2)
    index = column(s.sersic, device)
    return torch.exp(-(2 * index - 1 / 3) * (radius / column(s.radius * s.bulge_size, device)) ** (1 / index))


def _disc(s: Structure, x: Maps, across: Maps, rng: np.random.Generator, dense: bool) -> _Disc:
    """Bar, smooth disc, young light (arms, ring, knots) and optical depth of discs that are not seen edge-on."""
    device = x.device
    y = across / column(s.axis_ratio, device)
    scale = column(s.radius / 1.68, device)
    radius, angle = torch.hypot(x, y).clamp(min=1e-3), torch.atan2(y, x)
    fading = torch.exp(-radius / scale)
    arms, lanes = _arms(s, radius, angle, rng)
    start = column(np.where(s.bar > 0, s.bar_length * s.radius, 0.35 * s.radius / 1.68), device)
    opening = 1 / (1 + (start / radius) ** 4)
    contrast = column(s.arms, device)
    shaped = fading * (1 + 1.4 * contrast * opening * (arms - 0.35)).clamp(min=0)
    if (s.gap > 0).any():
        shaped = shaped * _gaps(s, radius)
    young = unit_sum(torch.exp(-radius / (1.35 * scale)) * opening * arms)
    place, width = column(s.ring_radius * s.radius, device), column(s.ring_width * s.ring_radius * s.radius, device)
    patches = 0.6 + 0.4 * lanes.clamp(max=2)
    patches = patches + column(s.ring_evenness, device) * (1 - patches)
    ring = unit_sum(torch.exp(-0.5 * ((radius - place) / width) ** 2) * patches)
    young_share, ring_share, bar_share = 0.45 * contrast, column(s.ring, device), column(s.bar, device)
    smooth, knots = _with_knots(young_share * young + ring_share * ring, s, rng)
    gas = smooth + knots
    bar = bar_share * unit_sum(_bar(s, x, y))
    rest = (1 - young_share) * (1 - ring_share) * (1 - bar_share)
    body = column(1 - s.bulge_fraction, device)
    tails = column(s.tails, device) * unit_sum(_tails(s, radius, angle, rng))
    depth = column(s.dust, device) * lanes * opening * torch.exp(-radius / (2.5 * scale))
    stars = rest * unit_sum(shaped)
    parts = torch.zeros(len(s), 0, *x.shape[1:], device=device)
    if dense:
        # arms are what the disc has more than without them, and young light
        crests = rest * (shaped - fading).clamp(min=0) / shaped.sum((1, 2), keepdim=True).clamp(min=1e-20)
        spread = 1 - 0.5 * column(s.clumps, device)
        arms_light, ring_light = crests + spread * young_share * young, spread * ring_share * ring
        shown = ((stars - crests).clamp(min=0), arms_light, ring_light, bar, knots, tails)
        parts = body[:, None] * torch.stack(shown, dim=1)
    return _Disc(body * bar, body * (stars + tails), body * gas, depth, parts)


def _arms(s: Structure, radius: Maps, angle: Maps, rng: np.random.Generator) -> tuple[Maps, Maps]:
    """Brightness of arms and depth of dust lanes, each within [0, 1] or so.

    Logarithmic spirals, phase = m (theta - ln(R / Re) / tan(pitch)) (Kennicutt 1981), warped by slow waves, beside a
    flocculent pattern of many short arms.
    """
    n, device = len(s), radius.device
    winding = torch.log(radius / column(s.radius, device))
    turn = winding / column(np.tan(s.pitch), device)
    turned = angle - turn - column(rng.uniform(0, 6.28, n), device)
    for order in (1, 2):
        waving = rng.normal(0, 0.25 / order, n), rng.uniform(1, 3, n), rng.uniform(0, 6.28, n)
        bend, pace, start = columns(device, *waving)
        turned = turned + bend * torch.sin(order * angle + pace * winding + start)
    phase = column(s.arm_count, device) * turned
    grand = torch.exp(column(0.8 + 2.8 * s.arms, device) * (torch.cos(phase) - 1))
    lopsided, heavy_side = columns(device, rng.uniform(0, 0.6, n), rng.uniform(0, 6.28, n))
    grand = grand * (1 + lopsided * torch.cos(turned - heavy_side))
    waves = torch.zeros_like(radius)
    for count in (3, 5, 8, 12):
        shearing = rng.normal(0, 4.0, n), rng.uniform(0.7, 1.3, n), rng.uniform(0, 6.28, n)
        speed, shear, phase_there = columns(device, *shearing)
        waves += torch.cos(count * (angle - turn * shear) + speed * winding + phase_there)
    patchy = torch.exp(0.6 * waves - 0.35)
    share = column(s.flocculence, device)
    arms = (1 - share) * grand * (0.6 + 0.4 * patchy) + share * 0.55 * patchy
    lag = column(0.7 * np.sign(s.pitch), device)
    return arms, torch.exp(3 * (torch.cos(phase + lag) - 1)) * patchy


def _bar(s: Structure, x: Maps, y: Maps) -> Maps:
    """Flat, boxy bars: generalised ellipses of exponent 2.6 (Athanassoula et al. 1990) with a soft edge."""
    device = x.device
    sine, cosine = column(np.sin(s.bar_angle), device), column(np.cos(s.bar_angle), device)
    length = column(s.bar_length * s.radius, device)
    along, across = (x * cosine + y * sine).abs() / length, (y * cosine - x * sine).abs() / (0.3 * length)
    shape = (along**2.6 + across**2.6 + 1e-6) ** (1 / 2.6)
    bar = torch.exp(-0.8 * shape) * torch.sigmoid((1 - shape) / 0.13)
    if not (s.ansae > 0).any():
        return bar
    return bar + 0.5 * column(s.ansae, device) * torch.exp(-(((along - 0.88) / 0.12) ** 2) - (across / 0.6) ** 2)


def _gaps(s: Structure, radius: Maps) -> Maps:
    """What is left of the disc where a ring, or else a bar, has swept it: a zone halfway out to it."""
    reach = np.where(s.ring > 0, s.ring_radius, s.bar_length) * s.radius
    place, width, depth = columns(radius.device, 0.62 * reach, 0.24 * reach, s.gap)
    return 1 - depth * torch.exp(-0.5 * ((radius - place) / width) ** 2)


def _add_strewn(
    s: Structure, x: Maps, across: Maps, rng: np.random.Generator, disc: Maps, young: Maps, parts: torch.Tensor
) -> None:
    """Debris of mergers and large clumps of irregulars, in place."""
    for name, values, draw, target in (
        ("tails", s.debris, _debris, disc),
        ("clumps", s.irregular, _blobs, young),
    ):
        rows, place = np.flatnonzero(values > 0), GALAXY_PARTS.index(name)
        if len(rows):
            chosen = on_device(rows, x.device)
            light = column(values[rows], x.device) * draw(s.rows(rows), x[chosen], across[chosen], rng)
            target[chosen] += light
            parts[chosen, place : place + 1] += light[:, None]


def _debris(s: Structure, x: Maps, y: Maps, rng: np.random.Generator) -> Maps:
    """Shells and loops of unit sum: arcs about places off the centre, in a halo that leans to one side."""
    n, device = len(s), x.device
    size, lean, side = columns(device, s.radius, rng.uniform(0.2, 0.9, n), rng.uniform(0, 6.28, n))
    radius, angle = torch.hypot(x, y) / size, torch.atan2(y, x)
    light = 0.5 * torch.exp(-radius / 1.3) * (1 + lean * torch.cos(angle - side))
    for _ in range(3):
        places = rng.normal(0, 0.7, n), rng.normal(0, 0.7, n), rng.uniform(0.9, 3, n), rng.uniform(0.08, 0.3, n)
        right, down, reach, width, towards, length = columns(
            device, *places, rng.uniform(0, 6.28, n), rng.uniform(0.7, 6, n)
        )
        u, v = x / size - right, y / size - down
        arc = torch.exp(-0.5 * ((torch.hypot(u, v) - reach) / width) ** 2)
        light = light + arc * torch.exp(length * (torch.cos(torch.atan2(v, u) - towards) - 1)) / reach
    return unit_sum(light)


def _blobs(s: Structure, x: Maps, across: Maps, rng: np.random.Generator) -> Maps:
    """Half a dozen clumps of all sizes and brightnesses, of unit sum."""
    n, device = len(s), x.device
    size, ratio = columns(device, s.radius, s.axis_ratio)
    u, v = x / size, across / ratio / size
    light = torch.zeros_like(x)
    for _ in range(6):
        places = rng.normal(0, 0.7, n), rng.normal(0, 0.7, n), rng.uniform(0.06, 0.35, n), rng.exponential(1, n)
        right, down, width, flux = columns(device, *places)
        light = light + flux / width * torch.exp(-0.5 * ((u - right) ** 2 + (v - down) ** 2) / width**2)
    return unit_sum(light)


def _tails(s: Structure, radius: Maps, angle: Maps, rng: np.random.Generator) -> Maps:
    """One or two open arms of stars beyond the disc."""
    n, device = len(s), radius.device
    pitch = np.sign(s.pitch) * np.radians(rng.uniform(35, 65, n))
    drawn = rng.uniform(0, 6.28, n), rng.uniform(3, 9, n), rng.integers(1, 3, n), rng.uniform(1.5, 2.6, n)
    size, slope, start, narrowness, count, reach = columns(device, s.radius, np.tan(pitch), *drawn)
    distance = radius / size
    turned = angle - torch.log(distance) / slope - start
    crest = torch.exp(narrowness * (torch.cos(count * turned) - 1))
    return crest * torch.exp(-0.5 * ((distance - reach) / 0.8) ** 2)


def _with_knots(light: Maps, s: Structure, rng: np.random.Generator) -> tuple[Maps, Maps]:
    """Light without, and in, the unresolved knots it gathers into where it is bright: the peaks of white noise."""
    device = light.device
    noise = standard_normal(light.shape, rng, device)
    knots = light * (noise - 1.7).clamp(min=0) ** 2
    share = 0.5 * column(s.clumps, device)
    total = light.sum((1, 2), keepdim=True)
    return (1 - share) * light, share * total * unit_sum(knots)


def _edge_on(s: Structure, along: Maps, across: Maps, rng: np.random.Generator, dense: bool) -> _Disc:
    """_Discs seen edge-on: exp(-x / h) sech^2(z / hz), a lane of dust, a warp, knots in a thin layer."""
    n, device = len(s), along.device
    scale = column(s.radius / 1.68, device)
    height = column(s.radius / 1.68 * s.axis_ratio * 1.6, device)
    x = along.abs() / scale
    bend = column(np.where(rng.random(n) < 0.3, rng.normal(0, 1, n), 0), device)
    z = (across - bend * height * along.sign() * ((x - 1).clamp(min=0) / 2) ** 2) / height
    profile = torch.exp(-x) * torch.sigmoid((column(rng.uniform(3.3, 5.5, n), device) - x) / 0.25)
    disc, thin = (unit_sum(profile / torch.cosh((k * z).clamp(-20, 20)) ** 2) for k in (1, 2))
    lane = z - column(rng.normal(0, 0.25, n), device)
    depth = 1.4 * column(s.dust, device) * torch.exp(-lane.abs() / 0.35 - x / 3)
    body, share = column(1 - s.bulge_fraction, device), 0.3
    smooth, knots = _with_knots(share * thin, s, rng)
    none, stars = torch.zeros_like(disc), body * (1 - share) * disc
    parts = torch.zeros(n, 0, *along.shape[1:], device=device)
    if dense:
        parts = torch.stack([stars + body * smooth, none, none, none, body * knots, none], dim=1)
    return _Disc(none, stars, body * (smooth + knots), depth, parts)
