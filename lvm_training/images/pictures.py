"""Reading one file: what decoders may refuse, what counts as a stamp, and JPEG and PNG pictures.

Every fault of a file is a `StampError` whose message is the reason alone, ready to stand beside the file's name.
"""

import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from lvm_training.errors import StampError
from lvm_training.stamps.stampset import Pixels

PICTURES = (".jpg", ".jpeg", ".jfif", ".png")  # Windows saves JPEG of the web as JFIF
MAX_PIXELS = 1 << 26  # per plane; more is a mosaic or a decompression bomb
MAX_FRAME_PIXELS = 1 << 28  # per plane of a wide frame, 16,384 x 16,384: 3.2 GB as g, r and z in float32
MAX_NAN = 0.5  # share of pixels without a finite value above which a stamp is NaN-filled
DEPTHS = (1.0, 255.0, 1023.0, 4095.0, 16383.0, 65535.0)  # white of a picture, by the bits of its camera
OVERSHOOT = 1.5  # times white that floats reach where they were resampled
SCALED = (1.0, 255.0)  # depths to which pictures are brought as floats; between others lies the next camera's
EXIF_ORIENTATION = 0x0112
KINDS = {
    b"<": "a web page or XML",
    b"{": "JSON",
    b"version https://git-lfs": "a pointer of Git LFS, whose file `git lfs pull` fetches",
    b"PK\x03\x04": "a zip file",
    b"\x1f\x8b": "packed by gzip",
    b"\x89PNG": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"GIF8": "GIF",
    b"RIFF": "WebP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"\x89HDF": "HDF5",
    b"SIMPLE": "FITS",
}  # what files hold whose name says something else, by how they begin
DEEP_COLOURS = ("RGB;16B", "RGBA;16B")  # how PNG keeps 16 bits, by Pillow's name for it

Shape = tuple[int, int]


@contextmanager
def decoding(kind: str, path: Path) -> Iterator[None]:
    """Turn whatever a decoder does with the damaged bytes of a file, warnings included, into a `StampError`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", message="File may have been truncated")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            yield
        except StampError:
            raise
        except UnidentifiedImageError as error:
            raise StampError(f"unreadable: {no_such(kind, path)}") from error
        except (Image.DecompressionBombWarning, Image.DecompressionBombError, MemoryError) as error:
            raise StampError("too large for a stamp") from error
        except Exception as error:  # decoders fed damaged bytes raise errors of any type
            raise StampError(_reason(error)) from error


def no_such(kind: str, path: Path) -> str:
    """That a file is of another kind, and of which, where its first bytes tell."""
    with path.open("rb") as stream:
        start = stream.read(1024).lstrip()
    found = next((what for mark, what in KINDS.items() if start.startswith(mark)), "")
    return f"not a {kind}, but {found}" if found else f"not a {kind}"


def _reason(error: Exception) -> str:
    if "truncated" in str(error).lower():
        return "truncated"
    if isinstance(error, OSError) and error.strerror:
        return f"unreadable: {error.strerror}"
    return f"unreadable: {next(iter(str(error).strip().splitlines()), type(error).__name__)}"


def refuse_odd_file(path: Path) -> None:
    """Refuse what is no file with content: pipes and devices would block or never end."""
    state = path.stat()
    if not stat.S_ISREG(state.st_mode):
        raise StampError("a folder" if stat.S_ISDIR(state.st_mode) else "not a regular file")
    if state.st_size == 0:
        raise StampError("empty file")


def refuse_large(height: int, width: int, limit: int = MAX_PIXELS) -> None:
    """Refuse an image by its header, before its pixels fill the memory."""
    if height * width > limit:
        kind = "a stamp" if limit == MAX_PIXELS else f"{limit:,} pixels"
        raise StampError(f"too large for {kind}: {width} x {height} pixels")


def check_pixels(pixels: Pixels) -> None:
    """Refuse a stamp (3, H, W) that shows nothing.

    Raises
    ------
    StampError
        If more than half of the pixels have no finite value ("NaN-filled"), or each band is constant ("empty").
    """
    finite = np.isfinite(pixels)
    missing = 1 - float(finite.mean())
    if missing > MAX_NAN:
        raise StampError("all NaN" if missing == 1 else f"NaN-filled: {missing:.0%} of the pixels")
    if len(empty_bands(pixels)) == len(pixels):
        raise StampError("empty: every pixel is the same")


def empty_bands(pixels: Pixels) -> list[int]:
    """Which bands of a stamp (3, H, W) show nothing: no two of their finite pixels differ."""
    seen = [band[np.isfinite(band)] for band in pixels]
    return [place for place, band in enumerate(seen) if not band.size or band.min() == band.max()]


def centre_crop(pixels: NDArray[Any], shape: Shape) -> NDArray[Any]:
    """The central (..., h, w) of `pixels` (..., H, W); a `StampError` if `pixels` is smaller either way."""
    height, width = pixels.shape[-2:]
    if height < shape[0] or width < shape[1]:
        raise StampError(f"wrong-shaped: {width} x {height} pixels where {shape[1]} x {shape[0]} are needed")
    top, left = (height - shape[0]) // 2, (width - shape[1]) // 2
    return pixels[..., top : top + shape[0], left : left + shape[1]]


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    with decoding("JPEG or PNG", path):
        refuse_odd_file(path)
        with Image.open(path, formats=("JPEG", "PNG")) as image:
            refuse_large(image.height, image.width)
            yield image


def white_of(brightest: float, *, floats: bool) -> float:
    """White of pictures whose brightest value is that: of scaled floats what lies a little above it is white too."""
    reaches = (depth * (OVERSHOOT if floats and depth in SCALED else 1.0) for depth in DEPTHS)
    return next((depth for depth, reach in zip(DEPTHS, reaches, strict=True) if brightest <= reach), brightest)


def brightest(planes: NDArray[Any]) -> float:
    """The largest value of planes (..., H, W) that three of two by two pixels reach.

    One hot pixel, or two in a line, tell no depth; of a star as sharp as space telescopes see it four are too many.
    """
    if min(planes.shape[-2:]) < 2:
        return float(np.nanmax(planes))
    above, below = planes[..., 1:, :], planes[..., :-1, :]
    low, high = np.minimum(above, below), np.maximum(above, below)
    one_column = np.maximum(low[..., 1:], low[..., :-1])
    return float(np.nanmax(np.minimum(one_column, np.minimum(high[..., 1:], high[..., :-1]))))


def picture_shape(path: Path) -> Shape:
    """Height and width of a JPEG or PNG after its EXIF orientation, from the header alone."""
    with _opened(path) as image:
        sideways = image.getexif().get(EXIF_ORIENTATION, 1) >= 5
        return (image.width, image.height) if sideways else (image.height, image.width)


def picture_white(path: Path) -> float | None:
    """The brightest value that a picture of 16 bits can have, which may hold the 12 of a camera; None of 8 bits."""
    with _opened(path) as image:
        return _white(_deep(image)) if _is_deep(image) else None


def _is_deep(image: Image.Image) -> bool:
    """Whether it has more than 8 bits; of grey beside transparency Pillow gives no more."""
    return image.mode.startswith("I") or _rawmode(image) in DEEP_COLOURS


def _rawmode(image: Image.Image) -> str:
    """How a PNG that was not loaded yet keeps its pixels, in Pillow's words."""
    return str(image.tile[0].args) if isinstance(image, ImageFile.ImageFile) and image.tile else ""


