"""Simulated volunteers go down the trees; what is counted of them is what a naive count of each galaxy finds."""

from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from numpy.typing import NDArray

from lvm_training.errors import LabelError
from lvm_training.galaxy_zoo.classes import SCHEMES, Scheme, classified
from lvm_training.galaxy_zoo.matching import Stamps, matched
from lvm_training.galaxy_zoo.trees import TREES
from lvm_training.galaxy_zoo.vote_table import VoteTable, read_vote_table
from lvm_training.galaxy_zoo.vote_tree import VoteError, VoteTree
from lvm_training.galaxy_zoo.votes import Votes, read_votes
from tests.lvm_training.galaxy_zoo.tables import write
from tests.lvm_training.galaxy_zoo.voting import cast_votes, drawn
from tests.lvm_training.parameters.skies import noise, write_set

Floats = NDArray[np.float64]
every_tree = pytest.mark.parametrize("name", TREES)


def voted(tree: VoteTree, galaxies: int = 80, people: int = 30, seed: int = 0) -> Floats:
    """Counts (N, A); the last galaxy was shown to nobody."""
    fractions = drawn(tree, np.full((galaxies, len(tree.keys)), 0.5), seed)
    voters = np.full(galaxies, people)
    voters[-1] = 0
    return cast_votes(tree, fractions, voters, seed)


def table_of(path: Path, tree: VoteTree, counts: Floats, **more: object) -> Path:
    stamps = [("sky", row) for row in range(len(counts))]
    table = VoteTable(tree, stamps, counts)
    columns = dict(zip(table.columns, zip(*table.rows(), strict=True), strict=True))
    return write(path, {**more, **columns})  # type: ignore[dict-item]


@every_tree
def test_who_comes_to_a_question_is_the_share_of_those_who_answered_the_first(name: str) -> None:
    tree = VoteTree(TREES[name])
    counts = voted(tree)[:-1]
    # all in one answer: nobody is asked what the others lead to
    counts[0] = 0
    counts[0, tree.keys.index("smooth-or-featured_artifact")] = 30
    found = tree.reached(tree.fractions(counts))
    wanted = np.zeros(found.shape)
    for place, question in enumerate(tree.questions):
        for row in range(len(counts)):
            led = sum(counts[row, tree.keys.index(key)] for key in question.after)
            wanted[row, place] = led / 30 if question.after else 1
    np.testing.assert_allclose(found, wanted, atol=1e-12)


@every_tree
def test_votes_of_single_people_add_up_to_what_the_tree_counts(name: str) -> None:
    tree, rng = VoteTree(TREES[name]), np.random.default_rng(5)
    total = np.zeros(len(tree.keys))
    for _ in range(40):
        given = dict[str, str]()
        for question in tree.questions:
            if not question.after or {f"{one}_{answer}" for one, answer in given.items()} & set(question.after):
                given[question.name] = str(rng.choice(question.answers))
        vote = tree.vote(given)
        tree.check(vote[None])
        assert vote.sum() == len(given) and tree.path(given) == tree.likely(vote)[: len(given)]
        total += vote
    tree.check(total[None])
    assert tree.asked(total[None])[0, 0] == 40


@every_tree
def test_a_question_answered_by_more_people_than_came_is_found_in_its_row(name: str) -> None:
    tree, counts = VoteTree(TREES[name]), voted(VoteTree(TREES[name]))
    tree.check(counts)
    for question, columns in zip(tree.questions[1:], tree.slices[1:], strict=True):
        many = counts.copy()
        many[7, columns.start] += 31
        with pytest.raises(VoteError, match=f"more votes on {question.name} than people who came to it; in row 7"):
            tree.check(many)


@every_tree
def test_another_order_of_questions_counts_the_same(name: str) -> None:
    tree = VoteTree(TREES[name])
    order = np.random.default_rng(1).permutation(len(tree.questions))
    other = VoteTree([tree.questions[place] for place in order])
    places = [tree.keys.index(key) for key in other.keys]
    counts = voted(tree)[:-1]
    there = [[one.name for one in tree.questions].index(question.name) for question in other.questions]
    np.testing.assert_array_equal(other.asked(counts[:, places]), tree.asked(counts)[:, there])
    np.testing.assert_array_equal(other.fractions(counts[:, places]), tree.fractions(counts)[:, places])
    np.testing.assert_allclose(
        np.nan_to_num(other.reached(other.fractions(counts[:, places]))),
        np.nan_to_num(tree.reached(tree.fractions(counts)))[:, there],
    )


