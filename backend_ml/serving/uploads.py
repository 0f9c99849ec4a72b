"""Images that people send: embedded as a pool was, so that their like can be found in it."""

import io
import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np
import structlog
from fastapi import Request
from numpy.typing import NDArray

from backend_ml.store.encoders import stored_encoder
from lvm_training.errors import GalaxyLoopError, StampError
from lvm_training.importing.single import SingleImage
from lvm_training.index.queries import QueryImage
from lvm_training.stamps.stampset import StampSet

log = structlog.get_logger(__name__)

MOST_BYTES = 20_000_000  # of an image that is sent
FITS_START = b"SIMPLE  ="
STARTS = {b"\xff\xd8\xff": ".jpg", b"\x89PNG\r\n\x1a\n": ".png", FITS_START: ".fits"}

PATIENCE = 120.0  # seconds that a decoder is waited for; of a processor it has fewer, and others may keep it waiting
INHERITED = ("PATH", "PYTHONPATH", "HOME", "LANG", "LC_ALL", "TMPDIR")  # of the environment; no secrets

_one_at_a_time = threading.Lock()
_decoders = threading.BoundedSemaphore(2)  # each may take two gigabytes


class UploadError(GalaxyLoopError):
    """An image that is too large or of no kind that is read."""

    code = "bad_upload"


async def read_upload(request: Request) -> bytes:
    """A request's body, given up as soon as it is too large.

    Raises
    ------
    UploadError
        If it has more than `MOST_BYTES`.
    """
    content = bytearray()
    async for part in request.stream():
        content += part
        if len(content) > MOST_BYTES:
            raise UploadError(
                f"The image is larger than {MOST_BYTES // 1_000_000} MB.", "Cut the galaxy out of it and send that."
            )
    return bytes(content)


def embed_upload(content: bytes, store: Path, encoder: str, pixel_scale: float | None) -> NDArray[np.float32]:
    """Features (D,) of the bytes of a JPEG, PNG or FITS image.

    Parameters
    ----------
    store : Path
        Where encoders are kept.
    encoder : str
        Digest of the one whose features these are compared with.
    pixel_scale : float or None
        arcsec, where the image does not say; without one the whole image is shown.

    Raises
    ------
    UploadError
        If it is of another kind.
    CheckpointError
        If the store does not have the encoder.
    StampError, RenderingError
        If it cannot be a stamp.
    """
    suffix = next((suffix for start, suffix in STARTS.items() if content.startswith(start)), None)
    if suffix is None:
        raise UploadError("This is no JPEG, PNG or FITS image.", "Send the bytes of one image.")
    model = stored_encoder(store, encoder)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"image{suffix}")
        path.write_bytes(content)
        image = QueryImage(decoded(path, pixel_scale))
    with _one_at_a_time:
        return image.features(model)


def decoded(path: Path, pixel_scale: float | None) -> SingleImage:
    """An image, decoded by a process of its own that is ended where it takes too long.

    Raises
    ------
    StampError
        If it cannot be a stamp.
    UploadError
        If its decoder took too much time or memory, or broke.
    """
    command = [sys.executable, "-m", "backend_ml.serving.decoder", str(path)]
    command += [] if pixel_scale is None else [repr(pixel_scale)]
    environment = {name: os.environ[name] for name in INHERITED if name in os.environ}
    # a thread's own stack counts as memory, and one image needs no threads
    environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with _decoders:
        try:
            done = subprocess.run(command, env=environment, capture_output=True, timeout=PATIENCE, check=False)  # noqa: S603
        except subprocess.TimeoutExpired as error:
            raise _too_much() from error
    if done.returncode:
        log.warning("decoder ended", status=done.returncode, said=done.stderr[-500:].decode(errors="replace"))
        raise _too_much()
    first, _, rest = done.stdout.partition(b"\n")
    said: dict[str, Any] = json.loads(first)
    if "error" in said:
        raise StampError(said["error"], said["hint"])
    return SingleImage(np.load(io.BytesIO(rest), allow_pickle=False), **said)


def _too_much() -> UploadError:
    return UploadError(
        "This image cannot be read in the time and memory that one may take.", "Cut the galaxy out of it and send that."
    )


def picture_scale(content: bytes, stamps: StampSet) -> float | None:
    """The pixel scale, arcsec, to read an image with that is compared with a stamp set.

    A picture does not say its scale; the pictures it is compared with were shown with theirs.
    """
    known = stamps.rendering == "as-delivered" and not np.isnan(stamps.pixel_scale)
    return stamps.pixel_scale if known and not content.startswith(FITS_START) else None
