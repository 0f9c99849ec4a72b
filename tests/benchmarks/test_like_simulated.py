"""The benchmark of searches for what the simulator draws."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks import bench_like_simulated


def test_each_pack_has_features_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_like_simulated, "KEPT", tmp_path / "kept")
    seen: list[int] = []

    def features(pictures: torch.Tensor) -> torch.Tensor:
        seen.append(len(pictures))
        return pictures.flatten(1).mean(1, keepdim=True)

    encoder, rows = SimpleNamespace(digest="e" * 12, features=features), np.array([0, 2])
    for level in (0, 255):
        pack = SimpleNamespace(pictures=torch.full((3, 3, 4, 4), level, dtype=torch.uint8))
        for _ in range(2):
            found = bench_like_simulated.features_of(pack, rows, encoder)  # type: ignore[arg-type]
            np.testing.assert_array_equal(found, np.full((2, 1), level / 255))
    assert seen == [2, 2], "embedded once each"
