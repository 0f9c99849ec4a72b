"""Numbers to Label Studio's regions and back: the `Number` and `Rating` tags of a label config."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import isfinite
from typing import Any

from backend_ml.label_studio.regions.choices import LabelConfigError, Region, parsed_config
from lvm_training.errors import GalaxyLoopError

NUMBER, RATING = "number", "rating"
STARS = 5  # of a `Rating` that does not say how many


class NumberError(GalaxyLoopError):
    """A region of a number that cannot be read."""

    code = "number"


@dataclass(frozen=True)
class NumberControl:
    """A `Number` tag.

    Attributes
    ----------
    name, to_name : str
        The tag's `name`, and the object it labels.
    least, most : float
        Its `min` and `max`; infinite without them.
    """

    name: str
    to_name: str
    least: float
    most: float


@lru_cache(maxsize=256)
def find_numbers(label_config: str) -> tuple[NumberControl, ...]:
    """The `Number` tags on an `Image`, in the order of the config; those of single regions are none.

    Raises
    ------
    LabelConfigError
        If the config is no XML, has no such tag, or limits that are no numbers.
    """
    mend = "Add <Number name=... toName=... min=... max=.../> on an <Image>; see label_config/parameters.xml."
    root = parsed_config(label_config, mend)
    images = {tag.get("name") for tag in root.iter("Image")}
    tags = [tag for tag in root.iter("Number") if tag.get("toName") in images and tag.get("perRegion") != "true"]
    if not tags:
        raise LabelConfigError("The label config has no <Number> on an <Image>.", mend)
    try:
        return tuple(
            NumberControl(
                tag.get("name") or "",
                tag.get("toName") or "",
                float(tag.get("min", "-inf")),
                float(tag.get("max", "inf")),
            )
            for tag in tags
        )
    except ValueError as error:
        raise LabelConfigError(f"A <Number> has limits that are no numbers: {error}.", mend) from error


def number_regions(controls: Sequence[NumberControl], values: Mapping[str, float]) -> list[Region]:
    """Numbers as regions, where the config has a tag of their name and they are finite and within its limits."""
    return [
        {
            "id": one.name,
            "from_name": one.name,
            "to_name": one.to_name,
            "type": NUMBER,
            "value": {NUMBER: values[one.name]},
        }
        for one in controls
        if one.name in values and one.least <= values[one.name] <= one.most
    ]


def given_numbers(result: Sequence[Mapping[str, Any]], controls: Sequence[NumberControl]) -> dict[str, float]:
    """The numbers that an annotation's result states, by the names of their tags; without those that were left empty.

    Label Studio's page writes 0 into a field that somebody empties; what is asked for is never exactly 0.

    Raises
    ------
    NumberError
        If one is text, infinite, outside its tag's limits, or given twice: anyone may write anything over Label
        Studio's API. A decimal comma is not guessed at.
    """
    known = {one.name: one for one in controls}
    found = dict[str, float]()
    for region in result:
        control = known.get(str(region.get("from_name")))
        if control is None or region.get("type") != NUMBER:
            continue
        value = region.get("value", {})
        said = value.get(NUMBER) if isinstance(value, Mapping) else value
        if not _is_left_empty(said):
            number = _number(said, control)
            if found.setdefault(control.name, number) != number:
                raise _twice(control, found[control.name], number)
    return found


@dataclass(frozen=True)
class RatingControl:
    """A `Rating` tag: its name, the object that it labels, and its most stars."""

    name: str
    to_name: str
    most: int


@lru_cache(maxsize=256)
def find_rating(label_config: str) -> RatingControl:
    """The first `Rating` on an `Image`; those of single regions are none.

    Raises
    ------
    LabelConfigError
        If the config is no XML, has no such tag, or its `maxRating` is no number of stars.
    """
    mend = "Add <Rating name=... toName=... maxRating=.../> on an <Image>; see label_config/interest_rating.xml."
    root = parsed_config(label_config, mend)
    images = {tag.get("name") for tag in root.iter("Image")}
    tags = [tag for tag in root.iter("Rating") if tag.get("toName") in images and tag.get("perRegion") != "true"]
    if not tags:
        raise LabelConfigError("The label config has no <Rating> on an <Image>.", mend)
    most = tags[0].get("maxRating", str(STARS))
    if not most.isdecimal() or int(most) < 1:
        raise LabelConfigError(f"A <Rating> has {most!r} stars at most.", mend)
    return RatingControl(tags[0].get("name") or "", tags[0].get("toName") or "", int(most))


def rating_regions(control: RatingControl, stars: int) -> list[Region]:
    """Stars as a region; none of no star, which is what an annotation without a region says."""
    if not 0 < stars <= control.most:
        return []
    named = {"id": control.name, "from_name": control.name, "to_name": control.to_name}
    return [{**named, "type": RATING, "value": {RATING: stars}}]


def given_rating(result: Sequence[Mapping[str, Any]], control: RatingControl) -> float:
    """The stars that an annotation's result states; 0 where it states none.

    Raises
    ------
    NumberError
        If they are no number, more than there are, or given twice.
    """
    limits = NumberControl(control.name, control.to_name, 0.0, float(control.most))
    given = list[float]()
    for region in result:
        if region.get("from_name") == control.name and region.get("type") == RATING:
            value = region.get("value", {})
            said = value.get(RATING) if isinstance(value, Mapping) else value
            given.append(0.0 if said is None else _number(said, limits))
    if given and min(given) < max(given):
        raise _twice(limits, min(given), max(given))
    return given[0] if given else 0.0


def _twice(control: NumberControl, one: float, other: float) -> NumberError:
    return NumberError(f"{control.name} is both {one:g} and {other:g}.", "Leave one of them.")


def _is_left_empty(said: object) -> bool:
    return said in (None, "", 0) and said is not False


def _number(said: object, control: NumberControl) -> float:
    if isinstance(said, str) and "," in said:
        raise NumberError(
            f"{control.name} is written with a comma: {said[:20]!r}.", f"Write {said.replace(',', '.', 1)[:20]}."
        )
    try:
        number = float(said) if isinstance(said, str | int | float) and not isinstance(said, bool) else float("nan")
    except (ValueError, OverflowError):
        number = float("nan")
    if not isfinite(number):
        raise NumberError(f"{control.name} is no number: {str(said)[:20]!r}.", "Write digits, with a point.")
    if not control.least <= number <= control.most:
        raise NumberError(
            f"{control.name} is {number:g}, and lies between {control.least:g} and {control.most:g}.", "Mend it."
        )
    return number
