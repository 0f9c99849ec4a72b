"""One feature file from several processes: nothing twice, nothing lost, whatever is killed or damaged."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from lvm_training.files import alone
from lvm_training.model.encoder import Encoder, save_checkpoint
from lvm_training.model.lvm import LVM
from lvm_training.pool import embedding
from lvm_training.pool.embedding import embed_range, embed_set, features_path, ranges_left
from lvm_training.pool.estimate import estimate
from lvm_training.stamps.joined import join_sets
from lvm_training.stamps.rendering import Rendering
from lvm_training.stamps.stampset import StampSet

MakeStamps = Callable[..., Path]

EMBEDDER = """
import sys, time
from pathlib import Path
import torch
from lvm_training.model.encoder import Encoder
from lvm_training.pool import embedding
from lvm_training.stamps.stampset import StampSet

torch.set_num_threads(1)
embedding.RANGE = 8
stamps, checkpoint, folder = map(Path, sys.argv[1:])
encoder = Encoder.load(checkpoint)
print("ready", flush=True)

def report(done, total):
    print(done, flush=True)
    time.sleep(0.05)

embedding.embed_set(StampSet(stamps), encoder, folder, batch=3, progress=report)
"""


def begin(stamps: Path, checkpoint: Path, folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", EMBEDDER, str(stamps), str(checkpoint), str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def lines(process: subprocess.Popen[str]) -> int:
    """Batches that a process said it made until it ended."""
    return sum(line.isdigit() for line in process.communicate()[0].splitlines())


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
        victim = running[number % 2]
        assert victim.stdout is not None and victim.stdout.readline() == "ready\n"
        time.sleep(draw.uniform(0, 0.3))
        os.kill(victim.pid, signal.SIGKILL)
        victim.communicate()
        running[number % 2] = begin(stamps, checkpoint, folder)
    for process in running:
        process.communicate()
        assert process.returncode == 0
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
    for process in running:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    batches = [lines(process) for process in running]
    assert [process.wait() for process in running] == [0, 0]
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
