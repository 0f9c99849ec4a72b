"""Positions in every form people write them."""

import math
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Table as AstropyTable
from hypothesis import given, settings
from hypothesis import strategies as st

from lvm_training.errors import LabelError
from lvm_training.tables.cells import Missing
from lvm_training.tables.positions import (
    degrees,
    named_position,
    nearest,
    read_angle,
    read_position,
    repeated,
    separation,
)
from lvm_training.tables.reading import Table, read_table


def read(folder: Path, text: str) -> Table:
    (folder / "labels.csv").write_text(text, encoding="utf-8")
    return read_table(folder / "labels.csv")


@pytest.mark.parametrize(
    "text",
    [
        "10:00:01.5,+02:12:01",
        "10:00:01.5, 02:12:01",
        "10:00:01.5 +02:12:01",
        "10:00:01.5+02:12:01",
        "10 00 01.5 +02 12 01",
        "10 00 01.5 02 12 01",
        "10h00m01.5s +02d12m01s",
        "10h00m01.5s,2°12′01″",
        "  10H 00M 01.5S   02D 12M 01S ",
        "10:00:01.5;+02:12:01",
    ],
)
def test_sexagesimal_positions(text: str) -> None:
    found = read_position(text)
    expected = SkyCoord("10:00:01.5 +02:12:01", unit=(u.hourangle, u.deg))
    assert found is not None and "hours" in found.reading
    np.testing.assert_allclose(found[:2], (expected.ra.deg, expected.dec.deg), rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("150.1,-1.5", (150.1, -1.5)),
        ("150.1 −1.5", (150.1, -1.5)),
        ("10,2", (10, 2)),
        ("150d, 2d", (150, 2)),
        ("10h, 2", (150, 2)),
        ("150:30:00,-00:30:00", (150.5, -0.5)),
        ("10d30m, -0d30m", (10.5, -0.5)),
        ("12h30m,+5", (187.5, 5)),
    ],
)
def test_positions_in_degrees_and_signs_before_a_zero(text: str, expected: tuple[float, float]) -> None:
    found = read_position(text)
    assert found is not None and found[:2] == pytest.approx(expected)


@pytest.mark.parametrize(
    "text", ["", "17", "NAME:17", "a,b", "10:60:00,1", "10:00:60,1", "1,2h", "1,2,3", "x.fits", "1:17"]
)
def test_what_is_no_position(text: str) -> None:
    assert read_position(text) is None


@given(st.integers(0, 23), st.integers(0, 59), st.floats(0, 59.99), st.sampled_from(":h "))
def test_angles_are_those_of_astropy(hours: int, minutes: int, seconds: float, mark: str) -> None:
    second = "m" if mark == "h" else mark
    text = f"{hours}{mark}{minutes:02}{second}{seconds:05.2f}"
    found = read_angle(text)
    assert found is not None
    assert found.degrees(right_ascension=True) == pytest.approx(SkyCoord(text, "0", unit=(u.hourangle, u.deg)).ra.deg)


def test_sexagesimal_columns_become_degrees_and_say_so(tmp_path: Path) -> None:
    found = read(tmp_path, "file,ra,dec\na,10:00:01.5,+02:12:01\nb,150.5,-00:30:00\nc,N/A,\n")
    assert found.columns["ra"].values[:2] == pytest.approx([150.00625, 150.5])
    assert found.columns["dec"].values[:2] == pytest.approx([2 + 12 / 60 + 1 / 3600, -0.5])
    assert found.columns["ra"].missing.tolist() == found.columns["dec"].missing.tolist() == [False, False, True]
    assert "ra: 1 sexagesimal cells are read as hours and kept in degrees" in found.notes
    assert "dec: 2 sexagesimal cells are read as degrees and kept in degrees" in found.notes


def test_one_right_ascension_beyond_24_means_degrees_for_all(tmp_path: Path) -> None:
    found = read(tmp_path, "file,ra,dec\na,10:30:00,1\nb,150:30:00,2\n")
    assert found.columns["ra"].values.tolist() == [10.5, 150.5]
    assert "ra: 2 sexagesimal cells are read as degrees and kept in degrees" in found.notes


