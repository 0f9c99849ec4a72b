"""Campaigns of objects: boxes and masks that people draw, and a detector that learns to draw them."""

import html
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from backend_ml.acquisition.policy import fitting
from backend_ml.kinds.evaluation import Evaluation, Measure
from backend_ml.kinds.exported_objects import object_document
from backend_ml.kinds.kind import Coco, Labels, Options, Report, picture_row
from backend_ml.kinds.models import Stamp, Stores, Weights
from backend_ml.kinds.results import ResultKind
from backend_ml.label_studio.regions.objects import (
    ObjectControls,
    ReadObjects,
    find_object_controls,
    read_objects,
    without_masks,
)
from backend_ml.labels import set_aside
from backend_ml.networks.detectors import DetectorModel, Drawn, detect_shown, detector_folder, finetuned, load_detector
from backend_ml.store.database import Connection
from backend_ml.store.encoders import keep_checkpoint
from backend_ml.store.records import PICTURE_SIZES, Campaign, CampaignError, ModelVersion
from lvm_training.errors import CheckpointError
from lvm_training.heads.preference import NO, YES
from lvm_training.objects.instances import Instances
from lvm_training.objects.metrics import SCORE, MetricError, average_precision, completeness, right_pictures
from lvm_training.params import FinetuneParams
from lvm_training.stamps.rendering import Rendering
from lvm_training.tables.snapshot import Snapshot

if TYPE_CHECKING:
    from lvm_training.lenses.lens_stamps import LensPopulation

FEWEST = 4  # labelled pictures
FALSE_POSITIVES = (0.1, 0.01, 0.001)
SECTIONS = (("RectangleLabels", "Boxes"), ("BrushLabels", "Masks"), ("PolygonLabels", "Outlines"))


