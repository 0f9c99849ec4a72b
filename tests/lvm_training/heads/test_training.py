"""Training a head on a snapshot: features joined to labels by stamp."""

from pathlib import Path

import numpy as np
import pytest

from lvm_training.errors import LabelError
from lvm_training.heads.classification import ClassificationHead
from lvm_training.heads.training import train_head
from lvm_training.pool.features import Features, FeaturesError, Origin
from lvm_training.tables.snapshot import Snapshot

CLASSES = ("round", "long")


def features(name: str, shift: float, encoder: str = "e" * 12) -> Features:
    """Row i of set "a" is (i, i % 2), of "b" the same shifted: odd stamps are long."""
    ids = np.arange(40)
    matrix = np.stack([ids + shift, ids % 2], axis=1).astype(np.float16)
    return Features(Path(f"{name}.npy"), matrix, Origin(name=name, stamps="s", encoder=encoder, rows=40, width=2))


@pytest.fixture
def pool() -> dict[str, Features]:
    return {"a": features("a", 0), "b": features("b", 0.5)}


def labelled(pairs: list[tuple[str, int]]) -> Snapshot:
    return Snapshot([s for s, _ in pairs], [i for _, i in pairs], [CLASSES[i % 2] for _, i in pairs])


def test_labels_of_several_sets_meet_their_own_features(pool: dict[str, Features]) -> None:
    pairs = [("b", 3), ("a", 8), ("a", 1), ("b", 6), ("b", 39), ("a", 0)]
    head = train_head(pool, labelled(pairs), classes=CLASSES, seed=1)
    inputs = np.array([[0, 0], [1, 1], [8, 0], [3.5, 1], [6.5, 0], [39.5, 1]], np.float32)
    labels = ["round", "long", "round", "long", "round", "long"]
    assert head.save() == ClassificationHead.fit(inputs, labels, seed=1, classes=CLASSES).save()
    assert head.classes == CLASSES


def test_the_order_of_the_labels_does_not_matter(pool: dict[str, Features]) -> None:
    pairs = [("a", i) for i in range(12)] + [("b", i) for i in range(9)]
    shuffled = [pairs[i] for i in np.random.default_rng(0).permutation(len(pairs))]
    heads = [train_head(pool, labelled(some), classes=CLASSES, seed=2) for some in (pairs, shuffled)]
    assert heads[0].save() == heads[1].save()


def test_features_of_other_sets_are_not_asked_for(pool: dict[str, Features]) -> None:
    pool["c"] = features("c", 0, encoder="f" * 12)
    assert train_head(pool, labelled([("a", 0), ("a", 1)]), classes=CLASSES, seed=1).classes == CLASSES


def test_labels_without_features(pool: dict[str, Features]) -> None:
    with pytest.raises(LabelError, match="no features for c, d"):
        train_head(pool, labelled([("d", 0), ("c", 1), ("a", 2)]), classes=CLASSES, seed=1)
    with pytest.raises(FeaturesError, match="stamp 40 was asked for"):
        train_head(pool, labelled([("a", 0), ("a", 40)]), classes=CLASSES, seed=1)


def test_features_of_two_encoders_are_not_mixed(pool: dict[str, Features]) -> None:
    pool["b"] = features("b", 0, encoder="f" * 12)
    with pytest.raises(LabelError, match="different encoders"):
        train_head(pool, labelled([("a", 0), ("b", 1)]), classes=CLASSES, seed=1)


def test_no_labels(pool: dict[str, Features]) -> None:
    with pytest.raises(LabelError, match="no label"):
        train_head(pool, Snapshot([], [], []), classes=CLASSES, seed=1)
