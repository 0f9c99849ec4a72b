"""Label Studio's brush masks: run lengths of an RGBA picture, packed into bits (thi.ng/rle-pack).

A stream is the number of values (32 bits), the word size less one (5) and four count sizes less one (4 each), then
runs. A run is a bit (1: one word, repeated; 0: that many words), two bits that choose a count size, the count less
one, and the word or words. A pixel is four words, of which the fourth, alpha, says whether it belongs to the mask.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lvm_training.errors import GalaxyLoopError

Mask = NDArray[np.bool_]

CHANNELS = 4
WORD = 8  # bits
COUNT_SIZES = (3, 4, 8, 16)  # bits, as every encoder of Label Studio writes them
HEADER = 32 + 5 + 4 * 4  # bits
LONGEST = 2 ** COUNT_SIZES[-1]
MAX_VALUES = 2**32 - 1  # what the header can say


class BrushError(GalaxyLoopError):
    """A brush mask that cannot be read, or one too large to be written."""

    code = "brush"


def encode(mask: Mask) -> list[int]:
    """A mask (H, W) as a region's `rle`: the bytes of label-studio-sdk's `mask2rle` for a mask of 0 and 255.

    Raises
    ------
    BrushError
        If the mask is not a plane with at least one pixel and fewer than 2^30.
    """
    if mask.ndim != 2 or not 0 < CHANNELS * mask.size <= MAX_VALUES:
        raise BrushError(f"A mask of shape {mask.shape} cannot be a brush mask.", "Give one plane (H, W).")
    flat = mask.ravel()
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    lengths = CHANNELS * np.diff(starts, append=flat.size)
    kinds = np.searchsorted([2**size for size in COUNT_SIZES[:-1]], lengths)
    pieces = np.where(kinds == len(COUNT_SIZES) - 1, -(-lengths // LONGEST), 1)
    counts = np.minimum(np.repeat(lengths, pieces), LONGEST)
    counts[np.cumsum(pieces) - 1] = lengths - (pieces - 1) * LONGEST
    words = np.where(flat[starts], 2**WORD - 1, 0)
    return _packed(4 * mask.size, np.repeat(kinds, pieces), counts, np.repeat(words, pieces))


def _packed(values: int, kinds: NDArray[np.intp], counts: NDArray[np.int64], words: NDArray[np.int64]) -> list[int]:
    """The header and runs of repeated words, as bytes."""
    sizes = np.array(COUNT_SIZES)[kinds]
    widths = 1 + 2 + sizes + WORD
    codes = ((0b100 | kinds) << sizes | counts - 1) << WORD | words
    aligned = (codes << (32 - widths)).astype(">u4")
    bits = np.unpackbits(aligned.view(np.uint8).reshape(-1, 4), axis=1)
    header = f"{values:032b}{WORD - 1:05b}" + "".join(f"{size - 1:04b}" for size in COUNT_SIZES)
    head = np.frombuffer(header.encode(), dtype=np.uint8) - ord("0")
    stream = np.concatenate([head, bits[np.arange(32) < widths[:, None]]])
    # like label-studio-sdk, which adds eight zeros where none are needed
    packed: list[int] = np.packbits(np.pad(stream, (0, 8 - stream.size % 8))).tolist()
    return packed


def decode(rle: Sequence[int], shape: tuple[int, int], *, to: tuple[int, int] | None = None) -> Mask:
    """The mask that a region's `rle` describes; every pixel that is not wholly transparent belongs to it.

    That is the mask that Label Studio shows and that its COCO export takes. Memory is of the order of `rle` and the
    mask returned, whatever the stream says.

    Parameters
    ----------
    rle : sequence of int
        Bytes 0 to 255.
    shape : (int, int)
        Height and width of the picture it was drawn on, the region's `original_height` and `original_width`.
    to : (int, int) or None
        Height and width to resample the mask to, nearest neighbour; None keeps `shape`.

    Raises
    ------
    BrushError
        If `rle` is not a list of bytes, is truncated or longer than its values need, or is of another picture size.
    """
    height, width = shape
    if min(height, width) < 1:
        raise BrushError(f"A picture of {width} x {height} pixels has no brush masks.")
    opaque, ends = _runs(_bytes(rle), CHANNELS * height * width)
    # pixel i's alpha is value 4 i + 3
    last = ends // CHANNELS
    if to is None or to == shape:
        return np.repeat(opaque, np.diff(last, prepend=0)).reshape(shape)
    return _resampled(opaque, last, shape, to)


def nearest(old: int, new: int) -> NDArray[np.int64]:
    """Which of `old` pixels lies under the centre of each of `new` pixels, shape (new,)."""
    return (2 * np.arange(new, dtype=np.int64) + 1) * old // (2 * new)


def _resampled(opaque: Mask, last: NDArray[np.int64], shape: tuple[int, int], to: tuple[int, int]) -> Mask:
    """The nearest pixels of runs that end before the pixels `last`, without drawing the picture of `shape`."""
    rows, columns = (nearest(old, new) for old, new in zip(shape, to, strict=True))
    kept, copies = np.unique(rows, return_inverse=True)
    row, column = np.divmod(last, shape[1])
    above = np.searchsorted(kept, row)
    beside = np.where(np.isin(row, kept), np.searchsorted(columns, column), 0)
    lines = np.repeat(opaque, np.diff(above * to[1] + beside, prepend=0)).reshape(kept.size, to[1])
    mask: Mask = lines[copies]
    return mask


def _bytes(rle: Sequence[int]) -> bytes:
    if isinstance(rle, list | tuple):
        try:
            return bytes(rle)
        except (TypeError, ValueError) as error:
            raise BrushError(f"A brush mask is no list of bytes ({error}).", "Draw it anew.") from error
    raise BrushError(f"A brush mask is a {type(rle).__name__} instead of a list of bytes.", "Draw it anew.")


def _count_sizes(data: bytes, values: int) -> list[int]:
    """The header's count sizes, if it announces that many values of eight bits."""
    header = int.from_bytes(data[:7].ljust(7, b"\0"))
    said, word = header >> 24, (header >> 19 & 31) + 1
    if len(data) * 8 < HEADER or said != values or word != WORD:
        raise BrushError(
            f"A brush mask has {said} values of {word} bits; its picture needs {values} of {WORD}.",
            "It is truncated, or `original_width` and `original_height` are not those it was drawn at.",
        )
    return [(header >> shift & 15) + 1 for shift in (15, 11, 7, 3)]


