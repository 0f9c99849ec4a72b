"""What surrounds the galaxy of an endless simulated stamp: companions, foreground stars, background galaxies."""

import numpy as np
import torch
from numpy.typing import NDArray

from lvm_training.galaxies.spectra import galaxy_fluxes, nanomaggies, stellar_fluxes
from lvm_training.observation.maps import Maps, column, on_device, unit_sum
from lvm_training.scenes.structure import Structure

STARS = 5
BACKGROUND = 3


def companions(s: Structure, x: Maps, y: Maps, rng: np.random.Generator) -> torch.Tensor:
    """Second galaxies, (N, 3, S, S) per unit r flux of the first."""
    n, size, device = len(s), x.shape[-1], x.device
    bands = torch.zeros(n, 3, size, size, device=device)
    rows = np.flatnonzero(s.companion > 0)
    if not len(rows):
        return bands
    chosen, some = on_device(rows, device), s.rows(rows)
    x = x[chosen] - column(some.companion_distance * np.cos(some.companion_angle), device)
    y = y[chosen] - column(some.companion_distance * np.sin(some.companion_angle), device)
    profile = _ellipses(x, y, some.radius * np.sqrt(some.companion) * rng.uniform(0.5, 1.2, len(rows)), rng)
    fluxes = on_device(some.fluxes[:, 3] * some.companion[:, None], device)
    bands[chosen] = profile[:, None] * fluxes[:, :, None, None]
    return bands


def _ellipses(x: Maps, y: Maps, radius: NDArray[np.floating], rng: np.random.Generator) -> Maps:
    """Sersic profiles of unit sum, any axis ratio and direction, indices between 1 and 3."""
    n, device = len(x), x.device
    angle, ratio, index = rng.uniform(0, np.pi, n), rng.uniform(0.25, 1, n), column(rng.uniform(1, 3, n), device)
    sine, cosine = column(np.sin(angle), device), column(np.cos(angle), device)
    distance = torch.hypot(x * cosine + y * sine, (y * cosine - x * sine) / column(ratio, device))
    return unit_sum(torch.exp(-(2 * index - 1 / 3) * ((distance + 0.1) / column(radius, device)) ** (1 / index)))


def field_objects(
    n: int, steps: torch.Tensor, pixel: float, rng: np.random.Generator, crowding: float
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Foreground stars and small background galaxies, (N, 3, S, S) in nanomaggies per picture pixel.

    Beside them the r light (N, S, S) of each round of background galaxies alone.
    """
    size, device = len(steps), steps.device
    edge = float(np.float32((size - 1) / 2) * np.float32(pixel))  # the last step, without asking the device for it
    bands = torch.zeros(n, 3, size * size, device=device)
    present = rng.random((n, STARS)) < 0.25 * crowding
    across, row = (rng.uniform(0, size - 1, (n, STARS)) for _ in range(2))
    away = np.hypot(across - size / 2, row - size / 2) * pixel > 1.5
    mags = np.maximum(22.5 + np.log10(rng.random((n, STARS))) / 0.2, 14.5)
    flux = (nanomaggies(mags) * (present & away))[..., None] * stellar_fluxes(rng.beta(1.6, 1.1, (n, STARS)))
    left, top = across.astype(int), row.astype(int)
    for down in (0, 1):
        for right in (0, 1):
            share = np.abs(1 - down - (row - top)) * np.abs(1 - right - (across - left))
            places = on_device((top + down) * size + left + right, device)
            values = on_device((flux * share[..., None]).astype(np.float32), device).transpose(1, 2)
            bands.scatter_add_(2, places[:, None].expand(-1, 3, -1), values)
    bands = bands.reshape(n, 3, size, size)
    alone = [torch.zeros(n, size, size, device=device) for _ in range(BACKGROUND)]
    for background in alone:
        rows = np.flatnonzero(rng.random(n) < 0.4 * crowding)
        if len(rows):
            chosen, galaxies = on_device(rows, device), _background(len(rows), steps, edge, rng)
            bands[chosen] += galaxies
            background[chosen] = galaxies[:, 1]
    return bands, alone


def _background(n: int, steps: torch.Tensor, edge: float, rng: np.random.Generator) -> torch.Tensor:
    device = steps.device
    x = (steps[None, None, :] - column(rng.uniform(-edge, edge, n), device)).expand(n, len(steps), len(steps))
    y = (steps[None, :, None] - column(rng.uniform(-edge, edge, n), device)).expand(n, len(steps), len(steps))
    mags = np.maximum(23.4 + np.log10(rng.random(n)) / 0.36, 18)
    profile = _ellipses(x, y, 0.5 * 10 ** (0.13 * (23 - mags)), rng)
    types = rng.uniform(0, 1.3, n)
    fluxes = nanomaggies(mags)[:, None] * galaxy_fluxes(types, rng.uniform(0.05, 0.7, n))
    return profile[:, None] * on_device(fluxes.astype(np.float32), device)[:, :, None, None]
