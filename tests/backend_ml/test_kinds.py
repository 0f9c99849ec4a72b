"""Kinds of campaigns by their label configs."""

import pytest

from backend_ml.annotator_view import CONFIGS, label_config, object_instruction
from backend_ml.kinds import KINDS, find_kind
from backend_ml.regions import LabelConfigError
from tests.backend_ml.conftest import CLASSES
from tests.backend_ml.lenses import LENSES, OBJECTS


def test_every_label_config_has_a_kind_that_can_answer_it() -> None:
    assert {path.stem for path in CONFIGS.glob("*.xml")} == set(KINDS)
    assert find_kind("morphology").offered(label_config("morphology", None)) == CLASSES
    assert find_kind("lenses").offered(LENSES) == OBJECTS
    assert find_kind("lenses").detects and not find_kind("morphology").detects


@pytest.mark.parametrize(("kind", "other"), [("morphology", "lenses"), ("lenses", "morphology")])
def test_the_objects_of_a_lens_are_no_classes_of_a_galaxy(kind: str, other: str) -> None:
    offered = find_kind(other).offered(label_config(other, None))
    if kind == "lenses":
        with pytest.raises(LabelConfigError, match="RectangleLabels"):
            find_kind(kind).offered(label_config(other, None))
    else:
        assert set(find_kind(kind).offered(label_config(other, None))).isdisjoint(offered)


def test_a_detector_answers_no_other_classes() -> None:
    with pytest.raises(LabelConfigError, match="ring, not ring"):
        label_config("lenses", ["ring", "not ring"])


def test_an_unknown_kind_names_those_there_are() -> None:
    with pytest.raises(LabelConfigError, match="asteroids") as caught:
        label_config("asteroids", None)
    assert "lenses, morphology" in caught.value.hint


def test_the_instruction_explains_every_key_of_the_config() -> None:
    text = object_instruction(LENSES)
    for key, name in [("1", "arc"), ("5", "deflector"), ("6", "galaxy"), ("7", "A"), ("0", "not a lens")]:
        assert f"<b>{key} · {name}</b>" in text
    assert "without an answer on purpose" in text
