"""What every measure asks of its arrays."""

import numpy as np
from numpy.typing import NDArray

from lvm_training.pool.features import FeaturesError

SHOWN = 5


def check_finite(array: NDArray[np.floating], what: str) -> None:
    """Refuse NaN and infinity in an array (N, ...).

    Raises
    ------
    FeaturesError
        Naming how many rows are broken, and the first of them.
    """
    if not array.size:
        return
    broken = np.flatnonzero(~np.isfinite(array).reshape(len(array), -1).all(axis=1))
    if broken.size:
        rows = ", ".join(map(str, broken[:SHOWN])) + (", ..." if broken.size > SHOWN else "")
        raise FeaturesError(
            f"{broken.size} of {len(array)} rows of the {what} are not finite: {rows}.", "Embed the stamp set again."
        )
