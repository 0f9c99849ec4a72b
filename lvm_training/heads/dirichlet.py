"""Votes on all questions of a tree from features: a Dirichlet-multinomial of each question, after Walmsley et al. 2022.

Section 4.2 of arXiv:2102.08414 (MNRAS 509, 3966): of the N people who came to a question, k (C,) gave each answer;
people's answers are multinomial with fractions that nobody knows, of which the model says Dirichlet(alpha). So

    p(k | N, alpha) = N! G(a) / G(N + a)  prod_c G(k_c + alpha_c) / (k_c! G(alpha_c)),   a = sum_c alpha_c

with G the gamma function. The loss is -ln p, summed over questions and galaxies; a question that nobody was asked has
N = 0, p = 1, and teaches nothing. Here alpha = a m with m = softmax(z) over the answers of a question and a = factor
softplus(t), where z and t are linear in the standardised features. A softplus for each alpha, tried first, is blunter
where features tell fractions well, and no better elsewhere (docs/why/votes.md).
"""

from collections.abc import Sequence
from functools import cached_property
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import digamma, expit, gammaln, softmax
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from lvm_training.errors import LabelError
from lvm_training.galaxy_zoo.vote_tree import VoteTree
from lvm_training.heads.classification import feature_scale
from lvm_training.heads.head import SavedHead
from lvm_training.heads.logistic_regression import Array

STRENGTHS = (1e-3, 4e-3, 1.6e-2, 6.4e-2, 0.25)  # prior variances of a weight, tried on galaxies that were held out
DEFAULT_STRENGTH = 1.6e-2
STEADY = 0.05  # of that variance, of the weights that say how far people agree: of that votes tell little
FEWEST = 40  # galaxies from which on a strength is chosen, and how sure the answers are is measured
FOLDS = 3
CHOOSING = 400  # galaxies among which that is done; more of them say the same
AXES = 64  # of the features, of largest variance, while a strength is chosen
BIAS_SPREAD = 3.0  # of z about 0, and of t about a concentration of one each, before any vote
FACTOR_SPREAD = 1.0  # of ln factor about 0
LEAST = 1e-4  # share of a question's concentrations that each answer keeps
ITERATIONS, TOLERANCE = 200, 1e-5


class DirichletHead(SavedHead):
    """Concentrations of the fractions of every answer.

    Parameters
    ----------
    mean, scale : ndarray (D,)
        What standardises a feature.
    weights, bias : ndarray (A + Q, D), (A + Q,)
        One row for each answer, then one for each question, how far people agree.
    factor : ndarray (A,)
        By how much concentrations are larger, or smaller, than the fit's: galaxies that it did not see say it, one
        number for all answers of a question.
    classes : tuple of str
        The answers, the tree's `keys`.
    tree_text : str
        The tree, see `VoteTree.text`.
    """

    kind: ClassVar[str] = "dirichlet"
    parts: ClassVar[tuple[str, ...]] = ("mean", "scale", "weights", "bias", "factor")
    described: ClassVar[tuple[str, ...]] = ("tree_text",)

    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    factor: NDArray[np.float32]
    tree_text: str

    @classmethod
    def fit(
        cls, inputs: NDArray[np.float32], counts: Array, tree: VoteTree, *, seed: int, strength: float | None = None
    ) -> Self:
        """A head trained on features (N, D) and votes (N, A).

        Parameters
        ----------
        inputs : ndarray (N, D)
        counts : ndarray (N, A)
            How many people gave each answer.
        tree : VoteTree
        seed : int
            What the folds are drawn from.
        strength : float, optional
            Prior variance of a weight; by default that of `STRENGTHS` under which votes on galaxies that were held out
            are likeliest, or `DEFAULT_STRENGTH` where these are few.

        Raises
        ------
        LabelError
            If votes and features do not fit each other, nobody voted, or a feature is not finite.
        """
        features = np.asarray(inputs, dtype=np.float64)
        _check(features, counts, tree)
        mean, scale = features.mean(axis=0), feature_scale(features)
        standard = (features - mean) / scale
        with threadpool_limits(1, "blas"):
            tried = STRENGTHS if strength is None else (strength,)
            chosen, factor = _held_out(standard, counts, tree, tried, seed)
            weights, bias = VoteProblem(standard, counts, tree).fit(chosen)
        arrays = {"mean": mean, "scale": scale, "weights": weights, "bias": bias, "factor": factor}
        head = cls.from_arrays(arrays, tree.keys)
        head.tree_text = tree.text
        return head

    @cached_property
    def tree(self) -> VoteTree:
        """The tree that it answers."""
        return VoteTree.of(self.tree_text)

    def concentrations(self, inputs: NDArray[np.float32]) -> Array:
        """Alpha (N, A) of features (N, D)."""
        weights = self.weights / self.scale.astype(np.float64)
        z = np.asarray(inputs, dtype=np.float64) @ weights.T + (self.bias - weights @ self.mean)
        return np.asarray(self.factor * concentrations(z, self.tree))

    def predict(self, inputs: NDArray[np.float32]) -> Array:
        """Expected fractions (N, A) of the votes on each question; they sum to one in each."""
        return expected(self.concentrations(inputs), self.tree)


