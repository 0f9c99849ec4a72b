"""The control tags of a label config that somebody wrote: whether Label Studio takes them, which no head can answer."""

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

from backend_ml.label_studio.regions.choices import MODEL_SAYS, LabelConfigError, find_choices, parsed_config

FIELD = re.compile(r"\$(\w+)")
TRUE = ("true", "1")
OF_PARTS = "is asked of parts of a picture"
MEND = "Mend the label config."


def control_tags(root: ElementTree.Element) -> list[ElementTree.Element]:
    """The tags that people answer with: those with a `name` and a `toName`."""
    return [tag for tag in root.iter() if tag.get("name") and tag.get("toName")]


def named(tag: ElementTree.Element) -> str:
    """A tag as its config has it, without what does not tell it from others."""
    return f"<{tag.tag} name={tag.get('name')!r}>"


def read_config(path: Path) -> str:
    """The label config in a file.

    Raises
    ------
    LabelConfigError
        If there is none, it is no text, or empty.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or "it is no UTF-8"
        raise LabelConfigError(f"{path} cannot be read: {said}.", "Name an XML file of a label config.") from error
    if not text.strip():
        raise LabelConfigError(f"{path} is empty.", "Name an XML file of a label config.")
    return text


def check_config(label_config: str, fields: Collection[str]) -> None:
    """Raise a LabelConfigError unless Label Studio shows a label config with tasks whose data have these fields."""
    root = parsed_config(label_config, MEND)
    tags = [tag for tag in root.iter() if tag.get("name")]
    names = [str(tag.get("name")) for tag in tags]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise LabelConfigError(f"Two tags are named {twice!r}.", "Give one of them another name.")
    images = [str(tag.get("name")) for tag in tags if tag.tag == "Image"]
    if not images:
        raise LabelConfigError("The label config has no <Image>.", 'Add <Image name="image" value="$image"/>.')
    for tag in control_tags(root):
        missing = [name for name in str(tag.get("toName")).split(",") if name not in names]
        if missing:
            raise LabelConfigError(
                f"{named(tag)} is about {missing[0]!r}, and no tag has that name.", f'Write toName="{images[0]}".'
            )
    for tag in tags:
        values = f"{tag.get('value') or ''} {tag.get('valueList') or ''}"
        unknown = [field for field in FIELD.findall(values) if field not in fields]
        if unknown:
            raise LabelConfigError(
                f"{named(tag)} shows ${unknown[0]}, which no task of a campaign has.",
                f"Pictures are in $image; there are: {', '.join(sorted(fields))}.",
            )


def only_controls(label_config: str, names: Sequence[str]) -> str:
    """A label config of nothing but the control tags of these names, in that order, and the images that they label."""
    root = parsed_config(label_config, MEND)
    there = {str(tag.get("name")): tag for tag in control_tags(root)}
    kept = [there[name] for name in names if name in there]
    labelled = {tag.get("toName") for tag in kept}
    only = ElementTree.Element("View")
    only.extend([tag for tag in root.iter("Image") if tag.get("name") in labelled])
    only.extend(kept)
    return ElementTree.tostring(only, encoding="unicode")


def shows_words(tag: ElementTree.Element) -> bool:
    """Whether a tag is the place for the model's words, with which nobody answers."""
    return tag.tag == "TextArea" and tag.get("name") == MODEL_SAYS


def asked_at_times(tag: ElementTree.Element) -> bool:
    """Whether a question is asked where another one was answered so, and not otherwise."""
    return bool(tag.get("visibleWhen") or tag.get("whenTagName"))


def why_no_picture(tag: ElementTree.Element, images: Mapping[str, ElementTree.Element]) -> str:
    """Why what a control tag is about is no picture that models look at; "" if it is one."""
    if tag.get("toName") not in images:
        return f"is about {tag.get('toName')!r}, which is no <Image>"
    image = images[str(tag.get("toName"))]
    if image.get("valueList") or not field_of(image).isidentifier():
        return f"is about {image.get('name')!r}, whose picture is not named by one field of a task's data"
    return ""


def field_of(image: ElementTree.Element) -> str:
    """The field of a task's data that says where the picture of an `Image` is; "" if no single one does."""
    value = image.get("value") or ""
    return value[1:] if value.startswith("$") else ""


def why_no_question(tag: ElementTree.Element) -> str:
    """Why no head answers a `Choices` or `Taxonomy`; "" if one can."""
    if is_of_parts(tag):
        return OF_PARTS
    if tag.get("choice", "single") == "multiple":
        return "takes several choices, and models answer with one"
    if tag.get("value") or tag.get("apiUrl"):
        return "takes its choices from elsewhere, not from the label config"
    found = choices_of(tag)
    if len(found) < 2:
        return "has fewer than two choices"
    return "has a choice twice" if len(set(found)) < len(found) else ""


def is_of_parts(tag: ElementTree.Element) -> bool:
    """Whether a tag is asked of single regions or items, not of the whole picture."""
    return any(tag.get(one, "false").lower() in TRUE for one in ("perRegion", "perItem"))


def choices_of(tag: ElementTree.Element) -> tuple[str, ...]:
    """The classes that a question offers; none if they are fewer than two."""
    root = ElementTree.Element("View")
    root.append(ElementTree.Element("Image", {"name": str(tag.get("toName")), "value": "$image"}))
    root.append(tag)
    try:
        return find_choices(ElementTree.tostring(root, encoding="unicode")).classes
    except LabelConfigError:
        return ()
