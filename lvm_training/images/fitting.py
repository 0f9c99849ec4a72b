"""Making stamps of one size from images of several: cut, shrunk or padded."""

from typing import Any, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from lvm_training.errors import StampError
from lvm_training.images.pictures import Shape, centre_crop

Fit = Literal["crop", "shrink", "pad"]
FITS: tuple[Fit, ...] = get_args(Fit)


def checked_fit(word: str | None) -> Fit | None:
    """The way of that name.

    Raises
    ------
    StampError
        If there is none.
    """
    for fit in FITS:
        if word == fit:
            return fit
    if word is None:
        return None
    raise StampError(f"There is no way {word!r} to make stamps of one size.", f"--fit takes {', '.join(FITS)}.")


def fitted(pixels: NDArray[Any], shape: Shape, fit: Fit, *, fluxes: bool) -> NDArray[Any]:
    """`pixels` (3, H, W) as a stamp (3, *shape).

    Parameters
    ----------
    fit : str
        "crop" cuts the centre, and refuses what is smaller; "pad" also puts empty sky around what is smaller; "shrink"
        makes the whole of a larger image smaller, without changing its proportions, and pads the rest.
    fluxes : bool
        Whether pixels hold fluxes, whose sum stays when they are shrunk, or brightnesses, whose mean does.
    """
    if fit == "shrink":
        factor = shrinking(pixels.shape[1:], shape)  # type: ignore[arg-type]
        if factor > 1:
            pixels = area_shrunk(pixels, factor, fluxes=fluxes)
    if fit != "crop":
        pixels = _padded(pixels, shape)
    return centre_crop(pixels, shape)


def shrinking(size: Shape, shape: Shape) -> float:
    """How many pixels of an image of `size` one of a stamp of `shape` is wide for all of it to be seen; at least 1."""
    return max(1.0, size[0] / shape[0], size[1] / shape[1])


def first_pixel(size: Shape, shape: Shape, fit: Fit) -> tuple[float, NDArray[np.float64]]:
    """How many pixels of an image of `size` one of its stamp of `shape` is wide, and where on it the stamp begins.

    The latter is row and column of the stamp's outer corner, in pixels of the image from its own.
    """
    whole, wanted = np.array(size, dtype=np.float64), np.array(shape)
    factor = shrinking(size, shape) if fit == "shrink" else 1.0
    if factor > 1:
        kept = np.array([_count(length, factor) for length in size])
        first = (whole - kept * factor) / 2
    else:
        kept = np.minimum(size, shape)
        first = (whole - kept) // 2
    return factor, first - factor * ((wanted - kept) // 2)


def area_shrunk(pixels: NDArray[Any], factor: float, *, fluxes: bool) -> NDArray[Any]:
    """`pixels` (3, H, W) on a grid `factor` times as coarse, each old pixel shared out by area.

    NaN counts as not measured: a new pixel holds what its measured part says, and is NaN without one.
    """
    rows, columns = (_shares(length, factor) for length in pixels.shape[1:])
    known = np.isfinite(pixels)
    light = rows @ np.where(known, pixels, 0).astype(np.float64) @ columns.T
    measured = rows @ known.astype(np.float64) @ columns.T
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(measured > 1e-9, light / measured, np.nan)
    if fluxes:
        return (mean * factor**2).astype(pixels.dtype)
    return np.rint(mean).astype(pixels.dtype) if pixels.dtype.kind == "u" else mean.astype(pixels.dtype)


def _shares(length: int, factor: float) -> NDArray[np.float64]:
    """How much of each old pixel (columns) lies on each new one (rows); the grids share their centre."""
    count = _count(length, factor)
    edges = length / 2 + (np.arange(count + 1) - count / 2) * factor
    old = np.arange(length)
    overlap = np.minimum(edges[1:, None], old + 1) - np.maximum(edges[:-1, None], old)
    return cast(NDArray[np.float64], np.clip(overlap, 0, None))


def _count(length: int, factor: float) -> int:
    """Pixels of a side once it is shrunk."""
    return max(1, round(length / factor))


def _padded(pixels: NDArray[Any], shape: Shape) -> NDArray[Any]:
    """At least `shape`, with black around pictures and NaN, not measured, around fluxes."""
    short = [max(0, wanted - have) for wanted, have in zip(shape, pixels.shape[1:], strict=True)]
    if not any(short):
        return pixels
    around = [(0, 0), *((missing // 2, missing - missing // 2) for missing in short)]
    return np.pad(pixels, around, constant_values=0 if pixels.dtype.kind == "u" else np.nan)
