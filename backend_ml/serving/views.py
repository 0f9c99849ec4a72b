"""Other looks at a stamp than the model's own: one band alone, or a stretch that shows what is faint or bright."""

from typing import Literal, get_args

import numpy as np
import torch

from backend_ml.label_studio.labelling import DISPLAY_SIZE
from backend_ml.serving.pictures import annotated_png, picture
from lvm_training.stamps.render import framed, stretch, surface_brightness
from lvm_training.stamps.rendering import Rendering
from lvm_training.stamps.stampset import StampSet

View = Literal["rgb", "g", "r", "z", "faint", "bright"]
VIEWS: tuple[View, ...] = get_args(View)
BANDS = ("g", "r", "z")
GAIN = {"faint": 4.0, "bright": 0.25}  # of the flux before the stretch, or of the light of a picture as delivered


def stamp_view(stamps: StampSet, row: int, rendering: Rendering, view: View, *, size: int = DISPLAY_SIZE) -> bytes:
    """A look at a stamp as PNG, `size` pixels square.

    Parameters
    ----------
    view : View
        "rgb" is the model's own rendering; "g", "r" or "z" that band in grey, in a picture as delivered its blue,
        green or red; "faint" and "bright" multiply the light by 4 and by 1/4 before the stretch.

    Raises
    ------
    StampError
        If the set has no such row.
    RenderingError
        If the rendering does not fit the set's pixel scale.
    """
    large = rendering.sized(size)
    if view == "rgb":
        return picture(stamps, row, rendering, size=size)
    if stamps.rendering == "as-delivered":
        rgb = _delivered(stamps, row, large, view)
    else:
        rgb = _stretched(stamps, row, large, view)
    return annotated_png(rgb[0], stamps, large)


def _stretched(stamps: StampSet, row: int, rendering: Rendering, view: View) -> torch.Tensor:
    pixels = stamps.pixels(np.array([row]))
    bands = surface_brightness(pixels, rendering, pixel_scale=stamps.pixel_scale, origin=stamps.origin)
    if view in GAIN:
        return stretch(bands * GAIN[view], rendering)
    place = BANDS.index(view)
    alone = rendering.model_copy(update={"scales": (rendering.scales[place],) * 3})
    return stretch(bands[:, place : place + 1].expand(-1, 3, -1, -1), alone)


def _delivered(stamps: StampSet, row: int, rendering: Rendering, view: View) -> torch.Tensor:
    pixels = stamps.pixels(np.array([row]))
    rgb = framed(pixels, rendering, pixel_scale=stamps.pixel_scale, origin=stamps.origin) / 255
    if view in GAIN:
        return (rgb * GAIN[view]).clamp_(0, 1)
    place = 2 - BANDS.index(view)
    return rgb[:, place : place + 1].expand(-1, 3, -1, -1).clamp(0, 1)
