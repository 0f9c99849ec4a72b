"""Positions by astropy, and tables of every type that astropy and Arrow write, read as the numbers that they hold."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import MaskedColumn, Table
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pyarrow import parquet

from lvm_training.tables.cells import Missing, class_name, class_names, matching, numbers, typed
from lvm_training.tables.positions import named_position, nearest, read_position, repeated, separation
from lvm_training.tables.reading import read_table

Floats = NDArray[np.float64]
angles = st.tuples(st.floats(0, 359.999), st.floats(-89.99, 89.99))


def sphere(count: int, seed: int = 0) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    return rng.uniform(0, 360, count), np.degrees(np.arcsin(rng.uniform(-1, 1, count)))


@given(angles, angles)
def test_separations_are_astropys(one: tuple[float, float], other: tuple[float, float]) -> None:
    wanted = SkyCoord(*one, unit="deg").separation(SkyCoord(*other, unit="deg")).deg
    # the haversine formula loses digits at the antipode alone
    assert float(separation(*one, *other)) == pytest.approx(wanted, abs=1e-9 if wanted < 179 else 1e-5)
    assert float(separation(*other, *one)) == pytest.approx(float(separation(*one, *other)), abs=1e-12)
    assert separation(*one, *one) == 0 and separation(one[0] + 360, one[1], *one) < 1e-12


@pytest.mark.parametrize("arcsec", [1e-6, 1e-3, 1.0, 60.0])
def test_small_separations_keep_their_digits(arcsec: float) -> None:
    for dec in (0.0, 45.0, -89.0):
        assert 3600 * separation(10.0, dec, 10.0, dec + arcsec / 3600) == pytest.approx(arcsec, rel=1e-5, abs=3e-10)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_the_nearest_are_astropys_over_all_the_sky(rank: int) -> None:
    (ra, dec), (other_ra, other_dec) = sphere(60), sphere(200, 1)
    rows, apart = nearest(ra, dec, other_ra, other_dec, rank=rank)
    ours, theirs = SkyCoord(ra, dec, unit="deg"), SkyCoord(other_ra, other_dec, unit="deg")
    wanted, distance, _ = ours.match_to_catalog_sky(theirs, nthneighbor=rank)
    np.testing.assert_array_equal(rows, wanted)
    np.testing.assert_allclose(apart, distance.deg, atol=1e-9)


@pytest.mark.parametrize("empty", [0, 3])
def test_of_no_positions_none_is_near_and_none_repeated(empty: int) -> None:
    lost = np.full(empty, np.nan)
    ra, dec = sphere(4)
    for here, there in (((ra, dec), (lost, lost)), ((lost, lost), (ra, dec)), ((lost, lost), (lost, lost))):
        rows, apart = nearest(*here, *there)
        assert (rows == -1).all() and np.isnan(apart).all() and len(rows) == len(here[0])
    assert repeated(lost, lost, within=1.0).tolist() == [False] * empty


def test_what_is_repeated_does_not_depend_on_where_on_the_sky_it_lies() -> None:
    offsets = np.array([0.0, 0.4, 5.0, 5.3, 9.0, 0.1]) / 3600
    wanted = [False, True, False, True, False, True]
    for ra, dec in ((0.0, 0.0), (359.9999, 10.0), (40.0, -89.9), (200.0, 60.0)):
        centre = SkyCoord(ra, dec, unit="deg")
        places = centre.directional_offset_by(0 * u.deg if dec < 0 else 90 * u.deg, offsets * u.deg)
        assert repeated(places.ra.deg, places.dec.deg, within=0.5 / 3600).tolist() == wanted


@given(angles, st.integers(2, 5), st.sampled_from([":", " ", "hmsdms"]))
def test_what_astropy_writes_of_a_position_is_read_again(
    place: tuple[float, float], digits: int, separator: str
) -> None:
    sky = SkyCoord(*place, unit="deg")
    form = {} if separator == "hmsdms" else {"sep": separator}
    text = sky.to_string("hmsdms", precision=digits, pad=True, **form)
    found = read_position(text)
    assert found is not None
    # seconds of right ascension are 15 arcsec
    assert 3600 * separation(found.ra, found.dec, *place) < 16 * 10.0**-digits
    plain = read_position(sky.to_string("decimal", precision=6))
    assert plain is not None and 3600 * separation(plain.ra, plain.dec, *place) < 0.01


@given(angles)
def test_a_name_by_the_iaus_rule_says_the_position_that_it_was_cut_from(place: tuple[float, float]) -> None:
    sky = SkyCoord(*place, unit="deg")
    ra = sky.ra.to_string(u.hour, sep="", precision=2, pad=True)
    dec = sky.dec.to_string(sep="", precision=1, pad=True, alwayssign=True)
    if "60." in ra or "60." in dec:
        return
    found = named_position(f"SDSS J{ra}{dec}")
    assert found is not None and 3600 * separation(found.ra, found.dec, *place) < 0.2


COLUMNS: dict[str, NDArray[np.generic]] = {
    "int16": np.array([-32768, 0, 32767], np.int16),
    "int32": np.array([-(2**31), 0, 2**31 - 1], np.int32),
    "int64": np.array([-(2**63), 0, 2**63 - 1], np.int64),
    "uint8": np.array([0, 7, 255], np.uint8),
    "uint16": np.array([0, 7, 65535], np.uint16),
    "uint32": np.array([0, 7, 2**32 - 1], np.uint32),
    "float32": np.array([-1.5, 3.4e38, 1e-30], np.float32),
    "float64": np.array([0.1, 1e300, -1e-300]),
    "bool": np.array([True, False, True]),
    "text": np.array(["a", "b c", "spiral"]),
}


FORMS = ("fits", "votable", "ascii.ecsv", "parquet")
UNWRITTEN = {("votable", "uint16"), ("votable", "uint32"), ("fits", "masked bool")}  # astropy has no form for them


@pytest.mark.parametrize(("form", "name"), [(f, name) for f in FORMS for name in COLUMNS if (f, name) not in UNWRITTEN])
def test_a_column_of_any_type_is_read_as_it_was_written(tmp_path: Path, form: str, name: str) -> None:
    path, values = tmp_path / "table", COLUMNS[name]
    if form == "parquet":
        parquet.write_table(pa.table({"id": [1, 2, 3], name: values}), path)
    else:
        Table({"id": [1, 2, 3], name: values}).write(path, format=form)
    column = read_table(path).columns[name]
    assert not column.missing.any()
    assert column.values.tolist() == values.tolist()
    assert column.kind == {"i": "integer", "u": "integer", "f": "number", "b": "boolean"}.get(values.dtype.kind, "text")


@pytest.mark.parametrize(
    ("form", "name"),
    [
        (form, name)
        for form in FORMS
        for name in ("int16", "int32", "float32", "float64", "bool", "text")
        if (form, f"masked {name}") not in UNWRITTEN
    ],
)
def test_a_masked_cell_is_missing_in_every_format(tmp_path: Path, form: str, name: str) -> None:
    path, values, masked = tmp_path / "table", COLUMNS[name], [False, True, False]
    if form == "parquet":
        parquet.write_table(pa.table({"id": [1, 2, 3], name: pa.array(values, mask=np.array(masked))}), path)
    else:
        filled = {"fill_value": -999} if values.dtype.kind == "i" else {}
        Table({"id": [1, 2, 3], name: MaskedColumn(values, mask=masked, **filled)}).write(path, format=form)
    column = read_table(path).columns[name]
    assert column.missing.tolist() == masked
    assert [column.values[row] for row in (0, 2)] == [values[0], values[2]]


plain = st.one_of(
    st.integers(-(2**70), 2**70).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.sampled_from(["", "true", "False", "007", "-0", "+3", "1e5", ".5", "5.", "nan", "-99", "spiral", "1_000"]),
)


@given(st.lists(plain, min_size=1, max_size=6))
def test_typed_cells_are_the_numbers_that_python_reads(cells: list[str]) -> None:
    column = typed(cells, Missing())
    for cell, value, missing in zip(cells, column.values, column.missing, strict=True):
        assert missing == (cell.casefold() in ("", "nan"))
        if missing:
            continue
        if column.kind == "text":
            assert value == cell
        elif column.kind == "boolean":
            assert value == (cell.casefold() == "true")
        else:
            assert value == (int(cell) if column.kind == "integer" else float(cell))


@given(st.lists(st.one_of(st.integers(-(2**53), 2**53), st.floats(-1e6, 1e6)), min_size=1, max_size=8))
def test_a_number_is_found_by_what_it_is_called(values: list[float]) -> None:
    column = np.array(values)
    for row, name in enumerate(class_names(column)):
        found = matching(column, name)
        assert found[row] and (found == (column == column[row])).all()
        assert matching(column.astype(object), class_name(column[row]))[row]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_number_of_any_precision_is_found_by_its_shortest_text(dtype: type[np.floating]) -> None:
    column = np.array([0.1, 1 / 3, 2.5, -0.7, 1e-3, np.nan], dtype)
    for row in range(5):
        assert np.flatnonzero(matching(column, class_name(column[row]))).tolist() == [row]
    assert np.flatnonzero(matching(column, "")).tolist() == np.flatnonzero(matching(column, "NaN")).tolist() == [5]


def test_texts_that_are_numbers_are_read_as_such_and_others_are_missing() -> None:
    values = np.array(["1", "-2.5e3", " 7 ", "", "spiral", "nan", "1,5", "0x10"], object)
    np.testing.assert_array_equal(numbers(values), [1, -2500, 7] + [np.nan] * 5)
    np.testing.assert_array_equal(numbers(np.array([True, False])), [1, 0])
    np.testing.assert_array_equal(numbers(np.array([b"3", b"x"], object)), [3, np.nan])
