"""Answers to Label Studio's regions and back; nothing else here knows its control tags."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from lvm_training.errors import GalaxyLoopError

UNSURE = "unsure"
ASIDE = (UNSURE, "artefact / not a galaxy")
"""Choices kept as labels but never trained on as classes."""

CONTROLS = {
    "morphology": "morphology",
    "interest": "interest",
    "lenses": "grade",
    "galaxy_zoo": "smooth-or-featured",
    "restoration": "restoration",
}
"""The `name` of the tag in each of our label configs: people may put questions of their own beside it."""
SIMULATED = "simulated"  # attribute of a Choice: what of it the simulator draws
KEYS, ANY_KEY = "(keys)", "(any key)"  # hidden choices, see `with_steady_keys`
UNPRESSED = "ctrl+alt+shift+f19"  # a choice without a key would be given one that people press
QUESTIONS = {"Choices": "choices", "Taxonomy": "taxonomy"}
"""Tags that ask for one of several choices, and the type of their regions."""
INSIDE = " > "  # between a choice and one that lies in it
MODEL_SAYS = "model"  # `name` of the TextArea that shows how sure the model is
WORDS = "textarea"  # type of its regions

Region = dict[str, Any]


class LabelConfigError(GalaxyLoopError):
    """A label config without a control tag that a head can answer."""

    code = "label_config"


class ChoiceError(GalaxyLoopError):
    """A region of choices without a choice that can be read."""

    code = "choice"


@dataclass(frozen=True)
class ChoicesControl:
    """The `Choices` or `Taxonomy` tag that a classification head answers.

    Attributes
    ----------
    name, to_name : str
        The tag's `name` and the object it labels.
    choices : tuple of str
        Its choices in order, as results state them: an alias in place of a value, and all that one lies in before it,
        as in "disc > spiral".
    simulated : tuple of (str, str)
        What the simulator draws of some of them: the value of `Choice`, and its attribute `simulated`.
    kind : str
        Type of its regions, "choices" or "taxonomy".
    paths : tuple of tuple of str
        The choice and all that it lies in, outermost first, of each, where results state paths.
    """

    name: str
    to_name: str
    choices: tuple[str, ...]
    simulated: tuple[tuple[str, str], ...] = ()
    kind: str = "choices"
    paths: tuple[tuple[str, ...], ...] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        """The choices that are classes to train on."""
        return tuple(choice for choice in self.choices if choice not in ASIDE)


@lru_cache(maxsize=256)
def find_choices(label_config: str, name: str = "", classes: tuple[str, ...] = ()) -> ChoicesControl:
    """The `Choices` or `Taxonomy` tag on an `Image` in a label config that is ours, of those that ask for one choice.

    Of several it is the one of that name, else the one that offers most of `classes`, else the first. Questions about
    single boxes (`perRegion`) are none.

    Raises
    ------
    LabelConfigError
        If the config is no XML, or has no such tag with at least two classes.
    """
    mend = "Add <Choices name=... toName=...> with two or more <Choice value=...> on an <Image>; see label_config/."
    root = parsed_config(label_config, mend)
    images = {tag.get("name") for tag in root.iter("Image")}
    found = [_control(tag) for tag in root.iter() if tag.tag in QUESTIONS and asks_for_one(tag)]
    found = [control for control in found if control.to_name in images and len(control.classes) >= 2]
    if not found:
        raise LabelConfigError("The label config has no single-choice <Choices> on an <Image>.", mend)
    # of equals the first
    return max(found, key=lambda control: (control.name == name, len(set(control.choices) & set(classes))))


def _control(tag: ElementTree.Element) -> ChoicesControl:
    nested = tag.tag == "Taxonomy" or tag.get("allowNested", "false").lower() == "true"
    found = list(leaves(tag, (), nested=nested))
    named = [(INSIDE.join(path), choice.get(SIMULATED)) for path, choice in found]
    return ChoicesControl(
        tag.get("name") or "",
        tag.get("toName") or "",
        tuple(name for name, _ in named),
        tuple((name, concept) for name, concept in named if concept is not None),
        QUESTIONS[tag.tag],
        tuple(path for path, _ in found) if nested else (),
    )


def leaves(
    tag: ElementTree.Element, inside: tuple[str, ...], *, nested: bool
) -> Iterator[tuple[tuple[str, ...], ElementTree.Element]]:
    """The choices of a tag that hold no others, with the names of all they lie in; layout may stand between them."""
    for child in tag:
        if child.tag != "Choice":
            yield from leaves(child, inside, nested=nested)
        elif child.get("hotkey") != UNPRESSED:
            path = (*inside, child.get("alias") or child.get("value") or child.text or "")
            # without `allowNested` what lies in a choice is not shown
            inner = list(leaves(child, path, nested=True)) if nested else []
            yield from inner or [(path, child)]


@lru_cache(maxsize=256)
def question_name(label_config: str) -> str:
    """The name of the question that `find_choices` finds; "" where there is none."""
    try:
        return find_choices(label_config).name
    except LabelConfigError:
        return ""


@lru_cache(maxsize=256)
def only_question(label_config: str, name: str) -> str:
    """A label config without the questions, and the places for the model's words, beside the question of that name.

    Raises
    ------
    LabelConfigError
        If it is no XML.
    """
    return pruned(label_config, (*QUESTIONS, "TextArea"), kept=name)


def pruned(label_config: str, tags: Collection[str], kept: str | None = None) -> str:
    """A label config without its tags of these kinds, but for the one that is named `kept`.

    Raises
    ------
    LabelConfigError
        If it is no XML.
    """
    root = parsed_config(label_config, "Mend the label config.")
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in tags and (kept is None or child.get("name") != kept):
                parent.remove(child)
    return ElementTree.tostring(root, encoding="unicode")


def asks_for_one(tag: ElementTree.Element) -> bool:
    """Whether a tag asks for one choice of the whole picture."""
    of_parts = any(tag.get(name, "false").lower() == "true" for name in ("perRegion", "perItem"))
    return tag.get("choice", "single") != "multiple" and not of_parts


def parsed_config(label_config: str, mend: str) -> ElementTree.Element:
    """A label config's XML; `mend` is the hint of the error.

    Raises
    ------
    LabelConfigError
        If it is no XML.
    """
    try:
        # the standard parser resolves no external entities
        return ElementTree.fromstring(label_config)  # noqa: S314
    # the second where a text has half of a surrogate pair
    except (ElementTree.ParseError, UnicodeEncodeError) as error:
        raise LabelConfigError(f"The label config is not XML: {error}.", mend) from error


def choice_hints(label_config: str) -> dict[str, str]:
    """What a label config says of its choices, by their values; without those of which it says nothing.

    Raises
    ------
    LabelConfigError
        If it is no XML.
    """
    root = parsed_config(label_config, "Mend the label config.")
    said = {choice.get("value") or choice.text or "": choice.get("hint", "") for choice in root.iter("Choice")}
    return {name: hint for name, hint in said.items() if hint}


def with_steady_keys(label_config: str) -> str:
    """The label config in which the key of a choice always chooses it, also where it is chosen already.

    Label Studio clears a choice whose key is pressed again, and so the answer that a prediction filled in. It runs all
    that hears a key, in the order of the config: here a hidden choice before the others hears the keys of them all, and
    clears what is chosen, so that the pressed one is chosen anew. It lies in another hidden one, since nested choices
    are in no result unless `allowNested` says so.

    Raises
    ------
    LabelConfigError
        If the config is no XML.
    """
    root = parsed_config(label_config, "Mend the label config.")
    asked = [tag for tag in root.iter("Choices") if asks_for_one(tag) and _has_keys_of_its_own(tag)]
    for tag in asked:
        keys = ",".join(choice.get("hotkey", "") for choice in tag.iter("Choice"))
        hidden = ElementTree.Element("Choice", {"value": KEYS, "hotkey": UNPRESSED, "style": "display: none"})
        hidden.append(ElementTree.Element("Choice", {"value": ANY_KEY, "hotkey": keys}))
        tag.insert(0, hidden)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode") if asked else label_config


def _has_keys_of_its_own(tag: ElementTree.Element) -> bool:
    choices = list(tag.iter("Choice"))
    plain = tag.get("layout") != "select" and tag.get("allowNested", "false").lower() != "true"
    keys = [choice.get("hotkey") for choice in choices]
    return plain and all(keys) and UNPRESSED not in keys


@lru_cache(maxsize=256)
def needs_answer(label_config: str) -> bool:
    """Whether a label config has a question that must be answered: nothing empty is to be submitted then."""
    root = parsed_config(label_config, "Mend the label config.")
    return any(tag.get("required", "false").lower() == "true" for tag in root.iter("Choices"))


def note_result(label_config: str, text: str) -> list[Region]:
    """What people are told of the model's answer, where the label config has a `TextArea` of that name for it."""
    control = _find_note(label_config)
    if control is None:
        return []
    named = {"id": MODEL_SAYS, "from_name": MODEL_SAYS, "to_name": control, "type": WORDS}
    return [{**named, "value": {"text": [text]}, "readonly": True}]


