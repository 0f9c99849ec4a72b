"""Embeds stamp sets: pictures through the encoder into a feature file, by any number of processes, resumable.

    <path>.partial                  the matrix, all its space taken
    <path>.parts/origin.json        what it is made from
    <path>.parts/<row>.json         how far the range is that begins at this row

A range of 16,384 rows is filled by one process at a time, in order. Whoever finds all ranges done puts the file in its
place. A kill costs the batch it met: rows are on disk before their range says so, and are the same whoever makes them.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from glob import escape
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from lvm_training.errors import StampError
from lvm_training.files import alone, reserve, write_json
from lvm_training.model.encoder import Encoder
from lvm_training.pool.features import Features, FeaturesError, Origin
from lvm_training.progress import Progress
from lvm_training.stamps.render import render_pixels
from lvm_training.stamps.stampset import Pixels, StampSet

RANGE = 16_384  # rows
PAGE = 4096  # bytes; hosts that share a folder write whole pages, and ranges begin at one


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

    A run that was killed goes on behind the last complete batch of each range; features there already are returned at
    once, and others stay until the new ones are whole. Who asks for a file that others make takes the ranges that are
    left, and waits for theirs.

    Parameters
    ----------
    path : Path
        The `.npy` file; its JSON stands beside it.
    batch : int
        Stamps that go through the encoder at a time.
    progress : callable, optional
        Called with the stamps done, whoever did them, and their number.

    Raises
    ------
    StampError
        If the set holds no stamps.
    FeaturesError
        If the file cannot be made or written, or its whole size is not free on the disk.
    """
    work = _Work.of(path, stamps, encoder)
    if (current := _current(path, stamps, work.origin)) is not None:
        return current
    work = work.begun(stamps, progress)
    for wait in (False, True):
        for start in work.starts:
            work.fill(start, stamps, encoder, batch, progress, wait=wait)
    return work.finished(stamps)


def embed_range(
    path: Path, stamps: StampSet, encoder: Encoder, start: int, *, batch: int = 128, progress: Progress | None = None
) -> bool:
    """Do the range of a set that begins at the row `start`, unless it is done or being done; whether all ranges are.

    Parameters and errors are those of `embed_to`, which the last of all ranges completes.
    """
    work = _Work.of(path, stamps, encoder)
    if _current(path, stamps, work.origin) is not None:
        return True
    work = work.begun(stamps, progress)
    work.fill(start, stamps, encoder, batch, progress, wait=False)
    if not all(map(work.is_done, work.starts)):
        return False
    work.finished(stamps)
    return True


def ranges_left(path: Path, stamps: StampSet, encoder: Encoder) -> dict[int, int]:
    """The rows that are not embedded yet of each range that is not done, by its first row."""
    work = _Work.of(path, stamps, encoder)
    if _current(path, stamps, work.origin) is not None:
        return {}
    known = work.kept(stamps)
    left = {start: work.length(start) - (work.state(start).done if known else 0) for start in work.starts}
    return {start: rows for start, rows in left.items() if rows}


class _State(BaseModel):
    """How far a range is: rows done from its beginning, how many of them show nothing, and which cannot be read."""

    done: int = 0
    unobserved: int = 0
    damaged: tuple[int, ...] = ()


