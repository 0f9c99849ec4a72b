"""Tables of every format people have say the same; what is assumed of them is told."""

import bz2
import gzip
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import openpyxl
import pyarrow
import pytest
from astropy.io import fits
from astropy.table import MaskedColumn
from astropy.table import Table as AstropyTable
from pyarrow import parquet

from lvm_training.errors import LabelError
from lvm_training.tables.cells import Missing
from lvm_training.tables.reading import Table, read_table

PLAIN = "file,ring,id\na.png,yes,1237648720693755918\nb.png,no,2\n"


def written(folder: Path, text: str | bytes, name: str = "labels.csv") -> Path:
    """A file of text or bytes."""
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def read(folder: Path, text: str | bytes, missing: str | None = None, key: str | None = None) -> Table:
    return read_table(written(folder, text), missing=Missing.declared(missing), keys=(key,) if key else ())


def contents(table: Table) -> dict[str, list[str]]:
    """All cells as texts."""
    return {name: column.texts() for name, column in table.columns.items()}


EXPECTED = {"file": ["a.png", "b.png"], "ring": ["yes", "no"], "id": ["1237648720693755918", "2"]}


@pytest.mark.parametrize(
    "data",
    [
        PLAIN.encode(),
        PLAIN.encode("utf-8-sig"),
        PLAIN.encode("utf-16"),
        PLAIN.encode("utf-16-le"),
        PLAIN.encode("utf-16-be"),
        PLAIN.encode("utf-32"),
        PLAIN.replace("\n", "\r\n").encode(),
        PLAIN.replace("\n", "\r").encode(),
        PLAIN.replace(",", "\t").encode(),
        PLAIN.replace(",", ";").encode(),
        PLAIN.replace(",", " | ").encode(),
        PLAIN.replace(",", "   ").encode(),
        PLAIN.replace(",", ", ").encode(),
        PLAIN.replace(",", " ,\t ").replace("\t", " ").encode(),
        ("sep=;\r\n" + PLAIN.replace(",", ";")).encode(),
        b"# made on Monday\n#\n" + PLAIN.encode() + b"# the end\n",
        PLAIN.replace("b.png", "#c.png,no,3\nb.png").encode(),
        (PLAIN + "\n\n,,\n , , \n").encode(),
        ("\n\n" + PLAIN).encode(),
        PLAIN.replace("a.png,", '"a.png",').encode(),
        PLAIN.replace("a.png,yes", 'a.png, "yes"').encode(),
        PLAIN.replace("\n", ",\n").encode(),
        PLAIN.encode() + b"\x1a",
        gzip.compress(PLAIN.encode(), mtime=0),
        bz2.compress(PLAIN.encode()),
        PLAIN.replace("a.png", "\u200ba.png\u200b").replace(",ring", ",\u2060ring").encode(),
    ],
    ids=lambda data: repr(data[:24]),
)
def test_one_table_written_in_many_ways(tmp_path: Path, data: bytes) -> None:
    assert contents(read(tmp_path, data)) == EXPECTED


def test_tables_of_astronomers(tmp_path: Path) -> None:
    table = AstropyTable({name: np.array(cells) for name, cells in EXPECTED.items() if name != "id"})
    table["id"] = np.array([int(cell) for cell in EXPECTED["id"]])
    for name, kind in (("t.fits", "fits"), ("t.ecsv", "ascii.ecsv"), ("t.vot", "votable")):
        table.write(tmp_path / name, format=kind)
        found = read_table(tmp_path / name)
        assert contents(found) == EXPECTED, name
        assert found.columns["id"].values.tolist() == [1237648720693755918, 2]
    # the content counts, not the name
    (tmp_path / "t.fits").rename(tmp_path / "t.csv")
    assert contents(read_table(tmp_path / "t.csv")) == EXPECTED


def test_masked_cells_are_missing_and_cells_that_are_none_are_left_out(tmp_path: Path) -> None:
    table = AstropyTable({"file": ["a ", "b", "c"], "n": MaskedColumn([1, 2, 3], mask=[False, True, False])})
    table["z"] = np.array([0.1, np.nan, 3], dtype=np.float32)
    table["name"] = MaskedColumn(["x", "y", "N/A"], mask=[True, False, False])
    table["flag"] = [True, False, True]
    table["flux"] = np.ones((3, 5))
    first = AstropyTable({"file": ["other"]})
    for name, kind in (("t.fits", "fits"), ("t.ecsv", "ascii.ecsv"), ("t.vot", "votable")):
        table.write(tmp_path / name, format=kind)
        found = read_table(tmp_path / name)
        expected = {"file": ["a", "b", "c"], "n": ["1", "", "3"], "z": ["0.1", "", "3"], "name": ["", "y", ""]}
        assert contents(found) == expected | {"flag": ["True", "False", "True"]}, name
        assert any("flux: left out" in note for note in found.notes)
    units = fits.HDUList([fits.PrimaryHDU(), fits.table_to_hdu(first), fits.table_to_hdu(table)])
    units.writeto(tmp_path / "two.fits")
    found = read_table(tmp_path / "two.fits")
    assert contents(found) == {"file": ["other"]} and "the first of its 2 tables" in found.notes[0]
    fits.PrimaryHDU(np.ones((2, 2))).writeto(tmp_path / "image.fits")
    with pytest.raises(
        LabelError, match=r"image\.fits is not a readable table \(as FITS: this FITS file holds no table\)"
    ):
        read_table(tmp_path / "image.fits")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("rows", [-300, -100_000])
