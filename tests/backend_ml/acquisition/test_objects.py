"""Uncertainty of detections against naive counts."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend_ml.acquisition.objects import box_margin, count_distribution, count_entropy
from backend_ml.acquisition.uncertainty import margin

SCORES = st.lists(st.floats(0, 1), max_size=6)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9))
def test_the_box_margin_is_that_of_yes_and_no(best: list[float]) -> None:
    scores = np.array(best)
    assert box_margin(scores) == pytest.approx(margin(np.stack([scores, 1 - scores], axis=1)), abs=1e-12)


def test_no_box_and_a_sure_box_are_certain() -> None:
    assert list(box_margin(np.array([0.0, 1.0, 0.5]))) == [0.0, 0.0, 1.0]
    assert box_margin(np.empty(0)).shape == (0,)


def naive_counts(scores: list[float]) -> list[float]:
    """Sum over all 2^K ways in which boxes are objects or not."""
    counts = [0.0] * (len(scores) + 1)
    for outcome in product((0, 1), repeat=len(scores)):
        chance = math.prod(p if there else 1 - p for p, there in zip(scores, outcome, strict=True))
        counts[sum(outcome)] += chance
    return counts


@given(SCORES)
def test_the_count_agrees_with_every_outcome(scores: list[float]) -> None:
    assert count_distribution(np.array(scores)) == pytest.approx(naive_counts(scores), abs=1e-9)


@given(st.lists(SCORES, max_size=4))
def test_count_entropy_agrees_with_every_outcome(stamps: list[list[float]]) -> None:
    expected = [-sum(p * math.log(p) for p in naive_counts(scores) if p > 0) for scores in stamps]
    assert count_entropy([np.array(scores) for scores in stamps]) == pytest.approx(expected, abs=1e-7)


def test_one_open_box_is_a_coin() -> None:
    assert count_entropy([np.array([0.5]), np.array([]), np.array([1.0, 1.0])]) == pytest.approx([math.log(2), 0, 0])
