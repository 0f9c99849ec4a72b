"""The stage that indexes the pool, against neighbours found one by one."""

import json
from pathlib import Path

import numpy as np
import pytest

from lvm_training.index.files import open_index
from lvm_training.index.pool_index import build_index
from lvm_training.paths import FEATURE_FILE, INDEX, INDEX_METRICS, STAMP_FILE
from lvm_training.pool.features import Features
from lvm_training.stages import index as stage
from tests.lvm_training.parameters.skies import SIDE, write_set
from tests.lvm_training.pool.shard_files import brute_force, cloud, write_shard

N, K = 60, 10
CLASSES = np.array(["spiral", "round smooth", "edge-on disc"])[np.arange(N) % 3]


def test_precision_is_that_of_neighbours_found_one_by_one(tmp_path: Path) -> None:
    matrix = cloud(N)
    rows = np.arange(0, N, 4)
    found = stage.neighbour_precision(build_index(write_shard(tmp_path, matrix), kind="float32"), rows, CLASSES, K)
    right: dict[str, list[float]] = {}
    for row in rows:
        alike = brute_force(matrix, np.asarray(matrix[row], dtype=np.float16))
        alike[row] = -2
        nearest = np.argsort(-alike)[:K]
        right.setdefault(f"precision/{CLASSES[row]}", []).append(np.mean(CLASSES[nearest] == CLASSES[row]))
    expected = {name: np.mean(values) for name, values in right.items()}
    assert found == pytest.approx(expected | {"precision": np.mean(list(expected.values()))})


def test_the_stage_keeps_an_exact_index_that_opens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    FEATURE_FILE.parent.mkdir(parents=True)
    STAMP_FILE.parent.mkdir(parents=True)
    apart = np.eye(3)[np.arange(N) % 3] @ cloud(3, seed=7) + 0.01 * cloud(N, seed=8)
    write_shard(FEATURE_FILE.parent, apart, FEATURE_FILE.stem)
    split = np.where(np.arange(N) % 2, "test", "train")
    blank = [np.zeros((3, SIDE, SIDE), np.float32)] * N
    write_set(STAMP_FILE, blank, {"split": split.tolist(), "morphology": CLASSES.tolist()})
    stage.main()
    measured = json.loads(INDEX_METRICS.read_text())
    assert measured == {f"precision/{name}": 1.0 for name in CLASSES} | {"precision": 1.0}
    opened = open_index(INDEX, Features.open(FEATURE_FILE))
    assert opened.plan.kind == "float32" and len(opened) == N
