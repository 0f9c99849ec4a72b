"""Which question of somebody's own label config a kind of campaign can answer, and why it cannot answer the others."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from backend_ml.kinds.installed import find_kind, serving_kind
from backend_ml.kinds.kind import Kind
from backend_ml.kinds.results import ConfigKind, Taken
from backend_ml.label_studio.regions.choices import (
    CONTROLS,
    QUESTIONS,
    LabelConfigError,
    find_choices,
    only_question,
    parsed_config,
)
from backend_ml.label_studio.regions.controls import (
    asked_at_times,
    choices_of,
    control_tags,
    field_of,
    why_no_picture,
    why_no_question,
)
from backend_ml.label_studio.regions.objects import TAGS, find_object_controls, without_masks

LENSES, MORPHOLOGY, SEVERAL = "lenses", "morphology", "several"
BOXES = "RectangleLabels"
MEND = "Ask one question about the whole picture: <Choices> with two or more <Choice> on an <Image>."


@dataclass(frozen=True)
class Question:
    """What a campaign answers of a label config.

    Attributes
    ----------
    kind : str
        The kind of campaign.
    name : str
        The control tag's `name`; of several questions the first one's.
    classes : tuple of str
        What it answers.
    image : str
        Key of a task's data that says where the picture is.
    label_config : str
        The part of the label config that is answered (`records.Campaign`).
    remarks : tuple of str
        What is not answered, and what to know of what is.
    names : tuple of str
        Of several questions, all control tags that are answered.
    """

    kind: str
    name: str
    classes: tuple[str, ...]
    image: str
    label_config: str
    remarks: tuple[str, ...]
    names: tuple[str, ...] = ()

    @property
    def answered(self) -> tuple[str, ...]:
        """All control tags that are answered."""
        return self.names or (self.name,)

    @property
    def answering(self) -> Kind[Any, Any]:
        """What answers it."""
        return serving_kind(self.kind, self.label_config, adopted=True)


def find_question(
    label_config: str, kind: str | None = None, name: str | None = None, *, detector: bool = False
) -> Question:
    """What a campaign answers: all that heads can, or the one question of that name, or that a kind is for.

    Parameters
    ----------
    kind : str, optional
        An installed kind; by default several where more is asked than lenses or morphology answer.
    name : str, optional
        Of the control tag.
    detector : bool
        Whether a detector is named to begin with.

    Raises
    ------
    LabelConfigError
        If none can be answered; the message says why of each.
    KindError
        If there is no such kind.
    """
    several = find_kind(kind or SEVERAL)
    if not isinstance(several, ConfigKind) or (kind is None and name is not None):
        return _one_question(label_config, kind, name)
    try:
        taken = several.taken(label_config, detector=detector, adopted=True)
    except LabelConfigError:
        if kind is not None:
            raise
        return _one_question(label_config, kind, name)
    if name is not None and name not in taken.names:
        raise LabelConfigError(f"No head answers {name!r}.", f"Heads answer: {', '.join(taken.names)}.")
    if kind is None:
        with suppress(LabelConfigError):
            one = _one_question(label_config, kind, name)
            if set(taken.names) <= _covered(one):
                return one
    return _all_of(several, taken)


def _all_of(several: Kind[Any, Any], taken: Taken) -> Question:
    said = (*taken.remarks, *(f"{line}: left to people" for line in taken.unserved))
    first, classes = taken.names[0], several.offered(taken.label_config)
    return Question(several.name, first, classes, taken.field, taken.label_config, said, taken.names)


def _covered(question: Question) -> set[str]:
    """The control tags of a label config that a campaign of one question answers or learns from."""
    if question.kind != LENSES:
        return {question.name}
    controls = find_object_controls(question.label_config)
    covered = {one.name for one in controls.drawing}
    grades = find_choices(find_kind(LENSES).label_config(), CONTROLS[LENSES]).classes
    if controls.grade is not None and set(grades) <= set(controls.grade.choices):
        covered.add(controls.grade.name)
    return covered


def _one_question(label_config: str, kind: str | None, name: str | None) -> Question:
    """The question of that name, else boxes of lenses, else the first that fits."""
    root = parsed_config(label_config, MEND)
    tags = control_tags(root)
    images = {str(tag.get("name")): tag for tag in root.iter("Image")}
    wanted = [tag for tag in tags if name is None or tag.get("name") == name]
    if name is not None and not wanted:
        there = ", ".join(str(tag.get("name")) for tag in tags) or "none"
        raise LabelConfigError(f"The label config has no control tag {name!r}.", f"There are: {there}.")
    boxes = kind is not None and bool(_drawn(kind))
    refused = {str(tag.get("name")): _why_not(tag, images, kind) for tag in tags}
    fitting = [tag for tag in wanted if not refused[str(tag.get("name"))]]
    if boxes or (kind is None and any(tag.tag == BOXES for tag in fitting)):
        fitting = [tag for tag in fitting if tag.tag == BOXES]
    # a question that is always asked before one that is asked at times
    fitting.sort(key=asked_at_times)
    if not fitting:
        said = " ".join(f"{key!r} {why}." for key, why in refused.items() if why) or "It asks nothing."
        raise LabelConfigError(f"No question of the label config can be answered. {said}", MEND)
    chosen = fitting[0]
    others = [tag for tag in tags if tag is not chosen]
    return _question(label_config, chosen, kind, images, tuple(_remarks(chosen, others, refused, images)))


def _question(
    label_config: str,
    tag: ElementTree.Element,
    kind: str | None,
    images: dict[str, ElementTree.Element],
    said: tuple[str, ...],
) -> Question:
    name = str(tag.get("name"))
    image = field_of(images[str(tag.get("toName"))])
    if tag.tag == BOXES:
        classes = find_kind(kind or LENSES).offered(label_config)
        return Question(kind or LENSES, name, classes, image, label_config, said)
    part = only_question(label_config, name)
    found = find_choices(part).classes
    one = kind or MORPHOLOGY
    return Question(one, name, _fixed(one) or found, image, part, said)


def _drawn(kind: str) -> tuple[str, ...]:
    """What people of a kind of campaign draw; nothing where they choose."""
    try:
        return find_object_controls(without_masks(find_kind(kind).label_config())).drawing[0].labels
    except LabelConfigError:
        return ()


def _fixed(kind: str) -> tuple[str, ...]:
    """The classes that a kind has whatever a label config offers, in the order of its head; none where it takes any."""
    one = find_kind(kind)
    return one.offered(one.label_config()) if one.wanted is not None else ()


def _why_not(tag: ElementTree.Element, images: dict[str, ElementTree.Element], kind: str | None) -> str:
    """Why no model answers a control tag; "" if one can."""
    if tag.tag not in (*QUESTIONS, *TAGS):
        return f"is a <{tag.tag}>, which no model here answers"
    if why := why_no_picture(tag, images):
        return why
    return _why_no_choice(tag, kind) if tag.tag in QUESTIONS else _why_no_boxes(tag, kind)


def _why_no_choice(tag: ElementTree.Element, kind: str | None) -> str:
    if why := why_no_question(tag):
        return why
    found, fixed = choices_of(tag), () if kind is None else _fixed(kind)
    if fixed and set(found) != set(fixed):
        return f"offers {', '.join(found)}, and a search {' and '.join(fixed)}"
    return ""


def _why_no_boxes(tag: ElementTree.Element, kind: str | None) -> str:
    if tag.tag != BOXES:
        return "is drawn, and of what is drawn models fill in boxes"
    own = _drawn(kind or LENSES)
    if not own:
        return "is drawn, and this kind answers questions"
    there = [str(label.get("value")) for label in tag.iter("Label")]
    return "" if set(there) == set(own) else f"draws {', '.join(there)}, and {kind or LENSES} {', '.join(own)}"


def _remarks(
    chosen: ElementTree.Element,
    others: Sequence[ElementTree.Element],
    refused: dict[str, str],
    images: dict[str, ElementTree.Element],
) -> list[str]:
    said = []
    name = str(chosen.get("name"))
    if asked_at_times(chosen):
        said.append(f"{name!r} is asked at times (visibleWhen): where it is not, a model's answer is not shown.")
    if chosen.tag == "Taxonomy" and chosen.get("maxUsages") != "1":
        said.append(f"{name!r} takes several choices: those with several are set aside.")
    if len(images) > 1:
        said.append(f"Of {len(images)} pictures a task, models look at {chosen.get('toName')!r}.")
    for tag in others:
        why = refused[str(tag.get("name"))] or "could be answered instead (--control)"
        said.append(f"{str(tag.get('name'))!r} is left to people: it {why}.")
    return said
