"""The pretrained baseline: it learns to read, goes on after a stop, and starts a classifier."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from lvm_training.params import MultitaskParams
from lvm_training.stamps.rendering import Rendering
from lvm_training.supervised.resnet import ReadingData, pretrain_resnet
from lvm_training.supervised.training import fit_resnet18


@pytest.fixture
def params(multitask_params: MultitaskParams) -> MultitaskParams:
    return multitask_params.model_copy(update={"batch": 16, "learning_rate": 1e-3, "epoch_steps": 3, "validation": 24})


def test_every_stamp_is_read_and_none_is_masked(rendering: Rendering, params: MultitaskParams) -> None:
    (batch, *_) = list(ReadingData(rendering, params).train_dataloader())
    assert len(batch.images) == 16 and not batch.mask.any() and not batch.task.any()
    assert batch.truth.isfinite().any(1).all()


def test_processes_read_batches_of_their_own(rendering: Rendering, params: MultitaskParams) -> None:
    def read(rank: int, world: int) -> list[torch.Tensor]:
        data = ReadingData(rendering, params)
        data.trainer = SimpleNamespace(global_rank=rank, world_size=world, current_epoch=0)  # type: ignore[assignment]
        return [batch.images for batch in data.train_dataloader()]

    alone, first, second = read(0, 1), read(0, 2), read(1, 2)
    assert len(alone) == len(first) == len(second) == params.epoch_steps
    torch.testing.assert_close(torch.stack([first[0], second[0], first[1]]), torch.stack(alone[:3]))


def test_it_learns_the_stamps_it_is_shown_and_the_state_starts_a_classifier(
    rendering: Rendering, params: MultitaskParams, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same sixteen stamps at each step: the loss falls to a tenth, a margin that floating point does not reach."""
    batch = next(iter(ReadingData(rendering, params).train_dataloader()))
    monkeypatch.setattr(ReadingData, "_batches", lambda self, stamps, length, seed: [batch] * length)
    started, before = pretrain_resnet(
        "resnet18", rendering, params.model_copy(update={"steps": 1, "warmup": 0}), tmp_path / "a"
    )
    longer = params.model_copy(update={"steps": 30, "epoch_steps": 30})
    state, after = pretrain_resnet("resnet18", rendering, longer, tmp_path / "b")
    assert after["train/loss"] < 0.4 * before["train/loss"]
    assert {"train/loss", "score/classification"} <= after.keys() and started.keys() == state.keys()
    images = torch.rand(8, 3, 32, 32)
    model = fit_resnet18(images, ["a", "b"] * 4, ["a", "b"], seed=0, steps=1, encoder_state=state)
    assert model.predict(images).shape == (8, 2)


def test_a_run_that_was_stopped_ends_as_an_uninterrupted_one(
    rendering: Rendering, params: MultitaskParams, tmp_path: Path
) -> None:
    whole, _ = pretrain_resnet("resnet18", rendering, params, tmp_path / "whole")

    def stop(done: int, _: int) -> None:
        if done == 5:
            raise KeyError("stopped")

    with pytest.raises(KeyError):
        pretrain_resnet("resnet18", rendering, params, tmp_path / "run", progress=stop)
    resumed, _ = pretrain_resnet("resnet18", rendering, params, tmp_path / "run")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
