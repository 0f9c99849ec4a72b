"""What a model is said to know of real pictures, against counting by hand."""

from itertools import product

import numpy as np
import pytest
import torch

from lvm_training.model.encoder import Encoder
from lvm_training.model.lvm import LVM
from lvm_training.stamps.rendering import Rendering
from lvm_training.timed import judging

CLASSES = ("no", "yes")


def pictures(labels: np.ndarray, apart: float) -> np.ndarray:
    """Features (N, 6) in which the classes lie `apart`."""
    rng = np.random.default_rng(0)
    shift = np.where(labels == "yes", apart, 0.0)[:, None]
    return (rng.normal(size=(len(labels), 6)) + shift).astype(np.float32)


def split_labels(count: int = 80) -> tuple[np.ndarray, np.ndarray]:
    labels = np.array([CLASSES[row % 2] for row in range(count)])
    splits = np.array(["fit" if row % 4 < 2 else "test" for row in range(count)])
    return labels, splits


def few(labels: np.ndarray, splits: np.ndarray, apart: float, sizes: tuple[int, ...] = (10, 20)) -> dict[str, float]:
    return judging._few("ring", pictures(labels, apart), labels, splits, sizes, 1, 3)


def test_what_is_plain_is_learned_and_what_is_not_is_guessed() -> None:
    labels, splits = split_labels()
    plain, none = few(labels, splits, 3.0), few(labels, splits, 0.0)
    assert set(plain) == set(none) == {"few/ring/10", "few/ring/20"}
    assert min(plain.values()) > 0.95 and all(0.2 < value < 0.8 for value in none.values())


def test_sizes_that_the_labels_do_not_allow_are_left_out() -> None:
    labels, splits = split_labels()
    assert set(few(labels, splits, 1.0, (10, 40, 41, 500))) == {"few/ring/10", "few/ring/40"}
    labels[splits == "test"] = "yes"
    assert few(labels, splits, 1.0) == {}, "one class cannot be told apart"
    labels[:] = ""
    assert few(labels, splits, 1.0) == {}


def test_unlabelled_pictures_teach_and_test_nothing() -> None:
    labels, splits = split_labels()
    matrix = pictures(labels, 2.0)
    more = np.concatenate([matrix, np.full((9, 6), 1e6, np.float32)])
    known = judging._few("ring", matrix, labels, splits, (20,), 1, 2)
    with_others = judging._few(
        "ring", more, np.append(labels, [""] * 9), np.append(splits, ["fit", "test", "unlabelled"] * 3), (20,), 1, 2
    )
    assert known == with_others


@pytest.mark.parametrize("seed", range(4))
def test_the_auc_counts_pairs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, score = rng.random(12) < 0.5, rng.integers(0, 4, 12).astype(float)
    pairs = [(a > b) + 0.5 * (a == b) for a, b in product(score[truth], score[~truth])]
    assert judging._auc(truth, score) == pytest.approx(np.mean(pairs))
    assert np.isnan(judging._auc(np.ones(5, bool), score[:5]))
    assert np.isnan(judging._auc(np.zeros(5, bool), score[:5]))


def test_features_are_the_same_in_parts_and_from_bytes(lvm: LVM, rendering: Rendering) -> None:
    encoder = Encoder(lvm, rendering)
    given = torch.randint(0, 256, (7, 3, rendering.size, rendering.size), dtype=torch.uint8)
    whole = judging.features(encoder, given, 7)
    assert whole.shape == (7, lvm.preset.width)
    np.testing.assert_allclose(judging.features(encoder, given, 2), whole, atol=1e-5)
    np.testing.assert_allclose(judging.features(encoder, given.float() / 255, 3), whole, atol=1e-5)
