"""Files of a folder that are no image to import: of a format that is not read, or the mask or weight of another one."""

import re
from collections.abc import Mapping, Sequence

from lvm_training.images.fits_file import AUXILIARY

FORMATS = {
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".gif": "GIF",
    ".bmp": "BMP",
    ".webp": "WebP",
    ".jp2": "JPEG 2000",
    ".heic": "HEIC",
    ".fits.xz": "xz",
    ".fits.zip": "zip",
    ".fits.z": "compress",
}
UNREAD = tuple(FORMATS)
MASKS = frozenset({"mask", "masks", "msk", "seg", "segm", "segmap", "segmentation"})
# extensions of FITS files that are words of folders and of galaxies, too
_COMMON = frozenset({"con", "time", "sky", "error", "quality", "samp"})
# what else pipelines write beside an image in files of their own, such as those of Pan-STARRS and WISE
_BESIDE = "weights wt stdev cov coverage exp expmap expwt num bad badpix mask1 depth galdepth blobmodel"
WEIGHTS = (AUXILIARY - _COMMON) | MASKS | frozenset(_BESIDE.split())
_IMAGES = "image images img imgs sci science drz drc data int coadd stack unconv bgsub"
IMAGES = frozenset(_IMAGES.split())
_FITS = re.compile(r"\.fi?ts?(\.|$)", re.IGNORECASE)
# of Euclid each file has a digest and a time of its own; of unWISE `n` counts exposures, `m` and `u` are of one tile
_EUCLID = re.compile(r"(euc_mer_.*_tile\d+)-[0-9a-f]+_\d{8}t.*")
_UNWISE = re.compile(r"(.*unwise-.*-w[1-4])-(\w+)-[mu]")
_WORDS = re.compile(r"[/._\- ]+")


def unread(file: str) -> str:
    """Why a file whose name ends as one of `UNREAD` is not read."""
    form = next(form for end, form in FORMATS.items() if file.lower().endswith(end))
    return f"{form} is not read: save it as PNG, JPEG or FITS"


def beside_images(stems: Mapping[str, str]) -> dict[str, str]:
    """The files that are a mask, a weight or the like of another one by their names, and why each is left out.

    These are `g0.weight.fits` beside `g0.fits`, `invvar-r.fits` beside `image-r.fits`, `masks/g0.png` beside
    `images/g0.png`. A mask that lies beside nothing may be an image of that name.

    Parameters
    ----------
    stems : mapping of str to str
        Files, and their paths without suffix.
    """
    words = {file: _WORDS.split(_plain(stem.casefold())) for file, stem in stems.items()}
    # weights are FITS; a picture may be a mask
    unlike = {file: WEIGHTS if _FITS.match(file[len(stem) :]) else MASKS for file, stem in stems.items()}
    images = {_named(parts, IMAGES): file for file, parts in words.items() if not unlike[file].intersection(parts)}
    found = {}
    for file, parts in words.items():
        image = images.get(_named(parts, unlike[file] | IMAGES)) if unlike[file].intersection(parts) else None
        if image is not None:
            found[file] = f"a mask, weight or the like by its name: it lies beside {image}"
    return found


def _plain(name: str) -> str:
    """A name without what tells an image from its own masks and weights where a survey writes that."""
    if found := _UNWISE.fullmatch(name):
        return f"{found[1]}-{'num' if found[2] == 'n' else found[2]}"
    return _EUCLID.sub(r"\1", name)


def _named(words: Sequence[str], unlike: frozenset[str]) -> tuple[str, ...]:
    return tuple(word for word in words if word not in unlike)
