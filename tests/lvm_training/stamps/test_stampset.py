"""Stamp sets: the layout that is read, the order of rows, and a writer that survives being killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from lvm_training.errors import StampError
from lvm_training.stamps.stampset import StampSet, StampWriter


def pixels(count: int, *, seed: int = 0, size: int = 8) -> NDArray[np.float32]:
    """Random stamps (count, 3, size, size)."""
    return np.random.default_rng(seed).normal(size=(count, 3, size, size)).astype(np.float32)


def write(path: Path, images: NDArray[np.float32], **columns: object) -> Path:
    """A finished set of `images`."""
    writer = StampWriter(path, images.shape[2:])
    writer.append(images, columns)
    return writer.finish()


def foreign(path: Path, images: NDArray[np.generic], **attributes: object) -> Path:
    """An HDF5 file that was not written here."""
    with h5py.File(path, "w") as file:
        file["images"] = images
        file["ra"] = np.linspace(0, 1, len(images))
        file["flux"] = np.ones((len(images), 3))
        file["ids"] = np.array([b"a"] * len(images))
        file.attrs.update(attributes)
    return path


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    images = pixels(5)
    path = write(tmp_path / "galaxies.h5", images, ra=np.arange(5.0), name=["a", "b", "ü", "", "e"])
    with StampSet(path) as stamps:
        assert (stamps.name, len(stamps), stamps.shape) == ("galaxies", 5, (8, 8))
        assert (stamps.rendering, stamps.pixel_scale, stamps.origin) == ("nanomaggies", 0.262, "lower")
        np.testing.assert_array_equal(stamps.pixels(slice(None)), images)
        assert stamps.column("name").tolist() == ["a", "b", "ü", "", "e"]
        assert stamps.catalogue()["ra"].tolist() == [0, 1, 2, 3, 4]
    assert not path.with_name("galaxies.h5.partial").exists()


def test_rows_come_in_the_order_asked_for_with_duplicates(tmp_path: Path) -> None:
    images = pixels(9)
    wanted = [7, 0, 7, 3, 8, 0]
    with StampSet(write(tmp_path / "s.h5", images)) as stamps:
        np.testing.assert_array_equal(stamps.pixels(wanted), images[wanted])
        np.testing.assert_array_equal(stamps.pixels(np.array(wanted[::-1])), images[wanted[::-1]])
        assert stamps.pixels([]).shape == (0, 3, 8, 8)
        np.testing.assert_array_equal(np.concatenate(list(stamps.batches(4))), images)


@pytest.mark.parametrize("row", [-1, 3, 99])
def test_a_row_that_is_not_there_is_named(tmp_path: Path, row: int) -> None:
    with StampSet(write(tmp_path / "s.h5", pixels(3))) as stamps, pytest.raises(StampError, match=f"row {row} was"):
        stamps.pixels([0, row])


def test_a_foreign_stein_file_without_attributes_is_nanomaggies(tmp_path: Path) -> None:
    images = pixels(4)
    with StampSet(foreign(tmp_path / "chunk.h5", images)) as stamps:
        assert (stamps.rendering, stamps.pixel_scale, stamps.origin) == ("nanomaggies", 0.262, "lower")
        assert stamps.columns == ["flux_g", "flux_r", "flux_z", "ids", "ra"]
        assert stamps.column("ids").tolist() == ["a"] * 4
        np.testing.assert_array_equal(stamps.pixels(slice(1, 3)), images[1:3])


@pytest.mark.parametrize("dtype", [">f4", "<f8", "<f2"])
def test_floats_of_any_kind_come_as_native_float32(tmp_path: Path, dtype: str) -> None:
    images = pixels(3).astype(dtype)
    with StampSet(foreign(tmp_path / "s.h5", images)) as stamps:
        for read in (stamps.pixels(slice(0, 2)), stamps.pixels([0, 1])):
            assert read.dtype == np.dtype("=f4")
            np.testing.assert_array_equal(read, images[:2].astype("f4"))


@pytest.mark.parametrize(
    ("images", "attributes"),
    [
        (np.zeros((2, 8, 8, 3), "f4"), {}),
        (np.zeros((2, 3, 8), "f4"), {}),
        (np.zeros((2, 3, 8, 8), "u1"), {}),
        (np.zeros((2, 3, 8, 8), "f4"), {"rendering": "as-delivered"}),
        (np.zeros((2, 3, 8, 8), "u2"), {"rendering": "as-delivered"}),
    ],
)
def test_a_file_that_breaks_the_layout_is_refused(
    tmp_path: Path, images: NDArray[np.generic], attributes: dict[str, str]
) -> None:
    with pytest.raises(StampError, match=r"s\.h5"):
        StampSet(foreign(tmp_path / "s.h5", images, **attributes))


@pytest.mark.parametrize(
    ("attribute", "value", "said"),
    [
        ("rendering", "jpeg", "rendering 'jpeg'.*nanomaggies, as-delivered"),
        ("rendering", ["nanomaggies", "as-delivered"], "rendering.*nanomaggies, as-delivered"),
        ("rendering", h5py.Empty("f4"), "rendering.*nanomaggies, as-delivered"),
        ("origin", "bottom", "origin 'bottom'.*lower, upper"),
        ("origin", 0, "origin 0.*lower, upper"),
        ("pixel_scale", 0.0, "pixel_scale 0.0.*arcsec per pixel"),
        ("pixel_scale", -0.262, "pixel_scale -0.262.*arcsec per pixel"),
        ("pixel_scale", np.inf, "pixel_scale inf.*arcsec per pixel"),
        ("pixel_scale", "fine", "pixel_scale 'fine'.*arcsec per pixel"),
        ("pixel_scale", [0.2, 0.3], "pixel_scale.*arcsec per pixel"),
    ],
)
def test_an_attribute_that_says_nothing_known_is_refused(
    tmp_path: Path, attribute: str, value: object, said: str
) -> None:
    path = foreign(tmp_path / "s.h5", pixels(2), **{attribute: value})
    with pytest.raises(StampError, match=rf"s\.h5.*{said}"):
        StampSet(path)


def test_attributes_as_other_programs_write_them(tmp_path: Path) -> None:
    attributes = {"origin": np.bytes_("upper"), "rendering": ["nanomaggies"], "pixel_scale": np.array([0.4])}
    with StampSet(foreign(tmp_path / "s.h5", pixels(2), **attributes)) as stamps:
        assert (stamps.rendering, stamps.pixel_scale, stamps.origin) == ("nanomaggies", 0.4, "upper")
    with StampSet(foreign(tmp_path / "unknown.h5", pixels(2), pixel_scale=np.nan)) as stamps:
        assert np.isnan(stamps.pixel_scale), "NaN says that it is not known"


def test_missing_truncated_and_other_files_are_refused(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.h5", pixels(64, size=16)).read_bytes()
    (tmp_path / "half.h5").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.h5").write_text("not HDF5")
    (tmp_path / "none.h5").touch()
    for name in ("half.h5", "text.h5", "none.h5"):
        with pytest.raises(StampError, match="not a readable HDF5"):
            StampSet(tmp_path / name)
    with pytest.raises(StampError, match="no stamp set"):
        StampSet(tmp_path / "absent.h5")


def test_an_unknown_column_is_answered_with_those_there_are(tmp_path: Path) -> None:
    path = write(tmp_path / "s.h5", pixels(2), dec=[1.0, 2.0], ra=[3.0, 4.0])
    with StampSet(path) as stamps, pytest.raises(StampError, match=r"'flux'.*It has: dec, ra"):
        stamps.column("flux")


def test_the_digest_names_the_content(tmp_path: Path) -> None:
    images = pixels(4)
    changed = images.copy()
    changed[2, 1, 3, 3] += 1e-3
    paths = [write(tmp_path / "a.h5", images), write(tmp_path / "b.h5", images), write(tmp_path / "c.h5", changed)]
    paths += [foreign(tmp_path / "d.h5", images), foreign(tmp_path / "e.h5", changed)]
    digests = []
    for path in paths:
        with StampSet(path) as stamps:
            digests.append(stamps.digest)
    assert digests[0] == digests[1]
    assert len({*digests}) == 4
    assert all(len(digest) == 12 and int(digest, 16) >= 0 for digest in digests)


def test_the_digest_does_not_depend_on_the_batches(tmp_path: Path) -> None:
    images = pixels(7)
    writer = StampWriter(tmp_path / "b.h5", (8, 8))
    for start in (0, 3, 5):
        stop = {0: 3, 3: 5, 5: 7}[start]
        writer.append(images[start:stop], {})
    with StampSet(write(tmp_path / "a.h5", images)) as one, StampSet(writer.finish()) as other:
        assert one.digest == other.digest


def test_an_interrupted_writer_goes_on_behind_its_last_batch(tmp_path: Path) -> None:
    images = pixels(6)
    first = StampWriter(tmp_path / "s.h5", (8, 8), source="a")
    first.append(images[:4], {"name": list("abcd")})
    first.close()
    second = StampWriter(tmp_path / "s.h5", (8, 8), source="a")
    assert (len(second), second.column("name"), second.column("other")) == (4, list("abcd"), [])
    second.append(images[4:], {"name": list("ef")})
    with StampSet(second.finish()) as stamps:
        np.testing.assert_array_equal(stamps.pixels(slice(None)), images)
        assert stamps.column("name").tolist() == list("abcdef")


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.999])
def test_a_torn_batch_is_cut_off(tmp_path: Path, share: float) -> None:
    writer = StampWriter(tmp_path / "s.h5", (8, 8))
    writer.append(pixels(2), {"name": ["a", "b"]})
    whole = writer.partial.stat().st_size
    writer.append(pixels(3), {"name": ["x", "y", "z"]})
    writer.close()
    os.truncate(writer.partial, whole + int((writer.partial.stat().st_size - whole) * share))
    again = StampWriter(tmp_path / "s.h5", (8, 8))
    assert (len(again), again.partial.stat().st_size) == (2, whole)
    again.append(pixels(1, seed=1), {"name": ["c"]})
    with StampSet(again.finish()) as stamps:
        assert (len(stamps), stamps.column("name").tolist()) == (3, ["a", "b", "c"])
        np.testing.assert_array_equal(stamps.pixels([2]), pixels(1, seed=1))


def test_a_batch_whose_pixels_were_lost_with_the_power_is_cut_off(tmp_path: Path) -> None:
    writer = StampWriter(tmp_path / "s.h5", (8, 8))
    for seed in range(2):
        writer.append(pixels(2, seed=seed), {})
    writer.close()
    content = writer.partial.read_bytes()
    writer.partial.write_bytes(content[:-100] + bytes(100))
    again = StampWriter(tmp_path / "s.h5", (8, 8))
    assert len(again) == 2
    with StampSet(again.finish()) as stamps:
        np.testing.assert_array_equal(stamps.pixels(slice(None)), pixels(2))


@pytest.mark.parametrize("cut", [0, 5])
def test_a_writer_killed_before_its_first_line_begins_anew(tmp_path: Path, cut: int) -> None:
    writer = StampWriter(tmp_path / "s.h5", (8, 8))
    writer.append(pixels(1), {})
    writer.close()
    os.truncate(writer.partial, cut)
    again = StampWriter(tmp_path / "s.h5", (8, 8))
    assert len(again) == 0
    again.append(pixels(1), {})
    again.close()
    third = StampWriter(tmp_path / "s.h5", (8, 8))
    assert len(third) == 1
    third.close()


@pytest.mark.parametrize("dtype", ["<f4", "<f2", "<f8", "<i8", "<u8", "|b1"])
def test_columns_keep_their_type_through_an_interruption(tmp_path: Path, dtype: str) -> None:
    values = (np.random.default_rng(0).normal(size=4) * 1e3).astype(dtype)
    for part in (values[:2], values[2:]):
        writer = StampWriter(tmp_path / "s.h5", (8, 8))
        writer.append(pixels(2), {"v": part})
        writer.close()
    with StampSet(StampWriter(tmp_path / "s.h5", (8, 8)).finish()) as stamps:
        assert stamps.column("v").dtype == np.dtype(dtype)
        np.testing.assert_array_equal(stamps.column("v"), values)


def test_missing_numbers_survive_an_interruption(tmp_path: Path) -> None:
    writer = StampWriter(tmp_path / "s.h5", (8, 8))
    writer.append(pixels(3), {"ra": [np.nan, np.inf, 1.0], "name": ["", "\n", "x"]})
    writer.close()
    with StampSet(StampWriter(tmp_path / "s.h5", (8, 8)).finish()) as stamps:
        np.testing.assert_array_equal(stamps.column("ra"), [np.nan, np.inf, 1])
        assert stamps.column("name").tolist() == ["", "\n", "x"]


def test_a_writer_killed_before_renaming_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = StampWriter(tmp_path / "s.h5", (8, 8))
    writer.append(pixels(3), {})

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "replace", killed)
        writer.finish()
    writer.close()
    again = StampWriter(tmp_path / "s.h5", (8, 8))
    assert len(again) == 3
    with StampSet(again.finish()) as stamps:
        np.testing.assert_array_equal(stamps.pixels(slice(None)), pixels(3))


@pytest.mark.parametrize("content", [b"half of a download", b"notes\nof somebody\n", b'{"a": 1}\n', b"{\n"])
def test_a_file_of_somebody_else_is_not_taken_for_an_unfinished_set(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "s.h5.partial").write_bytes(content)
    with pytest.raises(StampError, match="is there already, and no unfinished set"):
        StampWriter(tmp_path / "s.h5", (8, 8))
    assert (tmp_path / "s.h5.partial").read_bytes() == content


@pytest.mark.parametrize(
    "change",
    [
        {"shape": (9, 8)},
        {"source": "b"},
        {"origin": "upper"},
        {"pixel_scale": 0.3},
        {"pixel_scale": float("nan")},
        {"rendering": "as-delivered"},
    ],
)
def test_an_unfinished_set_of_another_kind_is_left_alone(tmp_path: Path, change: dict[str, object]) -> None:
    writer = StampWriter(tmp_path / "s.h5", (8, 8), source="a")
    writer.append(pixels(2), {})
    writer.close()
    kept = writer.partial.read_bytes()
    with pytest.raises(StampError, match=r"Delete it and run again.*s\.h5\.partial"):
        StampWriter(tmp_path / "s.h5", **{"shape": (8, 8), "source": "a"} | change)  # type: ignore[arg-type]
    assert writer.partial.read_bytes() == kept


def test_an_unknown_pixel_scale_is_gone_on_with(tmp_path: Path) -> None:
    for _ in range(2):
        writer = StampWriter(tmp_path / "s.h5", (8, 8), pixel_scale=float("nan"))
        writer.append(pixels(1), {})
        writer.close()
    writer = StampWriter(tmp_path / "s.h5", (8, 8), pixel_scale=float("nan"))
    assert len(writer) == 2
    writer.close()


def test_columns_have_one_value_per_stamp_in_every_batch(tmp_path: Path) -> None:
    writer = StampWriter(tmp_path / "s.h5", (8, 8))
    with pytest.raises(StampError, match="'ra' has 1 values for 2 stamps"):
        writer.append(pixels(2), {"ra": [1.0]})
    writer.append(pixels(2), {"ra": [1.0, 2.0]})
    for other in ({}, {"ra": [3.0], "dec": [4.0]}):
        with pytest.raises(StampError, match=r"differ from those of the 2 stamps already written, \['ra'\]"):
            writer.append(pixels(1), other)
    with pytest.raises(StampError, match=r"shape \(3, 9, 9\) do not fit"):
        writer.append(pixels(1, size=9), {"ra": [3.0]})
    writer.append(pixels(1, seed=1), {"ra": [3.0]})
    with StampSet(writer.finish()) as stamps:
        assert stamps.column("ra").tolist() == [1, 2, 3]


def test_a_closed_writer_without_stamps_leaves_no_file(tmp_path: Path) -> None:
    StampWriter(tmp_path / "s.h5", (8, 8)).close()
    assert list(tmp_path.iterdir()) == []


WRITE_FOREVER = """
import sys
from pathlib import Path
import numpy as np
from lvm_training.stamps.stampset import StampWriter
writer = StampWriter(Path(sys.argv[1]), (8, 8))
print(len(writer), flush=True)
while True:
    rows = np.arange(len(writer), len(writer) + 4)
    images = np.broadcast_to(rows.astype("f4")[:, None, None, None], (4, 3, 8, 8))
    writer.append(images, {"row": rows, "name": [f"stamp {row}" for row in rows]})
    print(len(writer), flush=True)