def test_a_fits_table_of_negative_size_is_refused_where_astropy_would_read_for_ever(tmp_path: Path, rows: int) -> None:
    columns = [fits.Column("ra", "D", array=np.arange(3.0)), fits.Column("dec", "D", array=np.arange(3.0))]
    fits.BinTableHDU.from_columns(columns).writeto(tmp_path / "t.fits")
    content = (tmp_path / "t.fits").read_bytes()
    start = content.index(b"NAXIS2  =", 2880) + 10
    (tmp_path / "t.fits").write_bytes(content[:start] + b"%20d" % rows + content[start + 20 :])
    with pytest.raises(LabelError, match=r"t\.fits is not a readable table"):
        read_table(tmp_path / "t.fits")


def test_parquet_and_excel(tmp_path: Path) -> None:
    columns = {"file": ["a.png", "b.png"], "ring": ["yes", "no"], "id": [1237648720693755918, 2]}
    parquet.write_table(pyarrow.table(columns | {"gap": [2**60 + 1, None], "list": [[1], [2]]}), tmp_path / "t.parquet")
    found = read_table(tmp_path / "t.parquet")
    assert contents(found) == EXPECTED | {"gap": [str(2**60 + 1), ""]}
    book = openpyxl.Workbook()
    book.create_sheet("second")
    for row in ([" file ", "ring", "n", None], ["a.png", "yes", 1, None], [None] * 4, ["b.png", None, "N/A", None]):
        book.worksheets[0].append(row)
    book.save(tmp_path / "t.xlsx")
    found = read_table(tmp_path / "t.xlsx")
    assert contents(found) == {"file": ["a.png", "b.png"], "ring": ["yes", ""], "n": ["1", ""]}
    assert found.lines == [2, 4] and "the first of its 2 sheets" in found.notes[0]


def test_a_package_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(LabelError, match=r"needs the package openpyxl.*pip install 'galaxyloop\[excel\]'"):
        read(tmp_path, b"PK\x03\x04" + bytes(100))


def test_latin_1_is_read_and_said(tmp_path: Path) -> None:
    found = read(tmp_path, "file,Größe\na.png,Ø\n".encode("latin-1"))
    assert contents(found) == {"file": ["a.png"], "Größe": ["Ø"]}
    assert "not UTF-8" in found.notes[0]


def test_names_and_cells_come_in_one_unicode_form(tmp_path: Path) -> None:
    found = read(tmp_path, "fich\u0065\u0301,e\u0301\nre\u0301.png,e\u0301\n")
    assert contents(found) == {"fich\u00e9": ["r\u00e9.png"], "\u00e9": ["\u00e9"]}


def test_column_names_stay_as_they_are(tmp_path: Path) -> None:
    assert list(read(tmp_path, "file,S,S/N,f_[OIII]/Hβ,a b,.\n1,2,3,4,5,6\n").columns) == [
        "file",
        "S",
        "S/N",
        "f_[OIII]/Hβ",
        "a b",
        ".",
    ]


@pytest.mark.parametrize(
    ("cells", "kind", "texts"),
    [
        (["1", "0", ""], "integer", ["1", "0", ""]),
        (["20230001", "-7"], "integer", ["20230001", "-7"]),
        (["9223372036854775807", "1"], "integer", ["9223372036854775807", "1"]),
        (["18446744073709551615", "1"], "text", ["18446744073709551615", "1"]),
        (["1237648720693755918", "0.5"], "text", ["1237648720693755918", "0.5"]),
        (["1.0", "2.50", "1e3", ".5"], "number", ["1", "2.5", "1000", "0.5"]),
        (["1", "nan"], "integer", ["1", ""]),
        (["007", "8"], "text", ["007", "8"]),
        (["1_000", "2"], "text", ["1_000", "2"]),
        (["٣", "2"], "text", ["٣", "2"]),
        (["True", "FALSE", "-"], "boolean", ["True", "False", ""]),
        (["yes", "no"], "text", ["yes", "no"]),
        (["", "NA"], "text", ["", ""]),
        (["none", "weak"], "text", ["none", "weak"]),
    ],
)
def test_what_cells_are(tmp_path: Path, cells: list[str], kind: str, texts: list[str]) -> None:
    column = read(tmp_path, "file,v\n" + "".join(f"{row}.png,{cell}\n" for row, cell in enumerate(cells))).columns["v"]
    assert (column.kind, column.texts()) == (kind, texts)


