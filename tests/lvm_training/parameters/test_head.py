import numpy as np
import pytest
from numpy.typing import NDArray

from lvm_training.errors import CheckpointError, LabelError
from lvm_training.heads.classification import ClassificationHead
from lvm_training.parameters.head import FEWEST, MEMBERS, ParameterHead
from lvm_training.parameters.parameter import PARAMETERS, ParameterError, difference
from lvm_training.parameters.ridge import PENALTIES, fit_members
from tests.lvm_training.parameters.linear_sky import WIDTH, Sky

NAMES = tuple(PARAMETERS)


@pytest.fixture(scope="module")
def sky() -> Sky:
    return Sky(900)


@pytest.fixture(scope="module")
def head(sky: Sky) -> ParameterHead:
    return sky.fit(slice(0, 600))


def off(head: ParameterHead, sky: Sky, rows: slice) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """By how much each value is off, and its error."""
    found = head.predict(sky.features[rows], sky.oriented[rows])
    columns = zip(PARAMETERS.values(), found.values.T, sky.truth[rows].T, strict=True)
    return np.stack([difference(one, value, true) for one, value, true in columns], axis=1), found.errors


def test_it_measures_what_features_tell(sky: Sky, head: ParameterHead) -> None:
    found, _ = off(head, sky, slice(600, 900))
    spread = np.sqrt(np.mean(found**2, axis=0))
    assert spread[0] < 0.13 and spread[3] < 0.05 and spread[5] < 0.005
    assert np.median(np.abs(found[:, 4])) < 1.0


def test_its_errors_cover_the_truth_sixty_eight_times_in_a_hundred(sky: Sky, head: ParameterHead) -> None:
    found, errors = off(head, sky, slice(600, 900))
    covered = (np.abs(found) <= errors).mean(axis=0)
    # three standard deviations of a share of 300, and of the 600 that the errors were scaled on
    assert np.all(np.abs(covered - 0.6827) < 3 * np.sqrt(0.22 / 300 + 0.22 / 600)), covered


def test_angles_half_a_turn_apart_are_one(sky: Sky, head: ParameterHead) -> None:
    place = NAMES.index("position_angle")
    turned = sky.truth.copy()
    turned[:, place] = (turned[:, place] + 180) % 360
    other = ParameterHead.fit(sky.features[:600], turned[:600], names=NAMES, seed=1, oriented=sky.oriented[:600])
    answers = [one.predict(sky.features[600:], sky.oriented[600:]).values[:, place] for one in (head, other)]
    assert np.allclose(difference(PARAMETERS["position_angle"], *answers), 0, atol=1e-3)
    assert answers[0].min() >= 0 and answers[0].max() <= 180


def test_a_round_galaxy_has_no_angle_and_the_error_says_so(sky: Sky, head: ParameterHead) -> None:
    found = head.predict(sky.features[:2], np.zeros((2, 2, WIDTH), np.float32))
    assert np.allclose(found.errors[:, NAMES.index("position_angle")], 0.6827 * 90)


def test_without_oriented_features_nothing_is_said_of_the_angle(sky: Sky, head: ParameterHead) -> None:
    found, place = head.predict(sky.features[:3]), NAMES.index("position_angle")
    assert np.isnan(found.values[:, place]).all() and np.isnan(found.errors[:, place]).all()
    assert np.isfinite(np.delete(found.values, place, axis=1)).all()


def test_values_are_missing_parameter_by_parameter(sky: Sky) -> None:
    truth = sky.truth.copy()
    truth[::2, 0], truth[1::3, 1], truth[:, 2] = np.nan, np.nan, np.nan
    head = ParameterHead.fit(sky.features[:600], truth[:600], names=NAMES, seed=1)
    found = head.predict(sky.features[600:])
    assert np.isnan(found.values[:, 2]).all() and np.isnan(found.errors[:, 2]).all()
    assert np.sqrt(np.mean((found.values[:, 0] - sky.truth[600:, 0]) ** 2)) < 0.15


def test_it_stays_within_what_a_parameter_can_be(sky: Sky, head: ParameterHead) -> None:
    found = head.predict(100 * sky.features[:50], 100 * sky.oriented[:50])
    for values, parameter in zip(found.values.T, PARAMETERS.values(), strict=True):
        assert parameter.inside(values).all()
    assert np.isfinite(found.errors).all()


def test_the_same_values_make_the_same_bytes(sky: Sky, head: ParameterHead) -> None:
    assert head.save() == sky.fit(slice(0, 600)).save()
    again = ParameterHead.load(head.save())
    assert again.classes == NAMES
    one, other = (each.predict(sky.features, sky.oriented) for each in (head, again))
    assert np.array_equal(one.values, other.values) and np.array_equal(one.errors, other.errors)


def test_a_few_numbers_correct_a_head_and_few_more_recalibrate_it(sky: Sky, head: ParameterHead) -> None:
    brighter = Sky(400, seed=5)
    brighter.truth[:, 0] += 1.0
    before = np.abs(off(head, brighter, slice(200, 400))[0][:, 0]).mean()
    few, many = (brighter.fit(slice(0, count), prior=head) for count in (8, 200))
    found, errors = off(many, brighter, slice(200, 400))
    assert np.abs(off(few, brighter, slice(200, 400))[0][:, 0]).mean() < 0.5 * before
    assert np.abs(found[:, 0]).mean() < 0.15
    assert 0.55 < (np.abs(found[:, 0]) <= errors[:, 0]).mean() < 0.8


