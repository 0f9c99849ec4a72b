"""The journal of an unfinished stamp set: batches appended to one file, each there whole or not at all.

HDF5 itself would not do: a process killed while it flushes can leave a file in which stamps read as zeros. A journal
is a line of JSON that says what the set is, then for each batch a line of JSON (count, checksum, columns) and its
pixels.
"""

import fcntl
import json
import math
import os
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from lvm_training.errors import StampError

Columns = Mapping[str, NDArray[np.generic]]


class Journal:
    """A journal opened for this process alone, behind its last complete batch.

    Parameters
    ----------
    path : Path
        The file; its folder is made.
    about : mapping
        What the set is; journals of another set are refused.
    shape : tuple of int
        Shape of a stamp, (3, H, W).
    dtype : dtype
        Type of its pixels.

    Attributes
    ----------
    columns : dict of str to list of ndarray
        The columns so far, one array per batch.

    Raises
    ------
    StampError
        If the file is the journal of another set, cannot be written, or is being written by another process.
    """

    def __init__(self, path: Path, about: Mapping[str, object], shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.path = path
        self.columns: dict[str, list[NDArray[np.generic]]] = {}
        self._batches: list[tuple[int, int]] = []  # place of the pixels and number of stamps
        self._shape, self._dtype = shape, dtype
        self._file = self._opened()
        try:
            self._resume(json.dumps({**about, "shape": shape, "dtype": dtype.str}).encode() + b"\n")
        except StampError:
            self._file.close()
            raise

    def _opened(self) -> BinaryIO:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = self.path.open("a+b")
        except OSError as error:
            raise StampError(f"{self.path} cannot be written: {error.strerror}.", "Choose another place.") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.close()
            raise StampError(f"{self.path} is being written by another process.", "Wait for it, or end it.") from error
        return file

    def _resume(self, head: bytes) -> None:
        self._file.seek(0)
        first = self._file.readline()
        if not head.startswith(first) and not _is_head(first):
            raise StampError(
                f"{self.path} is there already, and no unfinished set.", "Move it away, or name another file."
            )
        if not head.startswith(first):
            raise StampError(
                f"{self.path} is an unfinished set of another source, shape or type.",
                f"Delete it and run again: {self.path}",
            )
        end = len(first) if first == head else 0
        while end and self._read_batch():
            end = self._file.tell()
        self._file.truncate(end)  # what the interruption has torn
        if not end:
            self._file.write(head)
            self._file.flush()

    def _read_batch(self) -> bool:
        """Take in the next batch; False where the file ends or the batch is torn."""
        line = self._file.readline()
        try:
            entry = json.loads(line)
        except ValueError:
            return False
        place = self._file.tell()
        if zlib.crc32(self._file.read(self._bytes(entry["count"]))) != entry["crc"]:
            return False
        columns = {name: np.array(values, dtype) for name, (dtype, values) in entry["columns"].items()}
        self._remember(place, entry["count"], columns)
        return True

    def _bytes(self, count: int) -> int:
        return count * math.prod(self._shape) * self._dtype.itemsize

    def _remember(self, place: int, count: int, columns: Columns) -> None:
        self._batches.append((place, count))
        for name, values in columns.items():
            self.columns.setdefault(name, []).append(values)

    def __len__(self) -> int:
        return sum(count for _, count in self._batches)

    def append(self, images: NDArray[np.generic], columns: Columns) -> None:
        """Add a batch: `images` (n, 3, H, W) and n values for each column; on disk when this returns.

        Raises
        ------
        StampError
            If it cannot be written, as where the disk is full; the batches before stay.
        """
        pixels = np.ascontiguousarray(images, self._dtype).tobytes()
        typed = {
            name: ("O" if values.dtype.kind in "UO" else values.dtype.str, values.tolist())
            for name, values in columns.items()
        }
        entry = {"count": len(images), "crc": zlib.crc32(pixels), "columns": typed}
        try:
            self._file.write(json.dumps(entry).encode() + b"\n" + pixels)
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            # what could not be written would be tried again whenever it is closed
            with suppress(OSError):
                self._file.close()
            raise StampError(
                f"{self.path} cannot be written: {error.strerror}.",
                "Make room: what is done is kept, and the same command goes on.",
            ) from error
        self._remember(self._file.tell() - len(pixels), len(images), columns)

    def batches(self) -> Iterator[NDArray[np.generic]]:
        """The pixels of each batch, (n, 3, H, W), in order."""
        for place, count in self._batches:
            self._file.seek(place)
            yield np.frombuffer(self._file.read(self._bytes(count)), self._dtype).reshape(count, *self._shape)

    def close(self) -> None:
        """Close the file; one without batches is removed."""
        if self._file.closed:
            return
        self._file.close()
        if not self._batches:
            self.path.unlink()


def _is_head(line: bytes) -> bool:
    """Whether a line says what a set is, as the first of a journal does."""
    try:
        about = json.loads(line)
    except ValueError:
        return False
    return isinstance(about, dict) and {"shape", "dtype"} <= about.keys()
