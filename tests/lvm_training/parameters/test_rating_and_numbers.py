"""Ratings by scikit-learn's ridge, tables of numbers, and heads that learn from what people typed."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge

from lvm_training.errors import LabelError
from lvm_training.parameters.head import Measured, ParameterHead
from lvm_training.parameters.measure import leave_out_sizes, split_features
from lvm_training.parameters.number_table import NumberTable
from lvm_training.parameters.parameter import PARAMETERS
from lvm_training.parameters.rating import FEWEST, RatingHead
from lvm_training.parameters.ridge import PENALTIES, fit_members, principal_axes
from tests.lvm_training.parameters.linear_sky import Sky

NAMES = tuple(PARAMETERS)
Features = NDArray[np.float32]


def rated(count: int = 60, width: int = 8, seed: int = 0) -> tuple[Features, NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    features = rng.normal(3, 2, (count, width)).astype(np.float32)
    return features, (2.5 + 0.4 * (features[:, 0] - 3) + 0.1 * rng.normal(size=count)).clip(0, 5)


def fitted(features: Features, stars: NDArray[np.float64], seed: int = 0) -> RatingHead:
    return RatingHead.fit(features, stars.tolist(), name="interest", most=5, seed=seed)


def test_members_are_ridge_regressions_of_scikit_learn() -> None:
    features, stars = rated(80)
    standard = (features - features.mean(0)).astype(np.float64)
    (found,) = fit_members(standard, stars[:, None], seed=4, members=3)
    draws = np.random.default_rng(4)
    for member in range(3):
        rows = draws.integers(80, size=80)
        fits = [Ridge(alpha=penalty).fit(standard[rows], stars[rows]) for penalty in PENALTIES]
        assert any(
            np.allclose(found.weights[member], one.coef_) and np.isclose(found.bias[member], one.intercept_)
            for one in fits
        )


def test_another_zero_and_unit_of_the_target_change_answers_alike() -> None:
    features, stars = rated()
    (one,), (other,) = (
        fit_members(features.astype(np.float64), target[:, None], seed=2, members=4)
        for target in (stars, 7 - 3 * stars)
    )
    np.testing.assert_allclose(other.weights, -3 * one.weights, atol=1e-9)
    np.testing.assert_allclose(other.held_out, 7 - 3 * one.held_out, atol=1e-9)
    np.testing.assert_allclose(other.variance, 9 * one.variance, atol=1e-9)


@pytest.mark.parametrize("shape", [(200, 12), (12, 40), (7, 7)])
def test_axes_are_the_principal_ones(shape: tuple[int, int]) -> None:
    matrix = np.random.default_rng(1).normal(size=shape) * np.linspace(3, 0.2, shape[1])
    centred = matrix - matrix.mean(0)
    axes = principal_axes(centred)
    np.testing.assert_allclose(axes.T @ axes, np.eye(axes.shape[1]), atol=1e-9)
    kept = min(shape[1], shape[0] - 1)
    found = (centred @ axes).var(axis=0, ddof=1)[:kept]
    np.testing.assert_allclose(found, PCA().fit(centred).explained_variance_[:kept], atol=1e-9)


def test_a_rating_is_predicted_within_its_stars_and_near_the_truth() -> None:
    features, stars = rated(300)
    head = fitted(features[:200], stars[:200])
    assert np.abs(head.predict(features[200:]) - stars[200:]).mean() < 0.2
    assert 0.05 < float(head.error[0]) < 0.3
    far = head.predict(50 * (features - 3))
    assert far.min() == 0 and far.max() == 5


@pytest.mark.parametrize(("shift", "factor"), [(100.0, 1.0), (-5.0, 1e-3), (0.0, 1e4)])
def test_features_may_have_any_zero_and_unit(shift: float, factor: float) -> None:
    features, stars = rated()
    other = (factor * (features + np.float32(shift))).astype(np.float32)
    found = fitted(other, stars).predict(other)
    np.testing.assert_allclose(found, fitted(features, stars).predict(features), atol=5e-3)


def test_a_feature_that_says_nothing_changes_nothing() -> None:
    features, stars = rated()
    more = np.concatenate([features, np.full((len(features), 2), 7, np.float32)], axis=1)
    found = fitted(more, stars)
    np.testing.assert_allclose(found.predict(more), fitted(features, stars).predict(features), atol=1e-5)
    assert np.isfinite(found.predict(more + 1)).all()


@pytest.mark.parametrize("stars", [0.0, 3.0, 5.0])
def test_people_who_all_gave_one_rating_are_believed(stars: float) -> None:
    features, _ = rated(20)
    head = fitted(features, np.full(20, stars))
    np.testing.assert_allclose(head.predict(features), stars, atol=1e-6)
    assert float(head.error[0]) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("ratings", "message"),
    [
        ([3.0] * (FEWEST - 1), "teach nothing"),
        ([3.0] * 19 + [5.1], "outside 0 to 5"),
        ([3.0] * 19 + [-1.0], "outside 0 to 5"),
        ([3.0] * 19 + [np.nan], "outside 0 to 5"),
    ],
)
def test_ratings_that_cannot_be_are_refused(ratings: list[float], message: str) -> None:
    features, _ = rated(len(ratings))
    with pytest.raises(LabelError, match=message):
        RatingHead.fit(features, ratings, name="interest", most=5, seed=0)


@pytest.mark.parametrize(
    ("name", "typed"),
    [("half_light_radius", 0.0), ("sersic", -1.0), ("redshift", -1.0), ("mag_r", -99.0), ("axis_ratio", 9.0)],
)
def test_a_number_that_its_parameter_cannot_be_teaches_nothing(name: str, typed: float) -> None:
    sky, place = Sky(160), NAMES.index(name)
    missing, wrong = sky.truth.copy(), sky.truth.copy()
    missing[7, place], wrong[7, place] = np.nan, typed
    heads = [
        ParameterHead.fit(sky.features, truth, names=NAMES, seed=1, oriented=sky.oriented) for truth in (missing, wrong)
    ]
    assert heads[0].save() == heads[1].save()


@pytest.mark.parametrize(("shift", "factor"), [(50.0, 1.0), (0.0, 1e3), (-2.0, 1e-2)])
def test_parameters_do_not_depend_on_zero_and_unit_of_features(shift: float, factor: float) -> None:
    sky = Sky(200)
    other = (factor * (sky.features + np.float32(shift))).astype(np.float32)
    one, two = (
        ParameterHead.fit(each, sky.truth, names=NAMES, seed=1, oriented=sky.oriented).predict(each, sky.oriented)
        for each in (sky.features, other)
    )
    np.testing.assert_allclose(one.values, two.values, rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(one.errors, two.errors, rtol=2e-2, atol=2e-3)


def test_a_galaxy_is_measured_the_same_alone_and_among_others() -> None:
    sky = Sky(150)
    head = sky.fit()
    whole = head.predict(sky.features, sky.oriented)
    for row in (0, 77, 149):
        one = head.predict(sky.features[[row]], sky.oriented[[row]])
        np.testing.assert_allclose(one.values[0], whole.values[row])
        np.testing.assert_allclose(one.errors[0], whole.errors[row])
    none = head.predict(sky.features[:0], sky.oriented[:0])
    assert none.values.shape == none.errors.shape == (0, len(NAMES))


def test_sizes_are_left_out_of_some_galaxies_alone() -> None:
    measured = Measured(np.ones((4, 6)), np.ones((4, 6)))
    leave_out_sizes(measured, NAMES, [1, 3])
    lacking = np.zeros((4, 6), dtype=bool)
    lacking[[1, 3], NAMES.index("half_light_radius")] = True
    assert np.array_equal(np.isnan(measured.values), lacking) and np.array_equal(np.isnan(measured.errors), lacking)
    leave_out_sizes(measured, ("mag_r", "sersic"))
    assert np.array_equal(np.isnan(measured.values), lacking)


def test_features_are_split_into_those_that_stay_and_those_that_turn() -> None:
    features = np.arange(24, dtype=np.float64).reshape(2, 12)
    plain, oriented = split_features(features)
    assert np.array_equal(plain, features[:, :4]) and plain.dtype == np.float32
    assert np.array_equal(oriented[:, 0], features[:, 4:8]) and np.array_equal(oriented[:, 1], features[:, 8:])


def test_tables_of_numbers_are_joined_by_set_and_row_whatever_comes_first() -> None:
    rows = [("b", 2), ("a", 10), ("a", 9), ("b", 1), ("c", 0)]
    values = np.array([[1.0, np.nan], [2, 3], [np.nan, 4], [5, 6], [7, 8]])
    people = [1, 2, 3, 4, 5]
    whole = dict(zip(rows, zip(values.tolist(), people, strict=True), strict=True))
    one, other = (NumberTable(("x", "y"), rows[part], values[part], people[part]) for part in (slice(3), slice(3, 5)))
    for joined in (one.joined(other), other.joined(one)):
        assert joined.stamps == sorted(rows) and len(joined) == 5
        for stamp, given, person in zip(joined.stamps, joined.values, joined.people, strict=True):
            np.testing.assert_equal((given.tolist(), person), whole[stamp])
        assert joined.rows()[1] == (2.0, 3.0) and joined.rows()[0] == (None, 4.0)
