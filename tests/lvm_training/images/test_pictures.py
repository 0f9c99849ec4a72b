"""Pictures of every kind that cameras and surveys write, and damaged ones."""

import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from lvm_training.errors import StampError
from lvm_training.images.pictures import (
    MAX_PIXELS,
    centre_crop,
    check_pixels,
    picture_shape,
    picture_white,
    read_picture,
)
from lvm_training.images.wide_frame import WideFrame
from lvm_training.importing.importer import import_stamps
from lvm_training.importing.single import read_single
from lvm_training.inference.frames import common_white, images_in
from lvm_training.stamps.stampset import StampSet
from tests.lvm_training.images.images import write


def galaxy(height: int = 24, width: int = 32) -> NDArray[np.uint8]:
    """A colour picture (H, W, 3), bright in its upper left quarter."""
    rows, columns = np.mgrid[:height, :width]
    light = 250 * np.exp(-((rows - height / 4) ** 2 + (columns - width / 4) ** 2) / 40)
    return np.stack([light, light * 0.8, light * 0.5 + 4], axis=-1).astype(np.uint8)


def save(path: Path, image: Image.Image, **options: object) -> Path:
    """Save a picture and give its path back."""
    image.save(path, **options)  # type: ignore[arg-type]
    return path


def chw(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W, 3) as (3, H, W)."""
    return np.moveaxis(picture, -1, 0)


def test_a_png_is_read_as_it_is(tmp_path: Path) -> None:
    path = save(tmp_path / "g.png", Image.fromarray(galaxy()))
    read = read_picture(path)
    assert (read.dtype, picture_shape(path)) == (np.uint8, (24, 32))
    np.testing.assert_array_equal(read, chw(galaxy()))


def test_a_jpeg_is_read_within_its_losses(tmp_path: Path) -> None:
    path = save(tmp_path / "g.jpg", Image.fromarray(galaxy()), quality=95)
    np.testing.assert_allclose(read_picture(path).astype(int), chw(galaxy()).astype(int), atol=12)


def test_grey_pictures_have_three_equal_bands(tmp_path: Path) -> None:
    grey = galaxy()[..., 0]
    for suffix, image in (("png", Image.fromarray(grey)), ("png", Image.fromarray(grey).convert("LA"))):
        read = read_picture(save(tmp_path / f"g.{suffix}", image))
        np.testing.assert_array_equal(read, np.stack([grey] * 3))


def test_sixteen_bits_become_eight(tmp_path: Path) -> None:
    deep = (galaxy()[..., 0].astype(np.uint16) * 257) + 50
    read = read_picture(save(tmp_path / "g.png", Image.fromarray(deep)))
    np.testing.assert_array_equal(read, np.stack([galaxy()[..., 0]] * 3))


@pytest.mark.parametrize("white", [255, 1023, 4095, 16383, 65535])
def test_sixteen_bits_may_hold_fewer(tmp_path: Path, white: int) -> None:
    (tmp_path / "in").mkdir()
    deep = np.rint(galaxy()[..., 0] / galaxy().max() * white).astype(np.uint16)
    path = save(tmp_path / "in" / "g.png", Image.fromarray(deep))
    wanted = np.stack([np.rint(deep * (255.0 / white))] * 3)
    np.testing.assert_allclose(read_picture(path), wanted, atol=1)
    # of a folder all have one white
    save(tmp_path / "in" / "h.png", Image.fromarray(deep // 20))
    with StampSet(import_stamps(tmp_path / "in", tmp_path / "out.h5").out) as stamps:
        found = stamps.pixels(np.s_[:]).astype(float)
    np.testing.assert_allclose(found[0], wanted, atol=1)
    np.testing.assert_allclose(found[1], wanted / 20, atol=1.5)


def deep_png(path: Path, values: NDArray[Any]) -> Path:
    """A PNG of 16 bits of colours, with or without transparency, which Pillow does not write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, planes = values.shape
    header = struct.pack(">IIBBBBB", width, height, 16, {3: 2, 4: 6}[planes], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )
    return path


@pytest.mark.parametrize("white", [255, 4095, 16383, 65535])
@pytest.mark.parametrize("alpha", [False, True])
def test_colours_of_sixteen_bits_have_the_white_of_their_depth(tmp_path: Path, white: int, alpha: bool) -> None:
    deep = np.rint(galaxy() / galaxy().max() * white).astype(np.uint16)
    stored = np.dstack([deep, np.full(deep.shape[:2], 65535, np.uint16)]) if alpha else deep
    path = deep_png(tmp_path / "g.png", stored)
    assert picture_white(path) == white
    np.testing.assert_allclose(read_picture(path), chw(np.rint(deep * (255.0 / white))), atol=1)
    if alpha:
        stored[:, :16, 3] = 0
        assert read_picture(deep_png(path, stored))[..., :16].max() == 0


