"""Tables of objects: positions that astropy agrees with, and files that come back."""

from pathlib import Path

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.table import Table

from lvm_training.objects.instances import InstanceError
from lvm_training.objects.sky_table import sky_table, write_table
from lvm_training.objects.wide_field import WideObject
from lvm_training.stamps.fits import FitsStamp

MASK = np.ones((2, 2), dtype=bool)


def image(ra: float = 150.0, dec: float = 60.0) -> FitsStamp:
    return FitsStamp(np.zeros((3, 80, 100), np.float32), 0.5, ra, dec, "grz")


def objects() -> list[WideObject]:
    """One in the centre, one 20 pixels to the west, one 30 pixels to the north."""
    boxes = [[46, 38, 54, 42], [66, 38, 74, 42], [46, 68, 54, 72]]
    names = ["arc", "deflector", "galaxy"]
    return [
        WideObject(n, 0.9 - 0.1 * i, np.array(b, float), MASK)
        for i, (n, b) in enumerate(zip(names, boxes, strict=True))
    ]


def test_positions_and_extents() -> None:
    table = sky_table(objects(), image())
    assert list(table["class"]) == ["arc", "deflector", "galaxy"]
    np.testing.assert_allclose(table["score"], [0.9, 0.8, 0.7])
    np.testing.assert_allclose(table["width"], 4)
    np.testing.assert_allclose(table["height"], 2)
    centre = SkyCoord(150, 60, unit="deg")
    sky = SkyCoord(table["ra"], table["dec"], unit="deg")
    east, north = centre.spherical_offsets_to(sky)
    np.testing.assert_allclose(east.arcsec, [0, -10, 0], atol=1e-3)
    np.testing.assert_allclose(north.arcsec, [0, 0, 15], atol=1e-3)
    assert str(table["ra"].unit) == "deg" and str(table["width"].unit) == "arcsec"


def test_without_a_position_and_without_objects() -> None:
    table = sky_table(objects(), image(ra=float("nan")))
    assert np.isnan(table["ra"]).all() and np.isnan(table["dec"]).all() and (table["width"] == 4).all()
    none = sky_table([], image())
    assert len(none) == 0 and none.colnames == table.colnames


@pytest.mark.parametrize("suffix", [".csv", ".fits", ".vot"])
def test_files_come_back(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"objects{suffix}"
    table = sky_table(objects(), image())
    write_table(table, path)
    kind = {".csv": "ascii.ecsv", ".fits": "fits", ".vot": "votable"}[suffix]
    again = Table.read(path, format=kind)
    assert again.colnames == table.colnames and [str(name) for name in again["class"]] == list(table["class"])
    np.testing.assert_allclose(again["ra"], table["ra"])
    assert [item.name for item in tmp_path.iterdir()] == [path.name]
    with pytest.raises(InstanceError, match=r"objects\.doc"):
        write_table(table, tmp_path / "objects.doc")
