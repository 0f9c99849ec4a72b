"""Several processes: the layouts torchrun asks for, and two real processes that do what one does with all stamps."""

import json
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from lvm_training.errors import StampError
from lvm_training.model.lvm import Preset
from lvm_training.model.ranks import Layout, RankBatches, find_layout, leads
from lvm_training.params import ParamsError, PretrainParams
from lvm_training.pretraining.data import PretrainingBatches, PretrainingData
from lvm_training.stamps.rendering import Rendering
from tests import forked
from tests.lvm_training.pretraining.training_process import Setup, run, run_apart

MakeStamps = Callable[..., Path]


def torchrun(world: int, local: int) -> dict[str, str]:
    return {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": str(local)}


@pytest.mark.parametrize(
    ("environment", "gpus", "layout", "backend"),
    [
        ({}, 0, Layout("cpu", 1, 1, torchrun=False), None),
        ({}, 1, Layout("cuda", 1, 1, torchrun=False), None),
        ({}, 4, Layout("cuda", 4, 1, torchrun=False), "nccl"),
        # the processes that Lightning starts for further GPUs do not come from torchrun
        ({"WORLD_SIZE": "4", "LOCAL_RANK": "3"}, 4, Layout("cuda", 4, 1, torchrun=False), "nccl"),
        (torchrun(1, 1), 0, Layout("cpu", 1, 1, torchrun=True), None),
        (torchrun(2, 2), 0, Layout("cpu", 2, 1, torchrun=True), "gloo"),
        (torchrun(8, 4), 4, Layout("cuda", 4, 2, torchrun=True), "nccl"),
        (torchrun(2, 1), 4, Layout("cuda", 1, 2, torchrun=True), "nccl"),
    ],
)
def test_layouts(environment: dict[str, str], gpus: int, layout: Layout, backend: str | None) -> None:
    assert find_layout(environment, gpus) == layout
    assert layout.backend == backend


def test_layouts_that_cannot_be() -> None:
    with pytest.raises(ParamsError, match="4 processes on a machine with 2 GPUs") as caught:
        find_layout(torchrun(4, 4), 2)
    assert "--nproc_per_node=2" in caught.value.hint
    with pytest.raises(ParamsError, match="3 processes in all, but 2 on this machine"):
        find_layout(torchrun(3, 2), 0)


def test_the_first_process_leads(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert leads()
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert not leads()
    monkeypatch.setenv("RANK", "0")
    assert leads()
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv("RANK", "4")
    assert not leads()


@given(count=st.integers(0, 40), world=st.integers(1, 8))
def test_every_process_has_as_many_batches_and_none_twice(count: int, world: int) -> None:
    batches: Any = list(range(count))
    shares = [RankBatches[int](batches, rank, world) for rank in range(world)]
    read = [[share[index] for index in range(len(share))] for share in shares]
    assert {len(one) for one in read} == {count // world}
    assert sorted(chain(*read)) == batches[: count // world * world]
    with pytest.raises(IndexError):
        shares[0][count // world]


@pytest.mark.parametrize("world", [2, 3])
def test_processes_together_read_the_batches_of_one(
    make_stamps: MakeStamps, rendering: Rendering, pretrain_params: PretrainParams, world: int
) -> None:
    path, rows = make_stamps(24), np.arange(24)
    params = pretrain_params.model_copy(update={"masked_share": 0.4, "invariance_weight": 1.0})
    small, large = params.model_copy(update={"batch": 4}), params.model_copy(update={"batch": 4 * world})
    catalogue = rows[:, None].astype(np.float32)
    parts = PretrainingBatches([path], rows, catalogue, rendering, small, 4, (7,), world)
    whole = PretrainingBatches([path], rows, catalogue, rendering, large, 4, (7,))
    assert len(parts) == world * len(whole) == 24 // 4
    for index in range(len(whole)):
        together = [parts[world * index + rank] for rank in range(world)]
        for name in ("degraded", "clean", "mask", "catalogue", "second"):
            joined = torch.cat([getattr(part, name) for part in together])
            torch.testing.assert_close(joined, getattr(whole[index], name), rtol=0, atol=1e-6)


def test_more_processes_than_stamps(
    make_stamps: MakeStamps, rendering: Rendering, pretrain_params: PretrainParams
) -> None:
    class Two:
        global_rank, world_size, current_epoch = 0, 2, 0

    data = PretrainingData(make_stamps(2), rendering, pretrain_params, 4)
    data.trainer = Two()  # type: ignore[assignment]
    with pytest.raises(StampError, match="1 stamps to train on for 2 processes"):
        data.train_dataloader()
    assert data.val_dataloader() == []


@pytest.fixture
def stamps(make_stamps: MakeStamps) -> Path:
    """36 stamps to train on and 4 to measure with, unevenly observed."""
    path = make_stamps(50)
    with h5py.File(path, "a") as file:
        file["images"][7, 1, 20:30] = np.nan
        file["axis_ratio"][3:9] = np.nan
        file["row"] = np.arange(50.0)
    return path


def steps(setup: Setup, rank: int) -> list[dict[str, Any]]:
    lines = (setup.folder / f"steps-{rank}.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_two_processes_do_what_one_does_with_all_their_stamps_also_after_a_kill(
    tmp_path: Path, stamps: Path, tiny: Preset, rendering: Rendering, pretrain_params: PretrainParams
) -> None:
    preset = tiny.model_copy(update={"drop_path": 0.0})
    changes = {"steps": 4, "masked_share": 0.5, "catalogue": ("axis_ratio", "radius", "row"), "learning_rate": 1e-3}

    def setup(name: str, batch: int, kill_at: int = 0) -> Setup:
        (tmp_path / name).mkdir(exist_ok=True)
        params = pretrain_params.model_copy(update={**changes, "batch": batch})
        return Setup(
            stamps=[stamps], preset=preset, rendering=rendering, params=params, folder=tmp_path / name, kill_at=kill_at
        )

    one, two = setup("one", 18), setup("two", 9, kill_at=3)
    run(one)
    forked.torchrun(run_apart, two, restarts=1)
    first, second = (load_file(two.folder / f"weights-{rank}.safetensors") for rank in (0, 1))
    alone = load_file(one.folder / "weights-0.safetensors")
    assert all(torch.equal(first[name], second[name]) for name in first)
    told = [(line["step"], line["restarts"]) for line in steps(two, 0)]
    assert told == [(0, 0), (1, 0), (2, 0), (2, 1), (3, 1)], "the restart goes on behind the first epoch"
    parts, whole = [steps(two, rank)[-2:] for rank in (0, 1)], steps(one, 0)[-2:]
    assert [line["step"] for line in parts[0]] == [line["step"] for line in parts[1]] == [2, 3]
    read = [stamp for share in parts for line in share for stamp in line["stamps"]]
    data = PretrainingData(stamps, rendering, two.params, preset.patch)
    assert sorted(read) == sorted(data.catalogue[data.training_rows, -1].tolist()), "an epoch reads every stamp once"
    for a, b, both in zip(*parts, whole, strict=True):
        assert (a["loss"] + b["loss"]) / 2 == pytest.approx(both["loss"], rel=1e-5)
    for name, weights in alone.items():
        torch.testing.assert_close(first[name], weights, rtol=0, atol=1e-5, msg=name)
