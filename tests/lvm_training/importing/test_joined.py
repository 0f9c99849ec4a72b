"""Sets joined in place: each row is that of its part, and a part that is not there is never made up."""

import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from lvm_training.errors import StampError
from lvm_training.importing.joined import join_sets
from lvm_training.stamps.stampset import StampSet
from lvm_training.stamps.summary import summary


def chunk(path: Path, seed: int, count: int, *, dtype: str = "f4", side: int = 8, **datasets: Any) -> NDArray[Any]:
    """A chunk as Stein et al. write them; its pixels are given back."""
    images = np.random.default_rng(seed).normal(size=(count, 3, side, side)).astype(dtype)
    path.parent.mkdir(exist_ok=True)
    with h5py.File(path, "w") as file:
        compression = "gzip" if seed % 2 else None
        file.create_dataset("images", data=images, chunks=(4, 3, side, side), compression=compression)
        file["inds"] = np.arange(count) + 1000 * seed
        file["flux"] = np.arange(count * 3.0).reshape(count, 3) + seed
        file["source_type"] = np.array([b"SER", b"DEV"])[np.arange(count) % 2]
        file["name"] = np.array([f"g{seed}-{row}" for row in range(count)], dtype=object)
        for name, values in datasets.items():
            file[name] = values
    return images


def test_rows_and_columns_are_those_of_the_parts(tmp_path: Path) -> None:
    pixels = np.concatenate([
        chunk(tmp_path / "in" / "a.h5", 1, 10),
        chunk(tmp_path / "in" / "b.h5", 2, 7, dtype="f8"),
        chunk(tmp_path / "in" / "c.h5", 3, 5),
    ]).astype(np.float32)  # fmt: skip
    done: list[tuple[int, int]] = []
    paths = [tmp_path / "in" / f"{name}.h5" for name in "abc"]
    made = join_sets(paths, tmp_path / "pool.h5", lambda *progress: done.append(progress))
    assert (made.stamps, made.notes, done[-1]) == (22, (), (3, 3))
    with StampSet(made.out) as stamps:
        assert (len(stamps), stamps.shape, stamps.rendering, stamps.pixel_scale) == (22, (8, 8), "nanomaggies", 0.262)
        np.testing.assert_allclose(stamps.pixels(slice(None)), pixels, rtol=1e-6)
        rows = [21, 3, 12, 3]
        np.testing.assert_allclose(stamps.pixels(rows), pixels[rows], rtol=1e-6)
        assert stamps.column("inds").tolist() == [*range(1000, 1010), *range(2000, 2007), *range(3000, 3005)]
        assert stamps.column("flux_z")[9:11].tolist() == [30, 4]
        assert stamps.column("name")[[9, 10, 21]].tolist() == ["g1-9", "g2-0", "g3-4"]
        assert stamps.column("source_type")[[0, 11]].tolist() == ["SER", "DEV"]
        digest = stamps.digest
        assert summary(stamps)["join"] == {"parts": {"in/a.h5": 10, "in/b.h5": 7, "in/c.h5": 5}}
    assert made.out.stat().st_size < 50_000
    # all of it can be moved
    (tmp_path / "moved").mkdir()
    shutil.move(tmp_path / "in", tmp_path / "moved" / "in")
    shutil.move(made.out, tmp_path / "moved" / "pool.h5")
    with StampSet(tmp_path / "moved" / "pool.h5") as stamps:
        assert stamps.digest == digest


def test_columns_that_not_all_have_alike_are_left_out(tmp_path: Path) -> None:
    chunk(tmp_path / "a.h5", 1, 4, ra=np.arange(4.0), z=np.arange(4), label=np.array([b"ab"] * 4))
    chunk(tmp_path / "b.h5", 2, 4, z=np.arange(4.0), label=np.array([b"abcd"] * 4))
    made = join_sets([tmp_path / "a.h5", tmp_path / "b.h5"], tmp_path / "pool.h5")
    assert set(made.notes) == {
        "ra: left out, 1 of 2 sets do not have it",
        "z: left out, it is not of the same kind in all sets",
    }
    with StampSet(made.out) as stamps:
        assert stamps.column("label").tolist() == ["ab"] * 4 + ["abcd"] * 4


def test_a_part_that_is_gone_cut_off_or_damaged_is_named(tmp_path: Path) -> None:
    for seed, name in enumerate("ab", start=1):
        chunk(tmp_path / f"{name}.h5", seed, 12)
    out = join_sets([tmp_path / "a.h5", tmp_path / "b.h5"], tmp_path / "pool.h5").out
    with h5py.File(tmp_path / "a.h5") as file:
        place = file["images"].id.get_chunk_info(1).byte_offset
    whole = (tmp_path / "a.h5").read_bytes()
    (tmp_path / "a.h5").write_bytes(whole[:place] + bytes(64) + whole[place + 64 :])
    with StampSet(out) as stamps:
        found, damaged = stamps.intact_pixels(slice(None))
        assert damaged == [4, 5, 6, 7] and np.isfinite(np.delete(found, damaged, axis=0)).all()
    (tmp_path / "a.h5").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StampError, match=r"a\.h5 is not a readable HDF5 file"):
        StampSet(out)
    (tmp_path / "a.h5").unlink()
    with pytest.raises(StampError, match=r"joins a\.h5, which is not there"):
        StampSet(out)


def test_sets_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    chunk(tmp_path / "a.h5", 1, 4)
    chunk(tmp_path / "large.h5", 2, 4, side=10)
    chunk(tmp_path / "fine.h5", 3, 4)
    with h5py.File(tmp_path / "fine.h5", "a") as file:
        file.attrs["pixel_scale"] = 0.1
    first = tmp_path / "a.h5"
    for paths, said in (
        ([first], "Fewer than two"),
        ([first, tmp_path / "." / "a.h5"], "twice"),
        ([first, tmp_path / "large.h5"], r"large.h5 has the shape \(10, 10\)"),
        ([first, tmp_path / "fine.h5"], "pixels of 0.1 arcsec"),
        ([first, tmp_path / "none.h5"], "no stamp set"),
    ):
        with pytest.raises(StampError, match=said):
            join_sets(paths, tmp_path / "pool.h5")
    assert not list(tmp_path.glob("pool*"))