def _runs(data: bytes, values: int) -> tuple[Mask, NDArray[np.int64]]:
    """Whether each run's word is above 0, and where each run ends; a literal word is a run of its own."""
    sizes, bits = _count_sizes(data, values), len(data) * 8
    padded = data + bytes(5)  # so that a run's head can be read at any bit
    words, lengths = bytearray(), []
    at, done = HEADER, 0
    while done < values:
        head = int.from_bytes(padded[at >> 3 : (at >> 3) + 5]) << (at & 7)
        size = sizes[head >> 37 & 3]
        count = (head >> (37 - size) & (1 << size) - 1) + 1
        repeated = head >> 39 & 1
        start = at + 3 + size
        at = start + WORD * (1 if repeated else count)
        done += count
        if at > bits or done > values:
            raise BrushError("A brush mask is truncated, or has more values than it says.", "Draw it anew.")
        if repeated:
            words.append(head >> (29 - size) & 255)
            lengths.append(count)
        else:
            words += _words(data, start, count)
            lengths += [1] * count
    if bits - at > 8:
        raise BrushError(f"A brush mask goes on for {bits - at} bits after its last value.", "Draw it anew.")
    return np.frombuffer(words, dtype=np.uint8) > 0, np.cumsum(lengths)


def _words(data: bytes, at: int, count: int) -> bytes:
    """Words of eight bits that begin at any bit."""
    chunk = data[at >> 3 : (at + count * WORD + 7) >> 3]
    spare = len(chunk) * 8 - (at & 7) - count * WORD
    return (int.from_bytes(chunk) >> spare & (1 << count * WORD) - 1).to_bytes(count)
