"""Names that people and disks give, through every format: each row is there, with its text."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table

from backend_ml.catalogue.formats import write_sheets
from backend_ml.catalogue.tables.columns import Column, Fact, Sheet, clean_text, text_width, texts
from lvm_training.tables.reading import read_table

ODD = [
    "", "plain", "#1", "a,b", "a;b", 'say "x"', "it's", "\\", "\\N", "nan", "None", "N/A", "1e5", "--", "-", "0",
    "True", "é", "α", "银河", "🌌", "<b>&amp;", "]]>", "<!--", "\ufeffx", "a\u200bb", "a\u00a0b", "&", "ends with &",
    "'quoted'", "x" * 300, "sep\u2028arated", "par\u2029agraph", "next\x85line", "tab\tx", "new\nline", "back\rx",
    "\x00", "\x0b", "\x0c", "\x1c", "\ufffe", "\ud800", "\u202eright to left",
]  # fmt: skip


def as_votable(path: Path) -> Table:
    return Table.read(path, format="votable", use_names_over_ids=True)


READ: dict[str, Callable[[Path], Table]] = {
    ".fits": lambda path: Table.read(path, hdu=1),
    ".vot": as_votable,
    ".ecsv": lambda path: Table.read(path, format="ascii.ecsv"),
    ".parquet": lambda path: Table.read(path, format="parquet"),
}


def written(path: Path, values: list[str], *, batch: int = 7) -> None:
    """A table of texts and their places."""
    columns = [Column("place", "int", "Which"), Column("name", "text", "The text", width=text_width(values))]
    places = np.arange(len(values))
    sheet = Sheet(
        "galaxies",
        columns,
        len(values),
        lambda: (
            {"place": places[start : start + batch], "name": texts(values[start : start + batch])}
            for start in range(0, len(values), batch)
        ),
        [Fact(f"FACT{number}", f"fact_{number}", value) for number, value in enumerate(values)],
    )
    write_sheets(path, [sheet])


def written_first(path: Path, values: list[str]) -> None:
    """A table whose lines begin with these texts."""
    columns = [Column("name", "text", "The text", width=text_width(values)), Column("size", "float", "A number")]
    cells = {"name": texts(values), "size": np.arange(len(values)) + 0.5}
    write_sheets(path, [Sheet("galaxies", columns, len(values), lambda: iter([cells]), [])])


def in_fits(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode()


@pytest.mark.parametrize("suffix", READ)
def test_every_text_is_read_back_in_its_row(tmp_path: Path, suffix: str) -> None:
    values = [clean_text(value) for value in ODD]
    written(tmp_path / f"x{suffix}", values)
    found = READ[suffix](tmp_path / f"x{suffix}")
    said = ["" if value is np.ma.masked else str(value) for value in found["name"]]
    assert said == [in_fits(value) if suffix == ".fits" else value for value in values]
    assert list(found["place"]) == list(range(len(values)))


@pytest.mark.parametrize("suffix", READ)
def test_every_text_may_begin_its_line(tmp_path: Path, suffix: str) -> None:
    """Lines that begin with # are comments to readers of text."""
    values = [clean_text(value) for value in (*ODD, "# 1", "#", '#"a", b')]
    written_first(tmp_path / f"x{suffix}", values)
    found = READ[suffix](tmp_path / f"x{suffix}")
    said = ["" if value is np.ma.masked else str(value) for value in found["name"]]
    assert said == [in_fits(value) if suffix == ".fits" else value for value in values]
    assert list(found["size"]) == [place + 0.5 for place in range(len(values))]


def test_a_csv_is_read_whole_where_lines_may_be_comments(tmp_path: Path) -> None:
    values = [clean_text(value) for value in ODD if clean_text(value)]
    written_first(tmp_path / "x.csv", values)
    found = Table.read(tmp_path / "x.csv", format="ascii.csv", comment=r"\s*#", fill_values=[])
    assert [str(value) for value in found["name"]] == values
    assert len(read_table(tmp_path / "x.csv")) == len(values)


@pytest.mark.parametrize("suffix", [".fits", ".ecsv", ".parquet"])
def test_headers_hold_every_text(tmp_path: Path, suffix: str) -> None:
    """A campaign may be called so."""
    values = [clean_text(value) for value in ODD]
    written(tmp_path / f"x{suffix}", values)
    said = {name.lower(): value for name, value in READ[suffix](tmp_path / f"x{suffix}").meta.items()}
    name = "fact{}" if suffix == ".fits" else "fact_{}"
    told = [said[name.format(number)] for number in range(len(values))]
    assert told == [in_fits(value) if suffix == ".fits" else value for value in values]


def test_a_table_of_lines_has_a_line_for_each_row(tmp_path: Path) -> None:
    """Programs that split a CSV into lines know more ends of lines than this one."""
    values = [clean_text(value) for value in ODD]
    written(tmp_path / "x.csv", values)
    text = (tmp_path / "x.csv").read_text(encoding="utf-8")
    assert len(text.splitlines()) == 1 + len(values) == text.count("\n")
    with (tmp_path / "x.csv").open(newline="", encoding="utf-8") as stream:
        assert [row["name"] for row in csv.DictReader(stream)] == values


def test_what_is_clean_stays_so_and_means_the_same() -> None:
    for value in ODD:
        once = clean_text(value)
        assert clean_text(once) == once and len(once) <= len(value)
        assert value.isprintable() is False or once == value.strip()
