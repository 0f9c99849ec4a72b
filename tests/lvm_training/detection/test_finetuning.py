"""Fine-tuning a small detector of lenses on pictures that a person labelled."""

from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from lvm_training.detection.checkpoint import TrainedDetector, detector_digest, save_detector
from lvm_training.detection.data import DetectionData
from lvm_training.detection.detector import Detector
from lvm_training.detection.detectron import losses
from lvm_training.detection.finetuning import finetune
from lvm_training.errors import LabelError, StampError
from lvm_training.lenses.lens_sets import draw_pool, lens_rendering, simulated_pictures
from lvm_training.lenses.lens_stamps import FIELD, OBJECTS, SIZE, LensPopulation, draw_lens_stamps
from lvm_training.objects.instances import Instances
from lvm_training.params import FinetuneParams
from lvm_training.stamps.rendering import Rendering
from lvm_training.stamps.stampset import LEGACY_PIXEL_SCALE
from tests.lvm_training.detection.detection_pictures import CLASSES, ON_LVM, SIDE, Recipe, labelled, negatives

RENDERING = Rendering(size=SIDE, field=SIDE * LEGACY_PIXEL_SCALE)
POPULATION = LensPopulation(einstein_radius=(0.8, 1.5))
PARAMS = FinetuneParams(
    steps=6, batch=6, learning_rate=2e-3, warmup=1, epoch_steps=2, fewest_replayed=4, most_replayed=8, seed=3
)


def a_detector(folder: Path, classes: tuple[str, ...], **params: float) -> TrainedDetector:
    detector = Detector.start(ON_LVM.model_copy(update={"classes": classes}), seed=1)
    save_detector(folder, detector, RENDERING, encoder="", data="", code="", params=params, metrics={})
    return TrainedDetector.load(folder)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> TrainedDetector:
    return a_detector(tmp_path_factory.mktemp("base"), OBJECTS)


@dataclass(frozen=True)
class Labels:
    """What people labelled."""

    images: torch.Tensor
    truths: list[Instances]
    drawn: list[NDArray[np.bool_]]


@pytest.fixture(scope="module")
def labels() -> Labels:
    """Squares and discs as arcs and deflectors, the last one without a drawn mask, and a picture without objects."""
    images, shapes = labelled(4)
    truths = [replace(one, classes=(OBJECTS[CLASSES.index(one.classes[0])],)) for one in shapes]
    empty, nothing = negatives(1)
    drawn = [np.array([known]) for known in (True, True, True, False)]
    return Labels(torch.cat([images, empty]), [*truths, *nothing], [*drawn, np.zeros(0, dtype=bool)])


def tuned(base: TrainedDetector, labels: Labels, resume: Path, *, params: FinetuneParams = PARAMS) -> Detector:
    return finetune(base, labels.images, labels.truths, labels.drawn, params, POPULATION, resume)


def loss(detector: Detector, images: torch.Tensor, truths: list[Instances]) -> float:
    """All losses together, averaged over samples of proposals; the detector stays as it is."""
    network = deepcopy(detector.network).train()
    targets = DetectionData(images, truths, detector.design, Recipe()).targets
    torch.manual_seed(0)
    with torch.no_grad():
        return float(np.mean([sum(losses(network, images, targets).values()) for _ in range(4)]))


