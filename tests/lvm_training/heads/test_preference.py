"""The preference head: from one liked galaxy to many, calibrated, and the same bytes every time."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import brentq, minimize
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from lvm_training.errors import CheckpointError, LabelError
from lvm_training.heads.calibrated_regression import (
    DEFAULT_STRENGTH,
    FEW_STRENGTH,
    FOLDS,
    STRENGTHS,
    Examples,
    cross_validated,
    fit_weighted,
    platt,
)
from lvm_training.heads.classification import ClassificationHead
from lvm_training.heads.preference import BACKGROUND_WEIGHT, PreferenceHead
from lvm_training.heads.prior import AlignedPrior, Prior
from lvm_training.pool.features import FeaturesError

WIDTH = 24
DIRECTION = np.random.default_rng(9).normal(size=WIDTH)


def sky(count: int, share: float = 0.2, *, seed: int = 0, apart: float = 3.0) -> tuple[NDArray[np.float32], list[str]]:
    """Galaxies of which `share` are looked for, shifted along one direction, and what is said of them."""
    rng = np.random.default_rng(seed)
    yes = rng.random(count) < share
    features = rng.normal(size=(count, WIDTH)) + np.outer(yes, DIRECTION) * apart / np.linalg.norm(DIRECTION)
    return (features * 2 + 7).astype(np.float32), ["yes" if one else "no" for one in yes]


def few(liked: int, others: int, seed: int = 0) -> tuple[NDArray[np.float32], list[str]]:
    """The first so many of each kind."""
    features, labels = sky(400, 0.5, seed=seed + 50)
    kinds = [[row for row, label in enumerate(labels) if label == kind] for kind in ("yes", "no")]
    rows = kinds[0][:liked] + kinds[1][:others]
    return features[rows], [labels[row] for row in rows]


def area(head: PreferenceHead) -> float:
    features, labels = sky(2000, seed=99)
    return float(roc_auc_score([label == "yes" for label in labels], head.predict(features)[:, 1]))


@pytest.mark.parametrize(
    ("liked", "others", "least"),
    [(1, 0, 0.75), (3, 0, 0.85), (3, 2, 0.86), (1, 30, 0.78), (10, 0, 0.91), (40, 60, 0.95)],
)
def test_learns_from_a_few_liked_and_any_number_of_others(liked: int, others: int, least: float) -> None:
    background, _ = sky(600, seed=3)
    draws = [few(liked, others, seed) for seed in range(6)]
    heads = [PreferenceHead.fit(*draw, seed=seed, background=background) for seed, draw in enumerate(draws)]
    assert np.mean([area(head) for head in heads]) > least


def test_learns_without_a_background_where_something_is_not_liked() -> None:
    heads = [PreferenceHead.fit(*few(5, 5, seed), seed=seed) for seed in range(6)]
    assert np.mean([area(head) for head in heads]) > 0.82


def test_the_weighted_minimum_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    for count in (12, 90):
        features = rng.normal(size=(count, 30)) @ rng.normal(size=(30, 30))
        truth = (features[:, 0] + rng.normal(size=count) > 0).astype(float)
        weight = rng.uniform(0.05, 2, count)
        for strength, (weights, bias) in zip(
            (1e-2, 1.0), fit_weighted(Examples(features, truth, weight), (1e-2, 1.0)), strict=True
        ):
            reference = LogisticRegression(C=strength, tol=1e-10, max_iter=100_000).fit(
                features, truth, sample_weight=weight
            )
            ours = expit(features @ weights + bias)
            np.testing.assert_allclose(ours, reference.predict_proba(features)[:, 1], atol=5e-4)


def test_the_background_counts_as_ten_labels_together() -> None:
    """The same head as scikit-learn's with those weights, at the chosen penalty."""
    features, labels = few(3, 0)
    background, _ = sky(150, seed=3)
    head = PreferenceHead.fit(features, labels, seed=0, background=background, calibrate=False)
    wide = background.astype(np.float64)
    standard = (np.concatenate([features, background]) - wide.mean(axis=0)) / wide.std(axis=0)
    truth, weight = np.arange(153) < 3, np.r_[np.ones(3), np.full(150, BACKGROUND_WEIGHT / 150)]
    reference = LogisticRegression(C=0.02, tol=1e-10, max_iter=100_000).fit(standard, truth, sample_weight=weight)
    expected = reference.predict_proba(standard)[:, 1]
    np.testing.assert_allclose(head.predict(np.concatenate([features, background]))[:, 1], expected, atol=2e-3)