@pytest.mark.parametrize("word", ["nan", "NaN", "NA", "N/A", "n/a", "NULL", "null", "-", "--", "#N/A", "<NA>", ""])
def test_words_for_missing_values_are_counted(tmp_path: Path, word: str) -> None:
    found = read(tmp_path, f"file,ring,z\na,yes,0.5\nb,{word},{word}\n")
    assert contents(found) == {"file": ["a", "b"], "ring": ["yes", ""], "z": ["0.5", ""]}
    assert found.columns["z"].kind == "number"
    assert [note.split(" (")[0] for note in found.notes] == (
        [f"{name}: 1 cells {word} are taken as missing" for name in ("ring", "z")] if word else []
    )


def test_missing_values_can_be_declared(tmp_path: Path) -> None:
    text = "file,region,mag\na,NA,-99\nb,EU,-99.0\nc,unknown,20\nd,,\n"
    assert contents(read(tmp_path, text)) == {
        "file": ["a", "b", "c", "d"],
        "region": ["", "EU", "unknown", ""],
        "mag": ["-99", "-99", "20", ""],
    }
    assert "mag: 2 cells are -99; if they are missing, --missing=-99" in read(tmp_path, text).notes
    # numbers join the usual words, words take their place
    found = contents(read(tmp_path, text, missing="-99"))
    assert (found["region"], found["mag"]) == (["", "EU", "unknown", ""], ["", "", "20", ""])
    found = contents(read(tmp_path, text, missing="unknown,-99"))
    assert (found["region"], found["mag"]) == (["NA", "EU", "", ""], ["", "", "20", ""])
    assert contents(read(tmp_path, text, missing=""))["region"] == ["NA", "EU", "unknown", ""]


def test_numbers_with_one_odd_cell_are_pointed_out(tmp_path: Path) -> None:
    found = read(tmp_path, "file,z\na,0.1\nb,0.2\nc,bad\n")
    assert found.columns["z"].kind == "text"
    assert "z: kept as text, because 1 of 3 cells are no numbers, first 'bad' in line 4" in found.notes


@pytest.mark.parametrize("cell", ["1,234", "-12,345,678.5", "1.234,5", "0,5", "1.5D+03", "50%", "12.5 %", "−1.5"])
def test_numbers_that_are_kept_as_text_are_said(tmp_path: Path, cell: str) -> None:
    found = read(tmp_path, f'file,n\na,"{cell}"\nb,"{cell}"\nc,3\n')
    assert contents(found)["n"] == [cell, cell, "3"]
    assert found.notes == (
        f"n: kept as text, because 2 of 3 cells are such as {cell!r} in line 2; write numbers as 1234.5 or 1.5e3",
    )


@pytest.mark.parametrize("cells", [("007", "008"), ("9" * 30, "8"), ("yes", "50%", "no"), ("1,2,3", "4,5"), ("1.2.3",)])
def test_what_is_no_number_to_people_is_text_without_a_word(tmp_path: Path, cells: tuple[str, ...]) -> None:
    assert read(tmp_path, "n\n" + "".join(f'"{cell}"\n' for cell in cells)).notes == ()


def test_decimal_commas_of_a_table_with_semicolons(tmp_path: Path) -> None:
    found = read(tmp_path, "file;z;class\na;0,5;E, early\nb;1;S\n")
    assert found.columns["z"].values.tolist() == [0.5, 1.0]
    assert found.columns["class"].texts() == ["E, early", "S"]
    assert "z: the comma of its numbers is read as a decimal point" in found.notes


def test_a_header_in_a_comment_line(tmp_path: Path) -> None:
    for text in ("# file, ring\na.png, yes\nb.png, no\n", "#file ring\na.png yes\nb.png no\n"):
        found = read(tmp_path, text, key="file")
        assert contents(found) == {"file": ["a.png", "b.png"], "ring": ["yes", "no"]}
        assert found.lines == [2, 3]


