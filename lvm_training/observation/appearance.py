"""Pictures of the same stamps as other surveys and viewers would have made them.

Real pictures often come as JPEGs of an unknown stretch. A model that has only seen one rendering reads them badly, so
half the training pictures are rendered with scales, softening, saturation and contrast drawn at random.
"""

import numpy as np
import torch

from lvm_training.observation.maps import column
from lvm_training.stamps.render import stretch
from lvm_training.stamps.rendering import Rendering

GROUP, MOST_GROUPS = 12, 16


def varied(
    bands: torch.Tensor,
    rendering: Rendering,
    rng: np.random.Generator,
    *,
    share: float = 0.5,
    saturation: tuple[float, float] = (0.4, 1.4),
    balance: float = 0.15,
) -> torch.Tensor:
    """Pictures (N, 3, S, S) of bands g, r, z; about `share` of them in other renderings than the model's own.

    Their colours are as strong as `saturation` says, the least and the most over the rendering's own, and `balance` is
    the spread of the logarithm of each channel's scale.
    """
    pictures = torch.empty_like(bands)
    # a large batch is for a GPU, where many small groups take longer than few large ones
    group = max(GROUP, len(bands) // MOST_GROUPS)
    for start in range(0, len(bands), group):
        rows = slice(start, start + group)
        if rng.random() >= share:
            pictures[rows] = stretch(bands[rows], rendering)
        else:
            pictures[rows] = _toned(stretch(bands[rows], _other(rendering, rng, balance)), rng, saturation)
    return pictures


def _other(rendering: Rendering, rng: np.random.Generator, balance: float) -> Rendering:
    gain = np.exp(rng.normal(0, 0.4) + rng.normal(0, balance, 3)) * rendering.scales
    return rendering.model_copy(
        update={
            "scales": (float(gain[0]), float(gain[1]), float(gain[2])),
            "softening": float(np.exp(rng.uniform(np.log(3), np.log(50)))),
            "black": float(rng.uniform(-0.06, 0.04)),
        }
    )


def _toned(pictures: torch.Tensor, rng: np.random.Generator, limits: tuple[float, float]) -> torch.Tensor:
    """Saturation, gamma and the 256 levels of a JPEG, drawn for each picture."""
    n = len(pictures)
    saturation, gamma = (
        column(values, pictures.device)[..., None]
        for values in (rng.uniform(*limits, n), np.exp(rng.normal(0, 0.2, n)))
    )
    grey = pictures.mean(1, keepdim=True)
    toned = (grey + saturation * (pictures - grey)).clamp(0, 1) ** gamma
    return (toned * 255).round() / 255