@dataclass(frozen=True)
class _Work:
    """A feature file in the making."""

    path: Path
    origin: Origin

    @classmethod
    def of(cls, path: Path, stamps: StampSet, encoder: Encoder) -> "_Work":
        if not len(stamps):
            raise StampError(f"{stamps.path.name} holds no stamps.", "Import some with `galaxyloop data import`.")
        origin = Origin(
            name=stamps.name,
            stamps=stamps.digest,
            encoder=encoder.digest,
            rows=len(stamps),
            width=encoder.width,
            warning=_warning(stamps),
        )
        return cls(path, origin)

    @property
    def partial(self) -> Path:
        return self.path.with_name(self.path.name + ".partial")

    @property
    def parts(self) -> Path:
        return self.path.with_name(self.path.name + ".parts")

    @property
    def lock(self) -> Path:
        return self.path.with_name(self.path.name + ".lock")

    @property
    def starts(self) -> range:
        """The first row of each range."""
        return range(0, self.origin.rows, RANGE)

    def length(self, start: int) -> int:
        return min(RANGE, self.origin.rows - start)

    def is_done(self, start: int) -> bool:
        return self.state(start).done >= self.length(start)

    def state(self, start: int) -> _State:
        try:
            return _State.model_validate_json((self.parts / f"{start:012d}.json").read_text(encoding="utf-8"))
        except (FileNotFoundError, ValidationError):
            return _State()

    def begun(self, stamps: StampSet, progress: Progress | None) -> "_Work":
        """The same, with a file to fill: that of a run before if it is of these pixels, or a new one."""
        with ExitStack() as held:
            with _writing(self):
                held.enter_context(alone(self.lock))
            if _current(self.path, stamps, self.origin) is not None:
                return self
            work = self._compared(stamps, progress)
            if not work.kept(stamps):
                with _writing(self):
                    shutil.rmtree(work.parts, ignore_errors=True)
                    _make_matrix(work)
                    write_json(work.parts / "origin.json", work.origin.model_dump())
            return work

    def _compared(self, stamps: StampSet, progress: Progress | None) -> "_Work":
        """With the digest of the content where pixels may have changed under the name of features that are there."""
        found = _read(self.path.with_suffix(".json")) if self.path.is_file() else None
        if found is None or not found.same(self.origin):
            return self
        content = stamps.content_digest(progress)
        if content == (found.content or found.stamps):
            # a file that was only copied is newer too; what was compared need not be again
            os.utime(self.path.with_suffix(".json"))
            return self
        return _Work(self.path, self.origin.model_copy(update={"content": content}))

    def kept(self, stamps: StampSet) -> bool:
        """Whether an unfinished file is there to go on with."""
        try:
            found = self.parts / "origin.json"
            begun = Origin.model_validate_json(found.read_text(encoding="utf-8"))
            matrix = np.load(self.partial, mmap_mode="r", allow_pickle=False)
            # pixels that changed meanwhile may be among the rows done
            older = stamps.changed <= found.stat().st_mtime_ns
        except (FileNotFoundError, ValueError, EOFError):
            return False
        same = begun.same(self.origin) and begun.content == self.origin.content
        return same and older and matrix.shape == (self.origin.rows, self.origin.width)

    def fill(
        self, start: int, stamps: StampSet, encoder: Encoder, batch: int, progress: Progress | None, *, wait: bool
    ) -> None:
        """Do what is left of a range, unless another process has it and nobody shall `wait` for that one."""
        if self.is_done(start):
            return
        with ExitStack() as held:
            with _writing(self):
                mine = held.enter_context(alone(self.path.with_name(f"{self.path.name}.{start}.lock"), wait=wait))
            # while it was waited for, others may have finished it, and then all
            if mine and not self.is_done(start) and _current(self.path, stamps, self.origin) is None:
                self._fill(start, stamps, encoder, batch, progress)

    def _fill(self, start: int, stamps: StampSet, encoder: Encoder, batch: int, progress: Progress | None) -> None:
        state, stop = self.state(start), start + self.length(start)
        others = sum(self.state(one).done for one in self.starts if one != start)
        slices = [slice(at, min(at + batch, stop)) for at in range(start + state.done, stop, batch)]
        with ExitStack() as held:
            with _writing(self):
                matrix = held.enter_context(closing(_Matrix(self.partial)))
            for rows, pixels, damaged in _read_ahead(stamps, slices):
                pictures = render_pixels(stamps, pixels, encoder.rendering)
                features = encoder.features(pictures).numpy().astype(np.float16)
                state = _State(
                    done=rows.stop - start,
                    unobserved=state.unobserved + _unobserved(pixels),
                    damaged=(*state.damaged, *damaged),
                )
                with _writing(self):
                    matrix.write(rows.start, features)
                    write_json(self.parts / f"{start:012d}.json", state.model_dump())
                if progress is not None:
                    progress(others + state.done, self.origin.rows)

    def finished(self, stamps: StampSet) -> Features:
        """The features, put into their place by the first who comes here."""
        with _writing(self), alone(self.lock):
            if (current := _current(self.path, stamps, self.origin)) is not None:
                return current
            states = [self.state(start) for start in self.starts]
            told = {
                "unobserved": sum(one.unobserved for one in states),
                "damaged": tuple(row for one in states for row in one.damaged),
            }
            # an older matrix must never stand beside the new card
            self.path.unlink(missing_ok=True)
            write_json(self.path.with_suffix(".json"), self.origin.model_copy(update=told).written())
            self.partial.replace(self.path)
            shutil.rmtree(self.parts)
            for left_by_a_kill in self.path.parent.glob(f"{escape(self.path.name)}.*.lock"):
                left_by_a_kill.unlink(missing_ok=True)
        return Features.open(self.path)