@pytest.mark.parametrize(("count", "apart"), [(200, 2.0), (1000, 1.0), (1000, 3.0)])
def test_probabilities_are_calibrated(count: int, apart: float) -> None:
    """Where galaxies are labelled as they come, each fifth of the probabilities holds as many liked as it says."""
    features, labels = sky(count, 0.3, seed=1, apart=apart)
    head = PreferenceHead.fit(features, labels, seed=0)
    test, truth = sky(20_000, 0.3, seed=2, apart=apart)
    said, yes = head.predict(test)[:, 1], np.array(truth) == "yes"
    gaps = [abs(said[part].mean() - yes[part].mean()) for part in np.array_split(np.argsort(said), 5)]
    assert np.mean(gaps) < (0.05 if count < 1000 else 0.025)


def test_calibration_undoes_overconfidence_as_far_as_examples_allow() -> None:
    rng = np.random.default_rng(4)
    z = rng.normal(size=4000)
    truth = (rng.random(4000) < expit(z + 0.5)).astype(float)
    rows = Examples(z[:, None], truth, np.ones(4000))
    slope, offset = platt(4 * z, rows)
    assert slope == pytest.approx(0.25, rel=0.1) and offset == pytest.approx(0.5, abs=0.1)
    small = Examples(z[:4, None], np.array([1.0, 0, 1, 0]), np.ones(4))
    slope, offset = platt(4 * z[:4], small)
    assert 0.4 < slope < 1.6 and abs(offset) < 0.7
    reversed_slope, _ = platt(-4 * z, rows)
    assert reversed_slope > 0
    assert platt(np.empty(0), rows) == (1.0, 0.0)


def test_held_out_answers_come_from_fits_without_the_row() -> None:
    """One far outlier cannot explain itself."""
    rng = np.random.default_rng(6)
    features = rng.normal(size=(40, 3))
    truth = (features[:, 0] > 0).astype(float)
    features[0], truth[0] = [-9, 0, 0], 1.0
    strength, held_out = cross_validated(Examples(features, truth, np.ones(40)), seed=0)
    assert min(STRENGTHS) < strength < max(STRENGTHS) and held_out[0] < -0.5
    single = Examples(features[:5], np.array([1.0, 0, 0, 0, 0]), np.ones(5))
    assert cross_validated(single, seed=0)[1].size == 0


def test_the_strength_is_the_mean_of_all_by_what_was_held_out() -> None:
    """Against the fits one by one: one answer more does not let the best strength alone decide."""
    rng = np.random.default_rng(7)
    rows = Examples(rng.normal(size=(24, 4)), (np.arange(24) % 2).astype(float), np.ones(24))
    strength, held_out = cross_validated(rows, seed=3)
    fold, draw = np.empty(24, dtype=int), np.random.default_rng(3)
    for members in (np.flatnonzero(rows.truth > 0), np.flatnonzero(rows.truth == 0)):
        fold[members] = draw.permutation(len(members)) % FOLDS
    z = np.empty((len(STRENGTHS), 24))
    for number in range(FOLDS):
        fits = fit_weighted(rows.some(fold != number), STRENGTHS)
        for place, (weights, bias) in enumerate(fits):
            z[place, fold == number] = rows.some(fold == number).log_odds(weights, bias)
    losses = [float(np.sum(np.logaddexp(0, one) - rows.truth * one)) for one in z]
    share = np.exp(-np.array(losses)) / np.exp(-np.array(losses)).sum()
    assert strength == pytest.approx(float(np.prod(np.array(STRENGTHS) ** share)))
    np.testing.assert_allclose(held_out, share @ z, atol=1e-9)
    few_answers = Examples(rows.features[:7], np.array([1.0, 0, 0, 1, 0, 0, 0]), np.ones(7))
    assert cross_validated(few_answers, seed=0)[0] == pytest.approx(FEW_STRENGTH) and FEW_STRENGTH < DEFAULT_STRENGTH


def test_three_examples_do_not_make_certain() -> None:
    background, _ = sky(500, seed=3)
    features, labels = few(3, 0)
    said = PreferenceHead.fit(features, labels, seed=0, background=background).predict(background)[:, 1]
    assert said.min() > 0.01 and said.max() < 0.99


def test_float16_memory_maps_float32_and_rows_are_answered_alike(tmp_path: Path) -> None:
    features, labels = few(20, 30)
    head = PreferenceHead.fit(features, labels, seed=0)
    pool = sky(5000, seed=8)[0].astype(np.float16)
    np.save(tmp_path / "pool.npy", pool)
    mapped = np.load(tmp_path / "pool.npy", mmap_mode="r")
    standard = (pool.astype(np.float64) - head.mean) / head.scale
    expected = head.slope[0] * (standard @ head.weights + head.bias[0]) + head.offset[0]
    for given in (pool, mapped, pool.astype(np.float32), pool.astype(np.float64)):
        np.testing.assert_allclose(head.log_odds(given), expected, atol=1e-4)
    np.testing.assert_allclose(head.log_odds(mapped[4100:4101]), expected[4100:4101], atol=1e-4)
    assert head.predict(pool[:0]).shape == (0, 2)
    probabilities = head.predict(mapped)
    assert probabilities.shape == (5000, 2) and probabilities.dtype == np.float64
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)


