"""Boxes and masks to Label Studio's regions and back, by the rules that `read_objects` states."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from backend_ml.label_studio.regions import brush
from backend_ml.label_studio.regions.choices import (
    CONTROLS,
    ChoicesControl,
    LabelConfigError,
    Region,
    find_choices,
    parsed_config,
    pruned,
)
from lvm_training.errors import GalaxyLoopError
from lvm_training.objects.instances import Floats, Instances, Masks, bounding_boxes, box_overlaps
from lvm_training.objects.outlines import clip_box, clip_outline, fill_box, fill_outline

RECTANGLE, BRUSH, POLYGON = "rectanglelabels", "brushlabels", "polygonlabels"
TAGS = {"RectangleLabels": RECTANGLE, "BrushLabels": BRUSH, "PolygonLabels": POLYGON}
NOT_OBJECTS = ("choices", "textarea", "rating", "number", "relation")
BELONGS = 0.5  # overlap above which a mask belongs to a box
PART = 0.1  # the same of a mask that lies in the box: of several images of one source, often one alone is drawn
CLOSE = 0.7  # overlap of a box and its mask's own below which only one of them seems corrected
FARTHEST = 1e6  # percent
BOX, MASK = "-box", "-mask"  # how the ids of an object's two regions end


class RegionError(GalaxyLoopError):
    """A region that is no object."""

    code = "region"


@dataclass(frozen=True)
class LabelsControl:
    """A tag that people draw objects with.

    Attributes
    ----------
    kind : str
        Type of its regions: "rectanglelabels", "brushlabels" or "polygonlabels".
    name, to_name : str
        The tag's `name`, and the image it labels.
    labels : tuple of str
        Its label values in order.
    """

    kind: str
    name: str
    to_name: str
    labels: tuple[str, ...]


@dataclass(frozen=True)
class ObjectControls:
    """The tags of a label config that objects are drawn with, all on one image.

    Attributes
    ----------
    drawing : tuple of LabelsControl
        In the order of the config.
    grade : ChoicesControl or None
        The single-choice `Choices` of the whole picture, if there is one.
    """

    drawing: tuple[LabelsControl, ...]
    grade: ChoicesControl | None

    def offering(self, kind: str, label: str) -> LabelsControl | None:
        """The first tag of a kind that has the label."""
        return next((one for one in self.drawing if one.kind == kind and label in one.labels), None)


@lru_cache(maxsize=256)
def find_object_controls(label_config: str) -> ObjectControls:
    """The `RectangleLabels`, `BrushLabels` and `PolygonLabels` on an `Image`; other drawing tags are not read.

    If the config has several images, those on the image that the first of them labels.

    Raises
    ------
    LabelConfigError
        If the config is no XML, or has neither `RectangleLabels` nor `BrushLabels` with a label on an `Image`.
    """
    mend = (
        "Add <RectangleLabels name=... toName=...> with <Label value=...> on an <Image>; see label_config/lenses.xml."
    )
    root = parsed_config(label_config, mend)
    images = {tag.get("name") for tag in root.iter("Image")}
    controls = [_control(tag) for tag in root.iter() if tag.tag in TAGS]
    usable = [one for one in controls if one.to_name in images and one.labels]
    if not any(one.kind != POLYGON for one in usable):
        raise LabelConfigError("The label config has no <RectangleLabels> or <BrushLabels> on an <Image>.", mend)
    try:
        grade = find_choices(label_config, CONTROLS["lenses"])
    except LabelConfigError:
        grade = None
    return ObjectControls(tuple(one for one in usable if one.to_name == usable[0].to_name), grade)


@lru_cache(maxsize=256)
def without_masks(label_config: str) -> str:
    """A label config in which boxes are drawn, and no masks; nor has it places for the model's words.

    Raises
    ------
    LabelConfigError
        If it is no XML.
    """
    return pruned(label_config, ("BrushLabels", "PolygonLabels", "TextArea"))


def _control(tag: ElementTree.Element) -> LabelsControl:
    labels = tuple(value for value in (label.get("value") for label in tag.iter("Label")) if value)
    return LabelsControl(TAGS[tag.tag], tag.get("name") or "", tag.get("toName") or "", labels)


def object_result(controls: ObjectControls, instances: Instances, *, width: int, height: int) -> list[Region]:
    """Objects as regions: a box and a brush mask each, where the config has a tag for its class.

    Parameters
    ----------
    instances : Instances
        On a picture of any size; boxes beyond its edges are clipped.
    width, height : int
        Size in pixels of the picture that people see. Masks are resampled to it, nearest neighbour.

    Returns
    -------
    list of Region
        Ids say which object and which part, so the same objects give the same regions. Scores are clipped to [0, 1].
    """
    rows, columns = instances.shape
    sides = {"original_width": width, "original_height": height, "image_rotation": 0}
    shown = np.ix_(brush.nearest(rows, height), brush.nearest(columns, width))
    regions = []
    for number, name in enumerate(instances.classes):
        common = {"score": round(float(np.clip(instances.scores[number], 0, 1)), 6), **sides}
        box = 100 * clip_box(instances.boxes[number], (rows, columns)) / [columns, rows, columns, rows]
        x0, y0, x1, y1 = box.tolist()
        mask = instances.masks[number][shown]
        control = controls.offering(RECTANGLE, name)
        if control is not None and x1 > x0 and y1 > y0:
            value = {"x": x0, "y": y0, "width": x1 - x0, "height": y1 - y0, "rotation": 0}
            regions.append(_region(control, f"object-{number}{BOX}", name, value) | common)
        control = controls.offering(BRUSH, name)
        if control is not None and mask.any():
            value = {"format": "rle", "rle": brush.encode(mask)}
            regions.append(_region(control, f"object-{number}{MASK}", name, value) | common)
    return regions


def _region(control: LabelsControl, identifier: str, label: str, value: dict[str, Any]) -> Region:
    named = {"id": identifier, "from_name": control.name, "to_name": control.to_name, "type": control.kind}
    return {**named, "value": {**value, control.kind: [label]}}


@dataclass(frozen=True)
class ReadObjects:
    """The objects of an annotation.

    Attributes
    ----------
    instances : Instances
        Boxes in the order of the regions, then masks without a box; scores 1.
    drawn : ndarray (K,) of bool
        Which masks somebody drew; the others are filled boxes, from which no mask should be learned.
    notes : tuple of str
        What was left out or changed, and why.
    """

    instances: Instances
    drawn: NDArray[np.bool_]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Box:
    label: str
    box: Floats
    filled: Masks


@dataclass(frozen=True)
class _Mask:
    label: str
    mask: Masks
    note: str


def read_objects(
    result: Sequence[object],
    controls: ObjectControls,
    *,
    width: int,
    height: int,
    shown: Collection[int] = (),
) -> ReadObjects:
    """The objects that an annotation's regions describe, on a picture of `width` x `height` pixels.

    `shown` are sides of the square pictures that people see it on, if not this.

    Percentages are of whatever picture was annotated, so boxes and polygons need no other scaling; a brush mask is
    resampled, nearest neighbour, and noted if it was drawn on a picture of another size than is shown. Boxes are
    clipped to the picture. A rotated box (about its top-left corner, clockwise) has the rotated rectangle's pixels as
    mask and is what bounds them. Polygons of three points or more are masks.

    Regions of one object are not linked in Label Studio: a mask belongs to the box of its label that overlaps the
    mask's bounding box most, if by more than half (intersection over union), or by a tenth where most of its pixels lie
    in the box. Where the box has a mask already, such a part joins it only if both together fill the box better: the
    counter-image does, a companion of a galaxy does not. All others are objects of their own. A box without a mask is
    filled. A mask that came with a box of ours (by the ids, which Label Studio keeps) and no longer belongs to it was
    left behind when the box was moved, and is left out.

    Where a box and what bounds its mask overlap by less than `CLOSE`, both are kept and noted: likely only one of the
    two was corrected.

    Left out with a note: regions that are malformed, of an unknown tag or label, or on a rotated picture, and those
    without area or pixels on the picture. Choices and texts are passed over.
    """
    shape, seen = (height, width), {(width, height), *((side, side) for side in shown)}
    regions = _read_regions(result, controls, shape, seen)
    kept = _kept_masks(regions)
    instances, drawn = _joined([box for _, box in regions.boxes], kept, shape)
    places = [f"Region {identifier[:40]}" for identifier, _ in regions.boxes]
    return ReadObjects(instances, drawn, (*regions.notes, *_unlike(places, instances, drawn)))


class _Regions(NamedTuple):
    """Boxes and masks by the ids of their regions, and what was left out."""

    boxes: list[tuple[str, _Box]]
    masks: list[tuple[str, _Mask]]
    notes: list[str]


def _read_regions(
    result: Sequence[object], controls: ObjectControls, shape: tuple[int, int], seen: Collection[tuple[int, int]]
) -> _Regions:
    read = _Regions([], [], [])
    for number, region in enumerate(result):
        known = region if isinstance(region, Mapping) else {}
        if known.get("type") in NOT_OBJECTS:
            continue
        identifier = str(known.get("id", number))
        try:
            drawing = _drawing(known, controls, shape, seen)
        except GalaxyLoopError as error:
            read.notes.append(f"Region {identifier[:40]} was left out: {error.message}")
            continue
        if isinstance(drawing, _Box):
            read.boxes.append((identifier, drawing))
            continue
        read.notes.extend([f"Region {identifier[:40]} {drawing.note}"] * bool(drawing.note))
        read.masks.append((identifier, drawing))
    return read


def _kept_masks(regions: _Regions) -> list[_Mask]:
    """The masks but for those that a box of ours, with which they came, has left behind; each of these is noted."""
    partners = {identifier.removesuffix(BOX): box for identifier, box in regions.boxes}
    kept = []
    for identifier, mask in regions.masks:
        partner = partners.get(identifier.removesuffix(MASK)) if identifier.endswith(MASK) else None
        if partner is not None and partner.label == mask.label and not _belongs(mask.mask, partner):
            regions.notes.append(f"Region {identifier[:40]} was left out: its box lies elsewhere.")
        else:
            kept.append(mask)
    return kept


def _unlike(places: Sequence[str], instances: Instances, drawn: NDArray[np.bool_]) -> list[str]:
    """A note on each box, the first of the objects, that is far from what bounds the mask somebody drew in it."""
    own = bounding_boxes(instances.masks)
    overlaps = [float(box_overlaps(own[i, None], instances.boxes[i, None])[0, 0]) for i in range(len(places))]
    return [
        f"{place} and what bounds its mask overlap by {overlap:.0%} alone; both are kept."
        for place, overlap, known in zip(places, overlaps, drawn, strict=False)
        if known and overlap < CLOSE
    ]


def _overlap(mask: Masks, box: _Box) -> float:
    return float(box_overlaps(bounding_boxes(mask[None]), box.box[None])[0, 0])


def _belongs(mask: Masks, box: _Box) -> bool:
    overlap = _overlap(mask, box)
    return overlap > BELONGS or (overlap > PART and (mask & box.filled).sum() > mask.sum() / 2)


def _drawing(
    region: Mapping[str, Any], controls: ObjectControls, shape: tuple[int, int], shown: Collection[tuple[int, int]]
) -> _Box | _Mask:
    kind, name, value = region.get("type"), region.get("from_name"), region.get("value")
    control = next((one for one in controls.drawing if (one.kind, one.name) == (kind, name)), None)
    if control is None or not isinstance(value, Mapping):
        raise RegionError(f"The label config has no tag {str(name)[:40]!r} for {str(kind)[:40]!r}, or it has no value.")
    labels = value.get(control.kind)
    if not isinstance(labels, list) or len(labels) != 1 or labels[0] not in control.labels:
        raise RegionError(f"Its label is {str(labels)[:80]} instead of one of {', '.join(control.labels)}.")
    if region.get("image_rotation"):
        raise RegionError("It was drawn on a rotated picture.")
    if control.kind == RECTANGLE:
        return _read_box(labels[0], value, shape)
    brushed = control.kind == BRUSH
    mask, note = _read_brush(region, value, shape, shown) if brushed else (_read_polygon(value, shape), "")
    if not mask.any():
        raise RegionError("Its mask has no pixel on the picture.")
    return _Mask(labels[0], mask, note)


def _read_box(label: str, value: Mapping[str, Any], shape: tuple[int, int]) -> _Box:
    size = np.array(shape[::-1])
    x, y, wide, high = (_number(value.get(key), key) for key in ("x", "y", "width", "height"))
    corner, sides = np.array([x, y]) / 100 * size, np.array([wide, high]) / 100 * size
    turn = np.radians(_number(value.get("rotation") or 0, "rotation") % 360)
    if turn:
        across = sides[0] * np.array([np.cos(turn), np.sin(turn)])
        down = sides[1] * np.array([-np.sin(turn), np.cos(turn)])
        outline = clip_outline(np.array([corner, corner + across, corner + across + down, corner + down]), shape)
        corners = outline if len(outline) else np.zeros((1, 2))
    else:
        outline, corners = np.zeros((0, 2)), np.array([corner, corner + sides])
    box = clip_box(np.concatenate([corners.min(axis=0), corners.max(axis=0)]), shape)
    if (sides <= 0).any() or (box[2:] <= box[:2]).any():
        raise RegionError("Its box has no area on the picture.")
    turned = fill_outline(outline, shape)
    # a thin box lies between the pixels' centres
    return _Box(label, box, turned if turned.any() else fill_box(box, shape))


def _read_brush(
    region: Mapping[str, Any], value: Mapping[str, Any], shape: tuple[int, int], shown: Collection[tuple[int, int]]
) -> tuple[Masks, str]:
    if value.get("format") != "rle":
        raise RegionError(f"Its mask's format is {str(value.get('format'))[:40]!r} instead of 'rle'.")
    height, width = region.get("original_height", shape[0]), region.get("original_width", shape[1])
    if type(height) is not int or type(width) is not int:
        raise RegionError("Its `original_width` or `original_height` is no number of pixels.")
    note = f"was resampled from {width} x {height} to {shape[1]} x {shape[0]} pixels."
    return brush.decode(value.get("rle", []), (height, width), to=shape), note if (width, height) not in shown else ""


def _read_polygon(value: Mapping[str, Any], shape: tuple[int, int]) -> Masks:
    points = value.get("points")
    if not isinstance(points, list) or len(points) < 3 or any(not isinstance(p, list) or len(p) != 2 for p in points):
        raise RegionError("Its polygon has fewer than three points.")
    corners = np.array([[_number(coordinate, "point") for coordinate in point] for point in points])
    return fill_outline(corners / 100 * np.array(shape[::-1]), shape)


def _number(value: object, name: str) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= FARTHEST:
        return float(value)
    raise RegionError(f"Its {name} is {str(value)[:40]!r}, no usable number.")


def _joined(
    boxes: Sequence[_Box], masks: Sequence[_Mask], shape: tuple[int, int]
) -> tuple[Instances, NDArray[np.bool_]]:
    """The objects of all boxes, then of the masks that belong to none, and which of their masks were drawn."""
    alone, belonging = [], dict[int, Masks]()
    # those that fill their box best come first, for parts to join
    for one in sorted(masks, key=lambda one: -max((_overlap(one.mask, box) for box in boxes), default=0.0)):
        place = _place(one, boxes, belonging)
        if place is None:
            alone.append(_Box(one.label, bounding_boxes(one.mask[None])[0], one.mask))
        else:
            belonging[place] = belonging.get(place, np.zeros(shape, dtype=bool)) | one.mask
    objects = [*boxes, *alone]
    if not objects:
        return Instances.empty(shape), np.zeros(0, dtype=bool)
    instances = Instances(
        tuple(one.label for one in objects),
        np.stack([one.box for one in objects]),
        np.stack([belonging.get(i, one.filled) for i, one in enumerate(objects)]),
        np.ones(len(objects)),
    )
    return instances, np.array([i in belonging or i >= len(boxes) for i in range(len(objects))])


def _place(one: _Mask, boxes: Sequence[_Box], belonging: Mapping[int, Masks]) -> int | None:
    """The box that a mask belongs to, beside the masks that it has."""
    fitting = []
    for place, box in enumerate(boxes):
        overlap = _overlap(one.mask, box)
        if box.label != one.label or not _belongs(one.mask, box):
            continue
        before = belonging.get(place)
        if overlap > BELONGS or before is None or _overlap(one.mask | before, box) > _overlap(before, box):
            fitting.append((overlap, -place))
    return -max(fitting)[1] if fitting else None
