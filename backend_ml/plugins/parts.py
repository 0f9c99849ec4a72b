"""The parts of a label config of several questions: which of its control tags which head answers."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple
from xml.etree import ElementTree

from backend_ml.kinds.kind import Kind
from backend_ml.kinds.models import Stores
from backend_ml.kinds.results import Taken
from backend_ml.label_studio.regions.choices import (
    MODEL_SAYS,
    QUESTIONS,
    LabelConfigError,
    chosen,
    only_question,
    parsed_config,
    pruned,
)
from backend_ml.label_studio.regions.controls import (
    OF_PARTS,
    asked_at_times,
    control_tags,
    field_of,
    is_of_parts,
    named,
    only_controls,
    shows_words,
    why_no_picture,
    why_no_question,
)
from backend_ml.label_studio.regions.numbers import find_numbers, find_rating, given_rating
from backend_ml.label_studio.regions.objects import RECTANGLE, TAGS, ReadObjects, find_object_controls
from backend_ml.labels.consensus import majority
from backend_ml.plugins.choices import Morphology
from backend_ml.plugins.interest_rating import InterestRating
from backend_ml.plugins.lenses import Lenses
from backend_ml.plugins.objects import ObjectKind
from backend_ml.plugins.parameters import Parameters, read_numbers
from backend_ml.store.records import Campaign
from lvm_training.parameters.parameter import ANGLE, PARAMETERS

MEND = "See label_config/several.xml."
QUESTION, NUMBERS, RATING, OBJECTS = "question", "numbers", "rating", "objects"
UNANSWERED = "is a <{}>, which no head answers"
MASKS = ("BrushLabels", "PolygonLabels")

Given = Mapping[str, Any]
"""What an annotation says, by part: a class, numbers by name, stars, or what is drawn; without what it leaves open."""


class Sketch(NamedTuple):
    """What an annotation draws: objects on the campaign's pictures, and its regions."""

    objects: ReadObjects
    result: Sequence[Mapping[str, Any]]


class Objects(ObjectKind):
    """Boxes and masks of any classes, as one part of several.

    Parameters
    ----------
    label_config : str
        What of the whole is drawn.
    """

    name = OBJECTS
    question = "What is there to draw?"
    remark = ""

    def __init__(self, label_config: str) -> None:
        self._label_config = label_config

    def label_config(self, classes: Sequence[str] | None = None) -> str:
        """As `Kind.label_config`: what of the whole is drawn."""
        return self._label_config


class LensObjects(Objects, Lenses):
    """What lenses are made of, without a grade: other questions are asked of the picture."""

    def graded(self, score: float) -> str | None:
        """As `ObjectKind.graded`: none is asked for."""
        return None


@dataclass(frozen=True)
class Part:
    """Control tags that one head answers.

    Attributes
    ----------
    name : str
        Of the tag; of all numbers together `numbers`, of all that is drawn `objects`.
    what : str
        "question", "numbers", "rating" or "objects".
    kind : Kind
        What answers it.
    label_config : str
        What that kind sees of the label config.
    grown : tuple of str
        Its classes, where people added some to their project since the campaign was made.
    """

    name: str
    what: str
    kind: Kind[Any, Any]
    label_config: str
    grown: tuple[str, ...] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        """What it may be answered with."""
        return self.grown or self.kind.offered(self.label_config)

    @property
    def columns(self) -> tuple[str, ...]:
        """The numbers of it that a table has: of what is drawn how many of each."""
        if self.what == QUESTION:
            return ()
        return tuple(counted(name) for name in self.classes) if self.what == OBJECTS else self.classes

    def stores(self, stores: Stores, *, first: bool) -> Stores:
        """Stores of a campaign that has this part alone; only the first question has names that a leader changes."""
        campaign = stores.campaign
        own = replace(campaign, kind=self.kind.name, label_config=self.label_config)
        if not first:
            own = replace(own, classes=self.classes, simulated={}, renamed={})
        return replace(stores, campaign=own)


def counted(label: str) -> str:
    """The column of how many of a label somebody drew."""
    return f"{OBJECTS}_{label}"


