"""How much one more person's answers to a tree of questions would tell."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma

from backend_ml.acquisition.uncertainty import entropy
from lvm_training.galaxy_zoo.vote_tree import VoteTree

Array = NDArray[np.float64]


def question_information(concentrations: Array, tree: VoteTree) -> Array:
    """Mutual information of one answer to each question and the fractions of its answers.

    Of fractions p ~ Dirichlet(alpha) with mean m and sum a: the entropy of the mean minus the mean entropy (as `bald`;
    Houlsby et al. 2011, eq. 2; for vote fractions Walmsley et al. 2020, arXiv:1905.07424, section 4), with
    E[H(p)] = psi(a + 1) - sum_c m_c psi(alpha_c + 1), psi the digamma function (Wolpert & Wolf 1995, Phys. Rev. E 52,
    6841, theorem 8).

    Parameters
    ----------
    concentrations : ndarray (N, A)
        Alpha, positive, of each answer of `tree`.

    Returns
    -------
    ndarray (N, Q) in nats, at least 0: 0 where fractions are known, however far people disagree.
    """
    found = np.zeros((len(concentrations), len(tree.questions)))
    for place, columns in enumerate(tree.slices):
        alpha = concentrations[:, columns]
        total = alpha.sum(axis=1)
        mean = alpha / total[:, None]
        expected = digamma(total + 1) - (mean * digamma(alpha + 1)).sum(axis=1)
        found[:, place] = entropy(mean) - expected
    return np.maximum(found, 0.0)


def tree_information(concentrations: Array, tree: VoteTree) -> Array:
    """Mutual information of one person's path down the tree and the fractions of all its answers.

    By the chain rule it is the sum over questions of the chance that the person comes to one times what an answer to
    it tells, exactly so, since the fractions of different questions are independent given the galaxy.

    Parameters
    ----------
    concentrations : ndarray (N, A)
        As for `question_information`.

    Returns
    -------
    ndarray (N,) in nats, at least 0.
    """
    mean = np.concatenate(
        [concentrations[:, one] / concentrations[:, one].sum(axis=1, keepdims=True) for one in tree.slices], axis=1
    )
    return np.asarray((tree.reached(mean) * question_information(concentrations, tree)).sum(axis=1))