def concentrations(z: Array, tree: VoteTree) -> Array:
    """Alpha (N, A) of a linear layer's (N, A + Q): the softplus of questions, shared out by the softmax of answers."""
    total, share = _parts(z, tree)
    return np.asarray(np.repeat(total, _answers(tree), axis=1) * share)


def _parts(z: Array, tree: VoteTree) -> tuple[Array, Array]:
    """The sum of each question's concentrations (N, Q), and the share of each answer (N, A)."""
    shares = [
        LEAST + (1 - LEAST * len(one.answers)) * softmax(z[:, columns], axis=1)
        for one, columns in zip(tree.questions, tree.slices, strict=True)
    ]
    return np.logaddexp(0, z[:, len(tree.keys) :]) + LEAST, np.concatenate(shares, axis=1)


def _answers(tree: VoteTree) -> NDArray[np.int64]:
    """How many answers each question has (Q,)."""
    return np.array([len(one.answers) for one in tree.questions])


def expected(concentrations: Array, tree: VoteTree) -> Array:
    """Mean fractions (N, A), alpha_c / a."""
    return np.asarray(concentrations / _totals(concentrations, tree))


def errors(concentrations: Array, tree: VoteTree) -> Array:
    """Standard deviations (N, A) of the fractions about their means m, sqrt(m (1 - m) / (a + 1))."""
    total = _totals(concentrations, tree)
    mean = concentrations / total
    return np.asarray(np.sqrt(mean * (1 - mean) / (total + 1)))


def log_likelihood(counts: Array, concentrations: Array, tree: VoteTree) -> Array:
    """ln p(k | N, alpha) of each galaxy's votes on each question (N, Q); 0 where nobody was asked."""
    found = np.zeros((len(counts), len(tree.questions)))
    for place, columns in enumerate(tree.slices):
        k, alpha = counts[:, columns], concentrations[:, columns]
        n, total = k.sum(axis=1), alpha.sum(axis=1)
        terms = gammaln(k + alpha) - gammaln(alpha) - gammaln(k + 1)
        found[:, place] = gammaln(n + 1) + gammaln(total) - gammaln(n + total) + terms.sum(axis=1)
    return found


def _totals(concentrations: Array, tree: VoteTree) -> Array:
    """The sum over a question's answers (N, A), for each of them."""
    sums = [concentrations[:, columns].sum(axis=1, keepdims=True) for columns in tree.slices]
    return np.repeat(np.concatenate(sums, axis=1), _answers(tree), axis=1)


