"""Campaigns of strong lenses: arcs, deflectors, other galaxies, and a grade of each picture.

A is certain, B probable, C possible, as lens searches grade their candidates (Huang et al. 2020, arXiv:1906.00970,
section 4.2).
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from backend_ml.label_studio.regions.choices import chosen
from backend_ml.label_studio.regions.objects import ObjectControls, ReadObjects
from backend_ml.plugins.choices import OURS
from backend_ml.plugins.objects import ObjectKind
from lvm_training.params import FinetuneParams
from lvm_training.paths import RELEASED_DETECTOR

if TYPE_CHECKING:
    from lvm_training.lenses.lens_stamps import LensPopulation

ARC, DEFLECTOR = "arc", "deflector"
LENSES = ("A", "B")
DOUBTFUL = "C"
NOT_A_LENS = "not a lens"
LEAST_SCORES = (("A", 0.9), ("B", 0.7), ("C", 0.5))


class Lenses(ObjectKind):
    """Boxes and masks of what makes a strong lens, and a grade."""

    name = "lenses"
    folder = OURS
    looked_for = ARC
    question = "Is this a strong lens?"
    grades = "Grade of the picture"
    remark = (
        "<p>No grade is filled in where the model found no arc that it trusts: it still misses many, so look yourself."
        " A grade <b>not a lens</b> overrules arcs and deflectors left on the picture; <b>C</b> is kept and teaches"
        " the model nothing.</p>"
    )
    finetuning = FinetuneParams()
    released = RELEASED_DETECTOR
    portraits = MappingProxyType({"A": "lens"})

    def graded(self, score: float) -> str | None:
        """As `ObjectKind.graded`: the grade that the best arc suggests.

        That no arc was found says little: detectors miss most lenses of a kind they have not seen, and one key would
        confirm "not a lens" on each of them.
        """
        return next((grade for grade, least in LEAST_SCORES if score >= least), None)

    def taught(self, result: Sequence[Mapping[str, Any]], controls: ObjectControls, *, side: int) -> ReadObjects | None:
        """As `ObjectKind.taught`.

        A picture graded "not a lens" has no arc and no deflector, whatever boxes were left on it. One graded C teaches
        nothing, for nobody knows what it shows; neither does one graded A or B on which no arc was drawn. Without a
        grade what was drawn counts.
        """
        asked = "" if controls.grade is None else controls.grade.name
        grade, read = chosen(result, asked), super().taught(result, controls, side=side)
        if read is None or grade == DOUBTFUL or (grade in LENSES and ARC not in read.instances.classes):
            return None
        if grade != NOT_A_LENS:
            return read
        kept = np.array([name not in (ARC, DEFLECTOR) for name in read.instances.classes], dtype=bool)
        return ReadObjects(read.instances.rows(kept), read.drawn[kept], read.notes)

    def population(self) -> "LensPopulation":
        """As `ObjectKind.population`: the lenses that the first detector was trained on."""
        from lvm_training.lenses.lens_stamps import LensPopulation

        return LensPopulation()