def test_positions_under_other_names_are_found(tmp_path: Path) -> None:
    found = read(tmp_path, "file,RAJ2000,DEJ2000\na,10 00 01.5,+02 12 01\n")
    assert list(found.columns) == ["file", "RAJ2000", "DEJ2000", "ra", "dec"]
    assert found.columns["ra"].values == pytest.approx([150.00625])
    assert "RAJ2000, DEJ2000 are taken as the position: ra, dec" in found.notes


@pytest.mark.parametrize(
    ("header", "copied"),
    [
        ("RA [deg],Dec [deg]", ["ra", "dec"]),
        ("RA (J2000),Dec. (J2000)", ["ra", "dec"]),
        ("RA,dec", ["ra"]),
        ("ra,DEJ2000", ["dec"]),
    ],
)
def test_a_position_is_taken_however_its_columns_are_written(tmp_path: Path, header: str, copied: list[str]) -> None:
    found = read(tmp_path, f"file,{header}\na,10:00:01.5,+02:12:01\n")
    assert list(found.columns) == ["file", *header.split(","), *copied]
    assert found.columns["ra"].values == pytest.approx([150.00625])
    assert found.columns["dec"].values == pytest.approx([2.200278])
    assert any(note.endswith(f"taken as the position: {', '.join(copied)}") for note in found.notes)


@pytest.mark.parametrize(
    ("header", "cells"),
    [
        ("ra (rad),dec (rad)", f"{np.radians(150.00625)},{np.radians(2.200278)}"),
        ("ra_hours,dec_deg", "10.0004166667,2.200278"),
        ("RA [h],Dec [arcmin]", "10.0004166667,132.01668"),
        ("raMean,decMean", "150.00625,2.200278"),
        ("ALPHAWIN_J2000,DELTAWIN_J2000", "150.00625,2.200278"),
    ],
)
def test_a_name_may_say_the_unit(tmp_path: Path, header: str, cells: str) -> None:
    found = read(tmp_path, f"file,{header}\na,{cells}\n")
    assert found.columns["ra"].values == pytest.approx([150.00625])
    assert found.columns["dec"].values == pytest.approx([2.200278])
    first, second = header.split(",")
    assert found.columns[first].values == pytest.approx([float(cells.split(",")[0])])
    assert f"{first}, {second} are taken as the position: ra, dec" in found.notes


@pytest.mark.parametrize(
    ("header", "cells"),
    [
        ("ra_hour,ra_minute,ra_second,dec_deg,dec_minute,dec_second", "10,30,15,-20,15,30"),
        ("ra_arcsec,dec_arcsec", "-11.2,3"),  # from the centre of something
    ],
)
def test_a_unit_in_a_name_does_not_make_a_position(tmp_path: Path, header: str, cells: str) -> None:
    assert not {"ra", "dec"} & set(read(tmp_path, f"file,{header}\na,{cells}\n").columns)


def test_columns_that_say_a_unit_are_left_alone_beside_usual_ones(tmp_path: Path) -> None:
    found = read(tmp_path, "file,ra_h,dec_arcsec,RAJ2000,DEJ2000\na,good,540000,150.1,2.2\n")
    assert (found.columns["ra"].values[0], found.columns["dec"].values[0]) == (150.1, 2.2)
    assert (found.columns["ra_h"].values[0], found.columns["dec_arcsec"].values[0]) == ("good", 540000)


SIGNED = (
    "RAh,RAm,RAs,DE-,DEd,DEm,DEs\n10,00,01.5,-,00,12,01\n09,30,,+,2,30,\n23,59,59.9,,45,30,0\n,,,,,,\n10,0,0,-,,,\n"
)


def test_hours_minutes_and_seconds_in_columns_of_their_own(tmp_path: Path) -> None:
    found = read(tmp_path, SIGNED)
    np.testing.assert_allclose(found.columns["ra"].values, [150.00625, 142.5, 359.999583, 150], rtol=1e-8)
    np.testing.assert_allclose(found.columns["dec"].values, [-0.200278, 2.5, 45.5, np.nan], atol=1e-6)
    assert found.columns["dec"].missing.tolist() == [False, False, False, True]
    assert (
        "RAh, RAm, RAs, DE-, DEd, DEm, DEs are parts of positions: ra, dec are made of them, in degrees" in found.notes
    )
    assert not any("DE-" in note for note in found.notes if "missing" in note)
    without = read(tmp_path, "ra_h,ra_m,ra_s,dec_d,dec_m,dec_s\n10,0,1.5,-0,12,1\n10,0,1.5,-2,12,1\n")
    np.testing.assert_allclose(without.columns["dec"].values, [-0.200278, -2.200278], atol=1e-6)
    AstropyTable({"RAh": [10], "RAm": [0.5], "DEd": [0], "DEm": [30]}).write(tmp_path / "t.fits")
    numbers = read_table(tmp_path / "t.fits")
    assert (numbers.columns["ra"].values[0], numbers.columns["dec"].values[0]) == (150.125, 0.5)
    assert "DEd: 0 degrees are taken as north, since a number has no -0" in numbers.notes


