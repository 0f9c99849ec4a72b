"""Margin uncertainty against its definition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from backend_ml.acquisition.uncertainty import margin


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