def test_rows_and_columns_that_are_too_many_or_too_few(tmp_path: Path) -> None:
    found = read(tmp_path, ",file,ring\n0,a,yes\n1,b\n")
    assert contents(found) == {"file": ["a", "b"], "ring": ["yes", ""]}
    assert set(found.notes) == {
        "1 rows are shorter than the header; what they lack is missing",
        "a column without a name is left out",
    }
    found = read(tmp_path, "file,v,v\na,1,1\n")
    assert list(found.columns) == ["file", "v"] and "two columns of this name are the same" in found.notes[0]
    assert contents(read(tmp_path, 'file,v\na,"1\n2"\nb,3\n'))["v"] == ["1\n2", "3"]
    assert read(tmp_path, 'file,v\na,"1\n2"\nb,3\n').lines == [3, 4]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"file,v\na,1,2\n", "line 2 has more cells than columns"),
        (b"file,v,v\na,1,2\n", "two different columns 'v'"),
        (b'file,v\n"a,1\n', "not a readable table .line 2: unexpected end of data"),
        (b"file,v\na,\x01\n", "line 2: character"),
        (b"\x89HDF\r\n\x1a\n", "is HDF5, not a table"),
        (b"<!DOCTYPE html><html>", "begins like a web page"),
        (b"\xff\xfe\x00", "not a readable table"),
        (b"\x1f\x8b\x08broken", "damaged gzip"),
        (b"BZh91AY&SYbroken", "damaged bzip2"),
        (b"SIMPLE  =                    T", "not a readable table .as FITS"),
        (b"<?xml version='1.0'?><VOTABLE><oops", "not a readable table .as VOTable"),
        (b"# %ECSV 1.0\n# ---\nfile\n", "not a readable table .as ECSV"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, data: bytes, problem: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(LabelError, match=problem):
            read(tmp_path, data)


@pytest.mark.parametrize(
    ("inner", "problem"), [("t.csv", "is a zip file of t.csv. Unpack it"), ("content.xml", "OpenDoc")]
)
def test_an_archive_is_called_so(tmp_path: Path, inner: str, problem: str) -> None:
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        archive.writestr(inner, PLAIN)
    with pytest.raises(LabelError, match=problem):
        read_table(tmp_path / "t.zip")


MACHINE_READABLE = """Title: Rings of galaxies
Authors: Someone E.
Table: Positions
================================================================================
Byte-by-byte Description of file: table1.txt
--------------------------------------------------------------------------------
   Bytes Format Units  Label  Explanations
--------------------------------------------------------------------------------
   1-  5 A5     ---    file   Name
   7-  8 I2     h      RAh    Hour of right ascension (J2000)
  10- 11 I2     min    RAm    Minute of right ascension (J2000)
  13- 16 F4.1   s      RAs    Second of right ascension (J2000)
      18 A1     ---    DE-    Sign of the declination (J2000)
  19- 20 I2     deg    DEd    Degree of declination (J2000)
  22- 23 I2     arcmin DEm    Arcminute of declination (J2000)
      25 I1     ---    T      ? Type
--------------------------------------------------------------------------------
Note (1): none.
--------------------------------------------------------------------------------
a.png 10 00 01.5 -00 12 1
b.png 09 30 00.0 +02 30
"""


def test_machine_readable_tables_of_journals_are_read(tmp_path: Path) -> None:
    found = read(tmp_path, MACHINE_READABLE)
    assert contents(found)["file"] == EXPECTED["file"] and contents(found)["T"] == ["1", ""]
    np.testing.assert_allclose(found.columns["ra"].values, [150.00625, 142.5])
    np.testing.assert_allclose(found.columns["dec"].values, [-0.2, 2.5])
    assert found.form == "machine-readable table"


def test_a_column_of_arrays_of_one_is_a_column(tmp_path: Path) -> None:
    AstropyTable({"file": ["a", "b"], "n": [[1], [2]], "name": [["x"], ["y"]]}).write(tmp_path / "t.fits")
    assert contents(read_table(tmp_path / "t.fits")) == {"file": ["a", "b"], "n": ["1", "2"], "name": ["x", "y"]}


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match=r"absent\.csv is not a readable table"):
        read_table(tmp_path / "absent.csv")


def test_what_is_kept_with_a_set(tmp_path: Path) -> None:
    about = read(tmp_path, "file;z\na;1\nb;NA\n").about()
    assert about.pop("sha256")
    assert about == {
        "file": "labels.csv",
        "format": "text, semicolons, UTF-8",
        "rows": 2,
        "columns": {"file": "text", "z": "integer"},
        "notes": ["z: 1 cells NA are taken as missing (--missing says which are)"],
    }


def votable(*tables: str, status: str = "") -> bytes:
    """A VOTable as services of the Virtual Observatory write it: some tables, and what they say of the query."""
    head = '<VOTABLE version="1.3" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE type="results">'
    return f"<?xml version='1.0'?>{head}{''.join(tables)}{status}</RESOURCE></VOTABLE>".encode()


VOTABLE = """<TABLE>
<FIELD ID="col_0" name="file" datatype="char" arraysize="*"/><FIELD ID="col_1" name="RAJ2000" datatype="double"/>
<FIELD ID="col_2" name="DEJ2000" datatype="double"/><FIELD ID="S_N" name="S/N" datatype="float"/>
<DATA><TABLEDATA><TR><TD>a.png</TD><TD>150.5</TD><TD>2.5</TD><TD>7.5</TD></TR></TABLEDATA></DATA></TABLE>"""


