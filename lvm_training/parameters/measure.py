"""Measures the galaxies of a stamp set, a batch at a time: numbers, errors and flags."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lvm_training.parameters.flags import BLANK, SEPARATOR, UNLIKE, stamp_flags
from lvm_training.parameters.head import Measured, ParameterHead
from lvm_training.parameters.oriented import PARTS, OrientedEncoder
from lvm_training.parameters.parameter import PARAMETERS
from lvm_training.progress import Progress
from lvm_training.stamps.render import render_pixels
from lvm_training.stamps.stampset import StampSet

BATCH = 64
SIZE = "half_light_radius"
NO_SCALE = f"the pixel scale is unknown: {SIZE} is left out"
PICTURES = "pictures as delivered: their brightness is taken as that of the Legacy Surveys viewer"


class Batch(NamedTuple):
    """What was measured of some rows.

    Attributes
    ----------
    rows : ndarray (n,) of int
    measured : Measured
        NaN where a stamp shows nothing.
    flags : list of str
        Flags of each (`flags.MEANINGS`), with a semicolon between two; "" where nothing is wrong.
    """

    rows: NDArray[np.int64]
    measured: Measured
    flags: list[str]


def split_features(features: NDArray[np.floating]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Features (N, D) and oriented features (N, 2, D) from those of an `OrientedEncoder` (N, 3 D)."""
    parts = np.asarray(features, np.float32).reshape(len(features), PARTS, -1)
    return parts[:, 0], parts[:, 1:]


def measure_set(
    stamps: StampSet,
    encoder: OrientedEncoder,
    head: ParameterHead,
    *,
    rows: NDArray[np.int64] | None = None,
    progress: Progress | None = None,
) -> Iterator[Batch]:
    """What a head says of some stamps, all by default, `BATCH` at a time.

    A stamp that shows nothing, or cannot be read, gets no numbers; of one that is saturated, cut off, crowded or unlike
    all that the head learned from they are given, and its flags say so.
    """
    wanted = np.arange(len(stamps)) if rows is None else rows
    for start in range(0, len(wanted), BATCH):
        chosen = wanted[start : start + BATCH]
        pixels, _ = stamps.intact_pixels(chosen)
        flags = stamp_flags(pixels)
        pictures = render_pixels(stamps, pixels, encoder.rendering)
        features, oriented = split_features(encoder.features(pictures).numpy())
        measured = head.predict(features, oriented)
        if not np.isfinite(stamps.pixel_scale):
            leave_out_sizes(measured, head.classes)
        blank = np.array([BLANK in found for found in flags])
        for part in measured:
            part[blank] = np.nan
        for place in np.flatnonzero(head.is_unlike(features) & ~blank).tolist():
            flags[place].append(UNLIKE)
        yield Batch(chosen, measured, [SEPARATOR.join(found) for found in flags])
        if progress is not None:
            progress(start + len(chosen), len(wanted))


def leave_out_sizes(measured: Measured, names: Sequence[str], places: Sequence[int] | None = None) -> None:
    """Take away the half-light radii of galaxies, all by default: nothing says how many arcsec their pixels are."""
    if SIZE in names:
        for part in measured:
            part[slice(None) if places is None else list(places), names.index(SIZE)] = np.nan


def remarks(stamps: StampSet, head: ParameterHead) -> list[str]:
    """What a reader of the numbers should know of their stamps."""
    found = [PICTURES] if stamps.rendering == "as-delivered" and "mag_r" in head.classes else []
    unknown = not np.isfinite(stamps.pixel_scale) and SIZE in head.classes
    return found + ([NO_SCALE] if unknown else [])


def measured_names(head: ParameterHead) -> list[str]:
    """The parameters that a head measures, in the order in which they are told."""
    return [name for name in PARAMETERS if name in head.classes]
