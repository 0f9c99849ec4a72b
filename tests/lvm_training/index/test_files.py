"""Indices on disk: opened mapped, refused when they do not fit, replaced while others read."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from lvm_training.errors import GalaxyLoopError
from lvm_training.index.files import IndexMismatchError, index_pool, open_index, save_index
from lvm_training.index.plan import Kind, PoolIndexError
from lvm_training.index.pool_index import PoolIndex, build_index
from lvm_training.pool.features import Features
from tests.lvm_training.pool.shard_files import brute_force, cloud, write_shard

KINDS: tuple[Kind, ...] = ("float32", "float16", "ivfpq")

BUILDER = """
import sys, time
from pathlib import Path
from lvm_training.pool.features import Features
from lvm_training.index.files import index_pool

def report(done, total):
    print(done, flush=True)
    time.sleep(60)

index_pool(Features.open(Path(sys.argv[1])), Path(sys.argv[2]), progress=report)
"""


def folders(home: Path) -> list[str]:
    return sorted(item.name for item in home.iterdir() if item.is_dir())


def mapped(path: Path) -> bool:
    return str(path) in Path("/proc/self/maps").read_text()


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_opened_answers_as_what_was_saved(tmp_path: Path, kind: Kind) -> None:
    parts = [write_shard(tmp_path, cloud(150, seed=seed), name) for seed, name in enumerate("ab")]
    built = build_index(parts, kind=kind, seed=3)
    home = save_index(built, tmp_path / "index")
    again = open_index(tmp_path / "index", parts)
    assert again.plan == built.plan and again.encoder == built.encoder and len(again) == 300
    for one, other in zip(built.search(cloud(5), 7), again.search(cloud(5), 7), strict=True):
        np.testing.assert_array_equal(one, other)
    card = json.loads((home / "card.json").read_text())
    assert card["contents"]["encoder"] == built.encoder and card["rows"] == 300
    assert [shard["stamps"] for shard in card["contents"]["shards"]] == ["stamps of a", "stamps of b"]
    assert sorted(item.name for item in home.iterdir()) == ["card.json", "index.faiss"]
    assert card["size"] == (home / "index.faiss").stat().st_size
    if sys.platform == "linux":
        assert mapped(home / "index.faiss")


def test_an_index_that_fits_is_not_built_again(tmp_path: Path) -> None:
    shard, home = write_shard(tmp_path, cloud(30)), tmp_path / "index"
    first = index_pool(shard, home)
    seen: list[int] = []
    again = index_pool(shard, home, memory=0, progress=lambda done, _: seen.append(done))
    assert again.plan == first.plan and not seen, "whatever the memory now"
    other = index_pool(shard, home, kind="float16", progress=lambda done, _: seen.append(done))
    assert other.plan.kind == "float16" and seen == [0, 30]
    assert len(folders(home)) == 1, "the older one is removed"


@pytest.mark.parametrize("change", ["encoder", "stamps", "rows", "order"])
def test_an_index_of_other_features_is_refused_and_rebuilt(tmp_path: Path, change: str) -> None:
    parts = [write_shard(tmp_path, cloud(30, seed=seed), name) for seed, name in enumerate("ab")]
    home = tmp_path / "index"
    save_index(build_index(parts), home)
    if change == "encoder":
        parts = [write_shard(tmp_path, cloud(30, seed=seed), name, "f" * 12) for seed, name in enumerate("ab")]
    elif change == "stamps":
        parts[1] = write_shard(tmp_path, cloud(30, seed=9), "c")
    elif change == "rows":
        parts[1] = write_shard(tmp_path, cloud(31, seed=1), "b")
    else:
        parts.reverse()
    with pytest.raises(IndexMismatchError) as told:
        open_index(home, parts)
    assert isinstance(told.value, GalaxyLoopError) and told.value.code == "index_mismatch"
    assert "galaxyloop search" in told.value.hint
    assert ("f" * 12 in told.value.message) == (change == "encoder")
    query = cloud(1, seed=5)
    rows, _ = index_pool(parts, home).search(query, 3)
    truth = brute_force(np.concatenate([part.matrix for part in parts]), query[0])
    assert rows[0].tolist() == np.argsort(-truth)[:3].tolist()
    assert len(open_index(home, parts)) == sum(len(part.matrix) for part in parts)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kept", [0.0, 0.5, 0.999])
def test_a_truncated_index_is_refused_and_rebuilt(tmp_path: Path, kind: Kind, kept: float) -> None:
    shard, home = write_shard(tmp_path, cloud(300)), tmp_path / "index"
    path = save_index(build_index(shard, kind=kind), home) / "index.faiss"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(PoolIndexError, match=r"index\.faiss is truncated: [0-9]+ bytes of"):
        open_index(home, shard)
    assert index_pool(shard, home, kind=kind).search(cloud(1), 3)[0].shape == (1, 3)
    assert path.read_bytes() == whole, "the same features give the same file"


def test_damaged_files_are_refused_and_rebuilt(tmp_path: Path) -> None:
    shard, home = write_shard(tmp_path, cloud(30)), tmp_path / "index"
    with pytest.raises(PoolIndexError, match="no complete index"):
        open_index(home, shard)
    place = save_index(build_index(shard), home)
    size = (place / "index.faiss").stat().st_size
    for path, content, message in (
        (place / "index.faiss", b"x" * size, "no index that faiss can read"),
        (place / "card.json", b"{}", "cannot be read"),
        (place / "card.json", b"\xff", "cannot be read"),
        (home / "current.json", b"[]", "cannot be read"),
        (home / "current.json", b'{"index": "gone"}', "no complete index"),
    ):
        path.write_bytes(content)
        with pytest.raises(PoolIndexError, match=message) as told:
            open_index(home, shard)
        assert "Build it again" in told.value.hint
        index_pool(shard, home)
        assert len(open_index(home, shard)) == 30
    (place / "index.faiss").unlink()
    with pytest.raises(PoolIndexError, match="no complete index"):
        open_index(home, shard)


def test_who_has_the_old_one_open_goes_on(tmp_path: Path) -> None:
    shard, home = write_shard(tmp_path, cloud(300)), tmp_path / "index"
    olds = [index_pool(shard, home, kind=kind) for kind in KINDS]
    assert len(folders(home)) == 1
    shutil.rmtree(home)
    for old in olds:
        rows, _ = old.search(np.asarray(shard.matrix[:4]), 1)
        assert rows.ravel().tolist() == [0, 1, 2, 3]


def test_searching_while_another_replaces(tmp_path: Path) -> None:
    shard, home = write_shard(tmp_path, cloud(300)), tmp_path / "index"
    index_pool(shard, home, kind="float32")
    truth = [set(np.argsort(-brute_force(shard.matrix, query))[:5].tolist()) for query in cloud(3, seed=4)]
    done, faults = threading.Event(), []
    opened = [0]

    def search() -> None:
        held = open_index(home, shard)
        while not done.wait(0.001):
            try:
                for index in (held, open_index(home, shard)):
                    opened[0] += 1
                    found = [set(rows.tolist()) for rows in index.search(cloud(3, seed=4), 5)[0]]
                    if found != truth:
                        faults.append(str(found))
            except Exception as error:
                faults.append(repr(error))

    readers = [threading.Thread(target=search) for _ in range(2)]
    for reader in readers:
        reader.start()
    for turn in range(8):
        index_pool(shard, home, kind=KINDS[(turn + 1) % 2])
    done.set()
    for reader in readers:
        reader.join()
    assert not faults and opened[0] > 4


def test_two_who_build_at_once_build_once(tmp_path: Path) -> None:
    shard, home = write_shard(tmp_path, cloud(300)), tmp_path / "index"
    starts: list[int] = []
    found: list[PoolIndex] = []

    def build() -> None:
        found.append(index_pool(shard, home, progress=lambda done, _: starts.append(done)))

    builders = [threading.Thread(target=build) for _ in range(3)]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join()
    assert len(found) == 3 and starts == [0, 300]


def test_a_build_goes_on_behind_the_last_whole_shard(tmp_path: Path) -> None:
    home = tmp_path / "index"
    shards = [write_shard(tmp_path, cloud(rows, seed=rows), f"s{rows}") for rows in (300, 200, 100)]

    def stop(done: int, total: int) -> None:
        if done == 500:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index_pool(shards, home, kind="ivfpq", progress=stop)
    (parts,) = home.iterdir()
    assert sorted(file.name for file in parts.iterdir()) == ["shard-00000.faiss", "trained.faiss"]
    written = {file.name: file.stat().st_mtime_ns for file in parts.iterdir()}
    seen = list[int]()

    def look(done: int, total: int) -> None:
        seen.append(done)
        assert written.items() <= {file.name: file.stat().st_mtime_ns for file in parts.iterdir()}.items()

    found = index_pool(shards, home, kind="ivfpq", progress=look)
    assert seen == [0, 300, 500, 500, 600, 600], "the first shard is not added again"
    assert len(folders(home)) == 1 and not parts.exists()
    whole = build_index(shards, kind="ivfpq")
    for one, other in zip(found.search(cloud(9), 20), whole.search(cloud(9), 20), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_killed_build_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    shard, home = write_shard(tmp_path, cloud(300)), tmp_path / "index"
    command = [sys.executable, "-c", BUILDER, str(shard.path), str(home)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "0\n"
        os.kill(process.pid, signal.SIGKILL)
    (home / "0123456789ab").mkdir()
    (home / "0123456789ab" / "index.faiss.partial").write_bytes(b"torn")
    assert len(index_pool(Features.open(shard.path), home)) == 300
    assert len(folders(home)) == 1
