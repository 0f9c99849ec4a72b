"""What a demo makes of the user's own files."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from backend_ml.demo.data import DemoData, label_classes, label_column, real
from lvm_training.errors import LabelError, StampError
from lvm_training.stamps.stampset import StampSet
from lvm_training.tables.cells import Missing
from lvm_training.tables.reading import read_table


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
    data = real(pictures, home=tmp_path, labels=None, column=None, tasks=20, seed=0, steps=silent)
    assert data.classes == ("not ring", "ring")
    assert len(data.rows) == 20 and set(data.rows) <= set(range(27))
    with StampSet(data.stamps) as stamps:
        for row in data.rows:
            assert data.truth[row] == ("ring" if float(str(stamps.column("ring")[row])) == 1 else "not ring")


def test_a_second_demo_does_not_import_again_unless_a_file_is_another(pictures: Path, tmp_path: Path) -> None:
    def again() -> tuple[Path, int]:
        data = real(pictures, home=tmp_path, labels=None, column="ring", tasks=5, seed=0, steps=silent)
        return data.stamps, data.stamps.stat().st_mtime_ns

    first = again()
    assert again() == first
    Image.fromarray(np.eye(32, dtype=np.uint8) * 200).save(pictures / "images/30.png")
    assert again()[0] != first[0] and first[0].is_file()


def demo(folder: Path, home: Path, **options: object) -> DemoData:
    given = {"labels": None, "column": None, "tasks": 20, "seed": 0, "steps": silent} | options
    return real(folder, home=home, **given)  # type: ignore[arg-type]


def test_folders_of_one_name_are_not_mixed_up(pictures: Path, tmp_path: Path) -> None:
    """Nor are `field.1` and `field.2`, files older than the first demo, or labels that changed."""
    for name in ("field.1", "field.2", "deep/field.1"):
        (tmp_path / name).mkdir(parents=True)
        for file in pictures.glob("images/*.png"):
            shutil.copy2(file, tmp_path / name / f"{name[-1]}{len(name)}{file.name}")
            os.utime(tmp_path / name / f"{name[-1]}{len(name)}{file.name}", (1e9, 1e9))
        rows = [f"{file.name},{number % 3}" for number, file in enumerate(sorted((tmp_path / name).glob("*.png")))]
        (tmp_path / name / "labels.csv").write_text("\n".join(["file,kind", *rows]))
    home = tmp_path / "home"
    shown = {}
    for name in ("field.1", "field.2", "deep/field.1"):
        data = demo(tmp_path / name, home)
        assert (data.name, data.classes) == (Path(name).name, ("0", "1", "2"))
        with StampSet(data.stamps) as stamps:
            shown[data.stamps.stem] = str(stamps.column("file")[0])[:2]
    assert len(shown) == 3 and sorted(shown.values()) == ["11", "17", "27"]
    before = demo(tmp_path / "field.1", home).stamps
    labels = tmp_path / "field.1" / "labels.csv"
    labels.write_text(labels.read_text().replace(",2", ",1"))
    os.utime(labels, (1e9, 1e9))
    after = demo(tmp_path / "field.1", home)
    assert after.stamps != before and before.is_file() and after.classes == ("kind", "not kind")


@pytest.mark.parametrize(
    "table",
    [
        "file, ring\n{}, yes\n{}, no\n{}, NA\n",
        "\ufefffile;ring\n{};yes\n{};no\n{};\n;\n;\n",
        "# rings\nfile\tring\n{}\tyes\n{}\tno\n",
    ],
)
def test_labels_are_read_as_an_import_reads_them(pictures: Path, tmp_path: Path, table: str) -> None:
    (pictures / "labels.csv").write_text(table.format(*(f"images/{i:02}.png" for i in range(3))))
    data = demo(pictures, tmp_path)
    assert data.truth == {0: "yes", 1: "no"}


def test_a_class_called_na(pictures: Path, tmp_path: Path) -> None:
    (pictures / "labels.csv").write_text("file,where\nimages/00.png,NA\nimages/01.png,EU\nimages/02.png,?\n")
    assert demo(pictures, tmp_path, missing=Missing.declared("?")).truth == {0: "NA", 1: "EU"}
    assert demo(pictures, tmp_path).truth == {1: "EU", 2: "?"}


def test_what_cannot_be_used_is_said_before_anything_is_made(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(StampError, match="nothing at"):
        demo(tmp_path / "absent", tmp_path / "home")
    with pytest.raises(LabelError, match=r"no column 'bar'\. It has: file, ring, quality"):
        demo(pictures, tmp_path / "home", column="bar")
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["1", "0", "1"], {0: "odd one", 1: "not odd one", 2: "odd one"}),
        (["True", "", "False"], {0: "odd one", 2: "not odd one"}),
        (["a", "", "b"], {0: "a", 2: "b"}),
        (["1", "2", "3"], {0: "1", 1: "2", 2: "3"}),
    ],
)
def test_label_classes(values: list[str], expected: dict[int, str]) -> None:
    assert label_classes(values, "odd_one") == expected


@pytest.mark.parametrize("values", [["a", "a"], [str(i) for i in range(9)], ["", ""]])
def test_columns_that_name_no_classes(values: list[str]) -> None:
    with pytest.raises(LabelError, match="classes"):
        label_classes(values, "kind")


def test_a_file_without_a_label_column_lists_its_columns(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("file,ra\n" + "\n".join(f"{i}.png,{i}" for i in range(20)))
    with pytest.raises(LabelError) as caught:
        label_column(read_table(tmp_path / "labels.csv"))
    assert "ra" in caught.value.hint
