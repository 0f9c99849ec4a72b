"""The replay: its trials, its loop and its measures, on galaxies whose classes are plain to see."""

import re

import numpy as np
import pytest

from backend_ml.acquisition.measures import PolicyError
from backend_ml.replay.measures import mean_interval, search_measures
from backend_ml.replay.plan import START_POSITIVES, LabelledSet, ReplayPlan, prepare, wanted_class
from backend_ml.replay.run import replay_policies, replay_policy
from lvm_training.errors import LabelError
from lvm_training.evaluation.probes import Rows, linear_probe
from lvm_training.heads.prior import Prior
from lvm_training.pool.features import FeaturesError


def sky(count: int = 300, *, kinds: tuple[float, ...] = (0.8, 0.2), apart: float = 2.5, seed: int = 0) -> LabelledSet:
    """Galaxies of classes "0", "1", ... in those shares, around one centre each, every second one for tests."""
    rng = np.random.default_rng(seed)
    codes = rng.permutation(np.repeat(np.arange(len(kinds)), np.round(np.array(kinds) * count).astype(int)))
    centres = np.random.default_rng(1).normal(size=(len(kinds), 8))
    features = apart * centres[codes] + 2 * rng.normal(size=(len(codes), 8))
    return LabelledSet(features.astype(np.float32), [str(code) for code in codes], np.arange(len(codes)) % 2 == 0)


def test_the_wanted_class_is_the_rarest_unless_named() -> None:
    labels = ["a"] * 5 + ["b"] * 2 + ["c"] * 2
    assert wanted_class(labels) == "b" and wanted_class(labels, "a") == "a"
    with pytest.raises(LabelError, match="No galaxy is of class 'd'"):
        wanted_class(labels, "d")
    with pytest.raises(LabelError, match="two classes; there is only 'a'"):
        wanted_class(["a", "a"])
    with pytest.raises(LabelError, match="there is none"):
        wanted_class([])


def test_a_game_starts_with_two_of_each_class() -> None:
    data = sky(kinds=(0.5, 0.3, 0.2))
    trial = prepare(data, ReplayPlan(("random",), 50), 0)
    assert trial.classes == ("0", "1", "2") and trial.wanted == 2 and not trial.preference
    assert sorted(trial.labels[trial.start]) == ["0", "0", "1", "1", "2", "2"]
    assert set(trial.start) <= set(trial.pool) and not data.test[trial.pool].any() and data.test[trial.test].all()
    assert len(trial.pool) + len(trial.test) == 300
    assert not trial.searching and prepare(data, ReplayPlan(("random",), 50, positive="2"), 0).searching
    other = prepare(data, ReplayPlan(("margin",), 50), 1)
    assert set(other.start) != set(trial.start)
    np.testing.assert_array_equal(prepare(data, ReplayPlan(("margin",), 60), 0).start, trial.start)


def test_a_thinned_game_starts_with_three_of_the_wanted() -> None:
    data = sky(600, kinds=(0.5, 0.3, 0.2))
    trial = prepare(data, ReplayPlan(("random",), 50, prevalence=0.1, positive="1"), 0)
    assert trial.classes == ("not 1", "1") and trial.wanted == 1 and trial.preference
    assert list(trial.labels[trial.start]) == ["1"] * START_POSITIVES
    for rows in (trial.pool, trial.test):
        assert np.mean(trial.labels[rows] == "1") == pytest.approx(0.1, abs=0.004)
        assert np.count_nonzero(trial.labels[rows] != "1") == np.count_nonzero(
            (np.array(data.labels) != "1") & (data.test == data.test[rows[0]])
        )
    assert set(prepare(data, ReplayPlan(("random",), 50, prevalence=0.1, positive="1"), 1).pool) != set(trial.pool)


def test_a_rare_class_of_two_is_looked_for_with_the_preference_head() -> None:
    assert prepare(sky(400, kinds=(0.95, 0.05)), ReplayPlan(("random",), 50), 0).preference
    assert not prepare(sky(400, kinds=(0.8, 0.2)), ReplayPlan(("random",), 50), 0).preference


@pytest.mark.parametrize(
    ("plan", "message", "hint"),
    [
        (ReplayPlan((), 151), "budget of 151 labels .* the pool holds 150", "Choose 5 to 150"),
        (ReplayPlan((), 4), "budget of 4 labels .* the start takes 4", "Choose 5 to 150"),
        (
            ReplayPlan((), 50, prevalence=0.01),
            "leaves 1 images .* beside 12\\d others .* needs 4",
            r"about 80\d images in all",
        ),
        (ReplayPlan((), 50, prevalence=0.5), "less than 0.5", "It would need 1"),
        (ReplayPlan((), 50, prevalence=1.5), "1.5 is no share", "between 0 and 1"),
        (ReplayPlan((), 50, positive="7"), "No galaxy is of class '7'", "0, 1"),
    ],
)
def test_plans_that_do_not_fit_the_set(plan: ReplayPlan, message: str, hint: str) -> None:
    with pytest.raises(LabelError, match=message) as caught:
        prepare(sky(), plan, 0)
    assert re.search(hint, caught.value.hint)


