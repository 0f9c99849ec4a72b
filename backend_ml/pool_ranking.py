"""The stamps of a large pool whose labels are worth most: features are read in blocks, nothing is done row by row."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from backend_ml.acquisition.measures import Array, Candidates, Matrix
from backend_ml.acquisition.policy import Policy, diverse, find_policy, judge
from backend_ml.label_worth import COLD_START, Labelled, chosen_policy, push_seed
from backend_ml.records import Campaign
from lvm_training.pool.features import Features

BLOCK = 32768  # rows read at a time
SAMPLE = 65536  # rows among which a measure that compares all with all chooses
ALL_WITH_ALL = {"typicality", "k-centre"}

Rows = NDArray[np.int64]
Predict = Callable[[Matrix], Array]
"""Probabilities (n, C) for features (n, D)."""


@dataclass(frozen=True)
class Best:
    """The rows to label first, and how they were chosen.

    Attributes
    ----------
    rows : ndarray (n,) of int
    propensity : ndarray (n,)
        Probability of each to be among them.
    policy : str
        `COLD_START` where the campaign's needs what is not there yet.
    seed : int
        What it left to chance was drawn from this.
    """

    rows: Rows
    propensity: Array
    policy: str
    seed: int


def best_of_pool(
    campaign: Campaign,
    features: Features,
    rows: Rows,
    predict: Predict | None,
    labelled: Labelled,
    last_event: int,
    count: int,
) -> Best:
    """The `count` stamps of a pool whose labels are worth most under the campaign's policy.

    Measures that compare all with all (k-centre, typicality) choose among 65,536 rows drawn at random; all others
    judge every row.

    Parameters
    ----------
    features : Features
        Of the whole stamp set.
    rows : ndarray (N,) of int
        The pool, in ascending order.
    predict : callable or None
        The campaign's head; None in a cold start.
    labelled : Labelled
    last_event : int
        The newest label event, of which the seed is made.
    count : int
        At most N are chosen.

    Raises
    ------
    FeaturesError
        If a feature is not finite.
    """
    seed = push_seed(campaign, last_event)
    missing = frozenset({"boxes", "views"} if predict is not None else {"boxes", "views", "answers", "ensemble"})
    name = chosen_policy(campaign, labelled, missing)
    policy, count = find_policy(name), min(count, len(rows))
    if not count:
        return Best(rows[:0], np.empty(0), name, seed)
    share = 1.0
    if {term.measure for term in policy.terms} & ALL_WITH_ALL and len(rows) > SAMPLE:
        share = SAMPLE / len(rows)
        rows = np.sort(np.random.default_rng(seed).choice(rows, size=SAMPLE, replace=False))
    pool = _Pool(features, rows, predict, labelled, policy, seed)
    if "ensemble" in policy.needs and pool.heads is None:
        cold = replace(campaign, policy=COLD_START)
        return best_of_pool(cold, features, rows, predict, labelled, last_event, count)
    worth, propensity = pool.judged(count)
    order = np.argsort(-worth, kind="stable")[:count]
    return Best(rows[order], share * propensity[order], name, seed)


class _Pool:
    """A pool under a policy; `heads` and `probabilities` are there if the policy reads them."""

    def __init__(
        self,
        features: Features,
        rows: Rows,
        predict: Predict | None,
        labelled: Labelled,
        policy: Policy,
        seed: int,
    ) -> None:
        self.features, self.rows, self.labelled, self.policy, self.seed = features, rows, labelled, policy, seed
        self.positives, self.negatives = labelled.of(looked_for=True), labelled.of(looked_for=False)
        self.probabilities: Array | None = None
        self.heads: Array | None = None
        if predict is not None and "answers" in policy.needs:
            self.probabilities = np.concatenate([predict(block) for block in self.blocks()])
        if "ensemble" in policy.needs:
            self.heads = self._ensemble()

    def blocks(self) -> Iterator[Matrix]:
        for start in range(0, len(self.rows), BLOCK):
            yield self.features.rows(self.rows[start : start + BLOCK])

    def _ensemble(self) -> Array | None:
        # the same background for every block, so that its heads are the same
        drawn = np.random.default_rng(self.seed).permutation(len(self.rows))[:BLOCK]
        background = self.features.rows(self.rows[np.sort(drawn)])
        parts = []
        for block in self.blocks():
            part = self.labelled.ensemble(block, self.seed, background)
            if part is None:
                return None
            parts.append(part)
        return np.concatenate(parts, axis=1)

    def judged(self, count: int) -> tuple[Array, Array]:
        """Worth and propensity of each row."""
        measures = {term.measure for term in self.policy.terms}
        if measures & ALL_WITH_ALL:
            found = judge(self.policy, self.candidates(self.features.rows(self.rows)), batch=count, seed=self.seed)
            return found.worth, found.propensity
        if "similarity" in measures:
            centre = self._centre()
            parts = (replace(self.candidates(block), centre=centre) for block in self.blocks())
            blocks = [judge(self.policy, part, batch=count, seed=self.seed).worth for part in parts]
            return np.concatenate(blocks), np.ones(len(self.rows))
        unread = np.empty((len(self.rows), 0), dtype=np.float32)
        alike = replace(self.policy, relevance=1.0)
        found = judge(alike, self.candidates(unread), batch=count, seed=self.seed)
        worth = found.worth
        if self.policy.relevance < 1:
            worth = diverse(worth, self._read, self._centre(), count, self.policy.relevance)
        return worth, found.propensity

    def _read(self, places: Rows) -> Matrix:
        return self.features.rows(self.rows[places])

    def candidates(self, features: Matrix) -> Candidates:
        """The rows as the policy sees them."""
        known = (self.probabilities, self.heads, self.positives, self.negatives)
        return Candidates(features, *known, self.labelled.wanted)

    def _centre(self) -> Matrix:
        total = np.zeros(self.features.matrix.shape[1])
        for block in self.blocks():
            total += block.sum(axis=0, dtype=np.float64)
        return (total / len(self.rows)).astype(np.float32)