@every_tree
def test_votes_that_are_written_as_a_table_are_read_again(tmp_path: Path, name: str) -> None:
    tree = VoteTree(TREES[name])
    counts = voted(tree, 12)
    order = np.random.default_rng(2).permutation(12)
    stamps = write_set(tmp_path / "sky.h5", [noise(0)] * 12, {"objid": list(range(100, 112))})
    path = table_of(tmp_path / "votes.csv", tree, counts[order], objid=(100 + order).tolist())
    found = read_vote_table(path, stamps, tree)
    # who was asked nothing has no votes
    assert list(found.stamps) == [("sky", row) for row in range(11)]
    np.testing.assert_array_equal(found.counts, counts[:11])
    assert found.first == [tree.root.answers[int(np.argmax(row[tree.slices[0]]))] for row in counts[:11]]


def naive_class(votes: Votes, scheme: Scheme, row: int) -> str:
    """One galaxy, one rule and one cut after the other."""

    def share(key: str) -> float:
        if key == "bar_yes" and key not in votes.fractions:
            return float(votes.fractions["bar_strong"][row] + votes.fractions["bar_weak"][row])
        return float(votes.fractions[key][row])

    for rule in scheme.rules:
        reached, passed = 1.0, True
        for cut in rule.cuts:
            question = next(one for one in TREES[votes.tree] if one.name == cut.question)
            others = ["bar_yes", "bar_no"] if cut.question == "bar" else list(question.keys)
            value = share(cut.key)
            passed &= value >= cut.least and votes.asked[cut.question][row] >= scheme.least_votes
            if scheme.reached:
                first = max(others, key=lambda key: (share(key), -others.index(key)))
                passed &= reached >= scheme.reached and first == cut.key
                reached *= value
        if passed:
            return rule.name
    return ""


@pytest.mark.parametrize("tree", ["GZ DECaLS", "Galaxy Zoo 2"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_classes_are_those_of_a_naive_look_at_each_galaxy(tmp_path: Path, tree: str, scheme: str) -> None:
    found = VoteTree(TREES[tree])
    counts = voted(found, 300, people=40, seed=3)
    votes = read_votes(table_of(tmp_path / "votes.csv", found, counts), asked=True)
    assert votes.tree == tree
    classes = classified(votes, SCHEMES[scheme])
    wanted = [naive_class(votes, SCHEMES[scheme], row) for row in range(300)]
    assert classes.names == wanted and len(set(wanted)) > 3
    assert classes.counts == {rule.name: wanted.count(rule.name) for rule in SCHEMES[scheme].rules}


@pytest.mark.parametrize("place", ["wrap", "pole", "field"])
def test_positions_match_as_astropy_matches_them(tmp_path: Path, place: str) -> None:
    rng = np.random.default_rng(6)
    ra, dec = {"wrap": (0.0, 5.0), "pole": (120.0, 89.99), "field": (150.0, -30.0)}[place]
    centre = SkyCoord(ra * u.deg, dec * u.deg)
    theirs = centre.directional_offset_by(rng.uniform(0, 360, 200) * u.deg, rng.uniform(0, 60, 200) * u.arcsec)
    ours = theirs[:90].directional_offset_by(rng.uniform(0, 360, 90) * u.deg, rng.uniform(0, 3, 90) * u.arcsec)
    tree = VoteTree(TREES["GZ DECaLS"])
    more = {"ra": theirs.ra.deg.tolist(), "dec": theirs.dec.deg.tolist()}
    votes = read_votes(table_of(tmp_path / "votes.csv", tree, voted(tree, 200), **more))
    stamps = Stamps("sky", {}, None, True, 90, ours.ra.deg, ours.dec.deg)
    found = matched(stamps, votes, by="position", radius=2.0)
    nearest, apart, _ = ours.match_to_catalog_sky(theirs)
    for row in range(90):
        rivals = [other for other in range(90) if nearest[other] == nearest[row]]
        wins = apart[row].arcsec <= 2 and row == min(rivals, key=lambda other: apart[other])
        assert found.rows[row] == (nearest[row] if wins else -1)
        if wins:
            assert found.separation[row] == pytest.approx(apart[row].arcsec, abs=1e-5)


def test_stamps_without_any_position_near_are_told_how_far_it_is(tmp_path: Path) -> None:
    tree = VoteTree(TREES["GZ DECaLS"])
    path = table_of(tmp_path / "votes.csv", tree, voted(tree, 2), ra=[10.0, 200.0], dec=[0.0, 5.0])
    stamps = Stamps("sky", {}, None, True, 1, np.array([10.0]), np.array([1.0]))
    with pytest.raises(LabelError, match="the nearest is 3,600 arcsec away"):
        matched(stamps, read_votes(path), by="position")
