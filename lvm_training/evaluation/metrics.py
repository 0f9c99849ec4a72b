"""How good a classifier's probabilities are."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, f1_score, recall_score, roc_auc_score

from lvm_training.errors import LabelError

CALIBRATION_BINS = 10


def classification_metrics(
    truth: Sequence[str], probabilities: NDArray[np.float64], classes: Sequence[str]
) -> dict[str, float]:
    """Measures of probabilities (N, C) against N true classes.

    `accuracy`; `balanced_accuracy`, the mean recall; `f1`, its mean over classes; `auc`, one class against the rest,
    mean over the classes that occur; `log_loss`, nats; `calibration_error`, the mean gap between confidence and
    accuracy over equal-width bins of confidence (Naeini et al. 2015, AAAI).

    Raises
    ------
    LabelError
        If there are no stamps, or all are of one class.
    """
    present = sorted(set(truth))
    if len(present) < 2:
        raise LabelError(f"Measuring needs stamps of two classes; there are {len(truth)} of {len(present)}.")
    predicted = [classes[code] for code in probabilities.argmax(axis=1)]
    codes = np.array([classes.index(name) for name in truth])
    likely = np.maximum(probabilities[np.arange(len(codes)), codes], np.finfo(np.float64).tiny)
    areas = [roc_auc_score(codes == code, probabilities[:, code]) for code in np.unique(codes)]
    bins = calibration(truth, probabilities, classes)
    return {
        "stamps": len(truth),
        "accuracy": float(accuracy_score(truth, predicted)),
        "balanced_accuracy": float(recall_score(truth, predicted, labels=present, average="macro")),
        "f1": float(f1_score(truth, predicted, labels=present, average="macro", zero_division=0)),
        "auc": float(np.mean(areas)),
        "log_loss": float(-np.log(likely).mean()),
        "calibration_error": sum(count * abs(sure - right) for sure, right, count in bins) / len(truth),
    }


def calibration(
    truth: Sequence[str], probabilities: NDArray[np.float64], classes: Sequence[str]
) -> list[tuple[float, float, int]]:
    """Mean confidence, accuracy and number of stamps in each bin of confidence that has any."""
    confidence = probabilities.max(axis=1)
    right = np.array(classes)[probabilities.argmax(axis=1)] == np.array(truth)
    places = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    groups = [places == place for place in np.unique(places)]
    return [(float(confidence[g].mean()), float(right[g].mean()), int(g.sum())) for g in groups]