def test_it_learns_the_labels_and_rehearses(base: TrainedDetector, labels: Labels, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    start = deepcopy(base.network)
    params = PARAMS.model_copy(update={"steps": 16, "epoch_steps": 16})
    given = (labels.images, labels.truths, labels.drawn, params, POPULATION, tmp_path)
    found = finetune(base, *given, progress=lambda done, steps: calls.append((done, steps)))
    assert calls[-1] == (16, 16) and not found.training and found.classes == OBJECTS
    assert loss(found, labels.images, labels.truths) < 0.7 * loss(start, labels.images, labels.truths)
    # lenses it has never seen, of the population that is rehearsed
    others = simulated_pictures(8, np.random.default_rng(9), POPULATION, RENDERING)
    assert loss(found, *others) < 0.8 * loss(start, *others)
    # the base is what it was
    assert detector_digest(start, RENDERING) == detector_digest(base.network, RENDERING) == base.digest
    assert detector_digest(found, RENDERING) != base.digest


def test_the_weights_depend_on_the_inputs_alone(base: TrainedDetector, labels: Labels, tmp_path: Path) -> None:
    short = PARAMS.model_copy(update={"steps": 2})
    other = replace(labels, drawn=[np.array([False]), *labels.drawn[1:]])
    runs = [(labels, short), (labels, short), (other, short), (labels, short.model_copy(update={"seed": 4}))]
    digests = []
    for number, (given, params) in enumerate(runs):
        torch.manual_seed(number)
        digests.append(detector_digest(tuned(base, given, tmp_path / str(number), params=params), RENDERING))
    assert digests[0] == digests[1] and len(set(digests)) == 3


def test_what_was_learned_from_other_surveys_pictures_is_rehearsed_on_them(labels: Labels, tmp_path: Path) -> None:
    """Else a detector that reads other surveys forgets them with the first labels."""

    def run(name: str, population: LensPopulation | None, **params: float) -> str:
        base = a_detector(tmp_path / name, OBJECTS, **params)
        given = (labels.images, labels.truths, labels.drawn, PARAMS, population, tmp_path / f"{name}-{population}")
        return detector_digest(finetune(base, *given), RENDERING)

    assert run("own", POPULATION) != run("mixed", POPULATION, realism=0.5)
    assert run("own", None) == run("mixed", None, realism=0.5)


def test_a_killed_run_ends_as_an_uninterrupted_one(base: TrainedDetector, labels: Labels, tmp_path: Path) -> None:
    done: list[int] = []

    def stop(step: int, _: int) -> None:
        done.append(step)
        if len(done) == 3:
            raise KeyError("killed")

    def run(folder: str) -> str:
        given = (labels.images, labels.truths, labels.drawn, PARAMS, POPULATION, tmp_path / folder)
        return detector_digest(finetune(base, *given, progress=stop), RENDERING)

    with pytest.raises(KeyError):
        run("parts")
    digest = run("parts")
    # steps 1 and 2 are kept, and 3 is taken again
    assert done == [1, 2, 3, 3, 4, 5, 6]
    assert digest == run("whole")
    # a run that was done, but whose detector was not saved, has nothing left to do
    assert run("whole") == digest and done[-1] == 6 and len(done) == 13


def test_replayed_pictures_are_the_pools_own() -> None:
    """On the detectors' usual grid stamps are rendered as those of a pool, and the truth is the stamps'."""
    stamps = draw_lens_stamps(6, np.random.default_rng((5, 3, 0)), LensPopulation())
    images, truths = simulated_pictures(6, np.random.default_rng((5, 3, 0)), LensPopulation(), lens_rendering(SIZE))
    ((pool, _),) = draw_pool(6, LensPopulation().lens_share, LensPopulation(), lens_rendering(SIZE), seed=5)
    assert torch.equal(images, pool)
    assert sum(map(len, truths)) > 6
    for found, truth in zip(truths, stamps.objects, strict=True):
        assert found.classes == truth.classes
        np.testing.assert_array_equal(found.masks, truth.masks)
        np.testing.assert_array_equal(found.boxes, truth.boxes)


@pytest.mark.parametrize("size", [32, 128])
def test_objects_lie_on_pictures_of_any_size(size: int) -> None:
    _, truths = simulated_pictures(6, np.random.default_rng(5), LensPopulation(), Rendering(size=SIZE, field=FIELD))
    images, found = simulated_pictures(6, np.random.default_rng(5), LensPopulation(), Rendering(size=size, field=FIELD))
    assert images.shape == (6, 3, size, size)
    for one, truth in zip(found, truths, strict=True):
        assert one.classes == truth.classes and one.shape == (size, size)
        # a box moves by less than a pixel of the coarser grid
        assert np.abs(one.boxes / size - truth.boxes / SIZE).max(initial=0) <= 1 / min(size, SIZE)
        if size > SIZE:
            np.testing.assert_array_equal(one.masks[:, ::2, ::2], truth.masks)
            np.testing.assert_array_equal(one.masks[:, 1::2, 1::2], truth.masks)


def test_masks_lie_on_the_light_where_a_field_is_no_whole_number_of_pixels() -> None:
    images, truths = simulated_pictures(12, np.random.default_rng(2), POPULATION, Rendering(size=SIDE, field=20.1))
    light, masks = images.mean(1).numpy(), np.stack([truth.masks.any(axis=0) for truth in truths])
    shifted = np.roll(masks, 8, axis=2)
    assert masks.any(axis=(1, 2)).sum() > 8
    assert light[masks].mean() > 1.5 * light[shifted].mean()


def test_labels_that_cannot_be_learned_from(base: TrainedDetector, labels: Labels, tmp_path: Path) -> None:
    star = [replace(labels.truths[0], classes=("star",)), *labels.truths[1:]]
    for given, error, message in (
        (replace(labels, images=labels.images[:0], truths=[], drawn=[]), LabelError, "no labelled picture"),
        (replace(labels, truths=labels.truths[1:]), LabelError, "5 pictures have 4 truths and 5"),
        (replace(labels, drawn=labels.drawn[1:]), LabelError, "5 truths and 4"),
        (replace(labels, drawn=[np.ones(2, dtype=bool), *labels.drawn[1:]]), LabelError, "not said of every object"),
        (replace(labels, truths=star), LabelError, "outside the classes: star"),
        (replace(labels, images=torch.zeros(5, 3, 64, 64)), StampError, r"pictures \(N, 3, 32, 32\)"),
    ):
        with pytest.raises(error, match=message):
            tuned(base, given, tmp_path)
    assert not any(tmp_path.iterdir())


def test_a_detector_of_other_objects_learns_without_replay(tmp_path: Path) -> None:
    base = a_detector(tmp_path / "base", CLASSES)
    images, truths = labelled(3)
    given = Labels(images, truths, [np.ones(1, dtype=bool)] * 3)
    with pytest.raises(LabelError, match="does not know arc, deflector, galaxy") as caught:
        tuned(base, given, tmp_path / "resume")
    assert "set `replay` to 0" in caught.value.hint
    alone = PARAMS.model_copy(update={"replay": 0.0, "steps": 2})
    assert detector_digest(tuned(base, given, tmp_path / "resume", params=alone), RENDERING) != base.digest
