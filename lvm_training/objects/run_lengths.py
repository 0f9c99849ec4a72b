"""COCO's run lengths of masks: lengths of background and object in turn, down the columns (pycocotools' `maskApi.c`).

They are unpacked here rather than by pycocotools, which writes beyond its memory where packed lengths are longer than
the picture.
"""

from typing import Any

import numpy as np
from pycocotools import mask as coco_mask
from pydantic import BaseModel, ConfigDict, NonNegativeInt

from lvm_training.objects.instances import InstanceError, Masks


def pack_mask(mask: Masks) -> dict[str, Any]:
    """A mask (H, W) as COCO's compressed run lengths."""
    packed = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": [int(side) for side in packed["size"]], "counts": packed["counts"].decode()}


class RunLengths(BaseModel):
    """COCO's run lengths of a mask: lengths of background and object in turn, packed or as a list."""

    model_config = ConfigDict(frozen=True)

    size: tuple[int, int]
    counts: str | list[NonNegativeInt]


def unpack_mask(lengths: RunLengths, shape: tuple[int, int]) -> Masks:
    """The mask (H, W) that run lengths describe.

    Raises
    ------
    InstanceError
        If they are of another picture size, malformed, or do not add up to it.
    """
    height, width = shape
    counts = _unpacked(lengths.counts) if isinstance(lengths.counts, str) else lengths.counts
    if lengths.size != shape:
        rows, columns = lengths.size
        raise InstanceError(
            f"Run lengths of {rows} x {columns} pixels lie on a picture of {height} x {width} (rows first)."
        )
    # Python's sum, since a list may hold numbers beyond 64 bits
    excess = sum(counts) - height * width
    if excess or min(counts, default=0) < 0:
        wrong = "too long" if excess > 0 else "too short" if excess else "one is negative"
        raise InstanceError(f"Run lengths do not fill a picture of {height} x {width} pixels (rows first): {wrong}.")
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(width, height).T


def _unpacked(text: str) -> list[int]:
    """Run lengths from five bits a character, the lowest first; from the fourth on, differences from the last but one.

    A character is 48 and its five bits, and 32 where the number goes on; the last bit of a number is its sign.
    """
    codes = np.frombuffer(text.encode("utf-8", "surrogatepass"), dtype=np.uint8).astype(np.int64) - 48
    ends = np.flatnonzero((codes & 32) == 0) + 1
    lengths = np.diff(ends, prepend=0)
    if not codes.size or codes.min() < 0 or codes.max() > 63 or codes[-1] & 32 or lengths.max() > 7:
        raise InstanceError("Packed run lengths are malformed.")
    starts = ends - lengths
    places = np.arange(codes.size) - np.repeat(starts, lengths)
    counts = np.add.reduceat((codes & 31) << 5 * places, starts) - ((codes[ends - 1] & 16) << 5 * lengths - 4)
    counts[1::2], counts[2::2] = np.cumsum(counts[1::2]), np.cumsum(counts[2::2])
    unpacked: list[int] = counts.tolist()
    return unpacked
