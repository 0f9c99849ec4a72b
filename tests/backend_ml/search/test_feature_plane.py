"""The map of a pool: which stamps are on it, and where."""

from pathlib import Path

import numpy as np
import pytest

from backend_ml.search import feature_plane
from backend_ml.search.feature_plane import coordinates, shown_rows
from lvm_training.pool.features import Features
from tests.lvm_training.pool.shard_files import cloud, write_shard


def pool_of(folder: Path, rows: int, broken: list[int]) -> Features:
    matrix = cloud(rows, 8)
    matrix[broken, 2] = np.nan
    return write_shard(folder, matrix)


def test_a_small_pool_is_shown_whole_but_for_what_is_not_finite(tmp_path: Path) -> None:
    pool = pool_of(tmp_path, 30, [4, 29])
    assert shown_rows(pool, [4, 5]).tolist() == [row for row in range(30) if row not in (4, 29)]


@pytest.mark.parametrize("labelled", [[], [7], [3, 7, 11, 59], list(range(60))])
def test_of_a_large_pool_some_drawn_ones_and_all_that_are_marked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, labelled: list[int]
) -> None:
    monkeypatch.setattr(feature_plane, "MOST_POINTS", 20)
    pool = pool_of(tmp_path, 60, [11, 12])
    drawn, rows = shown_rows(pool, []).tolist(), shown_rows(pool, labelled).tolist()
    assert len(drawn) == 20 and drawn == shown_rows(pool, []).tolist(), "the same at every look"
    assert rows == sorted({*drawn, *labelled} - {11, 12})


def test_positions_fill_a_square_and_stay_those_of_the_whole_pool(tmp_path: Path) -> None:
    pool = pool_of(tmp_path, 40, [6])
    every = coordinates(pool, np.arange(40))
    assert every.shape == (40, 2) and np.isnan(every[6]).all()
    known = np.delete(every, 6, axis=0)
    assert known.min() >= 0 and known.max() <= 1 and (np.ptp(known, axis=0) > 0.3).all()
    some = np.array([9, 2, 30])
    np.testing.assert_array_equal(coordinates(pool, some), every[some])


def test_a_pool_without_a_finite_row_has_an_empty_map(tmp_path: Path) -> None:
    pool = pool_of(tmp_path, 3, [0, 1, 2])
    assert shown_rows(pool, [1]).tolist() == []
    assert np.isnan(coordinates(pool, np.arange(3))).all()
