"""Columns beside the image: standardised, kept with their scales, refused where they differ."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from lvm_training.errors import CheckpointError
from lvm_training.heads.beside import Beside, ColumnError, check_alike, described, read_column
from lvm_training.heads.head import pack, unpack
from lvm_training.stamps.stampset import StampSet
from tests.lvm_training.parameters.skies import noise, write_set

N = 40
IMAGE = 64


@pytest.fixture
def values() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    found = {"g_r": rng.normal(0.8, 0.2, N), "size": rng.lognormal(0, 1, N), "spectrum": rng.normal(3, 2, (N, 6))}
    found["size"][::4] = np.nan
    return found


@pytest.fixture
def sky(tmp_path: Path, values: dict[str, np.ndarray]) -> Path:
    columns: dict[str, list[Any]] = {name: values[name].tolist() for name in ("g_r", "size")}
    columns |= {"comma": ["17,5"] * N, "z": [-99.0 if row % 5 == 0 else 0.1 for row in range(N)]}
    columns |= {"dec": [-99.0 if row % 2 else -95.0 for row in range(N)], "none": [float("nan")] * N}
    path = write_set(tmp_path / "sky.h5", [noise(row) for row in range(N)], columns)
    np.save(tmp_path / "spectrum.npy", values["spectrum"])
    with h5py.File(path, "a") as file:
        file["vectors"] = values["spectrum"]
    return path


def test_columns_are_standardised_by_median_and_middle_width(values: dict[str, np.ndarray]) -> None:
    found = Beside.fit(values, image=1).features(values)
    g_r = values["g_r"]
    low, middle, high = np.quantile(g_r, [0.15865, 0.5, 0.84135])
    assert found[:, 0] == pytest.approx(np.clip((g_r - middle) / ((high - low) / 2), -5, 5), abs=0.02)
    # g_r, size and its mark, six of the spectrum, three products
    assert found.shape == (N, 1 + 2 + 6 + 3) and np.isfinite(found).all() and np.abs(found[:, :9]).max() <= 5
    gone = np.isnan(values["size"])
    assert (found[gone, 1] == 0).all() and (found[:, 2] == gone).all()
    assert found[:, 9:] == pytest.approx(
        np.stack([found[:, 0] ** 2, found[:, 0] * found[:, 1], found[:, 1] ** 2], axis=1), abs=1e-5
    )


def test_columns_weigh_as_much_as_the_image(values: dict[str, np.ndarray]) -> None:
    few = {"g_r": values["g_r"]}
    assert Beside.fit(few, image=IMAGE).features(few).shape == (N, IMAGE)
    wide = {"spectrum": np.zeros((N, 100))}
    assert Beside.fit(wide, image=IMAGE).features(wide).shape == (N, 100), "once at least"


def test_a_column_that_is_all_missing_tells_nothing_whatever_comes_later(values: dict[str, np.ndarray]) -> None:
    empty = {"g_r": values["g_r"], "none": np.full(N, np.nan)}
    beside = Beside.fit(empty, image=IMAGE)
    one, other = beside.features(empty), beside.features({**empty, "none": np.full(N, 1e6)})
    assert np.array_equal(one, other) and np.isfinite(one).all()
    assert beside.told()[1] == {"name": "none", "numbers": 1, "middle": 0.0, "scale": 1.0, "missing": 1.0}
    beside.check({**empty, "none": np.full(N, 1e6)}, "other")


def test_what_is_alike_of_most_has_a_scale_and_extremes_go_no_farther() -> None:
    alike = {"flag": np.where(np.arange(N) == 0, 1e9, 2.0), "same": np.full(N, 3.0)}
    found = Beside.fit(alike, image=1).features(alike)
    assert np.isfinite(found).all() and np.abs(found).max() <= 25
    assert (found[1:, :2] == 0).all() and found[0, 0] > 0


def test_they_are_kept_with_their_names_and_scales(values: dict[str, np.ndarray]) -> None:
    beside = Beside.fit(values, image=IMAGE)
    again = Beside.load(beside.save())
    assert again.classes == ("g_r", "size", "spectrum") and again.digest == beside.digest
    assert np.array_equal(again.features(values), beside.features(values))
    shifted = Beside.fit({**values, "g_r": values["g_r"] + 1}, image=IMAGE)
    assert shifted.digest != beside.digest


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"g_r": None}, "no column 'g_r'"),
        ({"spectrum": np.zeros((N, 5))}, "5 numbers a galaxy, and had 6"),
        ({"g_r": np.full(N, 800.0)}, "'g_r' of other is 800 in the middle, and was 0.7"),
    ],
)
def test_columns_that_are_not_as_they_were_learned_are_refused(
    values: dict[str, np.ndarray], change: dict[str, Any], message: str
) -> None:
    beside = Beside.fit(values, image=IMAGE)
    changed = {name: one for name, one in (values | change).items() if one is not None}
    with pytest.raises(ColumnError, match=message):
        beside.check(changed, "other")


def test_columns_are_read_from_a_set_a_dataset_of_it_and_a_file_beside_it(
    sky: Path, values: dict[str, np.ndarray]
) -> None:
    rows = np.array([7, 3, 3, 0])
    with StampSet(sky) as stamps:
        assert read_column(stamps, "g_r", rows) == pytest.approx(values["g_r"][rows])
        assert np.isnan(read_column(stamps, "size")[::4]).all()
        for name in ("vectors", "spectrum.npy"):
            assert read_column(stamps, name, rows) == pytest.approx(values["spectrum"][rows])
        assert np.isnan(read_column(stamps, "z")).sum() == N // 5, "-99 marks a missing one"
        assert np.isfinite(read_column(stamps, "dec")).all(), "unless others are as low"
        told = described(stamps, ["g_r", "size", "none", "spectrum.npy"])
    assert told == [
        "size: 10 of 40 values are missing",
        "none: all values are missing; it does no harm and tells nothing",
    ]


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("comma", "holds text: '17,5'", "no comma"),
        ("i_z", "has no column 'i_z', which the head reads", "g_r"),
        ("no.npy", "no no.npy beside sky.h5", "Put it into"),
        ("../spectrum.npy", "not in the folder", "file alone"),
        ("short.npy", r"\(3, 6\), and sky has 40 stamps", r"\(40, W\)"),
        ("words.npy", "no NumPy file of numbers", "numpy.save"),
        ("images", "no column 'images'", "g_r"),
    ],
)
def test_columns_that_cannot_be_read_are_refused(sky: Path, name: str, message: str, hint: str) -> None:
    np.save(sky.with_name("short.npy"), np.zeros((3, 6)))
    np.save(sky.with_name("words.npy"), np.array([{}] * N, dtype=object), allow_pickle=True)
    with StampSet(sky) as stamps, pytest.raises(ColumnError, match=message) as found:
        read_column(stamps, name)
    assert hint.replace("\\", "") in found.value.hint


def test_a_set_that_is_added_has_the_same_columns_in_the_same_units(sky: Path, values: dict[str, np.ndarray]) -> None:
    stamps = [noise(row) for row in range(N)]
    made = {
        name: write_set(sky.with_name(f"{name}.h5"), stamps, {"g_r": one.tolist()})
        for name, one in (("same", values["g_r"] + 0.1), ("milli", 1000 * values["g_r"]))
    }
    with StampSet(sky) as ours, StampSet(made["same"]) as same, StampSet(made["milli"]) as milli:
        check_alike(ours, same, ["g_r"])
        check_alike(ours, milli, [])
        with pytest.raises(ColumnError, match="'g_r' of milli"):
            check_alike(ours, milli, ["g_r"])
        with pytest.raises(ColumnError, match="same has no column 'size'"):
            check_alike(ours, same, ["g_r", "size"])


def test_a_column_is_named_once(sky: Path) -> None:
    with StampSet(sky) as stamps, pytest.raises(ColumnError, match="twice"):
        described(stamps, ["g_r", "g_r"])


def test_heads_are_packed_by_name_and_others_are_none(values: dict[str, np.ndarray]) -> None:
    beside = Beside.fit(values, image=IMAGE).save()
    packed = pack({"b": beside, "a": b"head"})
    assert unpack(packed) == {"a": b"head", "b": beside} and packed == pack({"a": b"head", "b": beside})
    assert unpack(beside) == {} and unpack(b"") == {}
    with pytest.raises(CheckpointError, match="no whole file"):
        unpack(packed[:-3])
