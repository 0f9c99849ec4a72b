"""Several shards as one pool, against the rows put one after another."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lvm_training.pool.features import NAMED, FeaturesError
from lvm_training.pool.shards import Shards, unit_vectors
from tests.lvm_training.pool.shard_files import cloud, write_shard


@settings(deadline=None, max_examples=30)
@given(
    lengths=st.lists(st.integers(0, 7), min_size=1, max_size=4).filter(any),
    size=st.integers(1, 9),
    seed=st.integers(0, 9),
)
def test_rows_count_through_the_shards(lengths: list[int], size: int, seed: int) -> None:
    matrix = cloud(sum(lengths), 4, seed).astype(np.float16)
    matrix[::5] = 0
    parts = np.split(matrix, np.cumsum(lengths)[:-1])
    rows = matrix.astype(np.float64)
    lengths_of = np.sqrt((rows**2).sum(axis=1, keepdims=True))
    units = np.where(lengths_of > 0, rows / np.where(lengths_of > 0, lengths_of, 1), 0)
    with TemporaryDirectory() as folder:
        pool = Shards([write_shard(Path(folder), part, f"set{place}") for place, part in enumerate(parts)])
        assert len(pool) == len(matrix) and pool.width == 4
        for row in range(len(pool)):
            shard, place = pool.locate(row)
            assert (shard.matrix[place] == matrix[row]).all()
        for outside in (-1, len(pool), 10**18):
            with pytest.raises(FeaturesError, match=f"rows 0 to {len(pool) - 1}; row {outside}"):
                pool.locate(outside)
        asked = np.random.default_rng(seed).integers(len(pool), size=12)
        np.testing.assert_allclose(pool.units(asked), units[asked], atol=1e-6)
        blocks = list(pool.blocks(size))
        assert max(map(len, blocks)) <= size
        np.testing.assert_allclose(np.concatenate(blocks), units, atol=1e-6)


def test_rows_that_are_not_finite_are_told(tmp_path: Path) -> None:
    good, matrix = write_shard(tmp_path, cloud(5, 4), "good"), cloud(30, 4)
    matrix[2:28:2, 1] = np.nan
    matrix[29, 0] = np.inf
    broken = write_shard(tmp_path, matrix, "broken")
    pool = Shards([good, broken])
    bad = np.array([5 + row for row in (*range(2, 28, 2), 29)])
    first = ", ".join(str(row) for row in range(2, 2 + 2 * NAMED, 2))
    told = f"14 of 30 rows of broken are not finite: {first} and others."
    assert broken.not_finite() == told and good.not_finite() == ""
    for units in (pool.units(np.arange(35)), np.concatenate(list(pool.blocks(7)))):
        assert np.flatnonzero(np.isnan(units).all(axis=1)).tolist() == bad.tolist()
        assert np.isfinite(np.delete(units, bad, axis=0)).all(), "the others can be read"


def test_pools_that_cannot_be(tmp_path: Path) -> None:
    sky, empty = write_shard(tmp_path, cloud(3, 4)), write_shard(tmp_path, np.empty((0, 4)), "empty")
    narrow = write_shard(tmp_path, cloud(3, 2), "narrow")
    other = write_shard(tmp_path, cloud(3, 4), "other", encoder="f" * 12)
    for shards, words in (
        ([], "no rows"),
        ([empty], "no rows"),
        ([sky, narrow], "different encoders: .*2 wide.*4 wide"),
        ([sky, other], "different encoders"),
        ([sky, sky], "twice among sky, sky"),
    ):
        with pytest.raises(FeaturesError, match=words):
            Shards(shards)
    assert len(Shards([empty, sky])) == 3


@given(st.integers(0, 6), st.integers(0, 9))
def test_unit_vectors_have_length_one_or_none(count: int, seed: int) -> None:
    vectors = np.random.default_rng(seed).normal(size=(count, 5)).astype(np.float32)
    vectors[1::3] = 0
    lengths = np.linalg.norm(unit_vectors(vectors), axis=1)
    np.testing.assert_allclose(lengths, [0 if row % 3 == 1 else 1 for row in range(count)], atol=1e-6)
    np.testing.assert_allclose(unit_vectors(vectors * 7), unit_vectors(vectors), atol=1e-6)
