"""What one more person's answers tell, against counting over many drawn fractions."""

import itertools

import numpy as np
import pytest
from scipy.stats import entropy

from backend_ml.acquisition.measures import Candidates, PolicyError
from backend_ml.acquisition.policy import find_policy, fitting, judge
from backend_ml.acquisition.votes import question_information, tree_information
from lvm_training.galaxy_zoo.trees import TREES, Question
from lvm_training.galaxy_zoo.vote_tree import VoteTree
from lvm_training.pool.features import FeaturesError
from tests.lvm_training.galaxy_zoo.voting import drawn

TREE = VoteTree(
    [
        Question("kind", ("smooth", "disc", "star")),
        Question("shape", ("round", "long"), ("kind_smooth",)),
        Question("arms", ("yes", "no"), ("kind_disc",)),
        Question("odd", ("yes", "no"), ("kind_smooth", "kind_disc")),
    ]
)
ALPHA = np.random.default_rng(0).gamma(1.5, size=(3, len(TREE.keys))) + 0.3


def path_chances(fractions: np.ndarray) -> np.ndarray:
    """Probability (n, P) of each way through the tree, for fractions (n, A)."""
    ways: dict[tuple[tuple[str, str], ...], None] = {}
    names = [question.name for question in TREE.questions]
    for answers in itertools.product(*(question.answers for question in TREE.questions)):
        ways[tuple(TREE.path(dict(zip(names, answers, strict=True))))] = None
    columns = [[TREE.keys.index(f"{name}_{answer}") for name, answer in way] for way in ways]
    return np.stack([fractions[:, one].prod(axis=1) for one in columns], axis=1)


def test_it_is_the_entropy_of_the_mean_minus_the_mean_entropy() -> None:
    for alpha, found in zip(ALPHA, question_information(ALPHA, TREE), strict=True):
        many = drawn(TREE, np.tile(alpha, (100_000, 1)), 1)
        for columns, one in zip(TREE.slices, found, strict=True):
            naive = entropy(many[:, columns].mean(axis=0)) - entropy(many[:, columns], axis=1).mean()
            assert one == pytest.approx(naive, abs=0.004)


def test_of_the_whole_tree_it_is_that_of_a_persons_path() -> None:
    for alpha, found in zip(ALPHA, tree_information(ALPHA, TREE), strict=True):
        chances = path_chances(drawn(TREE, np.tile(alpha, (100_000, 1)), 2))
        np.testing.assert_allclose(chances.sum(axis=1), 1)
        naive = entropy(chances.mean(axis=0)) - entropy(chances, axis=1).mean()
        assert found == pytest.approx(naive, abs=0.004)


def test_fractions_that_are_known_tell_nothing_however_far_people_disagree() -> None:
    even = np.ones((1, len(TREE.keys)))
    assert tree_information(1e6 * even, TREE)[0] < 1e-5 < 0.1 < tree_information(even, TREE)[0]


def test_a_question_that_nobody_comes_to_counts_for_nothing() -> None:
    alpha = np.ones((2, len(TREE.keys)))
    alpha[:, TREE.slices[0]] = [1e-9, 1e-9, 50.0]
    alpha[1, TREE.slices[2]] = 1e6
    first, second = tree_information(alpha, TREE)
    assert first == pytest.approx(second, abs=1e-6) and first < 0.01


def test_galaxies_of_galaxy_zoos_tree_are_measured_at_once() -> None:
    tree = VoteTree(TREES["GZ DECaLS"])
    alpha = np.random.default_rng(3).gamma(2.0, size=(500, len(tree.keys))) + 1e-6
    found = tree_information(alpha, tree)
    assert found.shape == (500,) and (found >= 0).all() and np.isfinite(found).all()


def test_the_policy_ranks_by_it_and_only_campaigns_of_votes_have_it() -> None:
    told = np.array([0.1, 0.7, 0.4])
    pool = Candidates(np.zeros((3, 2), np.float32), information=told)
    assert judge("information", pool, batch=2, seed=0).worth.tolist() == told.tolist()
    assert find_policy("information").needs == {"information"}
    assert "information" in fitting(boxes=False, searching=False, votes=True)
    for boxes, searching in itertools.product((True, False), repeat=2):
        assert "information" not in fitting(boxes=boxes, searching=searching)


def test_without_concentrations_or_with_broken_ones_it_says_so() -> None:
    features = np.zeros((2, 2), np.float32)
    with pytest.raises(PolicyError, match="campaign of votes"):
        judge("information", Candidates(features), batch=1, seed=0)
    with pytest.raises(PolicyError, match="There are 3 informations for 2 galaxies"):
        judge("information", Candidates(features, information=np.zeros(3)), batch=1, seed=0)
    with pytest.raises(FeaturesError, match="not finite: 1"):
        judge("information", Candidates(features, information=np.array([0, np.nan])), batch=1, seed=0)
