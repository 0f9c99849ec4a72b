"""What an HDF5 file of galaxy pictures holds: which dataset the images are, and how its axes lie.

Known by name are the files of Galaxy10 (Leung & Bovy, astroNN): `images` (N, H, W, 3) uint8 and `ans`, the number of
the class. Of other files that is taken which can only be meant; what may be meant in two ways is asked for.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from lvm_training.errors import StampError
from lvm_training.images.bands import COLOURS, band_name, wavelength
from lvm_training.importing.options import ImportOptions
from lvm_training.stamps.columns import dtype_of
from lvm_training.stamps.stampset import open_hdf5

NAMES = ("images", "image", "imgs", "img", "pictures", "cutouts", "stamps", "data", "x")
MOST_PLANES, LEAST_SIDE = 10, 4
DEPTH = 4  # of groups in groups
ASK = "say it: --bands r,g,b for pictures, --bands g,r,z for nanomaggies in the order of the planes"
GALAXY10 = {
    "galaxy10-decals": (
        "Disturbed Galaxies",
        "Merging Galaxies",
        "Round Smooth Galaxies",
        "In-between Round Smooth Galaxies",
        "Cigar Shaped Smooth Galaxies",
        "Barred Spiral Galaxies",
        "Unbarred Tight Spiral Galaxies",
        "Unbarred Loose Spiral Galaxies",
        "Edge-on Galaxies without Bulge",
        "Edge-on Galaxies with Bulge",
    ),
    "galaxy10-sdss": (
        "Disk, Face-on, No Spiral",
        "Smooth, Completely round",
        "Smooth, in-between round",
        "Smooth, Cigar shaped",
        "Disk, Edge-on, Rounded Bulge",
        "Disk, Edge-on, Boxy Bulge",
        "Disk, Edge-on, No Bulge",
        "Disk, Face-on, Tight Spiral",
        "Disk, Face-on, Medium Spiral",
        "Disk, Face-on, Loose Spiral",
    ),
}
ANSWERS = "ans"  # of Galaxy10
SDSS_SIDE = 69  # pixels of Galaxy10 SDSS


@dataclass(frozen=True)
class ImageDataset:
    """How images lie in their dataset.

    Attributes
    ----------
    images : h5py.Dataset
        Shape (N, H, W), (N, H, W, P) or (N, P, H, W).
    planes : int
        P, 1 where there is no such axis.
    planes_last : bool
        Whether the planes are the last axis.
    name : str
        A key of `GALAXY10`, or "".
    notes : tuple of str
        What was assumed.
    """

    images: h5py.Dataset
    planes: int
    planes_last: bool
    name: str = ""
    notes: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of an image, pixels."""
        if self.images.ndim == 4 and not self.planes_last:
            return int(self.images.shape[2]), int(self.images.shape[3])
        return int(self.images.shape[1]), int(self.images.shape[2])

    def read(self, rows: slice | NDArray[np.int64]) -> NDArray[Any]:
        """Some images, shape (n, P, H, W), of the file's type."""
        found = self.images[rows]
        if self.images.ndim == 3:
            return np.asarray(found[:, None])
        return np.asarray(np.moveaxis(found, -1, 1) if self.planes_last else found)

    def sample(self, count: int = 64) -> NDArray[Any]:
        """Evenly spaced images that can be read, shape (n, P, H, W)."""
        found = []
        for row in np.unique(np.linspace(0, len(self.images) - 1, count).astype(np.int64)):
            try:
                found.append(self.read(np.s_[row : row + 1]))
            except OSError:
                continue
        if not found:
            raise StampError(f"The images of {Path(self.images.file.filename).name} are damaged.", "Copy it again.")
        return np.concatenate(found)


