"""Campaigns of several questions at once: each control tag of a label config is answered by a head of its own."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from backend_ml.kinds.evaluation import Evaluation, Measure
from backend_ml.kinds.kind import Kind, Labels, Options, Report
from backend_ml.kinds.models import Answers, Model, Predict, Quantity, Stamp, Stores, Weights, head_of
from backend_ml.kinds.results import ResultKind
from backend_ml.label_studio.regions.choices import (
    MODEL_SAYS,
    QUESTIONS,
    LabelConfigError,
    Region,
    asks_for_one,
    chosen,
    note_result,
    only_question,
    parsed_config,
)
from backend_ml.label_studio.regions.numbers import find_numbers, find_rating, given_rating
from backend_ml.label_studio.regions.objects import TAGS
from backend_ml.labels import set_aside
from backend_ml.plugins.choices import OURS, ChoiceKind, Morphology
from backend_ml.plugins.interest_rating import InterestRating
from backend_ml.plugins.parameters import Parameters, read_numbers
from backend_ml.store.database import Connection
from backend_ml.store.records import Campaign, CampaignError, ModelVersion
from lvm_training.heads.head import pack, unpack
from lvm_training.parameters.number_table import NumberTable
from lvm_training.parameters.parameter import ANGLE, PARAMETERS
from lvm_training.tables.snapshot import Snapshot

MEND = "See label_config/several.xml."
QUESTION, NUMBERS, RATING = "question", "numbers", "rating"
LAYOUT = frozenset({MODEL_SAYS})  # control tags that nobody answers with

Given = Mapping[str, Any]
"""What an annotation says, by part: a class, numbers by name, or stars; without what it leaves open."""
Row = tuple[Stamp, Given, int]


@dataclass(frozen=True)
class Part:
    """Control tags that one head answers.

    Attributes
    ----------
    name : str
        Of the tag; of all numbers together `numbers`.
    what : str
        "question", "numbers" or "rating".
    kind : Kind
        What answers it.
    label_config : str
        What that kind sees of the label config.
    """

    name: str
    what: str
    kind: Kind[Any, Any]
    label_config: str

    def stores(self, stores: Stores, *, first: bool) -> Stores:
        """Stores of a campaign that has this part alone; only the first question has names that a leader changes."""
        campaign = stores.campaign
        own = replace(campaign, kind=self.kind.name, label_config=self.label_config)
        if not first:
            own = replace(own, classes=self.kind.offered(self.label_config), simulated={}, renamed={})
        return replace(stores, campaign=own)


@dataclass(frozen=True, eq=False)
class SeveralLabels:
    """Labels by part, as its own kind has them, and what was said of each stamp, by set and row.

    Attributes
    ----------
    parts : mapping of str to Snapshot or NumberTable
    rows : sequence of (Stamp, Given, int)
        Each stamp of which a part learns, what is said of it, and by whom.
    """

    parts: Mapping[str, Any]
    rows: Sequence[Row]

    def __len__(self) -> int:
        return len(self.rows)


@lru_cache(maxsize=64)
def find_parts(label_config: str) -> tuple[Part, ...]:
    """The parts of a label config that heads answer: each single-choice question, all numbers, a rating.

    Raises
    ------
    LabelConfigError
        If there is no question of choices on an image, or objects are to be drawn, which takes a campaign of its own.
    """
    root = parsed_config(label_config, MEND)
    images = {tag.get("name") for tag in root.iter("Image")}
    drawn = [tag.get("name") for tag in root.iter() if tag.tag in TAGS]
    if drawn:
        raise LabelConfigError(
            f"No head of a campaign of several questions draws objects, which {drawn[0]!r} asks for: a detector learns"
            " for minutes, from other pictures.",
            "Take the tag out, and make a campaign of objects (`--kind lenses`, or one of your own) beside this one.",
        )
    asked = [tag for tag in root.iter() if tag.tag in QUESTIONS and tag.get("toName") in images and asks_for_one(tag)]
    found = []
    for tag in asked:
        name = tag.get("name") or ""
        found.append(Part(name, QUESTION, Morphology(), only_question(label_config, name)))
        found[-1].kind.offered(found[-1].label_config)
    if not found:
        raise LabelConfigError("The label config has no single-choice <Choices> on an <Image>.", MEND)
    numbers = _with_parameters(label_config)
    if numbers:
        found.append(Part(NUMBERS, NUMBERS, Parameters(), numbers))
    with suppress(LabelConfigError):
        found.append(Part(find_rating(label_config).name, RATING, InterestRating(), label_config))
    twice = [one.name for place, one in enumerate(found) if one.name in {other.name for other in found[:place]}]
    if twice:
        raise LabelConfigError(f"Two control tags are named {twice[0]!r}.", "Give one of them another name.")
    return tuple(found)


def _with_parameters(label_config: str) -> str:
    """A label config without the numbers that no head measures; empty if none is left."""
    root = parsed_config(label_config, MEND)
    left = 0
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag == "Number":
                measured = child.get("name") in PARAMETERS and child.get("name") != ANGLE
                left += measured
                if not measured:
                    parent.remove(child)
    text = ElementTree.tostring(root, encoding="unicode")
    try:
        return text if left and find_numbers(text) else ""
    except LabelConfigError:
        return ""


class SeveralAnswers(Answers):
    """The answers of each part's head; the first question's are those that policies and pages go by."""

    def __init__(self, answers: Mapping[str, Answers], parts: Sequence[Part]) -> None:
        self._answers, self._parts = answers, parts
        first = answers.get(parts[0].name)
        if first is not None:
            self.classes, self.probabilities = first.classes, first.probabilities
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
            own = self._answers[part.name].result(index, _noted(part.label_config))
            regions += [{**one, "id": one["from_name"]} for one in own if one["from_name"] != MODEL_SAYS]
            said += [one["value"]["text"][0] for one in own if one["from_name"] == MODEL_SAYS]
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


@lru_cache(maxsize=64)
def _noted(label_config: str) -> str:
    """A part's label config with a place for what its head says."""
    root = parsed_config(label_config, MEND)
    image = next((tag.get("name") or "" for tag in root.iter("Image")), "")
    if not any(tag.get("name") == MODEL_SAYS for tag in root.iter("TextArea")):
        ElementTree.SubElement(root, "TextArea", {"name": MODEL_SAYS, "toName": image})
    return ElementTree.tostring(root, encoding="unicode")


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


