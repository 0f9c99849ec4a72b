"""Simulated volunteers: fractions drawn from concentrations, and votes from fractions, question by question."""

import numpy as np
from numpy.typing import NDArray

from lvm_training.galaxy_zoo.vote_tree import VoteTree

Floats = NDArray[np.float64]


def drawn(tree: VoteTree, concentrations: Floats, seed: int) -> Floats:
    """Fractions (N, A) of endlessly many voters, Dirichlet in each question."""
    gammas = np.random.default_rng((seed, 1)).gamma(np.maximum(concentrations, 1e-3)) + 1e-300
    sums = [np.repeat(gammas[:, one].sum(axis=1)[:, None], one.stop - one.start, axis=1) for one in tree.slices]
    return np.asarray(gammas / np.concatenate(sums, axis=1))


def cast_votes(tree: VoteTree, fractions: Floats, voters: NDArray[np.int64], seed: int) -> Floats:
    """Counts (N, A) of so many voters (N,) a galaxy, each of whom goes down the tree."""
    rng = np.random.default_rng((seed, 2))
    counts = np.zeros(fractions.shape)
    for question, columns in zip(tree.questions, tree.slices, strict=True):
        led = [tree.keys.index(key) for key in question.after]
        asked = counts[:, led].sum(axis=1).astype(np.int64) if led else voters
        shares = fractions[:, columns] / fractions[:, columns].sum(axis=1, keepdims=True)
        counts[:, columns] = rng.multinomial(asked, shares)
    return counts
