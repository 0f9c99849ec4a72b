"""Cells and columns: what is kept in a stamp set says the same as the table, and a value is found by its name."""

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lvm_training.tables.cells import (
    EXACT,
    Column,
    Missing,
    class_name,
    class_names,
    matching,
    numbers,
    text_column,
    typed,
)
from lvm_training.tables.reading import read_table
from lvm_training.tables.text import read_text

INTEGERS = ["0", "7", "-12", "+3", "007", "9007199254740993", "-9007199254740993", "9223372036854775807"]
HUGE = ["18446744073709551615", "-9223372036854775808", "9" * 400]
NUMBERS = ["0.1", "1.0", "-2.50", "1e3", ".5", "inf", "-inf", "1e999"]
WORDS = ["yes", "E, early", "true", "False", "é", "12:30"]
GAPS = ["", "NaN", "n/a", "-"]
CELLS = st.lists(st.sampled_from(INTEGERS + HUGE + NUMBERS + WORDS + GAPS), min_size=1, max_size=8)
# one kind at a time, since a single word makes text of all
ALIKE = st.one_of(*(st.lists(st.sampled_from(kind + GAPS), min_size=1, max_size=8) for kind in (INTEGERS, NUMBERS)))


@settings(max_examples=60)
@given(st.one_of(CELLS, ALIKE))
def test_no_digit_of_a_cell_is_lost(cells: list[str]) -> None:
    column = typed(cells, Missing())
    assert column.missing.tolist() == [cell.casefold() in ("", "nan", "n/a", "-") for cell in cells]
    for cell, said, gone in zip(cells, column.texts(), column.missing, strict=True):
        if gone:
            assert said == ""
        elif column.kind == "integer":
            assert said == str(int(cell))
        elif column.kind == "number":
            assert float(said) == float(cell)
            if cell.lstrip("+-").isdigit():
                assert int(float(cell)) == int(cell)
        elif column.kind == "boolean":
            assert said.casefold() == cell.casefold()
        else:
            assert said == cell


def test_names_that_read_like_numbers_beyond_any_float_stay_apart() -> None:
    assert typed(["12e4567", "12e4568"], Missing()).texts() == ["12e4567", "12e4568"]
    assert typed(["1.5", "-Inf"], Missing()).kind == "number"


@settings(max_examples=60)
@given(st.one_of(CELLS, ALIKE))
def test_what_a_stamp_set_keeps_says_the_same_as_the_table(cells: list[str]) -> None:
    column = typed(cells, Missing())
    kept = column.stored()
    if column.kind == "boolean" and column.missing.any():  # as numbers, since no truth value means that one is missing
        expected = [{"True": "1", "False": "0", "": ""}[said] for said in column.texts()]
    else:
        expected = column.texts()
    assert list(map(class_name, kept)) == expected
    assert class_names(kept) == expected
    assert kept.dtype.kind in ("f", "O") or not column.missing.any()


def test_integers_with_a_gap_beyond_what_a_float_holds_are_kept_as_text() -> None:
    for most, kind in ((EXACT, "f"), (EXACT + 1, "O"), (-EXACT, "f"), (-EXACT - 1, "O")):
        assert typed([str(most), ""], Missing()).stored().dtype.kind == kind
        assert typed([str(most), "5"], Missing()).stored().dtype.kind == "i"


@settings(max_examples=40)
@given(
    st.sampled_from(["f4", "f8", "i8", "u1", "i2", "?"]),
    st.lists(st.floats(-200, 200, width=32) | st.sampled_from([0.1, math.nan, math.inf, 1e22, 3.0]), max_size=8),
)
def test_a_value_is_found_by_what_it_is_called(kind: str, drawn: list[float]) -> None:
    whole = kind in ("i8", "u1", "i2", "?")
    values = np.array(
        [int(v) % 120 if whole and math.isfinite(v) and abs(v) < 1e6 else 5 if whole else v for v in drawn]
    )
    values = values.astype(kind)
    names = [class_name(value) for value in values]
    for name in {*names, "nothing", "3", "3.0", ""}:
        expected = [one == name or (bool(one) and name in ("3", "3.0") and one == "3") for one in names]
        assert matching(values, name).tolist() == expected, name