@pytest.mark.parametrize(("south", "north"), [("-", "+"), ("−", ""), ("-1", "1"), ("S", "N"), ("south", "north")])
def test_signs_of_declinations(tmp_path: Path, south: str, north: str) -> None:
    found = read(tmp_path, f"RAh,RAm,dec_sign,DEd,DEm\n10,0,{south},2,30\n10,0,{north},2,30\n")
    assert found.columns["dec"].values.tolist() == [-2.5, 2.5]


def test_a_minus_of_the_degrees_counts_where_the_sign_is_empty(tmp_path: Path) -> None:
    found = read(tmp_path, "RAh,RAm,RAs,DE-,DEd,DEm,DEs\n10,0,0,,-2,30,0\n10,0,0,-,2,30,0\n10,0,0,+,2,30,0\n")
    assert found.columns["dec"].values.tolist() == [-2.5, -2.5, 2.5]


def test_without_minutes_there_is_no_position(tmp_path: Path) -> None:
    found = read(tmp_path, "RAh,RAm,RAs,DE-,DEd,DEm,DEs\n10,,15,+,2,0,0\n10,0,0,+,2,,0\n")
    np.testing.assert_array_equal(found.columns["ra"].missing | found.columns["dec"].missing, True)


@pytest.mark.parametrize("row", ["10,61,0,+,2,0,0", "25,0,0,+,2,0,0", "10,0,0,+,91,0,0", "10,many,0,+,2,0,0"])
def test_parts_of_what_is_no_position_are_none(tmp_path: Path, row: str) -> None:
    found = read(tmp_path, f"RAh,RAm,RAs,DE-,DEd,DEm,DEs\n{row}\n")
    assert "ra" not in found.columns
    assert any("parts of positions, but line 2 is nowhere on the sky" in note for note in found.notes)


def test_a_luminosity_and_a_blue_magnitude_are_no_galactic_coordinates(tmp_path: Path) -> None:
    assert list(read(tmp_path, "file,L,B\na,10.1,15.2\n").columns) == ["file", "L", "B"]


def test_any_unit_of_an_angle_is_converted(tmp_path: Path) -> None:
    # astropy writes hours into a VOTable as 15 degrees
    AstropyTable({"ra": [10.0, 11.0] * u.hourangle, "dec": [5.0, 6.0] * u.arcmin}).write(
        tmp_path / "t.vot", format="votable"
    )
    found = read_table(tmp_path / "t.vot")
    assert found.columns["ra"].values == pytest.approx([150, 165])
    assert found.columns["dec"].values == pytest.approx([5 / 60, 6 / 60])


@pytest.mark.parametrize("unit", ["hours", "hr", "Hrs"])
def test_hours_by_any_name_are_hours(tmp_path: Path, unit: str) -> None:
    columns = [fits.Column("ra", "D", unit, array=[10.0]), fits.Column("dec", "D", "---", array=[2.0])]
    fits.BinTableHDU.from_columns(columns).writeto(tmp_path / "t.fits")
    found = read_table(tmp_path / "t.fits")
    assert (found.columns["ra"].values[0], found.columns["dec"].values[0]) == (150, 2)


def test_a_unit_of_no_angle_is_refused(tmp_path: Path) -> None:
    AstropyTable({"ra": [10.0] * u.deg, "dec": [5.0] * u.Jy}).write(tmp_path / "t.vot", format="votable")
    with pytest.raises(LabelError, match="'dec' is in Jy, no unit of an angle"):
        read_table(tmp_path / "t.vot")


