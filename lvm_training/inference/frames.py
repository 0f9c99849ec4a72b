"""Image files to detect on: FITS images, and pictures as they are, each with the scale that it is looked at in."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from math import isfinite, nan
from pathlib import Path

import numpy as np

from lvm_training.errors import StampError
from lvm_training.images.fits import read_frame
from lvm_training.images.pictures import picture_white, read_picture
from lvm_training.images.wide_frame import WideFrame, north_up
from lvm_training.importing.folder import image_files, is_fits
from lvm_training.stamps.rendering import Rendering

AS_STORED = np.diag([-1, -1])  # columns count westwards and rows southwards, where a picture has north up


def read_image(path: Path, pixel_scale: float | None, white: float | None = None) -> WideFrame:
    """A FITS image or a picture.

    Parameters
    ----------
    pixel_scale : float, optional
        arcsec, of an image that does not say its own; a picture may do without (see `looked_at`).
    white : float, optional
        Of a picture of more than 8 bits; by default that of its own depth.

    Raises
    ------
    StampError
        If it cannot be read, is FITS of an unknown scale or says its own beside one that is given, or that is none.
    """
    if pixel_scale is not None and not isfinite(pixel_scale):
        raise StampError(f"{pixel_scale} arcsec is no pixel scale.", "Give arcsec per pixel: --pixel-scale 0.262")
    if path.is_file() and not is_fits(path.name):
        try:
            rgb = read_picture(path, white)
        except (StampError, OSError) as error:
            raise StampError(f"{path.name} cannot be read: {error}.", "Give a FITS image, JPEG or PNG.") from error
        scale = nan if pixel_scale is None else pixel_scale
        pixels = north_up(rgb, AS_STORED).astype(np.float32)
        return WideFrame(pixels, scale, "rgb", AS_STORED, None, "as-delivered")
    return _with_scale(path, pixel_scale)


def _with_scale(path: Path, pixel_scale: float | None) -> WideFrame:
    """A FITS image, with the pixel scale given where it has none itself."""
    try:
        image = read_frame(path)
    except (StampError, OSError) as error:
        raise StampError(
            f"{path.name} cannot be read: {error}.", "Give a FITS image in g, r, z, or in one band; or JPEG or PNG."
        ) from error
    if pixel_scale is None:
        if not isfinite(image.pixel_scale):
            raise StampError(
                f"{path.name} has no WCS, so its pixel scale is unknown.",
                "Give arcsec per pixel: --pixel-scale 0.262",
            )
        return image
    if isfinite(image.pixel_scale):
        raise StampError(
            f"{path.name} has a WCS: its pixels are {image.pixel_scale} arcsec.", "Leave out --pixel-scale."
        )
    return replace(image, pixel_scale=pixel_scale)


def looked_at(image: WideFrame, rendering: Rendering) -> float:
    """arcsec per pixel that an image is looked at with.

    A picture of unknown scale is taken to show one field of the model along its shorter side, as `stamps.render.frame`
    takes stamps of unknown scale.
    """
    return image.pixel_scale if isfinite(image.pixel_scale) else rendering.field / min(image.pixels.shape[1:])


def common_white(paths: Iterable[Path]) -> float | None:
    """The white of all pictures of more than 8 bits among some images: that of the brightest one's depth."""
    whites = []
    for path in paths:
        if path.is_file() and not is_fits(path.name):
            with suppress(StampError):  # whoever reads it says so
                whites.append(picture_white(path))
    return max((white for white in whites if white is not None), default=None)


def images_in(
    folder: Path, pixel_scale: float | None, white: float | None = None
) -> Iterator[tuple[str, WideFrame | StampError]]:
    """Each image of a folder by its path in it, or why it cannot be read.

    Parameters
    ----------
    white : float, optional
        As `common_white` of them says.

    Raises
    ------
    StampError
        If the folder holds none.
    """
    files, refused = image_files(folder)
    if not files:
        raise StampError(f"{folder} holds no JPEG, PNG or FITS files.", "A stamp set is named by its file.")
    for file in files:
        if file in refused:
            yield file, StampError(refused[file])
            continue
        try:
            yield file, read_image(folder / file, pixel_scale, white)
        except StampError as error:
            yield file, error
