"""One feature file from several processes: nothing twice, nothing lost, whatever is killed or damaged."""

import contextlib
import multiprocessing
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from lvm_training.files import alone
from lvm_training.importing.joined import join_sets
from lvm_training.model.encoder import Encoder, save_checkpoint
from lvm_training.model.lvm import LVM
from lvm_training.pool import embedding
from lvm_training.pool.embedding import embed_range, embed_set, features_path, ranges_left
from lvm_training.pool.estimate import estimate
from lvm_training.stamps.rendering import Rendering
from lvm_training.stamps.stampset import StampSet
from tests import forked

MakeStamps = Callable[..., Path]


def embed_apart(stamps: Path, checkpoint: Path, folder: Path, told: Connection) -> None:
    """Embed in ranges of eight rows; say when it begins, and each batch."""
    torch.set_num_threads(1)
    embedding.RANGE = 8
    encoder = Encoder.load(checkpoint)
    told.send("ready")

    def report(done: int, total: int) -> None:
        told.send("a batch")
        time.sleep(0.05)

    embed_set(StampSet(stamps), encoder, folder, batch=3, progress=report)


@dataclass
class Embedder:
    """A process that embeds, and what it says."""

    process: BaseProcess
    told: Connection

    def kill(self) -> None:
        self.process.kill()
        self.process.join()

    def end(self) -> list[str]:
        """What it said until it ended by itself."""
        said = []
        with contextlib.suppress(EOFError):
            while True:
                said.append(self.told.recv())
        self.process.join()
        assert self.process.exitcode == 0
        return said


def begin(stamps: Path, checkpoint: Path, folder: Path) -> Embedder:
    ours, theirs = multiprocessing.Pipe(duplex=False)
    process = forked.start(embed_apart, stamps, checkpoint, folder, theirs)
    theirs.close()
    return Embedder(process, ours)


