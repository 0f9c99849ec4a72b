"""Stage `release_detector`, frozen: models/detector-nano/, with which detection and campaigns of lenses begin.

The detector of profile `nano`, whatever profile is active, on the released LVM and on endless simulated stamps. A
killed run goes on. Its card says how it does on the test split, and on real pictures where they are at hand.
"""

from collections.abc import Mapping
from pathlib import Path

from lvm_training.detection.detector import Detector
from lvm_training.evaluation.real_lenses import real_data, real_figures
from lvm_training.lenses.lens_sets import lens_rendering, read_lenses, write_lenses
from lvm_training.lenses.lens_stamps import WANTED
from lvm_training.objects.metrics import false_positive_threshold, picture_scores
from lvm_training.params import load_params
from lvm_training.paths import NANO_BUILD, RELEASED_DETECTOR, RELEASED_LVM
from lvm_training.progress import progress_bar
from lvm_training.stages.evaluate.detector import RATES, detection_metrics
from lvm_training.stages.train.detector import Inputs, Outputs, run_training

PROFILE = "nano"


def figures(detector: Detector, stamps: Path, truth: Path) -> dict[str, float]:
    """How a detector does on the test split, `test/...`, and on real pictures, `real/...`, at the score that one in a
    hundred simulated look-alikes exceeds."""
    rendering = lens_rendering(detector.design.size)
    split = read_lenses(stamps, truth, "test", rendering)
    found = detector.predict(split.images)
    threshold = false_positive_threshold(picture_scores(found, WANTED), split.positive, RATES[0])
    named: dict[str, Mapping[str, float]] = {
        "test": detection_metrics(split, found) | {"threshold": threshold},
        "real": real_figures(detector.predict, rendering, real_data(), threshold),
    }
    return {f"{part}/{name}": value for part, those in named.items() for name, value in those.items()}


def main() -> None:
    """Make the released detector."""
    params = load_params(profile=PROFILE)
    stamps, truth = NANO_BUILD / "lenses.h5", NANO_BUILD / "lenses.json"
    if not truth.is_file():
        with progress_bar("Simulated lenses") as progress:
            write_lenses(stamps, truth, params.lenses, progress=progress)
    run_training(
        "detector-nano",
        params.detector,
        params.lenses,
        Inputs(stamps, truth, RELEASED_LVM),
        Outputs(RELEASED_DETECTOR, NANO_BUILD / "detector.json", NANO_BUILD / "detector.csv"),
        judged=lambda detector: figures(detector, stamps, truth),
        half=True,
    )


if __name__ == "__main__":
    main()
