"""The stamps that a campaign's tasks show, and which of them are of the audit slice, held in memory."""

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from backend_ml.kinds.models import Stamp
from backend_ml.store.database import Connection, Database, query

Rows = NDArray[np.int64]


class ShownStamps:
    """What the tasks of a campaign showed when this was read.

    A task shows one stamp for ever and is blind for ever, so what is known here stays true; a stamp that is not known
    may have become a task since, and is looked up.

    Parameters
    ----------
    campaign : int
        Its id.
    rows, audit : dict
        By stamp set, in ascending order: the rows that tasks show, and those of them that are of the audit slice.
    """

    def __init__(self, campaign: int, rows: dict[str, Rows], audit: dict[str, Rows]) -> None:
        self._campaign, self._rows, self._audit = campaign, rows, audit

    @classmethod
    def read(cls, connection: Connection, campaign: int) -> "ShownStamps":
        """Those of a campaign."""
        found = query(connection, "shown_rows", campaign=campaign)
        rows = {row["stamp_set"]: np.array(row["rows"], dtype=np.int64) for row in found}
        audit = {row["stamp_set"]: np.array(row["audit"] or (), dtype=np.int64) for row in found}
        return cls(campaign, rows, audit)

    def knows(self, stamp: Stamp) -> bool:
        """Whether a stamp needs no looking up."""
        return _holds(self._rows, stamp)

    def audit(self, stamps: Collection[Stamp], database: Database) -> set[Stamp]:
        """Those of some stamps that are of the audit slice.

        Raises
        ------
        DatabaseError
            If one has to be looked up and the database is gone.
        """
        later = {stamp for stamp in stamps if not self.knows(stamp)}
        found = {stamp for stamp in stamps if _holds(self._audit, stamp)}
        if later:
            sets, rows = sorted({name for name, _ in later}), [row for _, row in later]
            new = database.rows("audit_stamps", campaign=self._campaign, stamp_sets=sets, stamp_ids=rows)
            found |= later & {(row["stamp_set"], row["stamp_id"]) for row in new}
        return found


def _holds(rows: dict[str, Rows], stamp: Stamp) -> bool:
    name, row = stamp
    known = rows.get(name)
    if known is None:
        return False
    place = int(known.searchsorted(row))
    return place < len(known) and int(known[place]) == row