def test_the_number_of_images_asked_for_is_enough() -> None:
    kinds = (0.9, 0.1)
    with pytest.raises(LabelError):
        prepare(sky(300, kinds=kinds), ReplayPlan((), 50, prevalence=0.01), 0)
    assert prepare(sky(1000, kinds=kinds), ReplayPlan((), 50, prevalence=0.01), 0).preference


def test_too_few_of_a_class_to_start_from() -> None:
    data = sky(60, kinds=(0.5, 0.5))
    labels = ["1" if row in (1, 2, 4) else "0" for row in range(60)]
    with pytest.raises(LabelError, match="pool half has 1 galaxies of class 1; the start needs 2"):
        prepare(LabelledSet(data.features, labels, data.test), ReplayPlan((), 20), 0)
    labels = ["1" if row in (1, 3, 5) else "0" for row in range(60)]
    with pytest.raises(LabelError, match="test half of 30 galaxies has none of class 1"):
        prepare(LabelledSet(data.features, labels, data.test), ReplayPlan((), 20), 0)


def naive_measures(scores: list[float], wanted: list[bool], top: int) -> tuple[float, float, float, float]:
    """Count along the ranking."""
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    best = [wanted[i] for i in order[:top]]
    weights = [len(best) - place for place in range(len(best))]
    weighted = sum(w for w, hit in zip(weights, best, strict=True) if hit) / sum(weights)
    total = sum(wanted)
    return sum(best) / len(best), sum(best) / total, sum(wanted[i] for i in order[:total]) / total, weighted


@pytest.mark.parametrize(("count", "top"), [(300, 100), (40, 100), (30, 7)])
def test_search_measures_agree_with_counting(count: int, top: int) -> None:
    rng = np.random.default_rng(count)
    scores, wanted = rng.random(count).round(1), rng.random(count) < 0.2
    found = search_measures(scores, wanted, top)
    expected = naive_measures(list(scores), list(wanted), top)
    assert list(found) == ["precision_at_100", "recall_at_100", "r_precision", "rank_weighted_score"]
    assert list(found.values()) == pytest.approx(expected)


def test_a_perfect_and_a_reversed_ranking() -> None:
    wanted = np.arange(200) < 100
    assert set(search_measures(-np.arange(200.0), wanted).values()) == {1.0}
    assert set(search_measures(np.arange(200.0), wanted).values()) == {0.0}


def test_the_interval_is_of_the_mean_over_seeds() -> None:
    values = np.random.default_rng(0).normal(5, 1, (40, 2))
    mean, low, high = mean_interval(values)
    np.testing.assert_allclose(mean, values.mean(axis=0))
    error = values.std(axis=0) / np.sqrt(40)
    np.testing.assert_allclose(high - low, 3.92 * error, rtol=0.15)
    for part in mean_interval(values[:1]):
        np.testing.assert_array_equal(part, values[0])


def test_rounds_go_up_to_the_budget_and_labels_are_never_bought_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    data = sky(120)
    plan = ReplayPlan(("margin",), 47, batch=20)
    trial = prepare(data, plan, 0)
    seen: list[int] = []

    def spy(rows: Rows, known: list[str], asked: Rows) -> np.ndarray:
        assert len(set(rows)) == len(rows) and set(rows) <= set(trial.pool)
        assert known == list(trial.labels[rows])
        assert seen == [] or set(seen) <= set(rows)
        seen[:] = list(rows)
        return linear_probe(data.features[rows], known, data.features[asked], seed=0)

    sizes, rounds = replay_policy(data.features, trial, "margin", plan, 0, spy)
    assert sizes == [4, 24, 44, 47] and len(rounds) == 4 and len(seen) == 47
    assert rounds[-1]["found"] == sum(trial.labels[row] == "1" for row in seen)


def test_a_course_can_be_repeated_and_policies_start_alike() -> None:
    plan = ReplayPlan(("random", "margin", "loop"), 24, batch=10, seeds=2)
    one, other = (replay_policies(sky(120), plan) for _ in range(2))
    assert one == other
    assert list(one) == ["random", "margin", "loop"]
    starts = {name: [seed[0] for seed in curve.measures["auc"]] for name, curve in one.items()}
    assert starts["random"] == starts["margin"] == starts["loop"]
    assert one["random"].labels == [4, 14, 24]
    assert one["random"].measures["auc"] != one["margin"].measures["auc"]


