"""How far simulated stamps are from the sky: what a head that learned from them alone knows of real ones."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from lvm_training.simulated.simulated_set import SimulatedSet


def zero_label_auc(
    simulated: SimulatedSet, classes: Mapping[str, str], standard: NDArray[np.floating], labels: NDArray[np.str_]
) -> dict[str, float]:
    """AUC of each class against the others on real stamps, without a human label.

    Parameters
    ----------
    simulated : SimulatedSet
        Of the same encoder as the features.
    classes : mapping of str to str
        The concepts of each class.
    standard : ndarray (N, D)
        Features of real stamps, `standardised` set by set, with all that a set holds.
    labels : ndarray (N,)
        Classes, empty where there is none.

    Returns
    -------
    dict
        By class, those that are drawn and that some, but not all, of the labelled stamps have.
    """
    known = np.flatnonzero(labels != "")
    if len(set(simulated.labels(classes)) - {""}) < 2 or not len(known):
        return {}
    prior = simulated.prior(classes)
    answers = prior.predict(standard[known])
    truth = {name: labels[known] == name for name in prior.classes}
    return {
        name: float(roc_auc_score(truth[name], answers[:, place]))
        for place, name in enumerate(prior.classes)
        if 0 < truth[name].sum() < len(known)
    }
