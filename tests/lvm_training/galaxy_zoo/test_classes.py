"""Classes by published cuts, and how many each cut leaves out."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lvm_training.errors import LabelError
from lvm_training.galaxy_zoo.classes import SCHEMES, classified, find_scheme
from lvm_training.galaxy_zoo.trees import TREES
from lvm_training.galaxy_zoo.votes import Votes, read_votes
from lvm_training.tables.reading import Table
from tests.lvm_training.galaxy_zoo.tables import GALAXIES, MORPHOLOGY5, galaxy_zoo_2, gz_decals, write


def test_the_five_classes_of_both_surveys(tmp_path: Path) -> None:
    for path in (galaxy_zoo_2(tmp_path / "gz2.csv"), gz_decals(tmp_path / "gzd.csv")):
        found = classified(read_votes(path), SCHEMES["morphology5"])
        assert found.names == MORPHOLOGY5
        assert list(found.counts.values()) == [1, 1, 1, 1, 1]
        assert "2 of 7 galaxies are in no class" in found.notes
        assert (
            "spiral: 1 galaxies; smooth-or-featured_featured-or-disk >= 0.43 leaves out 5, "
            "disk-edge-on_no >= 0.715 leaves out 1, has-spiral-arms_yes >= 0.619 leaves out 0"
        ) in found.notes


def test_a_galaxy_on_a_cut_passes_it(tmp_path: Path) -> None:
    columns = {
        "smooth-or-featured_smooth_fraction": [0.469, 0.468],
        "how-rounded_round_fraction": [0.5, 0.5],
        "how-rounded_in-between_fraction": [0.5, 0.5],
    }
    found = classified(read_votes(write(tmp_path / "v.csv", columns)), SCHEMES["morphology5"])
    assert found.names == ["round smooth", ""]
    assert "1 galaxies pass the cuts of several classes and get the first" in found.notes
    assert any(
        note.startswith("cigar-shaped smooth: cannot be told, the table has no how-rounded_cigar")
        for note in found.notes
    )


# rows 100143, 100134 and 100008 of the Kaggle challenge's published solutions
KAGGLE = {
    "GalaxyID": [100143, 100134, 100008],
    "Class1.1": [0.269843, 0.021834, 0.383147],
    "Class1.2": [0.730157, 0.976952, 0.616853],
    "Class1.3": [0, 0.001214, 0],
    "Class2.1": [0.730157, 0.021750859, 0],
    "Class2.2": [0, 0.955201141, 0.616853],
    "Class4.1": [0, 0.546490632, 0.418397819],
    "Class4.2": [0, 0.408710509, 0.198455181],
    "Class7.1": [0, 0.010917, 0.201462524],
    "Class7.2": [0, 0.010917, 0.181684476],
    "Class7.3": [0.269843, 0, 0],
}


def test_galaxies_of_kaggle_have_the_classes_of_the_published_recipe(tmp_path: Path) -> None:
    found = classified(read_votes(write(tmp_path / "v.csv", KAGGLE)), SCHEMES["morphology5"])
    assert found.names == ["edge-on disc", "", "spiral"]


def test_those_that_are_among_the_real_pictures_agree(tmp_path: Path, real_data: Path) -> None:
    names = {"edge-on disc": "edge_on", "": "", "spiral": "spiral"}
    found = classified(read_votes(write(tmp_path / "v.csv", KAGGLE)), SCHEMES["morphology5"]).names
    published = {}
    for folder in ("gz2-sdss", "gz2-sdss-more"):
        for line in (real_data / folder / "labels.csv").read_text().splitlines()[1:]:
            file, *_, label = line.split(",")
            published[Path(file).stem] = label
    both = [
        (names[one], published[str(name)])
        for one, name in zip(found, KAGGLE["GalaxyID"], strict=True)
        if str(name) in published
    ]
    assert len(both) == 2 and all(one == other for one, other in both)


def test_votes_must_be_enough_where_the_cuts_say_so(tmp_path: Path) -> None:
    scheme = SCHEMES["galaxy-mnist"]
    votes = read_votes(gz_decals(tmp_path / "v.csv"), asked=True)
    assert set(classified(votes, scheme).names) == {""}
    few = classified(votes, scheme.changed([], 5))
    assert few.names == ["smooth_round", "", "smooth_cigar", "edge_on_disk", "", "", ""]
    bars = [{**row, "bar": (0, 2, 6)} for row in GALAXIES]
    path = gz_decals(
        tmp_path / "bars.csv", bars, **{f"bar_{n}": [v] * 7 for n, v in (("strong", 0), ("weak", 2), ("no", 6))}
    )
    assert classified(read_votes(path, asked=True), scheme.changed([], 1)).names[4] == "unbarred_spiral"
    predicted = classified(read_votes(gz_decals(tmp_path / "p.csv", predicted=True)), scheme)
    assert predicted.names[0] == "smooth_round" and any("is not told" in note for note in predicted.notes)


def test_leaves_follow_the_most_common_answer(tmp_path: Path) -> None:
    bars = {"bar_strong": [6] * 7, "bar_weak": [1] * 7, "bar_no": [1] * 7}
    found = classified(read_votes(gz_decals(tmp_path / "v.csv", **bars)), SCHEMES["leaves7"])
    # of the sixth only four in ten came to the second question
    assert found.names == ["round", "in-between", "cigar", "edge-on", "barred spiral", "", ""]


def test_cuts_can_be_changed_and_added(tmp_path: Path) -> None:
    votes = read_votes(gz_decals(tmp_path / "v.csv", **{"merging_none_fraction": [0.4] * 7}))
    scheme = SCHEMES["morphology5"].changed(["smooth-or-featured_smooth=0.75", "spiral:merging_none=0.5"])
    found = classified(votes, scheme)
    assert found.names == ["round smooth", "", "", "edge-on disc", "", "", ""]
    assert any("merging_none >= 0.5 leaves out 1" in note for note in found.notes)
    only = SCHEMES["morphology5"].changed(["round smooth:smooth-or-featured_smooth=0.85"])
    assert classified(votes, only).names == ["", *MORPHOLOGY5[1:]]


@pytest.mark.parametrize(
    ("cut", "said"),
    [
        ("smooth-or-featured_smooth", "is no cut"),
        ("smooth-or-featured_smooth=2", "is no cut"),
        ("smooth=0.5", "is no cut"),
        ("ring:merging_none=0.5", "no class 'ring'"),
        ("merging_none=0.5", r"No class has a cut on merging_none.*round smooth:merging_none=0.5"),
    ],
)
def test_cuts_that_cannot_be_are_refused(cut: str, said: str) -> None:
    with pytest.raises(LabelError, match=said):
        SCHEMES["morphology5"].changed([cut])


def test_unknown_classes_and_tables_without_questions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match=r"no classes 'hubble'.*morphology5"):
        find_scheme("hubble")
    votes = read_votes(write(tmp_path / "v.csv", {"bar_yes_fraction": [0.5]}))
    with pytest.raises(LabelError, match="too few questions for morphology5: round smooth: cannot be told"):
        classified(votes, SCHEMES["morphology5"])


fraction = st.one_of(st.just(np.nan), st.floats(0, 1))
KEYS = [
    "smooth-or-featured_smooth",
    "smooth-or-featured_featured-or-disk",
    *(f"how-rounded_{shape}" for shape in ("round", "in-between", "cigar-shaped")),
    "disk-edge-on_yes",
    "disk-edge-on_no",
    "has-spiral-arms_yes",
]


def naive(smooth: float, featured: float, rounded: list[float], edge: float, face: float, spiral: float) -> str:
    """The recipe as it is written down; comparisons with NaN are false."""
    if smooth >= 0.469:
        for name, value in zip(MORPHOLOGY5, rounded, strict=False):
            if value >= 0.5:
                return name
    if featured >= 0.43:
        if edge >= 0.602:
            return "edge-on disc"
        if face >= 0.715 and spiral >= 0.619:
            return "spiral"
    return ""


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(*[fraction] * len(KEYS)), min_size=1, max_size=5))
def test_the_cuts_are_the_recipe(rows: list[tuple[float, ...]]) -> None:
    fractions = {key: np.array(values) for key, values in zip(KEYS, zip(*rows, strict=True), strict=True)}
    table = Table("v", {}, list(range(len(rows))), "", (), "")
    votes = Votes(table, "Galaxy Zoo 2", TREES["Galaxy Zoo 2"], "debiased", fractions, {}, {}, ())
    expected = [naive(row[0], row[1], list(row[2:5]), *row[5:]) for row in rows]
    assert classified(votes, SCHEMES["morphology5"]).names == expected
