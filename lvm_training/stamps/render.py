"""The one rendering of a stamp: framing, then stretch.

Training, serving and the picture an annotator sees all go through `render`; its parameters are stored in every
checkpoint. Pictures are R, G, B in [0, 1], row 0 at the top, north up and east left.

Coordinates: a point (x, y) counts pixels from the top-left corner of the picture, x to the right (west), y down;
pixel (i, j) covers [i, i+1) x [j, j+1), so Label Studio's percentages are x / width * 100.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from lvm_training.errors import RenderingError
from lvm_training.stamps.rendering import Rendering
from lvm_training.stamps.stampset import LEGACY_PIXEL_SCALE, Origin, Pixels, RenderingKind, StampSet

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord
    from astropy.wcs import WCS

Interpolation = Literal["bilinear", "bicubic"]

MAX_PADDING = 16  # times the stamp's side; a field beyond comes from a wrong pixel scale and would fill the memory


@dataclass(frozen=True)
class Frame:
    """Where a rendered picture lies on its stamp: the mapping of regions to stamp pixels and to the sky.

    Attributes
    ----------
    size : int
        Side of the rendered picture, pixels.
    crop : int
        Side of the square cut from the stamp, stamp pixels.
    left, top : int
        First column and first row, counted from the top of the north-up stamp; negative where the stamp is padded.
    height : int
        Height of the stamp, pixels.
    flipped : bool
        Whether stamp rows run from south to north (origin "lower").
    """

    size: int
    crop: int
    left: int
    top: int
    height: int
    flipped: bool

    def to_stamp(self, x: float, y: float) -> tuple[float, float]:
        """Column and row on the stored stamp (edges at integers) of a point on the picture."""
        scale = self.crop / self.size
        row = self.top + y * scale
        return self.left + x * scale, self.height - row if self.flipped else row

    def from_stamp(self, column: float, row: float) -> tuple[float, float]:
        """The inverse of `to_stamp`."""
        scale = self.size / self.crop
        north_up = self.height - row if self.flipped else row
        return (column - self.left) * scale, (north_up - self.top) * scale

    def to_sky(self, x: float, y: float, *, ra: float, dec: float, width: int, pixel_scale: float) -> "SkyCoord":
        """ICRS position of a point on the picture of a stamp centred on (ra, dec) degrees, tangent projection."""
        # rendering alone, as a training on a borrowed GPU needs it, does without astropy
        import astropy.units as u
        from astropy.coordinates import SkyCoord

        column, row = self.to_stamp(x, y)
        origin: Origin = "lower" if self.flipped else "upper"
        wcs = stamp_wcs((self.height, width), ra=ra, dec=dec, pixel_scale=pixel_scale, origin=origin)
        sky = wcs.wcs_pix2world(column - 0.5, row - 0.5, 0)
        return SkyCoord(sky[0] * u.deg, sky[1] * u.deg, frame="icrs")


def stamp_wcs(shape: tuple[int, int], *, ra: float, dec: float, pixel_scale: float, origin: Origin) -> "WCS":
    """The tangent projection of a stamp (H, W) centred on (ra, dec) degrees, north towards its upper edge."""
    from astropy.wcs import WCS

    height, width = shape
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [ra, dec]
    wcs.wcs.crpix = [width / 2 + 0.5, height / 2 + 0.5]
    step = pixel_scale / 3600
    wcs.wcs.cdelt = [-step, step if origin == "lower" else -step]
    return wcs


def frame(shape: tuple[int, int], rendering: Rendering, *, pixel_scale: float, origin: Origin) -> Frame:
    """The frame that `render` cuts from a stamp of `shape` (H, W); the whole stamp where the pixel scale is unknown.

    Raises
    ------
    RenderingError
        If the field is smaller than two stamp pixels, or so large that the stamp would be a dot in it.
    """
    height, width = shape
    crop = min(height, width) if np.isnan(pixel_scale) else round(rendering.field / pixel_scale)
    if not 2 <= crop <= MAX_PADDING * max(height, width):
        raise RenderingError(
            f"A field of {rendering.field} arcsec is {crop} pixels of {pixel_scale} arcsec; the stamp has {width}.",
            "Check `pixel_scale`.",
        )
    return Frame(rendering.size, crop, (width - crop) // 2, (height - crop) // 2, height, origin == "lower")


def render(
    pixels: Pixels,
    rendering: Rendering,
    *,
    kind: RenderingKind,
    pixel_scale: float = LEGACY_PIXEL_SCALE,
    origin: Origin = "lower",
    interpolation: Interpolation = "bilinear",
) -> torch.Tensor:
    """Pictures of stamps, shape (N, 3, S, S) float32 in [0, 1].

    Parameters
    ----------
    pixels : ndarray (N, 3, H, W)
        Bands g, r, z in nanomaggies per pixel, or uint8 R, G, B of an as-delivered set. NaN counts as empty sky.
    kind, pixel_scale, origin
        The stamp set's attributes. Beyond the stamp's edge lies empty sky. Nanomaggies of an unknown pixel scale
        (NaN) are stretched as if they came in 0.262 arcsec pixels.
    interpolation : {"bilinear", "bicubic"}
        Models are trained on "bilinear"; large pictures for people are crisper in "bicubic".

    Notes
    -----
    The stretch is the Legacy Surveys viewer's: with I = mean(max(0, s b + m)) over the bands b,
    colour = (s b + m) arcsinh(Q I) / (sqrt(Q) I). Fluxes are scaled to 0.262 arcsec pixels first, so that one surface
    brightness has one colour whatever the pixel scale.
    """
    if kind == "as-delivered":
        cut = framed(pixels, rendering, pixel_scale=pixel_scale, origin=origin, interpolation=interpolation)
        return (cut / 255).clamp_(0, 1)
    bands = surface_brightness(pixels, rendering, pixel_scale=pixel_scale, origin=origin, interpolation=interpolation)
    return stretch(bands, rendering)


def surface_brightness(
    pixels: Pixels,
    rendering: Rendering,
    *,
    pixel_scale: float,
    origin: Origin,
    interpolation: Interpolation = "bilinear",
) -> torch.Tensor:
    """What `render` stretches: g, r, z (N, 3, S, S) on the picture's grid, nanomaggies per 0.262 arcsec pixel."""
    scale = LEGACY_PIXEL_SCALE if np.isnan(pixel_scale) else pixel_scale
    cut = framed(pixels, rendering, pixel_scale=pixel_scale, origin=origin, interpolation=interpolation)
    return cut * (LEGACY_PIXEL_SCALE / scale) ** 2


