"""The ResNets of the few-shot curves: pretrained once, kept, and drawn beside the one from scratch."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from lvm_training.model import resnet
from lvm_training.params import load_params
from lvm_training.stages import evaluate
from lvm_training.stages.baselines import pretrained_resnet
from lvm_training.stages.paths import NANO_BUILD
from lvm_training.stamps.rendering import Rendering

ROOT = Path(__file__).parents[3]


@pytest.fixture
def rendering(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rendering:
    document = yaml.safe_load((ROOT / "params.yaml").read_text("utf-8"))
    document["nano"]["multitask"] |= {"batch": 6, "epoch_steps": 1, "validation": 4, "warmup": 1}
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    return Rendering(size=32)


def test_it_is_pretrained_once_and_its_score_is_kept(rendering: Rendering) -> None:
    state = pretrained_resnet("resnet18", rendering, 2)
    assert (NANO_BUILD / "resnet18-2.json").is_file()
    written = (NANO_BUILD / "resnet18-2.safetensors").stat().st_mtime_ns
    again = pretrained_resnet("resnet18", rendering, 2)
    assert (NANO_BUILD / "resnet18-2.safetensors").stat().st_mtime_ns == written
    assert state.keys() == again.keys() and all(torch.equal(state[name], again[name]) for name in state)


def test_its_curve_stands_beside_those_of_the_others(rendering: Rendering, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resnet, "LEAST_STEPS", 2)
    monkeypatch.setattr(resnet, "EPOCHS", 1)
    rng = np.random.default_rng(0)
    labels = ["ring", "bar"] * 12
    images = torch.from_numpy(rng.random((24, 3, 32, 32), dtype=np.float32))
    changes = {"sizes": (4,), "draws": 2, "resnet_draws": 1, "resnet_pretraining": 2}
    params = load_params(ROOT / "params.yaml").evaluate.model_copy(update=changes)
    state = pretrained_resnet("resnet18", rendering, params.resnet_pretraining)
    features = rng.normal(size=(24, 8)).astype(np.float32)
    curves = evaluate.curves(features, images, labels, np.arange(12), np.arange(12, 24), params, state)
    assert list(curves) == ["LVM", "pixel PCA", "ResNet18 from scratch", "ResNet18, pretrained alike"]
    assert not np.array_equal(curves["ResNet18 from scratch"].mean, curves["ResNet18, pretrained alike"].mean)