@lru_cache(maxsize=256)
def _find_note(label_config: str) -> str | None:
    root = parsed_config(label_config, "Mend the label config.")
    return next((tag.get("toName") for tag in root.iter("TextArea") if tag.get("name") == MODEL_SAYS), None)


def choice_region(control: ChoicesControl, choice: str, probability: float) -> Region:
    """A choice as a Label Studio region; `probability` in [0, 1] becomes the region's score."""
    return {
        "id": "choice",
        "from_name": control.name,
        "to_name": control.to_name,
        "type": control.kind,
        "value": {control.kind: [_stated(control, choice)]},
        "score": round(float(probability), 6),
    }


def _stated(control: ChoicesControl, choice: str) -> str | list[str]:
    paths = dict(zip(control.choices, control.paths, strict=False))
    return list(paths[choice]) if choice in paths else choice


def choice_result(control: ChoicesControl, classes: Sequence[str], probabilities: NDArray[np.float64]) -> list[Region]:
    """The result of one task: its most probable class, if the config still offers that choice.

    Parameters
    ----------
    probabilities : ndarray (C,)
        In the order of `classes`; each finite.
    """
    best = int(np.argmax(probabilities))
    if classes[best] not in control.choices:
        return []
    return [choice_region(control, classes[best], probabilities[best])]