class VoteProblem:
    """Standardised features (N, D) and votes (N, A), ready to be fitted at any strength of the penalty.

    L-BFGS works along the principal axes, each scaled to a curvature of about one, as in `LogisticRegressionProblem`.

    Parameters
    ----------
    axes : int, optional
        Only so many axes are used, those of largest variance.
    """

    def __init__(self, standard: Array, counts: Array, tree: VoteTree, axes: int | None = None) -> None:
        sums, vectors = np.linalg.eigh(standard.T @ standard)
        kept = slice(None if axes is None else -axes, None)
        self.sums, self.axes = np.maximum(sums[kept], 0.0), vectors[:, kept]
        self.rotated = standard @ self.axes
        self.counts, self.tree = counts, tree
        self.owner = np.repeat(np.arange(len(tree.questions)), _answers(tree))
        self.given = np.nonzero(counts)  # what nobody answered has ratios of gamma functions of one
        self.asked = tree.asked(counts)

    def fit(self, strength: float, start: tuple[Array, Array] | None = None) -> tuple[Array, Array]:
        """Weights (A + Q, D) and bias (A + Q,) of least loss plus |weights|^2 / (2 strength), and the bias's prior.

        Parameters
        ----------
        start : (weights, bias), optional
            A solution for another strength, where to begin.
        """
        owner = np.concatenate([self.owner, np.arange(len(self.tree.questions))])
        width, count, middle = self.rotated.shape[1], len(owner), self._middle()
        # a galaxy tells little more than one vote does, however many voted: people agree
        voters = np.minimum(self.asked, 4).mean(axis=0)[owner] / _answers(self.tree)[owner]
        pulls = np.repeat([1 / strength, 1 / (STEADY * strength)], [len(self.owner), count - len(self.owner)])
        scales = np.sqrt(np.outer(self.sums, voters) / 4 + pulls)
        step = np.sqrt(len(self.counts) * voters / 4 + 1 / BIAS_SPREAD**2)

        def loss(flat: Array) -> tuple[float, Array]:
            weights, bias = flat[:-count].reshape(width, count) / scales, flat[-count:] / step
            value, residual = self._loss(self.rotated @ weights + bias)
            pull = (bias - middle) / BIAS_SPREAD
            value += float((weights**2 * pulls).sum() / 2 + (pull**2).sum() / 2)
            slope = (self.rotated.T @ residual + weights * pulls) / scales
            return value, np.concatenate([slope.ravel(), (residual.sum(axis=0) + pull / BIAS_SPREAD) / step])

        first = np.zeros((width, count)) if start is None else self.axes.T @ start[0].T
        bias = self._first_bias() if start is None else start[1]
        flat = np.concatenate([(first * scales).ravel(), bias * step])
        options = {"gtol": TOLERANCE * max(1.0, self.asked.sum() / 100), "ftol": 1e-6, "maxiter": ITERATIONS}
        found = minimize(loss, flat, jac=True, method="L-BFGS-B", options=options).x
        weights = self.axes @ (found[:-count].reshape(width, count) / scales)
        return weights.T, found[-count:] / step

    def _middle(self) -> Array:
        """Biases (A + Q,) before any vote: all answers alike, and a concentration of one each."""
        return np.concatenate([np.zeros(len(self.owner)), np.log(np.expm1(_answers(self.tree)))])

    def _first_bias(self) -> Array:
        """The same with the shares of all votes together."""
        votes = self.counts.sum(axis=0) + 1
        bias = self._middle()
        bias[: len(votes)] = np.log(votes / np.bincount(self.owner, votes)[self.owner])
        return bias

    def _loss(self, z: Array) -> tuple[float, Array]:
        """The sum of -ln p but for what does not depend on z, and its slope in z (N, A + Q)."""
        total, share = _parts(z, self.tree)
        alpha = total[:, self.owner] * share
        both = total + self.asked
        some, votes = alpha[self.given], self.counts[self.given]
        value = (gammaln(both) - gammaln(total)).sum() - (gammaln(some + votes) - gammaln(some)).sum()
        slope = np.zeros_like(alpha)
        slope[self.given] = digamma(some) - digamma(some + votes)
        starts = [columns.start for columns in self.tree.slices]
        of_total = digamma(both) - digamma(total) + np.add.reduceat(slope * share, starts, axis=1)
        soft = (share - LEAST) / (1 - LEAST * _answers(self.tree))[self.owner]
        inner = slope * total[:, self.owner] * (1 - LEAST * _answers(self.tree))[self.owner]
        of_answers = soft * (inner - np.add.reduceat(inner * soft, starts, axis=1)[:, self.owner])
        return float(value), np.concatenate([of_answers, of_total * expit(z[:, len(self.owner) :])], axis=1)


