"""Restored stamps as FITS files: what astropy reads of their columns, header and sky is what the set says."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Row, Table
from astropy.wcs import WCS
from numpy.typing import NDArray

from lvm_training.restoration.restored_fits import file_of, restore_files
from lvm_training.restoration.restored_set import UNCERTAINTY, beside, restore_to
from lvm_training.restoration.restorer import Restorer
from lvm_training.stamps.conditions import positions
from lvm_training.stamps.stampset import StampSet
from tests.lvm_training.parameters.skies import SCALE, SIDE, gaussian, noise, write_set
from tests.lvm_training.restoration.skies import smoothing


@pytest.fixture(scope="module")
def restorer() -> Restorer:
    return smoothing(views=1, stamps=1)


def sky(path: Path, columns: Mapping[str, Any], count: int = 2) -> Path:
    """A set as another program may have written it: columns of any type and name that HDF5 holds."""
    written = write_set(path, [gaussian(60, sigma=4) + noise(row) for row in range(count)])
    with h5py.File(written, "a") as file:
        for name, values in columns.items():
            text = h5py.string_dtype() if isinstance(values[0], str) else None
            file.create_dataset(name, data=np.asarray(values, object) if text else values, dtype=text)
    return written


def restored(folder: Path, restorer: Restorer, columns: Mapping[str, Any]) -> tuple[Path, Path]:
    """A set of two stamps, and the file of its last row."""
    path, out = sky(folder / "sky.h5", columns), folder / "out"
    out.mkdir()
    with StampSet(path) as stamps:
        for _ in restore_files(out, stamps, restorer):
            pass
        return path, file_of(out, stamps, 1)


def catalogue(file: Path) -> Row:
    return Table.read(file, hdu="CATALOGUE")[0]


@pytest.mark.parametrize(
    "values",
    [
        np.array([1, -2], np.int8),
        np.array([1, 200], np.uint8),
        np.array([1, -30_000], np.int16),
        np.array([1, 60_000], np.uint16),
        np.array([1, 2**63 - 1], np.int64),
        np.array([1, 2**64 - 1], np.uint64),
        np.array([1, 0.5], np.float16),
        np.array([1, 0.1], np.float32),
        np.array([1, np.nan], np.float64),
        np.array([1, 2.5], np.longdouble),
        np.array([True, False]),
    ],
    ids=lambda values: values.dtype.name,
)
def test_a_number_is_the_same_in_the_file_whatever_its_type(
    tmp_path: Path, restorer: Restorer, values: NDArray[np.generic]
) -> None:
    _, file = restored(tmp_path, restorer, {"number": values})
    with fits.open(file) as hdus:
        np.testing.assert_equal(
            hdus["CATALOGUE"].data["number"][0].item(),
            float(values[1]) if values.dtype.kind == "f" else values[1].item(),
        )


@pytest.mark.parametrize("name", ["größe", "α", "flux\nr", "n" * 90, "FLAGS", "it's", "a b"])
def test_a_column_of_any_name_is_restored_along(tmp_path: Path, restorer: Restorer, name: str) -> None:
    _, file = restored(tmp_path, restorer, {name: [3.0, 4.0], "other": [5.0, 6.0]})
    with fits.open(file) as hdus:
        table = hdus["CATALOGUE"]
        assert table.data["other"][0] == 6.0
        assert [column for column in table.columns.names if table.data[column][0] == 4.0]


def test_columns_whose_names_are_one_to_fits_are_all_kept(tmp_path: Path, restorer: Restorer) -> None:
    _, file = restored(tmp_path, restorer, {"é": [1.0, 2.0], "è": [3.0, 4.0], "RA": [5.0, 6.0], "ra": [7.0, 8.0]})
    with fits.open(file) as hdus:
        names = [name.casefold() for name in hdus["CATALOGUE"].columns.names]
        cells = list(hdus["CATALOGUE"].data[0])
    assert len(set(names)) == len(names)
    assert {2.0, 4.0, 6.0, 8.0} <= {cell for cell in cells if not isinstance(cell, str)}


@pytest.mark.parametrize(
    ("ra", "dec"),
    [
        ([10.0, 350.0], [-1.0, 89.9]),
        ([10.0, -10.0], [0.0, 0.0]),
        (["10:00:00", "12:30:00"], ["-00:30:00", "-00:30:00"]),
        # one beyond 24 says that none is in hours
        (["150:00:00", "10:00:00"], ["01:00:00", "02:00:00"]),
        (["10h00m00s", "150.5"], ["01d00m00s", "2.5"]),
    ],
)
def test_the_middle_of_a_file_lies_where_the_set_says(
    tmp_path: Path, restorer: Restorer, ra: list[Any], dec: list[Any]
) -> None:
    path, file = restored(tmp_path, restorer, {"ra": ra, "dec": dec})
    with StampSet(path) as stamps:
        wanted = [float(values[1]) for values in positions(stamps)]
    wcs = WCS(fits.getheader(file)).celestial
    found = wcs.wcs_pix2world((SIDE - 1) / 2, (SIDE - 1) / 2, 0)
    np.testing.assert_allclose([float(one) for one in found], wanted, atol=1e-9)
    np.testing.assert_allclose(np.sqrt(abs(np.linalg.det(wcs.pixel_scale_matrix))) * 3600, SCALE, rtol=1e-9)


@pytest.mark.parametrize("lost", [-99.0, np.nan, 999.0])
def test_a_stamp_without_a_position_says_nothing_of_the_sky(tmp_path: Path, restorer: Restorer, lost: float) -> None:
    _, file = restored(tmp_path, restorer, {"ra": [10.0, lost], "dec": [1.0, 1.0]})
    assert not {"CRVAL1", "CTYPE1"} & set(fits.getheader(file))


def test_file_and_set_of_one_restoration_hold_the_same_pixels_and_errors(tmp_path: Path, restorer: Restorer) -> None:
    path, file = restored(tmp_path, restorer, {"number": [1.0, 2.0]})
    with StampSet(path) as stamps:
        restore_to(tmp_path / "restored.h5", stamps, restorer)
    with StampSet(tmp_path / "restored.h5") as stamps, fits.open(file) as hdus:
        np.testing.assert_array_equal(hdus[0].data, stamps.pixels([1])[0])
        np.testing.assert_array_equal(hdus["UNCERTAINTY"].data, beside(stamps, UNCERTAINTY, np.array([1]))[0])
        assert hdus[0].data.dtype.kind == "f" and hdus[0].data.shape == (3, SIDE, SIDE)
        for band in "grz":
            assert hdus["CATALOGUE"].data[f"restoration_flux_{band}"][0] == stamps.column(f"restoration_flux_{band}")[1]
