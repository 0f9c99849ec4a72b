"""Simulated stamps of the small sky's encoder, in whose features one concept is plain to see."""

from pathlib import Path

import numpy as np

from backend_ml.kinds.simulated import simulated_folder
from lvm_training.scenes.simulated_classes import Drawn, find_concept
from lvm_training.simulated.drawing import BATCH, draw_stamps
from lvm_training.simulated.simulated_set import SimulatedSet, joined, set_path
from lvm_training.stamps.rendering import Rendering
from tests.backend_ml.sky import ENCODER

BATCHES = 4
STAMPS = BATCHES * BATCH


def write_simulated(store: Path, concept: str = "ring", *, like: int = 3, classes: int = 5) -> SimulatedSet:
    """Write a set whose stamps have the features of class `like` of `sky.write_features` where they show a concept."""
    parts = [_part(number, concept, like, classes) for number in range(BATCHES)]
    made = joined(parts)
    made.save(set_path(simulated_folder(store), ENCODER))
    return made


def _part(number: int, concept: str, like: int, classes: int) -> SimulatedSet:
    drawn: Drawn = draw_stamps(number, Rendering(size=8)).drawn
    rng = np.random.default_rng(number)
    others = [one for one in range(classes) if one != like]
    kinds = np.where(find_concept(concept).shown(drawn), like, rng.choice(others, len(drawn.lens)))
    features = np.eye(classes, 16)[kinds] * 4 + rng.normal(scale=0.1, size=(len(kinds), 16))
    return SimulatedSet(features.astype(np.float32), drawn, ENCODER)
