"""What a model reads of stamps, what people see of them, and both in words."""

import numpy as np

from lvm_training.stamps.rendering import Rendering
from lvm_training.stamps.stampset import StampSet

UNFRAMED = 1.02  # where a model reads all but that share, nothing is said of it
MOST_SHOWN = 4  # times what a model reads: of larger stamps the middle, or the galaxy would be a dot


def shown_rendering(rendering: Rendering, stamps: StampSet) -> Rendering:
    """What people see of stamps whose middle a model reads: the whole of them, up to `MOST_SHOWN` times as much."""
    if np.isnan(stamps.pixel_scale):
        return rendering  # shows the whole
    whole = max(stamps.shape) * stamps.pixel_scale
    return rendering.model_copy(update={"field": min(whole, MOST_SHOWN * rendering.field)})


def whole_field(rendering: Rendering, stamps: StampSet) -> float | None:
    """Arcsec across whole stamps of which pictures show the middle; None where they show all, or nobody knows."""
    whole = max(stamps.shape) * stamps.pixel_scale
    return whole if whole > rendering.field * UNFRAMED else None


def framing_words(rendering: Rendering, stamps: StampSet, *, shows_whole: bool = True) -> str:
    """What a model reads of each stamp, and what people see, in arcsec; empty where both see the whole.

    Parameters
    ----------
    shows_whole : bool
        Whether people see more than the model (`Kind.shows_whole`).
    """
    whole = whole_field(rendering, stamps)
    if whole is None:
        return ""
    if not shows_whole:
        return (
            f"stamps are {whole:.3g}″ wide; people see the middle {rendering.field:.3g}″, which the model reads,"
            ' and the whole under "Why is this here?"'
        )
    shown = shown_rendering(rendering, stamps).field
    seen = "all of them" if shown >= whole * 0.999 else f"the middle {shown:.3g}″"
    return (
        f"stamps are {whole:.3g}″ wide; the model reads the middle {rendering.field:.3g}″, people see {seen} with"
        " a frame around what it reads"
    )


def read_words(rendering: Rendering, stamps: StampSet) -> str:
    """How stamps fit what a model reads, in a sentence: more, less, or as much."""
    whole = max(stamps.shape) * stamps.pixel_scale
    if np.isnan(whole):
        unknown = "the pixel scale is unknown (--pixel-scale says it)"
        return f"{unknown}: the model reads each stamp whole, whatever it measures on the sky"
    if whole * UNFRAMED < rendering.field:
        return f"stamps are {whole:.3g}″ wide; the model reads {rendering.field:.3g}″, of which the rest is empty sky"
    return framing_words(rendering, stamps) or f"stamps are {whole:.3g}″ wide, and the model reads them whole"
