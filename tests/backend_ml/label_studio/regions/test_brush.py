"""Brush masks against label-studio-sdk's encoder and decoder, against the browser's encoder, and broken ones."""

import tracemalloc
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from label_studio_sdk.converter.brush import decode_rle, encode_rle, mask2rle
from numpy.typing import NDArray

from backend_ml.label_studio.regions.brush import BrushError, decode, encode, nearest

FROM_THE_BROWSER = bytes.fromhex(
    "00002580391bff08bf008d2e3998f463f38ffe3f38f463998d2f618046ad1e8e23ff8f46356d6e011cce33ff8e675780475f8effe3afd4e0"
    "11cce43ff8e674f8046ad92ffe356d36011e8e4bff8f474b80469794ffe34bd26011cce53ff8e67498047a394ffe3d1d26011f9e53ff8fcf"
    "498065bffd26011f9e53ff8fcf498047a394ffe3d1d26011cce53ff8e674980469794ffe34bd2e011e8e4bff8f474d8046ad92ffe356d3e0"
    "11cce43ff8e675380475f8effe3afd5e011cce33ff8e675b8046ad1e8e23ff8f46356d86011a5c7331e8c7e71ffc7e71e8c7331a5f07fb00"
)
"""A disc of radius 12 with soft edges, 60 x 40 pixels, as Label Studio 1.23.2's own encoder in the browser wrote it."""

Mask = NDArray[np.bool_]
MASKS = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=40))


def sdk_encode(mask: Mask) -> list[int]:
    rle: list[int] = mask2rle(mask.astype(np.uint8) * 255)  # type: ignore[no-untyped-call]
    return rle


def read(rle: list[int], plane: NDArray[Any], to: tuple[int, int] | None = None) -> Mask:
    """Decoded at the size of `plane`."""
    height, width = plane.shape[:2]
    return decode(rle, (height, width), to=to)


def packed(words: Sequence[int], sizes: Sequence[int], literals: Sequence[bool], *, word: int = 8) -> list[int]:
    """A naive twin of the browser's encoder: runs of at most eight words, each repeated or literal."""
    bits = f"{len(words):032b}{word - 1:05b}" + "".join(f"{size - 1:04b}" for size in sizes)
    for number, start in enumerate(range(0, len(words), 8)):
        run = list(words[start : start + 8])
        size = number % 4
        literal = literals[number % len(literals)] or len(set(run)) > 1
        pieces = [run] if 2 ** sizes[size] >= len(run) else [[one] for one in run]
        for piece in pieces:
            bits += f"{not literal:b}{size:02b}{len(piece) - 1:0{sizes[size]}b}"
            bits += "".join(f"{value:08b}" for value in (piece if literal else piece[:1]))
    bits += "0" * (-len(bits) % 8)
    return [int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)]


@given(MASKS)
def test_encoding_is_byte_for_byte_that_of_label_studio(mask: Mask) -> None:
    assert encode(mask) == sdk_encode(mask)
    assert (decode_rle(encode(mask)).reshape(*mask.shape, 4)[..., 3] > 0).tolist() == mask.tolist()


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (1, 4), (1, 5), (8, 8), (128, 128), (129, 130), (300, 511)])
@pytest.mark.parametrize("value", [False, True])
def test_whole_and_empty_masks_across_every_count_size(shape: tuple[int, int], value: bool) -> None:
    mask = np.full(shape, value)
    assert encode(mask) == sdk_encode(mask)
    assert (decode(encode(mask), shape) == mask).all()


@pytest.mark.parametrize("pixels", [16383, 16384, 16385, 32768, 32832, 49152])
def test_runs_longer_than_a_count_can_say_are_split_alike(pixels: int) -> None:
    mask = np.arange(60_000)[None] >= pixels
    assert encode(mask) == sdk_encode(mask)
    assert (read(encode(mask), mask) == mask).all()


@given(arrays(np.uint8, st.tuples(st.integers(1, 20), st.integers(1, 20), st.just(4))))
def test_every_pixel_that_is_not_transparent_belongs_to_the_mask(rgba: NDArray[np.uint8]) -> None:
    assert (read(encode_rle(rgba.ravel()), rgba) == (rgba[..., 3] > 0)).all()  # type: ignore[no-untyped-call]


