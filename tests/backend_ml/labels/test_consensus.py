"""Dawid and Skene's model against a naive twin, and on annotators whose reliability is known."""

from math import prod
from typing import Any

import numpy as np
import pytest

from backend_ml.labels.consensus import DIAGONAL, ROUNDS, SMOOTHING, TOLERANCE, agreement, coded, dawid_skene

Votes = list[tuple[int, int, int]]


def arrays(votes: Votes) -> tuple[Any, Any, Any]:
    columns = np.array(votes, dtype=np.int64).reshape(-1, 3)
    return columns[:, 0], columns[:, 1], columns[:, 2]


def naive(votes: Votes, shape: tuple[int, int, int]) -> tuple[list[list[float]], list[list[list[float]]]]:
    """The same estimate in loops over stamps, people and classes."""
    stamps, people, classes = shape
    posterior = [
        [sum(v == (t, a, j) for v in votes for a in range(people)) * 1.0 for j in range(classes)] for t in range(stamps)
    ]
    posterior = [[x / max(sum(row), 1) for x in row] for row in posterior]
    confusion: list[list[list[float]]] = []
    for _ in range(ROUNDS):
        confusion = []
        for a in range(people):
            table = []
            for j in range(classes):
                counts = []
                for said in range(classes):
                    share = DIAGONAL if said == j else (1 - DIAGONAL) / (classes - 1)
                    counts.append(
                        SMOOTHING * share + sum(posterior[t][j] for t, who, k in votes if (who, k) == (a, said))
                    )
                table.append([count / sum(counts) for count in counts])
            confusion.append(table)
        prior = [(1 + sum(row[j] for row in posterior)) / (classes + stamps) for j in range(classes)]
        before, posterior = posterior, []
        for t in range(stamps):
            products = [prior[j] * prod(confusion[a][j][k] for s, a, k in votes if s == t) for j in range(classes)]
            posterior.append([value / sum(products) for value in products])
        if (
            max(abs(x - y) for old, new in zip(before, posterior, strict=True) for x, y in zip(old, new, strict=True))
            < TOLERANCE
        ):
            break
    return posterior, confusion


def drawn(accuracies: list[float], *, stamps: int, classes: int, seed: int) -> tuple[Votes, Any]:
    """Everybody labels everything, right with their own probability; the votes and the truth."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, size=stamps)
    wrong = (truth[:, None] + rng.integers(1, classes, size=(stamps, len(accuracies)))) % classes
    said = np.where(rng.random((stamps, len(accuracies))) < accuracies, truth[:, None], wrong)
    return [(t, a, int(said[t, a])) for t in range(stamps) for a in range(len(accuracies))], truth


@pytest.mark.parametrize("seed", range(4))
def test_the_estimate_is_that_of_the_naive_twin(seed: int) -> None:
    votes, _ = drawn([0.9, 0.6, 0.5], stamps=12, classes=3, seed=seed)
    votes = [vote for i, vote in enumerate(votes) if (i * 7 + seed) % 5]
    found = dawid_skene(*arrays(votes), (12, 3, 3))
    posterior, confusion = naive(votes, (12, 3, 3))
    np.testing.assert_allclose(found.posterior, posterior, atol=1e-9)
    np.testing.assert_allclose(found.confusion, confusion, atol=1e-9)


def test_reliable_people_are_told_from_those_who_guess_and_outvote_them() -> None:
    accuracies = [0.95, 0.95, 0.35, 0.35, 0.35]
    votes, truth = drawn(accuracies, stamps=400, classes=3, seed=1)
    found = dawid_skene(*arrays(votes), (400, 5, 3))
    labels = np.array([label for _, _, label in votes]).reshape(400, 5)
    np.testing.assert_allclose(found.reliability, (labels == truth[:, None]).mean(axis=0), atol=0.04)
    counts = np.zeros((400, 3))
    np.add.at(counts, arrays(votes)[::2], 1)
    right = [float((answer.argmax(axis=1) == truth).mean()) for answer in (found.posterior, counts)]
    assert right[0] > 0.93 and right[0] > right[1] + 0.1


def test_somebody_who_always_takes_one_class_for_another_is_understood() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, size=200)
    good = [(t, a, int(truth[t])) for t in range(200) for a in range(2)]
    found = dawid_skene(*arrays(good + [(t, 2, 1 - int(truth[t])) for t in range(200)]), (200, 3, 2))
    assert found.reliability[2] < 0.05 and found.confusion[2, 0, 1] > 0.9
    assert (found.posterior.argmax(axis=1) == truth).all()


def test_little_is_said_of_somebody_with_one_label() -> None:
    votes, _ = drawn([0.9, 0.9], stamps=60, classes=2, seed=2)
    found = dawid_skene(*arrays([*votes, (0, 2, 0)]), (60, 3, 2))
    assert 0.5 < found.reliability[2] < 0.95
    np.testing.assert_allclose(found.confusion.sum(axis=2), 1)
    np.testing.assert_allclose(found.posterior.sum(axis=1), 1)


def test_one_class_no_votes_and_one_annotator() -> None:
    assert dawid_skene(*arrays([(0, 0, 0)]), (1, 1, 1)).posterior == [[1.0]]
    assert dawid_skene(*arrays([]), (0, 0, 2)).posterior.shape == (0, 2)
    alone = dawid_skene(*arrays([(t, 0, t % 2) for t in range(10)]), (10, 1, 2))
    assert list(alone.posterior.argmax(axis=1)) == [0, 1] * 5


def test_agreement_counts_stamps_of_two_votes_or_more() -> None:
    votes = [(0, 0, 1), (0, 1, 1), (1, 0, 0), (1, 1, 1), (2, 0, 1), (3, 2, 0)]
    found = agreement(*arrays(votes), np.array([1, 0, 0, 1]), 3)
    assert list(found[:2]) == [1.0, 0.5] and np.isnan(found[2])


def test_codes_name_people_and_starting_labels() -> None:
    names, codes = coded([7, "starting labels", 3, 7])
    assert names == [3, 7, "starting labels"] and list(codes) == [1, 2, 0, 1]
