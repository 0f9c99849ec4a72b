"""The audit-slice gate."""

import numpy as np
import pytest

from backend_ml.learning.gate import FEWEST_AUDIT_LABELS, judge


def answers(n: int, right: int) -> np.ndarray:
    return np.arange(n) < right


def test_below_thirty_audit_labels_every_candidate_passes() -> None:
    n = FEWEST_AUDIT_LABELS - 1
    verdict = judge(answers(n, n), answers(n, 0), seed=0)
    assert verdict.passed and verdict.difference is None and verdict.audit_labels == n


def test_a_clearly_worse_candidate_is_held_back() -> None:
    verdict = judge(answers(60, 55), answers(60, 35), seed=0)
    assert not verdict.passed
    assert verdict.difference == pytest.approx(-20 / 60)


def test_a_slightly_worse_candidate_passes() -> None:
    parent, candidate = answers(60, 50), answers(60, 50)
    candidate[0], candidate[1], candidate[59] = False, False, True
    verdict = judge(parent, candidate, seed=0)
    assert verdict.passed and verdict.difference is not None and verdict.difference < 0


def test_the_standard_error_is_that_of_a_paired_mean() -> None:
    generator = np.random.default_rng(1)
    parent, candidate = generator.random(400) < 0.8, generator.random(400) < 0.7
    verdict = judge(parent, candidate, seed=0)
    gain = candidate.astype(float) - parent.astype(float)
    assert verdict.standard_error == pytest.approx(gain.std(ddof=1) / np.sqrt(400), rel=0.1)


def test_equal_heads_pass_and_the_verdict_repeats() -> None:
    same = answers(40, 30)
    assert judge(same, same, seed=0).passed
    assert judge(answers(50, 30), answers(50, 28), seed=5) == judge(answers(50, 30), answers(50, 28), seed=5)
