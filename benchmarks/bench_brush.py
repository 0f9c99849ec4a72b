"""Claim: brush masks are encoded and decoded five times or more faster than by label-studio-sdk, byte for byte.

Random blobs as a person would draw them, at three picture sizes; both codecs on the same masks in the same run, the
least of several timings. The last column is the SDK's time over ours, for encoding and decoding together.

    python -m benchmarks.bench_brush
"""

import time
from collections.abc import Callable, Sequence

import numpy as np
from label_studio_sdk.converter.brush import decode_rle, mask2rle
from numpy.typing import NDArray

from backend_ml.label_studio.regions.brush import decode, encode
from benchmarks.report import Row, save

SIZES = (64, 256, 1024)  # pixels
MASKS, BLOBS, REPEATS = 8, 4, 9


def blobs(size: int, random: np.random.Generator) -> NDArray[np.bool_]:
    """Some overlapping discs on a picture."""
    y, x = np.mgrid[:size, :size] / size
    mask = np.zeros((size, size), dtype=bool)
    for column, row, radius in zip(
        random.random(BLOBS), random.random(BLOBS), random.uniform(0.03, 0.2, BLOBS), strict=True
    ):
        mask |= np.hypot(x - column, y - row) < radius
    return mask


def least_ms(work: dict[str, Callable[[], object]]) -> dict[str, float]:
    """The shortest time of each work, milliseconds a mask; they take turns, so that all see the same machine."""
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(REPEATS):
        for name, once in work.items():
            started = time.perf_counter()
            once()
            seconds[name].append(time.perf_counter() - started)
    return {name: 1000 * min(times) / MASKS for name, times in seconds.items()}


def sdk_encode(mask: NDArray[np.bool_]) -> list[int]:
    """The SDK's way to a region's `rle`."""
    rle: list[int] = mask2rle(mask.astype(np.uint8) * 255)  # type: ignore[no-untyped-call]
    return rle


def measured(size: int, masks: Sequence[NDArray[np.bool_]]) -> Row:
    """Times and ratio at one size, once both codecs agree.

    Raises
    ------
    ValueError
        If they do not.
    """
    streams = [sdk_encode(mask) for mask in masks]
    if [encode(mask) for mask in masks] != streams:
        raise ValueError(f"Not byte for byte the same at {size} pixels.")
    if any((decode(rle, (size, size)) != mask).any() for rle, mask in zip(streams, masks, strict=True)):
        raise ValueError(f"Not decoded alike at {size} pixels.")
    times = least_ms(
        {
            "encode_ms": lambda: [encode(mask) for mask in masks],
            "sdk_encode_ms": lambda: [sdk_encode(mask) for mask in masks],
            "decode_ms": lambda: [decode(rle, (size, size)) for rle in streams],
            "sdk_decode_ms": lambda: [decode_rle(rle).reshape(size, size, 4)[..., 3] for rle in streams],
        }
    )
    theirs, ours = (times[f"{whose}encode_ms"] + times[f"{whose}decode_ms"] for whose in ("sdk_", ""))
    return {"pixels": size, "bytes": round(sum(map(len, streams)) / len(streams)), **times, "times": theirs / ours}


def main() -> None:
    """Measure each size and print the ratios."""
    random = np.random.default_rng(0)
    save("brush", [measured(size, [blobs(size, random) for _ in range(MASKS)]) for size in SIZES])


if __name__ == "__main__":
    main()
