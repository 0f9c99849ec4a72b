"""Grades: what a score suggests, and what a graded annotation teaches."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from backend_ml.kinds.answers import ObjectAnswers
from backend_ml.kinds.models import Stamp
from backend_ml.label_studio.regions.objects import ReadObjects, find_object_controls
from backend_ml.networks.detectors import Drawn
from backend_ml.plugins.lenses import Lenses
from lvm_training.objects.instances import Instances
from tests.backend_ml.lenses import LENSES, annotation, one_arc
from tests.lvm_training.detection.detection_pictures import SIDE

CONTROLS = find_object_controls(LENSES)


@pytest.mark.parametrize(
    ("score", "grade"),
    [(1.0, "A"), (0.9, "A"), (0.89, "B"), (0.7, "B"), (0.5, "C"), (0.49, None), (0.0, None)],
)
def test_the_grade_that_a_score_suggests(score: float, grade: str | None) -> None:
    assert Lenses().graded(score) == grade
    assert CONTROLS.grade is not None and grade in (None, *CONTROLS.grade.choices)


@pytest.mark.parametrize("grade", ["A", "B", None])
def test_objects_drawn_on_a_lens_are_learned(grade: str | None) -> None:
    read = Lenses().taught(annotation(one_arc(), grade), CONTROLS, side=SIDE)
    assert read is not None
    assert read.instances.classes == ("arc", "deflector")
    assert (read.instances.masks == one_arc().masks).all()
    assert read.drawn.all() and read.notes == ()


def test_no_lens_overrules_the_arcs_left_on_it() -> None:
    galaxy = Instances.of_masks(("galaxy",), one_arc().masks[1:])
    regions = annotation(one_arc(), None) + annotation(galaxy, "not a lens")
    read = Lenses().taught(regions, CONTROLS, side=SIDE)
    assert read is not None
    assert read.instances.classes == ("galaxy",)
    assert (read.instances.masks == galaxy.masks).all() and len(read.drawn) == 1


def test_the_grade_is_found_among_answers_to_other_questions() -> None:
    other = {"type": "choices", "from_name": "colour", "to_name": "image", "value": {"choices": ["blue"]}}
    read = Lenses().taught([other, *annotation(one_arc(), "not a lens"), other], CONTROLS, side=SIDE)
    assert read is not None and len(read.instances) == 0
    assert Lenses().taught([other, *annotation(one_arc(), "C")], CONTROLS, side=SIDE) is None


@pytest.mark.parametrize("grade", ["A", "B", "C"])
def test_a_lens_without_an_arc_and_a_doubtful_one_teach_nothing(grade: str) -> None:
    assert Lenses().taught(annotation(None, grade), CONTROLS, side=SIDE) is None
    assert Lenses().taught(annotation(one_arc(), "C"), CONTROLS, side=SIDE) is None


def test_an_empty_picture_without_a_lens_teaches_that() -> None:
    read = Lenses().taught(annotation(None, "not a lens"), CONTROLS, side=SIDE)
    assert read is not None and len(read.instances) == 0


class Finding:
    """A detector that finds what a test says."""

    looked_for = "arc"

    def __init__(self, found: list[Instances]) -> None:
        self._found = found

    def answer(self, stamps: Sequence[Stamp]) -> ObjectAnswers:
        return ObjectAnswers(self._found, self.looked_for, lambda score: None)


def drawn(objects: Instances, stamp: int) -> Drawn:
    return Drawn(("sky", stamp), ReadObjects(objects, np.ones(len(objects), dtype=bool), ()))


def test_an_evaluation_has_precision_and_completeness() -> None:
    """Twelve pictures with an arc, found with scores of 0.1 to 0.9, and twenty without, three of which get one."""
    nobody = one_arc().rows(np.zeros(2, dtype=bool))
    scores, false = [0.1 + 0.8 * i / 11 for i in range(12)], [0.35, 0.65, 0.75]
    found = [replace(one_arc(), scores=np.full(2, score)) for score in scores] + [nobody] * 17
    found += [replace(one_arc(), scores=np.full(2, score)) for score in false]
    labels = tuple(drawn(one_arc() if i < 12 else nobody, i) for i in range(32))
    told = Lenses().evaluate(Finding(found), labels)  # type: ignore[arg-type]
    assert told.classes == ("no arc", "arc") and Counter(told.said) == {"no arc": 20, "arc": 12}
    seen = [score >= 0.5 for score in [*scores, *[0.0] * 17, *false]]
    assert [one == "arc" for one in told.answered] == seen
    assert told.probabilities is not None and told.probabilities[:12, 1].tolist() == pytest.approx(scores)
    assert told.right.tolist() == [one == (i < 12) for i, one in enumerate(seen)]
    measures = {(one.of, one.name): one for one in told.measures}
    complete = measures["arc", "completeness at a false-positive rate of 0.1"]
    # two of twenty may score more than what counts as found: the third of them is the threshold
    assert complete.value == pytest.approx(np.mean([score > 0.35 for score in scores])) and complete.n == 12
    assert not [one for one in told.measures if one.name.endswith("0.01")], "twenty negatives do not resolve that"
    assert measures["arc", "AP, overlap 0.50"].value == pytest.approx(naive_precision(scores, false))
    assert measures["deflector", "AP, overlap 0.50"].n == 12


def naive_precision(right: list[float], false: list[float]) -> float:
    """COCO's: the mean over 101 recalls of the best precision at that recall or above."""
    course = []
    for least in sorted([*right, *false]):
        hits = sum(one >= least for one in right)
        course.append((hits / len(right), hits / (hits + sum(one >= least for one in false))))
    return float(np.mean([max(p for r, p in course if r >= recall - 1e-9) for recall in np.linspace(0, 1, 101)]))


def test_an_evaluation_without_a_drawn_object_has_no_precision() -> None:
    nobody = one_arc().rows(np.zeros(2, dtype=bool))
    told = Lenses().evaluate(Finding([one_arc()]), (drawn(nobody, 0),))  # type: ignore[arg-type]
    assert list(told.measures) == [] and told.right.tolist() == [0] and told.answered == ("arc",)