def _deep(image: Image.Image) -> NDArray[np.float64]:
    """Pixels (H, W) of grey or (H, W, 3) of colours with all of their bits, the EXIF orientation applied."""
    rawmode = _rawmode(image)
    if rawmode not in DEEP_COLOURS:
        return np.asarray(ImageOps.exif_transpose(image), dtype=np.float64)
    # Pillow keeps the upper byte of a colour; to the reader of the other byte order that is the lower one
    parts = []
    for order in (rawmode, rawmode.replace("16B", "16L")):
        with Image.open(cast(ImageFile.ImageFile, image).filename, formats=("PNG",)) as part:
            part.tile = [part.tile[0]._replace(args=order)]
            parts.append(np.asarray(ImageOps.exif_transpose(part), dtype=np.float64))
    values = 256 * parts[0] + parts[1]
    return values[..., :3] * (values[..., 3:] / 65535) if values.shape[-1] == 4 else values


def _white(deep: NDArray[np.float64]) -> float:
    # integers of 0 and 1 are the darkest of 8 bits
    planes = np.moveaxis(deep, -1, 0) if deep.ndim == 3 else deep
    return white_of(max(2.0, brightest(planes)), floats=False)


def read_picture(path: Path, white: float | None = None) -> NDArray[np.uint8]:
    """A JPEG or PNG as R, G, B, shape (3, H, W), row 0 at the top.

    Grey, palette, CMYK and 16-bit pictures become 8-bit R, G, B; transparent pixels lie on black sky; an EXIF
    orientation is applied; of an animation the first frame counts.

    Parameters
    ----------
    white : float, optional
        Brightest value of a picture of 16 bits; by default that of its own depth.

    Raises
    ------
    StampError
        If the file is empty, truncated, no such picture, or too large.
    """
    with _opened(path) as image:
        if _is_deep(image):
            deep = _deep(image)
            scaled = np.floor(deep * (255 / (white or _white(deep))) + 0.5).clip(0, 255).astype(np.uint8)
            rgb = np.repeat(scaled[..., None], 3, axis=-1) if scaled.ndim == 2 else scaled
        else:
            image.load()
            rgb = _rgb(ImageOps.exif_transpose(image))
    return np.ascontiguousarray(np.moveaxis(rgb, -1, 0))


def _rgb(image: Image.Image) -> NDArray[np.uint8]:
    if image.has_transparency_data:
        sky = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(sky, image.convert("RGBA"))
    return cast(NDArray[np.uint8], np.asarray(image.convert("RGB")))
