"""Every format, read back by the libraries that astronomers read it with, is what was written."""

import csv
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.io.votable import parse, validate
from astropy.table import Table
from pyarrow import parquet

from backend_ml.catalogue import formats
from backend_ml.catalogue.formats import FORMATS, beside, check_out, write_sheets
from backend_ml.catalogue.tables.columns import Batch, Column, Fact, Sheet, class_slugs, clean_text, text_width, texts
from lvm_training.errors import OutputError

NAMES = ["a.fits", "", 'quote " and, comma', "<é & α>/μ.jpg", "two  blanks", "007", "True", "-9"]
COLUMNS = (
    Column("name", "text", "The file: é", ucd="meta.id", width=text_width(NAMES)),
    Column("ra", "float", "Right ascension", "deg", "pos.eq.ra;meta.main"),
    Column("n_votes", "int", "Votes", ucd="meta.number"),
    Column("stamp_id", "long", "Row", ucd="meta.record"),
    Column("audit", "bool", "Whether <drawn>", ucd="meta.code"),
)
FACTS = (Fact("CAMPAIGN", "campaign", "Spirals & bars: α" + " long" * 40), Fact("DATE", "date", "2026-01-01T00:00:00"))
RA = [1.5, np.nan, 359.99999999999994, -0.0, 1e-300, 0.1, 2.0, 3.0]


def rows() -> dict[str, Any]:
    """All rows of the table."""
    n = len(NAMES)
    return {
        "name": texts(NAMES),
        "ra": np.array(RA),
        "n_votes": np.arange(n) - 1,
        "stamp_id": np.arange(n) + 2**53 + 1,
        "audit": np.arange(n) % 3 == 0,
    }


def sheet(name: str = "galaxies", batch: int = 3) -> Sheet:
    """The table in batches of three."""
    whole = rows()

    def batches() -> Iterator[Batch]:
        for start in range(0, len(NAMES), batch):
            yield {column: values[start : start + batch] for column, values in whole.items()}

    return Sheet(name, COLUMNS, len(NAMES), batches, FACTS)


def empty() -> Sheet:
    return Sheet("objects", COLUMNS, 0, lambda: iter(()), FACTS)


def same(table: Any, *, names: list[str] = NAMES) -> None:
    """A table of astropy's has every value, and every unit."""
    assert table.colnames == [column.name for column in COLUMNS]
    found = ["" if value is np.ma.masked else str(value) for value in table["name"]]
    assert found == names
    ra = np.ma.filled(table["ra"].data if hasattr(table["ra"], "data") else table["ra"], np.nan)
    np.testing.assert_array_equal(np.asarray(ra, dtype=float), RA)
    for name in ("n_votes", "stamp_id", "audit"):
        np.testing.assert_array_equal(np.asarray(table[name]), rows()[name])


def test_fits_in_one_file(tmp_path: Path) -> None:
    path = tmp_path / "x.fits"
    assert write_sheets(path, [sheet(), empty()]) == [path]
    with fits.open(path) as hdus:
        hdus.verify("exception")
        assert [hdu.name for hdu in hdus] == ["PRIMARY", "GALAXIES", "OBJECTS"]
        header = hdus[1].header
        assert hdus[0].header["CAMPAIGN"] == header["CAMPAIGN"] == FACTS[0].text.replace("α", r"\u03b1")
        assert header["TUCD2"] == "pos.eq.ra;meta.main" and header["TUNIT2"] == "deg" and header["TCOMM2"]
        assert len(hdus[2].data) == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = Table.read(path, hdu=1)
    same(table, names=[name.encode("ascii", "backslashreplace").decode() for name in NAMES])
    assert path.stat().st_size % 2880 == 0


def test_votable_is_strictly_valid(tmp_path: Path) -> None:
    path = tmp_path / "x.vot"
    assert write_sheets(path, [sheet(), empty()]) == [path, tmp_path / "x_objects.vot"]
    for one in (path, tmp_path / "x_objects.vot"):
        parse(one, verify="exception")
        assert validate(one, output=None)
    document = parse(path, verify="exception")
    infos = {info.name: info.value for info in document.infos}
    assert infos["campaign"] == FACTS[0].text
    field = document.get_first_table().get_field_by_id_or_name("ra")
    assert (field.ucd, field.unit.to_string(), field.ref) == ("pos.eq.ra;meta.main", "deg", "icrs")
    same(document.get_first_table().to_table(use_names_over_ids=True))


