"""Restores the stamps of a set, a batch at a time, and says what is wrong with which."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lvm_training.parameters.flags import BLANK, EDGE, NO_BAND, SATURATED, SEPARATOR, stamp_flags
from lvm_training.progress import Progress
from lvm_training.restoration.restorer import Restored, Restorer, flux_ratios, told
from lvm_training.revision import code_revision
from lvm_training.stamps.stampset import StampSet

DAMAGED = "damaged"
MEANINGS = {
    BLANK: "nothing is seen in the middle",
    SATURATED: "a plateau of saturated pixels, which stay as they are",
    EDGE: "part of it was not observed, or the galaxy reaches the stamp's edge",
    **{flag: f"band {band} was not observed" for flag, band in NO_BAND.items()},
    DAMAGED: "its part of the file cannot be read",
}
"""What each flag says."""
FLAGS, LUMP, FLUX = "restoration_flags", "restoration_lump", "restoration_flux"
BANDS = ("g", "r", "z")
BATCH_PIXELS = 16 * 152**2  # of stamps that are restored at once


class Batch(NamedTuple):
    """Restored rows.

    Attributes
    ----------
    rows : ndarray (n,) of int
    restored : Restored
    columns : mapping
        What is said of each (n,): flags, the worst lump, and restored over observed flux of each band.
    """

    rows: NDArray[np.int64]
    restored: Restored
    columns: Mapping[str, NDArray[np.generic]]


def batch_size(shape: tuple[int, int]) -> int:
    """How many stamps (H, W) are restored at once, so that memory stays bounded."""
    return max(1, min(64, BATCH_PIXELS // (shape[0] * shape[1])))


def restored_batches(
    stamps: StampSet, restorer: Restorer, rows: Sequence[int], *, progress: Progress | None = None
) -> Iterator[Batch]:
    """Some rows of a set restored, in order.

    A row whose part of the file cannot be read is NaN, or black, and flagged; all others are restored.
    """
    size = batch_size(stamps.shape)
    for start in range(0, len(rows), size):
        chosen = np.asarray(rows[start : start + size], dtype=np.int64)
        yield _restored(stamps, restorer, chosen)
        if progress is not None:
            progress(start + len(chosen), len(rows))


def _restored(stamps: StampSet, restorer: Restorer, rows: NDArray[np.int64]) -> Batch:
    pixels, damaged = stamps.intact_pixels(rows)
    restored = restorer.restore(pixels, stamps.rendering, stamps.pixel_scale)
    flags = [[flag for flag in found if flag in MEANINGS] for found in stamp_flags(pixels)]
    for place in np.flatnonzero(np.isin(rows, damaged)).tolist():
        flags[place] = [DAMAGED]
    flux = flux_ratios(restored.pixels, pixels, stamps.pixel_scale)
    columns: dict[str, NDArray[np.generic]] = {
        FLAGS: np.array([SEPARATOR.join(found) for found in flags], dtype=object),
        LUMP: restored.worst_lump,
    }
    columns |= {f"{FLUX}_{band}": flux[:, place] for place, band in enumerate(BANDS)}
    return Batch(rows, restored, columns)


def provenance(stamps: StampSet, restorer: Restorer) -> dict[str, Any]:
    """What restored a set, and how far it can be trusted: kept beside the pixels."""
    accuracy = restorer.calibration(stamps.rendering, stamps.pixel_scale).accuracy
    return {
        "stamps": stamps.digest,
        "source": stamps.name,
        "model": restorer.digest,
        "network": restorer.lvm.name,
        "views": restorer.views,
        "precision": restorer.precision,
        "code": code_revision(),
        "unit": unit(stamps),
        "accuracy": dict(told(accuracy)),
    }


def unit(stamps: StampSet) -> str:
    """What the pixels of a set are in, as FITS spells it; pictures have no unit."""
    return "nanomaggy" if stamps.rendering == "nanomaggies" else ""
