"""The networks of the few-shot curves: trained once, kept, and drawn beside frozen features."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from lvm_training.evaluation import baselines
from lvm_training.evaluation.baselines import pretrained_resnet, whole_resnet18
from lvm_training.model.lvm import LVM
from lvm_training.params import load_params
from lvm_training.paths import NANO_BUILD
from lvm_training.stages.evaluate import lvm as evaluate
from lvm_training.stamps.rendering import Rendering
from lvm_training.supervised import training

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where networks are kept, for whoever asks next too."""
    made = tmp_path_factory.mktemp("networks")
    document = yaml.safe_load((ROOT / "params.yaml").read_text("utf-8"))
    document["nano"]["multitask"] |= {"batch": 6, "epoch_steps": 1, "validation": 4, "warmup": 1}
    (made / "params.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    return made


@pytest.fixture
def rendering(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Rendering:
    monkeypatch.chdir(folder)
    return Rendering(size=32)


def test_it_is_pretrained_once_and_its_score_is_kept(rendering: Rendering) -> None:
    state = pretrained_resnet("resnet18", rendering, 2)
    assert (NANO_BUILD / "resnet18-2.json").is_file()
    written = (NANO_BUILD / "resnet18-2.safetensors").stat().st_mtime_ns
    again = pretrained_resnet("resnet18", rendering, 2)
    assert (NANO_BUILD / "resnet18-2.safetensors").stat().st_mtime_ns == written
    assert state.keys() == again.keys() and all(torch.equal(state[name], again[name]) for name in state)


def test_curves_of_networks_trained_whole_stand_beside_those_of_frozen_features(
    rendering: Rendering, lvm: LVM, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "LEAST_STEPS", 2)
    monkeypatch.setattr(training, "EPOCHS", 1)
    rng = np.random.default_rng(0)
    labels = ["ring", "bar"] * 12
    images = torch.from_numpy(rng.random((24, 3, lvm.preset.size, lvm.preset.size), dtype=np.float32))
    changes = {"sizes": (4,), "draws": 2, "whole_draws": 1, "resnet_pretraining": 2}
    params = load_params(ROOT / "params.yaml").evaluate.model_copy(update=changes)
    state = pretrained_resnet("resnet18", rendering, params.resnet_pretraining)
    features = rng.normal(size=(24, 8)).astype(np.float32)
    train, test = np.arange(12), np.arange(12, 24)
    curves = evaluate.curves(features, images, labels, train, test, params, lvm=lvm, pretrained=state)
    whole = ["LVM, trained whole", "ResNet18 from scratch", "ResNet18, pretrained alike"]
    assert list(curves) == ["LVM", "pixel PCA", *whole]
    assert len({curves[name].mean.tobytes() for name in whole}) == 3
    assert [len(curve.auc) for curve in curves.values()] == [2, 2, 1, 1, 1]


def test_one_training_answers_from_eight_views_and_from_one(
    rendering: Rendering, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "LEAST_STEPS", 2)
    monkeypatch.setattr(training, "EPOCHS", 1)
    images = torch.rand(12, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    rows, known, wanted = np.arange(6), ["a", "b"] * 3, np.arange(6, 12)
    eight = whole_resnet18(images, seed=3)(rows, known, wanted)
    monkeypatch.setattr(baselines, "fit_resnet18", lambda *_, **__: pytest.fail("trained again"))
    one = whole_resnet18(images, seed=3, views=1)(rows, known, wanted)
    model = training.fit_resnet18(images[:6], known, ["a", "b"], seed=3)
    np.testing.assert_allclose(eight, model.predict(images[6:]))
    np.testing.assert_allclose(one, model.predict(images[6:], views=1))
    assert not np.allclose(one, eight)
