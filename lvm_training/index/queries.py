"""What a pool is searched for: an image that is embedded as the pool was, or the stamp at a position of the sky."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import astropy.units as u
import numpy as np
import torch
from astropy.coordinates import SkyCoord
from numpy.typing import NDArray

from lvm_training.backbones.backbone import encoder_digest
from lvm_training.errors import GalaxyLoopError
from lvm_training.importing.single import SingleImage, read_single
from lvm_training.model.encoder import Encoder, load_network
from lvm_training.model.precision import Precision
from lvm_training.pool.shards import Shards
from lvm_training.stamps.conditions import positions
from lvm_training.stamps.render import render
from lvm_training.stamps.rendering import Rendering
from lvm_training.stamps.stampset import StampSet
from lvm_training.stamps.symmetries import SYMMETRIES

_WAYS: list[tuple[int, Precision]] = [
    (views, precision) for views in range(SYMMETRIES, 0, -1) for precision in get_args(Precision)
]
FARTHEST = 5.0  # arcsec between a position and the stamp meant by it


class QueryError(GalaxyLoopError):
    """A query that is not understood, or that leads to no stamp."""

    code = "bad_query"


@dataclass(frozen=True)
class QueryImage:
    """One image, read as an import would read it.

    Attributes
    ----------
    image : SingleImage
        Its pixels, kind, pixel scale and origin.
    """

    image: SingleImage

    def render(self, rendering: Rendering) -> torch.Tensor:
        """Its picture (3, S, S), the one a row of a stamp set of this image would have."""
        image = self.image
        picture: torch.Tensor = render(
            image.pixels[None], rendering, kind=image.rendering, pixel_scale=image.pixel_scale, origin=image.origin
        )[0]
        return picture

    def features(self, encoder: Encoder) -> NDArray[np.float32]:
        """Its features (D,)."""
        features: NDArray[np.float32] = encoder.features(self.render(encoder.rendering)[None])[0].numpy()
        return features


def read_image(path: Path, pixel_scale: float | None = None, white: float | None = None) -> QueryImage:
    """Read a JPEG, PNG or FITS image as `import_stamps` does.

    Parameters
    ----------
    pixel_scale : float, optional
        arcsec, where the file does not say; without one the whole image is shown.
    white : float, optional
        As in `read_single`.

    Raises
    ------
    StampError
        If there is no such file, or it cannot be a stamp.
    """
    return QueryImage(read_single(path, pixel_scale, white=white))


def matching_encoder(folder: Path, digest: str) -> Encoder:
    """The encoder of a checkpoint, with as many views and in the precision that gave features of the encoder `digest`.

    Raises
    ------
    QueryError
        If none does: the features are of another checkpoint.
    CheckpointError
        As `load_checkpoint`.
    """
    backbone, card = load_network(folder)
    for views, precision in _WAYS:
        if encoder_digest(backbone, card.rendering, views, precision) == digest:
            return Encoder(backbone, card.rendering, views, precision)
    raise QueryError(
        f"The features are of encoder {digest}; that of {folder} is {card.encoder}.",
        "Name the checkpoint that made them, or embed the stamps again with this one.",
    )


def digests_of(folder: Path) -> list[str]:
    """The digests of all encoders that a checkpoint gives, by views, the most first, and precision.

    Raises
    ------
    CheckpointError
        As `load_checkpoint`.
    """
    backbone, card = load_network(folder)
    return [encoder_digest(backbone, card.rendering, views, precision) for views, precision in _WAYS]


def stamp_at(ra: float, dec: float, shards: Shards, sets: Mapping[str, StampSet], farthest: float = FARTHEST) -> int:
    """The pool's row of the stamp nearest to a position.

    Parameters
    ----------
    ra, dec : float
        Degrees ICRS.
    shards : Shards
        The pool.
    sets : mapping of str to StampSet
        Stamp sets with columns `ra` and `dec`, by digest; shards without one are passed over.
    farthest : float
        arcsec beyond which no stamp is meant.

    Raises
    ------
    QueryError
        If the position is nowhere, no stamp has one, or the nearest is too far; the message says how far.
    StampError
        If a set lacks the columns.
    """
    if not (0 <= ra <= 360 and -90 <= dec <= 90):
        raise QueryError(f"({ra:g}, {dec:g}) is nowhere on the sky.", "Give right ascension and declination, degrees.")
    wanted = SkyCoord(ra * u.deg, dec * u.deg)
    distance, row = np.inf, -1
    for shard, start in zip(shards.features, shards.starts[:-1], strict=True):
        if shard.stamps in sets:
            rows, positions = _positions(sets[shard.stamps])
            apart = wanted.separation(positions).arcsec
            if len(rows) and apart.min() < distance:
                distance, row = float(apart.min()), int(start) + int(rows[apart.argmin()])
    if row < 0:
        raise QueryError("No stamp has a known position.", "Give a stamp set with positions, or search by row.")
    if distance > farthest:
        shard, place = shards.locate(row)
        raise QueryError(
            f"The nearest stamp, {shard.name}:{place}, is {distance:.1f} arcsec away; {farthest:g} are allowed.",
            f"Search for {shard.name}:{place} if you mean it, or for an image of your galaxy.",
        )
    return row


def _positions(stamps: StampSet) -> tuple[NDArray[np.int64], SkyCoord]:
    """The rows that have a position, and where they are."""
    ra, dec = positions(stamps)
    rows = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
    return rows, SkyCoord(ra[rows] * u.deg, dec[rows] * u.deg)
