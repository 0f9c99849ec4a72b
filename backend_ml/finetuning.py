"""From corrected boxes and masks to the next detector: fine-tune, pass the gate, detect anew, promote.

Always from the detector that the campaign began with, on all labels there are: what comes out depends on them and the
seed alone, and nothing is forgotten bit by bit.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import structlog
import torch
from numpy.typing import NDArray

from backend_ml import gate, registry, set_aside
from backend_ml.annotator_view import label_config
from backend_ml.database import Connection, Database, query
from backend_ml.encoder_store import keep_checkpoint
from backend_ml.grades import ARC, taught
from backend_ml.models import DetectorModel, detector_folder, load_detector
from backend_ml.object_regions import ReadObjects, find_object_controls
from backend_ml.ranking import needed_views
from backend_ml.records import Campaign, ModelVersion
from backend_ml.stamp_sets import StampSets
from lvm_training.objects.detections import detect_set
from lvm_training.objects.metrics import right_pictures
from lvm_training.params import FinetuneParams
from lvm_training.revision import code_revision
from lvm_training.stamps.render import render_set

if TYPE_CHECKING:
    from lvm_training.model.detection_checkpoint import TrainedDetector

log = structlog.get_logger(__name__)

FEWEST = 4  # labelled pictures
Report = Callable[[str, int, int], None]
"""Takes the phase, what is done of it, and the whole."""


@dataclass(frozen=True)
class ObjectLabels:
    """What people drew, all read at one moment; the newest annotation of a stamp counts.

    Attributes
    ----------
    last_event : int
        The newest label event among them.
    training, audit : list of (stamp set, row, objects)
        What to learn from, and what to judge on.
    notes : tuple of str
        What of an annotation could not be read, and why.
    odd : tuple of (annotation, task, reason)
        Annotations of which nothing could be read; Label Studio's ids.
    parent : ModelVersion or None
        The version serving at that moment.
    first : ModelVersion or None
        The version that the campaign began with.
    """

    last_event: int
    training: list[tuple[str, int, ReadObjects]]
    audit: list[tuple[str, int, ReadObjects]]
    notes: tuple[str, ...]
    odd: tuple[tuple[int, int, str], ...]
    parent: ModelVersion | None
    first: ModelVersion | None


def read_object_labels(connection: Connection, campaign: Campaign) -> ObjectLabels:
    """The campaign's boxes, masks and grades as they stand, in pixels of its rendering."""
    controls = find_object_controls(label_config(campaign.head, None))
    kept: dict[bool, list[tuple[str, int, ReadObjects]]] = {True: [], False: []}
    notes, odd = list[str](), list[tuple[int, int, str]]()
    for row in query(connection, "object_labels", campaign=campaign.id):
        try:
            objects = taught(json.loads(row["result"]), controls, side=campaign.rendering.size)
        except Exception as error:
            # whatever is wrong with one annotation, the others are learned
            odd.append((row["annotation_id"], row["task_id"], set_aside.reason(error)))
            continue
        if objects is not None:
            kept[row["audit"]].append((row["stamp_set"], row["stamp_id"], objects))
            notes += [f"Annotation {row['annotation_id']}: {note}" for note in objects.notes]
    first = query(connection, "first_version", campaign=campaign.id)
    return ObjectLabels(
        last_event=query(connection, "last_event", campaign=campaign.id)[0]["id"],
        training=kept[False],
        audit=kept[True],
        notes=tuple(notes),
        odd=tuple(odd),
        parent=registry.active_version(connection, campaign),
        first=ModelVersion.from_row(first[0]) if first else None,
    )


def due(connection: Connection, campaign: Campaign, fewest: int) -> bool:
    """Whether `fewest` stamps or more were labelled since the last fine-tuning."""
    last = query(connection, "last_refit", campaign=campaign.id)
    event = last[0]["last_event"] if last else 0
    return bool(query(connection, "labelled_since", campaign=campaign.id, event=event)[0]["stamps"] >= fewest)


def begin(database: Database, campaign: Campaign, detector: Path, store: Path, report: Report) -> str:
    """Register the detector that a new campaign begins with, and detect on its stamps; the version's name.

    Raises
    ------
    CheckpointError
        If the detector cannot be read.
    """
    from lvm_training.model.detection_checkpoint import TrainedDetector

    trained = TrainedDetector.load(detector)
    keep_checkpoint(detector, detector_folder(store, trained.digest))
    _detect(database, campaign, trained, store, report)
    version = _version_name(campaign, trained.digest)
    with database.transaction() as connection:
        values = {"version": version, "parent": None, "detector": trained.digest}
        counts = {"seed": campaign.seed, "last_event": 0, "labels": 0, "audit_labels": 0}
        provenance = {"metrics": dict(trained.card.metrics), "revision": trained.card.code}
        registry.add_version(connection, campaign, **values, **counts, **provenance, encoder=campaign.encoder)
        registry.promote(connection, campaign, version, "created")
    return version


