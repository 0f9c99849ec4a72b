"""What is wrong with a stamp, so that nobody trusts its numbers unwarned."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lvm_training.images.unmeasured import MAD, saturated
from lvm_training.stamps.stampset import Pixels

BLANK, SATURATED, EDGE, CROWDED, UNLIKE = "blank", "saturated", "edge", "crowded", "unlike"
NO_BAND = {"no_g": "g", "no_r": "r", "no_z": "z"}
"""The flag of a band that was not observed, in the order of a stamp's bands."""
MEANINGS = {
    BLANK: "nothing is seen in the middle: no numbers",
    SATURATED: "a plateau of saturated pixels",
    EDGE: "part of it was not observed, or the galaxy reaches the stamp's edge",
    CROWDED: "another source is as bright as half of the galaxy, or nearly as large",
    **{flag: f"band {band} was not observed: numbers and errors are guesses" for flag, band in NO_BAND.items()},
    UNLIKE: "the head learned from no such stamp: numbers and errors are guesses",
}
"""What each flag says."""
SEPARATOR = ";"
WIDEST = len(SEPARATOR.join(MEANINGS))

UNOBSERVED = 0.05  # share of a stamp without pixels from which on it lies at an edge
DAMAGED = 0.25  # share of a stamp without pixels from which on it shows no galaxy
REACHED = 0.1  # share of the stamp's border that a galaxy cut off by it covers
CENTRE = 0.1  # half side of what counts as the middle, in sides of the stamp
FAINTEST = 5.0  # standard deviations that the middle's brightest smoothed pixel must have
OUTLINE = 3.0  # standard deviations of the outline of a source
SMOOTHING = 1.5  # pixels
RIVAL = 0.5  # of the galaxy's peak or light, that of another source
APART = 8.0  # pixels between two peaks of one outline that are two sources
LOWEST, HIGHEST, LEVELS = 0.1, 0.9, 12  # of the galaxy's peak, above which its outline is looked at
PICTURE_WHITE = 255
CORNER = 5  # of the stamp's side, a corner's
# a median's error, sqrt(pi / 2) of a mean's, times the 1.029 standard deviations that the least of four lies below
DARKEST = 1.2533 * 1.0294
TURNS = ((1, 1), (1, -1), (-1, 1), (-1, -1))


def stamp_flags(pixels: Pixels) -> list[list[str]]:
    """Flags of stamps (N, 3, H, W), nanomaggies or the uint8 of pictures; NaN is what was not observed.

    Of a stamp that lacks bands the others count.
    """
    return [_flags(one) for one in pixels]


def show_galaxies(pixels: Pixels) -> NDArray[np.bool_]:
    """Which of some stamps (N, 3, H, W), as `stamp_flags` takes them, show something in the middle (N,).

    One of which a quarter was not observed counts as none: its edge is what is unlike other stamps.
    """
    dark = ~np.isfinite(pixels).all(axis=1) | (pixels == 0).all(axis=1)
    seen = np.array([_seen(one) is not None for one in pixels], dtype=bool)
    return np.asarray(seen & (dark.mean(axis=(1, 2)) < DAMAGED))


class _Seen(NamedTuple):
    """What a stamp shows.

    Which of its bands were observed in the middle; of these smoothed light (H, W), what was observed, the noise, and
    where the middle is brightest.
    """

    bands: NDArray[np.bool_]
    smooth: NDArray[np.float32]
    observed: NDArray[np.bool_]
    noise: float
    middle: tuple[int, int]


def _seen(stamp: Pixels) -> _Seen | None:
    """None where nothing is in the middle."""
    rows, columns = (slice(int(n * (0.5 - CENTRE)), int(n * (0.5 + CENTRE)) + 1) for n in stamp.shape[1:])
    bands = _bands_of(stamp[:, rows, columns])
    stamp = stamp[bands]
    observed = np.isfinite(stamp).all(axis=0) & (stamp != 0).any(axis=0)
    if not observed.any():
        return None
    light = np.where(observed, np.nan_to_num(stamp.astype(np.float32)).sum(axis=0), 0.0)
    smooth, noise = _smoothed(light, observed)
    middle = smooth[rows, columns]
    if middle.max() < FAINTEST * noise:
        return None
    row, column = np.unravel_index(int(middle.argmax()), middle.shape)
    return _Seen(bands, smooth, observed, noise, (rows.start + int(row), columns.start + int(column)))


