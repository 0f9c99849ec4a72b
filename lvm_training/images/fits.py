"""Reading one FITS image: its bands, its unit, and its orientation on the sky."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any, cast

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS
from numpy.typing import NDArray

from lvm_training.errors import StampError
from lvm_training.images.bands import ASK, Layout, Plane, find_layout, refuse_counts, shown
from lvm_training.images.fits_file import Cards, opened, science_images
from lvm_training.images.fitting import Fit, first_pixel, fitted, shrinking
from lvm_training.images.pictures import (
    MAX_FRAME_PIXELS,
    Shape,
    brightest,
    centre_crop,
    check_pixels,
    refuse_large,
    white_of,
)
from lvm_training.images.sky import SAME_SCALE, Place, Sky, find_place, same_pixels
from lvm_training.images.units import Unit, find_unit, steradian
from lvm_training.images.unmeasured import LEVEL, marks, may_hold_marks, saturated
from lvm_training.images.wide_frame import WideFrame, nearest_turn, north_up
from lvm_training.stamps.stampset import Pixels, RenderingKind

ROWS = 1024  # of an image read at a time
SOFTENED = ("BSOFTEN", "BOFFSET")
MADE_BY = ("SURVEY", "TELESCOP", "INSTRUME")


@dataclass(frozen=True)
class Reading:
    """What a user says of files that do not say it themselves.

    Attributes
    ----------
    pixel_scale : float or None
        arcsec.
    bands : tuple of str
        The band of each plane; it goes before what a header says.
    zero_point : float or None
        AB magnitude of one count.
    resample : float or None
        arcsec per pixel that every image is brought to, its flux kept.
    covered : float
        How many of the pixels whose values it holds one of an interpolated image covers; those per solid angle count
        the area of its own.
    """

    pixel_scale: float | None = None
    bands: tuple[str, ...] = ()
    zero_point: float | None = None
    resample: float | None = None
    covered: float = 1.0


UNTOLD = Reading()


@dataclass(frozen=True)
class FitsFacts:
    """What an import knows of a FITS image before it reads the pixels.

    Attributes
    ----------
    shape : tuple of int
        Height and width once north is up and the scale is the one asked for.
    pixel_scale : float
        arcsec; NaN where nothing says it.
    bands : str
        "grz", the bands that stand for them, the one or two there are, or "rgb" of a picture.
    one_band : bool
        Whether it is shown as grey.
    rendering : str
        "as-delivered" for the red, green and blue of a picture.
    unit : str
        What says the unit of the pixels; "" where nothing does.
    white : float or None
        Brightest value of a picture by its depth; None of 8 bits, which have no other, and for fluxes.
    telescope : str
    remarks : tuple of str
        What was assumed.
    """

    shape: Shape
    pixel_scale: float
    bands: str
    one_band: bool
    rendering: RenderingKind
    unit: str
    white: float | None
    telescope: str
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class FitsStamp:
    """One FITS image with north up (origin "lower") and east left.

    Attributes
    ----------
    pixels : ndarray (3, H, W)
        float32: bands g, r, z, or those that stand for them, in nanomaggies per pixel; NaN where nothing was measured.
        uint8: red, green, blue.
    pixel_scale : float
        arcsec; NaN where nothing says it.
    ra, dec : float
        Centre of `pixels`, degrees ICRS; NaN where neither header nor file name says.
    bands : str
        As in `FitsFacts`.
    saturated : int
        Pixels of the image within the stamp that are saturated in a band that is shown; of fluxes alone.
    marks : tuple of float
        Numbers of the file that were taken as not measured.
    """

    pixels: Pixels
    pixel_scale: float
    ra: float
    dec: float
    bands: str
    saturated: int = 0
    marks: tuple[float, ...] = ()


@dataclass(frozen=True)
class _Image:
    """An image whose header is read and whose pixels are not."""

    layout: Layout
    cards: Cards
    place: Place
    units: tuple[Unit, ...]
    weights: NDArray[np.float64]
    bands: str
    remarks: tuple[str, ...]
    levels: tuple[float, ...]  # from which value on pixels of each plane are saturated
    marks: dict[int, list[float]] = field(default_factory=dict)  # of planes, found while these are read

    @property
    def shape(self) -> Shape:
        return self.layout.planes[0].shape

    @property
    def unit(self) -> str:
        return ", ".join(filter(None, dict.fromkeys(unit.by for unit in self.units)))


@contextmanager
def _image(path: Path, reading: Reading, limit: int | None = None) -> Iterator[_Image]:
    with opened(path, 16 * limit if limit else None) as hdus:
        images = science_images(hdus)
        cards = Cards(images[0], hdus)
        layout = find_layout(images, cards, reading.bands)
        plane = layout.planes[0]
        refuse_large(*plane.shape, *((limit,) if limit else ()))
        place = find_place(plane.hdu, hdus, path, reading.pixel_scale)
        area = steradian(place.pixel_scale / 3600) if place.pixel_scale == place.pixel_scale else None
        weights, bands, remarks = shown(layout)
        own = list(_cards_of_planes(layout, hdus))
        units = tuple(_unit(one, area, reading) for one in own)
        _refuse_unlike(layout, weights, units, hdus)
        remarks += tuple(dict.fromkeys(unit.remark for unit in units if unit.remark))
        if layout.named_by == "assumed":
            remarks += ("its three planes have no names and are taken as g, r, z (--bands names them)",)
        if layout.unread:
            remarks += (f"{layout.unread} further images of the file are not read",)
        levels = tuple(map(_level, own))
        yield _Image(layout, cards, place, units, weights, bands, remarks + place.remarks, levels)


def _refuse_unlike(layout: Layout, weights: NDArray[np.float64], units: Sequence[Unit], hdus: Any) -> None:
    """Refuse planes shown together of which one lies elsewhere, or one alone does not say its unit."""
    used = np.flatnonzero(weights.any(axis=0))
    first = layout.planes[used[0]]
    unknown = [layout.planes[number].band for number in used if not units[number].by]
    if 0 < len(unknown) < len(used):
        raise StampError(
            f"its bands {', '.join(unknown)} do not say their unit, and the others do; --zero-point says it"
        )
    for number in used[1:]:
        plane = layout.planes[number]
        if plane.hdu is not first.hdu and not same_pixels(first.hdu, plane.hdu, hdus):
            raise StampError(
                f"its band {plane.band} lies on other pixels of the sky than {first.band}; give all one grid"
            )


def _cards_of_planes(layout: Layout, hdus: Any) -> Iterator[Cards]:
    """What the header says of each plane, which of those of a cube it may say one by one."""
    for plane in layout.planes:
        together = [one for one in layout.planes if one.hdu is plane.hdu]
        yield Cards(plane.hdu, hdus, [one.band for one in together], together.index(plane))


def _unit(cards: Cards, area: float | None, reading: Reading) -> Unit:
    unit = find_unit(cards, area, reading.zero_point)
    return unit if unit.per_area else replace(unit, factor=unit.factor * reading.covered)


def _level(cards: Cards) -> float:
    said = cards.number(LEVEL)
    return said[1] if said is not None and said[1] > 0 else float("inf")


def fits_facts(path: Path, reading: Reading = UNTOLD) -> FitsFacts:
    """What the header of a FITS image says; the pixels are read of pictures alone, for their depth.

    Raises
    ------
    StampError
        As `read_fits` does.
    """
    with _image(path, reading) as image:
        refuse_counts(image.layout, image.unit)
        sky = image.place.sky
        turned = sky is not None and sky.aligned and sky.quarter_turned
        height, width = image.shape[::-1] if turned else image.shape
        white = _white(image) if image.layout.is_colour else None
        scale, remarks = image.place.pixel_scale, image.remarks
        if white is None and reading.resample and scale == scale:
            if abs(scale / reading.resample - 1) > SAME_SCALE:
                remarks += (f"it was resampled to {reading.resample:g} arcsec, its flux kept",)
            height, width = (max(1, round(side * scale / reading.resample)) for side in (height, width))
            scale = reading.resample
        return FitsFacts(
            (height, width),
            scale,
            image.bands,
            np.count_nonzero(image.weights.any(axis=0)) == 1,
            "nanomaggies" if white is None else "as-delivered",
            image.unit,
            None if _is_bytes(image) else white,
            image.cards.text(*MADE_BY),
            remarks,
        )


def read_fits(
    path: Path,
    shape: Shape | None = None,
    reading: Reading = UNTOLD,
    *,
    fit: Fit = "crop",
    white: float | None = None,
) -> FitsStamp:
    """A FITS image, or a stamp of `shape` (H, W) of it, north up and east left.

    The first image HDU that is no mask or weight counts; `bands` says what its planes are, `units` what its pixels are,
    `sky` where it lies. Quarter turns and mirrors of the WCS are undone by flips, any other angle, and pixels that are
    not square, by bilinear resampling at the same pixel scale.

    Parameters
    ----------
    fit : str
        How an image of another size becomes a stamp, see `fitted`; what shows nothing is refused before it is padded.
    white : float, optional
        Brightest value of a picture of more than 8 bits; by default that of its own depth.

    Raises
    ------
    StampError
        If the file is empty, truncated or not FITS; has no image, other bands or another unit; or is too small.
    """
    with _image(path, reading) as image:
        pixels: NDArray[Any] = _whole(image)
        own = _white(image) if image.layout.is_colour else None  # None of colours that are fluxes, whatever is given
        white = own if own is None or _is_bytes(image) else white or own
        _refuse_pictures(image, pixels)
    if white is not None:
        pixels = np.rint(np.nan_to_num(pixels[::-1]) * (255 / white)).clip(0, 255).astype(np.uint8)
    elif (flat := saturated(pixels, _levels(image))).any():
        pixels = np.concatenate([pixels, flat[None]])  # a plane that is cut and turned with the others
    place, scale = image.place, image.place.pixel_scale
    centre, asked = None, shape if fit == "crop" else None
    if place.sky is not None:
        pixels, centre, scale = _north_up(pixels, place.sky, asked, None if white else reading.resample)
    elif white is None and reading.resample and scale == scale:
        pixels, _, scale = _north_up(pixels, _flat(image.shape, scale), asked, reading.resample)
    if shape is not None:
        size = cast(Shape, pixels.shape[1:])
        if fit != "crop":
            check_pixels(cast(Pixels, pixels[:3]))  # before empty sky is put around them
        pixels = fitted(pixels, shape, fit, fluxes=white is None)
        centre = centre and _moved(centre, scale / 3600, size, shape, fit)
        scale *= shrinking(size, shape) if fit == "shrink" else 1
    ra, dec = place.ra, place.dec
    if centre is not None and place.is_filled:
        ra, dec = float(centre.ra.deg), float(centre.dec.deg)
    count = round(float(np.nansum(pixels[3:])))
    told = tuple(set(chain.from_iterable(image.marks.values())))
    return FitsStamp(cast(Pixels, np.ascontiguousarray(pixels[:3])), scale, ra, dec, image.bands, count, told)


def _levels(image: _Image) -> list[float]:
    """From which value on each of g, r, z is saturated, nanomaggies; infinite where several planes make it up."""
    factors = image.weights * [unit.factor for unit in image.units]
    sources = [np.flatnonzero(row) for row in factors]
    return [
        factors[slot, found[0]] * image.levels[found[0]] if len(found) == 1 else float("inf")
        for slot, found in enumerate(sources)
    ]


def read_frame(path: Path) -> WideFrame:
    """A FITS image of up to `MAX_FRAME_PIXELS`, whose pixels are never resampled.

    Planes and units as for `read_fits`. It takes 12 bytes per pixel of memory: rows are read in blocks.

    Raises
    ------
    StampError
        If the file is empty, truncated or not FITS; has no image, other bands or another unit; or is too large.
    """
    with _image(path, UNTOLD, MAX_FRAME_PIXELS) as image:
        if image.layout.is_colour and not image.unit:
            raise StampError("it is a picture in red, green and blue, and holds no fluxes")
        pixels = _whole(image)
    sky = image.place.sky
    if sky is None:
        return WideFrame(pixels, image.place.pixel_scale, image.bands, np.diag([-1, 1]), None)
    turn, wcs = nearest_turn(sky.axes), sky.wcs if image.place.is_filled else None
    return WideFrame(north_up(pixels, turn), sky.arcsec, image.bands, turn, wcs)


def _blocks(image: _Image) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Rows of g, r, z in nanomaggies, (3, h, W), and which rows they are; only the planes that are shown are read."""
    factors = image.weights * [unit.factor for unit in image.units]
    used = np.flatnonzero(factors.any(axis=0))
    for rows in _parts(image):
        block = np.zeros((3, min(ROWS, image.shape[0] - rows.start), image.shape[1]))
        for number in used:
            values = _rows(image, int(number), rows)
            for slot in np.flatnonzero(factors[:, number]):
                block[slot] += values * factors[slot, number]
        with np.errstate(over="ignore"):
            yield rows, block.astype(np.float32)


