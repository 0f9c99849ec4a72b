"""Grades of strong lenses, and what a graded annotation teaches a detector.

A is certain, B probable, C possible, as lens searches grade their candidates (Huang et al. 2020, arXiv:1906.00970,
section 4.2).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from backend_ml.annotator_view import DISPLAY_SIZE
from backend_ml.object_regions import ObjectControls, ReadObjects, read_objects
from backend_ml.regions import chosen

ARC, DEFLECTOR = "arc", "deflector"
LENSES = ("A", "B")
DOUBTFUL = "C"
NOT_A_LENS = "not a lens"
LEAST_SCORES = (("A", 0.9), ("B", 0.7), ("C", 0.5))


def graded(score: float) -> str:
    """The grade that the best arc's score in [0, 1] suggests."""
    return next((grade for grade, least in LEAST_SCORES if score >= least), NOT_A_LENS)


def taught(result: Sequence[Mapping[str, Any]], controls: ObjectControls, *, side: int) -> ReadObjects | None:
    """What an annotation teaches on a picture of `side` x `side` pixels; None if nothing can be learned from it.

    A picture graded "not a lens" has no arc and no deflector, whatever boxes were left on it. One graded C teaches
    nothing, for nobody knows what it shows; neither does one graded A or B on which no arc was drawn. Without a grade
    what was drawn counts.
    """
    grade = chosen(result)
    read = read_objects(result, controls, width=side, height=side, shown=(DISPLAY_SIZE, DISPLAY_SIZE))
    if grade == NOT_A_LENS:
        kept = np.array([name not in (ARC, DEFLECTOR) for name in read.instances.classes], dtype=bool)
        return ReadObjects(read.instances.rows(kept), read.drawn[kept], read.notes)
    if grade == DOUBTFUL or (grade in LENSES and ARC not in read.instances.classes):
        return None
    return read
