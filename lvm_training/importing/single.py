"""One image, read as an import reads those of a folder."""

from dataclasses import dataclass, replace
from pathlib import Path

from lvm_training.errors import StampError
from lvm_training.images.pictures import refuse_large
from lvm_training.importing.folder import FolderSource
from lvm_training.importing.options import ImportOptions
from lvm_training.stamps.stampset import Origin, Pixels, RenderingKind

HINT = "Give a JPEG, PNG or FITS image of a galaxy."


@dataclass(frozen=True)
class SingleImage:
    """An image, and what a stamp set of it would say of its pixels.

    Attributes
    ----------
    pixels : ndarray (3, H, W)
        As in a stamp set.
    rendering : str
        "nanomaggies" or "as-delivered".
    pixel_scale : float
        arcsec; NaN where nothing says it.
    origin : str
        "lower" or "upper".
    notes : tuple of str
        What was assumed, for people.
    """

    pixels: Pixels
    rendering: RenderingKind
    pixel_scale: float
    origin: Origin
    notes: tuple[str, ...] = ()


def read_single(
    path: Path, pixel_scale: float | None = None, most: int | None = None, white: float | None = None
) -> SingleImage:
    """Read a JPEG, PNG or FITS image as `import_stamps` does.

    Parameters
    ----------
    pixel_scale : float, optional
        arcsec, where the file does not say.
    most : int, optional
        Pixels per plane beyond which it is refused by its header.
    white : float, optional
        Of a picture of more than 8 bits, as the set has it that it is compared with; by default that of its own depth.

    Raises
    ------
    StampError
        If there is no such file, or it cannot be a stamp.
    """
    if not path.is_file():
        raise StampError(f"There is no image at {path}.", HINT)
    source = FolderSource(path, replace(ImportOptions.checked(pixel_scale=pixel_scale), white=white))
    if most is not None:
        refuse_large(*source.shape, most)
    item = next(iter(source.read(source.ids)))
    if item.pixels is None:
        raise StampError(f"{path.name} cannot be used: {item.reason}.", HINT)
    return SingleImage(item.pixels, source.rendering, source.pixel_scale, source.origin, source.notes)
