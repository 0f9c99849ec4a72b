"""The audit-slice gate: a candidate head is held back only if it is clearly worse."""

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

FEWEST_AUDIT_LABELS = 30
BOOTSTRAPS = 1000

Right = NDArray[np.bool_] | NDArray[np.float64]


@dataclass(frozen=True)
class Verdict:
    """What the gate found.

    Attributes
    ----------
    passed : bool
        Whether the candidate may be promoted.
    audit_labels : int
        How many blind labels it was judged on; below 30 it always passes.
    difference : float or None
        Accuracy of the candidate minus accuracy of the parent; None below 30 labels.
    standard_error : float or None
        Of that difference, by paired bootstrap.
    """

    passed: bool
    audit_labels: int
    difference: float | None = None
    standard_error: float | None = None

    def as_metrics(self) -> dict[str, float | int | bool | None]:
        """The verdict as JSON values."""
        return asdict(self)


def judge(parent: Right, candidate: Right, *, seed: int) -> Verdict:
    """Compare two heads on the same audit labels.

    The candidate is held back if its accuracy falls short of the parent's by more than one standard error of the
    paired bootstrap (Efron & Tibshirani 1993, ch. 6: the galaxies are resampled, not the heads).

    Parameters
    ----------
    parent, candidate : ndarray (N,)
        Whether each head got each audit galaxy right, or how far, 0 to 1; in the same order.
    seed : int
        Of the bootstrap.
    """
    n = len(candidate)
    if n < FEWEST_AUDIT_LABELS:
        return Verdict(True, n)
    gain = candidate.astype(float) - parent.astype(float)
    draws = np.random.default_rng(seed).integers(n, size=(BOOTSTRAPS, n))
    error = float(gain[draws].mean(axis=1).std(ddof=1))
    difference = float(gain.mean())
    return Verdict(difference >= -error, n, difference, error)