def test_too_few_corrections_leave_a_head_as_it_was(sky: Sky, head: ParameterHead) -> None:
    same = Sky(4, seed=6).fit(prior=head)
    assert same.save() == head.save()


def test_a_parameter_that_the_head_before_does_not_know_needs_more_values(sky: Sky) -> None:
    before = ParameterHead.fit(sky.features[:300], sky.truth[:300, :1], names=NAMES[:1], seed=1)
    for count, known in ((FEWEST - 1, False), (FEWEST, True)):
        truth = sky.truth[300 : 300 + count, :2]
        head = ParameterHead.fit(sky.features[300 : 300 + count], truth, names=NAMES[:2], seed=1, prior=before)
        assert np.isfinite(head.predict(sky.features[600:]).values).all(axis=0).tolist() == [True, known]


def test_a_head_of_some_parameters_says_of_them_what_the_whole_does(sky: Sky, head: ParameterHead) -> None:
    whole = head.predict(sky.features[:5], sky.oriented[:5])
    some = head.only(("axis_ratio", "position_angle", "mag_r"))
    found = some.predict(sky.features[:5], sky.oriented[:5])
    places = [NAMES.index(name) for name in some.classes]
    assert np.allclose(found.values, whole.values[:, places]) and np.allclose(found.errors, whole.errors[:, places])
    fewer = ParameterHead.fit(sky.features, sky.truth[:, :1], names=NAMES[:1], seed=1).only(("sersic", "mag_r"))
    assert np.isnan(fewer.predict(sky.features[:2]).values).tolist() == [[True, False]] * 2


def test_features_far_from_all_that_were_learned_from_are_unlike_them(sky: Sky, head: ParameterHead) -> None:
    assert head.is_unlike(sky.features[600:]).mean() < 0.02
    assert head.is_unlike(head.mean + 5 * (sky.features[600:] - head.mean)).mean() > 0.9


def test_what_cannot_be_learned_is_said(sky: Sky) -> None:
    with pytest.raises(LabelError, match=r"No parameter has 20 values: mag_r 5, half_light_radius 0"):
        truth = np.full((5, 2), np.nan)
        truth[:, 0] = 17
        ParameterHead.fit(sky.features[:5], truth, names=NAMES[:2], seed=1)
    with pytest.raises(ParameterError, match=r"There is no parameter 'colour'.*mag_r"):
        ParameterHead.fit(sky.features, sky.truth[:, :1], names=("colour",), seed=1)
    with pytest.raises(LabelError, match=r"values of shape \(3, 1\) for 900"):
        ParameterHead.fit(sky.features, sky.truth[:3, :1], names=NAMES[:1], seed=1)
    with pytest.raises(LabelError, match=r"2 of 900 galaxies have features that are not finite, first at row 3") as odd:
        broken = sky.features.copy()
        broken[3, 1], broken[7] = np.inf, np.nan
        ParameterHead.fit(broken, sky.truth[:, :1], names=NAMES[:1], seed=1)
    assert odd.value.hint == "Embed the stamp set again."
    with pytest.raises(CheckpointError, match="head of kind 'classification'"):
        codes = ["a", "b"] * 10
        ParameterHead.load(ClassificationHead.fit(sky.features[:20], codes, seed=1).save())
    with pytest.raises(CheckpointError, match="not a saved head"):
        ParameterHead.load(b"\x80\x04 a pickle")


def test_ensembles_solve_ridge_regression_and_hold_out_what_they_did_not_draw() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, 5))
    target = features @ np.arange(5.0) + rng.normal(size=60)
    (found,) = fit_members(features, target[:, None], seed=3, members=MEMBERS)
    draws = np.random.default_rng(3)
    held_out = np.full((MEMBERS, len(PENALTIES), 60), np.nan)
    solved = []
    for member in range(MEMBERS):
        rows = draws.integers(60, size=60)
        inner, middle = features[rows] - features[rows].mean(axis=0), target[rows].mean()
        for place, penalty in enumerate(PENALTIES):
            weights = np.linalg.solve(inner.T @ inner + penalty * np.eye(5), inner.T @ (target[rows] - middle))
            bias = middle - features[rows].mean(axis=0) @ weights
            solved.append((place, weights, bias))
            out = ~np.isin(np.arange(60), rows)
            held_out[member, place, out] = features[out] @ weights + bias
    mean = np.nanmean(held_out, axis=0)
    best = int(np.nanmean((mean - target) ** 2, axis=1).argmin())
    chosen = [(weights, bias) for place, weights, bias in solved if place == best]
    assert np.allclose(found.weights, [weights for weights, _ in chosen])
    assert np.allclose(found.bias, [bias for _, bias in chosen])
    assert np.allclose(found.held_out, mean[best])
    assert np.allclose(found.variance, np.nanvar(held_out[:, best], axis=0))


@pytest.mark.parametrize(
    ("name", "value", "error", "words"),
    [
        ("mag_r", 18.7951, 0.1123, "18.80 ± 0.11 mag"),
        ("half_light_radius", 2.3512, 0.296, "2.35 ± 0.30 arcsec"),
        ("axis_ratio", 0.7433, 0.0471, "0.743 ± 0.047"),
        ("position_angle", 95.17, 12.4, "95 ± 12 deg"),
        ("redshift", 0.0834, 0.0, "0.0834 ± 0.0000"),
    ],
)
def test_a_value_has_the_decimals_of_its_error(name: str, value: float, error: float, words: str) -> None:
    assert PARAMETERS[name].told(value, error) == words
