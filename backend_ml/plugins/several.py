"""Campaigns of several questions at once: each control tag of a label config is answered by a head of its own.

What is drawn is answered by a detector. The label config may be anybody's.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from backend_ml.kinds.evaluation import Evaluation, Measure
from backend_ml.kinds.kind import Coco, Labels, Options, Report
from backend_ml.kinds.models import Answers, Model, Predict, Quantity, Stamp, Stores, Weights
from backend_ml.kinds.results import ConfigKind, Taken
from backend_ml.label_studio.regions.choices import WORDS, LabelConfigError, Region, note_result, parsed_config
from backend_ml.label_studio.regions.controls import control_tags, only_controls
from backend_ml.label_studio.regions.objects import without_masks
from backend_ml.labels import set_aside
from backend_ml.networks.detectors import Drawn, detector_folder
from backend_ml.plugins.choices import OURS, ChoiceKind, Morphology
from backend_ml.plugins.parameters import Parameters
from backend_ml.plugins.parts import (
    MEND,
    OBJECTS,
    QUESTION,
    Given,
    Part,
    agreed_parts,
    counted,
    drawn_part,
    find_parts,
    given_parts,
    noted,
    taken_part,
    unserved_lines,
)
from backend_ml.store.database import Connection
from backend_ml.store.records import Campaign, CampaignError, ModelVersion
from lvm_training.heads.head import pack, unpack
from lvm_training.objects.instances import Instances
from lvm_training.parameters.number_table import NumberTable
from lvm_training.stamps.rendering import Rendering
from lvm_training.tables.snapshot import Snapshot

Row = tuple[Stamp, Given, int]


@dataclass(frozen=True, eq=False)
class SeveralLabels:
    """Labels by part, as its own kind has them, and what was said of each stamp, by set and row.

    Attributes
    ----------
    parts : mapping of str to Snapshot, NumberTable or tuple of Drawn
    rows : sequence of (Stamp, Given, int)
        Each stamp of which a part learns, what is said of it, and by whom.
    """

    parts: Mapping[str, Any]
    rows: Sequence[Row]

    def __len__(self) -> int:
        return len(self.rows)


class SeveralAnswers(Answers):
    """The answers of each part's head; the first question's are those that policies and pages go by."""

    def __init__(self, answers: Mapping[str, Answers], parts: Sequence[Part]) -> None:
        self._answers, self._parts = answers, parts
        first = answers.get(parts[0].name)
        if first is not None:
            self.classes, self.probabilities, self.boxes = first.classes, first.probabilities, first.boxes
        self.has_heat = first is not None and first.has_heat
        self.interest = next((one.interest for one in answers.values() if one.interest is not None), None)
        quantities = [one.quantities for one in answers.values() if one.quantities is not None]
        self.quantities = np.concatenate(quantities, axis=1) if quantities else None

    def result(self, index: int, label_config: str) -> list[Region]:
        """The regions of all parts, and one note of what all heads say."""
        regions, said = list[Region](), list[str]()
        for part in find_parts(label_config):
            if part.name not in self._answers:
                continue
            own = self._answers[part.name].result(index, noted(part.label_config))
            # ids of objects say which box and mask belong together
            given = (one if part.what == OBJECTS else {**one, "id": one["from_name"]} for one in own)
            regions += [one for one in given if one["type"] != WORDS]
            said += [one["value"]["text"][0] for one in own if one["type"] == WORDS]
        words = "; ".join(one.removeprefix("Model: ") for one in said)
        return [*regions, *note_result(label_config, f"Model: {words}")] if regions else []

    def scores(self, index: int) -> dict[str, float]:
        """As `Answers.scores`, of the first question."""
        first = self._first
        return {} if first is None else first.scores(index)

    def words(self, index: int) -> str:
        """As `Answers.words`: what each head says."""
        return " ".join(one.words(index) for one in self._answers.values())

    def heat_words(self, index: int) -> str:
        """As `Answers.heat_words`, of the first question."""
        first = self._first
        return "There is no heat map: no head answers the first question yet." if not first else first.heat_words(index)

    def measures(self, index: int) -> dict[str, float]:
        """As `Answers.measures`, the first question's before the others'."""
        found: dict[str, float] = {}
        for one in self._answers.values():
            found = one.measures(index) | found
        return found

    @property
    def _first(self) -> Answers | None:
        return self._answers.get(self._parts[0].name)


class SeveralModel(Model):
    """A head for each part that has one."""

    def __init__(self, models: Mapping[str, Model], parts: Sequence[Part]) -> None:
        self.models, self.parts = models, parts

    def check(self, stamp: Stamp) -> None:
        """As `Model.check`."""
        for model in self.models.values():
            model.check(stamp)

    def answer(self, stamps: Sequence[Stamp]) -> SeveralAnswers:
        """As `Model.answer`."""
        return SeveralAnswers({name: model.answer(stamps) for name, model in self.models.items()}, self.parts)

    @property
    def from_features(self) -> Predict | None:
        """As `Model.from_features`, of the first question."""
        first = self.models.get(self.parts[0].name)
        return None if first is None else first.from_features

    @property
    def interest(self) -> Predict | None:
        """As `Model.interest`."""
        return next((one.interest for one in self.models.values() if one.interest is not None), None)

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """As `Model.quantities`."""
        return tuple(one for model in self.models.values() for one in model.quantities)


class Several(ConfigKind[SeveralLabels, SeveralModel]):
    """Questions, numbers, a rating and what is drawn of one label config, each with a head of its own.

    A version is the set of its heads; one that has too few labels is left out until it has enough. The first question
    is what ranks the queue, draws the heat map and gives the campaign its classes; without any, what numbers, a rating
    or drawings are called are the classes. What most people answer to a question counts, and of numbers, a rating and
    drawings the newest annotation of a stamp. Where something is drawn, people see pictures as the detector does, and
    all heads wait for it, which learns for minutes.
    """

    name = "several"
    folder = OURS
    policies = ChoiceKind.policies
    takes_columns = True
    goes_on = True
    rows, blind = "vote_results", "blind"
    by_consensus = True
    needed = "what the head of one of its parts needs: labels of two classes, numbers, ratings, or labelled pictures"
    limits: ClassVar[tuple[str, ...]] = (*ChoiceKind.limits, *Parameters.limits)
    _taken, _adopted = "", False  # the label config of somebody's own, and whether its project was there before

    def taken(self, label_config: str, *, detector: bool, adopted: bool) -> Taken:
        """As `ConfigKind.taken`."""
        return taken_part(label_config, detector=detector, adopted=adopted)

    def serving(self, label_config: str, *, adopted: bool) -> Self:
        """As `ConfigKind.serving`."""
        found = copy(self)
        found._taken, found._adopted = label_config, adopted
        return found

    def part(self, label_config: str, adopted: str) -> str:
        """As `Kind.part`: the control tags that were taken; of a project that was there before no masks.

        Masks are of the size of pictures that are ours.
        """
        names = [str(tag.get("name")) for tag in control_tags(parsed_config(adopted, MEND))]
        found, first = only_controls(label_config, names), find_parts(adopted)[0].name
        if find_parts(found)[0].name != first:
            raise LabelConfigError(f"The label config has no {first!r} any more that a head answers.", "Put it back.")
        return without_masks(found) if self._adopted else found

    @property
    def slow(self) -> bool:
        """As `Kind.slow`: where a detector learns."""
        return self.draws

    @property
    def draws(self) -> bool:
        """As `Kind.draws`: where the label config has people draw."""
        return self._drawn is not None

    @property
    def shows_whole(self) -> bool:
        """As `Kind.shows_whole`: not where something is drawn."""
        return not self.draws

    def offered(self, label_config: str) -> tuple[str, ...]:
        """As `Kind.offered`: the classes of the first question."""
        first = find_parts(label_config)[0]
        return first.kind.offered(first.label_config)

    def control(self, classes: Sequence[str]) -> str:
        """As `Kind.control`: the first question."""
        return find_parts(self._config(classes))[0].name

    def unserved(self, label_config: str) -> tuple[str, ...]:
        """As `Kind.unserved`."""
        return tuple(unserved_lines(label_config))

    def with_classes(self, label_config: str, classes: Sequence[str]) -> str:
        """As `Kind.with_classes`, of the first question."""
        if find_parts(self._taken or label_config)[0].what != QUESTION:
            return super().with_classes(label_config, classes)
        return Morphology().with_classes(label_config, classes)

    def with_simulated(self, label_config: str, simulated: Mapping[str, str]) -> str:
        """As `Kind.with_simulated`, of the first question."""
        return Morphology().with_simulated(label_config, simulated)

    def simulated(self, label_config: str) -> Mapping[str, str]:
        """As `Kind.simulated`, of the first question."""
        first = find_parts(label_config)[0]
        return first.kind.simulated(first.label_config)

    def instruction(self, label_config: str, examples: Mapping[str, Sequence[str]]) -> str:
        """As `Kind.instruction`: that of each part."""
        parts = find_parts(label_config)
        return "".join(
            part.kind.instruction(part.label_config, examples if place == 0 else {}) for place, part in enumerate(parts)
        )

    def check(self, options: Options) -> None:
        """As `Kind.check`."""
        if self._drawn is not None:
            self._drawn.kind.check(options)
        elif options.detector is not None:
            raise CampaignError(
                "A campaign of several questions has no detector where nothing is drawn.", "Leave it out."
            )
        if options.labels is not None:
            raise CampaignError(
                "A campaign of several questions cannot start from a table of labels.", "Leave them out."
            )
        if options.consensus != "majority":
            raise CampaignError(
                "Each of several questions is answered by the majority.",
                "Leave the consensus out, or ask one question.",
            )

    def rendering(self, options: Options, default: Rendering) -> Rendering:
        """As `Kind.rendering`: as the detector sees pictures, where something is drawn."""
        return default if self._drawn is None else self._drawn.kind.rendering(options, default)

    def begin(self, model: Path | None, stores: Stores, report: Report) -> Weights | None:
        """As `Kind.begin`: a detector, where something is drawn, and the heads that need no labels."""
        if self._drawn is None:
            return None
        parts = self._parts(stores.campaign)
        nothing = Labels(0, _labels(parts, []), _labels(parts, []))
        return self._made(nothing, stores, stores.campaign.seed, report, model)

    def labels_of(
        self, rows: Sequence[Mapping[str, Any]], campaign: Campaign, first: ModelVersion | None
    ) -> Labels[SeveralLabels]:
        """As `ResultKind.labels_of`; an annotation of which a part cannot be read is set aside whole."""
        parts = self._parts(campaign)
        said, odd = set_aside.read_results(rows, lambda result: given_parts(result, parts, campaign))
        of_stamp: dict[Stamp, list[tuple[Mapping[str, Any], Given]]] = {}
        for row, given in said:
            if row["audited"] or not row["blind"]:
                of_stamp.setdefault((row["stamp_set"], row["stamp_id"]), []).append((row, given))
        kept: dict[bool, list[Row]] = {True: [], False: []}
        for stamp, annotations in of_stamp.items():
            newest = annotations[-1][0]
            given = agreed_parts([one for _, one in annotations], parts)
            kept[newest["audited"]].append((stamp, given, newest["annotator"] or 0))
        training, audit = _labels(parts, kept[False]), _labels(parts, kept[True])
        taught = {*self.stamps(training), *self.stamps(audit)}
        return Labels(
            last_event=0,
            training=training,
            audit=audit,
            untaught=SeveralLabels({}, [row for row in (*kept[False], *kept[True]) if row[1] and row[0] not in taught]),
            notes=tuple(
                f"Annotation {row['annotation_id']}: {note}"
                for row, given in (annotations[-1] for annotations in of_stamp.values())
                if OBJECTS in given
                for note in given[OBJECTS].objects.notes
            ),
            odd=odd,
        )

    def compared(self, connection: Connection, campaign: Campaign) -> Snapshot:
        """As `Kind.compared`, of the first question."""
        found = self.read(connection, campaign).training.parts[self._parts(campaign)[0].name]
        return found if isinstance(found, Snapshot) else Snapshot([], [], [])

    def fits(self, labels: Labels[SeveralLabels], campaign: Campaign, *, seen: bool) -> bool:
        """As `Kind.fits`: some part does."""
        own = [(part, _of(labels, part)) for part in self._parts(campaign)]
        return any(part.kind.fits(one, campaign, seen=seen) for part, one in own)

    def fit(self, labels: Labels[SeveralLabels], stores: Stores, seed: int, report: Report) -> Weights | None:
        """As `Kind.fit`: a head for each part that has labels enough, or that begins with a released one."""
        first = labels.first.detector if labels.first is not None else None
        begun = detector_folder(stores.folder, first) if first is not None else None
        return self._made(labels, stores, seed, report, begun)

    def _made(
        self, labels: Labels[SeveralLabels], stores: Stores, seed: int, report: Report, model: Path | None
    ) -> Weights | None:
        """What heads learn of labels, or begin with; of a detector that is `model`."""
        heads, detector, metrics = dict[str, bytes](), None, dict[str, Any]()
        for place, part in enumerate(self._parts(stores.campaign)):
            own, begun = part.stores(stores, first=place == 0), model if part.what == OBJECTS else None
            made = part.kind.fit(_of(labels, part), own, seed, report) or part.kind.begin(begun, own, report)
            if made is None:
                continue
            metrics |= made.metrics
            detector = made.detector or detector
            if made.head is not None:
                heads[part.name] = made.head
        if not heads and detector is None:
            return None
        told = {**metrics, "heads": sorted([*heads, *([OBJECTS] if detector else [])])}
        return Weights(pack(heads) if heads else None, detector, told)

    def model_folder(self, store: Path, digest: str) -> Path:
        """As `Kind.model_folder`: that of the detector."""
        return detector_folder(store, digest)

    def load(self, version: ModelVersion, stores: Stores) -> SeveralModel:
        """As `Kind.load`; a head of a tag that the label config no longer has is left out."""
        heads, parts = unpack(version.weights) if version.weights is not None else {}, self._parts(stores.campaign)
        models = dict[str, Model]()
        for place, part in enumerate(parts):
            detector = version.detector if part.what == OBJECTS else None
            if part.name in heads or detector is not None:
                own = replace(version, weights=heads.get(part.name), detector=detector)
                models[part.name] = part.kind.load(own, part.stores(stores, first=place == 0))
        return SeveralModel(models, parts)

    def right(self, model: SeveralModel, labels: SeveralLabels) -> NDArray[np.float64]:
        """As `Kind.right`: the mean over the parts that people answered; one without a head is wrong."""
        total, count = np.zeros(len(labels)), np.zeros(len(labels))
        places = {stamp: place for place, stamp in enumerate(self.stamps(labels))}
        for part in model.parts:
            own = labels.parts[part.name]
            if not len(own):
                continue
            rows = [places[stamp] for stamp in part.kind.stamps(own)]
            count[rows] += 1
            if part.name in model.models:
                total[rows] += np.asarray(part.kind.right(model.models[part.name], own), np.float64)
        return np.asarray(total / np.maximum(count, 1))

    def evaluate(self, model: SeveralModel, labels: SeveralLabels) -> Evaluation:
        """As `Kind.evaluate`: how far each head is right, and what its own kind measures of it."""
        measures, drawn = list[Measure](), dict[Stamp, tuple[Instances, Instances]]()
        for part in model.parts:
            own = labels.parts[part.name]
            if len(own) and part.name in model.models:
                found = part.kind.evaluate(model.models[part.name], own)
                measures.append(Measure(part.name, "right", float(found.right.mean()), len(own), is_share=True))
                measures += found.measures
                drawn |= zip(part.kind.stamps(own), found.objects, strict=bool(found.objects))
        empty = Instances.empty((1, 1))
        objects = [drawn.get(stamp, (empty, empty)) for stamp in self.stamps(labels)] if drawn else []
        return Evaluation(self.right(model, labels), measures=measures, objects=objects)

    def stamps(self, labels: SeveralLabels) -> list[Stamp]:
        """As `Kind.stamps`."""
        return [stamp for stamp, _, _ in labels.rows]

    def export(
        self, labels: Labels[SeveralLabels], campaign: Campaign, sets: Mapping[str, Path], *, training: bool
    ) -> NumberTable:
        """As `Kind.export`: a row a galaxy, what was chosen in words beside the numbers."""
        return _exported(self._parts(campaign), _rows(labels, training))

    def drawn(
        self, labels: Labels[SeveralLabels], campaign: Campaign, sets: Mapping[str, Path], *, training: bool
    ) -> Coco | None:
        """As `Kind.drawn`; a picture on which nothing was drawn, and something answered, is there too."""
        part = next((one for one in self._parts(campaign) if one.what == OBJECTS), None)
        if part is None:
            return None
        own = tuple(Drawn(stamp, *given[OBJECTS]) for stamp, given, _ in _rows(labels, training) if OBJECTS in given)
        alone = replace(campaign, label_config=part.label_config, classes=part.classes)
        return part.kind.drawn(Labels(0, own, ()), alone, sets, training=True)

    @property
    def _drawn(self) -> Part | None:
        return drawn_part(self._config())

    def _config(self, classes: Sequence[str] | None = None) -> str:
        return self._taken or self.label_config(classes)

    def _parts(self, campaign: Campaign) -> tuple[Part, ...]:
        first, *others = find_parts(campaign.label_config or self.label_config(campaign.classes))
        # what was taken stays as it was, and people may have added classes to their project since
        grown = campaign.classes if campaign.label_config and first.what == QUESTION else ()
        return (replace(first, grown=grown), *others)


def _rows(labels: Labels[SeveralLabels], training: bool) -> list[Row]:
    """What was said of stamps: all of it, or what heads learn from."""
    found = [labels.training] if training else [labels.training, labels.audit, labels.untaught]
    return [row for one in found if one is not None for row in one.rows]


def _labels(parts: Sequence[Part], rows: Sequence[Row]) -> SeveralLabels:
    """What was said of stamps, as each part's kind has it; what is no class of its question teaches nothing."""
    ordered, found = sorted(rows, key=lambda row: row[0]), dict[str, Any]()
    for part in parts:
        own = [(stamp, given[part.name], person) for stamp, given, person in ordered if part.name in given]
        classes = part.classes
        if part.what == QUESTION:
            kept = [(stamp, said) for stamp, said, _ in own if said in classes]
            found[part.name] = Snapshot(
                [stamp[0] for stamp, _ in kept], [stamp[1] for stamp, _ in kept], [said for _, said in kept]
            )
            continue
        if part.what == OBJECTS:
            found[part.name] = tuple(Drawn(stamp, *said) for stamp, said, _ in own)
            continue
        numbers = [said if isinstance(said, Mapping) else {part.name: said} for _, said, _ in own]
        values = np.array([[one.get(name, np.nan) for name in classes] for one in numbers]).reshape(-1, len(classes))
        found[part.name] = NumberTable(classes, [stamp for stamp, _, _ in own], values, [who for _, _, who in own])
    taught = {stamp for part in parts for stamp in part.kind.stamps(found[part.name])}
    return SeveralLabels(found, [row for row in ordered if row[0] in taught])


def _of(labels: Labels[SeveralLabels], part: Part) -> Labels[Any]:
    """The labels of one part."""
    training, audit = labels.training.parts[part.name], labels.audit.parts[part.name]
    return Labels(labels.last_event, training, audit, first=labels.first)


def _exported(parts: Sequence[Part], rows: Sequence[Row]) -> NumberTable:
    ordered = sorted(rows, key=lambda row: row[0])
    asked = [part.name for part in parts if part.what == QUESTION]
    names = [name for part in parts for name in part.columns]
    numbers = []
    for _, given, _ in ordered:
        said = {name: one for name, one in given.items() if isinstance(one, float)}
        for one in given.values():
            said |= one if isinstance(one, Mapping) else {}
        if OBJECTS in given:
            many = Counter(given[OBJECTS].objects.instances.classes)
            said |= {counted(name): many[name] for part in parts if part.what == OBJECTS for name in part.classes}
        numbers.append([said.get(name, np.nan) for name in names])
    return NumberTable(
        tuple(names),
        [stamp for stamp, _, _ in ordered],
        np.array(numbers, np.float64).reshape(len(ordered), len(names)),
        [who for _, _, who in ordered],
        {name: [given.get(name, "") for _, given, _ in ordered] for name in asked},
    )