def test_numbers_are_meant_however_they_are_written() -> None:
    column = np.array([1, 2, -1])
    for text, rows in (
        ("1", [0]),
        (" 1.0 ", [0]),
        ("01", [0]),
        ("+1", [0]),
        ("-1", [2]),
        ("1e0", [0]),
        ("x", []),
        ("", []),
    ):
        assert np.flatnonzero(matching(column, text)).tolist() == rows, text
    single = np.array([0.1, 0.2, np.nan], dtype=np.float32)
    for text, rows in (("0.1", [0]), (".2", [1]), ("", [2]), ("nan", [2]), ("N/A", [2]), ("0.10000000149", [0])):
        assert np.flatnonzero(matching(single, text)).tolist() == rows, text
    for text, rows in (("TRUE", [0]), ("false", [1]), ("1", [0]), ("0.0", [1]), ("yes", [])):
        assert np.flatnonzero(matching(np.array([True, False]), text)).tolist() == rows, text
    gaps = np.array([1.0, np.nan, 0.0])  # as a set keeps truth values of which one is missing
    for text, rows in (("True", [0]), ("false", [2]), ("1", [0]), ("", [1])):
        assert np.flatnonzero(matching(gaps, text)).tolist() == rows, text
    ids = np.array([9007199254740993, 9007199254740992])
    assert matching(ids, "9007199254740993").tolist() == [True, False], "as a float both are one"
    texts = np.array(["1", "1.0", "Ring", b"Ring", ""], dtype=object)
    for text, rows in (("1", [0]), ("Ring", [2, 3]), ("ring", []), ("", [4])):
        assert np.flatnonzero(matching(texts, text)).tolist() == rows, text


def test_texts_that_are_numbers_count_as_such() -> None:
    found = numbers(np.array([b"1.5", "x", "", "-2", "1_0", "٣", "inf", 7, None], dtype=object))
    np.testing.assert_array_equal(found, [1.5, np.nan, np.nan, -2, np.nan, np.nan, np.inf, 7, np.nan])
    np.testing.assert_array_equal(numbers(np.array([True, False])), [1.0, 0.0])
    assert numbers(np.array([1, 2], dtype=np.uint8)).dtype == np.float64


def test_rows_are_taken_in_the_order_asked_for_and_lacking_ones_are_missing() -> None:
    column = Column(np.array([10, 20, 30]), np.array([False, True, False]), "mag")
    taken = column.take([2, -1, 0, 1, 2])
    assert taken.texts() == ["30", "", "10", "", "30"] and taken.unit == "mag"
    assert taken.missing.tolist() == [False, True, False, True, False]
    assert text_column([]).take([-1, -1]).texts() == ["", ""]


@pytest.mark.parametrize(
    ("option", "names", "missing", "kept"),
    [
        (None, [], ["", "NA", "-", "null", "..."], ["-99", "none"]),
        (None, ["NA", "-"], ["", "null"], ["NA", "na", "-"]),
        ("-99", ["x"], ["-99", "-99.0", "-9.9e1", "NA", ""], ["99", "x"]),
        ("-99,unknown", ["-99"], ["unknown", "UNKNOWN", ""], ["-99", "NA"]),
        ("unknown", [""], ["", "Unknown"], ["NA"]),
        (" , ", [], [""], ["NA", "-"]),
        ("inf", [], ["inf", "INF", ""], ["-99"]),
    ],
)
def test_what_is_missing_but_for_the_names_of_classes(
    option: str | None, names: list[str], missing: list[str], kept: list[str]
) -> None:
    found = Missing.declared(option).without(names)
    assert [cell for cell in missing + kept if cell in found] == missing


