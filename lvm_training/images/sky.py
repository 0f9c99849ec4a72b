"""How an image lies on the sky: its pixel scale, its centre, and where its axes point."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy import log
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from astropy.wcs.utils import wcs_to_celestial_frame
from numpy.typing import NDArray

from lvm_training.errors import StampError
from lvm_training.images.fits_file import Cards, plane_shape

ALIGNED = 0.01  # radians off the axes (and relative error of scale) within which flips suffice
SAME_SCALE = 0.01  # relative difference within which two pixel scales are one
BELIEVED = (0.001, 5.0)  # arcsec per pixel; other scales of a survey of galaxies are mistakes more often than not
SCALE_CARDS = ("PIXSCALE", "PIXSCAL", "SECPIX", "PIXELSCL", "PIXSIZE", "SCALE")  # arcsec per pixel
# before each no number, as in `at 5 arcmin off axis` or `PA = 0 deg`
_OTHER = r"(?<![0-9.])(?<![0-9.] )"
ANGLES = {
    rf"{_OTHER}\b(mas\b|milli-?arcsec)": 1e-3,
    rf"{_OTHER}(a(rc)?sec|\bsec\b|second|\"|''|″)": 1.0,
    rf"{_OTHER}(arcmin|(?<![\w'])'(?!['\w]))": 60.0,
    rf"{_OTHER}(\bdeg|°)": 3600.0,
}  # arcsec in each, as headers write it
CENTRAL = 1.0  # pixels between the reference point and the centre within which it is the image's position
_MEASURE = re.compile(r"([0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)\s*(\D.*)")
_LENGTH = re.compile(r"\b(?:[uµμ]m|microns?|micromet\w+|mm)\b", re.IGNORECASE)
_WCS_NUMBER = re.compile(r"(?:CRVAL|CRPIX|CDELT|CROTA)[12]|(?:CD|PC)[12]_[12]")
_WCS_CARD = re.compile(r"(?:CTYPE|CRVAL|CRPIX|CDELT|CUNIT|CROTA)\d|(?:CD|PC)\d_\d")
log.setLevel("WARNING")  # of each file whose distortions have no suffix astropy tells a page otherwise
POSITION = re.compile(r"_(\d+(?:\.\d+)?)_([+-]?\d+(?:\.\d+)?)\.(?:fits|fit|fts)(?:\.gz|\.fz)?$", re.IGNORECASE)


@dataclass(frozen=True)
class Sky:
    """How an image lies on the sky: its centre, its pixel scale in degrees, and where its axes point.

    `axes` (2, 2) turns a step (x, y) in pixels into one towards (east, north), in pixel scales.
    """

    wcs: WCS
    centre: SkyCoord
    scale: float
    axes: NDArray[np.float64]

    @property
    def arcsec(self) -> float:
        """The pixel scale in arcsec."""
        return round(self.scale * 3600, 5)

    @property
    def believed(self) -> bool:
        """Whether the pixel scale is that of a survey of galaxies."""
        return BELIEVED[0] <= self.arcsec <= BELIEVED[1]

    @property
    def quarter_turned(self) -> bool:
        """Whether east lies along the columns."""
        return bool(abs(self.axes[0, 1]) > 0.5)

    @property
    def aligned(self) -> bool:
        """Whether flips bring north up."""
        return bool(np.abs(self.axes - self.axes.round()).max() < ALIGNED)


@dataclass(frozen=True)
class Place:
    """What a file says of where it lies.

    Attributes
    ----------
    sky : Sky or None
        By a WCS that says its scale.
    pixel_scale : float
        arcsec; NaN where nothing says it.
    ra, dec : float
        Of the centre, degrees ICRS; NaN where nothing says it.
    remarks : tuple of str
        What was assumed.
    is_filled : bool
        Whether the WCS also says where on the sky it lies.
    """

    sky: Sky | None
    pixel_scale: float
    ra: float
    dec: float
    remarks: tuple[str, ...] = ()
    is_filled: bool = True


def find_place(hdu: Any, hdus: fits.HDUList, path: Path, given: float | None = None) -> Place:
    """Where an image lies, by its WCS, by keywords such as PIXSCALE, by what is given, and by its file's name.

    Parameters
    ----------
    given : float, optional
        arcsec per pixel; it takes the place of a WCS whose scale is not believed.

    Raises
    ------
    StampError
        If the WCS says a scale that is not believed and no other is given, or its centre is nowhere on the sky.
    """
    sky, (ra, dec), remarks = _by_wcs(hdu, hdus)
    if sky is not None and not sky.believed:
        if given is None:
            raise StampError(
                f"its WCS says {sky.arcsec:g} arcsec a pixel; if that is so, --pixel-scale {sky.arcsec:g}, "
                "else give the right one"
            )
        if abs(given - sky.arcsec) > SAME_SCALE * given:
            sky, remarks = None, ("its WCS says another pixel scale, which is not believed",)
    if sky is not None and not _is_unfilled(sky, hdu):
        return Place(sky, sky.arcsec, float(sky.centre.ra.deg), float(sky.centre.dec.deg), remarks)
    if sky is not None:
        ra, dec = _named_position(path)
        remarks = (*remarks, "its WCS lies at 0, 0, as one that was never filled in: its position is not taken")
        return Place(sky, sky.arcsec, ra, dec, remarks, is_filled=False)
    if ra != ra:
        ra, dec = _named_position(path)
        remarks += ("the position is that of its name",) if ra == ra else ()
    said = _by_cards(Cards(hdu, hdus)) if given is None else None
    if said is None:
        return Place(None, float("nan") if given is None else given, ra, dec, remarks)
    return Place(None, said[1], ra, dec, (*remarks, f"the pixel scale is that of {said[0]}"))


def _is_unfilled(sky: Sky, hdu: Any) -> bool:
    """Whether a WCS has 0, 0 on the image: maps of the whole sky have their reference point far from cutouts."""
    x, y = sky.wcs.wcs.crpix
    height, width = plane_shape(hdu)
    return not sky.wcs.wcs.crval.any() and 0 <= x <= width + 1 and 0 <= y <= height + 1


def same_pixels(hdu: Any, other: Any, hdus: fits.HDUList) -> bool:
    """Whether the pixels of two images lie at the same places, to one pixel; so is taken where one does not say it."""
    if _wcs_cards(hdu.header) == _wcs_cards(other.header):
        return True
    one, two = (_by_wcs(each, hdus)[0] for each in (hdu, other))
    if one is None or two is None or not (one.believed and two.believed):
        return True
    if one.wcs.wcs.crval.any() != two.wcs.wcs.crval.any():
        return True  # 0, 0 is what a header holds that was never filled in
    apart = float(one.centre.separation(two.centre).deg)
    turned = float(np.abs(one.axes - two.axes).max()) * min(plane_shape(hdu)) / 2
    return abs(one.scale / two.scale - 1) <= SAME_SCALE and apart <= one.scale and turned <= 1


def _wcs_cards(header: fits.Header) -> list[tuple[str, Any]]:
    return sorted((key, value) for key, value in header.items() if _WCS_CARD.fullmatch(key))


def _by_wcs(hdu: Any, hdus: fits.HDUList) -> tuple[Sky | None, tuple[float, float], tuple[str, ...]]:
    """The sky by a WCS with a scale; else the position that one without says, if it is the centre's."""
    nowhere = float("nan"), float("nan")
    header = _header_of_wcs(hdu, hdus)
    says = _says_scale(header)
    # distortions of a cube count for its planes alone
    wcs = WCS(header if says else _without_steps(header), fobj=hdus, naxis=2)
    if not wcs.has_celestial:
        return None, nowhere, ()
    wcs = wcs.celestial
    height, width = plane_shape(hdu)
    x, y = (width - 1) / 2, (height - 1) / 2
    if not says:
        near = np.hypot(*(wcs.wcs.crpix - 1 - (x, y))) <= CENTRAL
        return None, _reference(wcs) if near else nowhere, ("its WCS does not say the pixel scale",)
    sky = wcs.pixel_to_world([x, x + 1, x], [y, y, y + 1])
    galactic = sky.frame.name == "galactic"
    sky = sky.icrs
    east, north = sky[0].spherical_offsets_to(sky[1:])
    steps = np.array([east.deg, north.deg])
    scale = float(np.sqrt(abs(np.linalg.det(steps))))
    if not np.isfinite(scale) or scale == 0:
        raise StampError("the centre of its WCS is nowhere on the sky")
    found = Sky(wcs, sky[0], scale, steps / scale)
    if header is not hdu.header and not found.believed:
        return None, nowhere, ()  # a placeholder, which the image itself does not have
    remarks = ("it lies in galactic coordinates and was turned to north",) if galactic else ()
    if not found.aligned and not galactic:
        remarks = ("its axes are turned, or its pixels not square: it was resampled with north up",)
    return found, nowhere, remarks


