"""Detectors of campaigns: kept in the store, asked for objects, and fine-tuned on what people drew."""

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from backend_ml.buckets import bring
from backend_ml.kinds.answers import Grade, ObjectAnswers
from backend_ml.kinds.kind import Report
from backend_ml.kinds.models import Model, Stamp, Stores
from backend_ml.label_studio.regions.objects import ReadObjects
from backend_ml.store.encoders import keep_checkpoint
from lvm_training.files import file_state
from lvm_training.objects.instances import Instances
from lvm_training.params import FinetuneParams
from lvm_training.revision import code_revision

# detectron2 takes seconds to import, and campaigns of choices need none of it
if TYPE_CHECKING:
    import torch

    from lvm_training.detection.checkpoint import TrainedDetector
    from lvm_training.inference.detections import Detections
    from lvm_training.lenses.lens_stamps import LensPopulation
    from lvm_training.stamps.stampset import StampSet

PICTURES = 64  # detected on at a time, where no file keeps what was found


@dataclass(frozen=True)
class Drawn:
    """What somebody drew on a stamp.

    Attributes
    ----------
    stamp : (str, int)
    objects : ReadObjects
        In pixels of the campaign's rendering.
    result : sequence of dict
        The annotation's regions.
    """

    stamp: Stamp
    objects: ReadObjects
    result: Sequence[Mapping[str, Any]] = ()


class DetectorModel(Model):
    """A detector on pictures of registered stamp sets, each in some views; what a file holds is not computed again.

    Parameters
    ----------
    detector : TrainedDetector
    stores : Stores
    looked_for, grade
        As in `ObjectAnswers`.
    """

    def __init__(self, detector: "TrainedDetector", stores: Stores, looked_for: str, grade: Grade) -> None:
        self.detector, self.looked_for = detector, looked_for
        self._stores, self._sets, self._grade = stores, stores.sets, grade

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
        disagreement = np.array([much for _, much in seen]) if self._stores.views > 1 else None
        side = self._stores.campaign.picture_size
        found_objects = [objects for objects, _ in seen]
        return ObjectAnswers(found_objects, self.looked_for, self._grade, disagreement, picture_size=side)

    def _seen(self, name: str, rows: list[int]) -> list[tuple[Instances, float]]:
        """The objects on each stamp, and how much the best masks disagree among views, 0 in a single one."""
        from lvm_training.inference.mask_views import seen_in_views, view_disagreement
        from lvm_training.stamps.render import render_set

        stamps, views, best = self._sets.find(name), self._stores.views, self.looked_for
        path = self._file(stamps)
        if path is not None:
            kept = _open_detections(path, file_state(path))
            return [(kept.objects(row), kept.disagreement(row, best) if views > 1 else 0.0) for row in rows]
        found = list[tuple[Instances, float]]()
        for start in range(0, len(rows), PICTURES):
            pictures = render_set(stamps, np.array(rows[start : start + PICTURES]), self.detector.rendering)
            seen = seen_in_views(self.detector.predict, pictures, views)
            found += [(turned[0], view_disagreement(turned, best)) for turned in seen]
        return found

    def _file(self, stamps: "StampSet") -> Path | None:
        """Where the set's detections are kept, if they are; for a single view those in several will do."""
        from lvm_training.inference.detections import detections_path
        from lvm_training.stamps.symmetries import SYMMETRIES

        counts = range(1, SYMMETRIES + 1) if self._stores.views == 1 else (self._stores.views,)
        folder = detections_folder(self._stores)
        paths = (detections_path(stamps, self.detector, folder, views) for views in counts)
        return next((path for path in paths if path.is_file()), None)


@lru_cache(maxsize=16)
def _open_detections(path: Path, state: tuple[int, ...]) -> "Detections":
    from lvm_training.inference.detections import Detections

    return Detections.open(path)


@lru_cache(maxsize=4)
def load_detector(store: Path, digest: str) -> "TrainedDetector":
    """A detector from the store.

    Raises
    ------
    CheckpointError
        If it is not there, or not whole.
    """
    from lvm_training.detection.checkpoint import TrainedDetector

    return TrainedDetector.load(detector_folder(store, digest))


def detector_folder(store: Path, digest: str) -> Path:
    """Where the store keeps a detector; of a store in a bucket it is fetched, if it is there."""
    return bring(store / "detectors" / digest)


def detections_folder(stores: Stores) -> Path:
    """Where the store keeps what detectors found."""
    return stores.folder / "detections"


def detect_shown(detector: "TrainedDetector", stores: Stores, report: Report) -> None:
    """Fill the detection file of every stamp set that the campaign's tasks show, in the views its policy needs.

    Of a pool only the stamps that are asked for are detected on.
    """
    from lvm_training.inference.detections import detect_set

    for stamps in stores.sets.detected(stores.campaign.id):
        detect_set(
            stamps,
            detector,
            detections_folder(stores),
            views=stores.views,
            progress=lambda done, total: report("detecting", done, total),
        )


def finetuned(
    base: "TrainedDetector",
    labels: Sequence[Drawn],
    params: FinetuneParams,
    population: "LensPopulation | None",
    stores: Stores,
    report: Report,
) -> str:
    """The digest of the detector fine-tuned on these labels, kept in the store.

    Always from the detector that the campaign began with, on all labels there are: what comes out depends on them and
    the seed alone, and nothing is forgotten bit by bit. A run that was interrupted goes on from its last checkpoint if
    the labels are still the same.

    Parameters
    ----------
    population : LensPopulation or None
        What simulated pictures, mixed in that nothing is forgotten, are drawn from; None mixes in none.
    """
    from lvm_training.detection.checkpoint import save_detector
    from lvm_training.detection.finetuning import finetune

    report("preparing", 0, 1)
    images, number = _pictures(labels, stores), stores.campaign.id
    data = _digest(f"{base.digest}\0{params.model_dump_json()}\0{population}", images, labels)
    resume = stores.folder / "resume" / f"finetune-{number}-{data}"
    detector = finetune(
        base,
        images,
        [one.objects.instances for one in labels],
        [one.objects.drawn for one in labels],
        params,
        population,
        resume,
        progress=lambda done, total: report("training", done, total),
    )
    part = detector_folder(stores.folder, f"part-{number}")
    about: dict[str, Any] = {"encoder": base.card.encoder, "data": data, "code": code_revision(), "metrics": {}}
    card = save_detector(part, detector, base.rendering, params=params.model_dump(), **about)
    keep_checkpoint(part, detector_folder(stores.folder, card.detector))
    shutil.rmtree(part)
    for stale in resume.parent.glob(f"finetune-{number}-*"):
        shutil.rmtree(stale)
    return card.detector


def _digest(recipe: str, images: "torch.Tensor", labels: Sequence[Drawn]) -> str:
    """12 hex digits of all that a fine-tuning depends on: the recipe (detector, parameters, population) and labels."""
    state = hashlib.sha256(recipe.encode())
    state.update(images.numpy().tobytes())
    for objects in (one.objects for one in labels):
        state.update(repr(objects.instances.classes).encode() + objects.instances.boxes.tobytes())
        state.update(objects.instances.masks.tobytes() + objects.drawn.tobytes())
    return state.hexdigest()[:12]


def _pictures(labels: Sequence[Drawn], stores: Stores) -> "torch.Tensor":
    import torch

    from lvm_training.stamps.render import render_set

    rendering = stores.campaign.rendering
    stamps = [one.stamp for one in labels]
    return torch.cat([render_set(stores.sets.holding(*stamp), np.array([stamp[1]]), rendering) for stamp in stamps])
