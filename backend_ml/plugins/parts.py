"""The parts of a label config of several questions: which of its control tags which head answers."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any
from xml.etree import ElementTree

from backend_ml.kinds.kind import Kind
from backend_ml.kinds.models import Stores
from backend_ml.label_studio.regions.choices import (
    MODEL_SAYS,
    QUESTIONS,
    LabelConfigError,
    asks_for_one,
    chosen,
    only_question,
    parsed_config,
    pruned,
)
from backend_ml.label_studio.regions.numbers import find_numbers, find_rating, given_rating
from backend_ml.label_studio.regions.objects import find_object_controls
from backend_ml.plugins.choices import Morphology
from backend_ml.plugins.interest_rating import InterestRating
from backend_ml.plugins.lenses import Lenses
from backend_ml.plugins.objects import ObjectKind
from backend_ml.plugins.parameters import Parameters, read_numbers
from backend_ml.store.records import Campaign
from lvm_training.parameters.parameter import ANGLE, PARAMETERS

MEND = "See label_config/several.xml."
QUESTION, NUMBERS, RATING, OBJECTS = "question", "numbers", "rating", "objects"
LAYOUT = frozenset({MODEL_SAYS})  # control tags that nobody answers with

Given = Mapping[str, Any]
"""What an annotation says, by part: a class, numbers by name, stars, or objects; without what it leaves open."""


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
    """

    name: str
    what: str
    kind: Kind[Any, Any]
    label_config: str

    @property
    def classes(self) -> tuple[str, ...]:
        """What it may be answered with."""
        return self.kind.offered(self.label_config)

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
        If there is no question of choices on an image, or two control tags have one name.
    """
    root = parsed_config(label_config, MEND)
    images = {tag.get("name") for tag in root.iter("Image")}
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
    drawn = drawn_part(label_config)
    if drawn is not None:
        found.append(drawn)
    twice = [one.name for place, one in enumerate(found) if one.name in {other.name for other in found[:place]}]
    if twice:
        raise LabelConfigError(f"Two control tags are named {twice[0]!r}.", "Give one of them another name.")
    return tuple(found)


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


def unserved_tags(label_config: str) -> list[ElementTree.Element]:
    """The control tags of a label config that people answer and no part does.

    Raises
    ------
    LabelConfigError
        As `find_parts`.
    """
    known = set(LAYOUT)
    for part in find_parts(label_config):
        if part.what == NUMBERS:
            known |= {one.name for one in find_numbers(part.label_config)}
        elif part.what == OBJECTS:
            known |= {one.name for one in find_object_controls(part.label_config).drawing}
        else:
            known.add(part.name)
    root = parsed_config(label_config, MEND)
    return [tag for tag in root.iter() if tag.get("name") and tag.get("toName") and tag.get("name") not in known]


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
            controls = find_object_controls(part.label_config)
            found[part.name] = part.kind.taught(result, controls, side=campaign.rendering.size)
    return found
