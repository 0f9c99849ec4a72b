"""What a demo makes of the user's own files."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from backend_ml.demo.data import class_names, label_column, real
from lvm_training.errors import LabelError
from lvm_training.stamps.stampset import StampSet


@contextmanager
def silent(_: str) -> Iterator[Callable[[int, int], None]]:
    yield lambda *_: None


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Thirty pictures, labelled but for the last three."""
    folder = tmp_path / "mine"
    (folder / "images").mkdir(parents=True)
    generator = np.random.default_rng(0)
    lines = ["file,ring,quality"]
    for i in range(30):
        Image.fromarray(generator.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(folder / f"images/{i:02}.png")
        lines.append(f"images/{i:02}.png,{i % 2 if i < 27 else ''},{i}")
    (folder / "labels.csv").write_text("\n".join(lines))
    return folder


def test_labels_beside_the_pictures_are_found_and_named(pictures: Path, tmp_path: Path) -> None:
    data = real(pictures, home=tmp_path, repository=tmp_path, labels=None, column=None, tasks=20, seed=0, steps=silent)
    assert data.classes == ("not ring", "ring")
    assert len(data.rows) == 20 and set(data.rows) <= set(range(27))
    with StampSet(data.stamps) as stamps:
        for row in data.rows:
            assert data.truth[row] == ("ring" if float(str(stamps.column("ring")[row])) == 1 else "not ring")


def test_a_second_demo_does_not_import_again_unless_a_file_is_newer(pictures: Path, tmp_path: Path) -> None:
    def again() -> float:
        data = real(
            pictures, home=tmp_path, repository=tmp_path, labels=None, column="ring", tasks=5, seed=0, steps=silent
        )
        return data.stamps.stat().st_mtime_ns

    first = again()
    assert again() == first
    Image.fromarray(np.eye(32, dtype=np.uint8) * 200).save(pictures / "images/30.png")
    assert again() > first


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["1", "0", "1"], {0: "odd one", 1: "not odd one", 2: "odd one"}),
        (["1.0", "0.0", "nan"], {0: "odd one", 1: "not odd one"}),
        (["a", "", "b"], {0: "a", 2: "b"}),
        (["1", "2", "3"], {0: "1", 1: "2", 2: "3"}),
    ],
)
def test_class_names(values: list[str], expected: dict[int, str]) -> None:
    assert class_names(values, "odd_one") == expected


@pytest.mark.parametrize("values", [["a", "a"], [str(i) for i in range(9)], ["", "nan"]])
def test_columns_that_name_no_classes(values: list[str]) -> None:
    with pytest.raises(LabelError, match="classes"):
        class_names(values, "kind")


def test_a_file_without_a_label_column_lists_its_columns(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("file,ra\n" + "\n".join(f"{i}.png,{i}" for i in range(20)))
    with pytest.raises(LabelError) as caught:
        label_column(tmp_path / "labels.csv")
    assert "ra" in caught.value.hint
