"""What must change nothing: the order of galaxies, of classes, the frame of the features, classes that nobody is of."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from backend_ml.acquisition.diversity import k_centre, marginal_relevance, typicality
from backend_ml.acquisition.interest import expected_improvement, similarity, weighted
from backend_ml.acquisition.measures import POINTWISE, Candidates
from backend_ml.acquisition.objects import count_entropy
from backend_ml.acquisition.policy import POLICIES, judge
from backend_ml.acquisition.stochastic import inclusion, power_draw
from backend_ml.acquisition.uncertainty import bald, entropy, margin
from tests.backend_ml.acquisition.test_policy import pool

DRAWN = {"random", "powerbald", "k-centre", "typicality"}
RANKED = sorted(set(POLICIES) - DRAWN)
ALONE = sorted(name for name, one in POLICIES.items() if one.terms and {t.measure for t in one.terms} <= POINTWISE)
N = 40


def chosen(candidates: Candidates, rows: np.ndarray) -> Candidates:
    """Some of the candidates, in that order."""
    assert candidates.probabilities is not None and candidates.ensemble is not None and candidates.boxes is not None
    told = ("features", "probabilities", "disagreement", "information", "deviation")
    return replace(
        candidates,
        **{name: getattr(candidates, name)[rows] for name in told},
        ensemble=candidates.ensemble[:, rows],
        boxes=[candidates.boxes[row] for row in rows],
    )


@pytest.mark.parametrize("name", RANKED)
def test_the_order_of_galaxies_does_not_matter(name: str) -> None:
    candidates, order = pool(N, classes=3), np.random.default_rng(3).permutation(N)
    known, shuffled = judge(name, candidates, batch=5, seed=0), judge(name, chosen(candidates, order), batch=5, seed=0)
    np.testing.assert_allclose(shuffled.worth, known.worth[order], rtol=2e-5, atol=1e-6)
    np.testing.assert_array_equal(shuffled.propensity, known.propensity[order])


@pytest.mark.parametrize("name", [one for one in ALONE if POLICIES[one].relevance == 1 and POLICIES[one].beta is None])
def test_what_looks_at_each_galaxy_alone_says_the_same_of_a_part(name: str) -> None:
    candidates, part = pool(N, classes=3), np.arange(7, 19)
    whole = judge(name, candidates, batch=5, seed=0).worth
    found = judge(name, chosen(candidates, part), batch=5, seed=9).worth
    if len(POLICIES[name].terms) == 1:  # several are compared by their ranks
        np.testing.assert_allclose(found, whole[part])
    twice = judge(name, chosen(candidates, np.repeat(part, 2)), batch=5, seed=0).worth
    np.testing.assert_allclose(twice[::2], twice[1::2])


@pytest.mark.parametrize("name", sorted(POLICIES))
@pytest.mark.parametrize("batch", [1, N - 1, N, 10 * N])
def test_chances_are_chances_and_all_are_sure_of_a_batch_of_all(name: str, batch: int) -> None:
    found = judge(name, pool(N), batch=batch, seed=1)
    assert found.worth.shape == found.propensity.shape == (N,) and np.isfinite(found.worth).all()
    assert ((found.propensity > 0) & (found.propensity <= 1)).all()
    if batch >= N:
        assert (found.propensity == 1).all()


@pytest.mark.parametrize("measure", [margin, entropy])
def test_classes_have_no_order_and_one_of_no_chance_is_none(measure: Callable[[np.ndarray], np.ndarray]) -> None:
    answers = np.random.default_rng(0).dirichlet(np.ones(5), size=50)
    np.testing.assert_allclose(measure(answers[:, [4, 0, 3, 1, 2]]), measure(answers))
    np.testing.assert_allclose(measure(np.insert(answers, 2, 0.0, axis=1)), measure(answers))


def test_heads_have_no_order_and_each_may_be_asked_twice() -> None:
    heads = np.random.default_rng(0).dirichlet(np.ones(3), size=(7, 30))
    for same in (heads[::-1], heads[:, :, [2, 0, 1]], np.concatenate([heads, heads])):
        np.testing.assert_allclose(bald(same), bald(heads), atol=1e-12)
    assert (bald(heads[[0] * 7]) < 1e-12).all()


def frames() -> list[Callable[[np.ndarray], np.ndarray]]:
    """The same features seen from elsewhere: turned, mirrored, in other units."""
    turn, _ = np.linalg.qr(np.random.default_rng(2).normal(size=(6, 6)))
    return [
        lambda rows: (rows @ turn).astype(np.float32),
        lambda rows: rows[:, ::-1] * np.float32(-1),
        lambda rows: rows * np.float32(16),
    ]


@pytest.mark.parametrize("seen", frames(), ids=["turned", "mirrored", "in other units"])
def test_likeness_and_distance_do_not_depend_on_the_frame(seen: Callable[[np.ndarray], np.ndarray]) -> None:
    rows = np.random.default_rng(0).normal(size=(60, 6)).astype(np.float32)
    liked, others = rows[:4], rows[4:9]
    np.testing.assert_allclose(
        similarity(seen(rows), seen(liked), seen(others)), similarity(rows, liked, others), atol=1e-5
    )
    np.testing.assert_array_equal(k_centre(seen(rows), 12, seed=3), k_centre(rows, 12, seed=3))
    np.testing.assert_array_equal(
        k_centre(seen(rows), 12, seed=3, given=seen(liked)), k_centre(rows, 12, seed=3, given=liked)
    )
    np.testing.assert_array_equal(np.argsort(typicality(seen(rows))), np.argsort(typicality(rows)))
    worth = np.random.default_rng(1).random(60)
    np.testing.assert_array_equal(marginal_relevance(worth, seen(rows), 12), marginal_relevance(worth, rows, 12))


def test_distances_do_not_depend_on_where_the_features_lie() -> None:
    rows = np.random.default_rng(0).normal(size=(60, 6)).astype(np.float32)
    moved = rows + np.float32(8)
    np.testing.assert_array_equal(k_centre(moved, 12, seed=3), k_centre(rows, 12, seed=3))
    np.testing.assert_allclose(typicality(moved), typicality(rows), rtol=1e-4)


def test_each_next_centre_is_the_farthest_by_hand() -> None:
    rows = np.random.default_rng(5).normal(size=(40, 3)).astype(np.float32)
    order = k_centre(rows, 40, seed=1)
    assert sorted(order) == list(range(40))
    for place in range(1, 40):
        apart = [min(float(np.linalg.norm(rows[i] - rows[j])) for j in order[:place]) for i in range(40)]
        assert apart[order[place]] == pytest.approx(max(apart), rel=1e-4)


@pytest.mark.parametrize("factor", [1e-3, 7.0, 1e6])
def test_a_draw_goes_by_shares_whatever_the_unit_of_the_scores(factor: float) -> None:
    scores = np.random.default_rng(0).random(N) + 0.01
    one, other = power_draw(scores, seed=4), power_draw(scores * factor, seed=4)
    np.testing.assert_allclose(other - one, np.log(factor))
    np.testing.assert_allclose(inclusion(scores * factor, other, 6), inclusion(scores, one, 6), rtol=1e-9)


def test_a_larger_batch_is_likelier_to_hold_each() -> None:
    scores = np.random.default_rng(0).random(N)
    drawn = power_draw(scores, seed=4)
    chances = np.array([inclusion(scores, drawn, n) for n in range(1, N + 1)])
    assert (np.diff(chances, axis=0) >= -1e-12).all() and (chances[-1] == 1).all()


def test_improvement_is_of_the_difference_and_never_of_what_cannot_be() -> None:
    mean, spread = np.linspace(-1, 1, 21), np.linspace(0, 2, 21)
    np.testing.assert_allclose(expected_improvement(mean + 5, spread, 5.3), expected_improvement(mean, spread, 0.3))
    assert (np.diff(expected_improvement(np.zeros(21), spread, 0.0)) >= 0).all()
    assert expected_improvement(np.array([1.0]), np.array([0.0]), 2.0).tolist() == [0.0]


@pytest.mark.parametrize("apart", [0.0, 0.5, 1.0, 1e3])
def test_ratings_weigh_what_is_near_and_leave_what_is_far(apart: float) -> None:
    interest = np.linspace(0, 1, 11)
    found = weighted(np.full(11, 2.0), interest, np.full(11, apart))
    assert (np.diff(found) >= 0).all() and (found <= 2.0).all() and (found > 0).all()
    if apart == 0:
        np.testing.assert_allclose(found, 2.0 * (0.1 + 0.85 * interest))
    if apart == 1e3:
        np.testing.assert_allclose(found, 2.0)


def test_boxes_have_no_order_and_sure_ones_tell_nothing_more() -> None:
    scores = [np.array([0.3, 0.8, 0.5]), np.array([0.5]), np.array([])]
    same = [np.array([0.8, 0.5, 0.3]), np.array([1.0, 0.5, 0.0, 1.0]), np.array([1.0, 1.0])]
    np.testing.assert_allclose(count_entropy(same), count_entropy(scores), atol=1e-12)
