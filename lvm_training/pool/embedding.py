"""Embeds stamp sets: pictures through the encoder into a feature file, resumable."""

import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from lvm_training.errors import StampError
from lvm_training.files import write_json
from lvm_training.model.encoder import Encoder
from lvm_training.pool.features import Features, FeaturesError, Origin
from lvm_training.progress import Progress
from lvm_training.stamps.render import render_pixels
from lvm_training.stamps.stampset import Pixels, StampSet


def features_path(stamps: StampSet, encoder: Encoder, folder: Path) -> Path:
    """Where `embed_set` keeps the features of this set from this encoder."""
    return folder / f"{stamps.name}-{stamps.digest}-{encoder.digest}.npy"


def embed_set(
    stamps: StampSet, encoder: Encoder, folder: Path, *, batch: int = 128, progress: Progress | None = None
) -> Features:
    """Features of a stamp set, from a file in `folder` named by set and encoder; made if it is not there."""
    return embed_to(features_path(stamps, encoder, folder), stamps, encoder, batch=batch, progress=progress)


def embed_to(
    path: Path, stamps: StampSet, encoder: Encoder, *, batch: int = 128, progress: Progress | None = None
) -> Features:
    """Features of a stamp set in the file `path`.

    A run that was killed goes on behind the last complete batch; features there already are returned at once, and
    others stay until the new ones are whole.

    Parameters
    ----------
    path : Path
        The `.npy` file; its JSON stands beside it.
    batch : int
        Stamps that go through the encoder at a time.
    progress : callable, optional
        Called with the stamps done and their number.

    Raises
    ------
    StampError
        If the set holds no stamps.
    FeaturesError
        If the file cannot be made or written, or its whole size is not free on the disk.
    """
    origin = Origin(
        name=stamps.name,
        stamps=stamps.digest,
        encoder=encoder.digest,
        rows=len(stamps),
        width=encoder.width,
        warning="pictures as delivered, not the rendering of the encoder" if stamps.rendering == "as-delivered" else "",
    )
    if not origin.rows:
        raise StampError(f"{stamps.path.name} holds no stamps.", "Import some with `galaxyloop data import`.")
    card = path.with_suffix(".json")
    if path.is_file() and _same(_read(card), origin):
        return Features.open(path)
    partial, state = path.with_name(path.name + ".partial"), path.with_name(path.name + ".partial.json")
    with _writing(path, origin):
        path.parent.mkdir(parents=True, exist_ok=True)
        done, origin = _resumed(partial, state, origin)
        matrix = _opened(partial, origin, new=not done)
    slices = [slice(start, min(start + batch, origin.rows)) for start in range(done, origin.rows, batch)]
    for rows, pixels in _read_ahead(stamps, slices):
        features = encoder.features(render_pixels(stamps, pixels, encoder.rendering)).numpy().astype(np.float16)
        origin = origin.model_copy(update={"unobserved": origin.unobserved + _unobserved(pixels)})
        with _writing(path, origin):
            matrix[rows] = features
            matrix.flush()
            write_json(state, {"done": rows.stop, "origin": origin.model_dump()})
        if progress is not None:
            progress(rows.stop, origin.rows)
    del matrix
    with _writing(path, origin):
        # an older matrix must never stand beside the new card
        path.unlink(missing_ok=True)
        write_json(card, origin.model_dump(exclude=None if origin.unobserved else {"unobserved"}))
        partial.replace(path)
        state.unlink(missing_ok=True)
    return Features.open(path)


@contextmanager
def _writing(path: Path, origin: Origin) -> Iterator[None]:
    """Turn what the file system refuses into a `FeaturesError`."""
    try:
        yield
    except OSError as error:
        size = origin.rows * origin.width * np.dtype(np.float16).itemsize / 1e6
        raise FeaturesError(
            f"The features could not be written to {path}: {error}.",
            f"They need {size:.1f} MB of free space in {path.parent}, and the right to write there.",
        ) from error


def _opened(partial: Path, origin: Origin, *, new: bool) -> np.memmap[Any, np.dtype[np.float16]]:
    """The unfinished file's matrix, with all the space it takes: a full disk would end a write to it by a signal."""
    try:
        matrix: np.memmap[Any, np.dtype[np.float16]] = np.lib.format.open_memmap(  # type: ignore[no-untyped-call]
            partial, mode="w+" if new else "r+", dtype=np.float16, shape=(origin.rows, origin.width)
        )
        if hasattr(os, "posix_fallocate"):
            with partial.open("rb+") as stream:
                os.posix_fallocate(stream.fileno(), 0, partial.stat().st_size)
    except OSError:
        if new:
            partial.unlink(missing_ok=True)
        raise
    return matrix


def _read_ahead(stamps: StampSet, slices: Sequence[slice]) -> Iterator[tuple[slice, Pixels]]:
    """Pixels of each slice, the next one being read meanwhile.

    They are not rendered there: a second thread that computes takes the cores from the encoder's own.
    """
    with ThreadPoolExecutor(1) as reader:
        waiting = [(rows, reader.submit(stamps.pixels, rows)) for rows in slices[:1]]
        for after in [*slices[1:], None] if slices else []:
            rows, pixels = waiting.pop()
            if after is not None:
                waiting.append((after, reader.submit(stamps.pixels, after)))
            yield rows, pixels.result()


def _unobserved(pixels: Pixels) -> int:
    """How many stamps have no finite pixel."""
    return int((~np.isfinite(pixels).any(axis=(1, 2, 3))).sum())


def _resumed(partial: Path, state: Path, origin: Origin) -> tuple[int, Origin]:
    """Rows of the unfinished file that can be kept, and what is known of them."""
    try:
        found = json.loads(state.read_text(encoding="utf-8"))
        matrix = np.load(partial, mmap_mode="r", allow_pickle=False)
        begun = Origin.model_validate(found["origin"])
    except (FileNotFoundError, ValueError, EOFError, KeyError, TypeError):
        return 0, origin
    same = _same(begun, origin) and matrix.shape == (origin.rows, origin.width)
    return (int(found["done"]), begun) if same else (0, origin)


def _same(found: Origin | None, origin: Origin) -> bool:
    """Whether two are the same but for what only embedding tells."""
    return found is not None and found.model_copy(update={"unobserved": 0}) == origin


def _read(card: Path) -> Origin | None:
    try:
        return Origin.model_validate_json(card.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