def _whole(image: _Image) -> NDArray[np.float32]:
    """All rows of g, r, z in nanomaggies, (3, H, W)."""
    pixels = np.empty((3, *image.shape), np.float32)
    for rows, block in _blocks(image):
        pixels[:, rows] = block
    return pixels


def _parts(image: _Image) -> Iterator[slice]:
    """The rows that are read at a time."""
    return (slice(top, top + ROWS) for top in range(0, image.shape[0], ROWS))


def _rows(image: _Image, number: int, rows: slice) -> NDArray[np.float64]:
    plane = image.layout.planes[number]
    values = _stored(plane, rows)
    if may_hold_marks(values):
        values[np.isin(values, _marks(image, number)) | np.isinf(values)] = np.nan
    softening, offset = (plane.hdu.header.get(card) for card in SOFTENED)
    if softening is None or offset is None:
        return values
    # Pan-STARRS keeps asinh magnitudes (Waters et al. 2020, section 3.5)
    return cast(NDArray[np.float64], float(offset) + 2 * float(softening) * np.sinh(values * np.log(10) / 2.5))


def _marks(image: _Image, number: int) -> list[float]:
    """Those of a plane: all of its rows are asked, since some may hold nothing else, or a mark once."""
    if number not in image.marks:
        plane = image.layout.planes[number]
        image.marks[number] = marks(lambda: (_stored(plane, rows) for rows in _parts(image)))
    return image.marks[number]


