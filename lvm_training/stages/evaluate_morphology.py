"""Stage `evaluate_morphology`: the head against the truth of the test split, in build/metrics and build/plots."""

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from lvm_training.evaluation import calibration, classification_metrics
from lvm_training.files import write_atomically
from lvm_training.model.classification import ClassificationHead
from lvm_training.pool.features import Features
from lvm_training.stages.embed import FEATURES
from lvm_training.stages.simulate import STAMP_SET, STAMPS
from lvm_training.stages.train_morphology import HEAD
from lvm_training.stamps.stampset import StampSet

METRICS = Path("build/metrics/morphology.json")
CONFUSION = Path("build/plots/morphology_confusion.csv")
CALIBRATION = Path("build/plots/morphology_calibration.csv")


def main() -> None:
    """Measure the morphology head on stamps that neither it nor the LVM was trained on."""
    head = ClassificationHead.load(HEAD.read_bytes())
    features = Features.open(FEATURES / f"{STAMP_SET}.npy")
    with StampSet(STAMPS / f"{STAMP_SET}.h5") as stamps:
        rows = np.flatnonzero(stamps.column("split") == "test")
        truth = [str(name) for name in stamps.column("morphology")[rows]]
    probabilities = head.predict(features.rows(rows))
    metrics = classification_metrics(truth, probabilities, head.classes)
    write_atomically(METRICS, lambda partial: partial.write_text(json.dumps(metrics, indent=2) + "\n"))
    predicted = [head.classes[code] for code in probabilities.argmax(axis=1)]
    _write_csv(CONFUSION, ("actual", "predicted"), zip(truth, predicted, strict=True))
    _write_csv(CALIBRATION, ("confidence", "accuracy", "stamps"), calibration(truth, probabilities, head.classes))


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    def write(partial: Path) -> None:
        with partial.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(header)
            writer.writerows(rows)

    write_atomically(path, write)


if __name__ == "__main__":
    main()
