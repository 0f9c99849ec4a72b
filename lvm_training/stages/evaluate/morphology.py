"""Stage `evaluate_morphology`: the head against the truth of the test split, in build/metrics and build/plots."""

import numpy as np

from lvm_training.evaluation.metrics import calibration, classification_metrics
from lvm_training.files import write_csv, write_json
from lvm_training.heads.classification import ClassificationHead
from lvm_training.paths import (
    FEATURE_FILE,
    HEAD,
    MORPHOLOGY_CALIBRATION,
    MORPHOLOGY_CONFUSION,
    MORPHOLOGY_METRICS,
    STAMP_FILE,
)
from lvm_training.pool.features import Features
from lvm_training.stamps.stampset import StampSet


def main() -> None:
    """Measure the morphology head on stamps that neither it nor the LVM was trained on."""
    head = ClassificationHead.load(HEAD.read_bytes())
    features = Features.open(FEATURE_FILE)
    with StampSet(STAMP_FILE) as stamps:
        rows = np.flatnonzero(stamps.column("split") == "test")
        truth = [str(name) for name in stamps.column("morphology")[rows]]
    probabilities = head.predict(features.rows(rows))
    metrics = classification_metrics(truth, probabilities, head.classes)
    write_json(MORPHOLOGY_METRICS, metrics)
    predicted = [head.classes[code] for code in probabilities.argmax(axis=1)]
    write_csv(MORPHOLOGY_CONFUSION, ("actual", "predicted"), zip(truth, predicted, strict=True))
    write_csv(
        MORPHOLOGY_CALIBRATION, ("confidence", "accuracy", "stamps"), calibration(truth, probabilities, head.classes)
    )


if __name__ == "__main__":
    main()