def _stored(plane: Plane, rows: slice) -> NDArray[np.float64]:
    if plane.interleaved:
        return cast(NDArray[np.float64], plane.hdu.section[rows][..., plane.place[0]].astype(np.float64))
    return cast(NDArray[np.float64], plane.hdu.section[(*plane.place, rows)].astype(np.float64))


def _white(image: _Image) -> float | None:
    """The brightest value that a picture of this depth can have; None where the planes hold fluxes."""
    if any(unit.by for unit in image.units):
        return None
    if _is_bytes(image):
        return 255.0
    low, high = 0.0, 0.0
    for _, block in _blocks(image):
        low, high = min(low, float(np.nanmin(block))), max(high, brightest(block))
    if low < 0:
        return None
    return white_of(high, floats=image.layout.planes[0].hdu.header["BITPIX"] < 0)


def _is_bytes(image: _Image) -> bool:
    return bool(image.layout.planes[0].hdu.header["BITPIX"] == 8)


def _refuse_pictures(image: _Image, pixels: NDArray[np.float32]) -> None:
    """Refuse nameless planes without a unit whose sky does not scatter around zero, as that of fluxes does."""
    if image.layout.named_by != "assumed" or any(unit.by for unit in image.units):
        return
    finite = pixels[np.isfinite(pixels)]
    # what shows nothing has a reason of its own
    if 2 * finite.size >= pixels.size and 0 <= finite.min() < finite.max():
        raise StampError(f"three planes whose bands nobody says, without a value below zero, as of a picture; {ASK}")


