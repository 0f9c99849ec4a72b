"""Stage `evaluate_parameters`: measured against true parameters of the test split, in build/metrics and build/plots."""

import numpy as np

from lvm_training.evaluation.parameters import parameter_metrics
from lvm_training.evaluation.plots import parameter_panels
from lvm_training.files import write_csv, write_json
from lvm_training.parameters.measure import split_features
from lvm_training.parameters.released import load_parameters
from lvm_training.parameters.truth import SIMULATED, truth_of
from lvm_training.paths import (
    ORIENTED_FILE,
    PARAMETERS_FIGURE,
    PARAMETERS_FOLDER,
    PARAMETERS_MEASURED,
    PARAMETERS_METRICS,
    STAMP_FILE,
)
from lvm_training.pool.features import Features
from lvm_training.stamps.stampset import StampSet


def main() -> None:
    """Measure the head of parameters on stamps that neither it nor the LVM was trained on."""
    head, _ = load_parameters(PARAMETERS_FOLDER)
    features = Features.open(ORIENTED_FILE)
    with StampSet(STAMP_FILE) as stamps:
        rows = np.flatnonzero(stamps.column("split") == "test")
        truth = truth_of(stamps, SIMULATED)
    true, names = truth.values[rows], truth.names
    found = head.predict(*split_features(features.rows(rows)))
    write_json(PARAMETERS_METRICS, {"stamps": len(rows)} | parameter_metrics(true, found.values, found.errors, names))
    write_csv(
        PARAMETERS_MEASURED,
        ("parameter", "truth", "measured", "error"),
        [
            (name, *(round(float(part[row, place]), 5) for part in (true, found.values, found.errors)))
            for place, name in enumerate(names)
            for row in range(len(rows))
        ],
    )
    parameter_panels(true, found.values, found.errors, names, PARAMETERS_FIGURE)


if __name__ == "__main__":
    main()