def _header_of_wcs(hdu: Any, hdus: fits.HDUList) -> fits.Header:
    """An image's own header, or the first of the file, which has no image, if only that says where it lies."""
    first = hdus[0].header
    inherited = "CTYPE1" not in hdu.header and "CTYPE1" in first and not first["NAXIS"]
    return _with_numbers(first if inherited else hdu.header)


def _with_numbers(header: fits.Header) -> fits.Header:
    """A header whose WCS has its numbers as such: of those that are written as text the standard's reader makes 0.

    A blank, or a rotation that is none, is a card that is not there; but the reference point has no default.
    """
    texts = {key: value for key, value in header.items() if _WCS_NUMBER.fullmatch(key) and isinstance(value, str)}
    if not texts or "CTYPE1" not in header:
        return header
    kept = header.copy()
    for key, value in texts.items():
        try:
            kept[key] = float(value.upper().replace("D", "E"))  # Fortran's exponents; a card cannot hold NaN
        except ValueError as error:
            needed = key.startswith(("CRVAL", "CRPIX")) or (value.strip() and not key.startswith("CROTA"))
            if needed:
                raise StampError(f"its WCS says {key} {value!r}, which is no number; mend that card") from error
            del kept[key]
    return kept


def _reference(wcs: WCS) -> tuple[float, float]:
    """Degrees ICRS of a WCS's reference point, whose matrix may be of no use."""
    longitude, latitude = (float(wcs.wcs.crval[axis]) for axis in (wcs.wcs.lng, wcs.wcs.lat))
    try:
        point = SkyCoord(longitude, latitude, unit="deg", frame=wcs_to_celestial_frame(wcs)).icrs
    except ValueError:  # a latitude beyond the pole, or a frame that is not known
        return float("nan"), float("nan")
    return float(point.ra.deg), float(point.dec.deg)