def _north_up(
    pixels: NDArray[Any], sky: Sky, shape: Shape | None, resample: float | None
) -> tuple[NDArray[Any], SkyCoord, float]:
    """The central `shape` of `pixels` (3, H, W) turned to north up, the sky at its centre, and its pixel scale."""
    if resample is not None and abs(resample / sky.arcsec - 1) > SAME_SCALE:
        ratio = resample / sky.arcsec
        height, width = pixels.shape[:0:-1] if sky.aligned and sky.quarter_turned else pixels.shape[1:]
        whole = (max(1, round(height / ratio)), max(1, round(width / ratio)))
        if shape is not None:
            _refuse_smaller(whole, shape)
        return _regridded(pixels, sky, shape or whole, resample), sky.centre, resample
    if not sky.aligned:
        whole = cast(Shape, pixels.shape[1:])
        _refuse_smaller(whole, shape or whole)  # a smaller image would be padded with empty sky
        return _resampled(pixels, sky, shape or whole), sky.centre, sky.arcsec
    pixels = north_up(pixels, nearest_turn(sky.axes))
    whole = cast(Shape, pixels.shape[1:])
    cut = centre_crop(pixels, shape or whole)
    return cut, _moved(sky.centre, sky.scale, whole, shape or whole, "crop"), sky.arcsec


