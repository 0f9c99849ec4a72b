"""Ranking from disk, held against sorting everything in memory."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lvm_training.index import scan
from lvm_training.index.scan import best, by_chunks, cosine
from lvm_training.pool.features import Features, Origin
from lvm_training.pool.shards import Shards
from tests.lvm_training.pool.shard_files import brute_force, cloud, write_shard

PEAK = """
import sys
from pathlib import Path
import numpy as np
from lvm_training.index import scan
from lvm_training.pool.features import Features
from lvm_training.pool.shards import Shards

weights = np.ones(8, np.float32)
pool = Shards([Features.open(Path(sys.argv[1]))])
found = scan.best(pool, scan.by_chunks(lambda rows: rows @ weights), 50)
# the peak of getrusage begins with that of the process which started this one
print(found.considered, Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
"""


def in_memory(lengths: list[int], seed: int, levels: int) -> Shards:
    """Shards of few different rows, so that many are equal."""
    rng = np.random.default_rng(seed)
    shards = []
    for number, length in enumerate(lengths):
        values = rng.integers(0, levels, (length, 4)).astype(np.float16)
        origin = Origin(name=f"s{number}", stamps=f"s{number}", encoder="e", rows=length, width=4)
        shards.append(Features(Path("nowhere"), values, origin))
    return Shards(shards)


@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=3),
    k=st.integers(1, 50),
    share=st.sampled_from([None, 0.0, 0.03, 0.5, 1.0]),
    levels=st.sampled_from([2, 1000]),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=60)
def test_any_pool(lengths: list[int], k: int, share: float | None, levels: int, seed: int) -> None:
    pool = in_memory(lengths, seed, levels)
    weights = np.array([3, -1, 2, 0.5], np.float32)
    allowed = None if share is None else np.random.default_rng(seed).random(len(pool)) < share
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scan, "BLOCK", 7)
        found = best(pool, by_chunks(lambda rows: rows @ weights), k, allowed=allowed)
    scores = np.concatenate([shard.matrix for shard in pool.features]).astype(np.float32) @ weights
    rows = np.arange(len(pool)) if allowed is None else np.flatnonzero(allowed)
    expected = rows[np.argsort(-scores[rows], kind="stable")][:k]
    np.testing.assert_array_equal(found.rows, expected)
    np.testing.assert_array_equal(found.scores, scores[expected])
    assert found.considered == len(rows) and found.left_out == 0


@pytest.mark.parametrize("share", [None, 0.5, 0.001], ids=["all", "half", "one in a thousand"])
def test_files_are_read_as_they_are(tmp_path: Path, share: float | None) -> None:
    rows = cloud(30_000, 24)
    rows[17], rows[18] = 0, -rows[19]
    shards = Shards([write_shard(tmp_path, rows[:11], "a"), write_shard(tmp_path, rows[11:], "b")])
    allowed = None if share is None else np.random.default_rng(1).random(len(rows)) < share
    query, seen = cloud(1, 24, seed=5)[0], list[int]()
    found = best(shards, cosine(query), 10, allowed=allowed, progress=lambda done, _: seen.append(done))
    likeness = brute_force(rows, query)
    if allowed is not None:
        likeness[~allowed] = -np.inf
    np.testing.assert_array_equal(found.rows, np.argsort(-likeness, kind="stable")[:10])
    np.testing.assert_allclose(found.scores, likeness[found.rows], atol=1e-6)
    assert seen == sorted(seen) and seen[-1] <= len(rows)


def test_rows_that_are_not_finite_are_left_out_and_the_others_ranked(tmp_path: Path) -> None:
    rows = cloud(200, 8)
    rows[5, 2], rows[150, 0], rows[151] = np.nan, np.inf, -np.inf
    shards = Shards([write_shard(tmp_path, rows)])
    for score in (cosine(np.ones(8, np.float32)), by_chunks(lambda part: part @ np.ones(8, np.float32))):
        found = best(shards, score, 500)
        assert (found.considered, found.left_out, len(found.rows)) == (200, 3, 197)
        assert not {5, 150, 151} & set(found.rows.tolist()) and np.isfinite(found.scores).all()


def test_a_file_that_is_truncated_meanwhile_says_so(tmp_path: Path) -> None:
    shard = write_shard(tmp_path, cloud(2000, 16))
    with shard.path.open("rb+") as stream:
        stream.truncate(30_000)
    with pytest.raises(EOFError, match=r"sky\.npy ends before row"):
        best(Shards([shard]), cosine(np.ones(16, np.float32)), 3)


def peak(path: Path) -> NDArray[np.int64]:
    """Rows considered, and kB of memory at most, of another process that ranks a shard."""
    command = [sys.executable, "-c", PEAK, str(path)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return np.array(told, dtype=np.int64)


def test_memory_does_not_grow_with_the_pool(tmp_path: Path) -> None:
    few, many = (write_shard(tmp_path, np.ones((rows, 8)), str(rows)).path for rows in (20_000, 2_000_000))
    (considered, small), (more, large) = peak(few), peak(many)
    assert (considered, more) == (20_000, 2_000_000)
    assert large - small < 8_000, f"{small} kB for 20,000 rows, {large} kB for a file of {many.stat().st_size} bytes"
