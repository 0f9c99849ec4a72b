"""The stamp sets that campaigns show, opened once a process."""

import threading
from pathlib import Path

from backend_ml.store.database import Database
from lvm_training.errors import GalaxyLoopError
from lvm_training.stamps.stampset import StampSet


class UnknownStampError(GalaxyLoopError):
    """A stamp set that no campaign shows, or a stamp that it does not have."""

    code = "no_stamp"


class StampSets:
    """Registered stamp sets by name; threads may share it. A process has one, `Database.stamp_sets`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._open: dict[str, StampSet] = {}

    def find(self, name: str) -> StampSet:
        """The set of that name.

        Raises
        ------
        UnknownStampError
            If none is registered under it.
        StampError
            If its file cannot be read.
        """
        with self._lock:
            if name not in self._open:
                paths = {row["name"]: row["path"] for row in self._database.rows("stamp_sets")}
                if name not in paths:
                    raise UnknownStampError(f"There is no stamp set {name!r} here.", "Create its campaign first.")
                self._open[name] = StampSet(Path(paths[name]))
            return self._open[name]

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

    def detected(self, campaign_id: int) -> list[StampSet]:
        """The sets on all of whose stamps a campaign's detectors detect, by name; a pool is none."""
        return [self.find(row["stamp_set"]) for row in self._database.rows("detected_sets", campaign=campaign_id)]