def test_units_are_converted(tmp_path: Path) -> None:
    AstropyTable({"ra": [10.0] * u.hourangle, "dec": [0.1] * u.rad}).write(tmp_path / "t.ecsv")
    found = read_table(tmp_path / "t.ecsv")
    assert found.columns["ra"].values == pytest.approx([150])
    assert found.columns["dec"].values == pytest.approx([np.degrees(0.1)])
    assert "ra: converted from hourangle to degrees" in found.notes


def test_suspicions_are_said(tmp_path: Path) -> None:
    found = read(tmp_path, "file,ra,dec\na,10.1,2\nb,23.2,3\n")
    told = "ra: all 2 lie between 0 and 24: taken as degrees; if they are hours or radians, let the name say so"
    assert f"{told}: ra (h), ra (rad)" in found.notes
    assert not read(tmp_path, "file,ra,dec\na,10.1,2\nb,24.2,3\n").notes
    assert "are no numbers" in read(tmp_path, "file,l,b\na,long,wide\n").notes[0]
    assert "line 3 is nowhere on the sky" in read(tmp_path, "file,l,b\na,10.1,2\nb,10.1,92\n").notes[0]
    found = read(tmp_path, "file,ra,dec\na,-10,2\nb,-99,-99\n")
    assert found.columns["ra"].values[0] == 350 and found.columns["dec"].missing.tolist() == [False, True]
    assert any("below 0 are counted from 360" in note for note in found.notes)


def test_galactic_coordinates_are_converted(tmp_path: Path) -> None:
    # the galactic centre, Sgr A*, and the north pole of the Galaxy (J2000)
    found = read(tmp_path, "file,GLON,GLAT\na,359.94423,-0.04616\nb,0,90\nc,,5\nd,99,0\n")
    np.testing.assert_allclose(found.columns["ra"].values[:3], [266.41683, 192.85948, np.nan], atol=2e-4)
    np.testing.assert_allclose(found.columns["dec"].values[:3], [-29.00781, 27.12825, np.nan], atol=2e-4)
    assert found.columns["ra"].missing.tolist() == [False, False, True, False]
    assert "GLON, GLAT are galactic coordinates: converted" in found.notes[0]
    both = read(tmp_path, "file,ra,dec,l,b\na,150,2,10,20\n")
    assert both.columns["ra"].values[0] == 150 and not both.notes


def test_only_wanted_columns_are_read(tmp_path: Path) -> None:
    rows = "file,a,b,ra\nx,1,2,3\ny,4,5\n"
    for text in (rows, "# made by hand\n" + rows, rows.replace(",", ";")):
        (tmp_path / "t.csv").write_text(text)
        found = read_table(tmp_path / "t.csv", wanted=lambda names: {"file", "b", "none"})
        assert list(found.columns) == ["file", "b"] and found.columns["b"].values.tolist() == [2, 5]
        assert any("1 rows are shorter" in note for note in found.notes)
    (tmp_path / "t.csv").write_text("file,a\nx,1,2\n")
    with pytest.raises(LabelError, match="more cells than columns"):
        read_table(tmp_path / "t.csv", wanted=lambda names: names[:1])


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ("a,150,2\nb,somewhere,2\n", r"'ra' in line 3 is 'somewhere', no angle.*--missing"),
        ("a,150,10h\n", r"'dec' in line 2 is '10h', no angle"),
        ("a,361,2\n", r"'ra' in line 2 is 361 degrees, nowhere"),
        ("a,150,2\nb,150,91\n", r"'dec' in line 3 is 91 degrees, nowhere"),
        ("a,2,150\n", r"'dec' in line 2 .*changed places\?"),
    ],
)
def test_positions_that_are_none_are_refused(tmp_path: Path, rows: str, problem: str) -> None:
    with pytest.raises(LabelError, match=problem):
        read(tmp_path, "file,ra,dec\n" + rows)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("J005130.07-011511.2.jpg", "00:51:30.07 -01:15:11.2"),
        ("SDSS J095632+005254", "09:56:32 +00:52:54"),
        ("cutout_J235959.9−895959.png", "23:59:59.9 -89:59:59"),
        ("CFHTLSJ020121.8-091514_ASW00010he.jpg", "02:01:21.8 -09:15:14"),
    ],
)
def test_names_by_the_iau_s_rule_say_where_galaxies_are(name: str, expected: str) -> None:
    found, sky = named_position(name), SkyCoord(expected, unit=(u.hourangle, u.deg))
    assert found is not None
    np.testing.assert_allclose(found[:2], (sky.ra.deg, sky.dec.deg), rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    "name",
    ["J0011-0845.png", "J250000-011511", "J006130-011511", "J005130-911511", "1005130-0115119", "267074.jpg", ""],
)
def test_other_names_say_nothing(name: str) -> None:
    assert named_position(name) is None


