"""Which question of somebody's own label config a kind of campaign can answer, and why it cannot answer the others."""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

from backend_ml.kinds.installed import find_kind
from backend_ml.label_studio.regions.choices import (
    QUESTIONS,
    LabelConfigError,
    find_choices,
    only_question,
    parsed_config,
)
from backend_ml.label_studio.regions.objects import TAGS, find_object_controls, without_masks

LENSES, MORPHOLOGY = "lenses", "morphology"
BOXES = "RectangleLabels"
TRUE = ("true", "1")
MEND = "Ask one question about the whole picture: <Choices> with two or more <Choice> on an <Image>."


@dataclass(frozen=True)
class Question:
    """What a campaign answers of a label config.

    Attributes
    ----------
    kind : str
        The kind of campaign.
    name : str
        The control tag's `name`.
    classes : tuple of str
        What it answers.
    image : str
        Key of a task's data that says where the picture is.
    label_config : str
        The part of the label config that is answered (`records.Campaign`).
    remarks : tuple of str
        What is not answered, and what to know of what is.
    """

    kind: str
    name: str
    classes: tuple[str, ...]
    image: str
    label_config: str
    remarks: tuple[str, ...]


def find_question(label_config: str, kind: str | None = None, name: str | None = None) -> Question:
    """The question that a campaign answers: the one of that name, else boxes of lenses, else the first that fits.

    Parameters
    ----------
    kind : str, optional
        An installed kind; by default lenses where the boxes are theirs, and morphology otherwise.
    name : str, optional
        Of the control tag.

    Raises
    ------
    LabelConfigError
        If none can be answered; the message says why of each.
    KindError
        If there is no such kind.
    """
    root = parsed_config(label_config, MEND)
    tags = [tag for tag in root.iter() if tag.get("name") and tag.get("toName")]
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
    fitting.sort(key=_asked_at_times)
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
    image = str(images[str(tag.get("toName"))].get("value")).removeprefix("$")
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
    if tag.get("toName") not in images:
        return f"is about {tag.get('toName')!r}, which is no <Image>"
    image = images[str(tag.get("toName"))]
    value = image.get("value") or ""
    if image.get("valueList") or not value.startswith("$") or not value[1:].isidentifier():
        return f"is about {image.get('name')!r}, whose picture is not named by one field of a task's data"
    return _why_no_choice(tag, kind) if tag.tag in QUESTIONS else _why_no_boxes(tag, kind)


def _why_no_choice(tag: ElementTree.Element, kind: str | None) -> str:
    if any(tag.get(one, "false").lower() in TRUE for one in ("perRegion", "perItem")):
        return "is asked of parts of a picture"
    if tag.get("choice", "single") == "multiple":
        return "takes several choices, and models answer with one"
    if tag.get("value") or tag.get("apiUrl"):
        return "takes its choices from elsewhere, not from the label config"
    try:
        found = find_choices(_alone(tag)).classes
    except LabelConfigError:
        return "has fewer than two choices"
    if len(set(found)) < len(found):
        return "has a choice twice"
    fixed = () if kind is None else _fixed(kind)
    if fixed and set(found) != set(fixed):
        return f"offers {', '.join(found)}, and a search {' and '.join(fixed)}"
    return ""


def _alone(tag: ElementTree.Element) -> str:
    """A label config of nothing but a question and its image."""
    root = ElementTree.Element("View")
    root.append(ElementTree.Element("Image", {"name": str(tag.get("toName")), "value": "$image"}))
    root.append(tag)
    return ElementTree.tostring(root, encoding="unicode")


def _why_no_boxes(tag: ElementTree.Element, kind: str | None) -> str:
    if tag.tag != BOXES:
        return "is drawn, and of what is drawn models fill in boxes"
    own = _drawn(kind or LENSES)
    if not own:
        return "is drawn, and this kind answers questions"
    there = [str(label.get("value")) for label in tag.iter("Label")]
    return "" if set(there) == set(own) else f"draws {', '.join(there)}, and {kind or LENSES} {', '.join(own)}"


def _asked_at_times(tag: ElementTree.Element) -> bool:
    return bool(tag.get("visibleWhen") or tag.get("whenTagName"))


def _remarks(
    chosen: ElementTree.Element,
    others: Sequence[ElementTree.Element],
    refused: dict[str, str],
    images: dict[str, ElementTree.Element],
) -> list[str]:
    said = []
    name = str(chosen.get("name"))
    if _asked_at_times(chosen):
        said.append(f"{name!r} is asked at times (visibleWhen): where it is not, a model's answer is not shown.")
    if chosen.tag == "Taxonomy" and chosen.get("maxUsages") != "1":
        said.append(f"{name!r} takes several choices: those with several are set aside.")
    if len(images) > 1:
        said.append(f"Of {len(images)} pictures a task, models look at {chosen.get('toName')!r}.")
    for tag in others:
        why = refused[str(tag.get("name"))] or "could be answered instead (--control)"
        said.append(f"{str(tag.get('name'))!r} is left to people: it {why}.")
    return said
