"""Sets of simulated stamps by scikit-learn and by hand: standardised, joined, cut short, saved, and what they teach."""

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from lvm_training.heads.preference import NO, YES
from lvm_training.scenes.simulated_classes import CONCEPTS, Drawn, find_concept
from lvm_training.scenes.structure import Structure, draw_structure
from lvm_training.simulated.simulated_set import SimulatedSet, joined, standardised
from lvm_training.simulated.wanted import wanted_labels, wanted_prior
from lvm_training.simulated.zero_label import zero_label_auc

COUNT, WIDTH = 240, 6
CLASSES = {"spirals": "spiral", "edge on": "edge-on", "round ones": "round"}


def simulated(count: int = COUNT, seed: int = 0) -> SimulatedSet:
    """Galaxies whose features say what kind they are."""
    rng = np.random.default_rng(seed)
    structure = draw_structure(count, rng)
    features = rng.normal(size=(count, WIDTH)).astype(np.float32)
    features[:, 0] += 3 * (structure.kind == 0)
    features[:, 1] += 3 * structure.arms
    features[:, 2] += 4 * (structure.kind == 2)
    return SimulatedSet(features, Drawn(structure, np.zeros(count, bool)), "e" * 12)


def columns(one: SimulatedSet) -> dict[str, NDArray[np.generic]]:
    structure = one.drawn.structure
    return {"features": one.features, "lens": one.drawn.lens} | {
        field.name: getattr(structure, field.name) for field in fields(Structure)
    }


def assert_same(one: SimulatedSet, other: SimulatedSet, rows: slice = slice(None)) -> None:
    for name, values in columns(one).items():
        np.testing.assert_array_equal(columns(other)[name][rows], values, err_msg=name)
        assert columns(other)[name].dtype == values.dtype


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_features_are_standardised_as_scikit_learn_does(dtype: type[np.floating]) -> None:
    features = np.random.default_rng(0).normal(5, [0.5, 1, 3, 20], (100, 4)).astype(dtype)
    found = standardised(features)  # type: ignore[arg-type]
    np.testing.assert_allclose(found, StandardScaler().fit_transform(features.astype(np.float64)), atol=1e-4)
    assert found.dtype == np.float32


@pytest.mark.parametrize(("shift", "factor"), [(1e4, 1.0), (0.0, 1e-6), (-3.0, 250.0)])
def test_standard_features_have_no_zero_and_no_unit(shift: float, factor: float) -> None:
    features = np.random.default_rng(1).normal(size=(80, 5))
    np.testing.assert_allclose(standardised(factor * (features + shift)), standardised(features), atol=1e-5)  # type: ignore[arg-type]


def test_a_feature_that_is_the_same_in_all_stays_zero_and_one_row_is_zero() -> None:
    features = np.random.default_rng(2).normal(size=(30, 3)).astype(np.float32)
    features[:, 1] = 7.25
    found = standardised(features)
    assert (found[:, 1] == 0).all() and np.isfinite(found).all()
    assert (standardised(features[:1]) == 0).all()


@pytest.mark.parametrize("cut", [0, 1, 100, COUNT])
def test_the_first_and_the_rest_joined_are_the_whole(cut: int) -> None:
    whole = simulated()
    rest = SimulatedSet(
        whole.features[cut:],
        Drawn(whole.drawn.structure.rows(np.arange(cut, COUNT)), whole.drawn.lens[cut:]),
        whole.encoder,
    )
    assert len(whole.first(cut)) == cut
    assert_same(joined([whole.first(cut), rest]), whole)
    assert_same(whole.first(cut), whole, slice(cut))
    assert_same(whole.first(COUNT + 5), whole)


def test_what_was_saved_is_read_again_and_what_is_broken_is_none(tmp_path: Path) -> None:
    whole, path = simulated(), tmp_path / "set.safetensors"
    whole.save(path)
    again = SimulatedSet.load(path, whole.encoder)
    assert again is not None
    assert_same(again, whole)
    content = path.read_bytes()
    for broken in (b"", content[:-1], content[: len(content) // 2], b"x" + content[1:]):
        path.write_bytes(broken)
        assert SimulatedSet.load(path, whole.encoder) is None
    assert SimulatedSet.load(tmp_path / "nowhere", whole.encoder) is None


@pytest.mark.parametrize("concept", CONCEPTS)
def test_a_stamp_is_wanted_not_wanted_or_unclear_and_never_two_of_these(concept: str) -> None:
    whole = simulated(600)
    labels, found = wanted_labels(whole.drawn, concept), find_concept(concept)
    shown, near = found.shown(whole.drawn), found.near(whole.drawn)
    for row in range(600):
        assert labels[row] == (YES if shown[row] else "" if near[row] else NO)
    assert not (shown & ~near).any()


def test_labels_do_not_depend_on_the_stamps_beside() -> None:
    whole = simulated()
    labels = whole.labels(CLASSES)
    assert len(set(labels.tolist())) == 4
    for cut in (1, 50):
        np.testing.assert_array_equal(whole.first(cut).labels(CLASSES), labels[:cut])
    renamed = whole.labels({f"{name}!": concepts for name, concepts in CLASSES.items()})
    assert [one.rstrip("!") for one in renamed.tolist()] == labels.tolist()


def test_auc_without_a_label_is_scikit_learns_of_what_the_prior_says() -> None:
    teaching, sky = simulated(), simulated(300, seed=7)
    labels = sky.labels(CLASSES)
    found = zero_label_auc(teaching, CLASSES, sky.standard(), labels)
    assert set(found) == set(CLASSES) and min(found.values()) > 0.85
    prior, known = teaching.prior(CLASSES), labels != ""
    for place, name in enumerate(prior.classes):
        answers = prior.predict(sky.standard()[known])[:, place]
        assert found[name] == pytest.approx(roc_auc_score(labels[known] == name, answers))
    order = np.random.default_rng(0).permutation(300)
    assert zero_label_auc(teaching, CLASSES, sky.standard()[order], labels[order]) == pytest.approx(found)


def test_of_a_class_that_all_or_none_have_there_is_no_auc() -> None:
    teaching = simulated()
    standard, labels = teaching.standard(), teaching.labels(CLASSES)
    for kept in ([], ["spirals"]):
        some = np.where(np.isin(labels, kept), labels, "")
        assert zero_label_auc(teaching, CLASSES, standard, some) == {}
    two = np.where(labels == "edge on", "", labels)
    assert set(zero_label_auc(teaching, CLASSES, standard, two)) == {"spirals", "round ones"}


def test_a_search_for_spirals_finds_arms_on_features_that_it_never_saw() -> None:
    prior, sky = wanted_prior(simulated(), "spiral"), simulated(300, seed=9)
    answers = prior.predict(sky.standard())[:, list(prior.classes).index(YES)]
    labels = wanted_labels(sky.drawn, "spiral")
    assert roc_auc_score(labels[labels != ""] == YES, answers[labels != ""]) > 0.9
