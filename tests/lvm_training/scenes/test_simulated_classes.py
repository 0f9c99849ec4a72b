"""Concepts of simulated galaxies: each is drawn, no galaxy has two classes, and mappings that cannot be are refused."""

import numpy as np
import pytest

from lvm_training.scenes.realistic import draw_realistic
from lvm_training.scenes.simulated_classes import (
    CONCEPTS,
    NOT,
    SIMULATED,
    UNKNOWN,
    ConceptError,
    Drawn,
    check_classes,
    concept_names,
    of_concept,
    simulated_labels,
    split_concepts,
)
from lvm_training.scenes.structure import DISC, EDGE_ON, SMOOTH, Structure

GALAXIES = draw_realistic(4000, np.random.default_rng(1), field=25)
DRAWN = Drawn(GALAXIES, np.arange(4000) % 40 == 0)


def lens_scene() -> Drawn:
    """A galaxy nothing is known of but that it lenses."""
    columns = {name: np.full(1, np.nan, np.float32) for name in vars(GALAXIES)}
    return Drawn(Structure(**{**columns, "kind": np.array([UNKNOWN])}), np.array([True]))


@pytest.mark.parametrize("task", SIMULATED)
def test_each_class_is_drawn_and_no_galaxy_has_two(task: str) -> None:
    assert set(simulated_labels(DRAWN, SIMULATED[task])) - {""} == set(SIMULATED[task])
    assert np.sum([of_concept(DRAWN, name) for name in SIMULATED[task].values()], axis=0).max() == 1


@pytest.mark.parametrize("name", CONCEPTS)
def test_nothing_both_shows_and_lacks_a_concept(name: str) -> None:
    shown, lacking = of_concept(DRAWN, name), of_concept(DRAWN, NOT + name)
    assert shown.any() and lacking.any()
    assert not (shown & lacking).any()
    assert not (shown & ~CONCEPTS[name].near(DRAWN)).any(), "what shows it clearly might be called so"


def test_classes_are_of_their_kind() -> None:
    labels = simulated_labels(DRAWN, SIMULATED["morphology5"])
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
    ringed = GALAXIES.rows(np.flatnonzero(of_concept(DRAWN, "ring")))
    assert (
        set(ringed.kind) == {DISC}
        and ringed.ring.min() > 0.08
        and ringed.ring_evenness.min() > 0.3
        and ringed.radius.min() > 2
    )
    assert not ringed.disturbance.any() and not ringed.tails.any() and not ringed.arms.any()
    assert set(GALAXIES.kind[of_concept(DRAWN, "disturbed")]) == {DISC}


@pytest.mark.parametrize("name", ["ring", "bar"])
def test_smooth_and_disturbed_galaxies_lack_rings_and_bars_too(name: str) -> None:
    """What people call no ring is mostly no clean disc: with discs alone half of the irregulars were called rings."""
    lacking = of_concept(DRAWN, NOT + name)
    assert set(GALAXIES.kind[lacking]) == {SMOOTH, DISC, EDGE_ON}
    assert GALAXIES.disturbance[lacking].any()
    assert not getattr(GALAXIES, name)[lacking].any()


def test_a_lens_scene_is_of_no_other_concept() -> None:
    scene = lens_scene()
    assert [name for name in CONCEPTS if of_concept(scene, name)[0]] == ["lens"]
    assert not any(of_concept(scene, name)[0] for name in ("no-lens", "no-ring", "no-merger", "no-disturbed"))


def test_a_class_of_several_concepts_is_any_of_them() -> None:
    classes = {"smooth": "round, in-between,cigar", "featured": "spiral, ring"}
    labels = simulated_labels(DRAWN, classes)
    smooth = np.any([of_concept(DRAWN, name) for name in ("round", "in-between", "cigar")], axis=0)
    featured = of_concept(DRAWN, "spiral") | of_concept(DRAWN, "ring")
    assert (labels[smooth] == "smooth").all()
    assert (labels[featured] == "featured").all()
    assert (labels[~smooth & ~featured] == "").all()
    assert split_concepts(" round, in-between,cigar ,") == ("round", "in-between", "cigar")


def test_what_is_of_two_classes_is_of_none() -> None:
    labels = simulated_labels(DRAWN, {"arms": "spiral", "barred": "bar"})
    both = of_concept(DRAWN, "spiral") & of_concept(DRAWN, "bar")
    assert both.any()
    assert (labels[both] == "").all()


def test_no_class_labels_nothing() -> None:
    assert set(simulated_labels(DRAWN, {})) == {""}


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        ({"ringed": "rings", "other": "spiral"}, "'ringed' is mapped to 'rings', which the simulator does not draw"),
        ({"a": "ring", "b": "spiral, ring"}, "'ring' is given twice, to the classes 'a' and 'b'"),
        ({"a": "ring, ring", "b": "spiral"}, "'ring' is given twice"),
        ({"a": " , ", "b": "spiral"}, "'a' is mapped to nothing"),
        ({"a": "", "b": "spiral"}, "'a' is mapped to nothing"),
        ({"a": "spiral"}, "Only the class 'a' is mapped"),
        ({"a": "no-rings", "b": "ring"}, "'no-rings', which the simulator does not draw"),
    ],
)
def test_a_mapping_that_cannot_be_is_refused(classes: dict[str, str], words: str) -> None:
    with pytest.raises(ConceptError, match=words) as found:
        check_classes(classes)
    assert found.value.hint


def test_mappings_that_can_be() -> None:
    check_classes({})
    check_classes({name: name for name in concept_names()})
    for classes in SIMULATED.values():
        check_classes(classes)
        drawn = set(classes) - {name for name, concepts in classes.items() if "lens" in concepts}
        assert set(simulated_labels(DRAWN, classes)) >= drawn, "a class that nothing teaches"


def test_an_unknown_concept_is_named_with_those_there_are() -> None:
    with pytest.raises(ConceptError, match="draws no 'halo'") as found:
        of_concept(DRAWN, "no-halo")
    assert all(name in found.value.hint for name in CONCEPTS)
