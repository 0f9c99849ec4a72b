"""Stamps that need no label any more: people labelled them, or the same galaxy, where they were asked the same."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from backend_ml.kinds.installed import kind_of
from backend_ml.kinds.kind import Stamp
from backend_ml.store.database import Connection, query
from backend_ml.store.records import Campaign
from backend_ml.store.stamps import StampSets, UnknownStampError
from lvm_training.errors import StampError
from lvm_training.stamps.conditions import positions
from lvm_training.stamps.stampset import StampSet

SAME_GALAXY = 1.0  # arcsec
_CHORD = 2 * np.sin(np.radians(SAME_GALAXY / 3600) / 2)  # between unit vectors that far apart

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
    taken, here = np.array(rows, dtype=np.int64), _directions(stamps)
    there = [_positions_of(sets, name, answered) for name in sorted({name for name, _ in answered})]
    known = np.concatenate(there) if there else np.empty((0, 3))
    placed = np.flatnonzero(np.isfinite(here).all(axis=1))
    if not len(known) or not len(placed):
        return np.unique(taken)
    distance = KDTree(known).query(here[placed], distance_upper_bound=_CHORD)[0]
    return np.union1d(taken, placed[np.isfinite(distance)])


def apart(stamps: StampSet, rows: Rows) -> Rows:
    """Some rows of a set without those within an arcsec of an earlier one: they show the same galaxy."""
    directions = _directions(stamps)[rows]
    placed = np.flatnonzero(np.isfinite(directions).all(axis=1))
    pairs = KDTree(directions[placed]).query_pairs(_CHORD, output_type="ndarray")
    return np.delete(rows, placed[pairs.max(axis=1)]) if len(pairs) else rows


def _positions_of(sets: StampSets, name: str, answered: Sequence[Stamp]) -> NDArray[np.float64]:
    """Directions of the answered stamps of a set, without those that have none."""
    try:
        directions = _directions(sets.find(name))
    except (StampError, UnknownStampError):
        return np.empty((0, 3))  # its file may be gone; its labels are still labels
    rows = [row for one, row in answered if one == name and row < len(directions)]
    found = directions[rows]
    return found[np.isfinite(found).all(axis=1)]


def _directions(stamps: StampSet) -> NDArray[np.float64]:
    """Unit vectors (N, 3) to the stamps of a set; NaN where there is no position."""
    if not {"ra", "dec"} <= set(stamps.columns):
        return np.full((len(stamps), 3), np.nan)
    ra, dec = np.radians(positions(stamps))
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=1)
