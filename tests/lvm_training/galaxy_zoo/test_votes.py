"""Vote tables are recognised by their columns; votes that are none are said."""

from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table as AstropyTable
from pyarrow import parquet
from pyarrow.csv import read_csv

from lvm_training.errors import LabelError
from lvm_training.galaxy_zoo.trees import TREES, vote_column
from lvm_training.galaxy_zoo.votes import Votes, read_votes
from tests.lvm_training.galaxy_zoo.tables import GALAXIES, fractions, galaxy_zoo_2, gz_decals, write


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "t01_smooth_or_features_a02_features_or_disk_debiased",
            ("smooth-or-featured", "featured-or-disk", "debiased"),
        ),
        ("T07_ROUNDED_A16_COMPLETELY_ROUND_WEIGHTED_FRACTION", ("how-rounded", "round", "weighted")),
        ("t11_arms_number_a36_more_than_4_count_fraction", ("spiral-arm-count", "more-than-4", "fraction")),
        ("t08_odd_feature_a38_dust_lane_weight_fraction", ("odd-feature", "dust-lane", "weighted")),
        ("Class9.3", ("edge-on-bulge", "none", "fraction")),
        ("Class11.6", ("spiral-arm-count", "cant-tell", "fraction")),
        ("smooth-or-featured_featured-or-disk_fraction", ("smooth-or-featured", "featured-or-disk", "fraction")),
        ("how-rounded-dr12_completely", ("how-rounded", "round", "count")),
        ("spiral-arm-count-dr5_more-than-4_debiased", ("spiral-arm-count", "more-than-4", "debiased")),
        ("bulge-shape-gz2_no-bulge", ("edge-on-bulge", "none", "count")),
        ("has-spiral-arms_total-votes", ("has-spiral-arms", "", "total")),
        ("merging_minor-disturbance", ("merging", "minor-disturbance", "count")),
    ],
)
def test_columns_say_what_they_hold(name: str, expected: tuple[str, str, str]) -> None:
    found = vote_column(name)
    assert found is not None and found[:3] == expected


@pytest.mark.parametrize(
    "name", ["ra", "objid", "smooth", "t01_smooth_or_features_a01_smooth_flag", "t99_x_a01_y_count", "Class12.1",
             "Class2.3", "petro_th50_total-votes", "bar_medium", "t02_edgeon_a04_yes_weight"]
)  # fmt: skip
def test_other_columns_hold_no_votes(name: str) -> None:
    assert vote_column(name) is None


def test_each_answer_leads_somewhere_or_ends() -> None:
    for tree in TREES.values():
        answers = {key for question in tree for key in question.keys}
        roots = [question for question in tree if not question.after]
        assert [question.name for question in roots] == ["smooth-or-featured"]
        assert {key for question in tree for key in question.after} <= answers
        assert len({question.name for question in tree}) == len(tree)


def same(votes: Votes) -> None:
    """Its fractions are those of the galaxies, NaN where nobody was asked."""
    for question in GALAXIES[0]:
        names = next(one for one in TREES[votes.tree] if one.name == question).keys
        for place, key in enumerate(names):
            expected = [fractions(row, question)[place] if sum(row[question]) else np.nan for row in GALAXIES]
            np.testing.assert_allclose(votes.fractions[key], expected, err_msg=key)


def test_galaxy_zoo_2(tmp_path: Path) -> None:
    votes = read_votes(galaxy_zoo_2(tmp_path / "gz2.csv"), asked=True)
    assert (votes.tree, votes.statistic, len(votes)) == ("Galaxy Zoo 2", "debiased", 7)
    same(votes)
    assert votes.asked["how-rounded"].tolist() == [8, 7, 6, 2, 1, 4, 0]
    assert votes.notes[0] == "votes of Galaxy Zoo 2: 4 of 11 questions, debiased fractions"
    assert votes.table.columns["dr7objid"].texts()[1] == "587722981736120348", "no digit is lost"
    assert (
        set(votes.table.columns) >= {"dr7objid"} and "t01_smooth_or_features_a01_smooth_flag" not in votes.table.columns
    )
    same(read_votes(tmp_path / "gz2.csv", statistic="count"))
    plain = {f"t02_edgeon_a04_yes_{kind}": [1] for kind in ("debiased", "count", "fraction")}
    path = write(tmp_path / "w.csv", plain | {"t02_edgeon_a04_yes_weighted_fraction": [""]})
    with pytest.raises(LabelError, match=r"no weighted fractions.*a04_yes_debiased"):
        read_votes(path, statistic="weighted")


@pytest.mark.parametrize("campaign", ["", "-dr5", "-dr8"])
def test_gz_decals(tmp_path: Path, campaign: str) -> None:
    votes = read_votes(gz_decals(tmp_path / "v.csv", campaign=campaign), asked=True)
    assert (votes.tree, votes.statistic) == ("GZ DECaLS", "fraction")
    same(votes)
    same(read_votes(tmp_path / "v.csv", statistic="count"))
    assert votes.asked["disk-edge-on"].tolist() == [2, 3, 4, 8, 9, 4, 0]