def _moved(centre: SkyCoord, scale: float, size: Shape, shape: Shape, fit: Fit) -> SkyCoord:
    """The sky at the centre of a stamp: cutting or padding an odd number of pixels moves it by half a pixel.

    Parameters
    ----------
    centre : SkyCoord
        Of the image of `size` (H, W), north up, with pixels of `scale` degrees.
    """
    factor, first = first_pixel(size, shape, fit)
    up, west = first + factor * np.array(shape) / 2 - np.array(size) / 2
    return centre.spherical_offsets_by(-west * scale * u.deg, up * scale * u.deg)


def _refuse_smaller(whole: Shape, shape: Shape) -> None:
    centre_crop(np.empty((0, *whole)), shape)


def _grid(centre: SkyCoord, shape: Shape, scale: float) -> WCS:
    """North-up pixels of `scale` degrees around a position."""
    grid = WCS(naxis=2)
    grid.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    grid.wcs.radesys = "ICRS"
    grid.wcs.crval = [centre.ra.deg, centre.dec.deg]
    grid.wcs.crpix = [(shape[1] + 1) / 2, (shape[0] + 1) / 2]
    grid.wcs.cdelt = [-scale, scale]
    return grid


def _flat(shape: Shape, scale: float) -> Sky:
    """A sky for an image that says its scale alone."""
    centre = SkyCoord(0 * u.deg, 0 * u.deg)
    return Sky(_grid(centre, shape, scale / 3600), centre, scale / 3600, np.diag([-1.0, 1.0]))


def _resampled(pixels: NDArray[Any], sky: Sky, shape: Shape) -> NDArray[Any]:
    """Bilinear at the same pixel scale."""
    # with it come dask and zarr, which take a second to load
    from reproject import reproject_interp

    grid = _grid(sky.centre, shape, sky.scale)
    turned = reproject_interp((pixels.astype(np.float64), sky.wcs), grid, shape_out=shape, return_footprint=False)
    if pixels.dtype == np.uint8:
        turned = np.rint(np.nan_to_num(turned)).clip(0, 255)
    return cast(NDArray[Any], turned.astype(pixels.dtype))


def _regridded(pixels: NDArray[Any], sky: Sky, shape: Shape, scale: float) -> NDArray[np.float32]:
    """On north-up pixels of `scale` arcsec, with the same flux: each old pixel is shared out by area."""
    from reproject import reproject_adaptive

    grid = _grid(sky.centre, shape, scale / 3600)
    new = reproject_adaptive(
        (pixels.astype(np.float64), sky.wcs),
        grid,
        shape_out=shape,
        return_footprint=False,
        kernel="gaussian",
        conserve_flux=True,
        center_jacobian=True,
        boundary_mode="strict",
        bad_value_mode="ignore",
    )
    return cast(NDArray[np.float32], new.astype(np.float32))
