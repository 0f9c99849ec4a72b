"""Stamp sets that a command line names: which of their rows it means."""

from collections.abc import Sequence
from pathlib import Path


def choose_rows(stamps: Path, where: Sequence[str], limit: int | None, seed: int) -> list[int]:
    """Rows of a stamp set that fit all conditions, at most `limit` of them, drawn at random in ascending order.

    Raises
    ------
    StampError
        As `fitting_rows`, or if the set is empty.
    """
    import numpy as np

    from lvm_training.errors import StampError
    from lvm_training.stamps.conditions import fitting_rows
    from lvm_training.stamps.stampset import StampSet

    with StampSet(stamps) as opened:
        rows = fitting_rows(opened, where)
    if not len(rows):
        raise StampError(f"{stamps.name} holds no stamps.", "Import some with `galaxyloop data import`.")
    if limit is not None and limit < len(rows):
        rows = np.sort(np.random.default_rng(seed).choice(rows, size=limit, replace=False))
    return [int(row) for row in rows]
