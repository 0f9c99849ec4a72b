"""Stamps that need no label any more: people labelled them, or the same galaxy, where they were asked the same."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from backend_ml.kinds.installed import kind_of
from backend_ml.kinds.models import Stamp
from backend_ml.store.database import Connection, query
from backend_ml.store.records import Campaign
from backend_ml.store.stamps import StampSets, UnknownStampError
from lvm_training.errors import StampError
from lvm_training.stamps.conditions import positions
from lvm_training.stamps.stampset import StampSet
from lvm_training.tables.positions import nearest, repeated

SAME_GALAXY = 1.0  # arcsec

Rows = NDArray[np.int64]


def answered_stamps(connection: Connection, campaign: Campaign) -> list[Stamp]:
    """The stamps that people labelled in this campaign or in another that asks the same.

    Those of the same kind and classes do, but for kinds that look for one class: searches of rings and of lenses both
    ask for yes and no.
    """
    elsewhere = kind_of(campaign).wanted is None
    rows = query(connection, "labelled_for", campaign=campaign.id, elsewhere=elsewhere)
    return [(row["stamp_set"], row["stamp_id"]) for row in rows]


def answered_rows(sets: StampSets, stamp_set: str, answered: Sequence[Stamp]) -> Rows:
    """The rows of a set that are among the answered stamps, or lie within an arcsec of one of any set; ascending.

    Sets without positions are compared by row alone.
    """
    stamps = sets.find(stamp_set)
    rows = [row for name, row in answered if name == stamp_set and row < len(stamps)]
    taken = np.array(rows, dtype=np.int64)
    there = [_positions_of(sets, name, answered) for name in sorted({name for name, _ in answered})]
    known = np.concatenate(there, axis=1) if there else np.empty((2, 0))
    near, _ = nearest(*_positions(stamps), *known, within=SAME_GALAXY / 3600)
    return np.union1d(taken, np.flatnonzero(near >= 0))


def apart(stamps: StampSet, rows: Rows) -> Rows:
    """Some rows of a set without those within an arcsec of an earlier one: they show the same galaxy."""
    return rows[~repeated(*_positions(stamps)[:, rows], within=SAME_GALAXY / 3600)]


def _positions_of(sets: StampSets, name: str, answered: Sequence[Stamp]) -> NDArray[np.float64]:
    """Right ascension and declination (2, n) of the answered stamps of a set."""
    try:
        found = _positions(sets.find(name))
    except (StampError, UnknownStampError):
        return np.empty((2, 0))  # its file may be gone; its labels are still labels
    return found[:, [row for one, row in answered if one == name and row < found.shape[1]]]


def _positions(stamps: StampSet) -> NDArray[np.float64]:
    """Right ascension and declination (2, N), degrees; NaN where there is no position."""
    if not {"ra", "dec"} <= set(stamps.columns):
        return np.full((2, len(stamps)), np.nan)
    return np.stack(positions(stamps))
