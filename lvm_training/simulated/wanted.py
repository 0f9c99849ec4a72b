"""Searches that begin without an example: what simulated stamps say of one concept, and how well that was on real ones.

The measurements are a table in `measured.json`, which `benchmarks/bench_like_simulated.py` writes.
"""

import json
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from lvm_training.heads.preference import NO, YES
from lvm_training.heads.prior import Prior
from lvm_training.scenes.simulated_classes import Drawn, find_concept
from lvm_training.simulated.drawing import POPULATION
from lvm_training.simulated.simulated_set import SimulatedSet

TABLE = "measured.json"


class Measured(BaseModel):
    """How well simulated stamps alone told a concept on real pictures.

    Attributes
    ----------
    auc : float
    pictures, wanted : int
        Real pictures that people labelled, and those of them that show the concept.
    source : str
        The set they are of.
    population : int
        What was drawn, `drawing.POPULATION`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    auc: float
    pictures: int
    wanted: int
    source: str
    population: int

    @property
    def words(self) -> str:
        """The measurement for people."""
        return f"AUC {f'{self.auc:.2f}'.removeprefix('0')} on {self.pictures:,} real pictures"


UNMEASURED = "not measured on real pictures with this encoder"


def wanted_labels(drawn: Drawn, concept: str) -> NDArray[np.str_]:
    """Yes and no (N,) to whether stamps show a concept; empty where it is not clear.

    All that nobody would call so is a no, of whatever kind: a search looks through a whole pool.

    Raises
    ------
    ConceptError
        If the simulator draws nothing of that name.
    """
    found = find_concept(concept)
    shown = found.shown(drawn)
    return np.select([shown, ~found.near(drawn)], [YES, NO], "")


def wanted_prior(simulated: SimulatedSet, concept: str) -> Prior:
    """Log-odds of no and yes, on features standardised by their own stamp set.

    Raises
    ------
    ConceptError
        As `wanted_labels`.
    LabelError
        If too few stamps were drawn to hold both.
    """
    return Prior.fit(simulated.standard(), [str(label) for label in wanted_labels(simulated.drawn, concept)])


def measured(weights: str) -> Mapping[str, Measured]:
    """What was measured for an encoder, by concept; nothing of what is no longer drawn.

    Parameters
    ----------
    weights : str
        What the card of its checkpoint calls `encoder`.
    """
    known = _table().get(weights, {})
    return {concept: one for concept, one in known.items() if one.population == POPULATION}


def measured_words(weights: str, concept: str) -> str:
    """Whether a search for a concept can begin with what simulated stamps say, for people."""
    known = measured(weights).get(concept)
    return UNMEASURED if known is None else known.words


@lru_cache(maxsize=1)
def _table() -> dict[str, dict[str, Measured]]:
    table = json.loads(files("lvm_training.simulated").joinpath(TABLE).read_text(encoding="utf-8"))
    return {
        weights: {concept: Measured.model_validate(one) for concept, one in concepts.items()}
        for weights, concepts in table.items()
    }