def _bands_of(middle: Pixels) -> NDArray[np.bool_]:
    """Which bands of a stamp's middle (3, h, w) were observed; all of a picture, where black is a colour."""
    if middle.dtype == np.uint8:
        return np.ones(len(middle), dtype=bool)
    return np.asarray((np.isfinite(middle) & (middle != 0)).any(axis=(1, 2)))


def _flags(stamp: Pixels) -> list[str]:
    seen = _seen(stamp)
    if seen is None:
        return [BLANK]
    stamp = stamp[seen.bands]
    sources, _ = ndimage.label(seen.smooth > OUTLINE * seen.noise)
    galaxy = sources == sources[seen.middle]
    found = [SATURATED] if _is_saturated(stamp) else []
    borders = np.concatenate([galaxy[0], galaxy[-1], galaxy[:, 0], galaxy[:, -1]])
    if (~seen.observed).mean() > UNOBSERVED or borders.mean() > REACHED:
        found.append(EDGE)
    if _is_crowded(seen.smooth, galaxy, sources, float(seen.smooth[seen.middle])):
        found.append(CROWDED)
    return found + [flag for flag, there in zip(NO_BAND, seen.bands, strict=True) if not there]


def _smoothed(light: NDArray[np.float32], observed: NDArray[np.bool_]) -> tuple[NDArray[np.float32], float]:
    """Smoothed light above the sky (H, W), and the noise of that.

    The sky is that of the darkest corner: a galaxy may fill the others.
    """
    known = np.where(observed, light, np.nan)
    corners = [known[::up, ::across][: len(light) // CORNER, : light.shape[1] // CORNER] for up, across in TURNS]
    sky = min((_level(one) for one in corners if np.isfinite(one).any()), default=(0.0, 0.0))
    smooth = ndimage.gaussian_filter(np.where(observed, light - sum(sky), 0.0), SMOOTHING)
    # noise goes below the sky as far as above it, and no galaxy does
    below = smooth[observed & (smooth < 0)]
    noise = MAD * float(np.median(-below)) if below.size else 0.0
    return smooth, noise or float(np.finfo(np.float32).eps)


def _level(corner: NDArray[np.float32]) -> tuple[float, float]:
    """A corner's level, and by how much the darkest of four of one sky is darker than that by chance."""
    seen = corner[np.isfinite(corner)]
    level = float(np.median(seen))
    return level, DARKEST * MAD * float(np.median(np.abs(seen - level))) / np.sqrt(seen.size)


def _is_saturated(stamp: Pixels) -> bool:
    if stamp.dtype == np.uint8:
        white = (stamp == PICTURE_WHITE).all(axis=0)
        return bool((white[1:, 1:] & white[1:, :-1] & white[:-1, 1:] & white[:-1, :-1]).any())
    return bool(saturated(np.asarray(stamp, np.float32), [np.inf] * len(stamp)).any())


def _is_crowded(
    smooth: NDArray[np.float32], galaxy: NDArray[np.bool_], sources: NDArray[np.int32], peak: float
) -> bool:
    """Whether a second source rivals the galaxy, by its light beside it or within the same outline.

    Within one outline a source is what stands alone above some level, as SExtractor deblends (Bertin & Arnouts 1996,
    section 6); knots of a ring or of arms, and stars in front, stand out as well but have little of the light.
    """
    own = sources[galaxy][0]
    lights = ndimage.sum_labels(smooth, sources, np.arange(1, sources.max() + 1))
    if (np.delete(lights, own - 1) > RIVAL * lights[own - 1]).any():
        return True
    inside = np.where(galaxy, smooth, 0.0)[ndimage.find_objects(galaxy.astype(np.int8))[0]]
    tops = (inside == ndimage.maximum_filter(inside, size=int(APART))) & (inside > RIVAL * peak)
    middle = np.argwhere(inside == peak)[0]
    others = [place for place in np.argwhere(tops) if np.linalg.norm(place - middle) >= APART]
    if not others:
        return False
    return any(_rivals(inside, middle, others, peak * level) for level in np.geomspace(LOWEST, HIGHEST, LEVELS))


def _rivals(
    inside: NDArray[np.float32], middle: NDArray[np.int64], others: Sequence[NDArray[np.int64]], level: float
) -> bool:
    """Whether above a level another peak stands apart from the middle, and has as much of the light as a rival."""
    parts, _ = ndimage.label(inside > level)
    lights = np.bincount(parts.ravel(), weights=inside.ravel())
    own, apart = parts[tuple(middle)], {parts[tuple(one)] for one in others}
    return any(lights[part] > RIVAL * lights[own] for part in apart - {0, own})
