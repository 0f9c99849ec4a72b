"""The stamp at a position by astropy, neighbours that are equally near, and the rule of plans by a naive twin."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from hypothesis import given
from hypothesis import strategies as st

from lvm_training.index.plan import CODES, EXACT_ROWS, LEAST_TRAINING, Kind, PoolIndexError, plan_index
from lvm_training.index.pool_index import build_index
from lvm_training.index.queries import QueryError, stamp_at
from lvm_training.pool.features import Features
from lvm_training.pool.shards import Shards
from lvm_training.stamps.stampset import StampSet
from tests.lvm_training.parameters.skies import noise, write_set
from tests.lvm_training.pool.shard_files import brute_force, cloud, write_shard

# the second and third straddle 0 h, the fourth lies at the pole; one has no position
RA = [[10.0, 359.9999, 0.0005, 77.0], [10.001, -99.0, 200.0]]
DEC = [[5.0, 0.0, 0.0, 89.9999], [5.0, 3.0, -90.0]]


class Pool:
    """Two sets and their features."""

    def __init__(self, folder: Path, opened: ExitStack, names: tuple[str, ...] = ("one", "two")) -> None:
        shards: list[Features] = []
        self.sets: dict[str, StampSet] = {}
        for name, ra, dec in zip(names, RA, DEC, strict=True):
            path = write_set(folder / f"{name}.h5", [noise(0)] * len(ra), {"ra": ra, "dec": dec})
            shards.append(write_shard(folder, cloud(len(ra)), name))
            self.sets[shards[-1].stamps] = opened.enter_context(StampSet(path))
        self.shards = Shards(shards)

    def at(self, ra: float, dec: float, **options: float) -> int:
        return stamp_at(ra, dec, self.shards, self.sets, **options)


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    with ExitStack() as opened:
        yield Pool(tmp_path_factory.mktemp("pool"), opened)


@pytest.mark.parametrize("row", [0, 1, 2, 3, 4, 6])
@pytest.mark.parametrize("towards", [0.0, 90.0, 200.0])
def test_the_stamp_at_a_position_is_the_one_nearest_on_the_sphere(pool: Pool, row: int, towards: float) -> None:
    ra, dec = np.concatenate(RA), np.concatenate(DEC)
    where = SkyCoord(ra[row] % 360, dec[row], unit="deg").directional_offset_by(towards * u.deg, 0.3 * u.arcsec)
    known = np.flatnonzero(ra >= 0)
    nearest = known[int(SkyCoord(ra[known], dec[known], unit="deg").separation(where).argmin())]
    assert pool.at(where.ra.deg, where.dec.deg) == nearest


def test_all_right_ascensions_are_one_at_the_pole_and_360_is_0(pool: Pool) -> None:
    assert {pool.at(ra, -90.0) for ra in (0.0, 123.0, 360.0)} == {6}
    assert pool.at(360.0, 0.0) == pool.at(0.0, 0.0) == 1


def test_a_position_too_far_from_every_stamp_says_how_far_the_nearest_is(pool: Pool) -> None:
    with pytest.raises(QueryError, match=r"nearest stamp, two:0, is 36\.0 arcsec away; 5 are allowed"):
        pool.at(10.001, 5.01)
    assert pool.at(10.001, 5.01, farthest=36.1) == 4


@pytest.mark.parametrize(("ra", "dec"), [(-1.0, 0.0), (361.0, 0.0), (0.0, 90.1), (np.nan, 0.0), (0.0, np.inf)])
def test_a_place_that_is_nowhere_is_refused(pool: Pool, ra: float, dec: float) -> None:
    with pytest.raises(QueryError, match="nowhere on the sky"):
        pool.at(ra, dec)


def test_sets_that_are_not_named_are_passed_over(pool: Pool) -> None:
    with pytest.raises(QueryError, match="No stamp has a known position"):
        stamp_at(10.0, 5.0, pool.shards, {})
    only = {name: found for name, found in pool.sets.items() if name.endswith("two")}
    assert stamp_at(10.0, 5.0, pool.shards, only) == 4


@pytest.mark.parametrize("kind", ["float32", "float16", "ivfpq"])
def test_of_equal_rows_the_first_come_first(tmp_path: Path, kind: Kind) -> None:
    few = cloud(6, seed=2)
    which = np.random.default_rng(0).integers(0, 6, 500)
    index = build_index(write_shard(tmp_path, few[which]), kind=kind)
    query = few[3] + 0.1 * few[4]
    cosines = brute_force(few, query)
    order = sorted(range(500), key=lambda row: (-cosines[which[row]], row))
    for k in (1, 7, 120):
        rows, similarities = index.search(query[None], k)
        assert np.allclose(similarities[0], [cosines[which[row]] for row in order[:k]], atol=1e-5)
        assert rows[0].tolist() == sorted(rows[0], key=order.index) and len(set(rows[0].tolist())) == k
        if kind != "ivfpq" and k < 100:  # beyond, faiss chooses among the last ones
            assert rows[0].tolist() == order[:k]


@pytest.mark.parametrize("factor", [1e-12, 1e-3, 1e3, 1e12])
@pytest.mark.parametrize("kind", ["float32", "float16", "ivfpq"])
def test_the_length_of_a_query_does_not_matter(tmp_path: Path, kind: Kind, factor: float) -> None:
    index = build_index(write_shard(tmp_path, cloud(300)), kind=kind)
    queries = cloud(5, seed=1)
    rows, similarities = index.search(queries, 8)
    others, alike = index.search(np.float32(factor) * queries, 8)
    assert np.array_equal(rows, others) and np.allclose(similarities, alike, atol=1e-6)


def test_the_order_of_queries_does_not_matter_and_none_finds_none(tmp_path: Path) -> None:
    index, queries = build_index(write_shard(tmp_path, cloud(90))), cloud(150, seed=1)
    rows, _ = index.search(queries, 5)
    backwards, _ = index.search(queries[::-1], 5)
    assert np.array_equal(backwards[::-1], rows)
    assert index.search(queries[:0], 5)[0].shape == (0, 5)


@given(st.integers(1, 5_000_000), st.integers(1, 2048), st.integers(0, 10**11))
def test_a_plan_is_the_first_that_fits(rows: int, width: int, memory: int) -> None:
    choices: list[tuple[str, int]] = [("float32", 0), ("float16", 0)] if rows <= EXACT_ROWS else []
    codes = [code for code in CODES if code <= width] or [width]
    choices += [("ivfpq", code) for code in codes] if rows >= LEAST_TRAINING else []

    def bytes_of(kind: str, code: int) -> int:
        lists = max(min(2 ** round(np.log2(rows) / 2), max(rows // 39, 1)), 1)
        trained = min(rows, max(64 * lists, 2 * LEAST_TRAINING))
        exact = {"float32": 4, "float16": 2}.get(kind, 0) * rows * width
        return exact or 2 * rows * (code + 8) + 8 * width * trained

    fitting = [choice for choice in choices if bytes_of(*choice) <= memory]
    if not fitting:
        with pytest.raises(PoolIndexError, match="smallest index"):
            plan_index(rows, width, memory)
        return
    plan = plan_index(rows, width, memory)
    assert (plan.kind, plan.code) == fitting[0] and plan.size(rows, width) == bytes_of(*fitting[0])
