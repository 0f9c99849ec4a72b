"""How unsure a head is of a galaxy."""

import numpy as np
from numpy.typing import NDArray


def margin(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Margin uncertainty u = 1 - (p1 - p2) of the two most probable classes (Scheffer et al. 2001).

    Parameters
    ----------
    probabilities : ndarray (N, C), C >= 2

    Returns
    -------
    ndarray (N,) in [0, 1]; 1 where the two best classes tie.
    """
    best = np.partition(probabilities, -2, axis=1)[:, -2:]
    return np.asarray(1.0 - (best[:, 1] - best[:, 0]))
