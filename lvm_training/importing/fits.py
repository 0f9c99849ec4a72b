"""Reading one FITS image: its bands, its unit, and its orientation on the sky."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from numpy.typing import NDArray

from lvm_training.errors import StampError
from lvm_training.importing.pictures import MAX_FRAME_PIXELS, Shape, centre_crop, decoding, refuse_large
from lvm_training.importing.wide_frame import WideFrame, nearest_turn, north_up
from lvm_training.stamps.rendering import Rendering

ALIGNED = 0.01  # radians off the axes (and relative error of scale) within which flips suffice
MAGGY = u.zero_point_flux(3631 * u.Jy)  # one maggy, AB magnitude 0
NANOMAGGIES = ("", "nanomaggy", "nanomaggies", "nanomaggies/pixel", "nanomaggy/pixel")  # none: as in Legacy cutouts
POSITION = re.compile(r"_(\d+(?:\.\d+)?)_([+-]?\d+(?:\.\d+)?)\.(?:fits|fit|fts)(?:\.gz|\.fz)?$", re.IGNORECASE)
ROWS = 1024  # of a wide frame read at a time
IMAGES = (fits.PrimaryHDU, fits.ImageHDU, fits.CompImageHDU)

GREY = np.array([Rendering().scales[1] / scale for scale in Rendering().scales], np.float32)  # g, r, z of a grey source

Planes = list[tuple[Any, int]]  # an HDU and which of its planes


@dataclass(frozen=True)
class FitsStamp:
    """One FITS image with north up (origin "lower") and east left.

    Attributes
    ----------
    pixels : ndarray (3, H, W) float32
        Bands g, r, z in nanomaggies per pixel; NaN where nothing was measured.
    pixel_scale : float
        arcsec; NaN where the header has no celestial WCS.
    ra, dec : float
        Centre of `pixels`, degrees ICRS; NaN where neither header nor file name says.
    bands : str
        "grz", or the filter of the one plane there is ("single" where it has no name).
    """

    pixels: NDArray[np.float32]
    pixel_scale: float
    ra: float
    dec: float
    bands: str


@dataclass(frozen=True)
class _Sky:
    """How an image lies on the sky: its centre, its pixel scale in degrees, and where its axes point.

    `axes` (2, 2) turns a step (x, y) in pixels into one towards (east, north), in pixel scales.
    """

    wcs: WCS
    centre: SkyCoord
    scale: float
    axes: NDArray[np.float64]

    @property
    def quarter_turned(self) -> bool:
        return bool(abs(self.axes[0, 1]) > 0.5)

    @property
    def aligned(self) -> bool:
        return bool(np.abs(self.axes - self.axes.round()).max() < ALIGNED)


@contextmanager
def _opened(path: Path) -> Iterator[fits.HDUList]:
    with decoding("FITS file"):
        if path.stat().st_size == 0:
            raise StampError("empty file")
        with path.open("rb") as stream, fits.open(stream, memmap=False) as hdus:
            yield hdus


def fits_geometry(path: Path) -> tuple[Shape, float]:
    """Height and width of a FITS image once it is north up, and its pixel scale (arcsec, or NaN), from the header."""
    with _opened(path) as hdus:
        (hdu, _), *_ = _layout(hdus)[0]
        height, width = hdu.shape[-2:]
        sky = _sky(hdu, hdus)
    if sky is None:
        return (height, width), float("nan")
    turned = sky.aligned and sky.quarter_turned
    return (width, height) if turned else (height, width), round(sky.scale * 3600, 5)


def read_fits(path: Path, shape: Shape | None = None) -> FitsStamp:
    """The central `shape` (H, W) of a FITS image, all of it by default, north up and east left.

    The first image HDU counts. Its planes are chosen by BANDS (such as "griz") or BAND0, BAND1 ...; three nameless
    planes are g, r, z. Three 2-D HDUs named g, r, z (by BAND, FILTER or EXTNAME) are put together; any other single
    plane stands as r, with such g and z as the default rendering shows in grey. BUNIT is converted to nanomaggies per
    pixel. Quarter turns and mirrors of the WCS are undone by flips, any other angle by bilinear resampling at the same
    pixel scale.

    Raises
    ------
    StampError
        If the file is empty, truncated or not FITS; has no image, other bands or another unit; or is too small.
    """
    with _opened(path) as hdus:
        planes, bands = _layout(hdus)
        hdu = planes[0][0]
        refuse_large(*hdu.shape[-2:])
        pixels = np.stack([hdu.data.reshape(-1, *hdu.shape[-2:])[plane] for hdu, plane in planes])
        sky = _sky(hdu, hdus)
        with np.errstate(over="ignore"):
            pixels = (pixels.astype(np.float64) * _nanomaggies(hdu.header, sky)).astype(np.float32)
    if len(pixels) == 1:
        pixels = pixels * GREY[:, None, None]
    if sky is None:
        ra, dec = _named_position(path)
        return FitsStamp(centre_crop(pixels, shape or cast(Shape, pixels.shape[1:])), float("nan"), ra, dec, bands)
    pixels, centre = _north_up(pixels, sky, shape)
    return FitsStamp(pixels, round(sky.scale * 3600, 5), float(centre.ra.deg), float(centre.dec.deg), bands)


def read_frame(path: Path) -> WideFrame:
    """A FITS image of up to `MAX_FRAME_PIXELS`, whose pixels are never resampled.

    Planes and units as for `read_fits`. It takes 12 bytes per pixel of memory: rows are read in blocks.

    Raises
    ------
    StampError
        If the file is empty, truncated or not FITS; has no image, other bands or another unit; or is too large.
    """
    with _opened(path) as hdus:
        planes, bands = _layout(hdus)
        hdu = planes[0][0]
        height, width = hdu.shape[-2:]
        refuse_large(height, width, MAX_FRAME_PIXELS)
        sky = _sky(hdu, hdus)
        unit = _nanomaggies(hdu.header, sky)
        pixels = np.empty((3, height, width), np.float32)
        for target, (one, plane) in zip(pixels, planes, strict=False):
            _fill(target, one, plane, unit)
    if len(planes) == 1:
        np.multiply(pixels[:1], GREY[1:, None, None], out=pixels[1:])
        pixels[0] *= GREY[0]
    if sky is None:
        return WideFrame(pixels, float("nan"), bands, np.diag([-1, 1]), None)
    turn = nearest_turn(sky.axes)
    return WideFrame(north_up(pixels, turn), round(sky.scale * 3600, 5), bands, turn, sky.wcs)


def _fill(target: NDArray[np.float32], hdu: Any, plane: int, unit: float) -> None:
    """Read one plane of an HDU into `target` (H, W), times `unit`."""
    place = tuple(int(i) for i in np.unravel_index(plane, hdu.shape[:-2])) if hdu.shape[:-2] else ()
    for top in range(0, len(target), ROWS):
        block = hdu.section[(*place, slice(top, top + ROWS))]
        with np.errstate(over="ignore"):
            target[top : top + ROWS] = block.astype(np.float64) * unit


def _layout(hdus: fits.HDUList) -> tuple[Planes, str]:
    images = [hdu for hdu in hdus if isinstance(hdu, IMAGES) and len(hdu.shape) >= 2]
    if not images:
        raise StampError("no image in any of its HDUs")
    first = images[0]
    outer = [n for n in first.shape[:-2] if n > 1]
    if len(outer) > 1:
        raise StampError(f"wrong-shaped: {first.shape} is not (3, H, W)")
    if outer:
        return _cube(first, outer[0])
    named = {_band(hdu): hdu for hdu in reversed(images) if hdu.shape == first.shape}
    if {"g", "r", "z"} <= named.keys():
        return [(named[band], 0) for band in "grz"], "grz"
    return [(first, 0)], _band(first) or "single"


def _cube(hdu: Any, count: int) -> tuple[Planes, str]:
    header = hdu.header
    names = str(header.get("BANDS", "")).strip() or "".join(str(header.get(f"BAND{i}", " "))[:1] for i in range(count))
    if len(names.strip()) != count:
        if count != 3:
            raise StampError(f"wrong-shaped: {hdu.shape} is not (3, H, W), and BANDS does not name the planes")
        names = "grz"
    if not set("grz") <= set(names):
        raise StampError(f"wrong bands: {names} where g, r and z are needed")
    return [(hdu, names.index(band)) for band in "grz"], "grz"


def _band(hdu: Any) -> str:
    name = hdu.header.get("BAND") or hdu.header.get("FILTER") or hdu.name
    return "" if name == "PRIMARY" else str(name).strip().lower()


def _sky(hdu: Any, hdus: fits.HDUList) -> _Sky | None:
    wcs = WCS(hdu.header, fobj=hdus, naxis=2)  # distortions of a cube count for its planes alone
    if not wcs.has_celestial:
        return None
    height, width = hdu.shape[-2:]
    x, y = (width - 1) / 2, (height - 1) / 2
    wcs = wcs.celestial
    sky = wcs.pixel_to_world([x, x + 1, x], [y, y, y + 1]).icrs
    east, north = sky[0].spherical_offsets_to(sky[1:])
    steps = np.array([east.deg, north.deg])
    scale = float(np.sqrt(abs(np.linalg.det(steps))))
    if not np.isfinite(scale) or scale == 0:
        raise StampError("the centre of its WCS is nowhere on the sky")
    return _Sky(wcs, sky[0], scale, steps / scale)


def _nanomaggies(header: fits.Header, sky: _Sky | None) -> float:
    """Nanomaggies per pixel of one unit of the pixels."""
    name = str(header.get("BUNIT", "")).strip()
    if name.lower() in NANOMAGGIES:
        return 1.0
    area = ((sky.scale * u.deg) ** 2).to(u.sr) if sky is not None else u.dimensionless_unscaled
    for pixel in (u.dimensionless_unscaled, u.pix, area):
        try:
            return float((1.0 * u.Unit(name) * pixel).to_value(u.Unit("nmgy"), equivalencies=MAGGY))
        except (ValueError, TypeError):  # no unit, or one of something else
            continue
    raise StampError(f"BUNIT {name!r} cannot be converted to nanomaggies")


def _named_position(path: Path) -> tuple[float, float]:
    """Degrees in names such as cutout_<ra>_<dec>.fits; NaN where there are none."""
    found = POSITION.search(path.name)
    return (float(found[1]), float(found[2])) if found else (float("nan"), float("nan"))


def _north_up(pixels: NDArray[np.float32], sky: _Sky, shape: Shape | None) -> tuple[NDArray[np.float32], SkyCoord]:
    """The central `shape` of `pixels` (3, H, W) turned to north up, and the sky at its centre."""
    if not sky.aligned:
        shape = shape or cast(Shape, pixels.shape[1:])
        centre_crop(pixels, shape)  # a smaller image would be padded with empty sky
        return _resampled(pixels, sky, shape), sky.centre
    pixels = north_up(pixels, nearest_turn(sky.axes))
    cut = centre_crop(pixels, shape or cast(Shape, pixels.shape[1:]))
    # cropping an odd number of pixels moves the centre by half a pixel
    west = ((pixels.shape[2] - cut.shape[2]) % 2) / -2
    up = ((pixels.shape[1] - cut.shape[1]) % 2) / -2
    centre = sky.centre.spherical_offsets_by(-west * sky.scale * u.deg, up * sky.scale * u.deg)
    return np.ascontiguousarray(cut), centre


def _resampled(pixels: NDArray[np.float32], sky: _Sky, shape: Shape) -> NDArray[np.float32]:
    grid = WCS(naxis=2)
    grid.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    grid.wcs.radesys = "ICRS"
    grid.wcs.crval = [sky.centre.ra.deg, sky.centre.dec.deg]
    grid.wcs.crpix = [(shape[1] + 1) / 2, (shape[0] + 1) / 2]
    grid.wcs.cdelt = [-sky.scale, sky.scale]
    # with it come dask and zarr, which take a second to load
    from reproject import reproject_interp

    turned = reproject_interp((pixels.astype(np.float64), sky.wcs), grid, shape_out=shape, return_footprint=False)
    return cast(NDArray[np.float32], turned.astype(np.float32))