class Several(ResultKind[SeveralLabels, SeveralModel]):
    """Questions, numbers and a rating of one label config, each with a head of its own.

    A version is the set of its heads; one that has too few labels is left out until it has enough. The first question
    is what ranks the queue, draws the heat map and gives the campaign its classes. The newest annotation of a stamp
    counts, and says what it says of each part.
    """

    name = "several"
    folder = OURS
    policies = ChoiceKind.policies
    takes_columns = True
    needed = "what the head of one of its parts needs: labels of two classes, numbers, or ratings"
    limits: ClassVar[tuple[str, ...]] = (*ChoiceKind.limits, *Parameters.limits)

    def offered(self, label_config: str) -> tuple[str, ...]:
        """As `Kind.offered`: the classes of the first question."""
        first = find_parts(label_config)[0]
        return first.kind.offered(first.label_config)

    def control(self, classes: Sequence[str]) -> str:
        """As `Kind.control`: the first question."""
        return find_parts(self.label_config(classes))[0].name

    def unserved(self, label_config: str) -> tuple[str, ...]:
        """As `Kind.unserved`."""
        parts = find_parts(label_config)
        known = {one.name for one in parts} | LAYOUT
        known |= {one.name for part in parts if part.what == NUMBERS for one in find_numbers(part.label_config)}
        root = parsed_config(label_config, MEND)
        tags = [tag for tag in root.iter() if tag.get("name") and tag.get("toName")]
        return tuple(f"<{tag.tag} name={tag.get('name')!r}>" for tag in tags if tag.get("name") not in known)

    def with_classes(self, label_config: str, classes: Sequence[str]) -> str:
        """As `Kind.with_classes`, of the first question."""
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
        if options.detector is not None:
            raise CampaignError("A campaign of several questions has no detector.", "Leave it out.")
        if options.labels is not None:
            raise CampaignError(
                "A campaign of several questions cannot start from a table of labels.", "Leave them out."
            )
        if options.consensus != "majority":
            raise CampaignError(
                "Several questions have no consensus: the newest annotation of a stamp counts.", "Leave it out."
            )

    def labels_of(
        self, rows: Sequence[Mapping[str, Any]], campaign: Campaign, first: ModelVersion | None
    ) -> Labels[SeveralLabels]:
        """As `ResultKind.labels_of`; an annotation of which a part cannot be read is set aside whole."""
        parts = self._parts(campaign)
        kept: dict[bool, list[Row]] = {True: [], False: []}
        said, odd = set_aside.read_results(rows, lambda result: _given(result, parts, campaign))
        for row, given in said:
            kept[row["audit"]].append(((row["stamp_set"], row["stamp_id"]), given, row["annotator"] or 0))
        training, audit = _labels(parts, kept[False]), _labels(parts, kept[True])
        taught = {*self.stamps(training), *self.stamps(audit)}
        return Labels(
            last_event=0,
            training=training,
            audit=audit,
            untaught=SeveralLabels({}, [row for row in (*kept[False], *kept[True]) if row[1] and row[0] not in taught]),
            odd=odd,
        )

    def compared(self, connection: Connection, campaign: Campaign) -> Snapshot:
        """As `Kind.compared`, of the first question."""
        found: Snapshot = self.read(connection, campaign).training.parts[self._parts(campaign)[0].name]
        return found

    def fits(self, labels: Labels[SeveralLabels], campaign: Campaign, *, seen: bool) -> bool:
        """As `Kind.fits`: some part does."""
        own = [(part, _of(labels, part)) for part in self._parts(campaign)]
        return any(part.kind.fits(one, campaign, seen=seen) for part, one in own)

    def fit(self, labels: Labels[SeveralLabels], stores: Stores, seed: int, report: Report) -> Weights | None:
        """As `Kind.fit`: a head for each part that has labels enough, or that begins with a released one."""
        heads, metrics = dict[str, bytes](), dict[str, Any]()
        for place, part in enumerate(self._parts(stores.campaign)):
            own = part.stores(stores, first=place == 0)
            made = part.kind.fit(_of(labels, part), own, seed, report) or part.kind.begin(None, own, report)
            if made is not None and made.head is not None:
                heads[part.name] = made.head
                metrics |= made.metrics
        return Weights(head=pack(heads), metrics={**metrics, "heads": sorted(heads)}) if heads else None

    def load(self, version: ModelVersion, stores: Stores) -> SeveralModel:
        """As `Kind.load`; a head of a tag that the label config no longer has is left out."""
        heads, parts = unpack(head_of(version)), self._parts(stores.campaign)
        models = {
            part.name: part.kind.load(replace(version, weights=heads[part.name]), part.stores(stores, first=place == 0))
            for place, part in enumerate(parts)
            if part.name in heads
        }
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
        measures = list[Measure]()
        for part in model.parts:
            own = labels.parts[part.name]
            if len(own) and part.name in model.models:
                found = part.kind.evaluate(model.models[part.name], own)
                measures.append(Measure(part.name, "right", float(found.right.mean()), len(own), is_share=True))
                measures += found.measures
        return Evaluation(self.right(model, labels), measures=measures)

    def stamps(self, labels: SeveralLabels) -> list[Stamp]:
        """As `Kind.stamps`."""
        return [stamp for stamp, _, _ in labels.rows]

    def export(
        self, labels: Labels[SeveralLabels], campaign: Campaign, sets: Mapping[str, Path], *, training: bool
    ) -> NumberTable:
        """As `Kind.export`: a row a galaxy, what was chosen in words beside the numbers."""
        found = [labels.training] if training else [labels.training, labels.audit, labels.untaught]
        return _exported(self._parts(campaign), [row for one in found if one is not None for row in one.rows])

    def _parts(self, campaign: Campaign) -> tuple[Part, ...]:
        return find_parts(campaign.label_config or self.label_config(campaign.classes))