"""


def test_a_killed_writer_has_kept_every_batch_it_reported(tmp_path: Path) -> None:
    path = tmp_path / "s.h5"
    reported = 0
    for kill_after in (2, 17, 40):
        writing = subprocess.Popen([sys.executable, "-c", WRITE_FOREVER, path], stdout=subprocess.PIPE, text=True)
        assert writing.stdout is not None
        assert int(writing.stdout.readline()) >= reported
        for _ in range(kill_after):
            reported = int(writing.stdout.readline())
        os.kill(writing.pid, signal.SIGKILL)
        reported = max([reported, *map(int, writing.stdout.read().split("\n")[:-1])])
        writing.stdout.close()
        writing.wait()
    writer = StampWriter(path, (8, 8))
    count = len(writer)
    assert count >= reported > 200
    with StampSet(writer.finish()) as stamps:
        np.testing.assert_array_equal(stamps.pixels(slice(None))[:, 2, 7, 7], np.arange(count))
        np.testing.assert_array_equal(stamps.column("row"), np.arange(count))
        assert stamps.column("name").tolist() == [f"stamp {row}" for row in range(count)]


def test_a_second_writer_does_not_touch_the_file_of_the_first(tmp_path: Path) -> None:
    path = tmp_path / "s.h5"
    writer = StampWriter(path, (8, 8))
    writer.append(pixels(4), {})
    other = subprocess.run(
        [sys.executable, "-c", WRITE_FOREVER, path], capture_output=True, text=True, check=False, timeout=60
    )
    assert "is being written by another process" in other.stderr
    with StampSet(writer.finish()) as stamps:
        assert len(stamps) == 4
