"""The pool index: the neighbours that brute force finds, and what cannot be searched for."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from lvm_training.index.files import index_pool, open_index
from lvm_training.index.plan import EXACT_ROWS, IndexPlan, Kind, PoolIndexError, plan_index
from lvm_training.index.pool_index import build_index
from lvm_training.pool.features import FeaturesError
from tests.lvm_training.pool.shard_files import brute_force, cloud, write_shard

EXACT: tuple[Kind, ...] = ("float32", "float16")
KINDS: tuple[Kind, ...] = (*EXACT, "ivfpq")

Floats = NDArray[np.floating[Any]]


@pytest.mark.parametrize("kind", KINDS)
def test_neighbours_are_those_of_brute_force(tmp_path: Path, kind: Kind) -> None:
    pool, queries = cloud(300), 7 * cloud(6, seed=1)
    index = build_index(write_shard(tmp_path, pool), kind=kind)
    rows, similarities = index.search(queries, 9)
    assert rows.shape == similarities.shape == (6, 9) and rows.dtype == np.int64
    for query, found, cosines in zip(queries, rows, similarities, strict=True):
        truth = brute_force(pool, query)
        np.testing.assert_allclose(cosines, truth[found], atol=1e-6)
        np.testing.assert_allclose(cosines, np.sort(truth)[::-1][:9], atol=1e-6)


@settings(deadline=None, max_examples=40)
@given(
    pool=arrays(np.float16, st.tuples(st.integers(1, 30), st.just(6)), elements=st.integers(-3, 3).map(float)),
    query=arrays(np.float32, 6, elements=st.integers(-3, 3).map(float)).filter(np.any),
    k=st.integers(1, 40),
    kind=st.sampled_from(EXACT),
)
def test_any_pool(pool: Floats, query: Floats, k: int, kind: Kind) -> None:
    with TemporaryDirectory() as folder:
        rows, similarities = build_index(write_shard(Path(folder), pool), kind=kind).search(query[None], k)
    truth = brute_force(pool, query)
    count = min(k, len(pool))
    assert len(set(rows[0].tolist())) == count, "what there is, each row once"
    np.testing.assert_allclose(similarities[0], np.sort(truth)[::-1][:count], atol=1e-6)
    np.testing.assert_allclose(similarities[0], truth[rows[0]], atol=1e-6)


def test_rows_count_through_the_shards(tmp_path: Path) -> None:
    pool = cloud(90)
    parts = [write_shard(tmp_path, part, name) for part, name in zip(np.split(pool, [20, 50]), "abc", strict=True)]
    index = build_index(parts)
    assert len(index) == 90
    rows, _ = index.search(pool[[0, 19, 20, 49, 50, 89]], 1)
    assert rows.ravel().tolist() == [0, 19, 20, 49, 50, 89]
    for row, (name, place) in {0: ("a", 0), 19: ("a", 19), 20: ("b", 0), 89: ("c", 39)}.items():
        shard, there = index.shards.locate(row)
        assert (shard.name, there) == (name, place)
    for row in (-1, 90):
        with pytest.raises(FeaturesError, match=f"rows 0 to 89; row {row}"):
            index.nearest_to(row, 3)


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_is_not_its_own_neighbour(tmp_path: Path, kind: Kind) -> None:
    pool = cloud(300)
    index = build_index(write_shard(tmp_path, pool), kind=kind)
    rows, similarities = index.nearest_to(17, 5)
    truth = brute_force(pool, pool[17].astype(np.float16))
    truth[17] = -2
    assert rows.tolist() == np.argsort(-truth)[:5].tolist()
    np.testing.assert_allclose(similarities, np.sort(truth)[::-1][:5], atol=1e-6)
    assert index.nearest_to(17, 10**6)[0].shape == (299,)


def test_inverted_lists_find_what_is_near(tmp_path: Path) -> None:
    pool, queries = cloud(1300, seed=3), cloud(40, seed=3) + 0.1 * cloud(40, seed=4)
    index = build_index(write_shard(tmp_path, pool), kind="ivfpq")
    assert index.plan == IndexPlan(kind="ivfpq", lists=32, code=16)
    truth = [set(np.argsort(-brute_force(pool, query))[:10].tolist()) for query in queries]

    def recall(probes: int, candidates: int) -> float:
        rows, _ = index.search(queries, 10, probes=probes, candidates=candidates)
        return float(np.mean([len(near & set(found)) / 10 for near, found in zip(truth, rows.tolist(), strict=True)]))

    assert recall(32, 1300) == 1, "every row ranked by its features"
    assert recall(8, 60) > 0.95
    assert recall(1, 60) < recall(8, 60)


def test_inverted_lists_that_hold_too_few_are_followed_by_others(tmp_path: Path) -> None:
    pool = cloud(300)
    index = build_index(write_shard(tmp_path, pool), kind="ivfpq")
    assert index.plan.lists > 1
    rows, _ = index.search(pool[:3], 300, probes=1)
    assert (np.sort(rows) == np.arange(300)).all()


def test_the_seed_decides_the_index(tmp_path: Path) -> None:
    shard = write_shard(tmp_path, cloud(300))
    one, again, other = (build_index(shard, kind="ivfpq", seed=seed) for seed in (5, 5, 6))

    codes = [np.asarray(faiss.serialize_index(built.index)) for built in (one, again, other)]
    assert np.array_equal(codes[0], codes[1]) and not np.array_equal(codes[0], codes[2])


def test_progress(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    shards = [write_shard(tmp_path, cloud(rows), name) for name, rows in (("a", 12), ("b", 5))]
    build_index(shards, progress=lambda *done: seen.append(done))
    assert seen == [(0, 17), (12, 17), (17, 17)]


@pytest.mark.parametrize("kind", EXACT)
def test_a_pool_of_one(tmp_path: Path, kind: Kind) -> None:
    index = build_index(write_shard(tmp_path, [[3.0, 4.0]]), kind=kind)
    rows, similarities = index.search([[4.0, 3.0], [-3.0, -4.0]], 5)
    assert rows.tolist() == [[0], [0]]
    np.testing.assert_allclose(similarities.ravel(), [0.96, -1], atol=1e-6)
    assert index.nearest_to(0, 5)[0].size == 0


@pytest.mark.parametrize("kind", KINDS)
def test_identical_features(tmp_path: Path, kind: Kind) -> None:
    index = build_index(write_shard(tmp_path, np.tile(cloud(1), (300, 1))), kind=kind)
    rows, similarities = index.search(cloud(1), 300)
    assert rows[0].tolist() == list(range(300)), "the first row first"
    np.testing.assert_allclose(similarities, 1, atol=1e-5)
    others, _ = index.nearest_to(5, 4)
    assert len(set(others.tolist()) - {5}) == 4


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_are_not_finite_are_left_out(tmp_path: Path, kind: Kind, bad: float) -> None:
    pool = cloud(300)
    pool[[7, 250], [3, 0]] = bad
    shards = [write_shard(tmp_path, cloud(20, seed=3), "good"), write_shard(tmp_path, pool, "broken")]
    index = index_pool(shards, tmp_path / "index", kind=kind)
    again = open_index(tmp_path / "index", shards)
    likeness = brute_force(np.concatenate([shards[0].matrix, np.delete(pool, [7, 250], axis=0)]), pool[:1][0])
    for one in (index, again):
        assert one.left_out == 2
        rows, similarities = one.search(pool[:1], 320, probes=1000)
        assert rows.shape == (1, 318) and not {27, 270} & set(rows[0].tolist())
        np.testing.assert_allclose(similarities[0], np.sort(likeness)[::-1], atol=1e-3)
    with pytest.raises(FeaturesError, match="No row of the pool is finite"):
        build_index(write_shard(tmp_path, np.full((300, 16), bad), "worse"), kind=kind)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_norm_zero_are_like_nothing(tmp_path: Path, kind: Kind) -> None:
    pool = cloud(300)
    pool[[4, 9]] = 0
    index = build_index(write_shard(tmp_path, pool), kind=kind)
    rows, similarities = index.search(pool[:1], 300)
    assert similarities[0][np.isin(rows[0], [4, 9])].tolist() == [0, 0]
    with pytest.raises(PoolIndexError, match="Query 0 is of norm 0"):
        index.nearest_to(4, 3)


def test_queries_that_cannot_be_answered(tmp_path: Path) -> None:
    index = build_index(write_shard(tmp_path, cloud(20)))
    good = cloud(3, seed=2)
    broken = good.copy()
    broken[1, 2] = np.nan
    for queries, message in (
        (good[:, :15], r"Queries are \(Q, 16\) features, not \(3, 15\)"),
        (good[0], r"not \(16,\)"),
        (broken, "Query 1 is not finite"),
        (good * [[1], [1], [0]], "Query 2 is of norm 0"),
    ):
        with pytest.raises(PoolIndexError, match=message) as raised:
            index.search(queries, 3)
        assert raised.value.hint
    for k in (0, -1):
        with pytest.raises(PoolIndexError, match=f"{k} neighbours"):
            index.search(good, k)
        with pytest.raises(PoolIndexError, match=f"{k} neighbours"):
            index.nearest_to(0, k)
    assert index.search(good[:0], 3)[0].shape == (0, 3)


def test_shards_that_do_not_belong_together(tmp_path: Path) -> None:
    one = write_shard(tmp_path, cloud(5))
    other = write_shard(tmp_path, cloud(5), "other", encoder="f" * 12)
    wide = write_shard(tmp_path, cloud(5, width=17), "wide")
    empty = write_shard(tmp_path, np.empty((0, 16)), "empty")
    for shards, message in (
        ([one, other], "different encoders: e+ .*f+ "),
        ([one, wide], "16 wide.*17 wide"),
        ([one, one], "twice among sky, sky"),
        ([empty], "no rows"),
        ([], "no rows"),
    ):
        with pytest.raises(FeaturesError, match=message):
            build_index(shards)
    assert len(build_index([empty, one])) == 5


@pytest.mark.parametrize(
    ("rows", "memory", "kind", "code"),
    [
        (1000, 10**9, "float32", 0),
        (1000, 1_000_000, "float16", 0),
        (EXACT_ROWS, 4 * 384 * EXACT_ROWS, "float32", 0),
        (EXACT_ROWS, 4 * 384 * EXACT_ROWS - 1, "float16", 0),
        (EXACT_ROWS, 10**9, "ivfpq", 48),
        (EXACT_ROWS + 1, 10**12, "ivfpq", 48),
        (76_000_000, 2 * 10**10, "ivfpq", 48),
        (76_000_000, 11 * 10**9, "ivfpq", 48),
        (76_000_000, 10**10, "ivfpq", 32),
        (76_000_000, 6 * 10**9, "ivfpq", 16),
    ],
)
def test_the_rule(rows: int, memory: int, kind: Kind, code: int) -> None:
    plan = plan_index(rows, 384, memory)
    assert (plan.kind, plan.code) == (kind, code)
    assert plan.size(rows, 384) <= memory
    assert plan.exact == (plan.lists == 0)


def test_the_rule_without_memory_and_with_a_kind() -> None:
    assert plan_index(1000, 384).kind == "float32", "half of what is free"
    assert plan_index(10, 8, memory=0, kind="float16") == IndexPlan(kind="float16")
    assert plan_index(10, 8, kind="ivfpq", seed=3) == IndexPlan(kind="ivfpq", lists=1, code=8, seed=3)
    assert plan_index(10**6, 384, kind="ivfpq").lists == 1024
    with pytest.raises(PoolIndexError, match=r"smallest index of 1,000 rows takes 0.8 MB; 0.7 MB are allowed") as told:
        plan_index(1000, 384, memory=700_000)
    assert "Allow more memory" in told.value.hint
    with pytest.raises(PoolIndexError, match="0 rows"):
        plan_index(0, 384)