@pytest.mark.parametrize("rank", [1, 2])
def test_the_nearest_position_is_that_of_a_naive_search(rank: int) -> None:
    rng = np.random.default_rng(rank)
    ra, dec = rng.uniform(0, 360, 60), np.degrees(np.arcsin(rng.uniform(-1, 1, 60)))
    other_ra, other_dec = (ra[:40] + rng.normal(0, 0.3, 40)) % 360, np.clip(dec[:40] + rng.normal(0, 0.3, 40), -90, 90)
    ra[3], other_dec[5] = np.nan, np.nan
    every = separation(ra[:, None], dec[:, None], other_ra, other_dec)
    expected = np.sort(np.where(np.isnan(every), np.inf, every), axis=1)[:, rank - 1]
    rows, apart = nearest(ra, dec, other_ra, other_dec, rank=rank)
    known = np.arange(60) != 3
    np.testing.assert_allclose(apart[known], expected[known], rtol=1e-9)
    np.testing.assert_allclose(every[np.flatnonzero(known), rows[known]], expected[known])
    assert rows[3] == -1 and np.isnan(apart[3]) and 5 not in rows
    bound = float(np.median(expected[known])) + 1e-9
    near, _ = nearest(ra, dec, other_ra, other_dec, within=bound, rank=rank)
    assert ((near >= 0) == (expected <= bound))[known].all() and (near >= 0).sum() == 30


def test_the_nearest_position_at_the_bound_and_without_any() -> None:
    one, here = np.array([10.0]), np.array([0.0])
    for within, row in ((1 / 3600 + 1e-12, 0), (0.99 / 3600, -1)):
        rows, _ = nearest(one, here, one, here + 1 / 3600, within=within)
        assert rows.tolist() == [row]
    for other in (np.empty(0), np.array([np.nan])):
        rows, apart = nearest(one, here, other, other)
        assert rows.tolist() == [-1] and np.isnan(apart).all()
    rows, _ = nearest(one, here, one, here, rank=2)
    assert rows.tolist() == [-1]
    rows, apart = nearest(one, here, one + 180, here)
    assert rows.tolist() == [0] and apart[0] == pytest.approx(180)


def test_what_lies_at_an_earlier_position_is_that_of_a_naive_search() -> None:
    """Among positions so dense that some are repeated, with some that nobody knows."""
    rng = np.random.default_rng(5)
    ra, dec = 359.99 + rng.uniform(0, 0.02, 60), rng.uniform(-0.01, 0.01, 60)
    ra[7] = dec[11] = np.nan
    found = repeated(ra % 360, dec, within=0.002)
    naive = [any(separation(ra[i], dec[i], ra[j], dec[j]) <= 0.002 for j in range(i)) for i in range(60)]
    assert found.tolist() == naive and 0 < found.sum() < 58
    assert not repeated(np.empty(0), np.empty(0), within=1.0).size
    assert not repeated(np.full(3, np.nan), np.zeros(3), within=1.0).any()


def test_marks_of_no_position_are_missing_in_every_unit(tmp_path: Path) -> None:
    table = AstropyTable({"ra": [10.0, -99.0] * u.hourangle, "dec": [0.1, -999.0] * u.rad})
    table.write(tmp_path / "t.ecsv")
    found = read_table(tmp_path / "t.ecsv").columns
    np.testing.assert_allclose(found["ra"].values, [150, np.nan])
    np.testing.assert_allclose(found["dec"].values, [np.degrees(0.1), np.nan])
    assert found["ra"].missing.tolist() == found["dec"].missing.tolist() == [False, True]


