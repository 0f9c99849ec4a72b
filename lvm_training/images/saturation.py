"""Which pixels of an image are saturated: by its header, or because a bright plateau is cut off flat."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

LEVEL = "SATURATE"  # the card of the value from which on pixels are saturated
ROUNDED = 1e-6  # relative: what float32 may lose of it
BRIGHT = 5.0  # standard deviations of the sky that a plateau lies above it
MAD = 1.4826  # a standard deviation in median absolute deviations of normal noise


def saturated(pixels: NDArray[np.float32], levels: Sequence[float]) -> NDArray[np.bool_]:
    """Pixels (H, W) that are saturated in any band of `pixels` (3, H, W).

    A band has a plateau where two by two pixels have its largest value to the last digit, which noise keeps measured
    light from.

    Parameters
    ----------
    levels : sequence of float
        From which value on pixels of each band are saturated; infinite where the header does not say.
    """
    found = np.zeros(pixels.shape[1:], dtype=bool)
    for band, level in zip(pixels, levels, strict=True):
        if level < np.inf:
            found |= band >= level * (1 - ROUNDED)
        top = np.fmax.reduce(band, axis=None)
        flat = band == top
        if (flat[1:, 1:] & flat[1:, :-1] & flat[:-1, 1:] & flat[:-1, :-1]).any() and _is_bright(band, float(top)):
            found |= flat
    return found


def _is_bright(band: NDArray[np.float32], value: float) -> bool:
    sky = float(np.nanmedian(band))
    return value > sky + BRIGHT * MAD * float(np.nanmedian(np.abs(band - sky)))