def _without_steps(header: fits.Header) -> fits.Header:
    """A header whose steps of zero do not keep its reference point from being read."""
    kept = header.copy()
    for i in (1, 2):
        for key in (f"CDELT{i}", *(f"{name}{i}_{j}" for name in ("CD", "PC") for j in (1, 2))):
            kept.remove(key, ignore_missing=True)
    return kept


def _says_scale(header: fits.Header) -> bool:
    """Whether a WCS says how large a pixel is: by the standard it is 1 degree where nothing does."""
    steps = [header.get(f"CDELT{axis}") for axis in (1, 2)]
    if any(f"CD{i}_{j}" in header for i in (1, 2) for j in (1, 2)):
        return bool(np.linalg.det([[float(header.get(f"CD{i}_{j}", 0)) for j in (1, 2)] for i in (1, 2)]) != 0)
    if 0 in steps:
        return False
    turn = [[float(header.get(f"PC{i}_{j}", i == j)) for j in (1, 2)] for i in (1, 2)]
    if steps == [None, None] or steps == [1, 1]:
        # a rotation alone has no scale, a matrix of small numbers has
        return bool(abs(abs(np.linalg.det(turn)) - 1) > 1e-3)
    return True


def _by_cards(cards: Cards) -> tuple[str, float] | None:
    """Keyword and arcsec per pixel; of two axes their geometric mean."""
    for name in SCALE_CARDS:
        one = _scale_of(cards, name) or _scale_of(cards, f"{name}1"[:8])
        other = _scale_of(cards, f"{name}2"[:8]) if one and one[0] != name else None
        if one is None:
            continue
        scale = float(np.sqrt(one[1] * other[1])) if other else one[1]
        if BELIEVED[0] <= scale <= BELIEVED[1]:
            return one[0], round(scale, 5)
    return None


def _scale_of(cards: Cards, key: str) -> tuple[str, float] | None:
    """Arcsec that a card says: a number, with its unit behind it or in its comment; None where it is no angle."""
    number = cards.number(key)
    measure = _MEASURE.fullmatch(cards.text(key))
    if number is not None:
        size, said = number[1], number[2]
    elif measure is not None:
        size, said = float(measure[1]), measure[2]
    else:
        return None
    factor = next((factor for unit, factor in ANGLES.items() if re.search(unit, said, re.IGNORECASE)), None)
    if factor is None and (number is None or _LENGTH.search(said)):
        return None
    return key, abs(size) * (factor or 1.0)


def _named_position(path: Path) -> tuple[float, float]:
    """Degrees in names such as cutout_<ra>_<dec>.fits; NaN where there are none: whole numbers may be anything."""
    found = POSITION.search(path.name)
    if found and "." in found[1] + found[2] and float(found[1]) < 360 and abs(float(found[2])) <= 90:
        return float(found[1]), float(found[2])
    return float("nan"), float("nan")