@given(
    arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12), st.just(4)), elements=st.sampled_from([0, 9])),
    st.tuples(*[st.integers(1, 16)] * 4),
    st.lists(st.booleans(), min_size=1, max_size=5),
)
def test_streams_of_any_run_sizes_are_read_as_the_sdk_reads_them(
    rgba: NDArray[np.uint8], sizes: tuple[int, int, int, int], literals: list[bool]
) -> None:
    rle = packed(rgba.ravel().tolist(), sizes, literals)
    assert (decode_rle(rle) == rgba.ravel()).all()
    assert (read(rle, rgba) == (rgba[..., 3] > 0)).all()


def test_what_the_browser_writes_is_read() -> None:
    y, x = np.mgrid[:40, :60]
    disc = np.round((12 - np.hypot(x - 24, y - 20)) * 255) > 0
    assert (decode(list(FROM_THE_BROWSER), (40, 60)) == disc).all()


@given(MASKS, st.tuples(st.integers(1, 50), st.integers(1, 50)))
def test_resampling_takes_the_pixel_under_the_new_ones_centre(mask: Mask, to: tuple[int, int]) -> None:
    rows, columns = (
        [int(Fraction(2 * i + 1, 2 * new) * old) for i in range(new)] for old, new in zip(mask.shape, to, strict=True)
    )
    assert (read(encode(mask), mask, to) == mask[np.ix_(rows, columns)]).all()
    assert nearest(mask.shape[0], to[0]).tolist() == rows


SQUARE = np.eye(6, dtype=bool)


@pytest.mark.parametrize(
    ("rle", "message"),
    [
        ([], "0 values"),
        (encode(SQUARE)[:5], "144 values|0 values"),
        (encode(SQUARE)[:-3], "truncated"),
        ([*encode(SQUARE), 0, 0], "after its last value"),
        (encode(np.eye(5, dtype=bool)), "100 values"),
        (packed([0] * 144, (3, 4, 8, 16), [False], word=4), "of 4 bits"),
        ([*encode(SQUARE)[:7], *[255] * 100], "more values"),
        ([*encode(SQUARE)[:-1], 256], "no list of bytes"),
        ([*encode(SQUARE)[:-1], -1], "no list of bytes"),
        ([*encode(SQUARE)[:-1], 1.5], "no list of bytes"),
        ([*encode(SQUARE)[:-1], None], "no list of bytes"),
        ("rle", "str"),
        (10**12, "int"),
        (None, "NoneType"),
    ],
)
def test_broken_streams_are_refused(rle: list[int], message: str) -> None:
    with pytest.raises(BrushError, match=message):
        read(rle, SQUARE)


@given(MASKS, st.data())
def test_a_damaged_stream_gives_a_mask_or_our_error(mask: Mask, data: st.DataObject) -> None:
    rle = encode(mask)
    for _ in range(data.draw(st.integers(1, 3))):
        rle[data.draw(st.integers(0, len(rle) - 1))] = data.draw(st.integers(0, 255))
    cut = rle[: data.draw(st.integers(0, len(rle)))]
    try:
        assert read(cut, mask).shape == mask.shape
    except BrushError as error:
        assert error.message


@pytest.mark.parametrize("mask", [np.zeros((0, 3), bool), np.zeros(4, bool), np.zeros((1, 2, 3), bool)])
def test_what_is_no_plane_is_not_encoded(mask: Mask) -> None:
    with pytest.raises(BrushError, match="shape"):
        encode(mask)


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (-6, -6)])
def test_a_picture_without_pixels_has_no_masks(shape: tuple[int, int]) -> None:
    with pytest.raises(BrushError, match="no brush masks"):
        decode(encode(SQUARE), shape)


def test_a_small_stream_of_a_huge_picture_costs_no_memory() -> None:
    side = 8192
    bits = f"{4 * side**2:032b}{7:05b}" + "".join(f"{size - 1:04b}" for size in (3, 4, 8, 16))
    bits += ("111" + "1" * 16 + "1" * 8) * (4 * side**2 // 2**16)
    bits += "0" * (-len(bits) % 8)
    rle = list(int(bits, 2).to_bytes(len(bits) // 8))
    tracemalloc.start()
    try:
        assert decode(rle, (side, side), to=(4, 4)).all()
        with pytest.raises(BrushError, match="its picture needs"):
            decode(rle, (side, side + 1))
        assert tracemalloc.get_traced_memory()[1] < 10e6
    finally:
        tracemalloc.stop()