@pytest.mark.parametrize(
    ("start", "what"),
    [
        (b"<!DOCTYPE html>", "a web page or XML"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "a pointer of Git LFS"),
        (b"PK\x03\x04rest", "a zip file"),
        (b"II*\0rest", "TIFF"),
    ],
)
@pytest.mark.parametrize("suffix", ["png", "fits"])
def test_a_file_of_another_kind_is_called_so(tmp_path: Path, start: bytes, what: str, suffix: str) -> None:
    path = tmp_path / f"g.{suffix}"
    path.write_bytes(start)
    with pytest.raises(StampError, match=f"unreadable: not a .*, but {what}"):
        read_single(path)


@pytest.mark.parametrize("suffix", ["png", "fits"])
def test_a_hot_pixel_does_not_darken_the_set(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "in").mkdir()
    for number in range(3):
        deep = np.rint(galaxy()[..., 0] / galaxy().max() * 4000).astype(np.uint16)
        deep[20, 5:7] = (60_000, 65_535) if number == 1 else deep[20, 5:7]
        if suffix == "png":
            save(tmp_path / "in" / f"{number}.png", Image.fromarray(deep))
        else:
            write(tmp_path / "in" / f"{number}.fits", np.stack([deep] * 3), BANDS="r,g,b")
    report = import_stamps(tmp_path / "in", tmp_path / "out.h5")
    with StampSet(report.out) as stamps:
        pixels, white = stamps.pixels(np.s_[:]), stamps.about("import")["white"]
    assert pixels[0].max() == round(4000 * 255 / 4095) and pixels[1, 0].max() == 255 and white == 4095
    assert "3 pictures of more than 8 bits: 4,095 is white, the depth that the brightest of them need" in report.notes


def test_a_star_as_sharp_as_from_space_tells_the_white(tmp_path: Path) -> None:
    y, x = np.mgrid[:32, :32] - 16
    star = np.exp(-(x**2 + y**2) / (2 * (1.6 / 2.355) ** 2))  # fwhm 1.6 pixels, brought to its brightest
    path = save(tmp_path / "star.png", Image.fromarray(np.rint(star * 65_535).astype(np.uint16)))
    assert picture_white(path) == 65_535
    assert read_picture(path)[0, 16, 17] == np.floor(255 * star[16, 17] + 0.5)