def finetune(database: Database, campaign: Campaign, params: FinetuneParams, store: Path, report: Report) -> str:
    """Fine-tune the campaign's detector on the current labels and promote it unless the gate holds it back.

    A run that was interrupted goes on from its last checkpoint if the labels are still the same.

    Parameters
    ----------
    params : FinetuneParams
        How long, how fast, from which seed.
    store : Path
        Folder of detectors and detections.
    report : callable
        Takes the phase, and how much of it is done; what it raises ends the run.

    Returns
    -------
    str
        "promoted", "held back", "unchanged" (the same detector came out) or "too few labels".
    """
    started = time.monotonic()
    with database.transaction() as connection:
        labels = read_object_labels(connection, campaign)
        for annotation, task, reason in labels.odd:
            set_aside.put(connection, campaign, annotation, task, reason)
    for note in labels.notes:
        log.info("label not learned as it is", campaign=campaign.name, note=note)
    if len(labels.training) < FEWEST or labels.first is None or labels.first.detector is None:
        return registry.record_refit(database, campaign, None, "too few labels", labels.last_event, started)
    base = load_detector(store, labels.first.detector)
    digest = _trained(database, campaign, labels, base, params, store, report)
    version = _version_name(campaign, digest)
    if labels.parent and version == labels.parent.version:
        return registry.record_refit(database, campaign, version, "unchanged", labels.last_event, started)
    candidate = load_detector(store, digest)
    _detect(database, campaign, candidate, store, report)
    verdict, accuracy = _judged(database, campaign, labels, candidate, store)
    with database.transaction() as connection:
        registry.add_version(
            connection,
            campaign,
            version=version,
            parent=labels.parent.version if labels.parent else None,
            detector=digest,
            encoder=campaign.encoder,
            seed=campaign.seed,
            last_event=labels.last_event,
            labels=len(labels.training),
            audit_labels=verdict.audit_labels,
            metrics={"gate": verdict.as_metrics(), **accuracy},
            revision=code_revision(),
        )
        if verdict.passed:
            registry.promote(connection, campaign, version, "refit")
    return registry.record_refit(
        database, campaign, version, "promoted" if verdict.passed else "held back", labels.last_event, started
    )


def _version_name(campaign: Campaign, detector: str) -> str:
    return registry.version_name(campaign.head, campaign.encoder, detector.encode(), campaign.classes)


def _trained(
    database: Database,
    campaign: Campaign,
    labels: ObjectLabels,
    base: "TrainedDetector",
    params: FinetuneParams,
    store: Path,
    report: Report,
) -> str:
    """The digest of the detector fine-tuned on these labels, kept in the store."""
    from lvm_training.model.detection_checkpoint import save_detector
    from lvm_training.model.detection_finetuning import finetune as train
    from lvm_training.stamps.lenses import LensPopulation

    report("preparing", 0, 1)
    images = _pictures(database, labels.training, campaign)
    population = LensPopulation()
    recipe = f"{base.digest}\0{params.model_dump_json()}\0{population}"
    data = _digest(recipe, images, [objects for _, _, objects in labels.training])
    resume = store / "resume" / f"finetune-{campaign.id}-{data}"
    detector = train(
        base,
        images,
        [objects.instances for _, _, objects in labels.training],
        [objects.drawn for _, _, objects in labels.training],
        params,
        population,
        resume,
        progress=lambda done, total: report("training", done, total),
    )
    part = detector_folder(store, f"part-{campaign.id}")
    about: dict[str, Any] = {"encoder": base.card.encoder, "data": data, "code": code_revision(), "metrics": {}}
    card = save_detector(part, detector, base.rendering, params=params.model_dump(), **about)
    keep_checkpoint(part, detector_folder(store, card.detector))
    shutil.rmtree(part)
    for stale in resume.parent.glob(f"finetune-{campaign.id}-*"):
        shutil.rmtree(stale)
    return card.detector


def _digest(recipe: str, images: torch.Tensor, labels: Sequence[ReadObjects]) -> str:
    """12 hex digits of all that a fine-tuning depends on: the recipe (detector, parameters, population) and labels."""
    state = hashlib.sha256(recipe.encode())
    state.update(images.numpy().tobytes())
    for objects in labels:
        state.update(repr(objects.instances.classes).encode() + objects.instances.boxes.tobytes())
        state.update(objects.instances.masks.tobytes() + objects.drawn.tobytes())
    return state.hexdigest()[:12]


def _pictures(database: Database, labelled: Sequence[tuple[str, int, ReadObjects]], campaign: Campaign) -> torch.Tensor:
    sets = StampSets(database)
    pictures = [render_set(sets.holding(name, row), np.array([row]), campaign.rendering) for name, row, _ in labelled]
    return torch.cat(pictures)


def _detect(database: Database, campaign: Campaign, detector: "TrainedDetector", store: Path, report: Report) -> None:
    """Fill the detection file of every stamp set that the campaign's tasks show, in the views its policy needs."""
    sets = StampSets(database)
    for row in database.rows("campaign_sets", campaign=campaign.id):
        stamps = sets.find(row["stamp_set"])
        detect_set(
            stamps,
            detector,
            store / "detections",
            views=needed_views(campaign),
            progress=lambda done, total: report("detecting", done, total),
        )


def _judged(
    database: Database, campaign: Campaign, labels: ObjectLabels, candidate: "TrainedDetector", store: Path
) -> tuple[gate.Verdict, dict[str, float]]:
    """The gate's verdict, and the candidate's accuracy on the audit slice where there is one."""
    if not labels.audit or labels.parent is None or labels.parent.detector is None:
        return gate.Verdict(True, len(labels.audit)), {}
    sets, stamps = StampSets(database), [(name, row) for name, row, _ in labels.audit]
    truths = [objects.instances for _, _, objects in labels.audit]
    right: list[NDArray[np.bool_]] = [
        right_pictures(truths, DetectorModel(detector, sets, store).answer(stamps).objects, ARC)
        for detector in (load_detector(store, labels.parent.detector), candidate)
    ]
    return gate.judge(*right, seed=campaign.seed), {"audit_accuracy": float(right[1].mean())}
