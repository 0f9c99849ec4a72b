"""Stages `train_detector` and `release_detector`: the same recipe for both, on stamps of the disk or endless ones."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from lvm_training.detection.checkpoint import load_detector
from lvm_training.lenses.lens_sets import lens_rendering, write_lenses
from lvm_training.model.encoder import load_checkpoint, save_checkpoint
from lvm_training.model.lvm import LVM
from lvm_training.model.training_run import Run
from lvm_training.params import DetectorParams, LensesParams
from lvm_training.stages.train import detector as stage
from lvm_training.stages.train.detector import Inputs, Outputs, fresh_lenses, new_detector, run_training
from lvm_training.stamps.rendering import Rendering
from tests.lvm_training.detection.detection_pictures import FOUR_STAGES, SIDE

LENSES = LensesParams(
    train=6,
    validation=4,
    test=4,
    lens_share=0.5,
    einstein_radius=(1.0, 3.0),
    signal_to_noise=(50.0, 400.0),
    look_alikes={"ring": 0.2, "spiral": 0.2, "merger": 0.2, "neighbours": 0.2, "early_type": 0.1, "any": 0.1},
    seed=1,
)
RECIPE = DetectorParams(
    backbone="lvm",
    start="pretrained",
    channels=8,
    size=64,
    images=4,
    endless=True,
    realism=0.5,
    steps=4,
    batch=2,
    learning_rate=1e-3,
    warmup=1,
    weight_decay=0.05,
    epoch_steps=2,
    held_out=3,
    patience=5,
    pool=0,
    examples=1,
    seed=1,
)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """Fourteen stamps, and an untrained LVM for pictures of 32 pixels."""
    folder = tmp_path_factory.mktemp("inputs")
    made = Inputs(folder / "lenses.h5", folder / "lenses.json", folder / "lvm")
    write_lenses(made.stamps, made.truth, LENSES)
    torch.manual_seed(0)
    rendering = Rendering(size=SIDE)
    save_checkpoint(made.encoder, LVM(FOUR_STAGES), rendering, data="", code="", params={}, metrics={})
    return made


def outputs(folder: Path) -> Outputs:
    return Outputs(folder / "detector", folder / "metrics.json", folder / "curve.csv")


def test_the_encoder_is_taken_to_larger_pictures(inputs: Inputs) -> None:
    detector, encoder = new_detector(RECIPE, inputs.encoder)
    lvm, card = load_checkpoint(inputs.encoder)
    assert encoder == card.encoder and detector.design.size == 64
    assert detector.design.preset == FOUR_STAGES.model_copy(update={"size": 64, "name": "four-64"})
    kept = detector.network.state_dict()["backbone.bottom_up.lvm.encoder.patch_embed.proj.weight"]
    assert torch.equal(kept, lvm.state_dict()["encoder.patch_embed.proj.weight"])
    own, _ = new_detector(RECIPE.model_copy(update={"size": None}), inputs.encoder)
    assert own.design.size == SIDE and own.design.preset == FOUR_STAGES
    resnet, none = new_detector(RECIPE.model_copy(update={"backbone": "resnet50"}), inputs.encoder)
    assert (resnet.design.size, resnet.design.preset, none) == (64, None, "")


def test_every_epoch_has_stamps_of_its_own() -> None:
    draw = fresh_lenses(RECIPE, LENSES, lens_rendering(64))
    first, second, again = draw(0), draw(1), draw(1)
    assert len(first[0]) == len(first[1]) == RECIPE.images
    assert not torch.equal(first[0], second[0]) and torch.equal(second[0], again[0])
    assert [one.classes for one in second[1]] == [one.classes for one in again[1]]
    for image, truth in zip(*second, strict=True):
        assert truth.shape == tuple(image.shape[1:]) == (64, 64)
    other = fresh_lenses(RECIPE.model_copy(update={"seed": 2}), LENSES, lens_rendering(64))
    assert not torch.equal(first[0], other(0)[0])


def trained(
    inputs: Inputs, folder: Path, stop: Callable[[int, int], None], monkeypatch: pytest.MonkeyPatch
) -> dict[str, torch.Tensor]:
    """The weights of a training whose progress goes to `stop`."""
    run = stage.training_run

    @contextmanager
    def watched(name: str, params: DetectorParams, read: list[str]) -> Iterator[Run]:
        with run(name, params, read) as opened:
            yield opened._replace(progress=stop)

    monkeypatch.setattr(stage, "training_run", watched)
    run_training("detector", RECIPE, LENSES, inputs, outputs(folder))
    return load_detector(folder / "detector")[0].state_dict()


def test_a_recipe_becomes_a_detector_with_its_card(
    inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    out = outputs(tmp_path)
    judged = []

    def judge(detector: torch.nn.Module) -> dict[str, float]:
        judged.append(detector.state_dict())
        return {"test/accuracy": 0.25}

    run_training("detector", RECIPE, LENSES, inputs, out, judged=judge, half=True)
    detector, card = load_detector(out.detector)
    assert card.metrics["test/accuracy"] == 0.25 and "validation/f1" in card.metrics
    assert card.params == RECIPE.model_dump() and card.rendering == lens_rendering(64)
    for name, tensor in detector.state_dict().items():
        assert torch.equal(tensor, judged[0][name]), "what was judged is what is stored, rounded and all"
        assert torch.equal(tensor, tensor.half().float()) or not tensor.is_floating_point()
    assert out.metrics.is_file() and len(out.curve.read_text().splitlines()) == 1 + 4 * RECIPE.steps
    assert not list((tmp_path / "build" / "resume").iterdir()), "nothing is left to resume"


def test_a_killed_training_on_endless_stamps_ends_as_one_that_was_not(
    inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def kill(done: int, _: int) -> None:
        if done == 3:
            raise KeyError("killed")

    with monkeypatch.context() as patch, pytest.raises(KeyError):
        trained(inputs, tmp_path / "killed", kill, patch)
    kept = next((tmp_path / "build" / "resume").rglob("last.ckpt"))
    assert torch.load(kept, weights_only=True)["global_step"] == 2
    with monkeypatch.context() as patch:
        resumed = trained(inputs, tmp_path / "killed", lambda done, steps: None, patch)
        whole = trained(inputs, tmp_path / "whole", lambda done, steps: None, patch)
    assert all(np.array_equal(resumed[name], whole[name]) for name in whole)
