"""Grades: what a score suggests, and what a graded annotation teaches."""

import pytest

from backend_ml.kinds.lenses import Lenses
from backend_ml.label_studio.objects import find_object_controls
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
