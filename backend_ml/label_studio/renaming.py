"""Gives a choice of a label config another name, or makes it a part of another choice.

Label Studio's settings take no label config without a choice that annotations have. So the former choice stays, hidden
like the one of `choices.with_steady_keys`: annotations that carry it are submitted again as they are.
"""

from collections.abc import Sequence
from xml.etree import ElementTree

from backend_ml.label_studio.regions.choices import (
    ANY_KEY,
    KEYS,
    UNPRESSED,
    LabelConfigError,
    find_choices,
    parsed_config,
)

HIDDEN = "display: none"
KEYS_OF_CLASSES = "1234567"


def rename_choice(label_config: str, old: str, new: str, name: str, classes: Sequence[str]) -> str:
    """The label config that offers `new` in place of `old`, or beside the others where it offers `new` already.

    One that does so already is returned as it is.

    Parameters
    ----------
    name, classes : str, sequence of str
        By which the control tag is found, as in `choices.find_choices`.

    Raises
    ------
    LabelConfigError
        If it has no such control tag, or offers neither.
    """
    root, tag = _control_tag(label_config, name, classes)
    shown, hidden = _choices(tag)
    if old not in shown:
        if new in shown:
            return label_config
        raise LabelConfigError(
            f"The label config offers neither {old!r} nor {new!r}.", "Look at the project's labelling settings."
        )
    if new in shown:
        _hide(shown[old])
    else:
        if new in hidden:
            tag.remove(hidden[new])
        _name(shown[old], new)
        former = ElementTree.Element("Choice", {"value": old})
        _hide(former)
        tag.append(former)
    return _written(root, tag)


def show_choice(label_config: str, old: str, name: str, classes: Sequence[str]) -> str:
    """The label config that offers a choice again which was made a part of another; with a free number as its key.

    Raises
    ------
    LabelConfigError
        If it has no such control tag, or never offered it.
    """
    root, tag = _control_tag(label_config, name, classes)
    shown, hidden = _choices(tag)
    if old in shown:
        return label_config
    if old not in hidden:
        raise LabelConfigError(
            f"The label config does not have {old!r} any more.", "Add the choice in the project's labelling settings."
        )
    choice, keys = hidden[old], {one.get("hotkey") for one in shown.values()}
    choice.attrib.pop("style", None)
    choice.attrib.pop("hotkey", None)
    free = [key for key in KEYS_OF_CLASSES if key not in keys]
    if any(keys) and free:
        choice.set("hotkey", free[0])
    return _written(root, tag)


def former_choices(label_config: str, name: str, classes: Sequence[str]) -> set[str]:
    """The choices that are hidden since they have another name, or are a part of another one.

    Raises
    ------
    LabelConfigError
        If it has no such control tag.
    """
    _, tag = _control_tag(label_config, name, classes)
    return set(_choices(tag)[1])


def _control_tag(
    label_config: str, name: str, classes: Sequence[str]
) -> tuple[ElementTree.Element, ElementTree.Element]:
    """The root, and the tag of the choices that the model answers."""
    control = find_choices(label_config, name, tuple(classes))
    root = parsed_config(label_config, "Mend the label config.")
    return root, next(tag for tag in root.iter("Choices") if (tag.get("name") or "") == control.name)


def _choices(tag: ElementTree.Element) -> tuple[dict[str, ElementTree.Element], dict[str, ElementTree.Element]]:
    """The choices that people see, and the former ones, by their values."""
    shown: dict[str, ElementTree.Element] = {}
    hidden: dict[str, ElementTree.Element] = {}
    for choice in tag:
        value = choice.get("value") or choice.text or ""
        if choice.tag == "Choice" and value != KEYS:
            (hidden if choice.get("hotkey") == UNPRESSED else shown)[value] = choice
    return shown, hidden


def _name(choice: ElementTree.Element, name: str) -> None:
    choice.set("value", name)
    choice.text = None


def _hide(choice: ElementTree.Element) -> None:
    choice.set("hotkey", UNPRESSED)
    choice.set("style", HIDDEN)


def _written(root: ElementTree.Element, tag: ElementTree.Element) -> str:
    """The label config, whose hidden choice hears the keys of what is shown and no others."""
    keys = [key for choice in _choices(tag)[0].values() if (key := choice.get("hotkey"))]
    for choice in tag.iter("Choice"):
        if choice.get("value") == ANY_KEY:
            choice.set("hotkey", ",".join(keys))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode")
