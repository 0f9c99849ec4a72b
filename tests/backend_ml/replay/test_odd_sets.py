"""Replays of sets that are odd: names of classes mean nothing, rounds end where the budget does, halves stay apart."""

from dataclasses import replace

import numpy as np
import pytest

from backend_ml.replay.measures import mean_interval, search_measures
from backend_ml.replay.plan import LabelledSet, ReplayPlan, prepare, wanted_class
from backend_ml.replay.run import LearningCurve, replay_policies
from lvm_training.errors import LabelError
from tests.backend_ml.replay.test_run import sky

PLAN = ReplayPlan(("margin",), budget=8, batch=4, seeds=1)


def named(data: LabelledSet, *names: str) -> LabelledSet:
    """The same set with other names of its classes."""
    return replace(data, labels=[names[int(label)] for label in data.labels])


@pytest.fixture(scope="module")
def known() -> LearningCurve:
    """How a replay of classes 0 and 1 goes."""
    return replay_policies(sky(60, kinds=(0.7, 0.3)), PLAN)["margin"]


@pytest.mark.parametrize(
    "names", [("a", "b"), ("no", "yes"), ("α", "银河"), ("", " "), ("spiral", "spirals"), ("1", "10"), ("not x", "x")]
)
def test_what_classes_are_called_means_nothing(known: LearningCurve, names: tuple[str, str]) -> None:
    """Their order is that of before, so that draws are the same."""
    assert replay_policies(named(sky(60, kinds=(0.7, 0.3)), *names), PLAN)["margin"] == known


@pytest.mark.parametrize(("positive", "found"), [("1", "1"), ("1.0", "1"), (None, "2"), ("3", None), ("", None)])
def test_a_class_that_is_a_number_is_found_as_tables_write_it(positive: str | None, found: str | None) -> None:
    labels = ["1"] * 5 + ["2"] * 3 + ["10"] * 4
    if found is None:
        with pytest.raises(LabelError, match="No galaxy is of class"):
            wanted_class(labels, positive)
    else:
        assert wanted_class(labels, positive) == found


def test_all_that_is_not_looked_for_is_one_class_whatever_that_was_called() -> None:
    data = sky(300, kinds=(0.6, 0.2, 0.2))
    odd = named(data, "x", "not x", "not not x")
    for positive in ("x", "not x", "not not x"):
        trial = prepare(odd, ReplayPlan(("random",), 40, prevalence=0.1, positive=positive), 0)
        assert trial.classes == (f"not {positive}", positive) and trial.searching and trial.preference
        assert {str(label) for label in trial.labels} == set(trial.classes)
        there = np.array(odd.labels)[trial.pool] == positive
        assert (trial.labels[trial.pool] == positive).tolist() == there.tolist()


@pytest.mark.parametrize(("budget", "batch"), [(5, 1), (5, 100), (9, 4), (12, 4), (30, 7), (30, 26)])
def test_rounds_end_with_the_budget_whatever_the_batch(budget: int, batch: int) -> None:
    """Two of each class are the start; the pool is thirty galaxies."""
    curve = replay_policies(sky(60, kinds=(0.5, 0.5)), ReplayPlan(("random",), budget, batch=batch, seeds=2))["random"]
    by_hand = [4]
    while by_hand[-1] < budget:
        by_hand.append(min(by_hand[-1] + batch, budget))
    assert curve.labels == by_hand
    assert all(len(seeds) == 2 and {len(one) for one in seeds} == {len(by_hand)} for seeds in curve.measures.values())
    if budget == 30:
        # all of the pool is labelled: all that is wanted was found
        wanted = [one[-1] for one in curve.measures["found"]]
        assert wanted[0] == wanted[1] > 0


@pytest.mark.parametrize("budget", [0, 4, 31])
def test_a_budget_below_the_start_or_above_the_pool_says_what_fits(budget: int) -> None:
    with pytest.raises(LabelError, match=f"A budget of {budget} labels does not fit") as caught:
        prepare(sky(60, kinds=(0.5, 0.5)), ReplayPlan(("random",), budget), 0)
    assert caught.value.hint == "Choose 5 to 30."


def test_a_half_that_lacks_a_class_is_named() -> None:
    data = sky(60, kinds=(0.5, 0.5))
    labels = np.array(data.labels)
    for half, words in ((data.test, "pool"), (~data.test, "test")):
        only = replace(data, labels=[("0" if other else label) for label, other in zip(labels, ~half, strict=True)])
        with pytest.raises(LabelError, match=f"The {words} half of 30 galaxies has none of class 1"):
            prepare(only, ReplayPlan(("random",), 10), 0)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 2.0])
def test_a_prevalence_that_is_no_share_is_refused(share: float) -> None:
    with pytest.raises(LabelError, match="is no share"):
        prepare(sky(), ReplayPlan(("random",), 20, prevalence=share), 0)


def test_measures_of_a_ranking_do_not_depend_on_the_unit_of_its_scores() -> None:
    generator = np.random.default_rng(0)
    scores, wanted = generator.normal(size=200), generator.random(200) < 0.2
    known = search_measures(scores, wanted, top=50)
    for same in (scores * 7 - 3, np.exp(scores), scores.argsort().argsort().astype(float)):
        assert search_measures(same, wanted, top=50) == known
    # the share of all that is wanted, once all are looked at
    whole = search_measures(scores, wanted, top=1000)
    assert whole["precision_at_100"] == wanted.mean() and whole["recall_at_100"] == 1


@pytest.mark.parametrize("seeds", [1, 2, 9])
def test_an_interval_holds_the_mean_and_moves_with_it(seeds: int) -> None:
    values = np.random.default_rng(seeds).normal(size=(seeds, 4))
    mean, low, high = mean_interval(values)
    assert (low <= mean + 1e-12).all() and (mean <= high + 1e-12).all() and (seeds > 1 or (low == high).all())
    for found, known in zip(mean_interval(3 * values + 2), (mean, low, high), strict=True):
        np.testing.assert_allclose(found, 3 * known + 2)
