"""Rounds: which stamps the search page shows next, from the labels so far."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backend_ml.acquisition.interest import similarity
from backend_ml.acquisition.measures import PolicyError
from backend_ml.queue.ranking import Labelled, Ranked, Waiting, rank
from backend_ml.store.features import mean_features, outliers_of
from lvm_training.heads.preference import NO, YES, PreferenceHead
from lvm_training.heads.prior import AlignedPrior
from lvm_training.pool.features import Features

OFFERED = ("loop", "most-likely", "margin", "similarity", "unusual", "random")
"""The policies people choose from; until something is labelled yes only "unusual" and "random" choose as they say."""
MOST_CANDIDATES = 100_000  # of a larger pool the most likely ones are judged
CHUNK = 65536
CLASSES = (NO, YES)

Matrix = NDArray[np.float32]


@dataclass(frozen=True)
class Examples:
    """What is known of the class that is looked for.

    Attributes
    ----------
    labels : dict of int to str
        The label of each stamp of the pool that has one, whatever it says.
    pictures : ndarray (E, D)
        Features of pictures that are wanted but are no stamps of the pool.
    blind : frozenset of int
        Stamps of the audit slice: their labels are shown, and nothing learns from them.
    prior : AlignedPrior or None
        What simulated stamps say of the class, where a search begins with them.
    """

    labels: dict[int, str]
    pictures: Matrix
    blind: frozenset[int] = frozenset()
    prior: AlignedPrior | None = None

    def rows(self, label: str) -> list[int]:
        """The stamps of a label that may be learned from, in order."""
        return sorted(row for row, given in self.labels.items() if given == label and row not in self.blind)


@dataclass(frozen=True)
class RoundStamp:
    """A stamp of a round.

    Attributes
    ----------
    stamp_id : int
    probability : float or None
        That it is wanted; None before anything is labelled yes.
    similarity : float or None
        Cosine to the nearest wanted stamp, after the pool's mean is taken off both.
    worth : float
        What its label is worth to the policy; only the order means something.
    propensity : float
        How likely the policy was to choose it.
    """

    stamp_id: int
    probability: float | None
    similarity: float | None
    worth: float
    propensity: float


@dataclass(frozen=True)
class SearchRound:
    """The stamps of a round, the first to look at first.

    Attributes
    ----------
    policy : str
        Which chose them; not the one asked for while too little is labelled yes.
    candidates : int
        From how many.
    left_out : int
        Stamps of the pool that cannot be chosen because their features are not finite.
    prior_share : float
        How much of what is said of these stamps comes from simulated ones, 0 to 1.
    set_apart : int
        Unusual stamps that are shown last, since they show no galaxy.
    """

    policy: str
    stamps: tuple[RoundStamp, ...]
    candidates: int
    left_out: int
    prior_share: float = 0.0
    set_apart: int = 0


def choose(
    pool: Features,
    examples: Examples,
    *,
    policy: str,
    size: int,
    seed: int,
    aside: Sequence[int] = (),
    allowed: NDArray[np.bool_] | None = None,
    shows: Callable[[NDArray[np.int64]], NDArray[np.bool_]] | None = None,
) -> SearchRound:
    """Choose the stamps of the next round.

    Before anything is labelled yes these are stamps that differ most from each other and from what is not wanted; with
    one or two, the nearest to them; from three on, what the policy makes of a preference head on all labels. A search
    with a prior shows what is most like the simulated stamps instead, until three are labelled yes.

    Parameters
    ----------
    pool : Features
        Of the stamp set that is searched; rows that are not finite are left out.
    policy : str
        One of `OFFERED`.
    size : int
        How many stamps, fewer where the pool ends.
    seed : int
        Draws what the policy leaves to chance.
    aside : sequence of int
        Stamps that somebody else has before them; taken only where no others are left.
    allowed : ndarray of bool (N,), optional
        Which stamps may be chosen; all by default. What is learned from does not depend on it.
    shows : callable, optional
        Tells of some stamps (n,) whether they show a galaxy; asked of unusual ones.

    Raises
    ------
    PolicyError
        If the policy is not offered.
    """
    if policy not in OFFERED:
        raise PolicyError(f"There is no policy {policy!r} here.", f"Choose from: {', '.join(OFFERED)}.")
    finite = pool.finite
    rows = _candidates(finite, examples, aside, allowed)
    wanted, unwanted = _known(pool, finite, examples)
    prior = examples.prior
    head = _fitted(pool, finite, wanted, unwanted, seed, prior) if len(rows) and (prior or len(wanted)) else None
    answers = None if head is None else _answers(pool, rows, head)
    known = _labelled(wanted, unwanted, simulated=prior is not None)
    waiting = Waiting(
        len(rows),
        lambda places: pool.rows(rows[places]),
        answers,
        shows=None if shows is None else lambda places: shows(rows[places]),
        outliers=outliers_of(pool) if policy == "unusual" else None,
    )
    ranked = rank(policy, waiting, known, batch=size, seed=seed, most_likely=MOST_CANDIDATES)
    best = ranked.best(size)
    stamps = _round_stamps(rows, best, ranked, answers, _nearness(pool, rows[best], wanted))
    share = float(head.prior_share(pool.rows(rows[best])).mean()) if head is not None and prior and len(best) else 0.0
    return SearchRound(ranked.policy, stamps, ranked.considered, int((~finite).sum()), share, ranked.set_apart)


def _candidates(
    finite: NDArray[np.bool_], examples: Examples, aside: Sequence[int], allowed: NDArray[np.bool_] | None
) -> NDArray[np.int64]:
    """Rows without a label; those that somebody else has before them only where no others are left."""
    free = finite.copy() if allowed is None else finite & allowed
    free[[row for row in examples.labels if row < len(free)]] = False
    others = free.copy()
    others[[row for row in aside if row < len(free)]] = False
    return np.flatnonzero(others if others.any() else free)


def _labelled(wanted: Matrix, unwanted: Matrix, *, simulated: bool) -> Labelled:
    """What candidates are compared with."""
    labels = [YES] * len(wanted) + [NO] * len(unwanted)
    return Labelled(np.concatenate([wanted, unwanted]), labels, CLASSES, CLASSES.index(YES), True, simulated)


def _round_stamps(
    rows: NDArray[np.int64],
    best: NDArray[np.int64],
    ranked: Ranked,
    answers: NDArray[np.float64] | None,
    near: NDArray[np.floating] | None,
) -> tuple[RoundStamp, ...]:
    """The best places of a ranking as stamps."""
    scores = None if answers is None else answers[:, CLASSES.index(YES)]
    return tuple(
        RoundStamp(
            int(rows[place]),
            None if scores is None else float(scores[place]),
            None if near is None else float(near[i]),
            float(ranked.worth[place]),
            float(ranked.propensity[place]),
        )
        for i, place in enumerate(best)
    )


def probabilities(pool: Features, examples: Examples, *, seed: int) -> NDArray[np.float64] | None:
    """That each stamp is wanted, shape (N,), NaN where features are not finite; None before anything speaks for any."""
    finite = pool.finite
    wanted, unwanted = _known(pool, finite, examples)
    if not len(wanted) and examples.prior is None:
        return None
    found = np.full(len(finite), np.nan)
    head = _fitted(pool, finite, wanted, unwanted, seed, examples.prior)
    answers = _answers(pool, np.flatnonzero(finite), head)
    found[finite] = answers[:, CLASSES.index(YES)]
    return found


def _known(pool: Features, finite: NDArray[np.bool_], examples: Examples) -> tuple[Matrix, Matrix]:
    """Features of what is wanted, pictures included, and of what is not; those that are not finite are left out."""
    wanted, unwanted = (
        pool.rows([row for row in examples.rows(label) if row < len(finite) and finite[row]]) for label in (YES, NO)
    )
    pictures = examples.pictures[np.isfinite(examples.pictures).all(axis=1)]
    return np.concatenate([wanted, pictures]), unwanted


def _fitted(
    pool: Features,
    finite: NDArray[np.bool_],
    wanted: Matrix,
    unwanted: Matrix,
    seed: int,
    prior: AlignedPrior | None,
) -> PreferenceHead:
    background = pool.matrix if finite.all() else pool.matrix[finite]
    labels = [YES] * len(wanted) + [NO] * len(unwanted)
    known = np.concatenate([wanted, unwanted])
    return PreferenceHead.fit(known, labels, seed=seed, background=background, prior=prior)


def _answers(pool: Features, rows: NDArray[np.int64], head: PreferenceHead) -> NDArray[np.float64]:
    """Probabilities (n, 2) of no and yes."""
    return np.concatenate([head.predict(pool.matrix[rows[at : at + CHUNK]]) for at in range(0, len(rows), CHUNK)])


def _nearness(pool: Features, rows: NDArray[np.int64], wanted: Matrix) -> NDArray[np.float64] | None:
    """Cosine of some rows to the nearest wanted stamp about the pool's mean; None where nothing is labelled yes."""
    if not len(wanted):
        return None
    centre = mean_features(pool)
    return similarity(pool.rows(rows) - centre, wanted - centre, wanted[:0])
