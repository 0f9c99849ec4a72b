"""The list of stamps that could not be had, beside a set: a CSV that grows as work goes on."""

import csv
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from lvm_training.errors import SurveyError
from lvm_training.files import refuse_others
from lvm_training.surveys.targets import Left

HEADER = ",".join(Left._fields) + "\n"


def skipped_path(out: Path) -> Path:
    """Where the list of a stamp set is."""
    return out.with_name(out.name + ".skipped.csv")


class SkippedList:
    """The list opened for appending, behind its last complete line.

    Parameters
    ----------
    path : Path
        The file.
    fresh : bool
        Whether to begin anew.

    Raises
    ------
    OutputError
        If another file of that name is there.
    SurveyError
        If it cannot be written.
    """

    def __init__(self, path: Path, *, fresh: bool) -> None:
        self.path = path
        refuse_others(path, HEADER.encode())
        self.entries: dict[str, Left] = {}
        try:
            if fresh or not path.exists():
                path.write_text(HEADER, encoding="utf-8")
            self._read()
            self._file = path.open("a", encoding="utf-8", newline="")
        except OSError as error:
            raise SurveyError(f"{path} cannot be written: {error.strerror}.", "Choose another place.") from error
        self._writer = csv.writer(self._file, lineterminator="\n")

    def _read(self) -> None:
        data = self.path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):
            os.truncate(self.path, len(whole))  # a line that a kill has torn
        for row in list(csv.reader(whole.decode().splitlines()))[1:]:
            file, ra, dec, kind, reason = row
            self.entries[file] = Left(file, float(ra), float(dec), kind, reason)

    def __len__(self) -> int:
        return len(self.entries)

    def add(self, lefts: Iterable[Left]) -> None:
        """Add stamps that are not in the list; on disk when this returns."""
        new = {left.file: left for left in lefts if left.file not in self.entries}
        if not new:
            return
        self._writer.writerows((*left[:-1], " ".join(left.reason.split())) for left in new.values())
        self._file.flush()
        os.fsync(self._file.fileno())
        self.entries |= new

    def counts(self) -> Counter[str]:
        """How many there are of each kind."""
        return Counter(left.kind for left in self.entries.values())

    def close(self) -> None:
        """Close the file; one that lists nothing is removed."""
        self._file.close()
        if not self.entries:
            self.path.unlink(missing_ok=True)