def test_galactic_coordinates_have_units_too(tmp_path: Path) -> None:
    centre, pole = np.radians([359.94423, -0.04616]), np.radians([0, 90])
    AstropyTable({"l": [centre[0], pole[0]] * u.rad, "b": [centre[1], pole[1]] * u.rad}).write(tmp_path / "t.fits")
    found = read_table(tmp_path / "t.fits").columns
    np.testing.assert_allclose(found["ra"].values, [266.41683, 192.85948], atol=2e-4)
    np.testing.assert_allclose(found["dec"].values, [-29.00781, 27.12825], atol=2e-4)


def test_galactic_coordinates_that_were_declared_missing_are(tmp_path: Path) -> None:
    AstropyTable({"l": [359.94423, -999.0], "b": [-0.04616, -999.0]}).write(tmp_path / "t.fits")
    found = read_table(tmp_path / "t.fits", missing=Missing.declared("-999")).columns
    np.testing.assert_allclose(found["ra"].values, [266.41683, np.nan], atol=2e-4)
    assert found["dec"].missing.tolist() == [False, True]


@settings(max_examples=40)
@given(
    st.lists(
        st.one_of(st.floats(-360, 360, width=32), st.sampled_from([-99.0, 999.0, 400.0, math.nan])),
        min_size=1,
        max_size=6,
    )
)
def test_positions_of_a_set_s_column_are_on_the_sky_or_none(values: list[float]) -> None:
    for right_ascension, least, most in ((True, 0, 360), (False, -90, 90)):
        found = degrees(np.array(values), right_ascension=right_ascension)
        texts = degrees(np.array([str(value) for value in values], dtype=object), right_ascension=right_ascension)
        np.testing.assert_array_equal(found, texts)
        for value, angle in zip(values, found, strict=True):
            absent = math.isnan(value) or value in (-99, 999) or abs(value) > most
            if absent:
                assert math.isnan(angle)
            else:
                assert least <= angle <= most and math.isclose((angle - value) % 360 % 360, 0, abs_tol=1e-9)
    sexagesimal = np.array(["10:30:00", "", "01:00:00"], dtype=object)
    np.testing.assert_allclose(degrees(sexagesimal, right_ascension=True), [157.5, np.nan, 15])
    np.testing.assert_allclose(degrees(sexagesimal, right_ascension=False), [10.5, np.nan, 1])


@pytest.mark.parametrize("unit", ["kpc", "mag", "pix"])
def test_galactic_coordinates_in_a_unit_of_no_angle_are_none(tmp_path: Path, unit: str) -> None:
    AstropyTable({"l": [1.0, 2.0] * u.Unit(unit), "b": [1.0, 1.2] * u.deg}).write(tmp_path / "t.ecsv")
    found = read_table(tmp_path / "t.ecsv")
    assert set(found.columns) == {"l", "b"}
    assert found.notes == (f"l, b are named like galactic coordinates, but are in {unit}, no unit of an angle",)


def test_galactic_coordinates_that_may_be_radians_are_suspected(tmp_path: Path) -> None:
    note = "l, b: all lie within 6.29 and 1.58: taken as degrees; if they are radians, convert them"
    assert note in read(tmp_path, "l,b\n6.2,-1.5\n0.1,1.2\n").notes
    for rows in ("6.2,-1.5\n", "6.2,-1.5\n0.1,1.6\n", "6.3,-1.5\n0.1,1\n"):
        assert note not in read(tmp_path, "l,b\n" + rows).notes
    AstropyTable({"l": [1.0, 2.0] * u.rad, "b": [1.0, 1.2] * u.rad}).write(tmp_path / "t.ecsv")
    found = read_table(tmp_path / "t.ecsv")
    assert found.columns["dec"].values == pytest.approx([35.59607855802096, 48.07997280585491])
    assert len(found.notes) == 1