@pytest.mark.parametrize(("form", "suffix"), [("fits", "fits"), ("parquet", "parquet"), ("votable", "vot")])
def test_other_formats_hold_the_same_votes(tmp_path: Path, form: str, suffix: str) -> None:
    plain = AstropyTable.read(gz_decals(tmp_path / "v.csv"), format="ascii.csv")
    # FITS files of Galaxy Zoo 2 shout
    made = galaxy_zoo_2(tmp_path / "gz2.csv")
    table = AstropyTable.read(made, format="ascii.csv") if form == "fits" else plain
    for name in table.colnames if form == "fits" else []:
        table.rename_column(name, name.upper())
    if form == "parquet":
        parquet.write_table(read_csv(tmp_path / "v.csv"), tmp_path / "v.parquet")
    else:
        table.write(tmp_path / f"v.{suffix}", format=form)
    same(read_votes(tmp_path / f"v.{suffix}"))


def test_predicted_fractions_are_said(tmp_path: Path) -> None:
    votes = read_votes(gz_decals(tmp_path / "v.csv", predicted=True))
    same(votes)
    assert not votes.asked and any("may be predictions, as those of GZ DESI" in note for note in votes.notes)


def test_of_several_campaigns_the_one_with_most_votes_is_read(tmp_path: Path) -> None:
    columns = {
        "iauname": ["a", "b", "c"],
        "smooth-or-featured-dr12_smooth_fraction": [0.1, "", ""],
        "smooth-or-featured-dr5_smooth_fraction": ["", 0.2, 0.3],
    }
    votes = read_votes(write(tmp_path / "v.csv", columns))
    np.testing.assert_array_equal(votes.fractions["smooth-or-featured_smooth"], [np.nan, 0.2, 0.3])
    assert "votes of dr5 are read, not those of dr12" in votes.notes


def test_kaggle_fractions_become_those_of_who_was_asked(tmp_path: Path) -> None:
    columns = {
        "GalaxyID": [100143, 100134],
        **{f"Class1.{i + 1}": values for i, values in enumerate([[0.25, 0], [0.75, 1], [0, 0]])},
        **{f"Class2.{i + 1}": values for i, values in enumerate([[0.75, 0.5], [0, 0.5]])},
        **{f"Class4.{i + 1}": values for i, values in enumerate([[0, 0.375], [0, 0.125]])},
    }
    votes = read_votes(write(tmp_path / "v.csv", columns))
    assert votes.tree == "Galaxy Zoo 2"
    assert votes.fractions["disk-edge-on_yes"].tolist() == [1, 0.5]
    np.testing.assert_array_equal(votes.fractions["has-spiral-arms_yes"], [np.nan, 0.75])
    assert any("Kaggle" in note for note in votes.notes)


def test_of_two_answers_one_tells_the_other(tmp_path: Path) -> None:
    columns = {"disk-edge-on_no_fraction": [0.25, ""], "smooth-or-featured_smooth_fraction": [0.5, 0.5]}
    votes = read_votes(write(tmp_path / "v.csv", columns))
    np.testing.assert_array_equal(votes.fraction("disk-edge-on_yes"), [0.75, np.nan])  # type: ignore[arg-type]
    assert votes.fraction("smooth-or-featured_artifact") is None and votes.fraction("merging_none") is None


def test_fractions_that_cannot_be_are_missing_and_counted(tmp_path: Path) -> None:
    columns = {
        "how-rounded_round_fraction": [0.5, 1.7, -0.2, 1.0005, 0.9],
        "how-rounded_in-between_fraction": [0.5, 0.1, 0.2, 0, 0.9],
        "how-rounded_cigar-shaped_fraction": [0, 0.1, 0.2, 0, 0.2],
    }
    votes = read_votes(write(tmp_path / "v.csv", columns))
    np.testing.assert_array_equal(votes.fractions["how-rounded_round"], [0.5, np.nan, np.nan, 1, 0.9])
    assert "how-rounded: 2 fractions outside 0 to 1 are taken as missing" in votes.notes
    assert "how-rounded: of 1 galaxies the fractions sum to 2.00 to 2.00; they are used as they are" in votes.notes


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"disk-edge-on_yes_fraction": [20, 70], "disk-edge-on_no_fraction": [80, 30]}, "look like percentages"),
        ({"disk-edge-on_yes_fraction": ["many", "few"]}, r"line 2 are 'many', no number"),
        ({"ra": [1, 2], "dec": [1, 2]}, r"no votes of Galaxy Zoo; its columns are ra, dec"),
        ({"587722981736120347": [587722981736120348], "0.5": [0.2], "0.1": [0.4]}, "has no header"),
        ({"how-rounded_round": [3, 4], "how-rounded_in-between": [1, 2]}, "counts of only 2 of 3 answers"),
    ],
)
def test_tables_that_cannot_be_read_are_refused(tmp_path: Path, columns: dict[str, list[object]], said: str) -> None:
    with pytest.raises(LabelError, match=said):
        read_votes(write(tmp_path / "v.csv", columns))


def test_nobody_counted_is_nobody_asked(tmp_path: Path) -> None:
    votes = read_votes(write(tmp_path / "v.csv", {"bar_yes": [3, 0], "bar_no": [1, 0], "disk-edge-on_no": [1, 1],
                             "disk-edge-on_total-votes": [4, 2]}))  # fmt: skip
    np.testing.assert_array_equal(votes.fractions["bar_yes"], [0.75, np.nan])
    np.testing.assert_array_equal(votes.fractions["disk-edge-on_no"], [0.25, 0.5])