class ObjectKind(ResultKind[tuple[Drawn, ...], DetectorModel]):
    """Boxes and masks by the drawing tags of a label config; the newest annotation of a stamp counts.

    Attributes
    ----------
    looked_for : str or None
        The class whose boxes rank pictures and count at the gate; None takes the first of the label config.
    question : str
        What people are asked, as HTML; the instruction begins with it.
    grades : str
        Title of the choices of the whole picture in the instruction.
    remark : str
        What the instruction ends with, as HTML.
    finetuning : FinetuneParams
        How the detector learns from labels; steps and seed are the campaign's.
    released : Path or None
        Folder of the detector that a campaign begins with if it names none.
    """

    policies = ("box-margin", *(name for name in fitting(boxes=True, searching=False) if name != "box-margin"))
    slow = True
    draws = True
    goes_on = True
    shows_whole = False
    limits: ClassVar[tuple[str, ...]] = (
        "A score is no probability: how many pictures of a score hold what is looked for depends on how rare it is.",
        "Detectors miss most objects of a kind that they have not seen: that nothing is drawn says little.",
    )
    needed = f"{FEWEST} labelled pictures that teach it something, outside the audit slice"
    looked_for: ClassVar[str | None] = None
    question: ClassVar[str] = "What is on this picture?"
    grades: ClassVar[str] = "The whole picture"
    remark: ClassVar[str] = ""
    finetuning: ClassVar[FinetuneParams] = FinetuneParams(replay=0)
    released: ClassVar[Path | None] = None

    def part(self, label_config: str, adopted: str) -> str:
        """As `Kind.part`: no masks, for these are of the size of pictures that are ours."""
        return without_masks(label_config)

    def offered(self, label_config: str) -> tuple[str, ...]:
        """As `Kind.offered`: every label of a drawing tag."""
        controls = find_object_controls(label_config)
        return tuple(dict.fromkeys(label for control in controls.drawing for label in control.labels))

    def instruction(self, label_config: str, examples: Mapping[str, Sequence[str]]) -> str:
        """As `Kind.instruction`: what the keys of the label config stand for, by its hints."""
        root = ElementTree.fromstring(label_config)  # noqa: S314 - an installed package's own file
        sections = []
        for tag, title in (*SECTIONS, ("Choices", self.grades)):
            keys = [
                f"<li><b>{html.escape(one.get('hotkey', ''))} · {html.escape(one.get('value', ''))}</b>:"
                f" {html.escape(one.get('hint', ''))}</li>"
                for control in root.iter(tag)
                for one in control
            ]
            shown = "".join(
                picture_row(one.get("value", ""), examples.get(one.get("value", ""), ()))
                for control in root.iter(tag)
                for one in control
                if tag == "Choices"
            )
            sections.append(f"<p><b>{title}</b></p><ul>{''.join(keys)}</ul>{shown}" if keys else "")
        submit = "choose a grade and submit" if next(root.iter("Choices"), None) is not None else "submit"
        return (
            f"<p>{self.question} Mend the boxes and masks that the model drew where they are wrong, draw what it"
            " missed (hold Ctrl while you drag to draw inside a box: otherwise that box moves), delete what is not"
            f" there (select it, then Backspace), {submit} with Ctrl+Enter."
            " Ctrl+H hides and shows what is drawn. A box is enough: a mask teaches more. Where a picture shows the"
            " middle of a larger stamp, it says so, and <b>Why is this here?</b> shows the rest. Some pictures are"
            f" shown without an answer on purpose.</p>{''.join(sections)}{self.remark}"
        )

    def check(self, options: Options) -> None:
        """As `Kind.check`."""
        if options.detector is None and self.released is None:
            raise CampaignError(
                "A campaign of objects begins with a detector.",
                "Train one of its classes and name its folder: --detector FOLDER.",
            )
        if options.consensus != "majority":
            raise CampaignError(
                "What people drew has no consensus: the newest annotation of a stamp counts.", "Leave it out."
            )
        if options.labels is not None:
            raise CampaignError(
                "A campaign of objects cannot start from labels without boxes.",
                "Leave them out; the detector it begins with knows what it was trained on.",
            )

    def rendering(self, options: Options, default: Rendering) -> Rendering:
        """As `Kind.rendering`: as the detector sees pictures."""
        from lvm_training.detection.checkpoint import TrainedDetector

        folder = options.detector or self.released
        if folder is None:
            return default
        trained, offered = TrainedDetector.load(folder), self.offered(self.label_config())
        if set(trained.classes) != set(offered):
            raise CampaignError(
                f"The detector finds {', '.join(trained.classes)}; the label config has {', '.join(offered)}.",
                "Use a detector that was trained on the classes of the label config.",
            )
        return trained.rendering

    def begin(self, model: Path | None, stores: Stores, report: Report) -> Weights | None:
        """As `Kind.begin`: a detector, which detects on the campaign's stamps first."""
        from lvm_training.detection.checkpoint import TrainedDetector

        folder = model or self.released
        if folder is None:
            return None
        trained = TrainedDetector.load(folder)
        keep_checkpoint(folder, detector_folder(stores.folder, trained.digest))
        detect_shown(trained, stores, report)
        return Weights(detector=trained.digest, metrics=dict(trained.card.metrics), revision=trained.card.code)

    def taught(self, result: Sequence[Mapping[str, Any]], controls: ObjectControls, *, side: int) -> ReadObjects | None:
        """What an annotation teaches on a picture of `side` x `side` pixels; None if nothing can be learned from it."""
        return _as_drawn(result, controls, side)

    def graded(self, score: float) -> str | None:
        """The choice for the whole picture that its best score in [0, 1] suggests, if any."""
        return None

    def population(self) -> "LensPopulation | None":
        """What simulated pictures, mixed in while a detector learns, are drawn from."""
        return None

    def labels_of(
        self, rows: Sequence[Mapping[str, Any]], campaign: Campaign, first: ModelVersion | None
    ) -> Labels[tuple[Drawn, ...]]:
        """As `ResultKind.labels_of`: boxes, masks and grades in pixels of the campaign's rendering, by set and row."""
        controls = find_object_controls(campaign.label_config or self.label_config())
        kept: dict[bool | None, list[Drawn]] = {True: [], False: [], None: []}
        side, notes = campaign.rendering.size, list[str]()

        def read(result: Any) -> tuple[ReadObjects, bool, Any]:
            taught = self.taught(result, controls, side=side)
            return taught or _as_drawn(result, controls, side), taught is not None, result

        said, odd = set_aside.read_results(rows, read)
        for row, (objects, teaches, result) in said:
            drawn = Drawn((row["stamp_set"], row["stamp_id"]), objects, result)
            kept[row["audit"] if teaches else None].append(drawn)
            if teaches:
                notes += [f"Annotation {row['annotation_id']}: {note}" for note in objects.notes]
        training, audit, untaught = (tuple(sorted(kept[one], key=lambda one: one.stamp)) for one in (False, True, None))
        return Labels(0, training, audit, untaught, tuple(notes), odd)

    def sightings(self, connection: Connection, campaign: Campaign) -> Snapshot:
        """As `Kind.sightings`: whether somebody drew what is looked for."""
        drawn, best = self.read(connection, campaign).training, self._best(campaign.classes)
        labels = [YES if best in one.objects.instances.classes else NO for one in drawn]
        return Snapshot([one.stamp[0] for one in drawn], [one.stamp[1] for one in drawn], labels)

    def fits(self, labels: Labels[tuple[Drawn, ...]], campaign: Campaign, *, seen: bool) -> bool:
        """As `Kind.fits`."""
        return len(labels.training) >= FEWEST

    def fit(self, labels: Labels[tuple[Drawn, ...]], stores: Stores, seed: int, report: Report) -> Weights | None:
        """As `Kind.fit`: fine-tune the first detector, and detect on the campaign's stamps."""
        found = self.fits(labels, stores.campaign, seen=stores.seen)
        if not found or labels.first is None or labels.first.detector is None:
            return None
        base = load_detector(stores.folder, labels.first.detector)
        params = self.finetuning.model_copy(update={"steps": stores.steps, "seed": seed})
        digest = finetuned(base, labels.training, params, self.population(), stores, report)
        detect_shown(load_detector(stores.folder, digest), stores, report)
        return Weights(detector=digest)

    def model_folder(self, store: Path, digest: str) -> Path:
        """As `Kind.model_folder`."""
        return detector_folder(store, digest)

    def load(self, version: ModelVersion, stores: Stores) -> DetectorModel:
        """As `Kind.load`."""
        if version.detector is None:
            raise CheckpointError(f"The version {version.version} has no detector.", "Let the campaign learn again.")
        detector = load_detector(stores.folder, version.detector)
        return DetectorModel(detector, stores, self._best(stores.campaign.classes), self.graded)

    def right(self, model: DetectorModel, labels: tuple[Drawn, ...]) -> NDArray[np.bool_]:
        """As `Kind.right`: pictures that are right about what is looked for (`lvm_training.objects.metrics`)."""
        found = model.answer(self.stamps(labels)).objects
        return right_pictures([one.objects.instances for one in labels], found, model.looked_for)

    def evaluate(self, model: DetectorModel, labels: tuple[Drawn, ...]) -> Evaluation:
        """As `Kind.evaluate`: whether a picture shows what is looked for, by its best score, and COCO's precision."""
        answers, best = model.answer(self.stamps(labels)), model.looked_for
        truths = [one.objects.instances for one in labels]
        classes = (f"no {best}", best)
        holds = np.array([best in one.classes for one in truths])
        return Evaluation(
            np.asarray(right_pictures(truths, answers.objects, best), dtype=np.float64),
            tuple(classes[one] for one in holds.astype(int).tolist()),
            tuple(classes[one] for one in (answers.best >= SCORE).astype(int).tolist()),
            classes,
            np.stack([1 - answers.best, answers.best], axis=1),
            _precision(truths, answers.objects) + _completeness(answers.best, holds, best),
            [(truth, one.rows(one.scores >= SCORE)) for truth, one in zip(truths, answers.objects, strict=True)],
        )

    def stamps(self, labels: tuple[Drawn, ...]) -> list[Stamp]:
        """As `Kind.stamps`."""
        return [one.stamp for one in labels]

    def export(
        self, labels: Labels[tuple[Drawn, ...]], campaign: Campaign, sets: Mapping[str, Path], *, training: bool
    ) -> Coco:
        """As `Kind.export`, see `object_document`."""
        controls = find_object_controls(campaign.label_config or self.label_config())

        def read(drawn: Drawn, side: int) -> ReadObjects:
            return self.taught(drawn.result, controls, side=side) or _as_drawn(drawn.result, controls, side)

        chosen = labels.training + (() if training else labels.audit + (labels.untaught or ()))
        annotated = [(one.stamp, partial(read, one)) for one in sorted(chosen, key=lambda one: one.stamp)]
        return object_document(annotated, campaign.classes, sets, campaign.rendering)

    def _best(self, classes: Sequence[str]) -> str:
        return self.looked_for or classes[0]