def test_a_memory_map_is_a_background(tmp_path: Path) -> None:
    background = sky(900, seed=3)[0].astype(np.float16)
    np.save(tmp_path / "pool.npy", background)
    features, labels = few(3, 0)
    mapped = np.load(tmp_path / "pool.npy", mmap_mode="r")
    heads = [PreferenceHead.fit(features, labels, seed=2, background=rows) for rows in (background, mapped)]
    assert heads[0].save() == heads[1].save()


def test_the_same_bytes_for_the_same_labels_and_seed_and_back() -> None:
    background, _ = sky(600, seed=3)
    features, labels = few(6, 9)
    one, other = (PreferenceHead.fit(features, labels, seed=5, background=background) for _ in range(2))
    assert one.save() == other.save()
    assert PreferenceHead.fit(features[1:], labels[1:], seed=5, background=background).save() != one.save()
    loaded = PreferenceHead.load(one.save())
    assert loaded.classes == ("no", "yes")
    np.testing.assert_array_equal(loaded.predict(background), one.predict(background))
    with pytest.raises(CheckpointError, match="kind 'preference', not 'classification'"):
        ClassificationHead.load(one.save())
    with pytest.raises(CheckpointError, match="not a saved head"):
        PreferenceHead.load(one.save()[:200])


def test_classes_have_names_of_their_own() -> None:
    features, labels = few(4, 4)
    named = ["ring" if label == "yes" else "no ring" for label in labels]
    head = PreferenceHead.fit(features, named, seed=0, classes=("no ring", "ring"))
    assert head.classes == ("no ring", "ring")
    np.testing.assert_array_equal(
        head.predict(features), PreferenceHead.fit(features, labels, seed=0).predict(features)
    )


def test_a_galaxy_labelled_twice_alike_counts_once_and_otherwise_is_an_error() -> None:
    features, labels = few(4, 4)
    once = PreferenceHead.fit(features, labels, seed=0, rows=range(8))
    twice = PreferenceHead.fit(
        np.concatenate([features, features[:2]]), [*labels, *labels[:2]], seed=0, rows=[*range(8), 0, 1]
    )
    assert once.save() == twice.save()
    with pytest.raises(LabelError, match="Galaxy 3 is labelled both 'no' and 'yes'"):
        PreferenceHead.fit(np.concatenate([features, features[3:4]]), [*labels, "no"], seed=0, rows=[*range(8), 3])
    # without numbers, two that look alike are two galaxies, and the answer is between theirs
    torn = PreferenceHead.fit(features[[0, 0]], ["yes", "no"], seed=0)
    np.testing.assert_allclose(torn.predict(features[:1]), 0.5, atol=1e-6)


def test_labels_that_cannot_be_learned_from() -> None:
    features, labels = few(3, 3)
    background, _ = sky(50)
    with pytest.raises(LabelError, match="one galaxy labelled yes; there is none"):
        PreferenceHead.fit(features[3:], labels[3:], seed=0, background=background)
    with pytest.raises(LabelError, match="one galaxy labelled yes"):
        PreferenceHead.fit(features[:0], [], seed=0, background=background)
    with pytest.raises(LabelError, match="nothing to tell them from"):
        PreferenceHead.fit(features[:3], labels[:3], seed=0)
    with pytest.raises(LabelError, match="outside the classes: maybe"):
        PreferenceHead.fit(features, [*labels[:5], "maybe"], seed=0)
    with pytest.raises(LabelError, match="5 labels for features of shape"):
        PreferenceHead.fit(features, labels[:5], seed=0)
    with pytest.raises(LabelError, match="6 labels for 5 rows"):
        PreferenceHead.fit(features, labels, seed=0, rows=range(5))
    with pytest.raises(LabelError, match="3 classes"):
        PreferenceHead.fit(features, labels, seed=0, classes=("no", "maybe", "yes"))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_not_finite_are_named(value: float) -> None:
    features, labels = few(3, 3)
    background, _ = sky(50)
    head = PreferenceHead.fit(features, labels, seed=0)
    broken, wide = features.copy(), background.copy()
    broken[[1, 4], 2], wide[8:20, 0] = value, value
    with pytest.raises(FeaturesError, match=r"2 of 6 labelled galaxies .* rows 1, 4"):
        PreferenceHead.fit(broken, labels, seed=0)
    with pytest.raises(FeaturesError, match="12 of 50 background galaxies"):
        PreferenceHead.fit(features, labels, seed=0, background=wide)
    with pytest.raises(FeaturesError, match=r"12 of 50 galaxies .* rows 8, 9, 10, 11, 12, \.\.\."):
        head.predict(wide)


