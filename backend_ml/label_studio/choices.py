"""Answers to Label Studio's regions and back; nothing else here knows its control tags."""

from collections.abc import Collection, Mapping, Sequence
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

CONTROLS = {"morphology": "morphology", "interest": "interest", "lenses": "grade"}
"""The `name` of the tag in each of our label configs: people may put questions of their own beside it."""
SIMULATED = "simulated"  # attribute of a Choice: what of it the simulator draws

Region = dict[str, Any]


class LabelConfigError(GalaxyLoopError):
    """A label config without a control tag that a head can answer."""

    code = "label_config"


class ChoiceError(GalaxyLoopError):
    """A region of choices without a choice that can be read."""

    code = "choice"


@dataclass(frozen=True)
class ChoicesControl:
    """The `Choices` tag that a classification head answers.

    Attributes
    ----------
    name, to_name : str
        The tag's `name` and the object it labels.
    choices : tuple of str
        Its choices in order.
    simulated : tuple of (str, str)
        What the simulator draws of some of them: the value of `Choice`, and its attribute `simulated`.
    """

    name: str
    to_name: str
    choices: tuple[str, ...]
    simulated: tuple[tuple[str, str], ...] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        """The choices that are classes to train on."""
        return tuple(choice for choice in self.choices if choice not in ASIDE)


@lru_cache(maxsize=256)
def find_choices(label_config: str, name: str = "", classes: tuple[str, ...] = ()) -> ChoicesControl:
    """The single-choice `Choices` tag on an `Image` in a label config that is ours.

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
    found = [_control(tag) for tag in root.iter("Choices") if _asks_for_one(tag)]
    found = [control for control in found if control.to_name in images and len(control.classes) >= 2]
    if not found:
        raise LabelConfigError("The label config has no single-choice <Choices> on an <Image>.", mend)
    # of equals the first
    return max(found, key=lambda control: (control.name == name, len(set(control.choices) & set(classes))))


def _control(tag: ElementTree.Element) -> ChoicesControl:
    named = [(choice.get("value") or choice.text or "", choice.get(SIMULATED)) for choice in tag.iter("Choice")]
    drawn = tuple((name, concept) for name, concept in named if concept is not None)
    return ChoicesControl(tag.get("name") or "", tag.get("toName") or "", tuple(name for name, _ in named), drawn)


def _asks_for_one(tag: ElementTree.Element) -> bool:
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


def choice_region(control: ChoicesControl, choice: str, probability: float) -> Region:
    """A choice as a Label Studio region; `probability` in [0, 1] becomes the region's score."""
    return {
        "id": "choice",
        "from_name": control.name,
        "to_name": control.to_name,
        "type": "choices",
        "value": {"choices": [choice]},
        "score": round(float(probability), 6),
    }


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
        If a region of choices has no list of texts: anyone may write anything over Label Studio's API.
    """
    regions = [region for region in result if region.get("type") == "choices"]
    ours = [region for region in regions if region.get("from_name") == name]
    if ours:
        return next(filter(None, map(_choice, ours)), None)
    found = [(region, _choice(region)) for region in regions]
    known = [choice for among in (classes, ASIDE) for _, choice in found if choice in among]
    unnamed = [choice for region, choice in found if choice and (not name or region.get("from_name") is None)]
    return next(iter((*known, *unnamed)), None)


def _choice(region: Mapping[str, Any]) -> str | None:
    value = region.get("value", {})
    choices = value.get("choices", []) if isinstance(value, Mapping) else None
    if not isinstance(choices, list) or not all(isinstance(choice, str) for choice in choices):
        raise ChoiceError(f"Its value is {str(value)[:80]} instead of a list of choices.", "Choose anew.")
    return str(choices[0]) if choices else None
