"""Opening a FITS file that may be compressed, damaged or hostile, and finding its images."""

import bz2
import gzip
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, BinaryIO

from astropy.io import fits

from lvm_training.errors import StampError
from lvm_training.images.pictures import Shape, decoding, no_such, refuse_odd_file
from lvm_training.tables.fits_units import forward

MAX_UNPACKED = 1 << 30  # bytes of a compressed file; more is a mosaic or a decompression bomb
BLOCK = 1 << 20
MUCH = 1 << 26  # bytes of pixels, or pixels of a tile, that are worth a second look
MOST_PACKED = 200  # times fewer bytes than the pixels of an image have that is nothing but zeros
GZIP, BZIP2 = b"\x1f\x8b", b"BZ"
IMAGES = (fits.PrimaryHDU, fits.ImageHDU, fits.CompImageHDU)
TYPES = ("EXTTYPE", "IMAGETYP", "IMTYPE")  # cards of what an extension holds
# extensions that pipelines write beside an image
AUXILIARY = frozenset(
    [
        "mask",
        "msk",
        "maskbits",
        "variance",
        "var",
        "weight",
        "wht",
        "wgt",
        "invvar",
        "ivar",
        "err",
        "error",
        "sigma",
        "rms",
        "dq",
        "flag",
        "flags",
        "quality",
        "ctx",
        "con",
        "psf",
        "psfsize",
        "nexp",
        "bkg",
        "background",
        "sky",
        "samp",
        "time",
        "unc",
        "uncert",
        "uncertainty",
        "std",
        "noise",
        "model",
        "residual",
        "residuals",
        "resid",
        "chi2",
        "thumbnail",
        "thumb",
        "preview",
        "quicklook",
        "browse",
    ]
)
DERIVED = frozenset({"model", "residual", "residuals", "resid", "chi2"})  # of these such as look like an image
SCIENCE = frozenset({"sci", "science"})
ALONE = frozenset({"con", "sky", "time"})  # of these such as are also words in the name of an image
PREPARED = frozenset({"matched", "sub", "subtracted", "convolved", "corrected"})  # PSF_MATCHED, BKG_SUB: images
_WORDS = re.compile(r"[\s_.\-]+")
_MEASURE = re.compile(r"([+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?)\s*((?:(?:AB\s*)?mags?|s|secs?|seconds?)\b.*)", re.IGNORECASE)


@contextmanager
def opened(path: Path, limit: int | None = None) -> Iterator[fits.HDUList]:
    """The HDUs of a FITS file, gzip or bzip2 around it undone; whatever is wrong with it is a `StampError`.

    Parameters
    ----------
    limit : int, optional
        Bytes of a compressed file once unpacked beyond which it is refused, `MAX_UNPACKED` by default.
    """
    with decoding("FITS file", path):
        refuse_odd_file(path)
        with (
            path.open("rb") as stream,
            _unpacked(stream, path, limit) as content,
            fits.open(content, memmap=False, uint=False) as hdus,
        ):
            length = os.fstat(content.fileno()).st_size
            for hdu in forward(hdus):
                _refuse_shortage(hdu, length)
            yield hdus


@contextmanager
def _unpacked(stream: BinaryIO, path: Path, limit: int | None) -> Iterator[BinaryIO]:
    """The file itself, or what is packed in it as a file of its own: memory holds neither."""
    start = stream.read(6)
    stream.seek(0)
    if start[:2] not in (GZIP, BZIP2):
        if start != b"SIMPLE":
            raise StampError(f"unreadable: {no_such('FITS file', path)}")
        yield stream
        return
    most = limit or MAX_UNPACKED
    with NamedTemporaryFile() as file:
        with gzip.GzipFile(fileobj=stream) if start[:2] == GZIP else bz2.BZ2File(stream) as packed:
            while block := packed.read(BLOCK):
                if file.tell() + len(block) > most:
                    raise StampError(f"too large: more than {most >> 20} MB once decompressed")
                file.write(block)
        file.flush()
        with Path(file.name).open("rb") as content:
            yield content


def _refuse_shortage(hdu: Any, length: int) -> None:
    """Refuse an HDU whose header promises more than the file holds, before that much memory is asked for."""
    if isinstance(hdu, fits.CompImageHDU):
        _refuse_bomb(hdu)
        return
    info = hdu.fileinfo()
    if info and info["datLoc"] + hdu.size > length:
        raise StampError(f"truncated: its header says {hdu.size:,} bytes of pixels, the file has {length:,}")


def _refuse_bomb(hdu: fits.CompImageHDU) -> None:
    """Refuse tiles that unpack to far more than any sky does: noise is never packed to a hundredth."""
    pixels = prod(map(int, hdu.shape))
    unpacked = pixels * abs(int(hdu.header["BITPIX"])) // 8
    packed = (hdu.fileinfo() or {}).get("datSpan", unpacked)
    if unpacked > MUCH and unpacked > MOST_PACKED * packed:
        raise StampError(f"too large: its header says {unpacked >> 20:,} MB of pixels, packed into {packed:,} bytes")
    if prod(map(int, hdu.tile_shape)) > max(2 * pixels, MUCH):
        raise StampError("too large: its header says tiles larger than the image")


