"""Objects to COCO's format and back (Lin et al. 2014; cocodataset.org/#format-data).

Boxes are [x, y, width, height] in pixels from the picture's top-left corner, masks run lengths (`run_lengths.py`).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, FiniteFloat, ValidationError

from lvm_training.errors import problems
from lvm_training.objects.instances import Floats, InstanceError, Instances, Masks, bounding_boxes, box_overlaps
from lvm_training.objects.outlines import clip_box, fill_box, fill_outline
from lvm_training.objects.run_lengths import RunLengths, pack_mask, unpack_mask

CocoAnnotation = dict[str, Any]
CocoDocument = dict[str, Any]

LONGEST_SIDE = 20_000  # pixels
MOST_PIXELS = 2_000_000_000  # of all masks together, a byte each


def coco_document(
    pictures: Sequence[Instances],
    classes: Sequence[str],
    *,
    names: Sequence[str] | None = None,
    drawn: Sequence[NDArray[np.bool_]] | None = None,
) -> CocoDocument:
    """The objects of some pictures as a COCO document that `json.dumps` takes.

    Parameters
    ----------
    pictures : sequence of Instances
        They get the image ids 1, 2, ...
    classes : sequence of str
        Category i + 1 is class i.
    names : sequence of str or None
        File names of the pictures; None numbers them.
    drawn : sequence of ndarray of bool, or None
        Of each picture, which masks are known; None knows all. An object without one has its box alone, and an empty
        segmentation.

    Raises
    ------
    InstanceError
        If an object's class is not among `classes`.
    """
    files = names if names is not None else [f"{number:06d}.png" for number in range(1, len(pictures) + 1)]
    images, annotations = [], list[CocoAnnotation]()
    for number, (picture, name) in enumerate(zip(pictures, files, strict=True), 1):
        height, width = picture.shape
        images.append({"id": number, "width": width, "height": height, "file_name": name})
        known = None if drawn is None else drawn[number - 1]
        annotations += coco_annotations(picture, classes, image=number, first=len(annotations) + 1, drawn=known)
    categories = [{"id": number, "name": name, "supercategory": "object"} for number, name in enumerate(classes, 1)]
    return {"images": images, "annotations": annotations, "categories": categories}


def coco_annotations(
    instances: Instances,
    classes: Sequence[str],
    *,
    image: int,
    first: int = 1,
    drawn: NDArray[np.bool_] | None = None,
) -> list[CocoAnnotation]:
    """The objects of one picture as COCO annotations with scores, as truths and as results of a detector.

    Parameters
    ----------
    image, first : int
        Id of the picture, and of the first annotation.
    drawn : ndarray (K,) of bool, or None
        As in `coco_document`.

    Raises
    ------
    InstanceError
        If an object's class is not among `classes`.
    """
    unknown = sorted(set(instances.classes) - set(classes))
    if unknown:
        raise InstanceError(f"No category for {', '.join(unknown)}.", f"There are: {', '.join(classes)}.")
    known = np.ones(len(instances), dtype=bool) if drawn is None else drawn
    objects = zip(instances.classes, instances.boxes, instances.masks, instances.scores, known, strict=True)
    return [
        {
            "id": number,
            "image_id": image,
            "category_id": classes.index(name) + 1,
            "segmentation": pack_mask(mask) if has_mask else [],
            "area": int(mask.sum()) if has_mask else float((box[2:] - box[:2]).prod()),
            "bbox": [*box[:2].tolist(), *(box[2:] - box[:2]).tolist()],
            "iscrowd": 0,
            "score": float(score),
        }
        for number, (name, box, mask, score, has_mask) in enumerate(objects, first)
    ]


class _Image(BaseModel):
    id: int
    width: int = Field(ge=1, le=LONGEST_SIDE)
    height: int = Field(ge=1, le=LONGEST_SIDE)
    file_name: str


class _Category(BaseModel):
    id: int
    name: str


class _Annotation(BaseModel):
    image_id: int
    category_id: int
    bbox: tuple[FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat]
    segmentation: RunLengths | list[list[FiniteFloat]] | None = None
    iscrowd: int = 0
    score: float = Field(default=1.0, ge=0, le=1)


class _Document(BaseModel):
    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category]


@dataclass(frozen=True)
class CocoPicture:
    """A picture of a COCO document.

    Attributes
    ----------
    name : str
        Its file name.
    instances : Instances
        Its objects.
    drawn : ndarray (K,) of bool
        Which masks are the document's; the others are filled boxes.
    """

    name: str
    instances: Instances
    drawn: NDArray[np.bool_]


@dataclass(frozen=True)
class _Object:
    name: str
    box: Floats
    mask: Masks
    drawn: bool
    score: float


def read_coco(document: object, classes: Sequence[str]) -> tuple[list[CocoPicture], tuple[str, ...]]:
    """The pictures of a COCO document, and a note on each annotation that was left out.

    Boxes are clipped to the picture. Polygons of one object are filled and united, those of fewer than three points
    ignored. An annotation is left out if it is a crowd, its box has no area on the picture, its mask has no pixel, or
    box and mask lie apart; one without a segmentation gets its filled box as the mask.

    Parameters
    ----------
    document : object
        Parsed JSON.
    classes : sequence of str
        The names that its annotations' categories may have.

    Raises
    ------
    InstanceError
        If a key is missing or of a wrong type, an annotation names an image or category that is not there, or a class
        not among `classes`, two images or two categories share an id, a score is not in [0, 1], a polygon has an odd
        number of coordinates, run lengths do not fit their picture, or all masks together have more than `MOST_PIXELS`.
    """
    parsed = _parsed(document)
    kinds = {category.id: category.name for category in parsed.categories}
    shapes = {image.id: (image.height, image.width) for image in parsed.images}
    for ids, entries, what in ((shapes, parsed.images, "images"), (kinds, parsed.categories, "categories")):
        if len(ids) < len(entries):
            raise InstanceError(f"Two {what} of the COCO document have the same id.", "Number them apart.")
    _check_pixels(parsed.annotations, shapes)
    objects: dict[int, list[_Object]] = {image: [] for image in shapes}
    notes = []
    for number, annotation in enumerate(parsed.annotations):
        name, shape = kinds.get(annotation.category_id), shapes.get(annotation.image_id)
        if name is None or name not in classes or shape is None:
            raise InstanceError(
                f"Annotation {number} is of class {name!r} (category {annotation.category_id}) on image "
                f"{annotation.image_id}.",
                f"The classes are {', '.join(classes)}; the images are those of `images`.",
            )
        try:
            read = _object(annotation, name, shape)
        except InstanceError as error:
            raise InstanceError(f"Annotation {number}: {error.message}", error.hint) from error
        if isinstance(read, str):
            notes.append(f"Annotation {number} {read}; it was left out.")
        else:
            objects[annotation.image_id].append(read)
    return [_picture(image, objects[image.id]) for image in parsed.images], tuple(notes)


def _parsed(document: object) -> _Document:
    try:
        return _Document.model_validate(document)
    except ValidationError as error:
        hint = "See cocodataset.org/#format-data."
        raise InstanceError(f"This is no COCO document: {problems(error)[0]}.", hint) from error


def _check_pixels(annotations: Sequence[_Annotation], shapes: Mapping[int, tuple[int, int]]) -> None:
    """Masks are held pixel by pixel: refuse more of them than memory may hold."""
    pixels = sum(math.prod(shapes.get(annotation.image_id, (0, 0))) for annotation in annotations)
    if pixels > MOST_PIXELS:
        raise InstanceError(
            f"The masks of these {len(annotations)} annotations have {pixels:.2g} pixels in all.",
            f"At most {MOST_PIXELS:.2g} are read: split the document, or cut its pictures.",
        )


def _object(annotation: _Annotation, name: str, shape: tuple[int, int]) -> _Object | str:
    """An annotation's object, or why it is left out."""
    if annotation.iscrowd:
        return "is a crowd"
    left, top, width, height = annotation.bbox
    box = clip_box(np.array([left, top, left + width, top + height]), shape)
    if (box[2:] <= box[:2]).any():
        return "has a box without area on its picture"
    if not annotation.segmentation:
        return _Object(name, box, fill_box(box, shape), False, annotation.score)
    if isinstance(annotation.segmentation, RunLengths):
        mask = unpack_mask(annotation.segmentation, shape)
    else:
        mask = np.zeros(shape, dtype=bool)
        for polygon in annotation.segmentation:
            if len(polygon) % 2:
                raise InstanceError(f"Its polygon has {len(polygon)} coordinates.", "Give x and y of each point.")
            mask |= fill_outline(np.array(polygon).reshape(-1, 2), shape)
    if not mask.any():
        return "has a mask without pixels"
    if not box_overlaps(bounding_boxes(mask[None]), box[None]).any():
        return "has a mask that lies outside its box"
    return _Object(name, box, mask, True, annotation.score)


def _picture(image: _Image, objects: Sequence[_Object]) -> CocoPicture:
    if not objects:
        return CocoPicture(image.file_name, Instances.empty((image.height, image.width)), np.zeros(0, dtype=bool))
    instances = Instances(
        tuple(one.name for one in objects),
        np.stack([one.box for one in objects]),
        np.stack([one.mask for one in objects]),
        np.array([one.score for one in objects]),
    )
    return CocoPicture(image.file_name, instances, np.array([one.drawn for one in objects]))
