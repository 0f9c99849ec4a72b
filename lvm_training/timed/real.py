"""Real unlabelled pictures beside the simulated stamps: two views of each, and some of them masked."""

import numpy as np
import torch
import torch.nn.functional as F

from lvm_training.model.masking import block_mask
from lvm_training.timed.objective import RealBatch
from lvm_training.timed.recipe import TimedRecipe

ZOOM, SHIFT = 0.15, 0.03  # largest; of the picture's side
TINT, GAMMA, NOISE = 0.1, 0.15, 0.04


def real_batch(pictures: torch.Tensor, count: int, recipe: TimedRecipe, index: int) -> RealBatch:
    """`count` of the pictures (M, 3, S, S) uint8, which ones and how seen by the recipe's seed and `index`.

    Half of the first views are to be filled in as well.
    """
    rng = np.random.default_rng((recipe.seed, 2, index))
    rows = torch.from_numpy(rng.integers(0, len(pictures), count)).to(pictures.device)
    chosen = pictures[rows].float() / 255
    generator = torch.Generator(pictures.device).manual_seed(int(rng.integers(1 << 62)))
    filled = max(1, count // 2)
    mask = block_mask(
        filled,
        filled,
        size=pictures.shape[-1],
        patch=recipe.model.patch,
        block=recipe.mask_patch,
        ratio=recipe.mask_ratio,
        rng=rng,
    )
    return RealBatch(seen(chosen, generator), seen(chosen, generator), mask.to(pictures.device))


def seen(pictures: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Pictures (N, 3, S, S) in [0, 1] turned by any angle, half of them mirrored, and shifted in size, place, colour,
    contrast and noise: what another survey would have made of the same galaxies."""
    n, device = len(pictures), pictures.device

    def uniform(low: float, high: float, *shape: int) -> torch.Tensor:
        return torch.rand(n, *shape, generator=generator, device=device) * (high - low) + low

    def normal(spread: float, *shape: int) -> torch.Tensor:
        return torch.randn(n, *shape, generator=generator, device=device) * spread

    angle, zoom = uniform(0, 2 * np.pi), 1 + uniform(-ZOOM, ZOOM)
    mirror = torch.where(uniform(0, 1) < 0.5, -1.0, 1.0)
    sine, cosine = angle.sin() / zoom, angle.cos() / zoom
    rows = [torch.stack([mirror * cosine, -sine], 1), torch.stack([mirror * sine, cosine], 1)]
    matrices = torch.cat([torch.stack(rows, 1), uniform(-2 * SHIFT, 2 * SHIFT, 2, 1)], dim=2)
    grid = F.affine_grid(matrices, list(pictures.shape), align_corners=False)
    turned = F.grid_sample(pictures, grid, padding_mode="reflection", align_corners=False).clamp(0, 1)
    tinted = turned * torch.exp(normal(TINT, 3, 1, 1))
    grey = tinted.mean(1, keepdim=True)
    saturated = (grey + uniform(0.5, 1.3, 1, 1, 1) * (tinted - grey)).clamp(1e-4, 1)
    toned = saturated ** torch.exp(normal(GAMMA, 1, 1, 1))
    grain = torch.randn(toned.shape, generator=generator, device=device)
    return (toned + grain * uniform(0, NOISE, 1, 1, 1)).clamp(0, 1)