def chosen(result: Sequence[Mapping[str, Any]], name: str = "", classes: Collection[str] = ()) -> str | None:
    """The choice that an annotation's result states; None without one (or with an empty result).

    Parameters
    ----------
    name : str
        Of the control tag that is meant; where no region names it, one that states one of `classes` counts, or else
        one of the choices aside. "" takes any.

    Raises
    ------
    ChoiceError
        If a region of choices has no list of texts or paths, or several choices are made: anyone may write anything
        over Label Studio's API.
    """
    regions = [region for region in result if region.get("type") in QUESTIONS.values()]
    ours = [region for region in regions if region.get("from_name") == name]
    if ours:
        given = list(dict.fromkeys(filter(None, map(stated_choice, ours))))
        if len(given) > 1:
            raise ChoiceError(f"{name!r} is answered {given[0]!r} and {given[1]!r}.", "Leave one of them.")
        return given[0] if given else None
    # another question may take several
    found = [(region, stated_choice(region, first=True)) for region in regions]
    known = [choice for among in (classes, ASIDE) for _, choice in found if choice in among]
    unnamed = [choice for region, choice in found if choice and (not name or region.get("from_name") is None)]
    return next(iter((*known, *unnamed)), None)


def stated_choice(region: Mapping[str, Any], *, first: bool = False) -> str | None:
    """The choice that a region states, or the `first` of several; None where it states none.

    Raises
    ------
    ChoiceError
        As `chosen`.
    """
    value = region.get("value", {})
    choices = value.get(str(region.get("type")), []) if isinstance(value, Mapping) else None
    if not isinstance(choices, list) or not all(isinstance(one, str) or _is_path(one) for one in choices):
        raise ChoiceError(f"Its value is {str(value)[:80]} instead of a list of choices.", "Choose anew.")
    if not choices:
        return None
    paths = [list(one) for one in dict.fromkeys((one,) if isinstance(one, str) else tuple(one) for one in choices)]
    # what a chosen one lies in counts as chosen too where it holds nothing else
    last = [one for one in paths if not any(one == other[: len(one)] and one != other for other in paths)]
    if len(last) > 1 and not first:
        raise ChoiceError(f"{len(last)} choices were made where one is asked for.", "Leave one of them.")
    return INSIDE.join(last[0])


def _is_path(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(part, str) for part in value)