def framed(
    pixels: Pixels,
    rendering: Rendering,
    *,
    pixel_scale: float,
    origin: Origin,
    interpolation: Interpolation = "bilinear",
) -> torch.Tensor:
    """The frame cut from each stamp, north up, resampled to (N, 3, S, S) float32; pixel values stay as they are."""
    height, width = pixels.shape[2:]
    cut = frame((height, width), rendering, pixel_scale=pixel_scale, origin=origin)
    images = _crop(pixels[:, :, ::-1] if cut.flipped else pixels, cut)
    if cut.crop != cut.size:
        images = F.interpolate(images, (cut.size, cut.size), mode=interpolation, antialias=True)
    return images


def _crop(north_up: Pixels, cut: Frame) -> torch.Tensor:
    height, width = north_up.shape[2:]
    window = north_up[:, :, max(0, cut.top) : cut.top + cut.crop, max(0, cut.left) : cut.left + cut.crop]
    images = torch.from_numpy(np.ascontiguousarray(window)).to(torch.float32)
    pad = [
        max(0, -cut.left),
        max(0, cut.left + cut.crop - width),
        max(0, -cut.top),
        max(0, cut.top + cut.crop - height),
    ]
    return F.pad(torch.nan_to_num(images, nan=0.0, posinf=0.0, neginf=0.0), pad)


def stretch(bands: torch.Tensor, rendering: Rendering) -> torch.Tensor:
    """The arcsinh stretch of bands g, r, z (N, 3, S, S) in nanomaggies to R, G, B in [0, 1]."""
    # a tensor made on the device itself would wait for all the work before it
    scales = torch.tensor(rendering.scales, dtype=bands.dtype).to(bands.device, non_blocking=True)[:, None, None]
    scaled = (bands * scales + rendering.black).clamp_(min=0)
    intensity = scaled.mean(1, keepdim=True)
    q = rendering.softening
    factor = torch.asinh(q * intensity) / (q**0.5 * intensity.clamp(min=1e-9))
    rgb: torch.Tensor = (scaled * factor).flip(1).clamp_(0, 1)
    return rgb


def render_set(
    stamps: StampSet,
    rows: slice | NDArray[np.int64],
    rendering: Rendering,
    interpolation: Interpolation = "bilinear",
) -> torch.Tensor:
    """Pictures of some rows of a stamp set, shape (n, 3, S, S)."""
    return render_pixels(stamps, stamps.pixels(rows), rendering, interpolation)


def render_pixels(
    stamps: StampSet, pixels: Pixels, rendering: Rendering, interpolation: Interpolation = "bilinear"
) -> torch.Tensor:
    """Pictures of pixels that were read from a stamp set, shape (n, 3, S, S)."""
    return render(
        pixels,
        rendering,
        kind=stamps.rendering,
        pixel_scale=stamps.pixel_scale,
        origin=stamps.origin,
        interpolation=interpolation,
    )