def test_columns_of_a_votable_have_their_names_not_their_ids(tmp_path: Path) -> None:
    table = read(tmp_path, votable(VOTABLE), key="file")

    assert list(table.columns) == ["file", "RAJ2000", "DEJ2000", "S/N", "ra", "dec"]
    assert contents(table)["ra"] == ["150.5"]


def test_of_a_votable_of_several_tables_the_first_is_read(tmp_path: Path) -> None:
    table = read(tmp_path, votable(VOTABLE, VOTABLE.replace("a.png", "b.png")))

    assert contents(table)["file"] == ["a.png"]
    assert "the first of its 2 tables is read" in table.notes


def test_a_votable_that_the_service_cut_off_says_so(tmp_path: Path) -> None:
    table = read(tmp_path, votable(VOTABLE, status='<INFO name="QUERY_STATUS" value="OVERFLOW"/>'))

    assert any("OVERFLOW" in note for note in table.notes)


def test_what_a_service_says_in_place_of_a_table_is_told(tmp_path: Path) -> None:
    failed = votable(status='<INFO name="QUERY_STATUS" value="ERROR">no such column: raa</INFO>')

    with pytest.raises(LabelError, match="holds no table: no such column: raa"):
        read(tmp_path, failed)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (
            "#RESOURCE=yCat\nname\t_RAJ2000\t_DEJ2000\n \tdeg\tdeg\n----\t------\t-\na\t150.5\t2.5\n",
            "units and of dashes",
        ),
        ("name\tra\tdec\tEW\n\tdeg\tdeg\t0.1nm\n----\t---\t---\t---\na\t150.5\t2.5\t1\n", "units and of dashes"),
        ("name\tra\tdec\tflux\n\tdeg\tdeg\t10-17W/m2\n----\t---\t---\t---\na\t150.5\t2.5\t1\n", "units and of dashes"),
        ("| name | RAJ2000 | DEJ2000 |\n|------|--------:|---------|\n| a | 150.5 | 2.5 |\n", "line of dashes"),
        ("name RAJ2000 DEJ2000\n---- ------- -------\na    150.5   2.5\n", "line of dashes"),
    ],
)
def test_what_is_ruled_under_a_header_is_no_row(tmp_path: Path, text: str, what: str) -> None:
    table = read(tmp_path, text)

    assert (contents(table)["name"], contents(table)["ra"], table.lines) == (["a"], ["150.5"], [text.count("\n")])
    assert any(what in note for note in table.notes)


def test_rows_of_missing_values_are_no_rule(tmp_path: Path) -> None:
    assert len(read(tmp_path, "name,z\nb,1\n--,--\nc,2\n")) == 3
    assert len(read(tmp_path, "name,remark\nb,ring\n,---\n")) == 2
    assert len(read(tmp_path, "name,z\nb,.5\n---,---\nc,2\n")) == 3
    assert len(read(tmp_path, "name,time\nb,10:00:01.5\n---,---\nc,2\n")) == 3


@pytest.mark.parametrize("text", ["# name ra dec\na 150.5 2.5\n", "# Field 7\n#name,ra,dec\na,150.5,2.5\n"])
def test_a_header_in_a_comment_is_known_by_the_values_below_it(tmp_path: Path, text: str) -> None:
    table = read(tmp_path, text)
    assert contents(table) == {"name": ["a"], "ra": ["150.5"], "dec": ["2.5"]}
    assert "the header is taken from the comment above the rows: name, ra, dec" in table.notes


def test_a_comment_of_as_many_words_is_no_header_above_one(tmp_path: Path) -> None:
    assert list(read(tmp_path, "# seen on Monday\nname,ra,dec\na,150.5,2.5\n").columns) == ["name", "ra", "dec"]
    names = list(read(tmp_path, "# made by my script\nid,0,1,2\na,.1,.2,.3\n").columns)
    assert names == ["id", "0", "1", "2"]
    # the last column of SExtractor's list of them
    assert "DEC" not in read(tmp_path, "# 3 DEC deg\n1 150.5 2.5\n2 150.6 2.6\n").columns


SEXTRACTOR = """#   1 NUMBER       Running object number
#   2 ALPHA_J2000  Right ascension of barycenter (J2000)   [deg]
#   3 DELTA_J2000  Declination of barycenter (J2000)       [deg]
#   4 FLUX_APER    Flux within fixed circular apertures    [count]
#   6 FLAGS        Extraction flags
         1  10.5  -3.25  1.0 2.0  0
         2  11.5  -4.25  3.0 4.0  2
"""
IPAC = """\\catalog = 'wise'
\\ a comment
|  designation |       ra |     dec | w1mpro |
|         char |   double |  double | double |
|              |      deg |     deg |    mag |
|         null |     null |    null |   null |
  J001.1+02       1.100000  2.000000     12.3
  J001.2+02       1.200000  2.000000     null
"""


