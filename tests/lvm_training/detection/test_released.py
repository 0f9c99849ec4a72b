"""models/detector-nano: the detector that is there before anything is trained."""

from pathlib import Path

import numpy as np
import pytest

from lvm_training.detection.checkpoint import TrainedDetector
from lvm_training.lenses.lens_sets import lens_rendering, simulated_pictures
from lvm_training.lenses.lens_stamps import OBJECTS, LensPopulation
from lvm_training.model.encoder import WEIGHTS, load_checkpoint
from lvm_training.objects.instances import Instances, box_overlaps
from lvm_training.objects.metrics import picture_scores
from lvm_training.paths import RELEASED_DETECTOR, RELEASED_LVM

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / RELEASED_DETECTOR
# rings and arcs that anybody sees, and early types without any
CLEAN = LensPopulation(0.5, (2.0, 2.6), (350.0, 400.0), (0.0, 0.0, 0.0, 0.0, 1.0, 0.0))


@pytest.fixture(scope="module")
def released() -> TrainedDetector:
    return TrainedDetector.load(FOLDER)


def test_its_file_is_small_and_its_card_says_what_it_is(released: TrainedDetector) -> None:
    assert (FOLDER / WEIGHTS).stat().st_size <= 20_000_000
    card = released.card
    assert released.classes == OBJECTS and card.rendering == lens_rendering(128)
    assert card.encoder == load_checkpoint(ROOT / RELEASED_LVM)[1].encoder
    for name in ("test/accuracy", "test/box_ap50_arc", "test/mask_ap", "test/completeness_0.01", "real/cfhtls_auc"):
        assert 0 <= card.metrics[name] <= 1
    assert card.params["backbone"] == "lvm" and card.params["seed"] == 1 and card.data and card.code


def right(found: Instances, truth: Instances) -> bool:
    """Whether the best arc overlaps the true one by half."""
    (wanted,) = truth.boxes[[name == "arc" for name in truth.classes]]
    arcs = found.boxes[[name == "arc" for name in found.classes]]
    return bool(len(arcs)) and bool(box_overlaps(arcs[:1], wanted[None])[0, 0] >= 0.5)


def test_it_finds_arcs_on_clean_lenses_and_none_on_plain_galaxies(released: TrainedDetector) -> None:
    images, truths = simulated_pictures(24, np.random.default_rng((0, 99)), CLEAN, released.rendering)
    found, lens = released.predict(images), np.array(["arc" in truth.classes for truth in truths])
    assert lens.sum() == 12
    assert np.mean([right(found[row], truths[row]) for row in np.flatnonzero(lens)]) >= 0.75
    scores = picture_scores(found, "arc")
    assert np.median(scores[lens]) > scores[~lens].max()
