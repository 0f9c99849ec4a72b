"""A ranking of the waiting tasks: the policy's order with the audit slice interleaved."""

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class QueuePlace:
    """One place in the queue.

    Attributes
    ----------
    index : int
        Which of the ranked candidates.
    rank : int
        0 is served first.
    priority : float
        (rank + 1) / (N + 1), in (0, 1): the score pushed to Label Studio, which serves the lowest first.
    propensity : float
        Probability with which the policy has this galaxy among the first places: 1 for a ranking without chance, the
        audit fraction for the audit slice.
    audit : bool
        Whether it is of the audit slice.
    """

    index: int
    rank: int
    priority: float
    propensity: float
    audit: bool


def interleave(
    worth: NDArray[np.float64],
    audit: NDArray[np.bool_],
    ids: NDArray[np.int64],
    *,
    fraction: float,
    seed: int,
    propensity: NDArray[np.float64] | None = None,
) -> list[QueuePlace]:
    """Rank candidates by descending worth, with an audit candidate drawn at random at every 1 / fraction-th place.

    Parameters
    ----------
    worth : ndarray (N,)
        What a label of each candidate is worth; ignored for audit candidates. Ties keep their order.
    audit : ndarray of bool (N,)
        Which candidates are of the audit slice.
    ids : ndarray (N,)
        Names the candidates from one refit to the next: the audit slice keeps its random order while it shrinks.
    fraction : float
        Share of audit candidates in any prefix of the queue, as long as both kinds last.
    seed : int
        Draws the order of the audit candidates.
    propensity : ndarray (N,), optional
        Of a policy that draws; ignored for audit candidates.
    """
    chances = np.ones(len(worth)) if propensity is None else propensity
    ranked = deque(int(i) for i in np.argsort(-worth, kind="stable") if not audit[i])
    draw = {int(i): np.random.default_rng([seed, int(ids[i])]).random() for i in np.flatnonzero(audit)}
    drawn = deque(sorted(draw, key=draw.__getitem__))
    places: list[QueuePlace] = []
    placed, total = 0, len(worth)
    for rank in range(total):
        due = placed < int(fraction * (rank + 1) + 1e-9)
        blind = bool(drawn) and (due or not ranked)
        index = drawn.popleft() if blind else ranked.popleft()
        placed += blind
        chance = fraction if blind else float(chances[index])
        places.append(QueuePlace(index, rank, (rank + 1) / (total + 1), chance, blind))
    return places
