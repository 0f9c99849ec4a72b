"""Objects of a FITS image as a table with positions on the sky."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from astropy.table import Table
from astropy.wcs import WCS

from lvm_training.files import write_atomically
from lvm_training.objects.instances import InstanceError
from lvm_training.objects.wide_field import WideObject
from lvm_training.stamps.fits import FitsStamp

FORMATS = {".csv": "ascii.ecsv", ".ecsv": "ascii.ecsv", ".fits": "fits", ".vot": "votable", ".xml": "votable"}


def sky_table(objects: Sequence[WideObject], image: FitsStamp) -> Table:
    """One row per object, best first.

    Returns
    -------
    Table
        `class`, `score`, `ra` and `dec` of the box's centre (degrees ICRS, tangent projection about the image's
        centre; NaN where the image has no position), `width` and `height` of the box (arcsec), and its edges `x0`,
        `y0`, `x1`, `y1` in pixels of the image with north up, counted from its south-east corner's pixel edge.
    """
    boxes = np.array([one.box for one in objects]).reshape(-1, 4)
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    height, width = image.pixels.shape[1:]
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [image.ra, image.dec] if np.isfinite([image.ra, image.dec]).all() else [0, 0]
    wcs.wcs.crpix = [width / 2 + 0.5, height / 2 + 0.5]
    step = image.pixel_scale / 3600
    wcs.wcs.cdelt = [-step, step]
    sky = wcs.wcs_pix2world(middle - 0.5, 0) if len(objects) else np.zeros((0, 2))
    sky = sky if np.isfinite([image.ra, image.dec]).all() else np.full_like(sky, np.nan)
    extent = (boxes[:, 2:] - boxes[:, :2]) * image.pixel_scale
    table = Table()
    table["class"] = np.array([one.name for one in objects], dtype=str)
    table["score"] = np.array([one.score for one in objects], dtype=float)
    for name, values, unit in (
        ("ra", sky[:, 0], "deg"),
        ("dec", sky[:, 1], "deg"),
        ("width", extent[:, 0], "arcsec"),
        ("height", extent[:, 1], "arcsec"),
    ):
        table[name] = values
        table[name].unit = unit
    for place, name in enumerate(("x0", "y0", "x1", "y1")):
        table[name] = boxes[:, place]
    return table


def write_table(table: Table, path: Path) -> None:
    """Write a table in the format of the file's suffix: .csv and .ecsv (with units in its head), .fits, .vot.

    Raises
    ------
    InstanceError
        If the suffix is another one.
    """
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise InstanceError(f"A table cannot be written to {path.name}.", f"Name a file {', '.join(FORMATS)}.")
    delimiter = {"delimiter": ","} if kind == "ascii.ecsv" else {}
    write_atomically(path, lambda partial: table.write(partial, format=kind, overwrite=True, **delimiter))
