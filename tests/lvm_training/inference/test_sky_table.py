"""Tables of objects: positions by the file's own WCS, and files that come back."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from numpy.typing import NDArray

from lvm_training.errors import OutputError
from lvm_training.images.fits import read_frame
from lvm_training.images.wide_frame import WideFrame
from lvm_training.inference.merging import merged
from lvm_training.inference.sky_table import check_table_path, sky_table, write_table
from lvm_training.inference.wide_field import WideObject, seen_on_tiles
from lvm_training.objects.instances import InstanceError
from lvm_training.stamps.rendering import Rendering
from tests.lvm_training.inference.bright_parts import bright_parts, discs

SCALE = 0.262
SHAPE = (210, 300)
PLACES = [(12.5, 9.5), (287.5, 11.5), (150.5, 100.5), (30.5, 195.5), (285.5, 190.5)]  # file's pixels, from edges


def wcs(angle: float = 0, *, kind: str = "TAN", mirrored: bool = False, shear: float = 0, off: float = 0) -> WCS:
    """A WCS of SHAPE, y `angle` degrees east of north, its reference point `off` pixels beyond the left edge."""
    sky = WCS(naxis=2)
    sky.wcs.ctype = [f"RA---{kind}", f"DEC--{kind}"]
    sky.wcs.crval, sky.wcs.crpix = [150, 60], [-off if off else 150.5, 105.5]
    cosine, sine = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    axes = np.array([[-cosine, sine], [sine, cosine]]) @ np.array([[-1.0 if mirrored else 1.0, shear], [0.0, 1.0]])
    sky.wcs.cd = axes * SCALE / 3600
    return sky


@pytest.mark.parametrize(
    "sky",
    [
        wcs(),
        wcs(mirrored=True),
        wcs(180),
        wcs(90),
        wcs(270, mirrored=True),
        wcs(np.degrees(0.009)),
        wcs(20),
        wcs(-44, mirrored=True),
        wcs(off=12000),
        wcs(10, shear=0.05, off=12000),
        wcs(kind="CAR"),
    ],
    ids=lambda sky: f"{sky.wcs.ctype[0]} {sky.wcs.cd.round(6).tolist()} {sky.wcs.crpix[0]:.0f}",
)
def test_sources_are_found_where_they_are_in_the_sky(sky: WCS, tmp_path: Path) -> None:
    image = discs(PLACES, 4, SHAPE).astype(np.float32)
    fits.writeto(tmp_path / "f.fits", image, sky.to_header())
    table = table_of(read_frame(tmp_path / "f.fits"))
    true = sky.pixel_to_world(*(np.array(PLACES) - 0.5).T)
    places, apart, _ = true.match_to_catalog_sky(SkyCoord(table["ra"], table["dec"], unit="deg"))
    assert len(table) == len(PLACES) == len(set(places)) and apart.arcsec.max() < 0.1
    middles = np.array([table["x0"] + table["x1"], table["y0"] + table["y1"]]).T[places] / 2
    np.testing.assert_allclose(middles, PLACES, atol=1e-6)


def test_distortions_of_the_header_count(tmp_path: Path) -> None:
    head = wcs().to_header()
    head.update({"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "A_ORDER": 2, "B_ORDER": 2, "A_2_0": 5e-5})
    fits.writeto(tmp_path / "f.fits", discs(PLACES, 4, SHAPE).astype(np.float32), head)
    table = table_of(read_frame(tmp_path / "f.fits"))
    true = WCS(head).pixel_to_world(*(np.array(PLACES) - 0.5).T)
    straight = wcs().pixel_to_world(*(np.array(PLACES) - 0.5).T)
    assert true.separation(straight).arcsec.max() > 0.2
    assert true.match_to_catalog_sky(SkyCoord(table["ra"], table["dec"], unit="deg"))[1].arcsec.max() < 0.1


def table_of(frame: WideFrame) -> Table:
    rendering = Rendering(size=64, field=64 * SCALE)
    seen = seen_on_tiles(frame.pixels, bright_parts, rendering, kind="nanomaggies", pixel_scale=SCALE)
    return sky_table(merged(seen), frame)


def frame(sky: WCS | None = None) -> WideFrame:
    """80 x 100 pixels of half an arcsec, north up."""
    pixels: NDArray[Any] = np.zeros((3, 80, 100), np.float32)
    return WideFrame(pixels, 0.5, "grz", np.diag([-1, 1]), sky)


def objects() -> list[WideObject]:
    """One in the centre, one 20 pixels to the west, one 30 pixels to the north that an edge cuts."""
    boxes = [[46, 38, 54, 42], [66, 38, 74, 42], [46, 68, 54, 72]]
    names = ["arc", "deflector", "galaxy"]
    return [
        WideObject(n, 0.9 - 0.1 * i, np.array(b, float), 64, i == 2)
        for i, (n, b) in enumerate(zip(names, boxes, strict=True))
    ]


def test_columns_and_units() -> None:
    table = sky_table(objects(), frame(wcs()))
    assert list(table["class"]) == ["arc", "deflector", "galaxy"]
    np.testing.assert_allclose(table["score"], [0.9, 0.8, 0.7])
    np.testing.assert_allclose(table["width"], 4)
    np.testing.assert_allclose(table["height"], 2)
    assert list(table["x0"]) == [46, 66, 46] and list(table["y1"]) == [42, 42, 72]
    assert list(table["cut"]) == [False, False, True]
    assert str(table["ra"].unit) == "deg" and str(table["width"].unit) == "arcsec"


def test_without_a_wcs_and_without_objects() -> None:
    table = sky_table(objects(), frame())
    assert np.isnan(table["ra"]).all() and np.isnan(table["dec"]).all() and (table["width"] == 4).all()
    none = sky_table([], frame(wcs()))
    assert len(none) == 0 and none.colnames == table.colnames


@pytest.mark.parametrize("suffix", [".csv", ".fits", ".vot"])
def test_files_come_back(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"objects{suffix}"
    table = sky_table(objects(), frame(wcs()))
    write_table(table, path)
    kind = {".csv": "ascii.ecsv", ".fits": "fits", ".vot": "votable"}[suffix]
    again = Table.read(path, format=kind)
    assert again.colnames == table.colnames and [str(name) for name in again["class"]] == list(table["class"])
    np.testing.assert_allclose(again["ra"], table["ra"])
    assert [bool(cut) for cut in again["cut"]] == [False, False, True]
    assert [item.name for item in tmp_path.iterdir()] == [path.name]
    with pytest.raises(InstanceError, match=r"objects\.doc"):
        write_table(table, tmp_path / "objects.doc")


@pytest.mark.parametrize("suffix", [".csv", ".ecsv", ".fits", ".vot", ".xml"])
def test_only_its_own_tables_are_overwritten(suffix: str, tmp_path: Path) -> None:
    path, source = tmp_path / f"objects{suffix}", tmp_path / "image.fits"
    source.touch()
    path.touch()
    check_table_path(path, source)  # an empty file costs nobody anything
    write_table(sky_table(objects(), frame(wcs())), path)
    check_table_path(path, source)
    Table({"file": ["a"], "ring": [1]}).write(
        path,
        format={".csv": "ascii.csv", ".ecsv": "ascii.ecsv", ".fits": "fits"}.get(suffix, "votable"),
        overwrite=True,
    )
    with pytest.raises(OutputError, match=f"objects{suffix} is there already"):
        check_table_path(path, source)


def test_paths_that_cannot_be_written_are_refused_first(tmp_path: Path) -> None:
    source = tmp_path / "image.fits"
    source.touch()
    (tmp_path / "again.fits").hardlink_to(source)
    (tmp_path / "link.csv").symlink_to(source)
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "file").touch()
    for name, reason in (
        ("image.fits", "overwrite"),
        ("again.fits", "overwrite"),
        ("link.csv", "overwrite"),
        ("./folder.csv/../image.fits", "overwrite"),
        ("objects.txt", "cannot be written to objects.txt"),
        ("objects", "cannot be written to objects"),
        ("folder.csv", "is a folder"),
        ("file/objects.csv", "cannot be written"),
    ):
        with pytest.raises(InstanceError, match=reason):
            check_table_path(tmp_path / name, source)
    with pytest.raises(InstanceError, match="cannot be written"):
        check_table_path(Path("/proc/objects.csv"), source)
    before = sorted(tmp_path.iterdir())
    check_table_path(tmp_path / "new" / "deep" / "objects.CSV", source)
    check_table_path(tmp_path / "objects.fits", tmp_path / "absent.fits")
    assert sorted(tmp_path.iterdir()) == before


def test_a_table_that_cannot_be_written_says_why() -> None:
    with pytest.raises(InstanceError, match=r"/proc/objects\.csv cannot be written"):
        write_table(sky_table(objects(), frame()), Path("/proc/objects.csv"))