def _current(path: Path, stamps: StampSet, origin: Origin) -> Features | None:
    """The features in a file, if its card alone says that they are these."""
    card = path.with_suffix(".json")
    found = _read(card) if path.is_file() else None
    if found is None or not found.same(origin):
        return None
    if stamps.changed <= card.stat().st_mtime_ns:
        return Features.open(path)
    return None if stamps.is_ours else _doubtful(Features.open(path), stamps)


@contextmanager
def _writing(work: _Work) -> Iterator[None]:
    """Turn what the file system refuses into a `FeaturesError`."""
    try:
        yield
    except OSError as error:
        size = work.origin.rows * work.origin.width * np.dtype(np.float16).itemsize / 1e6
        raise FeaturesError(
            f"The features could not be written to {work.path}: {error}.",
            f"They need {size:.1f} MB of free space in {work.path.parent}, and the right to write there.",
        ) from error


def _make_matrix(work: _Work) -> None:
    """The unfinished file's matrix, with all the space it takes."""
    shape = (work.origin.rows, work.origin.width)
    header = _header(shape, PAGE if len(work.starts) > 1 else 0)
    size = len(header) + 2 * shape[0] * shape[1]
    try:
        work.path.parent.mkdir(parents=True, exist_ok=True)
        with work.partial.open("wb") as stream:
            stream.write(header)
            stream.truncate(size)
            reserve(stream.fileno(), size)
    except OSError:
        work.partial.unlink(missing_ok=True)
        raise


def _header(shape: tuple[int, int], size: int) -> bytes:
    """The head of a float16 `.npy` file, of `size` bytes at least: its dictionary may end with any number of blanks."""
    stream = BytesIO()
    values = {"descr": "<f2", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, values)  # type: ignore[no-untyped-call]
    written = stream.getvalue()
    magic, length = written[:8], max(len(written), size) - 10
    return magic + length.to_bytes(2, "little") + written[10:-1].ljust(length - 1) + b"\n"


class _Matrix:
    """An unfinished file's matrix, written row by row: a map of it would count as memory."""

    def __init__(self, path: Path) -> None:
        matrix = np.load(path, mmap_mode="r", allow_pickle=False)
        self._offset, self._width = int(matrix.offset), 2 * int(matrix.shape[1])
        self._file = os.open(path, os.O_RDWR)

    def write(self, row: int, features: NDArray[np.float16]) -> None:
        """Write rows from `row` on; they are on disk when this returns."""
        left, at = memoryview(features.tobytes()), self._offset + row * self._width
        while left:
            written = os.pwrite(self._file, left, at)
            left, at = left[written:], at + written
        os.fdatasync(self._file)

    def close(self) -> None:
        os.close(self._file)


def _read_ahead(stamps: StampSet, slices: Sequence[slice]) -> Iterator[tuple[slice, Pixels, list[int]]]:
    """Pixels of each slice and its damaged rows, the next slice being read meanwhile.

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


def _warning(stamps: StampSet) -> str:
    if stamps.rendering == "as-delivered":
        return "pictures as delivered, not the rendering of the encoder"
    return "" if stamps.pixel_scale == stamps.pixel_scale else "the pixel scale is unknown: stamps were shown whole"


def _doubtful(features: Features, stamps: StampSet) -> Features:
    """Features that may be older than the pixels: nobody noted what sets of other makers hold."""
    warning = f"{stamps.path.name} is newer than its features; if its pixels were changed, delete {features.path}"
    said = "; ".join(filter(None, (features.origin.warning, warning)))
    return Features(features.path, features.matrix, features.origin.model_copy(update={"warning": said}))


def _read(card: Path) -> Origin | None:
    try:
        return Origin.model_validate_json(card.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
