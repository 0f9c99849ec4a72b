"""Maps of light (N, S, S) on a device: how numbers of each galaxy, which are drawn on the host, meet them.

What is drawn for a galaxy comes from a numpy generator whatever the device, so that one seed gives one population. What
is drawn for a pixel comes from the same generator on a CPU, where it always did, and from the device's own elsewhere.
"""

import numpy as np
import torch
from numpy.typing import NDArray

Maps = torch.Tensor
CPU = torch.device("cpu")


def on_device(values: NDArray[np.generic], device: torch.device) -> torch.Tensor:
    """An array on a device, without waiting for it.

    CUDA copies up to 64 KB of ordinary memory before it returns, so that the array may go at once.
    """
    return torch.from_numpy(np.ascontiguousarray(values)).to(device, non_blocking=True)


def column(values: NDArray[np.floating] | NDArray[np.integer], device: torch.device = CPU) -> torch.Tensor:
    """(N,) to (N, 1, 1) float32, to be broadcast over maps."""
    return on_device(np.asarray(values, dtype=np.float32), device)[:, None, None]


def columns(device: torch.device, *values: NDArray[np.floating] | NDArray[np.integer]) -> tuple[torch.Tensor, ...]:
    """Several columns (N, 1, 1) in one copy to the device."""
    return on_device(np.stack([np.asarray(one, dtype=np.float32) for one in values]), device)[..., None, None].unbind()


def unit_sum(light: Maps) -> Maps:
    return light / light.sum((1, 2), keepdim=True).clamp(min=1e-20)


def standard_normal(shape: tuple[int, ...], rng: np.random.Generator, device: torch.device) -> torch.Tensor:
    """White noise of unit variance, float32; on a device by its own generator, whose seed is drawn from `rng`."""
    if device.type == "cpu":
        return torch.from_numpy(rng.standard_normal(shape, dtype=np.float32))
    return torch.randn(shape, generator=seeded(rng, device), device=device)


def seeded(rng: np.random.Generator, device: torch.device) -> torch.Generator:
    """A generator of the device's random numbers, its seed drawn from `rng`."""
    return torch.Generator(device).manual_seed(int(rng.integers(2**62)))
