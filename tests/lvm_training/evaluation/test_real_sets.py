"""Real pictures with people's labels: which sets are found, what their columns mean, which pictures are taken."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lvm_training.errors import LabelError, StampError
from lvm_training.evaluation.real_sets import FIELDS, read_set, set_folders
from lvm_training.stamps.rendering import Rendering

TINY = Rendering(size=8)


def write_set(folder: Path, header: str, rows: list[str], *, size: int = 20) -> Path:
    """A set whose i-th picture has the brightness 10 (i + 1); a row without `.png` gets none."""
    folder.mkdir(parents=True)
    for i, row in enumerate(rows):
        name = row.split(",")[0]
        if name.endswith(".png"):
            Image.fromarray(np.full((size, size, 3), 10 * (i + 1), np.uint8)).save(folder / name)
    (folder / "labels.csv").write_text("\n".join([header, *rows]), encoding="utf-8")
    return folder


def test_sets_lie_below_a_folder_or_are_it(tmp_path: Path) -> None:
    one = write_set(tmp_path / "one", "file,ring", ["a.png,1"])
    two = write_set(tmp_path / "two", "file,ring", ["a.png,1"])
    (tmp_path / "no-set").mkdir()
    assert set_folders(tmp_path) == [one, two]
    assert set_folders(one) == [one]
    assert set_folders(tmp_path / "nowhere") == []


def test_a_table_is_read_as_every_table_is(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "set", "file,ring", ["a.png,1", "b.png,0", "c.png,1"])
    (folder / "labels.csv").write_text("ring;file;ra\n1; a.png;no position\n\nNA;b.png;\n0;c.png;\n", encoding="utf-16")
    found = read_set(folder, TINY)
    assert found is not None and dict(zip(found.files, found.labels["ring"], strict=True)) == {
        "a.png": "1",
        "c.png": "0",
    }


@pytest.mark.parametrize(
    ("column", "values", "task", "classes"),
    [
        ("ring", ["1", "0", ""], "ring", ["1", "0", ""]),
        ("morphology5", ["round_smooth", "spiral", ""], "morphology5", ["completely_round_smooth", "spiral", ""]),
        ("bar_length", ["0.5", "0.25", "-1"], "bar", ["1", "0", ""]),
        ("inner_ring", ["1", "0", "-1"], "ring", ["1", "0", ""]),
        ("perturbation", ["0.75", "0", "-1"], "perturbation", ["1", "0", ""]),
        ("morphology", ["merger", "elliptical", "dont_know"], "merger", ["1", "0", ""]),
        ("grade", ["lens", "unlikely", "maybe"], "lens", ["1", "0", ""]),
        ("morphology7", ["irregular", "spiral_late", ""], "morphology7", ["irregular", "spiral_late", ""]),
        ("odd_spiral", ["1", "0", ""], "odd_spiral", ["1", "0", ""]),
    ],
)
def test_columns_mean_classes(tmp_path: Path, column: str, values: list[str], task: str, classes: list[str]) -> None:
    rows = [f"{i}.png,{value}" for i, value in enumerate(values)]
    found = read_set(write_set(tmp_path / "set", f"file,{column}", rows), TINY, most=9)
    assert found is not None and list(found.labels) == [task]
    # the third has no class, so it is not read
    told = {
        int(picture[0, 0, 0]): str(label) for picture, label in zip(found.pictures, found.labels[task], strict=True)
    }
    assert told == {10: classes[0], 20: classes[1]}
    assert {int(name[0]): int(picture[0, 0, 0]) for name, picture in zip(found.files, found.pictures, strict=True)} == {
        0: 10,
        1: 20,
    }
    assert found.pictures.shape == (2, 3, 8, 8)


def test_so_many_of_each_class_the_same_ones_in_any_order(tmp_path: Path) -> None:
    rows = [f"{i}.png,{int(i % 5 == 0)}" for i in range(20)]
    first = read_set(write_set(tmp_path / "one", "file,ring", rows), TINY, most=3)
    assert first is not None
    assert sorted(first.labels["ring"]) == ["0"] * 3 + ["1"] * 3
    (tmp_path / "one" / "labels.csv").write_text("\n".join(["file,ring", *rows[::-1]]))
    again = read_set(tmp_path / "one", TINY, most=3)
    assert again is not None and (again.pictures == first.pictures).all()


def test_a_picture_for_one_task_tells_of_all(tmp_path: Path) -> None:
    rows = ["a.png,1,0.5", "b.png,0,-1", "c.png,-1,0"]
    found = read_set(write_set(tmp_path / "set", "file,bar_length,perturbation", rows), TINY, most=9)
    assert found is not None
    told = {
        int(one[0, 0, 0]): (str(found.labels["bar"][i]), str(found.labels["perturbation"][i]))
        for i, one in enumerate(found.pictures)
    }
    assert told == {10: ("1", "1"), 20: ("0", ""), 30: ("", "0")}


def test_of_sets_whose_sky_is_known_the_middle_is_read(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "rings-decals", "file,ring", ["a.png,1"], size=100)
    pixels = np.full((100, 100, 3), 250, np.uint8)
    pixels[30:70, 30:70] = 50
    Image.fromarray(pixels).save(folder / "a.png")
    third = Rendering(size=8, field=FIELDS["rings-decals"] / 3)
    more = Rendering(size=8, field=FIELDS["rings-decals"] * 2)
    found = {rendering: read_set(folder, rendering) for rendering in (third, more)}
    unknown = read_set(folder.rename(tmp_path / "unknown"), third)
    assert found[third] is not None and found[third].pictures.max() <= 50
    # an encoder that reads more than a picture shows gets the whole of it, and so does each where nobody knows
    assert found[more] is not None and unknown is not None and (unknown.pictures > 200).any()
    assert (found[more].pictures == unknown.pictures).all()


def test_what_is_no_set_or_cannot_be_read(tmp_path: Path) -> None:
    assert read_set(write_set(tmp_path / "a", "file,colour", ["a.png,red"]), TINY, most=9) is None
    assert read_set(write_set(tmp_path / "b", "file,ring", []), TINY, most=9) is None
    assert read_set(write_set(tmp_path / "c", "file,ring", ["a.png,"]), TINY, most=9) is None
    with pytest.raises(LabelError, match="no column `file`"):
        read_set(write_set(tmp_path / "d", "name,ring", ["a.png,1"]), TINY, most=9)
    with pytest.raises(LabelError, match="column bar_length: could not convert"):
        read_set(write_set(tmp_path / "e", "file,bar_length", ["a.png,long"]), TINY, most=9)
    partly = read_set(write_set(tmp_path / "f", "file,ring", ["a.png,1", "gone,0", "b.png,0"]), TINY, most=9)
    assert partly is not None and sorted(partly.labels["ring"]) == ["0", "1"]
    with pytest.raises(StampError, match=r"No picture of .* can be read"):
        read_set(write_set(tmp_path / "g", "file,ring", ["gone,1", "lost,0"]), TINY, most=9)