def science_images(hdus: fits.HDUList) -> list[Any]:
    """HDUs with an image, in order, without masks, weights and models unless there is nothing else.

    Raises
    ------
    StampError
        If there is none.
    """
    images = [hdu for hdu in hdus if isinstance(hdu, IMAGES) and len(hdu.shape) >= 2 and _has_area(hdu)]
    if not images:
        raise StampError("no image in any of its HDUs")
    ranks = _beside_others(images, [_rank(hdu) for hdu in images])
    return [hdu for hdu, rank in zip(images, ranks, strict=True) if rank == min(ranks)]


def holds_image(path: Path) -> bool:
    """Whether a FITS file has an image, and not tables alone; one that cannot be read has none."""
    try:
        with opened(path) as hdus:
            return bool(science_images(hdus))
    except StampError:
        return False


def _rank(hdu: Any) -> int:
    """0 of an image; 1 of a model and the like, which is one where there is no other; 2 of a mask or weight.

    By its name, or by what HSC and the Legacy Surveys write where it has none.
    """
    name = str(hdu.name).strip().lower()
    kinds = {name, *(str(hdu.header.get(key, "")).strip().lower() for key in TYPES)}
    if kinds & (AUXILIARY - DERIVED):
        return 2
    # a file of several bands names them so: ERR_G, r_model
    words = set(_WORDS.split(name))
    return int(bool(kinds & DERIVED) or bool(words & (AUXILIARY - ALONE) and not words & PREPARED))


def _beside_others(images: Sequence[Any], ranks: Sequence[int]) -> list[int]:
    """Ranks of images by what else the file has: bytes beside floats, or a nameless one beside SCI, are thumbnails.

    A nameless one of the size of SCI may be another band.
    """
    best = [hdu for hdu, rank in zip(images, ranks, strict=True) if rank == min(ranks)]
    science = {plane_shape(hdu) for hdu in best if SCIENCE.intersection(_WORDS.split(hdu.name.lower()))}
    floats = any(hdu.header["BITPIX"] < 0 for hdu in best)
    thumbnails = [
        (bool(science) and hdu.name in ("", "PRIMARY") and plane_shape(hdu) not in science)
        or (floats and hdu.header["BITPIX"] == 8 and "BSCALE" not in hdu.header)
        for hdu in images
    ]
    return [max(rank, int(small)) for rank, small in zip(ranks, thumbnails, strict=True)]


def _has_area(hdu: Any) -> bool:
    """Whether it is an image, and no spectrum or empty one."""
    return all(hdu.shape) and (min(hdu.shape[-2:]) > 1 or max(hdu.shape[-2:]) == 1)


def is_interleaved(hdu: Any) -> bool:
    """Whether the planes of an image are its last axis, (H, W, 3)."""
    return len(hdu.shape) == 3 and hdu.shape[-1] in (3, 4) and hdu.shape[0] > 4


def plane_shape(hdu: Any) -> Shape:
    """Height and width of an image's planes."""
    height, width = hdu.shape[:2] if is_interleaved(hdu) else hdu.shape[-2:]
    return height, width


class Cards:
    """The header of an image; what it does not say, the file's first header does.

    Parameters
    ----------
    bands : sequence of str
        Of all planes of a cube whose header may say something of each: MAGZERO1, MAGZERO2 ..., MAGZPG, MAGZERO_R, or
        as many numbers in one card.
    place : int
        Which of these planes is meant.
    """

    def __init__(self, hdu: Any, hdus: fits.HDUList, bands: Sequence[str] = (), place: int = 0) -> None:
        self._headers = [hdu.header] if hdu is hdus[0] else [hdu.header, hdus[0].header]
        self._count, self._place = len(bands), place
        numbers = [[str(start + plane) for plane in range(len(bands))] for start in (1, 0)]
        suffixes = [*numbers, [band.upper() for band in bands]]
        self._suffixes = [[mark + one for one in each] for each in suffixes for mark in ("", "_")]

    def text(self, *keys: str) -> str:
        """The first of some keywords that says anything; "" if none does."""
        for header in self._headers:
            for key in keys:
                if text := str(header.get(self._own(header, key), "")).strip():
                    return text
        return ""

    def number(self, *keys: str) -> tuple[str, float, str] | None:
        """The first of some keywords that is a finite number: keyword, value, comment."""
        for header in self._headers:
            for key in (self._own(header, key) for key in keys):
                value, comment = self._of_list(header.get(key)), str(header.comments[key] if key in header else "")
                if isinstance(value, str) and (measure := _MEASURE.fullmatch(value.strip())):
                    value, comment = measure[1], f"{measure[2]} {comment}"
                try:
                    number = float(value) if not isinstance(value, bool) else float("nan")
                except (TypeError, ValueError):
                    continue
                if abs(number) < float("inf"):
                    return key, number, comment
        return None

    def _own(self, header: fits.Header, key: str) -> str:
        """The keyword that says it of this plane, where the header says it of each."""
        if self._count > 1:
            for suffixes in self._suffixes:
                if all(f"{key}{suffix}" in header for suffix in suffixes):
                    return key + suffixes[self._place]
        return key

    def _of_list(self, value: Any) -> Any:
        cells = re.split(r"[\s,;]+", value.strip(" ()[]")) if isinstance(value, str) else []
        return cells[self._place] if len(cells) == self._count > 1 else value
