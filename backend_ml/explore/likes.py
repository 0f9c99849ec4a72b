"""What a search begins with: stamps by row or position, and pictures that are embedded as the pool was."""

import re
import tempfile
import threading
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from backend_ml.settings import Settings
from lvm_training.errors import CheckpointError, GalaxyLoopError
from lvm_training.model.encoder import Encoder
from lvm_training.pool.features import Features
from lvm_training.pool.queries import matching_encoder, read_image, stamp_at
from lvm_training.pool.shards import Shards
from lvm_training.stamps.sources import FITS, PICTURES
from lvm_training.stamps.stampset import StampSet

POSITION = re.compile(r"([+-]?\d+(?:\.\d*)?)\s*,\s*([+-]?\d+(?:\.\d*)?)")
LINES = re.compile(r"[;\n]")
ROWS = re.compile(r"[\d\s,]+")
SPACES = re.compile(r"(?<![,\s])\s+(?![,\s])")
LARGEST_PICTURE = 20_000_000  # bytes
MOST_LIKED = 50

_embedding = threading.Lock()


class LikeError(GalaxyLoopError):
    """An example that is not understood, or cannot be used."""

    code = "bad_example"


def find_stamps(text: str, stamps: StampSet, pool: Features) -> list[int]:
    """The rows that a list names: row numbers and positions RA,DEC in degrees.

    Spaces, semicolons or new lines part them; a line of whole numbers is one of rows, whatever parts
    them, so a position has a decimal point or a sign.

    Raises
    ------
    LikeError
        If a part is neither, or a row is not there.
    QueryError, StampError
        If no stamp is at a position, or the set knows none.
    """
    lines = [line.replace(",", " ") if ROWS.fullmatch(line) else line for line in LINES.split(text)]
    parts = [part for line in lines for part in SPACES.split(line.strip()) if part]
    if len(parts) > MOST_LIKED:
        raise LikeError(f"These are {len(parts)} examples.", f"Name {MOST_LIKED} at most; the rounds find the others.")
    return list(dict.fromkeys(_row(part, stamps, pool) for part in parts))


def _row(part: str, stamps: StampSet, pool: Features) -> int:
    if part.isascii() and part.isdigit():
        if int(part) >= len(stamps):
            raise LikeError(f"{stamps.name} has no stamp {part}.", f"Its stamps are 0 to {len(stamps) - 1}.")
        return int(part)
    if position := POSITION.fullmatch(part):
        return stamp_at(float(position[1]), float(position[2]), Shards([pool]), {pool.stamps: stamps})
    raise LikeError(f"{part!r} is no row and no position.", "Write rows as 17 and positions as 150.1,-1.5 in degrees.")


def embed_picture(data: bytes, name: str, stamps: StampSet, pool: Features, settings: Settings) -> NDArray[np.float32]:
    """Features (D,) of a picture that somebody dropped, as the pool's encoder sees it.

    Raises
    ------
    LikeError
        If it is no JPEG, PNG or FITS file, or the pool's encoder is not here.
    StampError
        If it cannot be read as a stamp.
    """
    suffix = next((one for one in (*FITS, *PICTURES) if name.lower().endswith(one)), None)
    if suffix is None:
        raise LikeError(f"{name} is no picture that can be read.", "Drop a JPEG, PNG or FITS file.")
    encoder = _encoder(settings.encoder, pool.encoder)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"dropped{suffix}"
        path.write_bytes(data)
        # a picture does not say its scale; those it is compared with were shown with theirs
        known = stamps.rendering == "as-delivered" and suffix in PICTURES and not np.isnan(stamps.pixel_scale)
        image = read_image(path, stamps.pixel_scale if known else None)
    with _embedding:
        return image.features(encoder)


@lru_cache(maxsize=2)
def _encoder(folder: Path, digest: str) -> Encoder:
    try:
        return matching_encoder(folder, digest)
    except CheckpointError as error:
        raise LikeError(
            f"Pictures cannot be embedded here: {error.message}",
            "Set GALAXYLOOP_ENCODER to the folder of the encoder that made the features.",
        ) from error