def test_declared_numbers_are_missing_in_columns_that_have_a_type(tmp_path: Path) -> None:
    from astropy.table import Table as AstropyTable

    AstropyTable({"file": ["a", "b"], "mag": np.array([-99.0, 20.0]), "n": np.array([-99, 3])}).write(
        tmp_path / "t.fits"
    )
    found = read_table(tmp_path / "t.fits", missing=Missing.declared("-99"))
    assert {name: column.texts() for name, column in found.columns.items()} == {
        "file": ["a", "b"],
        "mag": ["", "20"],
        "n": ["", "3"],
    }
    plain = read_table(tmp_path / "t.fits")
    assert plain.columns["n"].texts() == ["-99", "3"]
    assert sum("cells are -99; if they are missing" in note for note in plain.notes) == 2


def test_a_column_survives_an_hdf5_file(tmp_path: Path) -> None:
    columns = {"word": ["ring", "", "é"], "gap": ["5", "", "7"], "id": ["9007199254740993", "", "1"]}
    with h5py.File(tmp_path / "t.h5", "w") as file:
        for name, cells in columns.items():
            kept = typed(cells, Missing()).stored()
            file.create_dataset(name, data=kept, dtype=h5py.string_dtype() if kept.dtype.kind == "O" else None)
    with h5py.File(tmp_path / "t.h5") as file:
        assert {name: class_names(file[name][:]) for name in columns} == columns


NAMED = st.text("abcxyz", min_size=1, max_size=5)
CELL = st.text("abc def,;|\t\"'é", max_size=6) | st.integers(-99, 99).map(str)


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(",;|\t"),
    st.lists(NAMED, min_size=2, max_size=4, unique=True).flatmap(
        lambda names: st.tuples(
            st.just(names),
            st.lists(st.lists(CELL, min_size=len(names), max_size=len(names)), min_size=1, max_size=6),
        )
    ),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]),
)
def test_quoted_tables_are_read_as_the_standard_library_wrote_them(
    delimiter: str, table: tuple[list[str], list[list[str]]], encoding: str
) -> None:
    names, rows = table
    written = io.StringIO()
    csv.writer(written, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows([names, *rows])
    text = f"sep={delimiter}\n{written.getvalue()}"
    raw = read_text(text.encode(encoding))
    kept = [row for row in rows if any(cell.strip() for cell in row)]
    assert raw.header == names
    assert [list(row) for row in zip(*raw.columns, strict=True)] == [[cell.strip() for cell in row] for row in kept]


@pytest.mark.parametrize(
    ("rows", "header"),
    [
        (["a,b c", "1,2 3", "4,5 6"], ["a", "b c"]),
        (["a b;c", "1 2;3", "4 5 6;7"], ["a b", "c"]),
        (["a\tb,c", "1\t2,5", "3\t4"], ["a", "b,c"]),
        (["only", "1", "2"], ["only"]),
        (["a|b|c", "1|2|3,5", "4|5|6,5"], ["a", "b", "c"]),
        (["  a   b ", "1 2", "   3    4"], ["a", "b"]),
    ],
)
def test_the_delimiter_is_the_one_that_makes_rows_alike(rows: Sequence[str], header: list[str]) -> None:
    raw = read_text("\n".join(rows).encode())
    assert raw.header == header and len(raw.lines) == 2


@pytest.mark.parametrize(
    ("cells", "read"),
    [
        (["0,5", "1"], ["0.5", "1"]),
        (["0,5", "", "-3,25e2"], ["0.5", "", "-3.25e2"]),
        (["0,5", "1.5"], ["0,5", "1.5"]),
        (["0,5", "x"], ["0,5", "x"]),
        (["1,2,3", "1,5"], ["1,2,3", "1,5"]),
    ],
)
def test_commas_are_decimal_points_only_where_all_numbers_have_them(cells: list[str], read: list[str]) -> None:
    raw: Any = read_text(("v;w\n" + "".join(f"{cell};k\n" for cell in cells)).encode())
    assert raw.columns[0] == read
