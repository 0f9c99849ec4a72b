"""Heads of any kind from their files."""

import json

import numpy as np
import pytest
from safetensors.numpy import save

from lvm_training.errors import CheckpointError
from lvm_training.heads.classification import ClassificationHead
from lvm_training.heads.preference import PreferenceHead

RNG = np.random.default_rng(3)
FEATURES = RNG.normal(size=(24, 5)).astype(np.float32)
LABELS = ["yes" if row[0] > 0 else "no" for row in FEATURES]


@pytest.mark.parametrize("kind", [ClassificationHead, PreferenceHead])
def test_a_saved_head_comes_back_as_what_it_was(kind: type[ClassificationHead | PreferenceHead]) -> None:
    head = kind.fit(FEATURES, LABELS, seed=1)
    loaded = kind.load(head.save())
    assert type(loaded) is kind
    assert loaded.classes == head.classes == ("no", "yes")
    assert loaded.save() == head.save()
    np.testing.assert_array_equal(loaded.predict(FEATURES), head.predict(FEATURES))


def test_a_head_of_another_kind_is_refused_by_name() -> None:
    data = PreferenceHead.fit(FEATURES, LABELS, seed=1).save()
    with pytest.raises(CheckpointError, match="'preference', not 'classification'"):
        ClassificationHead.load(data)


def test_a_file_that_is_no_head_is_refused() -> None:
    whole = ClassificationHead.fit(FEATURES, LABELS, seed=1).save()
    part_missing = save(
        {"mean": np.zeros(5, np.float32)}, {"head": json.dumps({"kind": "classification", "classes": ["no", "yes"]})}
    )
    for data in (b"", b"no head", whole[:40], whole[:-8], save({"mean": np.zeros(1)}), part_missing):
        with pytest.raises(CheckpointError, match="not a saved head"):
            ClassificationHead.load(data)