def _held_out(
    standard: Array, counts: Array, tree: VoteTree, strengths: Sequence[float], seed: int
) -> tuple[float, Array]:
    """The strength under which votes on held-out galaxies are likeliest, and the factor (A,) of concentrations there.

    The fit is surer of galaxies that it saw than of others. Which strength is best hardly depends on the number of
    galaxies, so a sample of them chooses it.
    """
    voted = np.flatnonzero(counts.any(axis=1))
    owner = np.repeat(np.arange(len(tree.questions)), _answers(tree))
    if len(voted) < FEWEST:
        return (strengths[0] if len(strengths) == 1 else DEFAULT_STRENGTH), np.ones(len(owner))
    order = np.random.default_rng(seed).permutation(voted)[:CHOOSING]
    fold = np.arange(len(order)) % FOLDS
    problems = [
        VoteProblem(standard[order[fold != one]], counts[order[fold != one]], tree, AXES) for one in range(FOLDS)
    ]
    starts: list[tuple[Array, Array] | None] = [None] * FOLDS
    best, chosen, held_out = -np.inf, strengths[0], np.empty((0, 0))
    for strength in strengths:
        alphas = np.empty((len(order), counts.shape[1]))
        for one, problem in enumerate(problems):
            starts[one] = weights, bias = problem.fit(strength, starts[one])
            alphas[fold == one] = concentrations(standard[order[fold == one]] @ weights.T + bias, tree)
        likely = float(log_likelihood(counts[order], alphas, tree).sum())
        if likely <= best:
            break  # weaker penalties only fit the votes that they see better
        best, chosen, held_out = likely, strength, alphas
    return chosen, _factors(held_out, counts[order], tree)[owner]


def _factors(alphas: Array, counts: Array, tree: VoteTree) -> Array:
    """By how much each question's concentrations should be multiplied (Q,), so that these votes are likeliest.

    A prior ln factor ~ N(0, 1) holds it where few were asked.
    """
    asked = tree.asked(counts) > 0

    def loss(logs: Array) -> tuple[float, Array]:
        value, slope = (logs**2).sum() / (2 * FACTOR_SPREAD**2), logs / FACTOR_SPREAD**2
        for place, columns in enumerate(tree.slices):
            rows = asked[:, place]
            k, alpha = counts[rows, columns], np.exp(logs[place]) * alphas[rows, columns]
            n, total = k.sum(axis=1), alpha.sum(axis=1)
            value -= (gammaln(total) - gammaln(total + n)).sum() + (gammaln(alpha + k) - gammaln(alpha)).sum()
            slope[place] -= (total * (digamma(total) - digamma(total + n))).sum()
            slope[place] -= (alpha * (digamma(alpha + k) - digamma(alpha))).sum()
        return float(value), slope

    count = len(tree.questions)
    found = minimize(loss, np.zeros(count), jac=True, method="L-BFGS-B", bounds=[(-4, 4)] * count)
    return np.asarray(np.exp(found.x))


def _check(features: Array, counts: Array, tree: VoteTree) -> None:
    if features.ndim != 2 or counts.shape != (len(features), len(tree.keys)):
        raise LabelError(f"There are votes of shape {counts.shape} for features of shape {features.shape}.")
    if not counts.any():
        raise LabelError("Nobody has voted.", "A head of votes needs some.")
    tree.check(counts)
    broken = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if broken.size:
        rows = ", ".join(map(str, broken[:5])) + (", ..." if broken.size > 5 else "")
        raise LabelError(f"Features are not finite: rows {rows}.", "Embed the stamp set again.")
