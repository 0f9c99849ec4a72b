"""How well parameters are measured: against the truth, and whether their errors hold."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lvm_training.parameters.parameter import PARAMETERS, difference

OUTLIER = 3.0  # errors from which on a number is an outlier

Array = NDArray[np.float64]


def parameter_metrics(truth: Array, values: Array, errors: Array | None, names: Sequence[str]) -> dict[str, float]:
    """Measures of each parameter over the galaxies (N, P) where truth and value are known, by `<name>_<measure>`.

    `measured`, the share of known galaxies that got a number; `rmse`, `bias` (mean difference) and `scatter` (1.4826
    median absolute deviations) in the parameter's unit; where there are errors `outliers`, the share that is off by
    more than three of them, and `coverage`, the share within one, which should be .68. Without errors `outliers` is
    the share off by more than five times the scatter.
    """
    found: dict[str, float] = {}
    for place, name in enumerate(names):
        known = np.isfinite(truth[:, place])
        both = known & np.isfinite(values[:, place])
        off = difference(PARAMETERS[name], values[both, place], truth[both, place])
        told = {"measured": float(both.sum() / max(known.sum(), 1))}
        if len(off):
            told |= _measures(off, None if errors is None else errors[both, place])
        found |= {f"{name}_{measure}": value for measure, value in told.items()}
    return found


def _measures(off: Array, errors: Array | None) -> dict[str, float]:
    scatter = 1.4826 * float(np.median(np.abs(off - np.median(off))))
    told = {"rmse": float(np.sqrt(np.mean(off**2))), "bias": float(off.mean()), "scatter": scatter}
    if errors is None:
        return told | {"outliers": float((np.abs(off) > 5 * scatter).mean())}
    size = np.abs(off)
    return told | {"outliers": float((size > OUTLIER * errors).mean()), "coverage": float((size <= errors).mean())}