def test_the_catalogues_of_sextractor_have_their_columns_in_comments(tmp_path: Path) -> None:
    table = read_table(written(tmp_path, SEXTRACTOR, "field.cat"))
    assert table.form == "SExtractor" and table.columns["NUMBER"].texts() == ["1", "2"]
    assert table.columns["ra"].texts() == ["10.5", "11.5"] and table.columns["dec"].unit == "deg"
    assert [table.columns[name].texts() for name in ("FLUX_APER", "FLUX_APER_1", "FLAGS")] == [
        ["1", "3"],
        ["2", "4"],
        ["0", "2"],
    ]


@pytest.mark.parametrize("comment", ["# 1 note of mine", "# 1 March 2024, my sample", "# 1 March 2024\n# 2 April 2024"])
def test_a_numbered_comment_above_other_text_is_a_comment(tmp_path: Path, comment: str) -> None:
    table = read_table(written(tmp_path, f"{comment}\n{PLAIN}"))
    assert table.form.startswith("text") and len(table) == 2 and list(table.columns) == ["file", "ring", "id"]


@pytest.mark.parametrize(
    "names", ["# 1 NUMBER\n# 2 ALPHA_J2000\n# 3 DELTA_J2000", "# 1 id  number\n# 2 ra  deg\n#3 dec"]
)
def test_columns_of_sextractor_need_no_description(tmp_path: Path, names: str) -> None:
    table = read_table(written(tmp_path, f"{names}\n1 10.5 2.5\n2 11.5 3.5\n"))
    assert table.columns["ra"].texts() == ["10.5", "11.5"] and len(table) == 2


def test_tables_of_ipac_have_types_units_and_gaps(tmp_path: Path) -> None:
    many = "\\ one of many keywords\n" * 400
    for text in (IPAC, IPAC.partition("comment\n")[2], IPAC.replace("\n", "\r\n"), many + IPAC):
        table = read_table(written(tmp_path, text, "wise.tbl"))
        assert table.form == "IPAC" and table.columns["designation"].texts() == ["J001.1+02", "J001.2+02"]
        assert table.columns["w1mpro"].texts() == ["12.3", ""] and table.columns["w1mpro"].unit == "mag"
        assert table.columns["ra"].values.tolist() == [1.1, 1.2]


def test_bars_alone_make_no_table_of_ipac(tmp_path: Path) -> None:
    table = read_table(written(tmp_path, "|file|ring|\n|a.png|char|\n|b.png|real|\n"))
    assert table.form.startswith("text, bars") and table.columns["ring"].texts() == ["char", "real"]


@pytest.mark.parametrize(
    "cells", [("1.23790E+18", "1.23791E+18"), ("1237648720693755918.0", "1237648720693755919.0"), ("1.2379E+18", "7")]
)
def test_ids_that_went_through_floats_are_said_to_be_of_no_use(tmp_path: Path, cells: tuple[str, str]) -> None:
    found = read(tmp_path, "file,objid\na.png,{}\nb.png,{}\n".format(*cells))
    (note,) = found.notes
    assert note == (
        f"objid: numbers such as {cells[0]} are floats; if they are ids, their last digits are lost and galaxies "
        "cannot be told by them: export them anew as text or integers"
    )
    numbers = np.array([float(cell) for cell in cells])
    AstropyTable({"objid": numbers}).write(tmp_path / "t.fits")
    assert "objid: numbers such as 1.2" in read_table(tmp_path / "t.fits").notes[0]


@pytest.mark.parametrize("cells", ["1237648720693755918", "9007199254740992.0", "1e44", "1.5e10", "0.5\nb,1e17"])
def test_large_numbers_are_no_ids_that_lost_digits(tmp_path: Path, cells: str) -> None:
    assert not read(tmp_path, f"file,l_x\na,{cells}\n").notes


@pytest.mark.parametrize(
    "text",
    [
        "file,ra,dec,mag\n,deg,deg,mag\na.png,150.5,2.5,19\nb.png,150.6,,20.5\n",
        "file,ra,dec,mag\n-,[deg],(deg),[mag]\na.png,150.5,2.5,19\nb.png,150.6,--,20.5\n",
        "file;ra;dec;mag\nstr;deg;deg;mag\na.png;150,5;2,5;19\nb.png;150,6;;20,5\n",
        "file,ra,dec,mag\n,hour,deg,mag\na.png,10.0333333333333333,2.5,19\nb.png,10.04,,20.5\n",
    ],
)
def test_a_line_of_units_below_the_header_is_no_row(tmp_path: Path, text: str) -> None:
    table = read(tmp_path, text)
    assert (contents(table)["file"], contents(table)["mag"], table.lines) == (
        ["a.png", "b.png"],
        ["19", "20.5"],
        [3, 4],
    )
    np.testing.assert_allclose(table.columns["ra"].values, [150.5, 150.6], rtol=1e-9)
    assert "the line of units below its header was passed over" in table.notes


