"""Files that are there whole or not at all."""

import csv
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, TextIO

from filelock import FileLock, Timeout

from lvm_training.errors import OutputError

MARKED = 1 << 16  # bytes in which a file says what made it


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill `<path>.partial`, then rename it, as `write_together` does."""
    write_together({path: write})


def write_together(files: Mapping[Path, Callable[[Path], object]]) -> None:
    """Let each function fill `<path>.partial`, then rename them all; folders are made.

    A crash, an exception or a disk that fills up leaves the old files as they were.
    """
    partials = {path: path.with_name(path.name + ".partial") for path in files}
    try:
        for path, write in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            write(partials[path])
            with partials[path].open("rb+") as stream:
                # some file systems report a full disk only here
                os.fsync(stream.fileno())
        for path, partial in partials.items():
            partial.replace(path)
    except BaseException:
        for partial in partials.values():
            with suppress(OSError):
                partial.unlink()
        raise


def reserve(file: int, size: int) -> None:
    """Let an open file have all the space it will take: a full disk ends a write to a map of it by a signal.

    Raises
    ------
    OSError
        If the disk has not so much.
    """
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)


def file_state(path: Path) -> tuple[int, ...]:
    """What becomes another when a file is replaced or written into: inode, size, time of its last change in ns."""
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


@contextmanager
def alone(lock: Path, *, wait: bool = True) -> Iterator[bool]:
    """Let no other process or thread in that asks for the same file, which is there meanwhile; a kill lets go of it.

    Parameters
    ----------
    wait : bool
        Whether to wait for whoever is inside; what is yielded says whether one is alone, which is so after waiting.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    held = FileLock(lock, timeout=-1 if wait else 0)
    try:
        held.acquire()
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.unlink(missing_ok=True)  # while it is held: who waited for this file then waits for the next one
        held.release()


def try_writing(folder: Path) -> None:
    """Make a file that leaves no trace where `folder` is or would be made.

    Raises
    ------
    OSError
        If that cannot be done: `folder` is a file, the right is missing, the disk is read only.
    """
    present = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    TemporaryFile(dir=present).close()


def refuse_others(path: Path, *marks: bytes) -> None:
    """Refuse a file that is there already, unless one of `marks` in its beginning says that the same command made it.

    Without marks nothing is written over: a table may have been edited since.

    Raises
    ------
    OutputError
        If it would be overwritten.
    """
    if not path.is_file():
        return
    with path.open("rb") as stream:
        start = stream.read(MARKED)
    if start and not any(mark in start for mark in marks):
        whose = ", and this command did not make it" if marks else ""
        raise OutputError(f"{path} is there already{whose}.", "Name another file, or move that one away.")


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write rows below a header as CSV, whole or not at all; the same rows give the same bytes."""

    def write(partial: Path) -> None:
        with partial.open("w", newline="", encoding="utf-8") as stream:
            write_rows(stream, [header])
            write_rows(stream, rows)

    write_atomically(path, write)


def write_rows(stream: TextIO, rows: Iterable[Sequence[object]]) -> None:
    """Write rows as CSV; readers would take one that begins with # for a comment, so its texts are quoted."""
    plain = csv.writer(stream, lineterminator="\n")
    quoted = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    for row in rows:
        writer = quoted if str(row[0]).lstrip().startswith("#") else plain
        writer.writerow(row)


def write_text(path: Path, text: str) -> None:
    """Write a text, whole or not at all."""
    write_atomically(path, lambda partial: partial.write_text(text, encoding="utf-8"))


def json_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file, such as a card; nothing where it is none."""
    try:
        said = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def write_json(path: Path, document: object) -> None:
    """Write a document as indented JSON, whole or not at all."""
    write_text(path, json.dumps(document, indent=2) + "\n")