@pytest.mark.parametrize(
    "header",
    [
        "ra_1,dec_1",
        "RA_x,DEC_x",
        "_RA,_DE",
        "RAICRS,DEICRS",
        "TARGET_RA,TARGET_DEC",
        "OBJRA,OBJDEC",
        "R.A.,Decl.",
        "RA2000,DEC2000",
        "Right Ascension (J2000),Declination (J2000)",
        "metadata.ra,metadata.dec",
        "metadata/#ra,metadata/#dec",
        "ra_sdss,dec_sdss",
        "ALPHAPEAK_J2000,DELTAPEAK_J2000",
        "X_WORLD,Y_WORLD",
        "s_ra,s_dec",
    ],
)
def test_a_galaxy_s_position_is_found_under_names_of_software(tmp_path: Path, header: str) -> None:
    table = read(tmp_path, f"file,{header}\na.png,150.5,2.25\nb.png,-10,-3\n")
    assert table.columns["ra"].values.tolist() == [150.5, 350] and table.columns["dec"].values.tolist() == [2.25, -3]
    assert any(f"{header.replace(',', ', ')} are taken as the position: ra, dec" in note for note in table.notes)
    sexagesimal = read(tmp_path, "file,RA_HMS,DEC_DMS\na.png,10:02:00,02:15:00\n")
    assert sexagesimal.columns["ra"].values.tolist() == [150.5] and sexagesimal.columns["dec"].values.tolist() == [2.25]


def test_of_two_matched_catalogues_the_first_says_the_position(tmp_path: Path) -> None:
    table = read(tmp_path, "name,ra_1,dec_1,ra_2,dec_2\na,150.5,2.25,150.6,2.35\n")
    assert table.columns["ra"].values.tolist() == [150.5]
    assert "ra_1, dec_1 are taken as the position: ra, dec; ra_2, dec_2 may be it, too" in table.notes


@pytest.mark.parametrize(
    "header",
    ["tile_ra,tile_dec", "ra_err,dec_err", "ra_1,dec_2", "pm_ra,pm_dec", "ra_offset,dec_offset", "RAB1950,DEB1950"],
)
def test_other_angles_are_no_position(tmp_path: Path, header: str) -> None:
    assert not {"ra", "dec"} & set(read(tmp_path, f"file,{header}\na.png,150.5,2.25\n").columns)


@pytest.mark.parametrize(
    ("header", "cells", "said"),
    [
        ("X_WORLD,Y_WORLD", "1500.2,2100.5", "X_WORLD, Y_WORLD are named like a position, but"),
        ("X_IMAGE,Y_IMAGE,X_WORLD,Y_WORLD", "31.5,32.25,31.5,32.25", "X_WORLD, Y_WORLD are pixels, and no position"),
        ("XWIN_IMAGE,XWIN_WORLD,YWIN_WORLD", "31.5,31.5,32.2", "XWIN_WORLD, YWIN_WORLD are pixels, and no position"),
    ],
)
def test_world_coordinates_of_an_image_without_a_wcs_are_no_position(
    tmp_path: Path, header: str, cells: str, said: str
) -> None:
    table = read(tmp_path, f"file,{header}\na.png,{cells}\n")
    assert "ra" not in table.columns and any(said in note for note in table.notes)


@pytest.mark.parametrize("names", ["RA,DEC", "ALPHA_J2000,DELTA_J2000"])
def test_a_position_stands_before_world_coordinates_that_are_pixels(tmp_path: Path, names: str) -> None:
    table = read(tmp_path, f"file,X_WORLD,Y_WORLD,{names}\na.png,1500.2,2100.5,150.5,2.25\n")
    assert table.columns["ra"].values.tolist() == [150.5] and table.columns["dec"].values.tolist() == [2.25]


def test_other_positions_are_looked_for_where_a_pair_lies_nowhere(tmp_path: Path) -> None:
    galactic = read(tmp_path, "file,l,b,ra_1,dec_1\na.png,120.5,30,150,2000\n")
    assert "dec" in galactic.columns and any("named like a position, but" in note for note in galactic.notes)
    parts = read(tmp_path, "file,X_WORLD,Y_WORLD,RAh,RAm,RAs,DE-,DEd,DEm,DEs\na.png,1500,20,10,2,0,+,2,15,0\n")
    assert parts.columns["ra"].values.tolist() == [150.5] and parts.columns["dec"].values.tolist() == [2.25]


def test_a_pair_does_not_write_over_a_column_called_ra(tmp_path: Path) -> None:
    table = read(tmp_path, "file,ra,ra_1,dec_1\na.png,150.5,10.5,2.25\n")
    assert table.columns["ra"].values.tolist() == [150.5] and "dec" not in table.columns


def test_what_is_named_so_and_lies_nowhere_is_said(tmp_path: Path) -> None:
    table = read(tmp_path, "file,ra_1,dec_1\na.png,150.5,2000\n")
    assert "ra" not in table.columns and any("named like a position, but" in note for note in table.notes)
