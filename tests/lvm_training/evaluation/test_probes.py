"""Probes and label efficiency against counting by hand."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from lvm_training.errors import LabelError, StampError
from lvm_training.evaluation.probes import (
    Crossing,
    Curve,
    few_shot_curve,
    fixed_test_half,
    label_efficiency,
    labels_to_reach,
    linear_probe,
    nearest_neighbours,
    pixel_pca,
    remembered,
)
from lvm_training.heads.classification import ClassificationHead
from lvm_training.pool.features import FeaturesError

Matrix = NDArray[np.float32]


def clouds(count: int, *, classes: int = 3, width: int = 5, seed: int = 0) -> tuple[Matrix, list[str]]:
    """Overlapping clouds of features, one per class in turn."""
    rng = np.random.default_rng(seed)
    codes = np.arange(count) % classes
    centres = np.random.default_rng(99).normal(size=(classes, width)) * 1.5
    return (centres[codes] + rng.normal(size=(count, width))).astype(np.float32), ["abc"[code] for code in codes]


def counted_auc(truth: Sequence[str], probabilities: NDArray[np.float64], classes: Sequence[str]) -> float:
    """Share of pairs of a class and the rest that are ordered rightly, mean over classes."""
    areas = []
    for code, name in enumerate(classes):
        inside = [p[code] for p, t in zip(probabilities, truth, strict=True) if t == name]
        outside = [p[code] for p, t in zip(probabilities, truth, strict=True) if t != name]
        wins = sum((a > b) + 0.5 * (a == b) for a in inside for b in outside)
        areas.append(wins / (len(inside) * len(outside)))
    return float(np.mean(areas))


def test_the_test_half_is_fixed_for_ever() -> None:
    names = ["spiral.jpg", "ring.jpg", "587722981742084144.jpg", "a.png", "b.png"]
    expected = [int(hashlib.sha256(name.encode()).hexdigest()[:2], 16) % 2 == 1 for name in names]
    assert fixed_test_half(names).tolist() == expected == [True, False, True, True, True]
    assert fixed_test_half(["images/" + name for name in names]).tolist() == expected
    assert fixed_test_half([]).dtype == bool
    second = [int(hashlib.sha256(name.encode()).hexdigest()[2:4], 16) % 2 == 1 for name in names]
    assert fixed_test_half(names, byte=1).tolist() == second != expected


def test_the_test_half_is_a_half() -> None:
    half = fixed_test_half([f"{row}.jpg" for row in range(4000)])
    assert half.mean() == pytest.approx(0.5, abs=0.03)


def test_neighbours_by_brute_force() -> None:
    train, labels = clouds(40)
    test, _ = clouds(12, seed=1)
    found = nearest_neighbours(train, labels, test, k=7)
    for row, vector in enumerate(test.astype(np.float64)):
        cosines = [vector @ other / np.linalg.norm(vector) / np.linalg.norm(other) for other in train.astype(float)]
        nearest = sorted(range(len(train)), key=lambda place: -cosines[place])[:7]
        votes = dict.fromkeys("abc", 0.0)
        for place in nearest:
            votes[labels[place]] += 1 / (1 - cosines[place])
        expected = np.array([votes[name] for name in "abc"]) / sum(votes.values())
        np.testing.assert_allclose(found[row], expected, rtol=1e-6)


def test_neighbours_of_fewer_rows_than_asked_for_and_of_itself() -> None:
    train = np.array([[1, 0], [0, 1], [1, 0.1]], dtype=np.float32)
    found = nearest_neighbours(train, ["a", "b", "b"], train, k=15)
    np.testing.assert_allclose(found[:2], [[1, 0], [0, 1]], atol=1e-6)
    assert found.shape == (3, 2)


def test_linear_probe_is_the_campaigns_head() -> None:
    train, labels = clouds(60)
    test, truth = clouds(90, seed=1)
    found = linear_probe(train, labels, test, seed=3)
    np.testing.assert_array_equal(found, ClassificationHead.fit(train, labels, seed=3).predict(test))
    assert counted_auc(truth, found, "abc") > 0.9


@pytest.mark.parametrize("probe", [nearest_neighbours, lambda *parts: linear_probe(*parts, seed=0)])
def test_probes_refuse_what_cannot_be_probed(probe: Callable[..., object]) -> None:
    train, labels = clouds(12)
    broken = train.copy()
    broken[3, 1] = np.nan
    with pytest.raises(FeaturesError, match="training features are not finite"):
        probe(broken, labels, train)
    with pytest.raises(FeaturesError, match="test features are not finite"):
        probe(train, labels, broken)
    with pytest.raises(FeaturesError, match=r"\(12, 5\).*\(12, 4\)"):
        probe(train, labels, train[:, :4])
    with pytest.raises(FeaturesError, match="11 labels"):
        probe(train, labels[1:], train)
    with pytest.raises(LabelError, match="two classes"):
        probe(train, ["a"] * 12, train)


def test_a_curve_is_what_each_fit_gives() -> None:
    features, labels = clouds(150)
    train_rows, test_rows = np.arange(0, 90), np.arange(90, 150)
    seen: list[NDArray[np.int64]] = []
    expected: list[float] = []

    def fit_predict(rows: NDArray[np.int64], names: list[str], tested: NDArray[np.int64]) -> NDArray[np.float64]:
        assert names == [labels[row] for row in rows]
        np.testing.assert_array_equal(tested, test_rows)
        probabilities = nearest_neighbours(features[rows], names, features[tested])
        seen.append(rows)
        expected.append(counted_auc([labels[row] for row in tested], probabilities, "abc"))
        return probabilities

    asked = {"draws": 2, "seed": 4, "fit_predict": fit_predict}
    curve = few_shot_curve(labels, train_rows, test_rows, sizes=(30, 6, 120), **asked)  # type: ignore[arg-type]
    assert (curve.sizes, curve.left_out, curve.auc.shape) == ((6, 30), (120,), (2, 2))
    np.testing.assert_allclose(curve.auc.ravel(), expected)
    np.testing.assert_allclose(curve.mean, curve.auc.mean(axis=0))
    np.testing.assert_allclose(curve.spread, np.abs(curve.auc[0] - curve.auc[1]) / np.sqrt(2))
    for small, large in ((seen[0], seen[1]), (seen[2], seen[3])):
        assert set(small) < set(large) <= set(train_rows)
        for rows, each in ((small, 2), (large, 10)):
            assert [labels[row] for row in rows] == ["a"] * each + ["b"] * each + ["c"] * each
            assert len(set(rows)) == len(rows)
    assert set(seen[0]) != set(seen[2])

    again = few_shot_curve(labels, train_rows, test_rows, sizes=(30,), **asked)  # type: ignore[arg-type]
    np.testing.assert_array_equal(seen[4], seen[1])
    np.testing.assert_array_equal(again.auc[:, 0], curve.auc[:, 1])


def test_labels_as_they_come_may_lack_a_class() -> None:
    features, labels = clouds(60)
    labels = ["c" if row == 40 else "a" if label == "c" else label for row, label in enumerate(labels)]
    train_rows, test_rows = np.arange(20, 60), np.array([*range(20), 41])
    labels[41] = "c"
    train_rows = train_rows[train_rows != 41]
    drawn: dict[int, list[list[str]]] = {0: [], 1: [], 6: [], 39: []}

    def fit_predict(rows: NDArray[np.int64], names: list[str], tested: NDArray[np.int64]) -> NDArray[np.float64]:
        drawn[len(rows)].append(names)
        assert names == [labels[row] for row in rows]
        if len(set(names)) < 2:
            return np.eye(3)[["abc".index(labels[row]) for row in tested]]  # what needs no label answers for all
        return nearest_neighbours(features[rows], names, features[tested])

    asked = {"draws": 3, "seed": 1, "fit_predict": fit_predict, "balanced": False}
    curve = few_shot_curve(labels, train_rows, test_rows, sizes=(0, 1, 6, 39, 90), **asked)  # type: ignore[arg-type]
    assert (curve.sizes, curve.left_out) == ((0, 1, 6, 39), (90,))
    # nothing is known of any class with no label or one
    np.testing.assert_allclose(curve.auc[:, :2], 0.5)
    assert not drawn[0] and not drawn[1] and len(drawn[6]) == 3
    knowing = few_shot_curve(labels, train_rows, test_rows, sizes=(0, 1), needed=0, **asked)  # type: ignore[arg-type]
    np.testing.assert_allclose(knowing.auc, 1)
    assert drawn[0] == [[]] * 3 and [len(names) for names in drawn[1]] == [1] * 3
    truth = [labels[row] for row in test_rows]
    for draw in range(3):
        rows = np.random.default_rng((1, draw)).permutation(train_rows)[:6]
        found = nearest_neighbours(features[rows], [labels[row] for row in rows], features[test_rows])
        missing = np.zeros((len(truth), 3 - found.shape[1]))
        assert curve.auc[draw, 2] == pytest.approx(counted_auc(truth, np.hstack([found, missing]), "abc"))
    assert {len(set(names)) for names in drawn[6]} == {2, 3}


def test_a_remembered_fit_is_asked_once_for_the_same_labels(tmp_path: Path) -> None:
    features, labels = clouds(40)
    asked: list[int] = []

    def fit_predict(rows: NDArray[np.int64], names: list[str], tested: NDArray[np.int64]) -> NDArray[np.float64]:
        asked.append(len(rows))
        return nearest_neighbours(features[rows], names, features[tested])

    train, test = np.arange(12), np.arange(12, 40)
    first = remembered(fit_predict, tmp_path / "kept")(train, labels[:12], test)
    again = remembered(fit_predict, tmp_path / "kept")
    np.testing.assert_array_equal(again(train, labels[:12], test), first)
    assert asked == [12]
    again(train, labels[1:13], test)
    again(train[::-1], labels[:12], test)
    again(train, labels[:12], test[:-1])
    assert asked == [12] * 4


def test_one_draw_has_no_spread() -> None:
    assert Curve((2, 4), np.array([[0.5, 0.75]])).spread.tolist() == [0, 0]


def test_curves_refuse_bad_labels() -> None:
    features, labels = clouds(30)
    train, test = np.arange(20), np.arange(20, 30)

    def probed(rows: NDArray[np.int64], names: list[str], tested: NDArray[np.int64]) -> NDArray[np.float64]:
        return linear_probe(features[rows], names, features[tested], seed=0)

    def curve(
        names: Sequence[str] = labels,
        train: NDArray[np.int64] = train,
        test: NDArray[np.int64] = test,
        size: int = 6,
        fit_predict: object = probed,
    ) -> Curve:
        return few_shot_curve(names, train, test, sizes=[size], draws=1, seed=0, fit_predict=fit_predict)  # type: ignore[arg-type]

    with pytest.raises(LabelError, match="1 to train on"):
        curve(["a"] * 20 + labels[20:])
    with pytest.raises(LabelError, match="1 to test on"):
        curve(labels[:20] + ["a"] * 10)
    with pytest.raises(LabelError, match="without a training row: z"):
        curve([*labels[:29], "z"])
    with pytest.raises(LabelError, match="1 rows are both trained and tested on, first row 19"):
        curve(test=np.arange(19, 30))
    with pytest.raises(LabelError, match="7 labels cannot be shared evenly by 3"):
        curve(size=7)
    with pytest.raises(LabelError, match="rarest of 3 classes has 6 training rows"):
        curve(size=21)
    with pytest.raises(FeaturesError, match=r"shape \(10, 3\); it gave \(10, 2\)"):
        curve(fit_predict=lambda *_: np.full((10, 2), 0.5))
    with pytest.raises(FeaturesError, match="finite"):
        curve(fit_predict=lambda *_: np.full((10, 3), np.nan))
    features[:] = np.nan
    with pytest.raises(FeaturesError, match="not finite"):
        curve()


def test_crossing_by_hand() -> None:
    curve = Curve((10, 100, 1000), np.array([[0.5, 0.8, 0.9], [0.7, 0.8, 1.0]]))
    # half way from .8 at 10^2 to .95 at 10^3, and a third of the way from .6 at 10 to .8 at 100
    for auc, expected in ((0.875, 10**2.5), (0.6 + 0.2 / 3, 10 ** (1 + 1 / 3))):
        found = labels_to_reach(curve, auc)
        assert found.value == pytest.approx(expected)
        assert (found.n_max, found.at_most) == (1000, False)
    assert labels_to_reach(curve, 0.96) == Crossing(None, 1000)
    assert labels_to_reach(curve, 0.55) == Crossing(10.0, 1000, at_most=True)
    from_none = Curve((0, 10, 100), np.array([[0.8, 0.88, 0.96]]))
    assert labels_to_reach(from_none, 0.8) == Crossing(0.0, 100)
    assert labels_to_reach(from_none, 0.82).value == pytest.approx(2.5)
    assert labels_to_reach(from_none, 0.92).value == pytest.approx(10**1.5)
    assert label_efficiency(Crossing(100.0, 200), Crossing(0.0, 100)) == "no label"


def test_the_first_of_several_crossings_counts() -> None:
    curve = Curve((10, 20, 40, 80), np.array([[0.8, 0.95, 0.85, 0.95]]))
    found = labels_to_reach(curve, 0.9).value
    assert found == pytest.approx(10 * 2 ** (2 / 3))


@given(st.lists(st.integers(500, 1000), min_size=2, max_size=6), st.integers(501, 999))
def test_a_crossing_lies_where_the_curve_rises_through_the_level(areas: list[int], level: int) -> None:
    sizes, mean = tuple(10 * 2**step for step in range(len(areas))), np.array(areas) / 1000
    crossing = labels_to_reach(Curve(sizes, mean[None]), level / 1000)
    if crossing.value is None:
        assert max(areas) < level
    elif not crossing.at_most:
        assert np.interp(np.log(crossing.value), np.log(sizes), mean) == pytest.approx(level / 1000)
        assert all(area < level for area, size in zip(areas, sizes, strict=True) if size < crossing.value * (1 - 1e-9))


@pytest.mark.parametrize(
    ("baseline", "ours", "expected"),
    [
        (Crossing(2100.0, 3000), Crossing(42.0, 600), "50.0"),
        (Crossing(None, 1800), Crossing(42.0, 600), "> 42.9"),
        (Crossing(2100.0, 3000), Crossing(20.0, 600, at_most=True), "> 105.0"),
        (Crossing(20.0, 3000, at_most=True), Crossing(40.0, 600), "< 0.5"),
        (Crossing(20.0, 3000, at_most=True), Crossing(20.0, 600, at_most=True), "unknown"),
        (Crossing(2100.0, 3000), Crossing(None, 600), "not reached"),
        (Crossing(None, 3000), Crossing(None, 600), "not reached"),
    ],
)
def test_label_efficiency(baseline: Crossing, ours: Crossing, expected: str) -> None:
    assert label_efficiency(baseline, ours) == expected


def test_principal_components_are_fitted_on_the_training_rows() -> None:
    images = torch.rand(20, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    rows = np.arange(12)
    found = pixel_pca(images, rows, components=5)
    pixels = images.flatten(1).double().numpy()
    centred = pixels - pixels[rows].mean(axis=0)
    axes = np.linalg.svd(centred[rows])[2][:5]
    np.testing.assert_allclose(np.abs(found), np.abs(centred @ axes.T), atol=1e-4)
    assert found.dtype == np.float32
    changed = images.clone()
    changed[12:] += 1
    np.testing.assert_array_equal(pixel_pca(changed, rows, components=5)[:12], found[:12])
    assert pixel_pca(images, rows).shape == (20, 12)


def test_principal_components_refuse_broken_pictures() -> None:
    images = torch.rand(6, 3, 4, 4)
    with pytest.raises(StampError, match="finite pictures"):
        pixel_pca(images[0], np.arange(3))
    images[2, 0, 1, 1] = torch.nan
    with pytest.raises(StampError, match="finite pictures"):
        pixel_pca(images, np.arange(3))
