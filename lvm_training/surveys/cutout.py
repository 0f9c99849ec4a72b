"""Whether a service's answer is the cutout that was asked for, and its pixels as a stamp."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from lvm_training.errors import StampError
from lvm_training.images.bands import UNNAMED, band_name, find_layout, named_bands
from lvm_training.images.fits import Reading, read_fits
from lvm_training.images.fits_file import Cards, opened, science_images
from lvm_training.images.pictures import MAX_NAN, Shape, centre_crop, check_pixels, read_picture
from lvm_training.images.sky import SAME_SCALE
from lvm_training.stamps.stampset import Pixels
from lvm_training.surveys.order import PLANES, Order
from lvm_training.surveys.service import Outside, PartlyCovered, Unavailable, Unusable
from lvm_training.tables.positions import separation

SET_BANDS = ("g", "r", "z")  # of a stamp
FITS_START = b"SIMPLE  ="
PICTURE_STARTS = (b"\xff\xd8\xff", b"\x89PNG")
PASSING = ("truncated", "unreadable", "empty file")  # what a reader says of an answer that broke off
SAME_PLACE = 1.0  # pixels between the centre and what was asked for


@dataclass(frozen=True)
class Cutout:
    """A stamp (3, H, W), and the least share of its pixels that one of its bands has."""

    pixels: Pixels
    covered: float


class Reader:
    """Reads and verifies the answers to an order.

    Parameters
    ----------
    order : Order
        What was asked for.
    folder : Path
        Where an answer lies while it is read.
    """

    def __init__(self, order: Order, folder: Path) -> None:
        self._order = order
        self._scratch = folder / "answer"
        self._shape: Shape = (order.size, order.size)

    def read(self, data: bytes, ra: float, dec: float, bands: tuple[str, ...]) -> Pixels:
        """The planes (n, H, W) that an answer has of the bands it was asked for, at a position in degrees.

        Raises
        ------
        Unavailable
            If it is no FITS file (or picture), or was broken off.
        Unusable
            If its size, bands, scale or position are others than asked for.
        Outside
            If it holds no image.
        """
        picture = self._order.survey.service.answers == "picture"
        if not data.startswith(PICTURE_STARTS if picture else FITS_START):
            raise Unavailable(_other_than("picture" if picture else "FITS file", data))
        try:
            return self._picture(data) if picture else self._fits(data, ra, dec, bands)
        except StampError as error:
            kind = Unavailable if error.message.startswith(PASSING) else Unusable
            raise kind(error.message) from error

    def _picture(self, data: bytes) -> Pixels:
        self._scratch.write_bytes(data)
        pixels = read_picture(self._scratch)
        self._check_size(cast(Shape, pixels.shape[1:]))
        return centre_crop(pixels, self._shape)

    def _fits(self, data: bytes, ra: float, dec: float, bands: tuple[str, ...]) -> Pixels:
        self._scratch.write_bytes(data)
        self._check_header(bands)
        # whatever they are, they stand as g, r, z; a single plane stands as r
        planes = SET_BANDS if len(bands) == PLANES else SET_BANDS[1:2]
        reading = Reading(bands=planes, zero_point=self._order.zero_point, covered=self._order.area)
        stamp = read_fits(self._scratch, self._shape, reading)
        self._check_scale(stamp.pixel_scale)
        away = 3600 * float(separation(stamp.ra, stamp.dec, ra, dec))
        if not away <= SAME_PLACE * self._order.scale:
            raise Unusable(f"wrong position: its centre is {away:.2f} arcsec from what was asked for")
        return stamp.pixels if len(bands) == PLANES else stamp.pixels[1:2]

    def _check_header(self, bands: tuple[str, ...]) -> None:
        """Refuse other sizes and bands by the header, before pixels fill the memory."""
        with opened(self._scratch) as hdus:
            try:
                images = science_images(hdus)
            except StampError:
                images = []
            shape = images[0].shape[-2:] if images else (0, 0)
            found = _named(images, hdus) if images else ()
        if not images:
            raise Outside("outside: the answer holds no image")
        self._check_size(shape)
        # files of one band may have a name of their own for it
        sure = len(bands) == PLANES or set(found) <= set(map(band_name, self._order.survey.bands.known))
        if found and found != named_bands(",".join(bands)) and sure:
            raise Unusable(f"wrong bands: {', '.join(found)} where {', '.join(bands)} were asked for")

    def _is_size(self, shape: Shape) -> bool:
        return self._order.size <= min(shape) <= max(shape) <= self._order.largest_side

    def _check_size(self, shape: Shape) -> None:
        if not self._is_size(shape):
            raise Unusable(f"wrong size: {shape[1]} x {shape[0]} pixels where {self._order.size} were asked for")

    def _check_scale(self, scale: float) -> None:
        if scale != scale:
            raise Unusable("its header does not say where it is on the sky")
        if abs(scale / self._order.scale - 1) > SAME_SCALE:
            raise Unusable(f"wrong scale: {scale:g} arcsec where {self._order.scale:g} was asked for")

    def cutout(self, planes: list[Pixels]) -> Cutout:
        """The stamp that the planes of one position make.

        Raises
        ------
        Outside
            If nothing was observed there, or too little of it.
        """
        pixels = cast(Pixels, np.concatenate(planes))
        if pixels.dtype == np.uint8:
            if pixels.min() == pixels.max():
                raise Outside("outside: every pixel is the same")
            return Cutout(pixels, float("nan"))
        # surveys write 0 where they have not looked
        shares = (np.isfinite(pixels) & (pixels != 0)).mean(axis=(1, 2))
        if not shares.any():
            raise Outside("outside: every pixel is 0")
        least = int(shares.argmin())
        if shares[least] < 1 - MAX_NAN:
            raise PartlyCovered(f"partly covered: {shares[least]:.0%} of the pixels in {self._order.bands[least]}")
        try:
            check_pixels(pixels)
        except StampError as error:
            raise Unusable(error.message) from error
        return Cutout(pixels, float(shares[least]))


def _named(images: Sequence[Any], hdus: Any) -> tuple[str, ...]:
    """The bands that a header names, as an import calls them; () where it names none."""
    try:
        layout = find_layout(images, Cards(images[0], hdus))
    except StampError:
        return ()
    return layout.bands if layout.named_by == "header" and layout.bands != (UNNAMED,) else ()


def _other_than(kind: str, data: bytes) -> str:
    """What an answer is that is no such file."""
    if not data:
        return "an empty answer"
    start = data[:4096].lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html", b"<?xml")) or b"<html" in start:
        return f"a web page, no {kind}"
    words = " ".join(data[:80].decode("ascii", errors="replace").split())
    return f"no {kind}; it begins with {words[:40]!r}"
