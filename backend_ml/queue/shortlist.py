"""Which stamps of a pool a model looks at that answers only pictures: seconds each, where a head reads a million."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backend_ml.acquisition.measures import Matrix
from backend_ml.queue.ranking import FEWEST_WANTED
from backend_ml.store.features import finite_sample
from lvm_training.heads.preference import YES, PreferenceHead
from lvm_training.index.scan import best
from lvm_training.pool.features import Features
from lvm_training.pool.shards import Shards

LOOKS = 10  # stamps looked at for each that is wanted

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Shortlist:
    """Some rows of a pool, ascending.

    Attributes
    ----------
    rows : ndarray (n,) of int
    chance : ndarray (n,)
        How likely each was to be among them: 1 where a head chose it.
    """

    rows: Rows
    chance: NDArray[np.float64]


def shortlist(shard: Features, open_rows: Rows, known: Matrix, labels: list[str], *, size: int, seed: int) -> Shortlist:
    """Half the rows that are likeliest to show what is looked for, half drawn from the others.

    With fewer than three examples, which teach a head nothing, all are drawn. Rows without features are left out.

    Parameters
    ----------
    shard : Features
        The pool's; read in blocks.
    open_rows : ndarray of int
        That may be chosen.
    known : ndarray (L, D)
        Features of the labelled stamps.
    labels : list of str
        L times "yes" or "no".
    size : int
        How many rows, fewer where there are no more.
    """
    likely: Rows = np.empty(0, np.int64)
    if labels.count(YES) >= FEWEST_WANTED:
        head = PreferenceHead.fit(known, labels, seed=seed, background=finite_sample(shard))
        allowed = np.zeros(len(shard.matrix), dtype=bool)
        allowed[open_rows] = True
        likely = best(Shards([shard]), lambda _, rows: head.scores(rows), size // 2, allowed=allowed).rows
    others = np.setdiff1d(open_rows[shard.finite[open_rows]], likely)
    count = min(size - len(likely), len(others))
    drawn = np.random.default_rng(seed).choice(others, size=count, replace=False)
    rows = np.concatenate([likely, drawn])
    chance = np.concatenate([np.ones(len(likely)), np.full(count, count / max(len(others), 1))])
    order = np.argsort(rows)
    return Shortlist(rows[order], chance[order])
