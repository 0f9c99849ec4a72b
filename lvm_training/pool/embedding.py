"""Embeds stamp sets: pictures through the encoder into a feature file, resumable."""

import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from lvm_training.errors import StampError
from lvm_training.files import alone, write_json
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
    others stay until the new ones are whole. Who asks for a file that another process makes waits for it.

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
        warning=_warning(stamps),
    )
    if not origin.rows:
        raise StampError(f"{stamps.path.name} holds no stamps.", "Import some with `galaxyloop data import`.")
    if (current := _current(path, stamps, origin)) is not None:
        return current
    with ExitStack() as held:
        with _writing(path, origin):
            held.enter_context(alone(path.with_name(path.name + ".lock")))
        return _made(path, stamps, encoder, origin, batch, progress)


def _warning(stamps: StampSet) -> str:
    if stamps.rendering == "as-delivered":
        return "pictures as delivered, not the rendering of the encoder"
    return "" if stamps.pixel_scale == stamps.pixel_scale else "the pixel scale is unknown: stamps were shown whole"


def _current(path: Path, stamps: StampSet, origin: Origin) -> Features | None:
    """The features in a file, if its card alone says that they are these."""
    card = path.with_suffix(".json")
    found = _read(card) if path.is_file() else None
    if found is None or not found.same(origin):
        return None
    if stamps.path.stat().st_mtime_ns <= card.stat().st_mtime_ns:
        return Features.open(path)
    return None if stamps.is_ours else _doubtful(Features.open(path), stamps)


def _made(
    path: Path, stamps: StampSet, encoder: Encoder, origin: Origin, batch: int, progress: Progress | None
) -> Features:
    """As `embed_to`, for whoever has the file to itself."""
    if (current := _current(path, stamps, origin)) is not None:
        return current
    card = path.with_suffix(".json")
    found = _read(card) if path.is_file() else None
    if found is not None and found.same(origin):
        # a file that was only copied is newer too, so its content decides
        content = stamps.content_digest(progress)
        if content == (found.content or found.stamps):
            os.utime(card)  # what was compared need not be again
            return Features.open(path)
        origin = origin.model_copy(update={"content": content})
    partial, state = path.with_name(path.name + ".partial"), path.with_name(path.name + ".partial.json")
    with _writing(path, origin):
        path.parent.mkdir(parents=True, exist_ok=True)
        done, origin = _resumed(partial, state, origin, stamps)
        matrix = _opened(partial, origin, new=not done)
    slices = [slice(start, min(start + batch, origin.rows)) for start in range(done, origin.rows, batch)]
    for rows, pixels, damaged in _read_ahead(stamps, slices):
        features = encoder.features(render_pixels(stamps, pixels, encoder.rendering)).numpy().astype(np.float16)
        seen = {"unobserved": origin.unobserved + _unobserved(pixels), "damaged": (*origin.damaged, *damaged)}
        origin = origin.model_copy(update=seen)
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
        write_json(card, origin.written())
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


def _read_ahead(stamps: StampSet, slices: Sequence[slice]) -> Iterator[tuple[slice, Pixels, list[int]]]:
    """Pixels of each slice and its damaged rows, the next one being read meanwhile.

    They are not rendered there: a second thread that computes takes the cores from the encoder's own.
    """
    with ThreadPoolExecutor(1) as reader:
        waiting = [(rows, reader.submit(stamps.intact_pixels, rows)) for rows in slices[:1]]
        for after in [*slices[1:], None] if slices else []:
            rows, pixels = waiting.pop()
            if after is not None:
                waiting.append((after, reader.submit(stamps.intact_pixels, after)))
            yield rows, *pixels.result()


def _unobserved(pixels: Pixels) -> int:
    """How many stamps have no finite pixel."""
    return int((~np.isfinite(pixels).any(axis=(1, 2, 3))).sum())


def _doubtful(features: Features, stamps: StampSet) -> Features:
    """Features that may be older than the pixels: nobody noted what sets of other makers hold."""
    warning = f"{stamps.path.name} is newer than its features; if its pixels were changed, delete {features.path}"
    said = "; ".join(filter(None, (features.origin.warning, warning)))
    return Features(features.path, features.matrix, features.origin.model_copy(update={"warning": said}))


def _resumed(partial: Path, state: Path, origin: Origin, stamps: StampSet) -> tuple[int, Origin]:
    """Rows of the unfinished file that can be kept, and what is known of them."""
    try:
        found = json.loads(state.read_text(encoding="utf-8"))
        matrix = np.load(partial, mmap_mode="r", allow_pickle=False)
        begun = Origin.model_validate(found["origin"])
    except (FileNotFoundError, ValueError, EOFError, KeyError, TypeError):
        return 0, origin
    same = begun.same(origin) and begun.content == origin.content and matrix.shape == (origin.rows, origin.width)
    # pixels that changed meanwhile may be among the rows done
    same = same and stamps.path.stat().st_mtime_ns <= state.stat().st_mtime_ns
    return (int(found["done"]), begun) if same else (0, origin)


def _read(card: Path) -> Origin | None:
    try:
        return Origin.model_validate_json(card.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