def test_identical_and_constant_features_do_no_harm() -> None:
    same = np.ones((6, WIDTH), np.float32)
    said = PreferenceHead.fit(same[:3], ["yes"] * 3, seed=0, background=same).predict(same)
    assert np.isfinite(said).all() and len(np.unique(said[:, 1])) == 1
    features, labels = few(5, 5)
    features[:, 3] = 4.0
    assert np.isfinite(PreferenceHead.fit(features, labels, seed=0).predict(features)).all()


def aligned(direction: NDArray[np.floating], background: NDArray[np.float32]) -> AlignedPrior:
    """A prior of no and yes along a direction of the standardised background."""
    weights = np.stack([-direction, direction]) / 2
    wide = background.astype(np.float64)
    return AlignedPrior(Prior(("no", "yes"), weights, np.zeros(2)), wide.mean(axis=0), wide.std(axis=0))


def nothing() -> tuple[NDArray[np.float32], list[str]]:
    return np.empty((0, 0), np.float32), []


def test_without_labels_a_head_is_its_prior_and_wants_a_twentieth_of_the_pool() -> None:
    background, _ = sky(200, seed=3)
    head = PreferenceHead.fit(*nothing(), seed=0, background=background, prior=aligned(DIRECTION, background))
    wide = background.astype(np.float64)
    expected = (wide - wide.mean(0)) / wide.std(0) @ DIRECTION / 2
    found = head.log_odds(background)
    assert np.allclose(found - found.mean(), expected - expected.mean(), atol=1e-3)
    assert head.predict(background)[:, 1].mean() == pytest.approx(0.05, abs=1e-4)
    assert np.allclose(head.prior_share(background), 1)
    assert PreferenceHead.load(head.save()).prior_share(background) == pytest.approx(1)


def test_labels_add_to_a_prior_as_the_formula_says() -> None:
    background, _ = sky(150, seed=3)
    features, labels = few(3, 6)
    prior = aligned(0.4 * DIRECTION, background)
    head = PreferenceHead.fit(features, labels, seed=0, background=background, prior=prior, calibrate=False)
    everything = np.concatenate([features, background]).astype(np.float64)
    x = (everything - prior.mean) / prior.scale
    truth = np.array([label == "yes" for label in labels] + [False] * len(background), float)
    weight = np.r_[np.ones(len(labels)), np.full(len(background), BACKGROUND_WEIGHT / len(background))]
    p = x @ (0.4 * DIRECTION) / 2
    level = brentq(lambda bias: expit(p[len(labels) :] + bias).mean() - 0.05, -50, 50)

    def loss(flat: NDArray[np.floating]) -> float:
        weights, stretch, bias = flat[:-2], flat[-2], flat[-1]
        z = (1 + 5 * stretch) * p + x @ weights + bias
        fit = weight @ (np.logaddexp(0, z) - truth * z)
        return float(fit + (weights @ weights + stretch**2) / (2 * DEFAULT_STRENGTH) + (bias - level) ** 2 / 8)

    best = minimize(loss, np.zeros(WIDTH + 2), method="BFGS", options={"gtol": 1e-6}).x
    expected = (1 + 5 * best[-2]) * p + x @ best[:-2] + best[-1]
    assert np.allclose(head.log_odds(everything.astype(np.float32)), expected, atol=5e-3)


def test_a_prior_that_labels_contradict_fades() -> None:
    background, _ = sky(600, seed=3)
    right, wrong = (aligned(sign * 0.3 * DIRECTION, background) for sign in (1, -1))
    with_right = [PreferenceHead.fit(*few(n, 2 * n), seed=0, background=background, prior=right) for n in (2, 20)]
    with_wrong = PreferenceHead.fit(*few(20, 40), seed=0, background=background, prior=wrong)
    alone = PreferenceHead.fit(*few(2, 4), seed=0, background=background)
    assert area(with_right[0]) > area(alone) + 0.02
    assert area(with_wrong) > 0.85
    pool, _ = sky(500, seed=7)
    shares = [head.prior_share(pool).mean() for head in with_right]
    assert shares[0] > shares[1] > 0
    contradicted = with_wrong.prior_weights
    assert contradicted is not None and contradicted @ DIRECTION > -0.15 * DIRECTION @ DIRECTION / 2


def test_only_noes_push_a_prior_down() -> None:
    background, _ = sky(300, seed=3)
    prior = aligned(0.3 * DIRECTION, background)
    before = PreferenceHead.fit(*nothing(), seed=0, background=background, prior=prior)
    best = background[np.argsort(-before.log_odds(background))[:20]]
    after = PreferenceHead.fit(best, ["no"] * 20, seed=0, background=background, prior=prior)
    assert np.isfinite(after.log_odds(background)).all()
    assert after.predict(best)[:, 1].mean() < before.predict(best)[:, 1].mean()
