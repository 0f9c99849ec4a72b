"""Multi-task training: shares, batches on the fly, losses and scores against plain formulas, and runs that go on."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from lvm_training.model.lvm import LVM, Preset
from lvm_training.params import TASKS, MultitaskParams, ParamsError
from lvm_training.pretraining.multitask import (
    CLASSIFICATION,
    RECONSTRUCTION,
    RESTORATION,
    MultiTask,
    explained_variance,
    shares_of,
    train_tasks,
)
from lvm_training.pretraining.multitask_data import MultitaskData, SimulatedTasks, TaskBatch, apportioned
from lvm_training.scenes.truth import truth_scale
from lvm_training.stamps.rendering import Rendering
from tests.forked import torchrun
from tests.lvm_training.pretraining.multitask_process import main


@pytest.fixture
def params(multitask_params: MultitaskParams) -> MultitaskParams:
    return multitask_params


def tasks(rendering: Rendering, params: MultitaskParams, seed: int = 0, **counts: int) -> SimulatedTasks:
    numbers = {task: counts.get(task, 4) for task in TASKS}
    return SimulatedTasks(rendering, params, 4, truth_scale(rendering), numbers, 3, (seed,))


@given(st.lists(st.floats(0, 1), min_size=3, max_size=3), st.floats(0, 1 / 3))
def test_shares_add_up_and_keep_the_floor(shortfalls: list[float], floor: float) -> None:
    shares = shares_of(torch.tensor(shortfalls, dtype=torch.float64), floor)
    assert float(shares.sum()) == pytest.approx(1)
    assert (shares >= floor - 1e-9).all()
    order = torch.tensor(shortfalls, dtype=torch.float64)
    for i in range(3):
        for j in range(3):
            if order[i] > order[j]:
                assert shares[i] >= shares[j] - 1e-9, "who lacks more gets no less"


def test_shares_by_hand() -> None:
    torch.testing.assert_close(shares_of(torch.tensor([0.6, 0.2, 0.0]), 0.1), torch.tensor([0.625, 0.275, 0.1]))
    torch.testing.assert_close(shares_of(torch.zeros(3), 0.1), torch.full((3,), 1 / 3))


@given(st.lists(st.floats(0.01, 1), min_size=3, max_size=3), st.integers(3, 200))
def test_apportioned_numbers_add_up_and_are_near_the_shares(weights: list[float], count: int) -> None:
    shares = np.array(weights) / sum(weights)
    numbers = apportioned(shares.tolist(), count)
    assert sum(numbers) == count and min(numbers) >= 1
    assert all(abs(number - share * count) <= 3 for number, share in zip(numbers, shares, strict=True))


def test_a_batch_depends_on_its_place_alone_and_has_the_counts_asked_for(
    rendering: Rendering, params: MultitaskParams
) -> None:
    first = tasks(rendering, params, classification=5, restoration=2, reconstruction=3)
    again = tasks(rendering, params, classification=5, restoration=2, reconstruction=3)
    backwards = [again[index] for index in (2, 1, 0)][::-1]
    for index in range(3):
        for a, b in zip(first[index], backwards[index], strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)
    assert torch.bincount(first[0].task).tolist() == [5, 2, 3]
    assert not torch.equal(first[0].images, first[1].images)


@pytest.mark.parametrize("block", [2, 6])
def test_blocks_that_do_not_tile_a_picture(rendering: Rendering, params: MultitaskParams, block: int) -> None:
    with pytest.raises(ParamsError, match="do not tile"):
        MultitaskData(rendering, params.model_copy(update={"mask_patch": block}), 4)


def test_each_task_gets_what_it_learns_from(rendering: Rendering, params: MultitaskParams) -> None:
    batch = tasks(rendering, params)[0]
    classified, restored, filled = (batch.task == code for code in (CLASSIFICATION, RESTORATION, RECONSTRUCTION))
    assert batch.truth[classified].isfinite().any(1).all() and not batch.truth[~classified].isfinite().any()
    assert batch.mask.flatten(1).any(1).tolist() == filled.tolist()
    assert batch.mask[filled].float().mean() == 0.5
    assert torch.equal(batch.images[filled], batch.target[filled])
    noise = (batch.images - batch.target)[restored].flatten(1).std(1)
    assert (noise > 0).all()


def batch_of(rendering: Rendering, params: MultitaskParams) -> TaskBatch:
    return tasks(rendering, params)[0]


def test_the_losses_are_one_for_the_trivial_answers(lvm: LVM, rendering: Rendering, params: MultitaskParams) -> None:
    batch = batch_of(rendering, params)
    module = MultiTask(lvm, params, truth_scale(rendering).names)
    others = batch.task != CLASSIFICATION
    pictures = batch.images[others].clone()
    hidden = batch.mask.repeat_interleave(4, 1).repeat_interleave(4, 2)
    for row in np.flatnonzero((batch.task == RECONSTRUCTION).numpy()):
        colour = batch.target[row][:, hidden[row]].mean(1)
        pictures[row - int((~others).sum())] = colour[:, None, None]
    losses = module.losses(batch, torch.zeros_like(batch.truth[~others]), pictures)
    torch.testing.assert_close(losses, torch.ones(3))
    perfect = module.losses(batch, batch.truth[~others].nan_to_num(), batch.target[others])
    torch.testing.assert_close(perfect, torch.zeros(3))


def test_a_task_trains_only_its_part(lvm: LVM, rendering: Rendering, params: MultitaskParams) -> None:
    module = MultiTask(lvm.train(), params, truth_scale(rendering).names)
    batch = batch_of(rendering, params)
    classification, restoration, _ = module.losses(batch, *module.outputs(batch))
    classification.backward(retain_graph=True)
    assert module.readout.weight.grad is not None and module.readout.weight.grad.abs().sum() > 0
    assert all(p.grad is None or not p.grad.any() for p in lvm.decoder.parameters())
    assert lvm.encoder.patch_embed.proj.weight.grad.abs().sum() > 0
    module.zero_grad()
    restoration.backward()
    assert module.readout.weight.grad is None or not module.readout.weight.grad.any()
    assert lvm.decoder.first.shuffled[0].weight.grad.abs().sum() > 0


def test_one_pass_reads_the_features_and_restores(lvm: LVM, rendering: Rendering, params: MultitaskParams) -> None:
    module = MultiTask(lvm, params, truth_scale(rendering).names)
    batch = batch_of(rendering, params)
    with torch.inference_mode():
        readings, pictures = module.outputs(batch)
        classified = batch.task == CLASSIFICATION
        torch.testing.assert_close(readings, module.readout(lvm.features(batch.images[classified])))
        torch.testing.assert_close(pictures, lvm(batch.images[~classified], batch.mask[~classified]))


def test_explained_variance_leaves_out_what_is_unknown() -> None:
    rng = np.random.default_rng(0)
    truth, readings = rng.normal(size=(50, 3)), rng.normal(size=(50, 3))
    truth[:, 2] = 0.5
    truth[10:20, 1] = np.nan
    found = explained_variance(torch.from_numpy(truth), torch.from_numpy(readings))
    assert found[2].isnan(), "nothing varies"
    for column in range(2):
        known = np.isfinite(truth[:, column])
        t, r = truth[known, column], readings[known, column]
        assert float(found[column]) == pytest.approx(1 - ((t - r) ** 2).sum() / ((t - t.mean()) ** 2).sum())


def test_the_readout_begins_as_the_seed_says(lvm: LVM, rendering: Rendering, params: MultitaskParams) -> None:
    names = truth_scale(rendering).names
    # PyTorch seeds each process at random
    one, again = ((torch.seed(), MultiTask(lvm, params, names).readout.weight)[1] for _ in range(2))
    assert torch.equal(one, again)
    other = MultiTask(lvm, params.model_copy(update={"seed": params.seed + 1}), names).readout.weight
    assert not torch.equal(one, other)


def train(tiny: Preset, rendering: Rendering, params: MultitaskParams, folder: Path) -> tuple[LVM, dict[str, float]]:
    torch.manual_seed(0)
    lvm = LVM(tiny)
    return lvm, train_tasks(lvm, MultitaskData(rendering, params, tiny.patch), params, folder)


def test_training_learns_all_three_tasks_and_moves_the_shares(
    tiny: Preset, rendering: Rendering, params: MultitaskParams, tmp_path: Path
) -> None:
    short = params.model_copy(update={"steps": 1, "epoch_steps": 1, "warmup": 0, "learning_rate": 1e-9})
    goals = {"classification": 0.8, "restoration": 3.0, "reconstruction": 0.01}
    longer = {"steps": 120, "batch": 24, "learning_rate": 1e-2, "warmup": 4, "epoch_steps": 20, "validation": 24}
    long = params.model_copy(update=longer | {"goals": goals})
    _, before = train(tiny, rendering, short, tmp_path / "short")
    _, after = train(tiny, rendering, long, tmp_path / "long")
    for task in TASKS:
        assert after[f"score/{task}"] > before[f"score/{task}"], after
    shares = {task: after[f"share/{task}"] for task in TASKS}
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["reconstruction"] == pytest.approx(params.floor), "it is past its goal"


def test_scores_and_shares_after_validation(lvm: LVM, rendering: Rendering, params: MultitaskParams) -> None:
    module = MultiTask(lvm, params, ("a",))
    logged: dict[str, float] = {}
    module.log_dict = lambda values: logged.update(values)  # type: ignore[method-assign]
    truth = torch.tensor([[-1.0], [1.0], [torch.nan]])
    parts = {"missed": torch.tensor([1.0, 2.0]), "spread": torch.tensor([4.0, 6.0])}
    module._held_out.append(
        {"truth": truth, "readings": truth.nan_to_num() / 2, "gain": torch.tensor([1.0, 3.0])} | parts
    )
    module.on_validation_epoch_end()
    assert logged["score/classification"] == logged["truth/a"] == pytest.approx(0.75)
    assert logged["score/restoration"] == pytest.approx(2)
    assert logged["score/reconstruction"] == pytest.approx(0.7)
    lacking = torch.tensor([1 - 0.75 / 0.8, 1 - 2 / 3, 0.0])
    torch.testing.assert_close(module.shares, shares_of(lacking, 0.1))
    assert logged["share/restoration"] == pytest.approx(1 / 3), "the share of the epoch that ended"


def test_equal_shares_stay_equal(tiny: Preset, rendering: Rendering, params: MultitaskParams, tmp_path: Path) -> None:
    _, metrics = train(tiny, rendering, params.model_copy(update={"shares": "equal"}), tmp_path)
    assert [metrics[f"share/{task}"] for task in TASKS] == pytest.approx([1 / 3] * 3)


class StoppedError(Exception):
    """Stands for a kill."""


def test_a_run_that_was_stopped_ends_as_an_uninterrupted_one(
    tiny: Preset, rendering: Rendering, params: MultitaskParams, tmp_path: Path
) -> None:
    whole, expected = train(tiny, rendering, params, tmp_path / "whole")

    def stop(done: int, _: int) -> None:
        if done == 5:
            raise StoppedError

    torch.manual_seed(0)
    lvm = LVM(tiny)
    with pytest.raises(StoppedError):
        train_tasks(lvm, MultitaskData(rendering, params, 4), params, tmp_path / "run", progress=stop)
    torch.manual_seed(1)
    resumed = LVM(tiny)
    found = train_tasks(resumed, MultitaskData(rendering, params, 4), params, tmp_path / "run")
    for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert found == pytest.approx(expected, nan_ok=True)


def test_two_processes_read_different_stamps_and_agree_on_weights_and_shares(
    tiny: Preset, params: MultitaskParams, tmp_path: Path
) -> None:
    torchrun(main, params, tiny, tmp_path)
    first, second = (load_file(tmp_path / f"weights-{rank}.safetensors") for rank in (0, 1))
    assert not torch.equal(first.pop("first"), second.pop("first"))
    assert all(torch.equal(first[name], second[name]) for name in first)
