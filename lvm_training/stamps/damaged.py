"""HDF5 files with damage: what can still be read of them, and which rows are gone."""

import io
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

LENGTHS = re.compile(r"truncated file: eof = \d+.*stored_eof = (\d+)")


class CutFile(io.RawIOBase):
    """A file that was cut off, as long as it should be; to read behind its end is an error.

    HDF5 opens no file that is shorter than its first block says. Zeros in place of what is lacking would be taken for
    pixels, and HDF5 never comes back from a heap of texts that holds zeros.

    Parameters
    ----------
    path : Path
        The file.
    size : int
        Bytes that it should have.
    """

    def __init__(self, path: Path, size: int) -> None:
        super().__init__()
        self._stream = path.open("rb")
        self._size, self._place = size, 0

    def readable(self) -> bool:
        """True: it is for reading alone."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """The place that is read next."""
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place; the end is that of the whole file."""
        self._place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        return self._place

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill a buffer.

        Raises
        ------
        OSError
            If the file ends before.
        """
        self._stream.seek(self._place)
        if self._stream.readinto(buffer) < len(buffer):
            raise OSError("the file ends before")
        self._place += len(buffer)
        return len(buffer)

    def close(self) -> None:
        """Close the file."""
        self._stream.close()
        super().close()


def whole_size(error: OSError) -> int | None:
    """How long a file should be, of which HDF5 says that it is cut off; None where it says something else."""
    found = LENGTHS.search(str(error))
    return int(found[1]) if found else None


def read_around(
    rows: NDArray[np.int64], into: NDArray[np.generic], read: Callable[[NDArray[np.int64]], NDArray[np.generic]]
) -> list[int]:
    """Read rows into the places of an array that is as long; which of them cannot be read.

    Halves are tried on their own, so that a damaged chunk costs few more reads than it has rows.
    """
    if not len(rows):
        return []
    try:
        into[:] = read(rows)
    except OSError:
        if len(rows) == 1:
            return [int(rows[0])]
        half = len(rows) // 2
        return read_around(rows[:half], into[:half], read) + read_around(rows[half:], into[half:], read)
    return []


def spans(rows: Iterable[int]) -> str:
    """Row numbers in ascending order as people write them: 3, 16-23."""
    found: list[list[int]] = []
    for row in rows:
        if found and row == found[-1][1] + 1:
            found[-1][1] = row
        else:
            found.append([row, row])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in found)