def _precision(truths: Sequence[Instances], found: Sequence[Instances]) -> list[Measure]:
    """COCO's average precision of the boxes of each class that somebody drew."""
    classes = sorted({name for one in truths for name in one.classes})
    drawn = [(name, sum(name in one.classes for one in truths)) for name in classes]
    # classes that nobody drew have no precision, and cannot be told to COCO
    known = [one.rows(np.isin(np.array(one.classes, dtype=object), classes)) for one in found]
    values = average_precision(truths, known, classes, kind="bbox") if classes else {}
    return [
        Measure(name, title, values[f"{key}_{name}"], n)
        for name, n in drawn
        for key, title in (("ap", "AP, overlap 0.50 to 0.95"), ("ap50", "AP, overlap 0.50"))
    ]


def _completeness(scores: NDArray[np.float64], holds: NDArray[np.bool_], name: str) -> list[Measure]:
    """Share of the pictures that hold it that is found, at those false-positive rates that they are enough for."""
    found = []
    for rate in FALSE_POSITIVES:
        with suppress(MetricError):
            value = completeness(scores, holds, rate)
            title = f"completeness at a false-positive rate of {rate:g}"
            found.append(Measure(name, title, value, int(holds.sum()), is_share=True))
    return found


def _as_drawn(result: Sequence[Mapping[str, Any]], controls: ObjectControls, side: int) -> ReadObjects:
    return read_objects(result, controls, width=side, height=side, shown=PICTURE_SIZES)
