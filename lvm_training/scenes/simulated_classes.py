"""Classes that people give galaxies, of simulated ones: what a head can learn before any person has labelled.

Only clear cases have a class; what lies between them is left out, as people disagree on it.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from lvm_training.scenes.structure import DISC, EDGE_ON, SMOOTH, Structure

Mask = NDArray[np.bool_]
Rules = Mapping[str, Callable[[Structure], Mask]]

NO, YES = "0", "1"


def _shown(s: Structure) -> Mask:
    """Discs whose face is seen."""
    return np.asarray((s.kind == DISC) & (s.axis_ratio > 0.45))


def _disturbed(s: Structure) -> Mask:
    return np.asarray((s.disturbance > 0.2) | (s.tails > 0.12))


def _calm(s: Structure) -> Mask:
    return np.asarray((s.disturbance == 0) & (s.tails == 0) & (s.companion < 0.05))


# by task, then by class
SIMULATED: Mapping[str, Rules] = MappingProxyType(
    {
        "morphology5": {
            "completely_round_smooth": lambda s: (s.kind == SMOOTH) & (s.axis_ratio > 0.82) & _calm(s),
            "in_between_smooth": lambda s: (
                (s.kind == SMOOTH) & (s.axis_ratio > 0.45) & (s.axis_ratio < 0.72) & _calm(s)
            ),
            "cigar_smooth": lambda s: (s.kind == SMOOTH) & (s.axis_ratio < 0.36) & _calm(s),
            "edge_on": lambda s: s.kind == EDGE_ON,
            "spiral": lambda s: _shown(s) & (s.arms > 0.35) & (s.companion < 0.3),
        },
        "ring": {
            NO: lambda s: _shown(s) & (s.ring == 0),
            YES: lambda s: _shown(s) & (s.ring > 0.2),
        },
        "bar": {
            NO: lambda s: _shown(s) & (s.bar == 0),
            YES: lambda s: _shown(s) & (s.bar > 0.12),
        },
        "perturbation": {NO: _calm, YES: _disturbed},
        "merger": {
            NO: lambda s: _calm(s) & (s.companion == 0),
            YES: lambda s: (s.companion > 0.25) & (s.companion_distance < 2.5 * s.radius) & _disturbed(s),
        },
    }
)


def simulated_labels(structure: Structure, task: str) -> NDArray[np.str_]:
    """Classes (N,) of simulated galaxies in a task, empty where none is clear."""
    labels = np.full(len(structure), "", dtype="U32")
    for name, rule in SIMULATED[task].items():
        labels[rule(structure)] = name
    return labels
