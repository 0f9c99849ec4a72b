"""What a model version answers: a choice from features, or objects from pictures."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from backend_ml.annotator_view import DISPLAY_SIZE
from backend_ml.feature_store import FeatureStore
from backend_ml.grades import ARC, graded
from backend_ml.object_regions import find_object_controls, object_result
from backend_ml.records import ModelVersion
from backend_ml.regions import Region, choice_region, choice_result, find_choices
from backend_ml.stamp_sets import StampSets
from lvm_training.model.head import Head
from lvm_training.model.heads import load_head
from lvm_training.objects.instances import Instances
from lvm_training.objects.metrics import SCORE, picture_scores

if TYPE_CHECKING:
    from lvm_training.model.detection_checkpoint import TrainedDetector
    from lvm_training.objects.detections import Detections
    from lvm_training.stamps.stampset import StampSet

Stamp = tuple[str, int]
"""Name of a stamp set, and a row of it."""


class Answers(Protocol):
    """What a model says of some stamps."""

    @property
    def probabilities(self) -> NDArray[np.float64] | None:
        """Probabilities (N, C) of classes, if it tells them apart."""

    @property
    def boxes(self) -> Sequence[NDArray[np.float64]] | None:
        """Scores (K_i,) of the boxes of what is looked for on each stamp, if it detects objects."""

    @property
    def disagreement(self) -> NDArray[np.float64] | None:
        """How much masks of what is looked for disagree among views of each stamp (N,), if it looked at several."""

    def result(self, index: int, label_config: str) -> list[Region]:
        """One stamp's answer as Label Studio's regions.

        Raises
        ------
        LabelConfigError
            If the label config has no control tag for it.
        """


class Model(Protocol):
    """A model version, loaded."""

    def check(self, stamp: Stamp) -> None:
        """Raise a GalaxyLoopError that says why if it cannot answer a stamp."""

    def answer(self, stamps: Sequence[Stamp]) -> Answers:
        """What it says of each stamp.

        Raises
        ------
        GalaxyLoopError
            As `check`.
        """


class ChoiceAnswers:
    """Probabilities (N, C) of classes."""

    boxes = None
    disagreement = None

    def __init__(self, probabilities: NDArray[np.float64], classes: tuple[str, ...]) -> None:
        self.probabilities, self.classes = probabilities, classes

    def result(self, index: int, label_config: str) -> list[Region]:
        """The most probable class."""
        return choice_result(find_choices(label_config), self.classes, self.probabilities[index])


class HeadModel:
    """A head of choices on the campaign's features."""

    def __init__(self, head: Head, features: FeatureStore) -> None:
        self._head, self._features = head, features

    def check(self, stamp: Stamp) -> None:
        """As `Model.check`."""
        self._features.rows([stamp])

    def predict(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Probabilities (n, C) for features (n, D)."""
        return self._head.predict(features)

    def answer(self, stamps: Sequence[Stamp]) -> ChoiceAnswers:
        """As `Model.answer`."""
        return ChoiceAnswers(self.predict(self._features.rows(stamps)), self._head.classes)


class ObjectAnswers:
    """The objects on each stamp; arcs are what is looked for."""

    probabilities = None

    def __init__(self, objects: Sequence[Instances], disagreement: NDArray[np.float64] | None = None) -> None:
        self.objects, self.disagreement = objects, disagreement
        self.scores = picture_scores(objects, ARC)
        self.boxes = [one.scores[np.array(one.classes, dtype=object) == ARC] for one in objects]

    def result(self, index: int, label_config: str) -> list[Region]:
        """Boxes and masks of what scores a half or more, and the grade that the best arc deserves."""
        controls = find_object_controls(label_config)
        found = self.objects[index]
        shown = found.rows(found.scores >= SCORE)
        regions = object_result(controls, shown, width=DISPLAY_SIZE, height=DISPLAY_SIZE)
        grade = graded(self.scores[index])
        if controls.grade is not None and grade in controls.grade.choices:
            score = self.scores[index]
            regions.append(choice_region(controls.grade, grade, max(score, 1 - score)))
        return regions


class DetectorModel:
    """A detector on pictures of registered stamp sets, each in some views; what a file holds is not computed again."""

    def __init__(self, detector: "TrainedDetector", sets: StampSets, store: Path, views: int = 1) -> None:
        self.detector, self._sets, self._folder, self._views = detector, sets, store / "detections", views

    def check(self, stamp: Stamp) -> None:
        """As `Model.check`."""
        self._sets.holding(*stamp)

    def answer(self, stamps: Sequence[Stamp]) -> ObjectAnswers:
        """As `Model.answer`."""
        found: dict[int, tuple[Instances, float]] = {}
        for name in {name for name, _ in stamps}:
            places = [i for i, stamp in enumerate(stamps) if stamp[0] == name]
            rows = [stamps[i][1] for i in places]
            self._sets.holding(name, max(rows))
            found |= zip(places, self._seen(name, rows), strict=True)
        seen = [found[i] for i in range(len(stamps))]
        disagreement = np.array([much for _, much in seen]) if self._views > 1 else None
        return ObjectAnswers([objects for objects, _ in seen], disagreement)

    def _seen(self, name: str, rows: list[int]) -> list[tuple[Instances, float]]:
        """The objects on each stamp, and how much the best arc's masks disagree among views, 0 in a single one."""
        from lvm_training.objects.mask_views import seen_in_views, view_disagreement
        from lvm_training.stamps.render import render_set

        stamps = self._sets.find(name)
        path = self._file(stamps)
        if path is not None:
            kept = _open_detections(path)
            return [(kept.objects(row), kept.disagreement(row, ARC) if self._views > 1 else 0.0) for row in rows]
        pictures = render_set(stamps, np.array(rows), self.detector.rendering)
        seen = seen_in_views(self.detector.predict, pictures, self._views)
        return [(views[0], view_disagreement(views, ARC)) for views in seen]

    def _file(self, stamps: "StampSet") -> Path | None:
        """Where the set's detections are kept, if they are; for a single view those in several will do."""
        from lvm_training.objects.detections import detections_path
        from lvm_training.stamps.symmetries import SYMMETRIES

        counts = range(1, SYMMETRIES + 1) if self._views == 1 else (self._views,)
        paths = (detections_path(stamps, self.detector, self._folder, views) for views in counts)
        return next((path for path in paths if path.is_file()), None)


@lru_cache(maxsize=16)
def _open_detections(path: Path) -> "Detections":
    from lvm_training.objects.detections import Detections

    return Detections.open(path)


@lru_cache(maxsize=4)
def load_detector(store: Path, digest: str) -> "TrainedDetector":
    """A detector from the store.

    Raises
    ------
    CheckpointError
        If it is not there, or not whole.
    """
    # detectron2 takes seconds to import, and campaigns of choices need none of it
    from lvm_training.model.detection_checkpoint import TrainedDetector

    return TrainedDetector.load(detector_folder(store, digest))


def detector_folder(store: Path, digest: str) -> Path:
    """Where the store keeps a detector."""
    return store / "detectors" / digest


def load_model(
    version: ModelVersion, features: FeatureStore, sets: StampSets, store: Path, *, views: int = 1
) -> Model | None:
    """A version as something that answers, a detector from `views` of each stamp; None for a cold start.

    Raises
    ------
    CheckpointError
        If its weights are not there, or not whole.
    """
    if version.detector is not None:
        return DetectorModel(load_detector(store, version.detector), sets, store, views)
    if version.weights is not None:
        return HeadModel(load_head(version.weights), features)
    return None
