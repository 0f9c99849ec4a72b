"""Kinds of campaigns by their label configs."""

import pytest

from backend_ml.kinds.installed import check_kind, find_kind, names
from backend_ml.kinds.kind import KindError
from backend_ml.label_studio.regions.choices import LabelConfigError
from backend_ml.plugins.choices import OURS
from tests.backend_ml.conftest import CLASSES
from tests.backend_ml.lenses import LENSES, OBJECTS


def test_every_label_config_has_a_kind_that_can_answer_it() -> None:
    assert {path.stem for path in OURS.glob("*.xml")} == set(names())
    assert all(check_kind(name).name == name for name in names())
    assert find_kind("morphology").offered(find_kind("morphology").label_config()) == CLASSES
    assert find_kind("lenses").offered(LENSES) == OBJECTS
    assert find_kind("lenses").slow and not find_kind("morphology").slow


@pytest.mark.parametrize(("kind", "other"), [("morphology", "lenses"), ("lenses", "morphology")])
def test_the_objects_of_a_lens_are_no_classes_of_a_galaxy(kind: str, other: str) -> None:
    offered = find_kind(other).offered(find_kind(other).label_config())
    if kind == "lenses":
        with pytest.raises(LabelConfigError, match="RectangleLabels"):
            find_kind(kind).offered(find_kind(other).label_config())
    else:
        assert set(find_kind(kind).offered(find_kind(other).label_config())).isdisjoint(offered)


def test_a_detector_answers_no_other_classes() -> None:
    with pytest.raises(LabelConfigError, match="ring, not ring"):
        find_kind("lenses").label_config(["ring", "not ring"])


def test_an_unknown_kind_names_those_there_are() -> None:
    with pytest.raises(KindError, match="asteroids") as caught:
        find_kind("asteroids")
    assert "lenses, morphology" in caught.value.hint


def test_the_instruction_explains_every_key_of_the_config() -> None:
    text = find_kind("lenses").instruction(LENSES, {})
    for key, name in [("1", "arc"), ("5", "deflector"), ("6", "galaxy"), ("7", "A"), ("0", "not a lens")]:
        assert f"<b>{key} · {name}</b>" in text
    assert "without an answer on purpose" in text
    assert "hold Ctrl while you drag to draw inside a box" in text
    assert "shows the middle of a larger stamp, it says so" in " ".join(text.split())
