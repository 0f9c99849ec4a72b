"""Margin, entropy and BALD against their definitions."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from backend_ml.acquisition.uncertainty import bald, entropy, margin


def naive_margin(row: list[float]) -> float:
    """Sort, subtract."""
    first, second = sorted(row, reverse=True)[:2]
    return 1 - (first - second)


@given(arrays(np.float64, (7, 4), elements=st.floats(0.01, 1)))
def test_agrees_with_sorting(raw: np.ndarray) -> None:
    probabilities = raw / raw.sum(axis=1, keepdims=True)
    expected = [naive_margin(list(row)) for row in probabilities]
    assert margin(probabilities) == pytest.approx(expected)


def test_a_tie_is_most_uncertain_and_a_certainty_least() -> None:
    assert margin(np.array([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]])) == pytest.approx([1.0, 0.0])


def test_two_classes() -> None:
    assert margin(np.array([[0.8, 0.2]])) == pytest.approx([0.4])


def naive_entropy(row: list[float]) -> float:
    """Term by term."""
    return -sum(p * math.log(p) for p in row if p > 0)


def naive_bald(heads: list[list[float]]) -> float:
    """Entropy of the mean minus the mean of the entropies, one galaxy."""
    mean = [sum(column) / len(heads) for column in zip(*heads, strict=True)]
    return naive_entropy(mean) - sum(map(naive_entropy, heads)) / len(heads)


@given(arrays(np.float64, (7, 4), elements=st.floats(0.01, 1)))
def test_entropy_agrees_with_the_sum(raw: np.ndarray) -> None:
    probabilities = raw / raw.sum(axis=1, keepdims=True)
    assert entropy(probabilities) == pytest.approx([naive_entropy(list(row)) for row in probabilities])


def test_entropy_of_a_certainty_and_of_knowing_nothing() -> None:
    assert entropy(np.array([[1.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3]])) == pytest.approx([0.0, math.log(3)])


@given(arrays(np.float64, (3, 5, 4), elements=st.floats(0.01, 1)))
def test_bald_agrees_with_the_loop(raw: np.ndarray) -> None:
    ensemble = raw / raw.sum(axis=2, keepdims=True)
    expected = [naive_bald([list(head[row]) for head in ensemble]) for row in range(5)]
    assert bald(ensemble) == pytest.approx(expected, abs=1e-12)
    assert (bald(ensemble) >= 0).all() and (bald(ensemble) <= math.log(3) + 1e-12).all()


def test_bald_tells_disagreement_from_shared_doubt() -> None:
    shared = [[0.5, 0.5], [0.5, 0.5]]
    opposed = [[1.0, 0.0], [0.0, 1.0]]
    ensemble = np.array([shared, opposed]).transpose(1, 0, 2)
    assert bald(ensemble) == pytest.approx([0.0, math.log(2)])
    assert bald(np.empty((4, 0, 3))).shape == (0,)
