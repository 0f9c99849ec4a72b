"""What a user may say of an import."""

from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Self, TypedDict, Unpack

from lvm_training.errors import StampError
from lvm_training.images.bands import named_bands
from lvm_training.images.fits import Reading
from lvm_training.images.fitting import Fit, checked_fit
from lvm_training.images.sky import BELIEVED

LARGEST = 4096  # side of a stamp, pixels


class Given(TypedDict, total=False):
    """What a command is given, as it was typed; what is None was not.

    Attributes
    ----------
    size : int
        Side of the stamps in pixels, instead of the most common size.
    pixel_scale : float
        arcsec, for files that do not say.
    bands : str
        What the planes of FITS images or of an HDF5 file are, such as "r,g,b" or "u,g,r,i,z".
    zero_point : float
        AB magnitude of one count, for FITS images that do not say their unit.
    fit : str
        How images of other sizes become stamps: "crop" cuts the centre, and skips smaller ones; "pad" also puts empty
        sky around these; "shrink" shows the whole of larger ones. By default FITS images of a known pixel scale are
        cut, and so is what is larger than the size that half of the files have; otherwise images are shrunk.
    resample : float
        arcsec per pixel to bring FITS images of other scales to, their flux kept.
    group : str
        Which files of a mixed folder are read, by number or by words such as "0.4 arcsec".
    images : str
        Which dataset of an HDF5 file the images are.
    layout : str
        Which known HDF5 file it is, where its content does not say: "galaxy10-decals" or "galaxy10-sdss".
    positions_from_names : bool
        Whether names such as J005130.07-011511.2 say where galaxies are.
    north_up : bool
        Whether pictures have north up and east left, which nothing in them says.
    """

    size: int | None
    pixel_scale: float | None
    bands: str | None
    zero_point: float | None
    fit: str | None
    resample: float | None
    group: str | None
    images: str | None
    layout: str | None
    positions_from_names: bool
    north_up: bool


@dataclass(frozen=True)
class ImportOptions:
    """What an import is told beside its files.

    Attributes
    ----------
    size : int or None
        Side of the stamps in pixels; by default the most common size.
    fit : str or None
        How images of other sizes become stamps: "crop", "shrink" or "pad".
    group : str or None
        Which files of a mixed folder are read; by default the largest group.
    reading : Reading
        What FITS files do not say.
    images : str or None
        Which dataset of an HDF5 file the images are.
    layout : str or None
        Which known HDF5 file it is.
    positions_from_names, north_up : bool
        As in `Given`.
    white : float or None
        Of pictures of more than 8 bits, where they stand beside others whose white is known.
    """

    size: int | None = None
    fit: Fit | None = None
    group: str | None = None
    reading: Reading = field(default_factory=Reading)
    images: str | None = None
    layout: str | None = None
    positions_from_names: bool = False
    north_up: bool = False
    white: float | None = None

    @classmethod
    def checked(cls, **given: Unpack[Given]) -> Self:
        """From what a command was given, before any file is looked at.

        Raises
        ------
        StampError
            If one of them cannot be.
        """
        size, pixel_scale, resample = given.get("size"), given.get("pixel_scale"), given.get("resample")
        bands, zero_point = given.get("bands"), given.get("zero_point")
        if size is not None and not 2 <= size <= LARGEST:
            raise StampError(f"Stamps of {size} pixels cannot be made.", f"Give a size of 2 to {LARGEST}.")
        for name, scale in (("pixel scale", pixel_scale), ("pixel scale to resample to", resample)):
            if scale is not None and not 0 < scale < float("inf"):
                raise StampError(f"{scale} arcsec is no {name}.", "Give arcsec per pixel, such as 0.262.")
        if resample is not None and not BELIEVED[0] <= resample <= BELIEVED[1]:
            raise StampError(f"{resample} arcsec is no pixel scale of a galaxy's stamp.", "Give one such as 0.262.")
        if zero_point is not None and not (isfinite(zero_point) and 0 <= zero_point < 50):
            raise StampError(f"{zero_point} is no zero point.", "Give the AB magnitude of one count, such as 22.5.")
        reading = Reading(pixel_scale, named_bands(bands) if bands is not None else (), zero_point, resample)
        fit = checked_fit(given.get("fit"))
        return cls(
            size,
            fit,
            given.get("group"),
            reading,
            given.get("images"),
            given.get("layout"),
            given.get("positions_from_names", False),
            given.get("north_up", False),
        )

    def refuse_those_of_folders(self) -> None:
        """Refuse what is said of a folder's files, where there is one file of stamps that are alike already.

        Raises
        ------
        StampError
            If any of it was given.
        """
        told = {"zero-point": self.reading.zero_point, "resample": self.reading.resample, "group": self.group}
        for name, value in {**told, "fit": self.fit}.items():
            if value is not None:
                raise StampError(f"--{name} is for folders of image files, and this is an HDF5 file.", "Leave it out.")

    def about(self) -> dict[str, Any]:
        """Those that were given, by the names of the command's options."""
        given = {
            "size": self.size,
            "fit": self.fit,
            "group": self.group,
            "pixel_scale": self.reading.pixel_scale,
            "bands": ",".join(self.reading.bands) or None,
            "zero_point": self.reading.zero_point,
            "resample": self.reading.resample,
            "images": self.images,
            "layout": self.layout,
            "positions_from_names": self.positions_from_names or None,
            "north_up": self.north_up or None,
        }
        return {name: value for name, value in given.items() if value is not None}
