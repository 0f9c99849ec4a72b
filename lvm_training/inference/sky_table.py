"""Objects of an image as a table with positions on the sky."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from astropy.table import Table

from lvm_training.files import refuse_others, try_writing, write_atomically
from lvm_training.images.wide_frame import WideFrame
from lvm_training.inference.wide_field import WideObject
from lvm_training.objects.instances import InstanceError

MADE_BY = "galaxyloop detect"
FORMATS = {".csv": "ascii.ecsv", ".ecsv": "ascii.ecsv", ".fits": "fits", ".vot": "votable", ".xml": "votable"}


def sky_table(objects: Sequence[WideObject], image: WideFrame) -> Table:
    """One row per object, best first.

    Returns
    -------
    Table
        `class`, `score`, `ra` and `dec` of the box's centre (degrees ICRS by the file's own WCS; NaN without one),
        `width` and `height` of the box (arcsec, along the file's columns and rows; NaN where the scale is unknown), its
        edges `x0`, `y0`, `x1`, `y1` in the file's own pixels, counted from the outer corner of the first one (FITS
        coordinates less 0.5; of a picture the upper left one), and
        `cut`: whether it touches the edge of the image or of its tile, so that part of the object may be missing.
    """
    boxes = np.array([one.box for one in objects]).reshape(-1, 4)
    sky = image.to_sky((boxes[:, :2] + boxes[:, 2:]) / 2)
    corners = np.stack([image.to_file(boxes[:, :2]), image.to_file(boxes[:, 2:])])
    edges = np.concatenate([corners.min(axis=0), corners.max(axis=0)], axis=1)
    extent = (edges[:, 2:] - edges[:, :2]) * image.pixel_scale
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
        table[name] = edges[:, place]
    table["cut"] = np.array([one.cut for one in objects], dtype=bool)
    return table


def check_table_path(path: Path, source: Path) -> None:
    """Refuse, before any work is done, a path that `write_table` cannot write or that is `source` itself.

    Raises
    ------
    InstanceError
        If it is the source or a folder, its suffix names no format, or its folder cannot be made or written to.
    OutputError
        If a file is there that `write_table` did not write.
    """
    _format(path)
    if path.resolve() == source.resolve() or (path.exists() and source.exists() and path.samefile(source)):
        raise InstanceError(f"The table would overwrite {path.name}, which it is made of.", "Name another file.")
    if path.is_dir():
        raise InstanceError(f"{path} is a folder.", "Name a file in it.")
    refuse_others(path, MADE_BY.encode())
    try:
        try_writing(path.parent)
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> InstanceError:
    return InstanceError(f"{path} cannot be written: {error.strerror or error}.", "Name a file in another folder.")


def _format(path: Path) -> str:
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise InstanceError(f"A table cannot be written to {path.name}.", f"Name a file {', '.join(FORMATS)}.")
    return kind


def write_table(table: Table, path: Path) -> None:
    """Write a table in the format of the file's suffix: .csv and .ecsv (with units in its head), .fits, .vot.

    Raises
    ------
    InstanceError
        If the suffix is another one or the file cannot be written.
    """
    kind = _format(path)
    # FITS has eight letters for a name, VOTable keeps the description alone
    table.meta["CREATOR" if kind == "fits" else "description"] = MADE_BY
    delimiter = {"delimiter": ","} if kind == "ascii.ecsv" else {}
    try:
        write_atomically(path, lambda partial: table.write(partial, format=kind, overwrite=True, **delimiter))
    except OSError as error:
        raise _unwritable(path, error) from error
