"""The pictures people see: the model's own rendering, larger, with a scale bar and the directions of north and east."""

from functools import lru_cache
from pathlib import Path
from typing import Literal

import cv2
import matplotlib
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from backend_ml.label_studio.labelling import DISPLAY_SIZE
from backend_ml.pictures.framing import UNFRAMED, whole_field
from lvm_training.stamps.render import frame, render_set
from lvm_training.stamps.rendering import Rendering
from lvm_training.stamps.stampset import StampSet

BAR_LENGTHS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600)  # arcsec
BAR_SHARE = 0.3  # of the picture's width, at most
CORNER = 0.34  # of the picture's side: the overlays stay within such squares in the corners
SUPERSAMPLING = 4
RIM = 0.75  # opacity of the dark rim
GREY, LIGHT = 96, 230  # of a picture that shows nothing, and of its words
FRAME = np.array([200.0, 200.0, 200.0])
# twice as fast as the defaults and as small on noise
PNG = [
    *(cv2.IMWRITE_PNG_COMPRESSION, 1),
    *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE),
    *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_AVG),
]
# a large picture of a galaxy takes a megabyte as PNG; colours are not halved, since arcs are thin and blue
JPEG = [cv2.IMWRITE_JPEG_QUALITY, 92, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
Format = Literal["png", "jpeg"]
FONT = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"


def picture(
    stamps: StampSet,
    row: int,
    rendering: Rendering,
    *,
    size: int = DISPLAY_SIZE,
    north_east: bool = True,
    scale_bar: bool = True,
    read: float | None = None,
    crop_said: bool = False,
    encoding: Format = "png",
) -> bytes:
    """A stamp as PNG or JPEG, `size` pixels square.

    The scale bar (lower left) needs a known pixel scale; the arrows to north and east (lower right) also a known
    orientation (`StampSet.north_up`). Models never see either.

    Parameters
    ----------
    read : float, optional
        Arcsec across the middle that a model reads: a thin frame shows where that ends, if it does within the picture.
    crop_said : bool
        Whether the picture itself says what part of the stamp it is, where it is not the whole.

    Raises
    ------
    StampError
        If the set has no such row.
    RenderingError
        If the rendering does not fit the set's pixel scale.
    """
    rgb = render_set(stamps, np.array([row]), rendering.sized(size), "bicubic")[0]
    overlays = {"north_east": north_east, "scale_bar": scale_bar, "crop_said": crop_said}
    return annotated(rgb, stamps, rendering, read=read, encoding=encoding, **overlays)


def annotated(
    rgb: torch.Tensor,
    stamps: StampSet,
    rendering: Rendering,
    *,
    north_east: bool = True,
    scale_bar: bool = True,
    read: float | None = None,
    crop_said: bool = False,
    encoding: Format = "png",
) -> bytes:
    """A rendered picture (3, S, S) of a stamp as PNG or JPEG, with what `picture` draws over it."""
    size = rgb.shape[-1]
    image = cv2.merge(list((rgb.flip(0) * 255).round().byte().numpy()))  # B, G, R
    known = not np.isnan(stamps.pixel_scale)
    if known and scale_bar:
        cut = frame(stamps.shape, rendering, pixel_scale=stamps.pixel_scale, origin=stamps.origin)
        _paste(image, _scale_bar(size, round(cut.crop * stamps.pixel_scale, 3)), left=True)
    if known and read is not None and rendering.field > read * UNFRAMED:
        _frame(image, read / rendering.field)
    if known and north_east and stamps.north_up:
        _paste(image, _compass(size), left=False)
    whole = whole_field(rendering, stamps) if crop_said else None
    if whole is not None:
        _paste(image, _crop_words(size, f"the middle {rendering.field:.3g}″", f"of {whole:.3g}″"), left=True, top=True)
    return encoded(image, encoding)


def encoded(image: NDArray[np.uint8], encoding: Format = "png") -> bytes:
    """A picture (H, W, 3) of bytes in the order blue, green, red as a file."""
    _, found = cv2.imencode(*((".png", image, PNG) if encoding == "png" else (".jpg", image, JPEG)))
    return found.tobytes()


def blank(size: int, words: str) -> NDArray[np.uint8]:
    """A plain grey picture (size, size, 3) that says in words why it shows nothing."""
    side = Image.new("RGB", (size, size), (GREY,) * 3)
    font = ImageFont.truetype(FONT, size / 11)
    ImageDraw.Draw(side).text((size / 2, size / 2), words, fill=(LIGHT,) * 3, font=font, anchor="mm", align="center")
    return np.asarray(side)


def _frame(image: NDArray[np.uint8], share: float) -> None:
    """A thin square around the middle `share` of a picture: half-lucent, so that it hides nothing."""
    size = len(image)
    first, width = round(size * (1 - share) / 2), max(1, round(size / 640))
    last = size - first
    line = np.zeros((size, size), dtype=bool)
    line[first - width : last + width, first - width : last + width] = True
    line[first:last, first:last] = False
    image[line] = (image[line] * 0.5 + 0.5 * FRAME).round()


def _paste(image: NDArray[np.uint8], overlay: NDArray[np.float32], *, left: bool, top: bool = False) -> None:
    side = len(overlay)
    rows = image[:side] if top else image[-side:]
    corner = rows[:, :side] if left else rows[:, -side:]
    light, alpha = overlay[..., :1], overlay[..., 1:]
    corner[:] = (corner * (1 - alpha) + 255 * light).round()


class _Canvas:
    """A transparent corner square drawn in white with a soft dark rim, so that it shows on any background.

    Lengths are in thousandths of the picture's side; (0, 0) is the upper left of the corner square.
    """

    def __init__(self, size: int) -> None:
        self.side = round(CORNER * size)
        self._unit = size * SUPERSAMPLING / 1000
        self._mask = Image.new("L", (self.side * SUPERSAMPLING,) * 2)
        self._draw = ImageDraw.Draw(self._mask)
        self._font = ImageFont.truetype(FONT, 32 * self._unit)

    def line(self, *points: tuple[float, float], width: float = 5) -> None:
        self._draw.line([self._pixel(point) for point in points], fill=255, width=round(width * self._unit))

    def polygon(self, *points: tuple[float, float]) -> None:
        self._draw.polygon([self._pixel(point) for point in points], fill=255)

    def text(self, point: tuple[float, float], text: str, anchor: str) -> None:
        self._draw.text(self._pixel(point), text, fill=255, font=self._font, anchor=anchor)

    def _pixel(self, point: tuple[float, float]) -> tuple[float, float]:
        return point[0] * self._unit, point[1] * self._unit

    def overlay(self) -> NDArray[np.float32]:
        """The drawing over its rim, shape (side, side, 2): how much white, and how much is hidden."""
        white = self._mask.resize((self.side, self.side), Image.Resampling.LANCZOS)
        rim = self._mask.filter(ImageFilter.GaussianBlur(4 * self._unit)).resize((self.side, self.side))
        light = np.asarray(white, dtype=np.float32) / 255
        dark = np.minimum(3 * np.asarray(rim, dtype=np.float32) / 255, RIM)
        return np.stack([light, light + dark * (1 - light)], axis=-1)


@lru_cache(maxsize=64)
def _scale_bar(size: int, field: float) -> NDArray[np.float32]:
    """A bar of a round length in a picture `field` arcsec wide."""
    length = max((bar for bar in BAR_LENGTHS if bar <= BAR_SHARE * field), default=0)
    canvas = _Canvas(size)
    if length:
        left, right, y = 40, 40 + 1000 * length / field, 1000 * CORNER - 42
        canvas.line((left, y), (right, y))
        for end in (left, right):
            canvas.line((end, y - 10), (end, y + 10), width=4)
        canvas.text(((left + right) / 2, y - 18), f"{length}″" if length < 60 else f"{length // 60}′", "ms")
    return canvas.overlay()


@lru_cache(maxsize=16)
def _crop_words(size: int, *lines: str) -> NDArray[np.float32]:
    """Lines of text from the upper left corner down."""
    canvas = _Canvas(size)
    for number, line in enumerate(lines):
        canvas.text((20, 20 + 38 * number), line, "lt")
    return canvas.overlay()


@lru_cache(maxsize=16)
def _compass(size: int) -> NDArray[np.float32]:
    """Arrows up to N and left to E, as `render` turns every picture."""
    canvas = _Canvas(size)
    x = y = 1000 * CORNER - 42
    tip = 92
    canvas.line((x, y - tip), (x, y), (x - tip, y))
    canvas.line((x - 2.5, y), (x + 2.5, y))
    canvas.polygon((x, y - tip - 16), (x - 9, y - tip + 6), (x + 9, y - tip + 6))
    canvas.polygon((x - tip - 16, y), (x - tip + 6, y - 9), (x - tip + 6, y + 9))
    canvas.text((x, y - tip - 26), "N", "ms")
    canvas.text((x - tip - 26, y), "E", "rm")
    return canvas.overlay()
