"""Which features a campaign reads."""

from pathlib import Path

import numpy as np
import pytest

from backend_ml.store.features import FeatureError, FeatureStore, mean_features
from lvm_training.pool.features import Features, Origin


def shard(folder: Path, encoder: str, value: float) -> str:
    """Features of three stamps, named as `features_path` names them."""
    path = folder / f"sky-0123-{encoder}.npy"
    np.save(path, np.full((3, 4), value, np.float16))
    origin = Origin(name="sky", stamps="0123", encoder=encoder, rows=3, width=4)
    path.with_suffix(".json").write_text(origin.model_dump_json())
    return str(path)


def test_a_campaign_keeps_its_features_when_a_set_is_embedded_anew_by_another_encoder(tmp_path: Path) -> None:
    shard(tmp_path, "aaaaaaaaaaaa", 1.0)
    newest = shard(tmp_path, "bbbbbbbbbbbb", 2.0)
    older, newer = (FeatureStore({"sky": newest}, name * 12) for name in "ab")
    assert older.rows([("sky", 1)]).tolist() == [[1.0] * 4]
    assert newer.rows([("sky", 1)]).tolist() == [[2.0] * 4]
    with pytest.raises(FeatureError, match="was embedded by encoder bbbbbbbbbbbb"):
        FeatureStore({"sky": newest}, "c" * 12).shard("sky")


def test_a_set_that_was_registered_before_it_was_embedded_says_so() -> None:
    with pytest.raises(FeatureError, match="'sky' has no features yet"):
        FeatureStore({"sky": ""}, "a" * 12).shard("sky")


def test_the_mean_is_of_what_is_finite(tmp_path: Path) -> None:
    path = Path(shard(tmp_path, "aaaaaaaaaaaa", 1.0))
    np.save(path, np.array([[1, 2, 3, 4], [np.nan, 0, 0, 0], [3, 4, 5, 6]], np.float16))
    assert mean_features(Features.open(path)).tolist() == [2, 3, 4, 5]
