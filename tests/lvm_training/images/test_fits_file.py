"""FITS files that are compressed, damaged or hostile: refused before their size is believed."""

import bz2
import gzip
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from lvm_training.errors import StampError
from lvm_training.images import fits_file
from lvm_training.images.fits import fits_facts, read_fits
from tests.lvm_training.images.images import planes, sky_header, write

LIMITED = """
import resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
from lvm_training.errors import StampError
from lvm_training.images.fits import read_fits
try:
    read_fits(Path(sys.argv[1]))
except StampError as error:
    print(error.message)
"""


def cut_header(path: Path, **cards: int) -> Path:
    """A file whose header says other numbers than the data has."""
    content = path.read_bytes()
    for key, value in cards.items():
        start = content.index(key.ljust(8).encode() + b"=")
        content = content[: start + 10] + f"{value:>20}".encode() + content[start + 30 :]
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("cards", [{"NAXIS3": 10**9}, {"NAXIS1": 60_000}, {"NAXIS1": 10**9, "NAXIS2": 10**9}])
def test_a_header_that_promises_more_than_the_file_has_is_refused(tmp_path: Path, cards: dict[str, int]) -> None:
    path = cut_header(write(tmp_path / "f.fits", planes(), BANDS="grz"), **cards)
    for read in (read_fits, fits_facts):
        with pytest.raises(StampError, match=r"truncated|unreadable"):
            read(path)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("cards", [{"NAXIS1": -16}, {"NAXIS2": -1}, {"NAXIS1": -16, "NAXIS2": -16, "NAXIS3": -1}])
def test_a_negative_size_is_refused_where_astropy_would_read_for_ever(tmp_path: Path, cards: dict[str, int]) -> None:
    first = cut_header(write(tmp_path / "f.fits", planes(), BANDS="grz"), **cards)
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(planes())]).writeto(tmp_path / "e.fits")
    second = cut_header(tmp_path / "e.fits", **cards)
    for path in (first, second):
        with pytest.raises(StampError, match=r"negative|truncated|unreadable"):
            read_fits(path)


def test_it_is_refused_within_bounded_memory(tmp_path: Path) -> None:
    cards = {"ZNAXIS1": 2**40, "ZNAXIS2": 2**40}
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(planes(1)[0])]).writeto(tmp_path / "rice.fits")
    for path in (
        cut_header(write(tmp_path / "cube.fits", planes(), BANDS="grz"), NAXIS3=10**9),
        cut_header(tmp_path / "rice.fits", **cards),
    ):
        run = subprocess.run([sys.executable, "-c", LIMITED, path], capture_output=True, text=True, timeout=120)
        assert run.returncode == 0, run.stderr
        assert run.stdout.startswith(("truncated", "too large", "unreadable")), run.stdout
    assert resource.getrlimit(resource.RLIMIT_AS)  # the limit was the child's alone


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress])
def test_packed_files_are_read_whatever_their_name_and_bombs_are_not(
    tmp_path: Path, pack: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = write(tmp_path / "f.fits", planes(), BANDS="grz").read_bytes()
    for name in ("g.fits", "g.fits.gz"):
        (tmp_path / name).write_bytes(pack(content))  # type: ignore[operator]
        np.testing.assert_array_equal(read_fits(tmp_path / name).pixels, planes())
    monkeypatch.setattr(fits_file, "MAX_UNPACKED", 1 << 20)
    (tmp_path / "bomb.fits.gz").write_bytes(pack(content + bytes(1 << 21)))  # type: ignore[operator]
    with pytest.raises(StampError, match=r"too large.*once decompressed"):
        read_fits(tmp_path / "bomb.fits.gz")
    (tmp_path / "half.fits.gz").write_bytes(pack(content)[:-400])  # type: ignore[operator]
    with pytest.raises(StampError, match=r"truncated|unreadable"):
        read_fits(tmp_path / "half.fits.gz")


def test_tile_compressed_and_several_extensions(tmp_path: Path) -> None:
    head = sky_header()
    for kind in ("GZIP_2", "RICE_1"):
        image = fits.CompImageHDU(
            planes(1)[0], head, name="SCI", compression_type=kind, quantize_level=0 if kind == "GZIP_2" else 64
        )
        mask = fits.ImageHDU(np.ones((24, 24), np.int16), name="MASK")
        fits.HDUList([fits.PrimaryHDU(), mask, image]).writeto(tmp_path / "f.fits.fz", overwrite=True)
        stamp = read_fits(tmp_path / "f.fits.fz")
        np.testing.assert_allclose(stamp.pixels[1], planes(1)[0], atol=1e-3)
        assert stamp.pixel_scale == 0.262
    table = fits.BinTableHDU.from_columns([fits.Column("a", "J", array=np.arange(3))])
    fits.HDUList([fits.PrimaryHDU(), table, fits.ImageHDU(planes(1)[0])]).writeto(tmp_path / "t.fits")
    np.testing.assert_array_equal(read_fits(tmp_path / "t.fits").pixels[1], planes(1)[0])
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(planes(1)[0], name="WHT")]).writeto(tmp_path / "w.fits")
    assert fits_facts(tmp_path / "w.fits").one_band  # a weight alone is what there is


def test_pipes_folders_and_links_to_nothing_do_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.fits")
    (tmp_path / "folder.fits").mkdir()
    (tmp_path / "gone.fits").symlink_to(tmp_path / "absent.fits")
    for name, reason in (("pipe", "not a regular file"), ("folder", "a folder"), ("gone", "No such file")):
        with pytest.raises(StampError, match=reason):
            read_fits(tmp_path / f"{name}.fits")


@pytest.mark.parametrize(
    ("first", "name"),
    [(np.uint8, "SCI"), (np.float32, "SCI"), (np.uint8, "IMAGE"), (np.uint8, ""), (np.int16, "SCIENCE")],
)
def test_a_thumbnail_before_the_image_is_not_the_image(tmp_path: Path, first: str, name: str) -> None:
    small = fits.PrimaryHDU((planes(1, 48)[0] * 9).astype(first))
    fits.HDUList([small, fits.ImageHDU(planes(1)[0], name=name)]).writeto(tmp_path / "f.fits")
    np.testing.assert_array_equal(read_fits(tmp_path / "f.fits").pixels[1], planes(1)[0])
    named = fits.ImageHDU(planes(1, 48)[0], name="PREVIEW")
    fits.HDUList([fits.PrimaryHDU(), named, fits.ImageHDU(planes(1)[0], name=name)]).writeto(tmp_path / "g.fits")
    np.testing.assert_array_equal(read_fits(tmp_path / "g.fits").pixels[1], planes(1)[0])


def test_a_band_in_the_first_header_stands_beside_one_called_sci(tmp_path: Path) -> None:
    first, second = (fits.Header([("FILTER", band), ("BUNIT", "nanomaggy")]) for band in "gr")
    images = [fits.PrimaryHDU(planes(1)[0], first), fits.ImageHDU(planes(1)[0], second, name="SCI_R")]
    fits.HDUList(images).writeto(tmp_path / "f.fits")
    assert fits_facts(tmp_path / "f.fits").bands == "gr"