@pytest.mark.parametrize(("suffix", "kind"), [(".ecsv", "ascii.ecsv"), (".parquet", "parquet")])
def test_formats_that_astropy_knows_with_units(tmp_path: Path, suffix: str, kind: str) -> None:
    path = tmp_path / f"x{suffix}"
    write_sheets(path, [sheet(), empty()])
    table = Table.read(path, format=kind)
    same(table)
    assert table["ra"].unit == "deg" and table["ra"].description == "Right ascension"
    assert table["ra"].info.meta["ucd"] == "pos.eq.ra;meta.main"
    assert table.meta["campaign"] == FACTS[0].text
    assert len(Table.read(beside(path, "objects"), format=kind)) == 0


def test_parquet_says_what_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    write_sheets(path, [sheet()])
    table = parquet.read_table(path)
    assert table["name"].to_pylist() == NAMES and table["ra"].to_pylist()[1] is None
    assert table["ra"].null_count == 1 and table.schema.metadata[b"campaign"].decode() == FACTS[0].text
    assert table.schema.field("ra").metadata[b"unit"] == b"deg"


def test_csv(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    write_sheets(path, [sheet()])
    with path.open(newline="", encoding="utf-8") as stream:
        head, *lines = csv.reader(stream)
    assert head == [column.name for column in COLUMNS]
    assert [line[0] for line in lines] == NAMES
    assert [float(line[1] or "nan") for line in lines][2:] == RA[2:] and lines[1][1] == ""
    assert [int(line[3]) for line in lines] == rows()["stamp_id"].tolist()


@pytest.mark.parametrize("suffix", sorted(FORMATS))
def test_a_failure_leaves_what_was_there(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    write_sheets(path, [sheet()])
    before = path.read_bytes()

    def broken() -> Iterator[Batch]:
        yield rows()
        raise RuntimeError("half-way")

    with pytest.raises(RuntimeError):
        write_sheets(path, [Sheet("galaxies", COLUMNS, 99, broken, FACTS)])
    assert path.read_bytes() == before and [one.name for one in tmp_path.iterdir()] == [path.name]


def test_what_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"cannot be written to x\.txt"):
        check_out(tmp_path / "x.txt", force=True)
    (tmp_path / "y.fits").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        check_out(tmp_path / "y.fits", force=True)
    for taken in ("x.csv", "x_objects.csv"):
        (tmp_path / taken).write_text("mine")
        with pytest.raises(OutputError, match=f"{taken} is there already"):
            check_out(tmp_path / "x.csv", force=False)
        check_out(tmp_path / "x.csv", force=True)
        (tmp_path / taken).unlink()
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        check_out(tmp_path / "file" / "x.csv", force=False)


def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(formats, "write_together", full)
    with pytest.raises(OutputError, match="No space left"):
        write_sheets(tmp_path / "x.csv", [sheet()])


def test_classes_have_names_of_their_own() -> None:
    classes = ["Edge-on disc", "edge on disc", "α ring/arc", "é", "e", "?", "!", "x" * 100, "x" * 101, "e 2", "旋"]
    slugs = class_slugs(classes)
    assert list(slugs) == classes
    assert slugs["Edge-on disc"] == "edge_on_disc" and slugs["edge on disc"] == "edge_on_disc_2"
    assert slugs["α ring/arc"] == "alpha_ring_arc" and slugs["é"] == "e" and slugs["e"] == "e_2"
    assert slugs["e 2"] == "e_2_2" and slugs["?"] == "class" and slugs["!"] == "class_2"
    assert len(set(slugs.values())) == len(classes)
    assert all(slug.isascii() and slug.replace("_", "").isalnum() and len(slug) <= 44 for slug in slugs.values())


def test_text_that_no_format_holds() -> None:
    assert clean_text(" a\x00b\nc\ud800d") == "a?b?c?d" and clean_text(b"\xff") == "�" and clean_text(3) == "3"
