"""Votes find their stamps by name or position; what has none, and what had a nearer one, is counted."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lvm_training.errors import GalaxyLoopError, LabelError, StampError
from lvm_training.galaxy_zoo.matching import Match, Stamps, called, matched
from lvm_training.galaxy_zoo.votes import read_votes
from lvm_training.stamps.stampset import StampWriter
from tests.lvm_training.galaxy_zoo.tables import write

ARCSEC = 1 / 3600


def stamp_set(path: Path, count: int, **columns: object) -> Path:
    writer = StampWriter(path, (4, 4))
    writer.append(np.zeros((count, 3, 4, 4), np.float32), columns)  # type: ignore[arg-type]
    return writer.finish()


def match(folder: Path, stamps: dict[str, object], votes: dict[str, object], **options: object) -> Match:
    """Some stamps against some votes, `bar_yes` being the number of the row."""
    count = len(next(iter(stamps.values())))  # type: ignore[arg-type]
    (folder / "s.h5").unlink(missing_ok=True)
    known = Stamps.of(stamp_set(folder / "s.h5", count, **stamps))
    rows = len(next(iter(votes.values())))  # type: ignore[arg-type]
    table = write(folder / "votes.csv", {**votes, "bar_yes_fraction": [0.5] * rows})  # type: ignore[dict-item]
    return matched(known, read_votes(table), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("images/J001655.18-002739.1.jpg", "J001655.18-002739.1"),
        ("J001655.18-002739.1", "J001655.18-002739.1"),
        ("a\\b\\17.PNG", "17"),
        ("x/c_1.5_-2.5.fits.gz", "c_1.5_-2.5"),
        ("587722981736120347", "587722981736120347"),
    ],
)
def test_stems_of_names(name: str, expected: str) -> None:
    assert called(name) == expected


def test_files_are_called_by_any_name(tmp_path: Path) -> None:
    files = {"file": ["in/J2.5-1.jpg", "in/J1.5-1.jpg", "in/other.jpg"]}
    votes: dict[str, object] = {"objid": [7, 8, 9], "iauname": ["J1.5-1", "J2.5-1", "J9"]}
    found = match(tmp_path, files, votes)
    assert found.rows.tolist() == [1, 0, -1] and np.isnan(found.separation).all()
    assert found.notes == [
        "matched by name: file and iauname of votes.csv",
        "2 of 3 stamps have votes; 1 rows of votes.csv have no stamp",
    ]


def test_columns_of_the_same_name_match_and_others_do_not(tmp_path: Path) -> None:
    big = 587722981736120347
    found = match(tmp_path, {"dr7objid": np.array([big + 1, big])}, {"dr7objid": [big, big + 1, big + 2]})
    assert found.rows.tolist() == [1, 0]
    with pytest.raises(LabelError, match=r"No stamp of s .*is named in votes.csv.*--names"):
        match(tmp_path, {"specobjid": np.array([1, 2])}, {"objid": [1, 2]})


def test_ids_that_lost_digits_are_no_names(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="lost digits"):
        match(tmp_path, {"objid": np.array([587722981736120347])}, {"objid": ["5.8772298173612E17"]})


def test_a_column_can_be_named(tmp_path: Path) -> None:
    table = write(tmp_path / "votes.csv", {"galaxy": ["b", "a"], "bar_yes_fraction": [0.5, 0.5]})
    stamps = Stamps.of(stamp_set(tmp_path / "s.h5", 2, file=["a.png", "b.png"]))
    assert matched(stamps, read_votes(table, also=("galaxy",))).rows.tolist() == [1, 0]


def test_a_table_may_say_which_name_is_which(tmp_path: Path) -> None:
    mapping = write(tmp_path / "map.csv", {"objid": [11, 12, 13], "sample": ["original"] * 3, "asset_id": [1, 2, 3]})
    stamps: dict[str, object] = {"file": ["images/3.jpg", "images/1.jpg", "images/7.jpg"]}
    found = match(tmp_path, stamps, {"dr7objid": [11, 12, 13]}, names=mapping)
    assert found.rows.tolist() == [2, 0, -1]
    with pytest.raises(LabelError, match="says of no stamp"):
        match(tmp_path, stamps, {"dr7objid": [21, 22]}, names=mapping)


def test_of_rows_of_one_name_the_first_counts(tmp_path: Path) -> None:
    others = [f"c{row}" for row in range(20)]
    found = match(tmp_path, {"file": ["a.jpg", "b.jpg"]}, {"id_str": ["a", "b", "a", "", *others]})
    assert found.rows.tolist() == [0, 1]
    assert "id_str: 1 rows have the name of an earlier one, which counts" in found.notes


def test_positions_within_the_radius(tmp_path: Path) -> None:
    stamps: dict[str, object] = {"ra": [10.0, 20, 30, 359.9999, np.nan], "dec": [0.0, 60, -30, 0, 0]}
    votes: dict[str, object] = {
        # at 60 degrees a second of right ascension is half of one on the sky
        "ra": [30, 20 + 3 * ARCSEC, 10 + 3 * ARCSEC, 0.0001, "", 100],
        "dec": [-30 + 1 * ARCSEC, 60, 0, 0, 5, 5],
    }
    found = match(tmp_path, stamps, votes)
    assert found.rows.tolist() == [-1, 1, 0, 3, -1]
    np.testing.assert_allclose(found.separation[1:4], [1.5, 1, 0.72], atol=1e-3)
    assert "1 stamps of s have no position" in found.notes and "1 rows of votes.csv have no position" in found.notes
    assert "matched by position within 2 arcsec" in found.notes
    assert "3 of 5 stamps have votes; 3 rows of votes.csv have no stamp" in found.notes
    assert match(tmp_path, stamps, votes, radius=4.0).rows.tolist() == [2, 1, 0, 3, -1]


def test_the_nearest_wins_on_both_sides(tmp_path: Path) -> None:
    stamps: dict[str, object] = {"ra": [10.0, 10 + 1.5 * ARCSEC, 50], "dec": [0.0, 0, 0]}
    votes: dict[str, object] = {"ra": [10 + 0.4 * ARCSEC, 50 + 1 * ARCSEC, 50.0], "dec": [0, 0, 0]}
    found = match(tmp_path, stamps, votes)
    assert found.rows.tolist() == [0, -1, 2]
    assert "1 stamps are near a row that is nearer to another stamp, which has it" in found.notes
    assert "1 stamps have several rows within the radius: the nearest counts" in found.notes


def test_names_go_before_positions_unless_asked_otherwise(tmp_path: Path) -> None:
    stamps: dict[str, object] = {"file": ["a.jpg", "b.jpg"], "ra": [10.0, 20], "dec": [0.0, 0]}
    votes: dict[str, object] = {"id_str": ["b", "a"], "ra": [10, 20], "dec": [0, 0]}
    votes |= {"id_str": ["a", "b"], "ra": [10 + 5 * ARCSEC, 20]}
    assert match(tmp_path, stamps, votes).rows.tolist() == [0, 1]
    assert match(tmp_path, stamps, votes, by="position").rows.tolist() == [-1, 1]
    votes |= {"id_str": ["x", "y"], "ra": [10, 20]}
    assert match(tmp_path, stamps, votes).rows.tolist() == [0, 1]
    with pytest.raises(
        LabelError, match=r"No stamp of s \(file 'a'\) is named in votes.csv \(id_str 'x'\).*--by position"
    ):
        match(tmp_path, stamps, votes, by="name")


def test_names_of_other_galaxies_are_no_names(tmp_path: Path) -> None:
    stamps: dict[str, object] = {"objid": np.array([5, 6, 7]), "ra": [10.0, 20, 30], "dec": [0.0, 0, 0]}
    # objects of each field are counted from 0: the same numbers, and other galaxies
    votes: dict[str, object] = {"objid": [7, 6, 5, 9], "ra": [10, 20, 30, 40], "dec": [0, 0, 0, 0]}
    found = match(tmp_path, stamps, votes)
    assert found.rows.tolist() == [0, 1, 2] and found.notes[0] == "matched by position within 2 arcsec"
    votes["objid"] = [5, 6, 17, 9]
    votes["ra"] = [10 + 3 * ARCSEC, 20.1, 30, 40]
    found = match(tmp_path, stamps, votes)
    assert found.rows.tolist() == [0, -1, -1]
    np.testing.assert_allclose(found.separation, [3, np.nan, np.nan], atol=1e-3)
    assert "1 stamps lie more than 60 arcsec from the row of their name: not matched" in found.notes


def test_numbers_that_many_rows_share_are_no_names(tmp_path: Path) -> None:
    votes: dict[str, object] = {"objid": [1, 1, 1, 2, 2, 2]}
    with pytest.raises(LabelError, match="no column of names"):
        match(tmp_path, {"objid": np.array([1, 2])}, votes)


@pytest.mark.parametrize(
    ("votes", "said"),
    [
        ({"ra": [10.0, 10.2], "dec": [5.0, 6]}, "hours.*then 2 stamps fit"),
        ({"ra": [5.0, 6], "dec": [80, 81]}, "Give a larger --radius"),
        ({"ra": [5.0, 6], "dec": [20, 10]}, "changed places.*then 1 stamps fit"),
        ({"ra": [""], "dec": [""]}, "no position that is known"),
        ({"glon": [206.0], "glat": [20]}, "nearest is"),
    ],
)
def test_nothing_near_says_what_the_coordinates_may_be(tmp_path: Path, votes: dict[str, object], said: str) -> None:
    with pytest.raises(LabelError, match=said):
        match(tmp_path, {"ra": [150.0, 153.0, 20], "dec": [5.0, 6, 5]}, votes)


def test_galactic_coordinates_are_found_out(tmp_path: Path) -> None:
    # the galactic centre
    stamps: dict[str, object] = {"ra": [266.404988], "dec": [-28.936178]}
    with pytest.raises(LabelError, match="are galactic coordinates: call them glon and glat: then 1 stamps fit"):
        match(tmp_path, stamps, {"ra": [0.0], "dec": [0.0]})
    assert match(tmp_path, stamps, {"glon": [0.0], "glat": [0.0]}).rows.tolist() == [0]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"by": "colour"}, "cannot be matched by colour"),
        ({"radius": 0.0}, "radius of 0"),
        ({"radius": float("nan")}, "radius of nan"),
        ({"by": "position"}, "s has no positions"),
    ],
)
def test_options_that_cannot_be_are_refused(tmp_path: Path, options: dict[str, object], said: str) -> None:
    with pytest.raises(LabelError, match=said):
        match(tmp_path, {"file": ["a.jpg"]}, {"id_str": ["a"], "ra": [1], "dec": [1]}, **options)


def test_folders_are_stamps_too(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "in" / "17.png")
    stamps = Stamps.of(tmp_path / "in")
    assert (stamps.files, stamps.names, stamps.is_set, stamps.count) == (["17.png"], {"file": ["17"]}, False, 1)
    (tmp_path / "in" / "18.tif").touch()
    Image.new("RGB", (8, 8)).save(tmp_path / "in" / "17_mask.png")
    assert Stamps.of(tmp_path / "in").files == ["17.png"], "what is not read has no votes"
    (tmp_path / "none").mkdir()
    with pytest.raises(StampError, match="holds no JPEG"):
        Stamps.of(tmp_path / "none")
    with pytest.raises(GalaxyLoopError, match="no stamp set"):
        Stamps.of(tmp_path / "absent.h5")
