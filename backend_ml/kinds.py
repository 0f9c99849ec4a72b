"""Kinds of campaigns: what people answer with, by the control tags of the label config."""

from collections.abc import Sequence
from typing import Protocol
from xml.etree import ElementTree

from backend_ml.object_regions import find_object_controls
from backend_ml.regions import ASIDE, LabelConfigError, find_choices
from lvm_training.model.preference import NO, YES

HOTKEYS = "1234567"  # 8 and 9 are the choices aside


class Kind(Protocol):
    """What differs between kinds of campaigns.

    Attributes
    ----------
    detects : bool
        Whether it answers with objects on pictures; otherwise with a choice from features.
    wanted : str or None
        The class that people look for; None where all count alike.
    """

    detects: bool
    wanted: str | None

    def offered(self, label_config: str) -> tuple[str, ...]:
        """The classes that a label config lets people and models answer with.

        Raises
        ------
        LabelConfigError
            If it has no control tag for such answers.
        """

    def with_classes(self, label_config: str, classes: Sequence[str]) -> str:
        """The label config with other classes in place of its own.

        Raises
        ------
        LabelConfigError
            If they do not fit it.
        """


class ChoiceKind:
    """One choice a galaxy."""

    detects = False
    wanted: str | None = None

    def offered(self, label_config: str) -> tuple[str, ...]:
        """As `Kind.offered`."""
        return find_choices(label_config).classes

    def with_classes(self, label_config: str, classes: Sequence[str]) -> str:
        """As `Kind.with_classes`; the choices aside stay."""
        if not 2 <= len(classes) <= len(HOTKEYS):
            raise LabelConfigError(f"{len(classes)} classes do not fit the number keys.", "Use 2 to 7 classes.")
        root = ElementTree.fromstring(label_config)  # noqa: S314 - our own file
        choices = next(root.iter("Choices"))
        known = {choice.get("value"): choice for choice in choices}
        for choice in list(choices):
            choices.remove(choice)
        for key, name in zip(HOTKEYS, classes, strict=False):
            hint = known[name].get("hint", "") if name in known else ""
            choices.append(
                ElementTree.Element("Choice", {"value": name, "hotkey": key, **({"hint": hint} if hint else {})})
            )
        choices.extend(known[name] for name in ASIDE)
        ElementTree.indent(root)
        return ElementTree.tostring(root, encoding="unicode")


class InterestKind(ChoiceKind):
    """A yes or a no: whether a galaxy is what someone looks for."""

    wanted: str | None = YES

    def with_classes(self, label_config: str, classes: Sequence[str]) -> str:
        """As `Kind.with_classes`: none but yes and no."""
        raise LabelConfigError(
            f"A search answers {NO} and {YES}, not {', '.join(classes)}.",
            "Leave the classes out, or use the kind `morphology`.",
        )


class ObjectKind:
    """Boxes and masks of objects, and a grade."""

    detects = True
    wanted: str | None = None

    def offered(self, label_config: str) -> tuple[str, ...]:
        """As `Kind.offered`: every label of a drawing tag."""
        controls = find_object_controls(label_config)
        return tuple(dict.fromkeys(label for control in controls.drawing for label in control.labels))

    def with_classes(self, label_config: str, classes: Sequence[str]) -> str:
        """As `Kind.with_classes`: none but those the detector knows."""
        raise LabelConfigError(
            f"A campaign of objects has the classes of its label config, not {', '.join(classes)}.",
            "Leave the classes out; a detector cannot answer others.",
        )


KINDS: dict[str, Kind] = {"morphology": ChoiceKind(), "interest": InterestKind(), "lenses": ObjectKind()}
"""By the name of a label config, which is also the first part of model versions."""


def find_kind(name: str) -> Kind:
    """The kind of that name.

    Raises
    ------
    LabelConfigError
        If there is none.
    """
    if name not in KINDS:
        raise LabelConfigError(f"There is no label config {name!r}.", f"There are: {', '.join(sorted(KINDS))}.")
    return KINDS[name]
