"""Pixels that say nothing of the sky: marks of what was not measured, and what is saturated.

Marks are found where the header does not say them. A pixel is saturated by its header, or because a bright plateau is
cut off flat.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from lvm_training.stamps.stampset import Pixels

KNOWN = frozenset({-99.0, -999.0, -9999.0, -99999.0, -999999.0, -32768.0})
BEYOND = 1e19  # what no flux reaches in any unit: 1e20, -1e30, -1.6e38 and the like
REPEATED = 2  # pixels that have it to the last digit
APART = 2.0  # times as far from zero as all others
LEVEL = "SATURATE"  # the card of the value from which on pixels are saturated
ROUNDED = 1e-6  # relative: what float32 may lose of it
BRIGHT = 5.0  # standard deviations of the sky that a plateau lies above it
MAD = 1.4826  # a standard deviation in median absolute deviations of normal noise


def said_of_marks(counts: Mapping[float, int]) -> list[str]:
    """What people are told of the marks that so many images have."""
    return [f"{count} images: {mark:g} is taken as not measured" for mark, count in counts.items()]


def may_hold_marks(values: NDArray[Any]) -> bool:
    """Whether the smallest or largest number among `values` may be such a mark."""
    return any(_may_be(float(end.reduce(values, axis=None))) for end in (np.fmin, np.fmax))


def marks(blocks: Callable[[], Iterable[NDArray[Any]]]) -> list[float]:
    """The numbers in all blocks that are such marks: smallest or largest, repeated, and far from all others.

    Parameters
    ----------
    blocks : callable
        Gives the same blocks each time: an image may be too large to look at whole.
    """
    found: list[float] = []
    for end in (np.fmin, np.fmax):
        while (mark := _mark(blocks(), end, found)) is not None:
            found.append(mark)
    return found


def _mark(blocks: Iterable[NDArray[Any]], end: np.ufunc, found: Sequence[float]) -> float | None:
    """The number at one end, beside those that were found, if it is a mark."""
    ends: Counter[float] = Counter()
    for block in blocks:
        rest = block[np.isfinite(block) & ~np.isin(block, found)]
        if rest.size:
            value = float(end.reduce(rest))
            others = rest[rest != value]
            ends[value] += rest.size - others.size
            if others.size:
                ends[float(end.reduce(others))] += 1
    if len(ends) < 2:
        return None
    value, other = sorted(ends, reverse=end is np.fmax)[:2]
    if not _may_be(value) or ends[value] < REPEATED:
        return None
    # where others are that large as well it is the unit, as of simulated luminosities
    return value if abs(other) <= BEYOND and APART * other / value <= 1 else None


def unmarked(pixels: Pixels) -> tuple[Pixels, set[float]]:
    """Pixels (P, H, W) whose marks are NaN, and which these were; pictures as they are."""
    if pixels.dtype.kind != "f" or not may_hold_marks(pixels):
        return pixels, set()
    found = [marks(lambda plane=plane: [plane]) for plane in pixels]  # type: ignore[misc]
    if not any(found):
        return pixels, set()
    planes = [np.where(np.isin(plane, own), np.nan, plane) for plane, own in zip(pixels, found, strict=True)]
    return cast(Pixels, np.stack(planes).astype(pixels.dtype)), set().union(*found)


def _may_be(value: float) -> bool:
    return value in KNOWN or abs(value) > BEYOND


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
