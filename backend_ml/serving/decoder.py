"""Decodes one image in a process of its own: `python -m backend_ml.serving.decoder FILE [SCALE]`.

What comes from strangers is unpacked here, with limits that the system keeps: a decoder that runs wild ends, and the
backend goes on. It answers with a line of JSON and, where that names no error, the pixels as .npy.
"""

import io
import json
import resource
import sys
from pathlib import Path

MOST_MEMORY = 2 << 30  # bytes of addresses
MOST_SECONDS = 20  # of a processor
MOST_FILE = 1 << 30  # bytes that it may write: what a compressed file unpacks to
MOST_PIXELS = 1 << 24  # per plane, 4096 x 4096


def limit() -> None:
    """Bound what this process may take."""
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (MOST_SECONDS, MOST_SECONDS))
    resource.setrlimit(resource.RLIMIT_FSIZE, (MOST_FILE, MOST_FILE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main(path: str, pixel_scale: str = "") -> None:
    """Write what an image holds, or why it cannot be read, to standard output."""
    import numpy as np

    from lvm_training.errors import GalaxyLoopError
    from lvm_training.importing.single import read_single

    out = sys.stdout.buffer
    try:
        image = read_single(Path(path), float(pixel_scale) if pixel_scale else None, MOST_PIXELS)
    except GalaxyLoopError as error:
        out.write(json.dumps({"error": error.message, "hint": error.hint}).encode())
        return
    said = {"rendering": image.rendering, "pixel_scale": image.pixel_scale, "origin": image.origin}
    content = io.BytesIO()  # numpy asks a file where it is, and a pipe does not know
    np.save(content, image.pixels, allow_pickle=False)
    out.write(json.dumps(said).encode() + b"\n" + content.getbuffer())


if __name__ == "__main__":
    limit()
    main(*sys.argv[1:])
