"""Conditions on the catalogue, held against astropy and against row-by-row Python."""

from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord

from lvm_training.errors import StampError
from lvm_training.stamps.conditions import fitting, fitting_rows, within
from lvm_training.stamps.stampset import StampSet, StampWriter

ROWS = 400
RNG = np.random.default_rng(0)
RA, DEC = RNG.uniform(0, 360, ROWS), np.degrees(np.arcsin(RNG.uniform(-1, 1, ROWS)))
MAG = np.where(RNG.random(ROWS) < 0.1, -99, RNG.uniform(12, 20, ROWS))
MAG[3] = np.nan
BRICKS = [f"{row % 7:04d}p{row % 3}" for row in range(ROWS)]


@pytest.fixture(scope="module")
def sky(tmp_path_factory: pytest.TempPathFactory) -> StampSet:
    """A set all over the sky, some magnitudes missing."""
    writer = StampWriter(tmp_path_factory.mktemp("sky") / "sky.h5", (2, 2))
    texts = [f"{value:.3f}" if value > 0 else "" for value in MAG]
    columns = {"ra": RA, "dec": DEC, "mag_r": MAG, "brick": BRICKS, "written": texts, "a<b": np.arange(ROWS)}
    writer.append(np.ones((ROWS, 3, 2, 2), dtype=np.float32), columns)
    return StampSet(writer.finish())


def known(value: float) -> bool:
    return value > 0


@pytest.mark.parametrize(
    ("condition", "rows"),
    [
        ("mag_r<15", [row for row in range(ROWS) if known(MAG[row]) and MAG[row] < 15]),
        ("mag_r >= 15.5", [row for row in range(ROWS) if known(MAG[row]) and MAG[row] >= 15.5]),
        ("written<=15", [row for row in range(ROWS) if known(MAG[row]) and round(MAG[row], 3) <= 15]),
        ("mag_r>-200", [row for row in range(ROWS) if known(MAG[row])]),
        ("brick=0003p1", [row for row in range(ROWS) if BRICKS[row] == "0003p1"]),
        ("brick!=0003p1", [row for row in range(ROWS) if BRICKS[row] != "0003p1"]),
        ("a<b<3", [0, 1, 2]),
        ("a<b>=398", [398, 399]),
        (
            "box(350, 10, -40, 40)",
            [row for row in range(ROWS) if (RA[row] >= 350 or RA[row] <= 10) and -40 <= DEC[row] <= 40],
        ),
        ("BOX(10,350,-90,0)", [row for row in range(ROWS) if 10 <= RA[row] <= 350 and DEC[row] <= 0]),
    ],
)
def test_each_form(sky: StampSet, condition: str, rows: list[int]) -> None:
    assert rows, "the oracle has something to find"
    assert fitting_rows(sky, [condition]).tolist() == rows


@pytest.mark.parametrize(
    ("text", "ra", "dec", "radius"),
    [
        ("cone(1,2,40)", 1, 2, 40),
        ("cone(23:56:00, -01:30:00, 2400')", 359, -1.5, 40),
        ("cone(120,89.5,20deg)", 120, 89.5, 20),
        ('cone(120,-89.5,72000")', 120, -89.5, 20),
    ],
)
def test_cones_are_astropys(sky: StampSet, text: str, ra: float, dec: float, radius: float) -> None:
    apart = SkyCoord(RA * u.deg, DEC * u.deg).separation(SkyCoord(ra * u.deg, dec * u.deg)).deg
    assert fitting_rows(sky, [text]).tolist() == np.flatnonzero(apart <= radius).tolist()


def test_a_small_cone_and_positions_that_are_missing() -> None:
    ra, dec = np.array([150.0, 150.0, np.nan]), np.array([2.0, 2.0 + 1.1 / 3600, 2.0])
    assert within(ra, dec, (150, 2), 1 / 3600).tolist() == [True, False, False]


def test_all_must_hold(sky: StampSet) -> None:
    both = fitting(sky, ["mag_r<17", "cone(180,0,80)"])
    assert 0 < both.sum() < ROWS
    np.testing.assert_array_equal(both, fitting(sky, ["mag_r<17"]) & fitting(sky, ["cone(180,0,80)"]))
    assert fitting(sky, []).all()


@pytest.mark.parametrize(
    ("conditions", "problem"),
    [
        (["mag_r"], "'mag_r' is no condition"),
        (["mag_r<faint"], "compares with 'faint', no number"),
        (["brick<3"], "'brick' of sky.h5 holds no numbers"),
        (["absent>3"], "no column 'absent'"),
        (["cone(1,2)"], "is no cone"),
        (["cone(400,2,3)"], "'400' is no right ascension from 0 to 360"),
        (["cone(1,95,3)"], "'95' is no declination"),
        (["cone(1,2,-3)"], "'-3' is no radius"),
        (["cone(1,2,1.2.3)"], "is no radius"),
        (["mag_r>90"], "No stamp of sky.h5 fits 'mag_r>90'"),
        (["mag_r<15", "mag_r>16"], "fits all of 'mag_r<15', 'mag_r>16'"),
        (['cone(1,2,0.001")'], "no position of the set lies there"),
    ],
)
def test_what_is_refused(sky: StampSet, conditions: list[str], problem: str) -> None:
    with pytest.raises(StampError) as caught:
        fitting_rows(sky, conditions)
    assert problem in f"{caught.value} {caught.value.hint}"


def test_positions_are_asked_of_a_set_without(tmp_path: Path) -> None:
    writer = StampWriter(tmp_path / "plain.h5", (2, 2))
    writer.append(np.ones((2, 3, 2, 2), dtype=np.float32), {"id": [1, 2]})
    with StampSet(writer.finish()) as plain, pytest.raises(StampError, match="has no columns ra and dec"):
        fitting_rows(plain, ["box(1,2,3,4)"])
