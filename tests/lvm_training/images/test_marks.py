"""Numbers that mark what was not measured: known from data by being repeated, and far from all else."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from lvm_training.images.fits import read_fits, read_frame
from lvm_training.images.unmeasured import marks
from lvm_training.importing.importer import import_stamps
from lvm_training.stamps.stampset import StampSet
from tests.lvm_training.images.images import planes, sky_header, write

LOST = np.s_[:, 3:7]


def found_in(*blocks: list[float]) -> list[float]:
    return marks(lambda: [np.array(cells) for cells in blocks])


@pytest.mark.parametrize("mark", [-9999, -999, -99999, -32768, -1e30, 1e20, 1e30, -1.6e38, np.finfo("f4").max, -99])
def test_marks_are_not_measured_and_said(tmp_path: Path, mark: float) -> None:
    data = planes(3)
    data[1][LOST] = mark
    whole = read_fits(write(tmp_path / "whole.fits", planes(3), sky_header(), BANDS="grz", BUNIT="nanomaggy"))
    found = read_fits(write(tmp_path / "in" / "f.fits", data, sky_header(), BANDS="grz", BUNIT="nanomaggy"))
    assert np.isnan(found.pixels[1][LOST]).all() and found.saturated == 0
    np.testing.assert_array_equal(found.pixels[::2], whole.pixels[::2])
    np.testing.assert_array_equal(np.isnan(found.pixels).sum(), data[1][LOST].size)
    report = import_stamps(tmp_path / "in", tmp_path / "out.h5")
    assert f"1 images: {mark:g} is taken as not measured" in report.notes


def test_one_band_with_marks_is_not_measured_in_all_of_grey(tmp_path: Path) -> None:
    data = planes(1)[0]
    data[LOST] = -9999
    pixels = read_fits(write(tmp_path / "f.fits", data, sky_header(), BUNIT="nJy")).pixels
    assert np.isnan(pixels[(slice(None), *LOST)]).all() and np.isfinite(pixels).mean() == 20 / 24


def test_infinite_pixels_are_not_measured(tmp_path: Path) -> None:
    data = planes(1)[0]
    data[2, 3], data[4, 5] = np.inf, -np.inf
    pixels = read_fits(write(tmp_path / "f.fits", data, sky_header(), BUNIT="nanomaggy")).pixels[1]
    np.testing.assert_array_equal(pixels, np.where(np.isinf(data), np.nan, data))


@pytest.mark.parametrize("bands", [None, "g,r,z"])
def test_marks_in_an_hdf5_file_are_not_measured(tmp_path: Path, bands: str | None) -> None:
    data = np.stack([planes(3), planes(3)])
    data[1, 1][LOST] = -9999
    with h5py.File(tmp_path / "in.h5", "w") as file:
        file["images"] = data
    report = import_stamps(tmp_path / "in.h5", tmp_path / "out.h5", bands=bands)
    assert "1 images: -9999 is taken as not measured" in report.notes
    data[1, 1][LOST] = np.nan
    with StampSet(tmp_path / "out.h5") as stamps:
        np.testing.assert_array_equal(stamps.pixels(np.s_[:]), data)


@pytest.mark.parametrize(
    "cells",
    [
        [-99.0, 0.1, 0.2],  # once
        [-99.0, -99.0, -60.5, 3.0],  # not far from the others
        [-9999.0, -9999.0, -9000.0, 3.0],
        [-98.0, -98.0, 0.1, 0.2],  # no mark
        [9999.0, 9999.0, 0.1, 0.2],  # a star that is saturated
        [1e5, 1e5, 0.1],
        [-9999.0, -9999.0],  # nothing else
        [1e20, 1e20, 0.9e20, 0.1],
        [np.nan, np.nan],
        [np.inf, -np.inf, 0.1],
        [9e38, 9e38, 2e38, 1e36, 0.0],  # erg/s, of a simulation whose pixels were doubled
    ],
)
def test_what_was_measured_is_no_mark(cells: list[float]) -> None:
    assert found_in(cells) == []


def test_several_marks() -> None:
    assert found_in([-9999, -9999, -99, -99, 0.1, 0.2, np.nan, 1e30, 1e30]) == [-9999, -99, 1e30]


def test_marks_beside_a_sky_of_zeros() -> None:
    assert found_in([-9999, -9999, 0.0, 0.0, 0.1]) == [-9999]
    assert found_in([0.0, 0.0, 0.1, 1e30, 1e30]) == [1e30]


def test_all_blocks_of_an_image_have_a_say() -> None:
    assert found_in([-9999.0, -9999.0], [0.1, 0.2]) == [-9999]
    assert found_in([-9999.0, 0.1], [0.2, -9999.0], [0.3]) == [-9999]
    assert found_in([-99.0, -99.0, 0.1], [-60.0]) == []
    assert found_in([-99.0, 0.1], [-99.5, 0.1]) == []


@pytest.mark.parametrize("lost", [np.s_[:1100], np.s_[:1024], np.s_[::1090, 3]])
def test_marks_of_an_image_that_is_read_in_parts(tmp_path: Path, lost: slice | tuple[slice, int]) -> None:
    data = np.random.default_rng(0).normal(0, 1, (1200, 8)).astype("f4")
    data[lost] = -9999
    path = write(tmp_path / "f.fits", data, sky_header(), BUNIT="nanomaggy")
    for pixels in (read_frame(path).pixels, read_fits(path).pixels):
        assert np.isnan(pixels[1]).sum() == (data == -9999).sum() and np.nanmin(pixels) > -10
