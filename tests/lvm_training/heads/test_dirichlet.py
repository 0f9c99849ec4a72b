"""A head of votes: its likelihood, its slope, what it learns and what it does not."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import approx_fprime
from scipy.stats import dirichlet_multinomial

from lvm_training.errors import CheckpointError, LabelError
from lvm_training.galaxy_zoo.trees import Question
from lvm_training.galaxy_zoo.vote_tree import VoteError, VoteTree
from lvm_training.heads import dirichlet
from lvm_training.heads.classification import ClassificationHead
from lvm_training.heads.dirichlet import DirichletHead, VoteProblem, concentrations, errors, expected, log_likelihood
from tests.lvm_training.galaxy_zoo.voting import cast_votes, drawn

TREE = VoteTree(
    [
        Question("kind", ("smooth", "disc", "star")),
        Question("shape", ("round", "long"), ("kind_smooth",)),
        Question("arms", ("yes", "no"), ("kind_disc",)),
    ]
)
A, Q, D = len(TREE.keys), len(TREE.questions), 24
Floats = NDArray[np.float64]


def truth(n: int, seed: int) -> tuple[NDArray[np.float32], Floats]:
    """Features and concentrations that follow from them as the head thinks."""
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((n, D)).astype(np.float32)
    weights = np.random.default_rng(99).standard_normal((A + Q, D)) / 4
    return features, concentrations(features @ weights.T + np.repeat([0, 6], [A, Q]), TREE)


def sample(n: int, seed: int, voters: int = 20) -> tuple[NDArray[np.float32], Floats, Floats]:
    """Features, votes, and the fractions of endlessly many voters."""
    features, alpha = truth(n, seed)
    fractions = drawn(TREE, alpha, seed)
    return features, cast_votes(TREE, fractions, np.full(n, voters), seed), fractions


def test_the_likelihood_is_scipys() -> None:
    _, votes, _ = sample(12, 0)
    _, alpha = truth(12, 1)
    found = log_likelihood(votes, alpha, TREE)
    for place, columns in enumerate(TREE.slices):
        for row in range(12):
            k = votes[row, columns].astype(int)
            naive = dirichlet_multinomial.logpmf(k, alpha[row, columns], k.sum()) if k.sum() else 0.0
            assert found[row, place] == pytest.approx(naive, abs=1e-9)


def test_the_loss_has_the_slope_that_it_says() -> None:
    features, votes, _ = sample(15, 2)
    problem = VoteProblem(features.astype(np.float64), votes, TREE)
    z = np.random.default_rng(3).standard_normal((15, A + Q))
    value, slope = problem._loss(z)
    numeric = approx_fprime(z.ravel(), lambda flat: problem._loss(flat.reshape(z.shape))[0], 1e-6)
    np.testing.assert_allclose(slope.ravel(), numeric, atol=1e-3)
    other = problem._loss(z + 0.1)[0]
    likely = [log_likelihood(votes, concentrations(one, TREE), TREE).sum() for one in (z, z + 0.1)]
    assert other - value == pytest.approx(likely[0] - likely[1])


def test_fractions_and_their_errors_are_those_of_a_dirichlet() -> None:
    alpha = truth(1, 4)[1]
    many = drawn(TREE, np.repeat(alpha, 40_000, axis=0), 5)
    np.testing.assert_allclose(expected(alpha, TREE)[0], many.mean(axis=0), atol=0.01)
    np.testing.assert_allclose(errors(alpha, TREE)[0], many.std(axis=0), atol=0.01)


def test_it_finds_the_concentrations_that_votes_came_from() -> None:
    features, votes, _ = sample(1500, 6)
    unseen, alpha = truth(400, 7)
    head = DirichletHead.fit(features, votes, TREE, seed=0)
    found = head.concentrations(unseen)
    assert np.abs(expected(found, TREE) - expected(alpha, TREE)).mean() < 0.03
    constant = np.nan_to_num(TREE.fractions(votes.sum(axis=0)[None]))
    assert np.abs(constant - expected(alpha, TREE)).mean() > 0.13
    assert np.median(found / alpha) == pytest.approx(1, abs=0.25)


def test_its_errors_cover_the_fractions_as_often_as_they_say() -> None:
    features, votes, _ = sample(600, 8)
    unseen, _, fractions = sample(600, 9)
    found = DirichletHead.fit(features, votes, TREE, seed=0).concentrations(unseen)
    pull = (fractions - expected(found, TREE)) / errors(found, TREE)
    assert (pull**2).mean() == pytest.approx(1, abs=0.3)
    own, true = (
        np.mean(np.abs(draw - expected(found, TREE)) < errors(found, TREE))
        for draw in (drawn(TREE, found, 10), fractions)
    )
    assert true == pytest.approx(own, abs=0.04), "as often as fractions that the head itself draws"


def test_the_same_votes_make_the_same_bytes() -> None:
    features, votes, _ = sample(120, 11)
    first, second = (DirichletHead.fit(features, votes, TREE, seed=3).save() for _ in range(2))
    assert first == second
    again = DirichletHead.load(first)
    assert again.tree.digest == TREE.digest and again.classes == TREE.keys
    np.testing.assert_array_equal(again.predict(features), DirichletHead.load(second).predict(features))


def test_a_question_that_nobody_was_asked_teaches_nothing() -> None:
    features, votes, _ = sample(100, 12)
    votes[:, TREE.slices[1]] = 0
    head = DirichletHead.fit(features, votes, TREE, seed=0, strength=1e-2)
    assert np.abs(head.weights[TREE.slices[1]]).max() < 1e-3
    np.testing.assert_allclose(head.predict(features)[:, TREE.slices[1]], 0.5, atol=1e-3)
    np.testing.assert_allclose(head.factor[TREE.slices[1]], 1, atol=1e-3)


def test_galaxies_without_votes_change_nothing_but_the_scale() -> None:
    features, votes, _ = sample(80, 13)
    # the same mean and scale: each galaxy once with votes, once without
    both = DirichletHead.fit(np.tile(features, (2, 1)), np.vstack([votes, 0 * votes]), TREE, seed=0, strength=1e-2)
    alone = DirichletHead.fit(features, votes, TREE, seed=0, strength=1e-2)
    np.testing.assert_allclose(expected(both.concentrations(features), TREE), alone.predict(features), atol=0.02)


def test_one_voter_a_galaxy_still_tells_fractions() -> None:
    features, votes, _ = sample(900, 14, voters=1)
    unseen, alpha = truth(300, 15)
    head = DirichletHead.fit(features, votes, TREE, seed=0)
    kind = TREE.slices[0]
    assert np.abs(head.predict(unseen)[:, kind] - expected(alpha, TREE)[:, kind]).mean() < 0.08
    assert np.isfinite(head.concentrations(unseen)).all()


def test_few_galaxies_make_a_head_that_stays_near_all_votes_together() -> None:
    features, votes, _ = sample(3, 16)
    head = DirichletHead.fit(features, votes, TREE, seed=0)
    assert (head.factor == 1).all()
    found = head.predict(truth(50, 17)[0])
    assert np.isfinite(found).all()
    np.testing.assert_allclose([found[:, columns].sum(axis=1) for columns in TREE.slices], 1)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda x, k: (x, 0 * k), LabelError, "Nobody has voted"),
        (lambda x, k: (x[1:], k), LabelError, "votes of shape"),
        (lambda x, k: (x, k[:, 1:]), LabelError, "votes of shape"),
        (lambda x, k: (np.where(np.arange(len(x))[:, None] == 4, np.nan, x), k), LabelError, "not finite: rows 4"),
        (lambda x, k: (x, k / 2), VoteError, "whole numbers"),
        (lambda x, k: (x, -k), VoteError, "no numbers of votes"),
        (lambda x, k: (x, k + np.isin(TREE.keys, "arms_yes") * 30), VoteError, "more votes on arms"),
    ],
)
def test_votes_that_cannot_be_learned_from_are_refused(change, error, message) -> None:  # type: ignore[no-untyped-def]
    features, votes, _ = sample(30, 18)
    votes[0, 0] += 1  # odd, so that a half is none
    with pytest.raises(error, match=message):
        DirichletHead.fit(*change(features, votes), TREE, seed=0)


def test_another_kind_of_head_is_refused() -> None:
    features, votes, _ = sample(30, 19)
    saved = DirichletHead.fit(features, votes, TREE, seed=0).save()
    with pytest.raises(CheckpointError, match="of kind 'dirichlet'"):
        ClassificationHead.load(saved)
    with pytest.raises(CheckpointError, match="not a saved head"):
        DirichletHead.load(saved[:200])


def test_a_strength_is_chosen_among_those_that_are_tried() -> None:
    features, votes, _ = sample(200, 20)
    votes = cast_votes(TREE, np.full((200, A), 1 / 3), np.full(200, 20), 21)
    standard = (features - features.mean(axis=0)) / features.std(axis=0)
    nothing, _ = dirichlet._held_out(standard.astype(float), votes, TREE, dirichlet.STRENGTHS, 0)
    assert nothing == dirichlet.STRENGTHS[0], "features that say nothing are best ignored"
