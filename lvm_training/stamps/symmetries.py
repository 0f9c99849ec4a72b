"""The eight symmetries of the square (D4): a galaxy has no up and no handedness that a survey prefers."""

import numpy as np
import torch
from numpy.typing import NDArray

SYMMETRIES = 8


def symmetry(pictures: torch.Tensor, kind: int) -> torch.Tensor:
    """Pictures (N, 3, S, S) under one of the symmetries: `kind` % 4 quarter turns, mirrored from 4 on."""
    rotated = torch.rot90(pictures, kind % 4, (2, 3))
    return rotated.flip(3) if kind >= 4 else rotated


def symmetry_of_boxes(boxes: torch.Tensor, kind: int, size: int) -> torch.Tensor:
    """Boxes (K, 4) of edges x0, y0, x1, y1 on a picture of `size` pixels where `symmetry` takes them, to the digit."""
    x0, y0, x1, y1 = boxes.unbind(1)
    for _ in range(kind % 4):
        x0, y0, x1, y1 = y0, size - x1, y1, size - x0
    if kind >= 4:
        x0, x1 = size - x1, size - x0
    return torch.stack([x0, y0, x1, y1], dim=1)


def turned(pictures: torch.Tensor, kinds: NDArray[np.int64]) -> torch.Tensor:
    """Pictures (N, 3, S, S), each under the symmetry that `kinds` (N,) names."""
    pictures = pictures.clone()
    for kind in range(1, SYMMETRIES):
        chosen = torch.from_numpy(np.flatnonzero(kinds == kind))
        pictures[chosen] = symmetry(pictures[chosen], kind)
    return pictures
