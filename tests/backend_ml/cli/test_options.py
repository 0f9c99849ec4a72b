"""Stamp sets that a command line names: which stamps a condition means."""

from pathlib import Path

import numpy as np
import pytest

from backend_ml.cli.options import choose_rows
from lvm_training.errors import StampError
from lvm_training.stamps.stampset import StampWriter

ROWS = 6


@pytest.fixture
def stamps(tmp_path: Path) -> Path:
    """A set with a column of each kind."""
    writer = StampWriter(tmp_path / "sky.h5", (4, 4))
    columns = {
        "ring": np.array([0, 1, 0, 1, 0, 1]),
        "bar": np.array([0.0, 1.0, np.nan, 1.0, 0.5, 0.0]),
        "half": np.array([0.1, 0.2, 0.1, 0.2, 0.1, 0.2], dtype=np.float32),
        "seen": np.array([True, False] * 3),
        "kind": ["spiral", " Sp\u00e9cial", "", "007", "1", "a=b"],
        "id": np.array([2**60 + row for row in range(ROWS)]),
        "S/N": np.arange(ROWS) + 0.5,
        "a=b": np.arange(ROWS),
    }
    writer.append(np.ones((ROWS, 3, 4, 4), dtype=np.float32), columns)
    return writer.finish()


@pytest.mark.parametrize(
    ("where", "rows"),
    [
        ("ring=1", [1, 3, 5]),
        ("ring=1.0", [1, 3, 5]),
        ("ring = 1", [1, 3, 5]),
        ("bar=1", [1, 3]),
        ("bar=1.0", [1, 3]),
        ("bar=0.5", [4]),
        ("bar=", [2]),
        ("bar=nan", [2]),
        ("half=0.1", [0, 2, 4]),
        ("seen=true", [0, 2, 4]),
        ("seen=False", [1, 3, 5]),
        ("seen=1", [0, 2, 4]),
        ("kind=spiral", [0]),
        ("kind=Spe\u0301cial", [1]),
        ("kind=", [2]),
        ("kind=007", [3]),
        ("kind=1", [4]),
        ("kind=a=b", [5]),
        ("a=b=3", [3]),
        (f"id={2**60 + 1}", [1]),
        ("S/N=2.5", [2]),
        ("S/N>=2.5", [2, 3, 4, 5]),
    ],
)
def test_conditions(stamps: Path, where: str, rows: list[int]) -> None:
    assert choose_rows(stamps, [where], None, 0) == rows


@pytest.mark.parametrize(
    ("where", "problem"),
    [
        ("ring", "'ring' is no condition"),
        ("ring=2", "No stamp of sky.h5 fits 'ring=2'. Values of ring are: 0, 1"),
        ("ring=yes", "fits 'ring=yes'"),
        ("kind=Spiral", "Values of kind are: spiral, Sp\u00e9cial, 007, 1, a=b"),
        ("absent=1", "no column 'absent'"),
        ("seen=2", "fits 'seen=2'"),
        ("id=99999999999999999999999", "fits 'id="),
    ],
)
def test_conditions_that_fit_nothing(stamps: Path, where: str, problem: str) -> None:
    with pytest.raises(StampError) as caught:
        choose_rows(stamps, [where], None, 0)
    assert problem in str(caught.value)


def test_a_limit_draws_the_same_rows(stamps: Path) -> None:
    rows = choose_rows(stamps, [], 3, 1)
    assert rows == choose_rows(stamps, [], 3, 1) == sorted(rows) and len(set(rows)) == 3