@pytest.fixture
def checkpoint(tmp_path: Path, lvm: LVM, rendering: Rendering) -> Path:
    save_checkpoint(tmp_path / "lvm", lvm, rendering, data="", code="", params={}, metrics={})
    return tmp_path / "lvm"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranges of eight rows."""
    monkeypatch.setattr(embedding, "RANGE", 8)


@pytest.mark.parametrize(("kills", "rows"), [(2, 40), pytest.param(20, 400, marks=pytest.mark.soak)])
def test_kills_of_two_processes_cost_nothing(
    tmp_path: Path, make_stamps: MakeStamps, checkpoint: Path, small: None, kills: int, rows: int
) -> None:
    stamps, folder, draw = make_stamps(rows), tmp_path / "features", random.Random(4)
    running = [begin(stamps, checkpoint, folder) for _ in range(2)]
    for number in range(kills):
        assert running[number % 2].told.recv() == "ready"
        time.sleep(draw.uniform(0, 0.3))
        running[number % 2].kill()
        running[number % 2] = begin(stamps, checkpoint, folder)
    for one in running:
        one.end()
    encoder = Encoder.load(checkpoint)
    with StampSet(stamps) as opened:
        found = embed_set(opened, encoder, folder)
        whole = embed_set(opened, encoder, tmp_path / "whole", batch=3)
    np.testing.assert_array_equal(found.matrix, whole.matrix)
    assert found.matrix.offset % embedding.PAGE == 0
    assert sorted(item.suffix for item in folder.iterdir()) == [".json", ".npy"]


def test_two_processes_share_the_work(tmp_path: Path, make_stamps: MakeStamps, checkpoint: Path, small: None) -> None:
    stamps, folder = make_stamps(40), tmp_path / "features"
    running = [begin(stamps, checkpoint, folder) for _ in range(2)]
    assert [one.told.recv() for one in running] == ["ready"] * 2
    batches = [len(one.end()) for one in running]
    assert sum(batches) == 5 * 3, f"each batch is made once: {batches}"
    assert len(list(folder.iterdir())) == 2


def test_ranges_are_done_in_any_order_and_by_anyone(
    tmp_path: Path, make_stamps: MakeStamps, encoder: Encoder, small: None
) -> None:
    with StampSet(make_stamps(20)) as stamps:
        path = features_path(stamps, encoder, tmp_path)
        assert ranges_left(path, stamps, encoder) == {0: 8, 8: 8, 16: 4}
        assert not embed_range(path, stamps, encoder, 16)
        with alone(path.with_name(f"{path.name}.0.lock")):
            assert not embed_range(path, stamps, encoder, 0), "somebody else has it"
        assert ranges_left(path, stamps, encoder) == {0: 8, 8: 8}
        assert not embed_range(path, stamps, encoder, 0, batch=3)
        assert embed_range(path, stamps, encoder, 8) and embed_range(path, stamps, encoder, 8)
        assert ranges_left(path, stamps, encoder) == {}
        whole = embed_set(stamps, encoder, tmp_path / "whole")
        np.testing.assert_allclose(embed_set(stamps, encoder, tmp_path).matrix, whole.matrix, atol=2e-3)


def damaged(path: Path, rows: list[int]) -> Path:
    """The set, compressed stamp by stamp, some of which no longer unpack."""
    with h5py.File(path, "r+") as file:
        images, attributes = file["images"][:], dict(file.attrs)
        del file["images"]
        data = file.create_dataset("images", data=images, chunks=(1, *images.shape[1:]), compression="gzip")
        places = [data.id.get_chunk_info(row) for row in rows]
        file.attrs.update(attributes)
    with path.open("rb+") as stream:
        for place in places:
            stream.seek(place.byte_offset)
            stream.write(b"\xff" * place.size)
    return path


def test_damaged_stamps_of_every_range_are_named(
    tmp_path: Path, make_stamps: MakeStamps, encoder: Encoder, small: None
) -> None:
    with StampSet(make_stamps(20)) as stamps:
        whole = np.array(embed_set(stamps, encoder, tmp_path / "whole", batch=4).matrix)
    with StampSet(damaged(tmp_path / "blobs.h5", [3, 9, 10])) as stamps:
        features = embed_set(stamps, encoder, tmp_path, batch=4)
    assert (features.origin.damaged, features.origin.unobserved) == ((3, 9, 10), 3)
    others = np.delete(np.arange(20), [3, 9, 10])
    np.testing.assert_allclose(features.matrix[others], whole[others], atol=2e-3)


def test_a_part_of_a_joined_set_that_was_mended_gets_new_features(
    tmp_path: Path, make_stamps: MakeStamps, encoder: Encoder
) -> None:
    parts = [make_stamps(4, name="one"), make_stamps(4, name="two", seed=1)]
    with StampSet(join_sets(parts, tmp_path / "pool.h5").out) as stamps:
        before = np.array(embed_set(stamps, encoder, tmp_path / "features").matrix)
    with h5py.File(parts[1], "r+") as file:
        file["images"][2] = file["images"][0][:, ::-1] * 3
    with StampSet(tmp_path / "pool.h5") as stamps:
        after = np.array(embed_set(stamps, encoder, tmp_path / "features").matrix)
    assert np.flatnonzero((before != after).any(axis=1)).tolist() == [6]


def test_what_it_will_take_is_measured(tmp_path: Path, make_stamps: MakeStamps, encoder: Encoder) -> None:
    with StampSet(make_stamps(50)) as one, StampSet(make_stamps(30, name="more", seed=1)) as more:
        found = estimate([one, more], 76_000_000, encoder, batch=16)
    assert found.sample >= 300 and found.stamps_per_second > 0
    assert found.seconds == pytest.approx(76e6 / found.stamps_per_second)
    assert found.disk_mb == pytest.approx(76 * 2 * encoder.width) and found.memory_mb > 50
