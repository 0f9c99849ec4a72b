"""The stamp sets that campaigns show, opened once a process, and again when their file has changed."""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

from backend_ml.buckets import bring, here
from backend_ml.store.database import Database
from lvm_training.errors import GalaxyLoopError
from lvm_training.files import file_state
from lvm_training.parameters.flags import show_galaxies
from lvm_training.stamps.stampset import StampSet

log = structlog.get_logger(__name__)


class UnknownStampError(GalaxyLoopError):
    """A stamp set that no campaign shows, or a stamp that it does not have."""

    code = "no_stamp"


class StampSets:
    """Registered stamp sets by name; threads may share it. A process has one, `Database.stamp_sets`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._open: dict[str, tuple[tuple[int, ...], StampSet]] = {}

    def find(self, name: str) -> StampSet:
        """The set of that name, as its file is now: people mend sets while a backend shows them.

        Raises
        ------
        UnknownStampError
            If none is registered under it.
        StampError
            If its file cannot be read.
        """
        with self._lock:
            state, held = self._open.get(name, ((), None))
            if held is not None and held.path.is_file() and file_state(held.path) == state:
                return held
            paths = self._paths()
            if name not in paths:
                raise UnknownStampError(f"There is no stamp set {name!r} here.", "Create its campaign first.")
            return self._opened(name, bring(here(paths[name])))

    def _paths(self) -> Mapping[str, str]:
        """The file of each set."""
        return {row["name"]: row["path"] for row in self._database.rows("stamp_sets")}

    def _opened(self, name: str, path: Path) -> StampSet:
        held = self._open.pop(name, None)
        if held is not None:
            log.warning("stamp set changed", stamp_set=name, path=str(path))
            # HDF5 would read on in what it holds of the same file; another one is closed when its last reader is done
            if path.is_file() and file_state(path)[0] == held[0][0]:
                held[1].close()
        state = file_state(path) if path.is_file() else ()
        self._open[name] = state, StampSet(path)
        return self._open[name][1]

    def holding(self, name: str, row: int) -> StampSet:
        """The set of that name, which has such a row.

        Raises
        ------
        UnknownStampError
            If it is not registered or shorter.
        """
        stamps = self.find(name)
        if not 0 <= row < len(stamps):
            raise UnknownStampError(f"The stamp set {name!r} has no stamp {row}.", f"It has {len(stamps)}.")
        return stamps

    def show_galaxies(self, stamps: Sequence[tuple[str, int]]) -> NDArray[np.bool_]:
        """Which of some (stamp set, row) pairs show a galaxy, as `flags.show_galaxies` tells it; damaged rows do not.

        Raises
        ------
        UnknownStampError, StampError
            If a set is not registered, or its file is gone.
        """
        found = [show_galaxies(self.holding(name, row).intact_pixels([row])[0]) for name, row in stamps]
        return np.array([one[0] for one in found], dtype=bool)

    def detected(self, campaign_id: int) -> list[StampSet]:
        """The sets on all of whose stamps a campaign's detectors detect, by name; a pool is none."""
        return [self.find(row["stamp_set"]) for row in self._database.rows("detected_sets", campaign=campaign_id)]

    def shown(self, campaign_id: int) -> list[tuple[StampSet, NDArray[np.int64]]]:
        """The sets that a campaign's tasks show, and which rows of each."""
        found = self._database.rows("shown_rows", campaign=campaign_id)
        return [(self.find(row["stamp_set"]), np.array(row["rows"], dtype=np.int64)) for row in found]