def _given(result: Sequence[Mapping[str, Any]], parts: Sequence[Part], campaign: Campaign) -> Given:
    """What an annotation says of each part, a class of the first question by its present name.

    Raises
    ------
    ChoiceError, NumberError
        If a part of it cannot be read.
    """
    found: dict[str, Any] = {}
    for place, part in enumerate(parts):
        if part.what == QUESTION:
            own = [region for region in result if region.get("from_name") == part.name]
            said = chosen(own, part.name)
            if said is not None:
                found[part.name] = campaign.renamed.get(said, said) if place == 0 else said
        elif part.what == NUMBERS:
            numbers = read_numbers(result, find_numbers(part.label_config))
            found |= {part.name: numbers} if numbers else {}
        else:
            found[part.name] = given_rating(result, find_rating(part.label_config))
    return found


def _labels(parts: Sequence[Part], rows: Sequence[Row]) -> SeveralLabels:
    """What was said of stamps, as each part's kind has it; what is no class of its question teaches nothing."""
    ordered, found = sorted(rows, key=lambda row: row[0]), dict[str, Any]()
    for part in parts:
        own = [(stamp, given[part.name], person) for stamp, given, person in ordered if part.name in given]
        classes = part.kind.offered(part.label_config)
        if part.what == QUESTION:
            kept = [(stamp, said) for stamp, said, _ in own if said in classes]
            found[part.name] = Snapshot(
                [stamp[0] for stamp, _ in kept], [stamp[1] for stamp, _ in kept], [said for _, said in kept]
            )
            continue
        numbers = [said if isinstance(said, Mapping) else {part.name: said} for _, said, _ in own]
        values = np.array([[one.get(name, np.nan) for name in classes] for one in numbers]).reshape(-1, len(classes))
        found[part.name] = NumberTable(classes, [stamp for stamp, _, _ in own], values, [who for _, _, who in own])
    taught = {stamp for part in parts for stamp in part.kind.stamps(found[part.name])}
    return SeveralLabels(found, [row for row in ordered if row[0] in taught])


def _of(labels: Labels[SeveralLabels], part: Part) -> Labels[Any]:
    """The labels of one part."""
    return Labels(labels.last_event, labels.training.parts[part.name], labels.audit.parts[part.name])


def _exported(parts: Sequence[Part], rows: Sequence[Row]) -> NumberTable:
    ordered = sorted(rows, key=lambda row: row[0])
    asked = [part.name for part in parts if part.what == QUESTION]
    names = [name for part in parts if part.what != QUESTION for name in part.kind.offered(part.label_config)]
    numbers = []
    for _, given, _ in ordered:
        said = {name: one for name, one in given.items() if isinstance(one, float)}
        for one in given.values():
            said |= one if isinstance(one, Mapping) else {}
        numbers.append([said.get(name, np.nan) for name in names])
    return NumberTable(
        tuple(names),
        [stamp for stamp, _, _ in ordered],
        np.array(numbers, np.float64).reshape(len(ordered), len(names)),
        [who for _, _, who in ordered],
        {name: [given.get(name, "") for _, given, _ in ordered] for name in asked},
    )
