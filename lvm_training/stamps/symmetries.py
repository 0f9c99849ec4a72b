"""The eight symmetries of the square (D4): a galaxy has no up and no handedness that a survey prefers."""

import numpy as np
import torch
from numpy.typing import NDArray

SYMMETRIES = 8


def symmetry(pictures: torch.Tensor, kind: int) -> torch.Tensor:
    """Pictures (N, 3, S, S) under one of the symmetries: `kind` % 4 quarter turns, mirrored from 4 on."""
    rotated = torch.rot90(pictures, kind % 4, (2, 3))
    return rotated.flip(3) if kind >= 4 else rotated


def turned(pictures: torch.Tensor, kinds: NDArray[np.int64]) -> torch.Tensor:
    """Pictures (N, 3, S, S), each under the symmetry that `kinds` (N,) names."""
    pictures = pictures.clone()
    for kind in range(1, SYMMETRIES):
        chosen = torch.from_numpy(np.flatnonzero(kinds == kind))
        pictures[chosen] = symmetry(pictures[chosen], kind)
    return pictures