@pytest.mark.parametrize("first", ["a.png,ring,mag", "a.png,s,", ",s,deg", "text,deg,deg"])
def test_a_row_of_labels_is_no_line_of_units(tmp_path: Path, first: str) -> None:
    assert len(read(tmp_path, f"file,kind,z\n{first}\nb.png,e,unknown\n")) == 2


@pytest.mark.parametrize("delimiter", [",", " ", "\t"])
def test_names_of_rows_that_r_writes_are_a_column(tmp_path: Path, delimiter: str) -> None:
    rows = [('"g1"', '"a.png"', "1"), ('"g7"', '"b.png"', "NA")]
    text = "\n".join(map(delimiter.join, [('"file"', '"ring"'), *rows])) + "\n"
    table = read(tmp_path, text)
    assert contents(table) == {"row_name": ["g1", "g7"], "file": ["a.png", "b.png"], "ring": ["1", ""]}
    assert any("as R writes names of rows: these are the column row_name" in note for note in table.notes)
    plain = text.replace('"', "").replace("g1", "1").replace("g7", "7")  # written with quote=FALSE
    assert contents(read(tmp_path, plain)) == {"file": ["a.png", "b.png"], "ring": ["1", ""]}


@pytest.mark.parametrize(
    "text",
    [
        "file,remark\na.png,large, red\nb.png,faint, blue\n",
        '"file","remark"\na.png,large, red\nb.png,faint, blue\n',
        "file,remark\n1,large, red\n2,faint, blue\n",
        "file,flux\n1,3,5\n2,4,7\n",  # 3.5 and 4.7
        "file,flux,kind\n1,3,5,ring\n2,4,7,ring\n",
    ],
)
def test_rows_that_are_longer_for_another_reason_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(LabelError, match="line 2 has more cells than columns"):
        read(tmp_path, text)


def test_units_between_a_header_and_its_rule_may_stand_in_brackets(tmp_path: Path) -> None:
    rows = "\n".join(["file\tRA\tDEC", " \t[rad]\t[Rad]", "---\t---\t---", "a.png\t1.2\t0.1", "b.png\t2.2\t0.1"])
    table = read(tmp_path, rows + "\n")
    np.testing.assert_allclose(table.columns["ra"].values, np.degrees([1.2, 2.2]), rtol=1e-9)


def test_lists_in_cells_are_no_numbers_written_otherwise(tmp_path: Path) -> None:
    assert read(tmp_path, 'file,marks\na,"1,2"\nb,"1,2,3"\nc,2\n').notes == ()
    assert read(tmp_path, 'file,marks\na,"[1,2]"\nb,"[3]"\nc,2\n').notes == ()
    (note,) = read(tmp_path, 'file,marks\na,"1,2"\nb,"2,3"\nc,2\n').notes
    assert note.endswith("write numbers as 1234.5 or 1.5e3 (lists of numbers stay as they are)")


README = """J/ApJ/1/1       Rings of galaxies      (Somebody+, 2025)
================================================================================
File Summary:
--------------------------------------------------------------------------------
 FileName    Lrecl    Records    Explanations
--------------------------------------------------------------------------------
ReadMe          80          .    This file
table1.dat      22          2    The rings
--------------------------------------------------------------------------------

Byte-by-byte Description of file: table1.dat
--------------------------------------------------------------------------------
   Bytes Format Units   Label   Explanations
--------------------------------------------------------------------------------
   1-  5 A5     ---     file    Name
   7- 11 F5.1   deg     RAdeg   Right ascension
  13- 16 F4.1   deg     DEdeg   Declination
  18- 21 A4     ---     Ring    ? Ring or not
--------------------------------------------------------------------------------

Acknowledgements: nobody
================================================================================
(End)                                    Somebody [CDS]    01-Jan-2025
"""


def test_data_files_of_the_cds_are_read_with_their_readme(tmp_path: Path) -> None:
    written(tmp_path, README, "ReadMe")
    data = written(tmp_path, "a.png 150.5  2.5 yes \nb.png  10.0 -3.0 no  \n", "table1.dat")
    table = read_table(data)
    assert contents(table)["file"] == ["a.png", "b.png"] and contents(table)["Ring"] == ["yes", "no"]
    assert table.columns["ra"].values.tolist() == [150.5, 10] and table.form == "table of a ReadMe"
    with pytest.raises(LabelError, match=r"describes table1\.dat, and holds no rows itself\. Give"):
        read_table(tmp_path / "ReadMe")


