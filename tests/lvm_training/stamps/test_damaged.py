"""Files with damage: what is intact is read, what is not is named, and nothing is made up."""

import io
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from lvm_training.errors import StampError
from lvm_training.stamps.damaged import CutFile, read_around, spans, whole_size
from lvm_training.stamps.stampset import StampSet

COUNT, CHUNK = 40, 8


def damaged(path: Path, chunks: list[int], pixels: NDArray[np.generic], **attributes: object) -> Path:
    """A file in compressed chunks of 8 stamps, some of which have bytes that changed."""
    with h5py.File(path, "w") as file:
        shape = (CHUNK, *pixels.shape[1:])
        data = file.create_dataset("images", data=pixels, chunks=shape, compression="gzip")
        file.create_dataset("ra", data=np.arange(40.0), chunks=(20,), compression="gzip")
        file.attrs.update(attributes)
        places = [data.id.get_chunk_info(chunk) for chunk in chunks]
    content = bytearray(path.read_bytes())
    for place in places:
        middle = place.byte_offset + place.size // 2
        content[middle : middle + 16] = bytes(byte ^ 0xFF for byte in content[middle : middle + 16])
    path.write_bytes(content)
    return path


def test_damaged_rows_are_named_and_the_others_are_read(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).normal(size=(COUNT, 3, 6, 6)).astype(np.float32)
    gone = [*range(8, 16), *range(32, 40)]
    with StampSet(damaged(tmp_path / "s.h5", [1, 4], pixels)) as stamps:
        found, rows = stamps.intact_pixels(slice(None))
        assert rows == gone and np.isnan(found[gone]).all()
        kept = np.setdiff1d(np.arange(COUNT), gone)
        np.testing.assert_array_equal(found[kept], pixels[kept])
        with pytest.raises(StampError, match=r"rows 8-15, 32-39 cannot be read.*data import"):
            stamps.pixels(slice(None))
        np.testing.assert_array_equal(stamps.pixels(slice(16, 32)), pixels[16:32])
        mixed, rows = stamps.intact_pixels([33, 2, 33, 20])
        assert rows == [33] and np.isnan(mixed[[0, 2]]).all()
        np.testing.assert_array_equal(mixed[[1, 3]], pixels[[2, 20]])


def test_damaged_pictures_are_black(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(1, 255, (COUNT, 3, 6, 6)).astype(np.uint8)
    with StampSet(damaged(tmp_path / "s.h5", [0], pixels, rendering="as-delivered")) as stamps:
        found, rows = stamps.intact_pixels(slice(4, 12))
        assert rows == [4, 5, 6, 7] and found.dtype == np.uint8 and not found[:4].any()
        np.testing.assert_array_equal(found[4:], pixels[8:12])


def test_a_damaged_column_is_named(tmp_path: Path) -> None:
    pixels = np.zeros((COUNT, 3, 6, 6), np.float32)
    path = damaged(tmp_path / "s.h5", [], pixels)
    with h5py.File(path) as file:
        place = file["ra"].id.get_chunk_info(1).byte_offset
    content = bytearray(path.read_bytes())
    content[place : place + 12] = bytes(12)
    path.write_bytes(content)
    with StampSet(path) as stamps:
        assert stamps.column("ra", np.s_[:20]).tolist() == list(range(20))
        with pytest.raises(StampError, match=r"column 'ra' of s\.h5 is damaged"):
            stamps.column("ra")


def test_a_file_that_was_cut_off_never_gives_what_is_not_there(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).normal(size=(COUNT, 3, 6, 6)).astype(np.float32)
    path = tmp_path / "s.h5"
    with h5py.File(path, "w") as file:
        file["images"] = pixels
    whole = path.read_bytes()
    start = len(whole) - pixels.nbytes
    # in the middle of row 21
    path.write_bytes(whole[: start + int(21.5 * pixels[0].nbytes)])
    with StampSet(path, cut_off=True) as stamps:
        assert stamps.lacking == len(whole) - path.stat().st_size
        found, rows = stamps.intact_pixels(slice(None))
        assert rows == list(range(21, COUNT)) and np.isnan(found[21:]).all()
        np.testing.assert_array_equal(found[:21], pixels[:21])


def test_a_cut_file_is_as_long_as_it_should_be(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"0123456789")
    with CutFile(tmp_path / "a", 20) as file:
        assert file.readable() and file.seekable() and file.seek(0, io.SEEK_END) == 20
        assert file.seek(2) == 2 and file.read(3) == b"234" and file.tell() == 5
        assert file.seek(1, io.SEEK_CUR) == 6 and file.read(4) == b"6789"
        with pytest.raises(OSError, match="ends before"):
            file.read(1)


def test_only_what_hdf5_says_of_lengths_is_taken_for_one() -> None:
    assert whole_size(OSError("(truncated file: eof = 18, sblock->base_addr = 0, stored_eof = 36)")) == 36
    assert whole_size(OSError("file signature not found")) is None


@pytest.mark.parametrize("bad", [set[int](), {0}, {5, 6, 11}, set(range(12))])
def test_each_row_that_can_be_read_is(bad: set[int]) -> None:
    rows = np.arange(0, 24, 2)
    into = np.full(12, -1)

    def read(wanted: NDArray[np.int64]) -> NDArray[np.int64]:
        if {int(row) // 2 for row in wanted} & bad:
            raise OSError
        return wanted * 10

    assert read_around(rows, into, read) == [2 * row for row in sorted(bad)]
    assert into.tolist() == [-1 if row in bad else 20 * row for row in range(12)]


def test_rows_are_written_as_spans() -> None:
    assert spans([]) == "" and spans([3]) == "3" and spans([1, 2, 3, 7, 9, 10]) == "1-3, 7, 9-10"
