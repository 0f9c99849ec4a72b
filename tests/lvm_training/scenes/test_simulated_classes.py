"""Classes of simulated galaxies: every class is drawn, no galaxy has two, and what lies between has none."""

import numpy as np
import pytest

from lvm_training.scenes.simulated_classes import SIMULATED, simulated_labels
from lvm_training.scenes.structure import DISC, EDGE_ON, SMOOTH, draw_structure

GALAXIES = draw_structure(4000, np.random.default_rng(1))


@pytest.mark.parametrize("task", SIMULATED)
def test_each_class_is_drawn_and_no_galaxy_has_two(task: str) -> None:
    labels = simulated_labels(GALAXIES, task)
    assert set(labels) == {"", *SIMULATED[task]}
    assert sum(np.asarray(rule(GALAXIES), int) for rule in SIMULATED[task].values()).max() == 1


def test_classes_are_of_their_kind() -> None:
    labels = simulated_labels(GALAXIES, "morphology5")
    assert set(GALAXIES.kind[labels == "edge_on"]) == {EDGE_ON}
    assert set(GALAXIES.kind[labels == "spiral"]) == {DISC}
    for name, (least, most) in {
        "completely_round_smooth": (0.82, 1.0),
        "in_between_smooth": (0.45, 0.72),
        "cigar_smooth": (0.0, 0.36),
    }.items():
        chosen = labels == name
        assert set(GALAXIES.kind[chosen]) == {SMOOTH}
        assert least <= GALAXIES.axis_ratio[chosen].min() <= GALAXIES.axis_ratio[chosen].max() <= most
        assert not GALAXIES.disturbance[chosen].any()
    assert (GALAXIES.ring[simulated_labels(GALAXIES, "ring") == "1"] > 0.2).all()
