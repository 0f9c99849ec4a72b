"""Named policies on pools that are ordinary, degenerate and broken."""

from dataclasses import replace

import numpy as np
import pytest

from backend_ml.acquisition.diversity import k_centre, typicality
from backend_ml.acquisition.interest import expected_improvement
from backend_ml.acquisition.measures import MEASURES, NEEDS, Candidates, PolicyError
from backend_ml.acquisition.objects import box_margin, count_entropy
from backend_ml.acquisition.policy import POLICIES, Policy, Term, find_policy, fitting, judge
from backend_ml.acquisition.stochastic import inclusion, power_draw
from backend_ml.acquisition.uncertainty import bald, entropy, margin
from lvm_training.pool.features import FeaturesError

NAMES = [
    "random",
    "margin",
    "entropy",
    "bald",
    "powerbald",
    "similarity",
    "expected-improvement",
    "most-likely",
    "simulated",
    "typicality",
    "k-centre",
    "unusual",
    "loop",
    "box-margin",
    "count-entropy",
    "boxes",
    "mask-disagreement",
    "masks",
    "information",
    "outliers",
]

ALWAYS = {"random", "typicality", "k-centre", "unusual"}


def pool(count: int = 40, *, liked: int = 3, others: int = 5, seed: int = 0, classes: int = 2) -> Candidates:
    """Random features, answers of five heads, and a few labelled galaxies."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(count + liked + others, 6)).astype(np.float32) + 5
    ensemble = rng.dirichlet(np.ones(classes), size=(5, count))
    return Candidates(
        rows[:count],
        ensemble.mean(axis=0),
        ensemble,
        rows[count : count + liked],
        rows[count + liked :],
        wanted=classes - 1,
        boxes=[rng.random(number) for number in rng.integers(0, 4, size=count)],
        disagreement=rng.random(count),
        information=rng.random(count),
        deviation=3 * rng.random(count),
    )


def test_the_registry_names_each_policy_once() -> None:
    assert list(POLICIES) == NAMES
    assert all(policy.name == name for name, policy in POLICIES.items())
    assert len({policy.words for policy in POLICIES.values()} - {""}) == len(POLICIES), "each has words of its own"
    with pytest.raises(PolicyError, match="no policy 'margins'") as caught:
        find_policy("margins")
    assert all(name in caught.value.hint for name in NAMES)
    with pytest.raises(PolicyError, match="no policy 'best'"):
        judge("best", pool(), batch=3, seed=0)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_judgement(name: str) -> None:
    candidates = pool()
    one, other = (judge(name, candidates, batch=8, seed=4) for _ in range(2))
    assert one.worth.shape == one.propensity.shape == (40,)
    assert np.isfinite(one.worth).all() and ((one.propensity > 0) & (one.propensity <= 1)).all()
    np.testing.assert_array_equal(one.worth, other.worth)
    np.testing.assert_array_equal(one.propensity, other.propensity)


@pytest.mark.parametrize("name", NAMES)
def test_only_drawn_policies_depend_on_the_seed(name: str) -> None:
    first, second = (judge(name, pool(), batch=8, seed=seed) for seed in (1, 2))
    drawn = name in ("random", "powerbald")
    # typicality and k-centre leave only to chance what is not read: the sample of a larger pool, the tail
    top = [tuple(np.argsort(-one.worth)[:8]) for one in (first, second)]
    assert (top[0] != top[1]) == drawn
    assert (first.propensity < 1).any() == drawn


def test_single_measures_are_what_they_are_called() -> None:
    candidates = pool(classes=3)
    assert candidates.probabilities is not None and candidates.ensemble is not None
    expected = {
        "margin": margin(candidates.probabilities),
        "entropy": entropy(candidates.probabilities),
        "bald": bald(candidates.ensemble),
        "typicality": typicality(candidates.features, 20),
    }
    for name, worth in expected.items():
        np.testing.assert_array_equal(judge(name, candidates, batch=5, seed=0).worth, worth)
    liked = candidates.ensemble[..., 2]
    improvement = expected_improvement(liked.mean(axis=0), liked.std(axis=0), liked.mean(axis=0).max(), trade_off=0.0)
    np.testing.assert_array_equal(judge("expected-improvement", candidates, batch=5, seed=0).worth, improvement)


def test_random_is_uniform_and_says_so() -> None:
    firsts = [int(judge("random", pool(4), batch=1, seed=seed).worth.argmax()) for seed in range(400)]
    assert all(60 <= firsts.count(row) <= 140 for row in range(4))
    assert set(judge("random", pool(), batch=8, seed=0).propensity) == {0.2}
    assert set(judge("random", pool(4), batch=8, seed=0).propensity) == {1.0}


def test_powerbald_is_drawn_from_bald_with_its_propensities() -> None:
    candidates = pool()
    assert candidates.ensemble is not None
    scores = bald(candidates.ensemble)
    found = judge("powerbald", candidates, batch=6, seed=9)
    drawn = power_draw(scores, seed=9)
    np.testing.assert_array_equal(found.worth, drawn)
    np.testing.assert_array_equal(found.propensity, inclusion(scores, drawn, 6))


def test_similarity_does_not_see_what_all_galaxies_share() -> None:
    candidates = pool()
    shifted = replace(
        candidates,
        features=candidates.features + 50,
        positives=candidates.positives + 50,
        negatives=candidates.negatives + 50,
    )
    one, other = (judge("similarity", each, batch=5, seed=0).worth for each in (candidates, shifted))
    np.testing.assert_allclose(one, other, atol=1e-4)
    nearest = replace(candidates, positives=candidates.features[[7]])
    assert judge("similarity", nearest, batch=5, seed=0).worth.argmax() == 7


def test_k_centre_begins_far_from_what_is_labelled() -> None:
    candidates = pool()
    given = np.concatenate([candidates.positives, candidates.negatives])
    worth = judge("k-centre", candidates, batch=6, seed=0).worth
    order = np.argsort(-worth)
    assert list(order[:6]) == list(k_centre(candidates.features, 6, seed=0, given=given))
    assert (worth[order[6:]] <= 0).all()


def test_boxes_are_judged_by_the_best_of_them_and_by_their_number() -> None:
    boxes = [np.empty(0), np.array([0.9]), np.array([0.1, 0.5, 0.2]), np.array([0.6, 0.6])]
    candidates = Candidates(np.empty((4, 0), np.float32), boxes=boxes)
    best = np.array([max([0.0, *scores]) for scores in boxes])
    np.testing.assert_array_equal(judge("box-margin", candidates, batch=2, seed=0).worth, box_margin(best))
    np.testing.assert_array_equal(judge("count-entropy", candidates, batch=2, seed=0).worth, count_entropy(boxes))
    assert judge("boxes", candidates, batch=2, seed=0).worth.argmin() == 0


def test_outlines_are_judged_as_they_disagree_and_mixed_with_how_sure_the_arc_is() -> None:
    boxes = [np.empty(0), np.array([0.06]), np.array([0.55]), np.array([0.99])]
    candidates = Candidates(np.empty((4, 0), np.float32), boxes=boxes, disagreement=np.array([0.0, 0.6, 0.4, 0.1]))
    found = judge("mask-disagreement", candidates, batch=2, seed=0)
    assert list(found.worth) == [0.0, 0.6, 0.4, 0.1] and list(found.propensity) == [1] * 4
    # by rank 1, 4, 3, 2 in disagreement, and 1, 3, 4, 2 in margin
    assert list(judge("masks", candidates, batch=2, seed=0).worth) == pytest.approx([2 / 8, 7 / 8, 7 / 8, 4 / 8])


@pytest.mark.parametrize("name", ["similarity", "loop"])
def test_a_part_of_a_pool_is_judged_about_the_centre_of_the_whole(name: str) -> None:
    whole = pool()
    part = {"probabilities": whole.probabilities[:9], "ensemble": None, "boxes": None, "disagreement": None}  # type: ignore[index]
    part["information"] = part["deviation"] = None
    given = replace(whole, features=whole.features[:9], centre=whole.features.mean(axis=0), **part)  # type: ignore[arg-type]
    if name == "similarity":
        expected = judge(name, whole, batch=5, seed=0).worth[:9]
        np.testing.assert_allclose(judge(name, given, batch=5, seed=0).worth, expected, atol=1e-6)
    moved = [judge(name, one, batch=5, seed=0).worth for one in (given, replace(given, centre=None))]
    assert not np.allclose(*moved)


def test_what_does_not_fit_comes_before_what_is_unknown() -> None:
    candidates = Candidates(np.empty((4, 0), np.float32), deviation=np.array([0.2, 7.5, 0.6, 3.1]))
    found = judge("outliers", candidates, batch=2, seed=0)
    assert list(np.argsort(-found.worth)) == [1, 3, 2, 0] and list(found.propensity) == [1] * 4
    with pytest.raises(PolicyError, match="needs a head of numbers"):
        judge("outliers", replace(candidates, deviation=None), batch=2, seed=0)
    assert set(fitting(boxes=False, searching=False, numbers=True)) == {
        "random",
        "typicality",
        "k-centre",
        "unusual",
        "outliers",
    }


def test_which_policies_fit_what_is_known() -> None:
    assert set(NEEDS) == set(MEASURES)
    objects = {"box-margin", "count-entropy", "boxes", "mask-disagreement", "masks"}
    for searching in (True, False):
        assert set(fitting(boxes=True, searching=searching)) == objects | {
            "random",
            "typicality",
            "k-centre",
            "unusual",
        }
    everything = (
        set(NAMES) - objects - {"information", "simulated", "outliers"}
    )  # it chooses by itself, and only until there are examples
    assert set(fitting(boxes=False, searching=True)) == everything
    assert set(fitting(boxes=False, searching=False)) == everything - {
        "similarity",
        "expected-improvement",
        "most-likely",
    }
    for name in fitting(boxes=False, searching=False):
        known = replace(
            pool(),
            boxes=None,
            disagreement=None,
            information=None,
            deviation=None,
            wanted=None,
            positives=pool(0).features,
            negatives=pool(0).features,
        )
        assert np.isfinite(judge(name, known, batch=5, seed=0).worth).all()


def test_a_mix_weighs_ranks_so_that_scales_do_not_matter() -> None:
    candidates = pool()
    assert candidates.probabilities is not None
    terms = (Term("probability", 3.0), Term("margin", 1.0))
    found = judge(Policy("mix", terms), candidates, batch=5, seed=0).worth
    ranks = [
        np.argsort(np.argsort(value)) + 1
        for value in (candidates.probabilities[:, 1], margin(candidates.probabilities))
    ]
    np.testing.assert_allclose(found, (3 * ranks[0] + ranks[1]) / 4 / 40)


def test_the_loop_is_left_to_its_margin_where_no_class_is_looked_for() -> None:
    candidates = replace(pool(classes=3), wanted=None)
    margins = Policy("margins", (Term("margin"),), relevance=POLICIES["loop"].relevance)
    found = [np.argsort(-judge(policy, candidates, batch=6, seed=0).worth) for policy in ("loop", margins)]
    assert list(found[0]) == list(found[1])
    looking = np.argsort(-judge("loop", replace(candidates, wanted=0), batch=6, seed=0).worth)
    assert list(looking) != list(found[0])


def test_relevance_spreads_the_batch_and_keeps_the_rest_by_worth() -> None:
    crowd = np.tile(np.array([[1.0, 0.0]], np.float32), (10, 1))
    features = np.concatenate([crowd, -crowd])
    liking = np.linspace(1, 0, 20)
    candidates = Candidates(features, np.stack([1 - liking, liking], axis=1), wanted=1)
    terms = (Term("probability"),)
    assert set(np.argsort(-judge(Policy("a", terms), candidates, batch=4, seed=0).worth)[:4]) == {0, 1, 2, 3}
    spread = judge(Policy("b", terms, relevance=0.5), candidates, batch=4, seed=0).worth
    order = np.argsort(-spread, kind="stable")
    assert (order[:4] >= 10).any()
    assert list(order[4:]) == sorted(order[4:])
    assert (spread[order[:4]] > 0).all() and (spread[order[4:]] <= 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_pool_and_a_pool_of_one(name: str) -> None:
    assert judge(name, pool(0), batch=5, seed=0).worth.shape == (0,)
    one = judge(name, pool(1), batch=5, seed=0)
    assert np.isfinite(one.worth).all() and list(one.propensity) == [1.0]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("liked", "others"), [(0, 4), (4, 0), (0, 0)])
def test_without_positives_or_negatives(name: str, liked: int, others: int) -> None:
    assert np.isfinite(judge(name, pool(liked=liked, others=others), batch=5, seed=0).worth).all()


@pytest.mark.parametrize("name", NAMES)
def test_identical_galaxies_are_all_worth_something_and_ranked(name: str) -> None:
    same = np.ones((12, 4), np.float32)
    answers = np.tile([[0.3, 0.7]], (12, 1))
    candidates = Candidates(same, answers, np.stack([answers] * 3), same[:2], same[:1], 1)
    candidates = replace(
        candidates, boxes=[np.array([0.4])] * 12, disagreement=np.full(12, 0.2), information=np.ones(12)
    )
    candidates = replace(candidates, deviation=np.ones(12))
    found = judge(name, candidates, batch=5, seed=0)
    assert np.isfinite(found.worth).all()
    assert sorted(np.argsort(-found.worth)) == list(range(12))


@pytest.mark.parametrize("name", NAMES)
def test_a_head_that_knows_one_class_and_one_that_is_sure(name: str) -> None:
    candidates = pool(12)
    for answers in (np.ones((12, 1)), np.tile([[0.0, 1.0]], (12, 1))):
        sure = replace(candidates, probabilities=answers, ensemble=np.stack([answers] * 3), wanted=answers.shape[1] - 1)
        assert np.isfinite(judge(name, sure, batch=5, seed=0).worth).all()


@pytest.mark.parametrize("name", NAMES)
def test_features_that_are_not_finite_are_named(name: str) -> None:
    candidates = pool()
    broken = candidates.features.copy()
    broken[[3, 17], 2] = np.nan, np.inf
    with pytest.raises(FeaturesError, match=r"2 of 40 rows of the features are not finite: 3, 17\."):
        judge(name, replace(candidates, features=broken), batch=5, seed=0)


def test_broken_answers_examples_and_lengths_are_named() -> None:
    candidates = pool(9)
    assert candidates.probabilities is not None and candidates.ensemble is not None
    answers, heads = candidates.probabilities.copy(), candidates.ensemble.copy()
    answers[:8], heads[2, 4, 0] = np.nan, np.nan
    with pytest.raises(FeaturesError, match=r"8 of 9 rows of the answers .* 0, 1, 2, 3, 4, \.\.\."):
        judge("margin", replace(candidates, probabilities=answers), batch=2, seed=0)
    with pytest.raises(FeaturesError, match=r"1 of 9 rows of the ensemble's answers are not finite: 4"):
        judge("bald", replace(candidates, ensemble=heads), batch=2, seed=0)
    with pytest.raises(FeaturesError, match="positives' features"):
        judge("similarity", replace(candidates, positives=candidates.positives * np.nan), batch=2, seed=0)
    with pytest.raises(FeaturesError, match=r"1 of 9 rows of the boxes are not finite: 0"):
        judge("boxes", replace(candidates, boxes=[np.array([np.nan])] + [np.ones(2)] * 8), batch=2, seed=0)
    with pytest.raises(PolicyError, match="3 boxes for 9 galaxies"):
        judge("boxes", replace(candidates, boxes=[np.ones(2)] * 3), batch=2, seed=0)
    with pytest.raises(FeaturesError, match=r"1 of 9 rows of the disagreements are not finite: 2"):
        judge("masks", replace(candidates, disagreement=np.where(np.arange(9) == 2, np.nan, 0)), batch=2, seed=0)
    with pytest.raises(PolicyError, match="2 disagreements for 9 galaxies"):
        judge("masks", replace(candidates, disagreement=np.zeros(2)), batch=2, seed=0)
    with pytest.raises(PolicyError, match="8 answers for 9 galaxies"):
        judge("margin", replace(candidates, probabilities=answers[1:]), batch=2, seed=0)


def test_what_a_policy_needs_and_has_not() -> None:
    bare = Candidates(pool().features)
    for name in ("margin", "entropy", "loop"):
        with pytest.raises(PolicyError, match="needs the answers of a head"):
            judge(name, bare, batch=5, seed=0)
    for name in ("bald", "powerbald", "expected-improvement"):
        assert "ensemble" in find_policy(name).needs
        with pytest.raises(PolicyError, match="an ensemble of heads"):
            judge(name, replace(pool(), ensemble=None), batch=5, seed=0)
    for name in ("box-margin", "count-entropy", "boxes", "masks"):
        with pytest.raises(PolicyError, match="needs the boxes of a detector"):
            judge(name, bare, batch=5, seed=0)
    for name in ("mask-disagreement", "masks"):
        with pytest.raises(PolicyError, match="needs masks in several views"):
            judge(name, replace(bare, boxes=pool().boxes), batch=5, seed=0)
    with pytest.raises(PolicyError, match="a class to look for"):
        judge("expected-improvement", replace(pool(), wanted=None), batch=5, seed=0)
    for name in ("random", "similarity", "typicality", "k-centre"):
        assert len(judge(name, bare, batch=5, seed=0).worth) == 40
    averaged = judge("margin", replace(pool(), probabilities=None), batch=5, seed=0).worth
    np.testing.assert_allclose(averaged, judge("margin", pool(), batch=5, seed=0).worth)


def test_mixes_that_make_no_sense() -> None:
    with pytest.raises(PolicyError, match="no measure 'margins'"):
        Policy("mine", (Term("margins"),))
    with pytest.raises(PolicyError, match="weight that is not positive"):
        Policy("mine", (Term("margin", 0.0), Term("entropy")))
    with pytest.raises(PolicyError, match="both drawn and spread"):
        Policy("mine", (Term("bald"),), relevance=0.5, beta=1.0)