@lru_cache(maxsize=64)
def find_parts(label_config: str) -> tuple[Part, ...]:
    """The parts of a label config that heads answer: each single-choice question, all numbers, a rating, what is drawn.

    Raises
    ------
    LabelConfigError
        If there is none, or two control tags have one name.
    """
    root = parsed_config(label_config, MEND)
    refused = _hindrances(label_config)
    asked = [str(tag.get("name")) for tag in control_tags(root) if tag.tag in QUESTIONS]
    served = [name for name in asked if not refused[name]]
    found = [Part(name, QUESTION, Morphology(), only_question(label_config, name)) for name in served]
    numbers = _with_parameters(label_config)
    if numbers:
        found.append(Part(NUMBERS, NUMBERS, Parameters(), numbers))
    with suppress(LabelConfigError):
        rating = find_rating(label_config).name
        found += [] if refused[rating] else [Part(rating, RATING, InterestRating(), label_config)]
    drawn = drawn_part(label_config)
    if drawn is not None:
        found.append(drawn)
    if not found:
        raise _nothing(unserved_lines(label_config))
    names = [one.name for one in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise LabelConfigError(f"Two control tags are named {twice!r}.", "Give one of them another name.")
    return tuple(found)


@lru_cache(maxsize=64)
def drawn_part(label_config: str) -> Part | None:
    """What of a label config is drawn, for a detector; None if nothing is.

    Raises
    ------
    LabelConfigError
        If it is no XML.
    """
    drawn = pruned(label_config, (*QUESTIONS, "Number", "Rating"))
    try:
        labels = Objects(drawn).offered(drawn)
    except LabelConfigError:
        return None
    of_lenses = set(labels) == set(Lenses().offered(Lenses().label_config()))
    return Part(OBJECTS, OBJECTS, (LensObjects if of_lenses else Objects)(drawn), drawn)


def unserved_lines(label_config: str) -> list[str]:
    """The control tags of a label config that people answer and no part does, each with the reason.

    Raises
    ------
    LabelConfigError
        If it is no XML.
    """
    return _lines(parsed_config(label_config, MEND), _hindrances(label_config))


def taken_part(label_config: str, *, detector: bool, adopted: bool) -> Taken:
    """What of a label config that somebody wrote heads answer; see `ConfigKind.taken`.

    The first question is one that is always asked, if there is such a one.

    Raises
    ------
    LabelConfigError
        If no head answers anything of it.
    """
    root = parsed_config(label_config, MEND)
    refused = _left_out(label_config, root, detector=detector, adopted=adopted)
    served = [tag for tag in control_tags(root) if not refused[str(tag.get("name"))]]
    own = [tag for tag in served if not shows_words(tag)]
    lines = _lines(root, refused)
    if not own:
        raise _nothing(lines)
    own.sort(key=lambda tag: (tag.tag not in QUESTIONS, asked_at_times(tag)))
    names = tuple(str(tag.get("name")) for tag in own)
    kept = only_controls(label_config, [*names, *(MODEL_SAYS for tag in served if shows_words(tag))])
    images = {tag.get("name"): tag for tag in root.iter("Image")}
    field = field_of(images[own[0].get("toName")])
    return Taken(kept, names, field, tuple(lines), tuple(_remarks(own, adopted)))


def _left_out(label_config: str, root: ElementTree.Element, *, detector: bool, adopted: bool) -> dict[str, str]:
    """Why no head answers a control tag in a campaign, by its name; "" if one does, or it shows the model's words."""
    images = {str(tag.get("name")): tag for tag in root.iter("Image")}
    refused, field = dict(_hindrances(label_config)), ""
    drawn = drawn_part(label_config)
    if drawn is not None:
        unready = _why_undrawn(drawn, detector=detector, adopted=adopted)
        for control in find_object_controls(drawn.label_config).drawing:
            refused[control.name] = refused[control.name] or unready
    for tag in control_tags(root):
        name = str(tag.get("name"))
        if shows_words(tag):
            # in a project that was there before people write into it
            refused[name] = UNANSWERED.format(tag.tag) if adopted else ""
            continue
        refused[name] = refused[name] or why_no_picture(tag, images)
        if not refused[name]:
            looked = field_of(images[str(tag.get("toName"))])
            field = field or looked
            refused[name] = "" if looked == field else f"is about {tag.get('toName')!r}, and models look at ${field}"
    return refused


def _nothing(lines: Sequence[str]) -> LabelConfigError:
    said = " ".join(f"{line}." for line in lines) or "It asks nothing."
    return LabelConfigError(f"No head answers anything of the label config. {said}", MEND)


def _why_undrawn(drawn: Part, *, detector: bool, adopted: bool) -> str:
    """Why nothing that a label config has people draw can be answered in a campaign; "" if it can."""
    boxed = any(one.kind == RECTANGLE for one in find_object_controls(drawn.label_config).drawing)
    if adopted and not boxed:
        return "is drawn, and of what is drawn models fill in boxes"
    if detector or not isinstance(drawn.kind, ObjectKind) or drawn.kind.released is not None:
        return ""
    return f"has no detector of {', '.join(drawn.classes)} to begin with: name the folder of one, --detector FOLDER"


def _remarks(served: Sequence[ElementTree.Element], adopted: bool) -> list[str]:
    """What to know of the control tags that are answered."""
    said = []
    for tag in served:
        if asked_at_times(tag):
            said.append(f"{named(tag)} is asked at times: where it is not, a model's answer is not shown")
        if tag.tag == "Taxonomy" and tag.get("maxUsages") != "1":
            said.append(f"{named(tag)} takes several choices: annotations with several are set aside")
        if adopted and tag.tag in MASKS:
            said.append(f"{named(tag)} is learned from, and not filled in")
    return said


def _lines(root: ElementTree.Element, refused: Mapping[str, str]) -> list[str]:
    tags = [tag for tag in control_tags(root) if refused.get(str(tag.get("name")))]
    return [f"{named(tag)} {refused[str(tag.get('name'))]}" for tag in tags]


@lru_cache(maxsize=64)
def _hindrances(label_config: str) -> Mapping[str, str]:
    """Why no head answers a control tag of a label config, by its name; "" if one does."""
    root = parsed_config(label_config, MEND)
    images = {tag.get("name") for tag in root.iter("Image")}
    known, heads = _known_controls(label_config), _heads_of_many(label_config)
    found = {}
    for tag in control_tags(root):
        name = str(tag.get("name"))
        if name in heads and tag.tag in (*QUESTIONS, "Rating"):
            found[name] = "is called as the head of other tags is: give it another name"
        elif tag.tag in QUESTIONS and tag.get("toName") in images:
            found[name] = why_no_question(tag)
        else:
            found[name] = "" if name in known or shows_words(tag) else _why_not(tag, images, label_config)
    return found


def _heads_of_many(label_config: str) -> set[str]:
    """The names of the heads of a label config that are no control tag's."""
    there = {NUMBERS: bool(_with_parameters(label_config)), OBJECTS: drawn_part(label_config) is not None}
    return {name for name, is_there in there.items() if is_there}


def _known_controls(label_config: str) -> set[str]:
    """The names of the numbers, of the rating and of the drawing tags that heads answer."""
    known = set()
    if numbers := _with_parameters(label_config):
        known |= {one.name for one in find_numbers(numbers)}
    with suppress(LabelConfigError):
        known.add(find_rating(label_config).name)
    if drawn := drawn_part(label_config):
        known |= {one.name for one in find_object_controls(drawn.label_config).drawing}
    return known


def _why_not(tag: ElementTree.Element, images: set[str | None], label_config: str) -> str:
    """Why no head answers a control tag that is none of those that heads do."""
    if tag.tag not in (*QUESTIONS, *TAGS, "Number", "Rating"):
        return UNANSWERED.format(tag.tag)
    if tag.get("toName") not in images:
        return f"is about {tag.get('toName')!r}, which is no <Image>"
    if is_of_parts(tag):
        return OF_PARTS
    if tag.tag == "Number":
        return _why_not_measured(tag)
    if tag.tag == "Rating":
        return _why_no_rating(label_config)
    if not any(label.get("value") for label in tag.iter("Label")):
        return "has no <Label> to draw with"
    outlines = drawn_part(label_config) is None
    return (
        "draws outlines without boxes or masks beside them"
        if outlines
        else "is drawn on another <Image> than the first"
    )


def _why_not_measured(tag: ElementTree.Element) -> str:
    """Why no head measures what a `Number` is called; "" if one does."""
    measured = [name for name in PARAMETERS if name != ANGLE]
    if tag.get("name") not in measured:
        return f"is no parameter that a head measures: {', '.join(measured)}"
    try:
        least, most = float(tag.get("min", "-inf")), float(tag.get("max", "inf"))
    except ValueError:
        return "has limits that are no numbers"
    return "" if least <= most else "has limits between which no number lies"


def _why_no_rating(label_config: str) -> str:
    try:
        find_rating(label_config)
    except LabelConfigError:
        return "has no whole number of stars"
    return "is not the first rating"


def _with_parameters(label_config: str) -> str:
    """A label config without the numbers that no head measures; empty if none is left."""
    root = parsed_config(label_config, MEND)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag == "Number" and _why_not_measured(child):
                parent.remove(child)
    text = ElementTree.tostring(root, encoding="unicode")
    try:
        return text if find_numbers(text) else ""
    except LabelConfigError:
        return ""


@lru_cache(maxsize=64)
def noted(label_config: str) -> str:
    """A part's label config with a place for what its head says."""
    root = parsed_config(label_config, MEND)
    image = next((tag.get("name") or "" for tag in root.iter("Image")), "")
    if not any(tag.get("name") == MODEL_SAYS for tag in root.iter("TextArea")):
        ElementTree.SubElement(root, "TextArea", {"name": MODEL_SAYS, "toName": image})
    return ElementTree.tostring(root, encoding="unicode")


def given_parts(result: Sequence[Mapping[str, Any]], parts: Sequence[Part], campaign: Campaign) -> Given:
    """What an annotation says of each part, a class of the first question by its present name.

    Raises
    ------
    ChoiceError, NumberError, RegionError
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
        elif part.what == RATING:
            found[part.name] = given_rating(result, find_rating(part.label_config))
        elif isinstance(part.kind, ObjectKind):
            # what is chosen answers other questions, and grades nothing that is drawn
            own = [region for region in result if region.get("type") not in QUESTIONS.values()]
            taught = part.kind.taught(own, find_object_controls(part.label_config), side=campaign.rendering.size)
            found |= {part.name: Sketch(taught, own)} if taught is not None else {}
    return found


def agreed_parts(given: Sequence[Given], parts: Sequence[Part]) -> Given:
    """What several annotations of a stamp, in order of time, come to.

    To a question it is what most of them answer; of everything else it is what the newest says.
    """
    found = dict(given[-1])
    for name in (part.name for part in parts if part.what == QUESTION):
        answers = [one[name] for one in given if name in one]
        if answers:
            found[name] = majority(answers)
    return found