def find_images(
    file: h5py.File, name: str, *, images: str | None = None, layout: str | None = None, bands: Sequence[str] = ()
) -> ImageDataset:
    """The images of a file, and how they lie.

    Parameters
    ----------
    name : str
        The file's name.
    images : str, optional
        Which dataset they are.
    layout : str, optional
        Which of `GALAXY10` it is.
    bands : sequence of str
        One for each plane, if they were named.

    Raises
    ------
    StampError
        If there are none, or several that may be meant, or the axes may lie in two ways.
    """
    if layout is not None and layout not in GALAXY10:
        raise StampError(f"There is no layout {layout!r}.", f"Known by name are {', '.join(GALAXY10)}.")
    dataset, notes = _chosen(file, name, images)
    last = _planes_last(dataset, len(bands))
    planes = 1 if dataset.ndim == 3 else int(dataset.shape[-1 if last else 1])
    if bands and len(bands) != planes:
        raise StampError(
            f"--bands names {len(bands)} bands; the images of {name} have {planes} planes.", "Name one for each plane."
        )
    found = ImageDataset(dataset, planes, last, notes=tuple(notes))
    if ANSWERS not in file or dataset.dtype != np.uint8 or planes != 3:
        if layout is not None:
            raise StampError(f"{name} is no file of {layout}.", "That has `images` (N, H, W, 3) uint8 and `ans`.")
        return found
    known = layout or _galaxy10(file, name.casefold(), found)
    said = (
        f"it is {known}: the column galaxy10 has the names of the classes in {ANSWERS}"
        if known
        else f"{ANSWERS} may be classes of Galaxy10: --layout {' or '.join(GALAXY10)} gives them their names"
    )
    return ImageDataset(dataset, planes, last, known, (*notes, said))


def _galaxy10(file: h5py.File, name: str, found: ImageDataset) -> str:
    if "decal" in name or {"pxscale", "redshift"} & set(file):
        return "galaxy10-decals"
    if "sdss" in name or found.shape == (SDSS_SIDE, SDSS_SIDE):
        return "galaxy10-sdss"
    return ""


def _chosen(file: h5py.File, name: str, asked: str | None) -> tuple[h5py.Dataset, list[str]]:
    found = {path: item for path, item in _datasets(file) if _may_be_images(item)}
    listed = ", ".join(f"{path} {item.shape} {item.dtype}" for path, item in found.items())
    if asked is not None:
        if asked.strip("/") not in found:
            raise StampError(f"{name} has no images {asked!r}.", f"It has: {listed or 'none at all'}.")
        return found[asked.strip("/")], []
    if not found:
        raise StampError(
            f"{name} holds no images: no dataset of shape (N, 3, H, W), (N, H, W, 3) or (N, H, W).",
            "Write them as `images`, and what is known of each as datasets of length N beside them.",
        )
    meant = [path for path in found if path.casefold() in NAMES] if len(found) > 1 else list(found)
    if len(meant) != 1:
        first = meant[0] if meant else next(iter(found))
        _refuse_apart(name, found)
        raise StampError(f"{name} holds several datasets of images: {listed}.", f"Say which: --images {first}.")
    others = [path for path in found if path != meant[0]]
    notes = [f"{meant[0]} are the images"] if meant != ["images"] else []
    return found[meant[0]], notes + [
        f"{path} may be images too, and is left out (--images says which)" for path in others
    ]


def _refuse_apart(name: str, found: Mapping[str, h5py.Dataset]) -> None:
    """Refuse datasets of which each is a galaxy (P, H, W), or a band (N, H, W): none of them is a set of images."""
    shapes = {item.shape for item in found.values()}
    alike = len(shapes) == 1 and len(next(iter(shapes))) == len(("planes", "height", "width"))
    last = {path.rpartition("/")[2] for path in found}
    bands = {one for one in last if one in COLOURS or wavelength(band_name(one)) is not None}
    if alike and len(bands) == len(found):
        raise StampError(
            f"{name} has a dataset for each band: {', '.join(found)}.",
            "Stack them as `images` (N, bands, H, W), and name the bands in their order: --bands g,r,z.",
        )
    if alike and next(iter(shapes))[0] <= MOST_PLANES:
        raise StampError(
            f"{name} has a dataset for each of {len(found)} galaxies, first {next(iter(found))} {shapes.pop()}.",
            "Stack them as `images` (N, bands, H, W).",
        )


