"""Several sets as one, the order of an epoch, and sets of a million stamps."""

import multiprocessing
import resource
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lvm_training.errors import StampError
from lvm_training.model.lvm import NANO
from lvm_training.params import PretrainParams
from lvm_training.pretraining.data import PretrainingData
from lvm_training.pretraining.sets import RUN, SHUFFLED_WHOLE, TrainingStamps, epoch_order
from lvm_training.stamps.render import render_set
from lvm_training.stamps.rendering import Rendering
from lvm_training.stamps.stampset import StampSet
from tests import forked

MakeStamps = Callable[..., Path]


@pytest.fixture
def three(make_stamps: MakeStamps) -> list[Path]:
    """Sets of 5, 6 and 7 stamps, one of them of pictures, one without splits."""
    paths = [make_stamps(5 + number, name=f"set{number}", seed=number, delivered=number == 1) for number in range(3)]
    with h5py.File(paths[2], "a") as file:
        del file["split"]
    return paths


def test_rows_of_several_sets_in_the_order_asked_for(three: list[Path], rendering: Rendering) -> None:
    pictures = []
    for path in three:
        with StampSet(path) as stamps:
            pictures.append(render_set(stamps, slice(None), rendering))
    together = torch.cat(pictures)
    sets = TrainingStamps(three)
    assert len(sets) == 18
    rows = np.random.default_rng(0).permutation(18)[:11]
    bands, clean = sets.exposures(rows, rendering)
    assert torch.equal(clean, together[rows])
    assert bands.shape == clean.shape
    sets.close()


def test_columns_splits_kinds_and_digest_of_several_sets(three: list[Path]) -> None:
    sets = TrainingStamps(three)
    assert sets.outside_test().tolist() == [row for row in range(18) if row not in (0, 5, 10)]
    assert set(sets.columns) == {"morphology", "axis_ratio", "radius"}
    assert len(sets.column("radius")) == 18
    assert sets.kinds == ["nanomaggies", "as-delivered", "nanomaggies"]
    assert sets.names == "set0.h5, set1.h5, set2.h5"
    with pytest.raises(StampError, match="set2 has no column 'split'"):
        sets.column("split")
    one = TrainingStamps(three[:1])
    with StampSet(three[0]) as stamps:
        assert one.digest == stamps.digest
    assert len({sets.digest, one.digest, TrainingStamps(three[::-1]).digest}) == 3


def test_no_set_at_all() -> None:
    with pytest.raises(StampError, match="No stamp set was given"):
        TrainingStamps([])


@given(count=st.integers(1, 300), seed=st.integers(0, 5), batch=st.integers(1, 64))
def test_a_small_set_is_permuted_whole(count: int, seed: int, batch: int) -> None:
    rows = np.arange(0, 3 * count, 3)
    order = epoch_order(rows, np.random.default_rng(seed), batch)
    assert np.array_equal(order, np.random.default_rng(seed).permutation(rows))


@pytest.mark.parametrize("batch", [2, 64, 100])
def test_a_large_set_is_visited_in_runs(batch: int) -> None:
    count = SHUFFLED_WHOLE + 1000
    rows = np.random.default_rng(1).permutation(np.arange(0, 2 * count, 2))
    order = epoch_order(rows, np.random.default_rng(3), batch)
    assert np.array_equal(np.sort(order), np.sort(rows)), "every row once"
    batches = order[: count // batch * batch].reshape(-1, batch)
    places = [len(np.unique(one // (2 * RUN))) for one in batches]
    # a window may begin within a batch
    assert max(places) <= 2 * max(1, batch // 4) + 1
    assert len(np.unique(batches[:100] // (2 * RUN))) > min(100 * batch / RUN, 20), "runs come from all over the set"
    assert not np.array_equal(order, epoch_order(rows, np.random.default_rng(4), batch))
    if batch == 64:
        assert np.mean(places) < batch / 3
        assert (np.diff(batches[0]) < 0).any(), "rows of a window are permuted"


def read_two_batches(path: Path, params: PretrainParams, told: Connection) -> None:
    """Say of two batches the shapes, and by how many bytes the process grew."""
    torch.set_num_threads(1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    data = PretrainingData(path, Rendering(), params, NANO.patch)
    batches = iter(data.train_dataloader())
    shapes = [tuple(next(batches).clean.shape) for _ in range(2)]
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    told.send((len(data.training_rows), shapes, 1024 * grown))


def test_a_million_stamps_are_never_in_memory(tmp_path: Path, pretrain_params: PretrainParams) -> None:
    path = tmp_path / "chunk.h5"
    with h5py.File(path, "w") as file:
        # chunks that are never written take no space
        file.create_dataset("images", (1_000_000, 3, 152, 152), "f4", chunks=(16, 3, 152, 152), fillvalue=0.01)
        file["mag_r"] = np.linspace(14, 20, 1_000_000, dtype=np.float32)
    assert path.stat().st_size < 10e6
    params = pretrain_params.model_copy(update={"batch": 64, "catalogue": ("mag_r",)})
    ours, theirs = multiprocessing.Pipe(duplex=False)
    assert forked.exit_status(read_two_batches, path, params, theirs) == 0
    rows, shapes, grown = ours.recv()
    assert rows == 1_000_000 - 128 and shapes == [(64, 3, 64, 64)] * 2
    assert 1e6 < grown < 300e6, "the stamps are 277 GB"
