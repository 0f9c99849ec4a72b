"""Positions of catalogues as people have them."""

from pathlib import Path

import numpy as np
import pytest

from lvm_training.errors import LabelError
from lvm_training.surveys.description import find_survey
from lvm_training.surveys.targets import Targets, read_targets

SURVEY = find_survey("legacy-surveys")


def read(tmp_path: Path, text: str, survey: str = "legacy-surveys") -> Targets:
    """The positions of a table."""
    path = tmp_path / "table.csv"
    path.write_text(text)
    return read_targets(path, find_survey(survey))


def test_lens_tables_of_positions_alone(tmp_path: Path) -> None:
    found = read(tmp_path, "ra\tdec\tz_spec\tgrade\n79.97972\t-31.81833\t-99.0\tA\n248.46944\t24.583313\t0.19\tB\n")
    assert found.names == ["79.979720-31.818330", "248.469440+24.583313"]
    assert found.ra.tolist() == [79.97972, 248.46944] and found.dec.tolist() == [-31.81833, 24.583313]
    assert found.columns["grade"].tolist() == ["A", "B"] and set(found.columns) == {
        "file",
        "ra",
        "dec",
        "z_spec",
        "grade",
    }
    assert any("called by their position" in note for note in found.notes)


def test_the_lens_tables_of_stein_et_al(real_data: Path) -> None:
    # one of the 1,192 was found in the north and in the south
    for name, count in (("stein2021_new_lenses.tsv", 1191), ("stein2021_training_lenses.tsv", 1615)):
        found = read_targets(real_data / "catalogues" / name, SURVEY)
        assert len(found) == len(set(found.names)) == count and np.isfinite(found.ra).all() and not found.left


def test_neighbours_closer_than_a_pixel_stay_apart(tmp_path: Path) -> None:
    found = read(tmp_path, "ra,dec\n178.000874,33.228471\n178.000869,33.228468\n")
    assert len(found) == 2


def test_the_column_that_names_a_stamp(tmp_path: Path) -> None:
    for header, expected in (
        ("file,id", "a b"),
        ("ID,other", "a b"),
        ("other,Name", "7"),
        ("x,y", "1.000000+2.000000"),
    ):
        found = read(tmp_path, f"{header},ra,dec\na  b,7,1,2\n")
        assert found.names == [expected], header
    assert read(tmp_path, "id,ra,dec\n,1,2\n5,3,4\n").names == ["1.000000+2.000000", "5"]


def test_ids_that_went_through_floats_name_no_stamp(tmp_path: Path) -> None:
    found = read(tmp_path, "id,ra,dec\n1.2379E+18,1,2\n1.2379E+18,3,4\n")
    assert found.names == ["1.000000+2.000000", "3.000000+4.000000"]
    assert any("id: numbers such as 1.2379E+18 are floats" in note for note in found.notes)


def test_sexagesimal_positions(tmp_path: Path) -> None:
    found = read(tmp_path, "name,RA,DEC\na,10:00:01.5,-00:12:01\n")
    assert found.ra[0] == pytest.approx(150.00625) and found.dec[0] == pytest.approx(-0.2002778)


def test_rows_without_position_are_left_out(tmp_path: Path) -> None:
    found = read(tmp_path, "name,ra,dec\na,1,2\nb,,3\nc,nan,4\nd,5,-99\n,,\ne,-99,-99\n")
    assert found.names == ["a"]
    assert [(left.file, left.kind) for left in found.left] == [(name, "no position") for name in "bcde"]
    nameless = read(tmp_path, "ra,dec,z\n,,1\n1,2,3\n,5,4\n")
    assert [left.file for left in nameless.left] == ["line 2", "line 4"]


def test_positions_that_are_nowhere(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="'ra' in line 3 is 400 degrees, nowhere on the sky"):
        read(tmp_path, "name,ra,dec\na,1,2\nb,400,3\n")
    with pytest.raises(LabelError, match="'dec' in line 2 is 150 degrees") as caught:
        read(tmp_path, "name,ra,dec\na,2,150\n")
    assert "changed places" in caught.value.hint


def test_hours_for_degrees_are_suspected_and_said(tmp_path: Path) -> None:
    hours = read(tmp_path, "name,ra,dec\na,10.0,2\nb,23.5,3\nc,1.5,4\n")
    assert any("all 3 lie between 0 and 24" in note and "hours" in note for note in hours.notes)
    assert not any("hours" in note for note in read(tmp_path, "name,ra,dec\na,10.0,2\nb,123.5,3\n").notes)


def test_galactic_coordinates_are_converted_and_that_is_said(tmp_path: Path) -> None:
    for pair in ("l,b", "GLON,GLAT"):
        found = read(tmp_path, f"name,{pair}\na,0,90\n")
        # the north galactic pole
        assert found.ra[0] == pytest.approx(192.859, abs=1e-3) and found.dec[0] == pytest.approx(27.128, abs=1e-3)
        assert any("are galactic coordinates: converted" in note for note in found.notes)
    with pytest.raises(LabelError, match="has no positions") as caught:
        read(tmp_path, "name,l,b\na,0,91\n")
    assert "nowhere on the sky" in caught.value.hint


def test_a_table_without_positions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="has no positions: it needs columns ra and dec, and has name, x"):
        read(tmp_path, "name,x\na,1\n")
    with pytest.raises(LabelError, match="has no positions"):
        read(tmp_path, "name,ra\na,1\n")


def test_twins_are_one_and_two_positions_of_a_name_an_error(tmp_path: Path) -> None:
    found = read(tmp_path, "name,ra,dec\na,1,2\nb,3,4\na,1,2\n")
    assert found.names == ["a", "b"] and "1 rows ask for the stamp of an earlier one" in found.notes
    with pytest.raises(LabelError, match="gives 'a' two positions, in lines 2 and 4"):
        read(tmp_path, "name,ra,dec\na,1,2\nb,3,4\na,1,2.1\n")
    with pytest.raises(LabelError, match="gives 'a' two positions"):
        read(tmp_path, "name,ra,dec\na,1,2\na,,\nb,1,1\n")


def test_columns_that_a_set_needs(tmp_path: Path) -> None:
    for name in ("images", "covered", "bands"):
        with pytest.raises(LabelError, match=f"has a column '{name}'"):
            read(tmp_path, f"ra,dec,{name}\n1,2,3\n")


def test_positions_beyond_the_survey_are_not_asked_for(tmp_path: Path) -> None:
    found = read(tmp_path, "name,ra,dec\na,1,2\nb,3,-45\n", "ps1")
    assert found.names == ["a"] and [left.kind for left in found.left] == ["outside"]
    assert found.left[0].reason == "declination -45.000: ps1 has -31 to 90 degrees"


def test_the_digest_says_what_is_missing_too(tmp_path: Path) -> None:
    from lvm_training.tables.cells import Missing

    path = tmp_path / "table.csv"
    path.write_text("name,ra,dec,z\na,1,2,-9\n")
    plain = read_targets(path, SURVEY).digest
    assert read_targets(path, SURVEY, Missing.declared("-9")).digest != plain == read_targets(path, SURVEY).digest
