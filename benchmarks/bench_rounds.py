"""Claim: the head of a search is fitted and applied over 1,000,000 features in 2 s; the next round comes within one.

`head`: fit on 40 yes and 160 no, calibration included, and the log-odds of the whole pool, read from a memory map.
`round`: what the search page does between two rounds, on top of that the policy's choice of twenty (`loop`);
`simulated_first` and `simulated_later` the same where a search begins with what the simulator draws. The anchor
is what one would write without this library: scikit-learn's logistic regression on the standardised answers, without
calibration, and its decision function over the pool a block at a time. Features are drawn (five overlapping kinds, 384
numbers each, float16), and have been read once before.

    python -m benchmarks.bench_rounds [--pools 20000,100000,1000000] [--turns 5]
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from backend_ml.kinds.simulated import aligned
from backend_ml.search.rounds import Examples, choose
from benchmarks.drawn_pool import KINDS, write_features
from benchmarks.report import Row, save
from lvm_training.heads.preference import NO, YES, PreferenceHead
from lvm_training.heads.prior import AlignedPrior, Prior
from lvm_training.pool.features import Features, Origin

WIDTH, BLOCK = 384, 32768
ANSWERS, WANTED = 200, 0  # the first rows are labelled; those of one kind are wanted
ROUND = 20


def fitted(pool: Features) -> None:
    """Our head, and its log-odds over the pool."""
    head = PreferenceHead.fit(pool.rows(np.arange(ANSWERS)), labels(), seed=0, background=pool.matrix)
    head.log_odds(pool.matrix)


def by_hand(pool: Features) -> NDArray[np.float64]:
    """The anchor's decisions over the pool."""
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(pool.rows(np.arange(ANSWERS)), labels())
    blocks = range(0, len(pool.matrix), BLOCK)
    return np.concatenate([model.decision_function(pool.matrix[at : at + BLOCK].astype(np.float32)) for at in blocks])


def next_round(pool: Features) -> None:
    """A round of the search page."""
    examples = Examples(dict(enumerate(labels())), np.empty((0, WIDTH), dtype=np.float32))
    choose(pool, examples, policy="loop", size=ROUND, seed=0)


def first_round(pool: Features) -> None:
    """The first round of a search that begins with what the simulator draws."""
    nothing = np.empty((0, WIDTH), dtype=np.float32)
    choose(pool, Examples({}, nothing, prior=prior(pool)), policy="loop", size=ROUND, seed=0)


def later_round(pool: Features) -> None:
    """A later one, with all the labels."""
    known = dict(enumerate(labels()))
    examples = Examples(known, np.empty((0, WIDTH), dtype=np.float32), prior=prior(pool))
    choose(pool, examples, policy="loop", size=ROUND, seed=0)


def prior(pool: Features) -> AlignedPrior:
    """What simulated stamps could say, standardised by the pool."""
    weights = np.random.default_rng(1).normal(0, 0.1, (2, WIDTH))
    return aligned(Prior((NO, YES), weights, np.zeros(2)), pool)


def labels() -> list[str]:
    """The answers to the first rows."""
    return [YES if row % KINDS == WANTED else NO for row in range(ANSWERS)]


def seconds(work: Callable[[Features], object], pool: Features, turns: int) -> float:
    """Median of so many turns, the first one left out."""
    taken = []
    for _ in range(turns + 1):
        started = time.perf_counter()
        work(pool)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken[1:])


def main() -> None:
    """Measure each pool and print a row for it."""
    parser = argparse.ArgumentParser(description="A search's head and rounds.")
    parser.add_argument("--pools", default="20000,100000,1000000")
    parser.add_argument("--turns", type=int, default=5)
    asked = parser.parse_args()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    rows: list[Row] = []
    for n in [int(n) for n in asked.pools.split(",")]:
        with TemporaryDirectory() as folder:
            path = Path(folder) / "pool.npy"
            write_features(path, Origin(name="pool", stamps="drawn", encoder="drawn", rows=n, width=WIDTH))
            pool = Features.open(path)
            head, anchor = seconds(fitted, pool, asked.turns), seconds(by_hand, pool, asked.turns)
            shown = seconds(next_round, pool, asked.turns)
            first, later = (seconds(work, pool, asked.turns) for work in (first_round, later_round))
        rows.append({"pool": n, "head_s": head, "by_hand_s": anchor, "ratio": anchor / head, "round_s": shown})
        rows[-1] |= {"simulated_first_s": first, "simulated_later_s": later}
    save("rounds", rows)


if __name__ == "__main__":
    main()
