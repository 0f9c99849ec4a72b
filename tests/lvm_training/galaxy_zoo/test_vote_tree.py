"""A tree counts votes, and refuses what nobody can have answered."""

import itertools

import numpy as np
import pytest

from lvm_training.galaxy_zoo.trees import TREES, Question
from lvm_training.galaxy_zoo.vote_tree import TreeError, VoteError, VoteTree

DECALS = VoteTree(TREES["GZ DECaLS"])
SMALL = VoteTree(
    [
        Question("kind", ("smooth", "disc", "star")),
        Question("shape", ("round", "long"), ("kind_smooth",)),
        Question("arms", ("yes", "no"), ("kind_disc",)),
        Question("count", ("one", "two"), ("arms_yes",)),
        Question("odd", ("yes", "no"), ("kind_smooth", "kind_disc")),
    ]
)


@pytest.mark.parametrize("tree", TREES)
def test_the_trees_of_galaxy_zoo_are_trees(tree: str) -> None:
    found = VoteTree(TREES[tree])
    assert found.root.name == "smooth-or-featured" and len(found.keys) == found.slices[-1].stop
    again = VoteTree.of(found.text)
    assert again.keys == found.keys and again.digest == found.digest


def test_a_digest_tells_versions_of_a_tree_apart_and_not_their_order() -> None:
    digests = {VoteTree(tree).digest for tree in TREES.values()}
    assert len(digests) == len(TREES)
    assert VoteTree(list(reversed(SMALL.questions))).digest == SMALL.digest


@pytest.mark.parametrize(
    ("questions", "message"),
    [
        ([], "no question"),
        ([Question("a", ("x", "y")), Question("b", ("x", "y"), ("a_z",))], "Nothing leads to the question 'b'"),
        (
            [Question("a", ("x", "y")), Question("b", ("x", "y"), ("a_x",)), Question("c", ("x", "y"), ("a_y", "b_x"))],
            "asked after answers of a and of b",
        ),
        ([Question("a", ("x", "y"), ("b_x",)), Question("b", ("x", "y"), ("a_x",))], "in a circle"),
        ([Question("a", ("x", "y", "x"))], "offers the answer 'x' twice"),
        ([Question("a", ("x", ""))], "without a name"),
        ([Question("a", ("x",))], "has 1 answers"),
        ([Question("a", ("x", "y")), Question("b", ("x", "y"))], "a, b are all asked first"),
    ],
)
def test_questions_that_make_no_tree_are_refused(questions: list[Question], message: str) -> None:
    with pytest.raises(TreeError, match=message):
        VoteTree(questions)


def test_one_persons_answers_become_a_vote_along_their_path() -> None:
    vote = SMALL.vote({"odd": "no", "kind": "disc", "arms": "yes", "count": "two"})
    assert [key for key, one in zip(SMALL.keys, vote, strict=True) if one] == [
        "kind_disc", "arms_yes", "count_two", "odd_no"
    ]  # fmt: skip
    assert SMALL.vote({}).sum() == 0
    assert SMALL.vote({"kind": "disc"}).sum() == 1, "who stops early said that much"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"kind": "smooth", "arms": "yes"}, "answers 'arms', which is asked after kind_disc, but says kind smooth"),
        ({"kind": "star", "odd": "no"}, "asked after kind_smooth or kind_disc, but says kind star"),
        ({"kind": "disc", "arms": "no", "count": "two"}, "answers 'count'"),
        ({"shape": "round"}, "says nothing to 'kind'"),
        ({"kind": "round"}, "'round' is no answer to 'kind'"),
        ({"colour": "red"}, "no question 'colour'"),
    ],
)
def test_answers_that_contradict_the_tree_are_refused(given: dict[str, str], message: str) -> None:
    with pytest.raises(VoteError, match=message):
        SMALL.vote(given)


def all_paths(tree: VoteTree, fractions: np.ndarray) -> list[tuple[dict[str, str], float]]:
    """Every way through a tree and its probability, by trying all combinations of answers."""
    found: dict[tuple[tuple[str, str], ...], float] = {}
    for answers in itertools.product(*(question.answers for question in tree.questions)):
        path = tuple(tree.path(dict(zip((one.name for one in tree.questions), answers, strict=True))))
        found[path] = float(np.prod([fractions[tree.keys.index(f"{name}_{answer}")] for name, answer in path]))
    return [(dict(path), chance) for path, chance in found.items()]


def drawn_fractions(tree: VoteTree, n: int) -> np.ndarray:
    rng = np.random.default_rng(5)
    return np.concatenate([rng.dirichlet(np.ones(len(one.answers)), n) for one in tree.questions], axis=1)


def test_how_many_reach_a_question_is_the_sum_over_all_paths_to_it() -> None:
    for fractions, reached in zip(drawn_fractions(SMALL, 4), SMALL.reached(drawn_fractions(SMALL, 4)), strict=True):
        paths = all_paths(SMALL, fractions)
        assert sum(chance for _, chance in paths) == pytest.approx(1)
        for question, chance in zip(SMALL.questions, reached, strict=True):
            assert chance == pytest.approx(sum(one for path, one in paths if question.name in path))


def test_the_likely_path_takes_the_most_common_answer_of_each_question() -> None:
    fractions = SMALL.vote({"kind": "disc", "arms": "yes", "count": "two", "odd": "no"}) * 0.4
    assert SMALL.likely(fractions + 0.1) == [("kind", "disc"), ("arms", "yes"), ("count", "two"), ("odd", "no")]
    assert SMALL.likely(np.eye(len(SMALL.keys))[SMALL.keys.index("kind_star")]) == [("kind", "star")]


def test_fractions_are_of_those_who_were_asked() -> None:
    votes = [{"kind": "smooth", "shape": "long", "odd": "no"}, {"kind": "disc", "arms": "no"}, {"kind": "smooth"}]
    counts = np.sum([SMALL.vote(one) for one in votes], axis=0)[None]
    SMALL.check(counts)
    found = dict(zip(SMALL.keys, SMALL.fractions(counts)[0], strict=True))
    assert found["kind_smooth"] == pytest.approx(2 / 3) and found["shape_long"] == 1 and found["arms_yes"] == 0
    assert np.isnan(found["count_one"])
    assert SMALL.asked(counts).tolist() == [[3, 1, 1, 0, 1]]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("kind_smooth", -1, "the first is -1 votes for kind_smooth in row 1"),
        ("kind_smooth", 0.5, "Votes are whole numbers"),
        ("kind_smooth", np.nan, "no numbers of votes"),
        ("shape_round", 3, "more votes on shape than people who came to it; in row 1 3 of 2"),
    ],
)
def test_votes_that_nobody_can_have_given_are_refused(key: str, value: float, message: str) -> None:
    counts = np.zeros((2, len(SMALL.keys)))
    counts[:, SMALL.keys.index("kind_smooth")] = 2
    counts[1, SMALL.keys.index(key)] = value
    with pytest.raises(VoteError, match=message):
        SMALL.check(counts)


def test_no_galaxies_are_no_trouble() -> None:
    nothing = np.zeros((0, len(DECALS.keys)))
    DECALS.check(nothing)
    assert DECALS.fractions(nothing).shape == nothing.shape and DECALS.reached(nothing).shape == (0, 10)