def test_a_deep_picture_read_alone_is_as_bright_as_in_its_set(tmp_path: Path) -> None:
    deep = np.rint(galaxy()[..., 0] / galaxy().max() * 4000).astype(np.uint16)
    path = save(tmp_path / "faint.png", Image.fromarray(deep // 10))
    alone, beside = read_single(path), read_single(path, white=4095)
    assert alone.pixels.max() > 90 and abs(int(beside.pixels.max()) - 25) <= 1
    assert any("1,023 is white, the depth" in note for note in alone.notes)
    assert any("4,095 is white, that of the others" in note for note in beside.notes)
    save(tmp_path / "bright.png", Image.fromarray(deep))
    frames = dict(images_in(tmp_path, None, common_white(tmp_path.iterdir())))
    assert isinstance(frames["faint.png"], WideFrame) and abs(frames["faint.png"].pixels.max() - 25) <= 1


def test_bytes_keep_their_white_beside_deeper_pictures(tmp_path: Path) -> None:
    light = np.stack([galaxy()[..., 0]] * 3)
    write(tmp_path / "in" / "a.fits", light, BANDS="r,g,b")
    write(tmp_path / "in" / "b.fits", light.astype(np.uint16) * 257, BANDS="r,g,b")
    with StampSet(import_stamps(tmp_path / "in", tmp_path / "out.h5").out) as stamps:
        np.testing.assert_allclose(*stamps.pixels(np.s_[:]).astype(float), atol=1)


def test_palettes_and_bits_become_colours(tmp_path: Path) -> None:
    few = (galaxy() // 128 * 255).astype(np.uint8)
    palette = Image.fromarray(few).quantize(16)
    read = read_picture(save(tmp_path / "p.png", palette))
    np.testing.assert_array_equal(read, chw(np.asarray(palette.convert("RGB"))))
    np.testing.assert_allclose(read.astype(int), chw(few).astype(int), atol=2)
    bits = read_picture(save(tmp_path / "b.png", Image.fromarray(few[..., 0] > 0)))
    np.testing.assert_array_equal(bits, np.stack([few[..., 0]] * 3))


def test_transparent_pixels_lie_on_black_sky(tmp_path: Path) -> None:
    alpha = np.zeros((24, 32), np.uint8)
    alpha[:, 16:] = 255
    white = np.dstack([np.full((24, 32, 3), 255, np.uint8), alpha])
    read = read_picture(save(tmp_path / "g.png", Image.fromarray(white)))
    assert read[:, :, :16].max() == 0
    assert read[:, :, 16:].min() == 255


def test_print_colours_become_screen_colours(tmp_path: Path) -> None:
    path = save(tmp_path / "g.jpg", Image.fromarray(galaxy()).convert("CMYK"), quality=95)
    np.testing.assert_allclose(read_picture(path).astype(int), chw(galaxy()).astype(int), atol=16)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_as_their_exif_says(tmp_path: Path, orientation: int) -> None:
    stored = Image.fromarray(galaxy())
    back = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "g.png", stored.transpose(back) if back is not None else stored, exif=exif)
    assert picture_shape(path) == (24, 32)
    np.testing.assert_array_equal(read_picture(path), chw(galaxy()))


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("share", [0.3, 0.5, 0.9])
def test_a_truncated_picture_is_truncated_not_grey(tmp_path: Path, suffix: str, share: float) -> None:
    whole = save(tmp_path / f"g.{suffix}", Image.fromarray(noise(96)))
    content = whole.read_bytes()
    whole.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(StampError, match=r"truncated|unreadable"):
        read_picture(whole)


def noise(side: int) -> NDArray[np.uint8]:
    """A picture that compresses badly, so that a cut falls among its pixels."""
    return np.random.default_rng(0).integers(0, 256, (side, side, 3)).astype(np.uint8)


@pytest.mark.parametrize("content", [b"", b"\xff\xd8", b"GIF89a\x01\x00\x01\x00\x80", b"\x89PNG\r\n\x1a\n", b"text"])
def test_what_is_no_picture_says_so(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "g.jpg"
    path.write_bytes(content)
    for read in (read_picture, picture_shape):
        with pytest.raises(StampError, match=r"empty file|unreadable|truncated") as refused:
            read(path)
        assert str(tmp_path) not in refused.value.message
    with pytest.raises(StampError, match="unreadable: No such file"):
        read_picture(tmp_path / "absent.png")


def test_a_decompression_bomb_is_refused_by_its_header(tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    for side in (int(MAX_PIXELS**0.5) + 1, 12_000, 60_000):
        header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        (tmp_path / "bomb.png").write_bytes(
            b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 9999))
        )
        with pytest.raises(StampError, match="too large"):
            picture_shape(tmp_path / "bomb.png")


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_damaged_bytes_never_raise_anything_but_a_reason(tmp_path: Path, suffix: str) -> None:
    stream = BytesIO()
    Image.fromarray(galaxy()).save(stream, {"jpg": "JPEG", "png": "PNG"}[suffix])
    random = np.random.default_rng(7)
    path = tmp_path / f"g.{suffix}"
    outcomes = set()
    for _ in range(150):
        content = bytearray(stream.getvalue())
        for position in random.integers(0, len(content), 6):
            content[position] = random.integers(256)
        path.write_bytes(content)
        try:
            outcomes.add(read_picture(path).ndim)
        except StampError as error:
            outcomes.add(error.message.split(":")[0])
    assert "unreadable" in outcomes
    assert outcomes <= {3, "unreadable", "truncated", "too large for a stamp"}


def test_pixels_that_show_nothing_are_refused() -> None:
    sky = np.random.default_rng(0).normal(size=(3, 10, 10)).astype(np.float32)
    check_pixels(sky)
    one_band = np.zeros_like(sky)
    one_band[1] = sky[1]
    check_pixels(one_band)
    half = sky.copy()
    half[:, :5] = np.nan
    check_pixels(half)
    half[0, 5, 0] = np.inf
    for pixels, reason in (
        (half, "NaN-filled: 50%"),
        (np.full_like(sky, np.nan), "all NaN"),
        (np.zeros_like(sky), "empty"),
        (np.zeros((3, 4, 4), np.uint8), "empty"),
        (np.stack([np.full((4, 4), value, np.uint8) for value in (3, 9, 200)]), "empty"),
    ):
        with pytest.raises(StampError, match=reason):
            check_pixels(pixels)


def test_cropping_keeps_the_centre() -> None:
    pixels = np.arange(3 * 7 * 8).reshape(3, 7, 8)
    np.testing.assert_array_equal(centre_crop(pixels, (3, 4)), pixels[:, 2:5, 2:6])
    np.testing.assert_array_equal(centre_crop(pixels, (7, 8)), pixels)
    with pytest.raises(StampError, match="8 x 7 pixels where 4 x 9"):
        centre_crop(pixels, (9, 4))


def test_real_pictures_are_read(real_data: Path) -> None:
    for folder, side in (("gz2-sdss", 128), ("rings-decals", 256), ("lenses-panstarrs", 120)):
        path = next((real_data / folder / "images").iterdir())
        assert picture_shape(path) == (side, side)
        read = read_picture(path)
        assert read.shape == (3, side, side)
        check_pixels(read)
