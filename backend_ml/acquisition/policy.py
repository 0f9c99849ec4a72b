"""Named policies: mixes of measures that turn what is known of a pool into the worth of each galaxy's label."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from backend_ml.acquisition.checks import check_finite
from backend_ml.acquisition.diversity import k_centre, marginal_relevance, typicality
from backend_ml.acquisition.interest import expected_improvement, similarity
from backend_ml.acquisition.stochastic import inclusion, power_draw
from backend_ml.acquisition.uncertainty import bald, entropy, margin
from lvm_training.errors import GalaxyLoopError

Array = NDArray[np.float64]
Matrix = NDArray[np.float32]

NEIGHBOURS = 20  # of the typicality, as Hacohen et al. 2022
TYPICALITY_SAMPLE = 4096  # neighbours are looked for among so many galaxies
# A mix for diversity chooses among so many times the batch, the best ones by worth
SHORTLIST, LEAST_SHORTLIST = 10, 1000


class PolicyError(GalaxyLoopError):
    """A policy that does not exist, or that needs what is not there."""

    code = "bad_policy"


def _no_rows() -> Matrix:
    return np.empty((0, 0), dtype=np.float32)


@dataclass(frozen=True)
class Candidates:
    """What is known of the galaxies that nobody labelled.

    Attributes
    ----------
    features : ndarray (N, D)
    probabilities : ndarray (N, C), optional
        The head's answers; the mean of `ensemble` where only that is given.
    ensemble : ndarray (M, N, C), optional
        Answers of M heads that the labels allow equally.
    positives, negatives : ndarray (P, D), (Q, D)
        Features of labelled galaxies that are, and are not, of the class looked for.
    wanted : int, optional
        Column of the class looked for; None where no class is.
    """

    features: Matrix
    probabilities: Array | None = None
    ensemble: Array | None = None
    positives: Matrix = field(default_factory=_no_rows)
    negatives: Matrix = field(default_factory=_no_rows)
    wanted: int | None = None

    def __len__(self) -> int:
        return len(self.features)

    def answers(self) -> Array:
        """Probabilities (N, C)."""
        if self.probabilities is not None:
            return self.probabilities
        if self.ensemble is not None:
            return np.asarray(self.ensemble.mean(axis=0))
        raise PolicyError("This policy needs the answers of a head.", "Label some of each class, or take k-centre.")

    def heads(self) -> Array:
        """Probabilities (M, N, C)."""
        if self.ensemble is None:
            raise PolicyError("This policy needs the answers of an ensemble of heads.", "Fit one, or take margin.")
        return self.ensemble

    def column(self, answers: Array) -> Array:
        """Probabilities (..., N) of the class looked for."""
        if self.wanted is None:
            raise PolicyError("This policy needs a class to look for.", "Name it, or take margin.")
        return np.asarray(answers[..., self.wanted])


@dataclass(frozen=True)
class Term:
    """A measure, a key of `MEASURES`, and its weight in the mix."""

    measure: str
    weight: float = 1.0


@dataclass(frozen=True)
class Policy:
    """A mix of measures.

    Attributes
    ----------
    name : str
    terms : tuple of Term
        One measure is taken as it is; of several the weighted mean of their ranks, each from 0 to 1. None draws
        blindly.
    relevance : float
        Trade-off l of `marginal_relevance` for the next batch; 1 leaves diversity out.
    beta : float, optional
        Exponent of `power_draw`; None ranks without noise. The draw makes batches diverse, so `relevance` is then 1.

    Raises
    ------
    PolicyError
        If a measure does not exist, a weight is not positive, or `beta` and `relevance` are both asked for.
    """

    name: str
    terms: tuple[Term, ...] = ()
    relevance: float = 1.0
    beta: float | None = None

    def __post_init__(self) -> None:
        unknown = [term.measure for term in self.terms if term.measure not in MEASURES]
        if unknown:
            raise PolicyError(f"There is no measure {unknown[0]!r}.", f"Choose from: {', '.join(MEASURES)}.")
        if any(term.weight <= 0 for term in self.terms):
            raise PolicyError(f"Policy {self.name!r} has a weight that is not positive.", "Leave that term out.")
        if self.beta is not None and self.relevance < 1:
            raise PolicyError(f"Policy {self.name!r} is both drawn and spread out.", "Give `beta` or `relevance`.")

    @property
    def needs_ensemble(self) -> bool:
        """Whether a measure asks for an ensemble of heads."""
        return any(term.measure in ENSEMBLE_MEASURES for term in self.terms)


@dataclass(frozen=True)
class Judgement:
    """What labels are worth, and how the policy would choose.

    Attributes
    ----------
    worth : ndarray (N,)
        Label the largest first.
    propensity : ndarray (N,)
        Probability to be in the next batch: 1 for a ranking without chance, `inclusion` for a drawn one.
    """

    worth: Array
    propensity: Array


Measure = Callable[[Candidates, int, int], Array]


def _uncertain(measure: Callable[[Array], Array]) -> Measure:
    def judge(pool: Candidates, batch: int, seed: int) -> Array:
        answers = pool.answers()
        # a head of one class is sure of it
        return measure(answers) if answers.shape[1] > 1 else np.zeros(len(answers))

    return judge


def _similarity(pool: Candidates, batch: int, seed: int) -> Array:
    centre = pool.features.mean(axis=0, dtype=np.float64).astype(np.float32)
    examples = [rows - centre if len(rows) else rows for rows in (pool.positives, pool.negatives)]
    return similarity(pool.features - centre, *examples)


def _improvement(pool: Candidates, batch: int, seed: int) -> Array:
    scores = pool.column(pool.heads())
    mean = scores.mean(axis=0)
    # users score 0 or 1, and the best score so far is the best that the heads predict
    return expected_improvement(mean, scores.std(axis=0), float(mean.max()), trade_off=0.0)


def _probability(pool: Candidates, batch: int, seed: int) -> Array:
    answers = pool.answers()
    # where no class is looked for, a mix is left to its other measures
    return np.zeros(len(pool)) if pool.wanted is None else pool.column(answers)


def _typicality(pool: Candidates, batch: int, seed: int) -> Array:
    sample = np.random.default_rng(seed).permutation(len(pool))[:TYPICALITY_SAMPLE]
    return typicality(pool.features, NEIGHBOURS, among=np.sort(sample))


def _far(pool: Candidates, batch: int, seed: int) -> Array:
    """Descending along the k-centre choice of a batch; the others behind it at random, below 0."""
    given = np.concatenate([rows for rows in (pool.positives, pool.negatives) if len(rows)] or [pool.features[:0]])
    return _ordered(k_centre(pool.features, batch, seed=seed, given=given), -_random(pool, batch, seed))


def _random(pool: Candidates, batch: int, seed: int) -> Array:
    return np.random.default_rng(seed).random(len(pool))


MEASURES: dict[str, Measure] = {
    "margin": _uncertain(margin),
    "entropy": _uncertain(entropy),
    "bald": lambda pool, batch, seed: bald(pool.heads()),
    "similarity": _similarity,
    "expected-improvement": _improvement,
    "probability": _probability,
    "typicality": _typicality,
    "k-centre": _far,
    "random": _random,
}
ENSEMBLE_MEASURES = ("bald", "expected-improvement")

POLICIES: dict[str, Policy] = {
    policy.name: policy
    for policy in (
        Policy("random"),
        Policy("margin", (Term("margin"),)),
        Policy("entropy", (Term("entropy"),)),
        Policy("bald", (Term("bald"),)),
        Policy("powerbald", (Term("bald"),), beta=1.0),
        Policy("similarity", (Term("similarity"),)),
        Policy("expected-improvement", (Term("expected-improvement"),)),
        Policy("typicality", (Term("typicality"),)),
        Policy("k-centre", (Term("k-centre"),)),
        # replayed on simulated galaxies: ahead of margin where all classes count alike, level with it for a rare one
        Policy("loop", (Term("probability", 0.5), Term("margin", 0.5)), relevance=0.8),
    )
}


def find_policy(name: str) -> Policy:
    """The policy of a name.

    Raises
    ------
    PolicyError
        If there is none; the hint lists the names.
    """
    if name not in POLICIES:
        raise PolicyError(f"There is no policy {name!r}.", f"Choose from: {', '.join(POLICIES)}.")
    return POLICIES[name]


def judge(policy: Policy | str, pool: Candidates, *, batch: int, seed: int) -> Judgement:
    """The worth of a label of each candidate, and the propensity of each to be in the next batch.

    Parameters
    ----------
    policy : Policy or str
        Or its name.
    pool : Candidates
        What is known of them; what the policy's measures do not read may be left out.
    batch : int
        How many are labelled before the next judgement.
    seed : int
        Draws what the policy leaves to chance.

    Raises
    ------
    PolicyError
        If there is no such policy, or it needs what is not there: answers, an ensemble, a class to look for.
    FeaturesError
        If features or answers are not finite; the message names the rows.
    """
    chosen = find_policy(policy) if isinstance(policy, str) else policy
    _check(pool)
    if not len(pool):
        return Judgement(np.empty(0), np.empty(0))
    if not chosen.terms:
        return Judgement(_random(pool, batch, seed), np.full(len(pool), min(1.0, batch / len(pool))))
    worth = _mixed(chosen, pool, batch, seed)
    if chosen.relevance < 1:
        worth = _diverse(worth, pool.features, batch, chosen.relevance)
    if chosen.beta is None:
        return Judgement(worth, np.ones(len(pool)))
    drawn = power_draw(worth, beta=chosen.beta, seed=seed)
    return Judgement(drawn, inclusion(worth, drawn, batch, beta=chosen.beta))


def _mixed(policy: Policy, pool: Candidates, batch: int, seed: int) -> Array:
    values = [MEASURES[term.measure](pool, batch, seed) for term in policy.terms]
    if len(values) == 1:
        return values[0]
    total = sum(term.weight for term in policy.terms)
    ranks = [rankdata(value) / len(pool) for value in values]
    return np.asarray(sum(term.weight * rank for term, rank in zip(policy.terms, ranks, strict=True)) / total)


def _diverse(worth: Array, features: Matrix, batch: int, relevance: float) -> Array:
    """The best `batch` by marginal relevance first, in that order; the others behind them by worth."""
    ranks = rankdata(worth) / len(worth)
    short = np.sort(np.argsort(-ranks, kind="stable")[: max(SHORTLIST * batch, LEAST_SHORTLIST)])
    centred = features[short] - features.mean(axis=0, dtype=np.float64).astype(np.float32)
    order = marginal_relevance(ranks[short], centred, batch, trade_off=relevance)
    return _ordered(short[order], ranks - 1)


def _ordered(order: NDArray[np.int64], others: Array) -> Array:
    """Worths that descend from 1 along `order`; the others keep theirs, which are at most 0."""
    worth = others.copy()
    worth[order] = 1 - np.arange(len(order)) / max(len(order), 1)
    return worth


def _check(pool: Candidates) -> None:
    heads = None if pool.ensemble is None else np.swapaxes(pool.ensemble, 0, 1)
    for answers, what in ((pool.probabilities, "answers"), (heads, "ensemble's answers")):
        if answers is None:
            continue
        if len(answers) != len(pool):
            raise PolicyError(f"There are {len(answers)} {what} for {len(pool)} galaxies.", "Give one for each.")
        check_finite(answers, what)
    check_finite(pool.features, "features")
    check_finite(pool.positives, "positives' features")
    check_finite(pool.negatives, "negatives' features")
