"""Lists of examples: rows and positions in any order and spelling, and what is neither."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend_ml.search.example_lists import MOST_EXAMPLES, ExampleError, find_stamps
from lvm_training.errors import GalaxyLoopError, StampError
from lvm_training.index.queries import QueryError
from lvm_training.pool.features import Features
from lvm_training.stamps.stampset import StampSet, StampWriter
from tests.backend_ml.sky import write_features, write_stamps

Sky = tuple[StampSet, Features]
N = 20


@pytest.fixture(scope="module")
def sky(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sky]:
    """Stamps 36 arcsec apart in each coordinate, stamp i at 150 + i / 100, -1.5 - i / 100."""
    path = write_stamps(tmp_path_factory.mktemp("sky"), N)
    with StampSet(path) as stamps:
        yield stamps, Features.open(write_features(path))


def position(row: int) -> str:
    return f"{150 + row / 100:.4f},{-1.5 - row / 100:.4f}"


@given(
    named=st.lists(st.tuples(st.integers(0, N - 1), st.booleans()), max_size=12),
    between=st.sampled_from([" ", "\n", ";", " ; ", "\n\n", "  ", ";;"]),
)
def test_each_stamp_once_in_the_order_named(sky: Sky, named: list[tuple[int, bool]], between: str) -> None:
    text = between.join(position(row) if by_position else str(row) for row, by_position in named)
    assert find_stamps(text, *sky) == list(dict.fromkeys(row for row, _ in named))


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("", []),
        (" \n; ;\n", []),
        ("3,4, 5", [3, 4, 5]),
        ("3, 4 5;6", [3, 4, 5, 6]),
        ("003", [3]),
        ("150.02 , -1.52", [2]),
        ("+150.02,-1.52\n1,2", [2, 1]),
        ("3 150.02, -1.52 4", [3, 2, 4]),
    ],
)
def test_spellings(sky: Sky, text: str, rows: list[int]) -> None:
    assert find_stamps(text, *sky) == rows


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("20", ExampleError, "sky has no stamp 20"),
        ("9" * 2000, ExampleError, "has no stamp 999"),
        ("spiral", ExampleError, "'spiral' is no row, no position"),
        ("-3", ExampleError, "'-3' is no row"),
        ("1.5", ExampleError, "'1.5' is no row"),
        ("²", ExampleError, "is no row"),
        ("nan,0.0", ExampleError, "is no row"),
        ("1e2,-1.5", QueryError, "arcsec away"),
        ("150.02,-1.52,7", ExampleError, "is no row"),
        ("150.1,91.0", QueryError, "nowhere on the sky"),
        ("-1.0,0.0", QueryError, "nowhere on the sky"),
        ("9" * 1000 + ".0,1.0", QueryError, "nowhere on the sky"),
        ("10.0,10.0", QueryError, "arcsec away"),
        (" ".join("3" * (MOST_EXAMPLES + 1)), ExampleError, f"These are {MOST_EXAMPLES + 1} examples"),
    ],
)
def test_what_cannot_be_an_example_is_named(sky: Sky, text: str, kind: type[GalaxyLoopError], words: str) -> None:
    with pytest.raises(kind) as caught:
        find_stamps(text, *sky)
    assert words in caught.value.message and caught.value.hint


@given(st.text(st.sampled_from("0123456789.,+- ;\nex٣\0"), max_size=20))
def test_any_text_gives_rows_or_our_error(sky: Sky, text: str) -> None:
    try:
        rows = find_stamps(text, *sky)
    except (ExampleError, QueryError, StampError):
        return
    assert len(set(rows)) == len(rows) and all(0 <= row < N for row in rows)


@pytest.fixture
def named(tmp_path: Path) -> Iterator[Sky]:
    """Stamps of files and ids, two of which have one name."""
    writer = StampWriter(tmp_path / "named.h5", (4, 4), rendering="as-delivered")
    files = ["a/J0001.jpg", "b/J0002.jpg", "c/with blanks.png", "d/J0002.jpg"]
    pixels = np.arange(192, dtype=np.uint8).reshape(4, 3, 4, 4)
    writer.append(pixels, {"file": files, "objid": np.array([1237648720693755918, 7, 8, 9])})
    with StampSet(writer.finish()) as stamps:
        yield stamps, Features.open(write_features(stamps.path))


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("J0001.jpg", [0]),
        ("j0001", [0]),
        ("b/J0002.jpg 3", [1, 3]),
        ("with blanks.png\nJ0001", [2, 0]),
        ("1237648720693755918", [0]),
        ("9;2", [3, 2]),
    ],
)
def test_files_and_ids_name_examples(named: Sky, text: str, rows: list[int]) -> None:
    assert find_stamps(text, *named) == rows


def test_a_name_of_several_stamps_is_refused(named: Sky) -> None:
    with pytest.raises(ExampleError, match="name of 2 stamps") as caught:
        find_stamps("J0002", *named)
    assert "[1, 3]" in caught.value.hint