def test_labels_help_and_looking_for_the_rare_finds_more_than_chance() -> None:
    data = sky(1200, kinds=(0.9, 0.1), apart=1.2)
    curves = replay_policies(data, ReplayPlan(("random", "loop"), 63, seeds=2, prevalence=0.04))
    found = {name: np.mean(curve.measures["found"], axis=0)[-1] for name, curve in curves.items()}
    assert found["loop"] > 1.5 * found["random"]
    auc = np.mean(curves["loop"].measures["auc"], axis=0)
    assert auc[-1] > auc[0]


@pytest.mark.parametrize("policy", ["entropy", "bald", "powerbald", "expected-improvement", "typicality", "k-centre"])
@pytest.mark.parametrize("prevalence", [None, 0.1])
def test_every_policy_plays_three_classes_and_a_search(policy: str, prevalence: float | None) -> None:
    plan = ReplayPlan((policy,), 30, batch=15, seeds=1, prevalence=prevalence, positive="2")
    curves = replay_policies(sky(160, kinds=(0.5, 0.3, 0.2)), plan)
    values = np.array([seed for seeds in curves[policy].measures.values() for seed in seeds])
    assert np.isfinite(values).all()
    assert set(curves[policy].measures) == {
        "auc",
        "ap",
        "precision_at_100",
        "recall_at_100",
        "r_precision",
        "rank_weighted_score",
        "found",
    }


def test_policies_look_for_a_class_of_several_only_if_it_is_named() -> None:
    data = sky(200, kinds=(0.5, 0.3, 0.2))
    curves = {
        positive: replay_policies(data, ReplayPlan(("loop",), 46, seeds=2, positive=positive))["loop"]
        for positive in (None, "2")
    }
    found = {positive: np.mean(curve.measures["found"], axis=0)[-1] for positive, curve in curves.items()}
    assert found["2"] > found[None]
    with pytest.raises(PolicyError, match="a class to look for"):
        replay_policies(data, ReplayPlan(("expected-improvement",), 26, seeds=1))


@pytest.mark.parametrize(
    ("policy", "words"), [("box-margin", "the boxes of a detector"), ("mask-disagreement", "masks in several views")]
)
def test_policies_of_objects_are_refused(policy: str, words: str) -> None:
    with pytest.raises(PolicyError, match=words) as caught:
        replay_policies(sky(), ReplayPlan((policy,), 26, seeds=1))
    assert "margin" in caught.value.hint and policy not in caught.value.hint


def test_a_baseline_learns_from_random_labels_once_it_has_two_classes() -> None:
    data = sky(400, kinds=(0.9, 0.1))
    asked: list[int] = []

    def model(rows: Rows, known: list[str], wanted: Rows) -> np.ndarray:
        asked.append(len(rows))
        # by name "1" comes first, in the trial "not 1"
        assert set(known) == {"1", "not 1"}
        return linear_probe(data.features[rows], known, data.features[wanted], seed=0)

    calls: list[tuple[int, int]] = []
    curves = replay_policies(
        data,
        ReplayPlan(("random",), 43, seeds=1, prevalence=0.08),
        baseline={"resnet18": model},
        progress=lambda done, total: calls.append((done, total)),
    )
    assert asked == [23, 43] and calls == [(1, 2), (2, 2)]
    auc = curves["resnet18"].measures["auc"][0]
    assert auc[0] == 0.5 and auc[-1] > 0.6
    assert curves["resnet18"].measures["found"] == curves["random"].measures["found"]


def test_names_and_features_are_checked_before_anything_is_fitted() -> None:
    with pytest.raises(PolicyError, match="no policy 'luck'"):
        replay_policies(sky(), ReplayPlan(("random", "luck"), 40))
    data = sky()
    data.features[7, 2] = np.nan
    with pytest.raises(FeaturesError, match="not finite: 7"):
        replay_policies(data, ReplayPlan(("random",), 40))


def test_a_prior_is_replayed_beside_the_same_policy_without_it() -> None:
    data = sky(600, kinds=(0.5, 0.3, 0.2), apart=1.2)
    standard = (data.features - data.features.mean(axis=0)) / data.features.std(axis=0)
    prior = Prior.fit(standard[data.test], [label for label, test in zip(data.labels, data.test, strict=True) if test])
    plan = ReplayPlan(("random",), 30, batch=12, seeds=3)
    alone, both = replay_policies(data, plan), replay_policies(data, plan, prior=prior)
    assert list(both) == ["random", "random + simulated"]
    assert both["random"] == alone["random"]
    assert both["random + simulated"].labels == alone["random"].labels == [6, 18, 30]
    first = [np.mean([seed[0] for seed in curve.measures["auc"]]) for curve in both.values()]
    assert first[1] > first[0], "six labels are few beside what the prior knows"


def test_a_search_of_one_rare_class_is_replayed_without_a_prior() -> None:
    data = sky(600, kinds=(0.5, 0.3, 0.2))
    prior = Prior.fit(data.features, data.labels)
    with pytest.raises(LabelError, match="has no prior"):
        replay_policies(data, ReplayPlan(("random",), 50, prevalence=0.1, positive="1"), prior=prior)
