"""Other looks at a stamp than the model's own: one band alone, or a stretch that shows what is faint or bright."""

import math
from typing import Literal, get_args

import numpy as np
import torch

from backend_ml.label_studio.labelling import DISPLAY_SIZE
from backend_ml.pictures.drawing import Format, annotated, picture
from lvm_training.stamps.render import framed, stretch, surface_brightness
from lvm_training.stamps.rendering import Rendering
from lvm_training.stamps.stampset import StampSet

View = Literal["rgb", "g", "r", "z", "faint", "bright"]
VIEWS: tuple[View, ...] = get_args(View)
BANDS = ("g", "r", "z")
GAIN = {"faint": 4.0, "bright": 0.25}  # of the flux before the stretch
# a picture as delivered is stretched already: it has no flux to multiply, and its sky is not black
FAINT_SOFTENING, BRIGHT_POWER = 12.0, 2.5
SKY_SHARE = 0.2  # of the pixels: a galaxy may fill the larger part of its picture


def stamp_view(
    stamps: StampSet,
    row: int,
    rendering: Rendering,
    view: View,
    *,
    size: int = DISPLAY_SIZE,
    read: float | None = None,
    crop_said: bool = False,
    encoding: Format = "png",
) -> bytes:
    """A look at a stamp as PNG or JPEG, `size` pixels square.

    Parameters
    ----------
    view : View
        "rgb" is the model's own rendering; "g", "r" or "z" that band in grey, in a picture as delivered its blue,
        green or red; "faint" and "bright" multiply the light by 4 and by 1/4 before the stretch. A picture as
        delivered is stretched already: "faint" is asinh(12 x) / asinh(12) of its light x over its 20th
        percentile, the sky,
        and "bright" its light to the power of 2.5.
    read : float, optional
    crop_said : bool
        As in `drawing.picture`.

    Raises
    ------
    StampError
        If the set has no such row.
    RenderingError
        If the rendering does not fit the set's pixel scale.
    """
    large = rendering.sized(size)
    if view == "rgb":
        return picture(stamps, row, rendering, size=size, read=read, crop_said=crop_said, encoding=encoding)
    if stamps.rendering == "as-delivered":
        rgb = _delivered(stamps, row, large, view)
    else:
        rgb = _stretched(stamps, row, large, view)
    return annotated(rgb[0], stamps, large, read=read, crop_said=crop_said, encoding=encoding)


def _stretched(stamps: StampSet, row: int, rendering: Rendering, view: View) -> torch.Tensor:
    pixels = stamps.pixels(np.array([row]))
    bands = surface_brightness(
        pixels, rendering, pixel_scale=stamps.pixel_scale, origin=stamps.origin, interpolation="bicubic"
    )
    if view in GAIN:
        return stretch(bands * GAIN[view], rendering)
    place = BANDS.index(view)
    alone = rendering.model_copy(update={"scales": (rendering.scales[place],) * 3})
    return stretch(bands[:, place : place + 1].expand(-1, 3, -1, -1), alone)


def _delivered(stamps: StampSet, row: int, rendering: Rendering, view: View) -> torch.Tensor:
    pixels = stamps.pixels(np.array([row]))
    cut = framed(pixels, rendering, pixel_scale=stamps.pixel_scale, origin=stamps.origin, interpolation="bicubic")
    rgb = (cut / 255).clamp_(0, 1)
    if view in GAIN:
        return _brightened(rgb) if view == "faint" else rgb**BRIGHT_POWER
    place = 2 - BANDS.index(view)
    return rgb[:, place : place + 1].expand(-1, 3, -1, -1)


def _brightened(rgb: torch.Tensor) -> torch.Tensor:
    """Faint light of pictures (N, 3, S, S) raised over their sky, which a mere factor would turn to fog."""
    sky = rgb.flatten(2).quantile(SKY_SHARE, dim=2)[..., None, None]
    over = ((rgb - sky) / (1 - sky).clamp(min=0.1)).clamp_(min=0)
    return torch.asinh(FAINT_SOFTENING * over) / math.asinh(FAINT_SOFTENING)
