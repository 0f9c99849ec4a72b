"""Marks that surveys leave on pictures: sky, bright stars, trails, cut edges, resampling, JPEG.

Each function takes and returns pictures (N, 3, S, S) in [0, 1], R, G, B, on any device, and draws what it does to each
picture from a numpy generator; most leave most pictures as they are.
"""

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from lvm_training.observation.maps import column, columns, on_device

BLOCK = 8  # pixels of a JPEG block
# luminance table of the JPEG standard (ITU-T T.81, K.1); chrominance is taken as 1.5 times as coarse
_QUANTA = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ],
    dtype=np.float32,
)
_YCC = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32)


def survey_marks(pictures: torch.Tensor, rng: np.random.Generator, device: torch.device | str) -> torch.Tensor:
    """Pictures (N, 3, S, S) on `device` with all the marks, in the order in which a survey makes them."""
    pictures = pictures.to(device)
    for mark in (sky, bright_stars, trails, resampled, cut_edges, jpeg):
        pictures = mark(pictures, rng)
    return pictures


def sky(pictures: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Residuals of the sky, a level and a slope in each colour: in a third of the pictures, up to a few hundredths."""
    n = len(pictures)
    x, y = _grid(pictures)
    there = rng.random((n, 1)) < 0.33
    level, right, down = (rng.normal(0, 0.012, (n, 3)) * there for _ in range(3))
    shared = np.exp(rng.normal(0, 0.7, (n, 1)))
    plane = [on_device((values * shared).astype(np.float32), pictures.device) for values in (level, right, down)]
    flat, along, across = (values[:, :, None, None] for values in plane)
    return (pictures + flat + along * x + across * y).clamp(0, 1)


def bright_stars(pictures: torch.Tensor, rng: np.random.Generator, *, share: float = 0.08) -> torch.Tensor:
    """Saturated stars towards the edges: a white disc with a coloured halo, four spikes and sometimes a bleed."""
    rows = np.flatnonzero(rng.random(len(pictures)) < share)
    if not len(rows):
        return pictures
    n, device, chosen = len(rows), pictures.device, on_device(rows, pictures.device)
    x, y = _grid(pictures)
    distance, towards = rng.uniform(0.55, 1.15, n), rng.uniform(0, 6.28, n)
    u, v = (grid - place for grid, place in zip((x, y), columns(device, *_polar(distance, towards)), strict=True))
    size, turn, long, halo = columns(
        device, rng.uniform(0.02, 0.1, n), rng.uniform(0, 1.57, n), rng.uniform(2, 7, n), rng.uniform(0.05, 0.5, n)
    )
    along, across = u * torch.cos(turn) + v * torch.sin(turn), v * torch.cos(turn) - u * torch.sin(turn)
    radius = torch.hypot(u, v)
    spikes = sum(
        torch.exp(-one.abs() / (0.12 * size + 0.008) - other.abs() / (long * size))
        for one, other in ((along, across), (across, along))
    )
    bleed = column((rng.random(n) < 0.25).astype(int), device) * torch.exp(
        -u.abs() / (0.2 * size) - v.abs() / (5 * size)
    )
    white = torch.sigmoid((size - radius) / (0.2 * size)) + 0.8 * spikes + bleed
    tint = on_device(rng.uniform(0.4, 1, (n, 3)).astype(np.float32), device)[:, :, None, None]
    glow = halo * torch.exp(-radius / (3 * size))
    marked = pictures.clone()
    marked[chosen] = (pictures[chosen] + white[:, None] + tint * glow[:, None]).clamp(0, 1)
    return marked


def trails(pictures: torch.Tensor, rng: np.random.Generator, *, share: float = 0.03) -> torch.Tensor:
    """Satellites and cosmic rays: a straight line in one colour or all, across the picture."""
    n, device = len(pictures), pictures.device
    x, y = _grid(pictures)
    angle, offset, width = rng.uniform(0, np.pi, n), rng.uniform(-1, 1, n), rng.uniform(0.008, 0.03, n)
    cosine, sine, shift, breadth = columns(device, np.cos(angle), np.sin(angle), offset, width)
    line = torch.exp(-0.5 * ((x * cosine + y * sine - shift) / breadth) ** 2)
    colours = np.where(rng.random((n, 1)) < 0.6, np.eye(3)[rng.integers(0, 3, n)], 1.0)
    strength = colours * rng.uniform(0.08, 0.6, (n, 1)) * (rng.random((n, 1)) < share)
    return (pictures + line[:, None] * on_device(strength.astype(np.float32), device)[:, :, None, None]).clamp(0, 1)


def resampled(pictures: torch.Tensor, rng: np.random.Generator, *, groups: int = 8) -> torch.Tensor:
    """Pictures that had fewer pixels: half of the groups made smaller, down to a third, and large again."""
    size = pictures.shape[-1]
    parts = []
    for part in pictures.chunk(groups):
        small = max(8, round(size * rng.uniform(0.33, 1)))
        if rng.random() < 0.5 and small < size:
            less = F.interpolate(part, (small, small), mode="bilinear", antialias=True, align_corners=False)
            part = F.interpolate(less, (size, size), mode="bicubic", align_corners=False).clamp(0, 1)
        parts.append(part)
    return torch.cat(parts)


def cut_edges(pictures: torch.Tensor, rng: np.random.Generator, *, share: float = 0.03) -> torch.Tensor:
    """Where the survey, or a detector, ends: black beyond a straight edge that leaves the middle."""
    n, device = len(pictures), pictures.device
    x, y = _grid(pictures)
    angle = np.where(rng.random(n) < 0.7, rng.integers(0, 4, n) * np.pi / 2, rng.uniform(0, 2 * np.pi, n))
    edge = np.where(rng.random(n) < share, rng.uniform(0.35, 0.95, n), 9)
    cosine, sine, limit = columns(device, np.cos(angle), np.sin(angle), edge)
    return pictures * (x * cosine + y * sine < limit)[:, None]


def jpeg(pictures: torch.Tensor, rng: np.random.Generator, *, share: float = 0.7) -> torch.Tensor:
    """JPEG at a quality between 50 and 95: rounded cosine coefficients of 8 x 8 blocks, colours at half resolution."""
    n, _, height, width = pictures.shape
    device = pictures.device
    pad = (0, -width % (2 * BLOCK), 0, -height % (2 * BLOCK))
    matrix = on_device(_YCC, device)
    ycc = torch.einsum("cd,ndij->ncij", matrix, F.pad(pictures, pad, mode="replicate"))
    quality = rng.uniform(50, 95, n)
    # a table's multiplier as libjpeg has it, for values in [0, 1]
    coarse = column((200 - 2 * quality) / 100 / 255, device)[..., None]
    light = _rounded(ycc[:, :1], coarse)
    colour = F.interpolate(_rounded(F.avg_pool2d(ycc[:, 1:], 2), 1.5 * coarse), scale_factor=2.0, mode="bilinear")
    back = torch.einsum("cd,ndij->ncij", on_device(_inverse(), device), torch.cat([light, colour], dim=1))
    kept = column((rng.random(n) < share).astype(int), device)[..., None]
    return torch.where(kept > 0, back[:, :, :height, :width].clamp(0, 1), pictures)


def _rounded(planes: torch.Tensor, coarse: torch.Tensor) -> torch.Tensor:
    """Planes (N, C, H, W) whose blocks' cosine coefficients are multiples of the table times `coarse` (N, 1, 1, 1)."""
    n, count, height, width = planes.shape
    cosine, quanta = on_device(_cosines(), planes.device), on_device(_QUANTA, planes.device)
    blocks = planes.reshape(n, count, height // BLOCK, BLOCK, width // BLOCK, BLOCK).transpose(3, 4)
    steps = coarse[..., None, None] * quanta
    rounded = ((cosine @ blocks @ cosine.T) / steps).round() * steps
    return (cosine.T @ rounded @ cosine).transpose(3, 4).reshape(n, count, height, width)


@lru_cache(maxsize=1)
def _cosines() -> NDArray[np.float32]:
    """The orthonormal cosine transform of eight values, (8, 8)."""
    order, place = np.arange(BLOCK)[:, None], np.arange(BLOCK)[None, :]
    matrix = np.cos((2 * place + 1) * order * np.pi / (2 * BLOCK)) * np.sqrt(2 / BLOCK)
    matrix[0] /= np.sqrt(2)
    return np.asarray(matrix, np.float32)


@lru_cache(maxsize=1)
def _inverse() -> NDArray[np.float32]:
    return np.asarray(np.linalg.inv(_YCC), np.float32)


def _grid(pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """x and y of the pixels, from -1 to 1, of shapes (1, 1, S) and (1, S, 1)."""
    steps = torch.linspace(-1, 1, pictures.shape[-1], device=pictures.device)
    return steps[None, None, :], steps[None, :, None]


def _polar(distance: NDArray[np.floating], angle: NDArray[np.floating]) -> tuple[NDArray[np.floating], ...]:
    return distance * np.cos(angle), distance * np.sin(angle)