def _datasets(group: h5py.Group, prefix: str = "") -> Iterator[tuple[str, h5py.Dataset]]:
    """The datasets of a file by their paths; links that lead in circles end with `DEPTH`."""
    for name in group:
        try:
            item = group[name]
        except (KeyError, OSError):
            continue
        if isinstance(item, h5py.Dataset):
            yield prefix + name, item
        elif isinstance(item, h5py.Group) and prefix.count("/") < DEPTH:
            yield from _datasets(item, f"{prefix}{name}/")


def _may_be_images(item: h5py.Dataset) -> bool:
    if item.ndim not in (3, 4) or not item.shape[0] or dtype_of(item).kind not in "uif":
        return False
    sides = sorted(item.shape[1:])[-2:]
    return bool(sides[0] >= LEAST_SIDE)


def _planes_last(dataset: h5py.Dataset, named: int) -> bool:
    if dataset.ndim == 3:
        return False
    first, last = int(dataset.shape[1]), int(dataset.shape[3])
    sides = dataset.shape[1:]
    fits = {
        True: last <= MOST_PLANES and min(sides[:2]) > last,
        False: first <= MOST_PLANES and min(sides[1:]) > first,
    }
    if all(fits.values()) and named:
        fits = {True: last == named, False: first == named}
    meant = [choice for choice, fit in fits.items() if fit]
    if len(meant) != 1:
        raise StampError(
            f"{dataset.name} of shape {dataset.shape} may be (N, H, W, planes) or (N, planes, H, W), or neither.",
            "Write it as (N, 3, H, W).",
        )
    return meant[0]


def is_hdf5(path: Path) -> bool:
    """Whether a file begins as HDF5 does, whatever its name."""
    with path.open("rb") as stream:
        return stream.read(8) == b"\x89HDF\r\n\x1a\n"


def is_stamp_set(path: Path, options: ImportOptions) -> bool:
    """Whether a file is, or is to be refused as, a stamp set or a chunk of Stein et al. 2021.

    Those have `images` (N, 3, H, W), of floats or with the attributes of a stamp set. Floats of which none is below
    zero are no fluxes of a survey, whose sky has noise.
    """
    if options.layout is not None or options.images not in (None, "images") or options.reading.bands:
        return False
    file, _ = open_hdf5(path, cut_off=True)
    with file:
        try:
            images = file.get("images")
        except (KeyError, OSError):
            return True
        if {"rendering", "pixel_scale", "origin"} & set(file.attrs):
            return True
        is_planar = isinstance(images, h5py.Dataset) and images.ndim == 4 and images.shape[1] == 3
        return is_planar and images.dtype.kind == "f" and not _is_positive(ImageDataset(images, 3, False))


def _is_positive(images: ImageDataset) -> bool:
    try:
        sample = images.sample()
    except StampError:
        return False
    finite = sample[np.isfinite(sample)]
    return bool(finite.size and 0 <= finite.min() < finite.max())


def refuse_numpy(path: Path) -> None:
    """Refuse files of NumPy and pickles, which may run what they hold, and say what to make of them."""
    if path.suffix.lower() not in (".npz", ".npy", ".pkl", ".pickle", ".pt", ".mat"):
        return
    raise StampError(
        f"{path.name} is not read: it is no picture, FITS or HDF5 file.",
        f"Write its arrays as HDF5: with h5py.File('{path.stem}.h5', 'w') as file: file['images'] = the images "
        "(N, H, W, 3) or (N, 3, H, W), and what is known of each beside them.",
    )