@pytest.mark.parametrize("said", ["table1.dat table2.dat", "table1.dat, table2.dat", "table[12].dat", "table*.dat"])
def test_data_files_may_share_a_description(tmp_path: Path, said: str) -> None:
    written(tmp_path, README.replace("file: table1.dat", f"file: {said}"), "ReadMe")
    for name in ("table1.dat", "table2.dat"):
        table = read_table(written(tmp_path, "a.png 150.5  2.5 yes \nb.png  10.0 -3.0 no  \n", name))
        assert contents(table)["file"] == ["a.png", "b.png"]


@pytest.mark.parametrize("name", ["File", "filename", "FILE NAME", "file_loc", "Path", "image", "imagePath", "PNG"])
def test_the_column_of_files_goes_by_other_words(tmp_path: Path, name: str) -> None:
    table = read(tmp_path, f"id,{name},ring\n1,a.png,yes\n2,b.png,no\n", key="file")
    assert contents(table)["file"] == ["a.png", "b.png"] and f"{name} is taken as the column file" in table.notes


def test_numbers_name_no_files(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="needs a column 'file'; it has id, image"):
        AstropyTable({"id": [1], "image": [7]}).write(tmp_path / "t.fits")
        read_table(tmp_path / "t.fits", keys=("file",))


@pytest.mark.parametrize("text", ["a.png,1\nb.png,0\n", "g1,150.1,2.2\ng2,150.2,2.3\n"])
def test_a_table_without_a_header_is_told_so(tmp_path: Path, text: str) -> None:
    with pytest.raises(LabelError, match=r"its first line, .*, looks like a row\. Write the names"):
        read(tmp_path, text, key="file")


def test_a_header_below_a_title(tmp_path: Path) -> None:
    table = read(tmp_path, "Table 1: rings,,\n,,\nfile,ring,z\na.png,1,0.1\nb.png,0,0.2\n", key="file")
    assert contents(table) == {"file": ["a.png", "b.png"], "ring": ["1", "0"], "z": ["0.1", "0.2"]}
    assert table.lines == [4, 5] and "the header is that of line 3, below a title" in table.notes
    table = read(tmp_path, "Title,,\nFilename,ra_1,dec_1\n,deg,deg\na.png,150.5,2.5\n", key="file")
    assert contents(table)["file"] == ["a.png"] and table.columns["ra"].values.tolist() == [150.5]
    book = openpyxl.Workbook()
    for row in (["Rings of our field", None], [], ["file", "ring"], ["a.png", 1]):
        book.active.append(row)
    book.save(tmp_path / "t.xlsx")
    assert contents(read_table(tmp_path / "t.xlsx", keys=("file",))) == {"file": ["a.png"], "ring": ["1"]}


@pytest.mark.parametrize(
    "text",
    [
        "+-------+------+\n| file  | ring |\n+=======+======+\n| a.png | 1    |\n+-------+------+\n| b.png | 0    |\n",
        "===== ====\nfile  ring\n===== ====\na.png    1\nb.png    0\n===== ====\n",
    ],
)
def test_rules_around_rows_are_none(tmp_path: Path, text: str) -> None:
    assert contents(read(tmp_path, text)) == {"file": ["a.png", "b.png"], "ring": ["1", "0"]}


def test_digits_that_spreadsheets_keep_as_text_are_those_digits(tmp_path: Path) -> None:
    table = read(tmp_path, 'file,objid,code\na.png,="1237648720693755918",\'007\nb.png,="2",\'008\n')
    assert contents(table)["objid"] == EXPECTED["id"] and contents(table)["code"] == ["007", "008"]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b'[{"file": "a.png"}]', "begins like JSON"),
        (b'{"file": "a.png"}\n{"file": "b.png"}\n', "begins like JSON"),
        (b"\\begin{tabular}{cc}\nfile & ring", "it is LaTeX"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "pointer of Git LFS"),
    ],
)
def test_what_is_another_kind_of_text_is_called_so(tmp_path: Path, data: bytes, problem: str) -> None:
    with pytest.raises(LabelError, match=problem):
        read(tmp_path, data)


def test_ids_that_a_sheet_keeps_as_numbers_are_said_to_be_lost(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    for row in (["file", "objid"], ["a.png", 1237648720693755918], ["b.png", 1237648720693755919]):
        book.active.append(row)
    book.create_sheet("more")
    book.save(tmp_path / "t.xlsx")
    table = read_table(tmp_path / "t.xlsx")
    assert table.columns["objid"].lost_digits and any("their last digits are lost" in note for note in table.notes)
    with pytest.raises(LabelError, match=r"it has file, objid \(the first of its 2 sheets is read: Sheet\)"):
        read_table(tmp_path / "t.xlsx", keys=("source_row",))


def test_ids_of_more_bits_than_an_integer_are_no_odd_cells(tmp_path: Path) -> None:
    table = read(tmp_path, "file,id\na,9223372036854775809\nb,5\nc,6\n")
    assert contents(table)["id"][0] == "9223372036854775809" and table.notes == ()
