"""Where a box on a picture lies: on the stored stamp, on the sky, and in the file that was imported."""

from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from backend_ml.catalogue.tables.columns import Column
from backend_ml.label_studio.labelling import DISPLAY_SIZE
from lvm_training.errors import StampError
from lvm_training.images.fitting import first_pixel
from lvm_training.images.pictures import PICTURES, picture_shape
from lvm_training.stamps.rendering import Rendering
from lvm_training.stamps.stampset import StampSet

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord
    from astropy.wcs import WCS

EDGES = ("x0", "y0", "x1", "y1")
NAN = float("nan")
NOWHERE = (NAN, NAN, NAN, NAN)

Edges = tuple[float, float, float, float]
"""x0, y0, x1, y1 from the outer corner of the first pixel of an image or, on a picture, from its top-left corner."""


def _edges(prefix: str, where: str) -> tuple[Column, ...]:
    sides = ("Least column", "Least row", "Largest column", "Largest row")
    return tuple(
        Column(f"{prefix}{name}", "float", f"{side} {where}", "pix", f"pos.cartesian.{name[0]}")
        for name, side in zip(EDGES, sides, strict=True)
    )


GEOMETRY = (
    *_edges("", "on the stored stamp, from the outer corner of its first pixel"),
    Column("ra", "float", "Right ascension of the box's centre, ICRS", "deg", "pos.eq.ra"),
    Column("dec", "float", "Declination of the box's centre, ICRS", "deg", "pos.eq.dec"),
    Column("width", "float", "Across the position angle", "arcsec", "phys.angSize"),
    Column("height", "float", "Along the position angle", "arcsec", "phys.angSize"),
    Column("pa", "float", "Position angle of the box's upper side, north through east", "deg", "pos.posAng"),
    Column("mask_area", "float", "Area of the mask, where there is one", "arcsec**2", "phys.angArea"),
    Column("mask_pixels", "float", "The same in pixels of the stored stamp", "pix**2", "phys.area"),
    *_edges("file_", "in the file that was imported, from the outer corner of its first pixel, where it still is"),
)


class Ground:
    """The stamps of a set under the pictures that people see of them.

    Parameters
    ----------
    rendering : Rendering
        The campaign's.
    stamps : StampSet
    """

    def __init__(self, rendering: Rendering, stamps: StampSet) -> None:
        # rendering needs torch, and campaigns of choices do without
        from lvm_training.stamps.render import frame

        self._stamps, self._files = stamps, OwnFiles(stamps)
        shown = rendering.sized(DISPLAY_SIZE)
        self._frame = frame(stamps.shape, shown, pixel_scale=stamps.pixel_scale, origin=stamps.origin)

    def described(self, box: Edges, mask: int, file: str, position: tuple[float, float]) -> dict[str, float]:
        """The cells of `GEOMETRY`.

        Parameters
        ----------
        box : tuple of float
            On the picture that people see.
        mask : int
            Its pixels there; -1 without a mask.
        file : str
            As the stamp set names it.
        position : tuple of float
            Right ascension and declination of the stamp's centre, degrees; NaN where unknown.
        """
        (left, first), (right, second) = self._frame.to_stamp(*box[:2]), self._frame.to_stamp(*box[2:])
        here = (left, min(first, second), right, max(first, second))
        pixels = mask * (self._frame.crop / self._frame.size) ** 2 if mask >= 0 else NAN
        scale = self._stamps.pixel_scale
        known = bool(np.isfinite([*position, scale]).all())
        sky, corners = self._on_sky(box, position) if known else (dict.fromkeys(("ra", "dec", "pa"), NAN), None)
        own = self._files.edges(file, here, corners)
        return {
            **dict(zip(EDGES, here, strict=True)),
            **sky,
            "width": (right - left) * scale,
            "height": abs(second - first) * scale,
            "mask_area": pixels * scale**2,
            "mask_pixels": pixels,
            **{f"file_{name}": value for name, value in zip(EDGES, own, strict=True)},
        }

    def _on_sky(self, box: Edges, position: tuple[float, float]) -> "tuple[dict[str, float], SkyCoord]":
        """Centre and position angle, degrees, and the four corners."""
        x0, y0, x1, y1 = box
        about: dict[str, Any] = {"ra": position[0], "dec": position[1], "width": self._stamps.shape[1]}
        to_sky: Callable[..., SkyCoord] = partial(self._frame.to_sky, pixel_scale=self._stamps.pixel_scale, **about)
        centre, upper = (to_sky((x0 + x1) / 2, y) for y in ((y0 + y1) / 2, y0))
        angle = float(centre.position_angle(upper).wrap_at("180d").deg)
        corners = to_sky(np.array([x0, x1, x0, x1]), np.array([y0, y0, y1, y1]))
        return {"ra": float(centre.ra.deg), "dec": float(centre.dec.deg), "pa": round(angle, 6)}, corners


class OwnFiles:
    """The files of a stamp set.

    Parameters
    ----------
    stamps : StampSet
        One that `galaxyloop data import` made says where from; of others nothing is known.
    """

    def __init__(self, stamps: StampSet) -> None:
        about = stamps.about("import")
        place = Path(about["path"]) if about.get("path") else None
        self._folder = place.parent if place is not None and place.is_file() else place
        self._fit = about.get("fit", "crop")
        self._shape = stamps.shape

    def edges(self, file: str, box: Edges, corners: "SkyCoord | None") -> Edges:
        """A box in pixels of a file; NaN where the file is gone, or says nothing of where it lies.

        Parameters
        ----------
        file : str
            As the stamp set names it.
        box : tuple of float
            The same box on the stored stamp.
        corners : SkyCoord (4,) or None
            And on the sky, by which it is found in a FITS image: through the file's own WCS.
        """
        path = None if self._folder is None or not file else self._folder / file
        if path is None or not path.is_file():
            return NOWHERE
        if path.suffix.lower() in PICTURES:
            return self._on_picture(path, box)
        wcs = _wcs(path)
        if wcs is None or corners is None:
            return NOWHERE
        x, y = (np.asarray(one, dtype=np.float64) + 0.5 for one in wcs.world_to_pixel(corners))
        return float(x.min()), float(y.min()), float(x.max()), float(y.max())

    def _on_picture(self, path: Path, box: Edges) -> Edges:
        """By how pictures become stamps: the centre is cut out or padded, or all of it made smaller."""
        try:
            factor, first = first_pixel(picture_shape(path), self._shape, self._fit)
        except StampError:
            return NOWHERE
        points: NDArray[Any] = np.array(box).reshape(2, 2) * factor + first[::-1]
        (x0, y0), (x1, y1) = points.tolist()
        return x0, y0, x1, y1


@lru_cache(maxsize=16)
def _wcs(path: Path) -> "WCS | None":
    """The celestial WCS of a FITS image, of whose objects several may be asked for one after the other."""
    from lvm_training.images.fits_file import opened, science_images
    from lvm_training.images.sky import find_place

    try:
        with opened(path) as hdus:
            place = find_place(science_images(hdus)[0], hdus, path)
    except (StampError, OSError):
        return None
    return place.sky.wcs if place.sky is not None and place.is_filled else None
