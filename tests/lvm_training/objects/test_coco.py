"""COCO documents: pycocotools reads what is written, and what is read is checked."""

import io
import json
from contextlib import redirect_stdout
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO

from lvm_training.objects.coco import MOST_PIXELS, coco_annotations, coco_document, read_coco
from lvm_training.objects.instances import InstanceError, Instances
from lvm_training.objects.run_lengths import pack_mask

CLASSES = ("arc", "deflector", "galaxy")


def sky() -> list[Instances]:
    """A lens with three objects, an empty picture, and one of another size."""
    masks = np.zeros((3, 20, 24), dtype=bool)
    masks[0, 4:9, 3:15] = masks[1, 7:9, 8:11] = masks[2, 15:, 20:] = True
    masks[0, 6, 5:12] = False
    lens = Instances.of_masks(("arc", "deflector", "galaxy"), masks)
    loose = Instances(("galaxy",), np.array([[0.25, 1.5, 6.75, 9]]), np.ones((1, 10, 7), dtype=bool), np.array([0.625]))
    return [lens, Instances.empty((20, 24)), loose]


def document(**changes: Any) -> dict[str, Any]:
    """One picture of 24 x 20 pixels with one annotation, changed."""
    annotation = {"image_id": 1, "category_id": 1, "bbox": [2, 3, 6, 5]} | changes
    return {
        "images": [{"id": 1, "width": 24, "height": 20, "file_name": "a.png"}],
        "annotations": [{key: value for key, value in annotation.items() if value is not ...}],
        "categories": [{"id": 1, "name": "arc"}, {"id": 7, "name": "comet"}],
    }


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")
def test_pycocotools_reads_what_is_written() -> None:
    written = json.loads(json.dumps(coco_document(sky(), CLASSES, names=["x.png", "y.png", "z.png"]), allow_nan=False))
    coco = COCO()
    coco.dataset = written
    with redirect_stdout(io.StringIO()):
        coco.createIndex()
    assert [category["id"] for category in coco.loadCats(coco.getCatIds())] == [1, 2, 3]
    assert [image["file_name"] for image in coco.loadImgs([1, 2, 3])] == ["x.png", "y.png", "z.png"]
    assert coco.getAnnIds() == [1, 2, 3, 4] and coco.getAnnIds(imgIds=[2]) == []
    first = coco.loadAnns([1])[0]
    assert first["bbox"] == [3, 4, 12, 5] and first["area"] == 53 and first["iscrowd"] == 0
    assert (coco.annToMask(first) == sky()[0].masks[0]).all()
    assert coco.loadAnns([4])[0]["bbox"] == [0.25, 1.5, 6.5, 7.5]


def test_reading_gives_back_what_was_written() -> None:
    pictures, notes = read_coco(json.loads(json.dumps(coco_document(sky(), CLASSES))), CLASSES)
    assert notes == () and [picture.name for picture in pictures] == ["000001.png", "000002.png", "000003.png"]
    for picture, whole in zip(pictures, sky(), strict=True):
        read = picture.instances
        assert read.classes == whole.classes and (read.masks == whole.masks).all() and read.shape == whole.shape
        assert (read.boxes == whole.boxes).all() and (read.scores == whole.scores).all()
        assert picture.drawn.tolist() == [True] * len(whole)


def test_ids_go_on_from_the_first() -> None:
    ids = [one["id"] for one in coco_annotations(sky()[0], CLASSES, image=5, first=40)]
    assert ids == [40, 41, 42]


def test_a_class_without_a_category_is_refused() -> None:
    with pytest.raises(InstanceError, match="galaxy"):
        coco_document(sky(), ("arc", "deflector"))


POLYGON = [2, 3, 8, 3, 8, 8, 2, 8]


@pytest.mark.parametrize(
    ("changes", "pixels", "drawn"),
    [
        ({"segmentation": [POLYGON]}, 30, True),
        ({"segmentation": [POLYGON, [10, 10, 12, 10, 12, 12, 10, 12]]}, 34, True),
        ({"segmentation": [POLYGON, [1, 1, 5, 5], []]}, 30, True),
        ({"segmentation": [[-50, -50, 99, -50, 99, 99, -50, 99]]}, 480, True),
        ({"segmentation": {"size": [20, 24], "counts": [0, 7, 473]}, "bbox": [0, 0, 2, 8]}, 7, True),
        ({"segmentation": pack_mask(sky()[0].masks[1]), "bbox": [8, 7, 3, 2]}, 6, True),
        ({}, 30, False),
        ({"segmentation": []}, 30, False),
        ({"segmentation": None, "bbox": [-4, -4, 6, 6]}, 4, False),
        ({"bbox": [20, 18, 50, 50]}, 8, False),
    ],
)
def test_segmentations_become_masks(changes: dict[str, Any], pixels: int, drawn: bool) -> None:
    (picture,), notes = read_coco(document(**changes), CLASSES)
    assert notes == () and picture.instances.classes == ("arc",) and picture.instances.scores.tolist() == [1]
    assert picture.instances.masks.sum() == pixels and picture.drawn.tolist() == [drawn]
    assert (picture.instances.boxes >= 0).all() and (picture.instances.boxes <= [24, 20, 24, 20]).all()


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"iscrowd": 1, "segmentation": {"size": [20, 24], "counts": [480]}}, "crowd"),
        ({"bbox": [2, 3, 0, 5]}, "without area"),
        ({"bbox": [2, 3, 4, -5]}, "without area"),
        ({"bbox": [24, 3, 4, 5]}, "without area"),
        ({"bbox": [1e308, 1e308, 1e308, 1e308]}, "without area"),
        ({"segmentation": [[1, 1, 5, 5]]}, "without pixels"),
        ({"segmentation": [[1, 1, 5, 5, 9, 9]]}, "without pixels"),
        ({"segmentation": {"size": [20, 24], "counts": [480]}}, "without pixels"),
        ({"segmentation": [[12, 10, 15, 10, 15, 14, 12, 14]]}, "lies outside its box"),
        ({"segmentation": [[8, 3, 12, 3, 12, 8, 8, 8]]}, "lies outside its box"),
    ],
)
def test_what_is_left_out_is_noted(changes: dict[str, Any], note: str) -> None:
    (picture,), notes = read_coco(document(**changes), CLASSES)
    assert len(picture.instances) == 0 and len(notes) == 1 and note in notes[0] and "Annotation 0" in notes[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bbox": ...}, "annotations.0.bbox"),
        ({"bbox": [1, 2, 3]}, "annotations.0.bbox"),
        ({"bbox": [1, 2, 3, float("nan")]}, "annotations.0.bbox"),
        ({"bbox": [1, 2, 3, "wide"]}, "annotations.0.bbox"),
        ({"category_id": ...}, "annotations.0.category_id"),
        ({"category_id": 2}, "category 2"),
        ({"category_id": 7}, "comet"),
        ({"image_id": 9}, "image 9"),
        ({"segmentation": [[1, 2, 3, None]]}, "annotations.0.segmentation"),
        ({"segmentation": "text"}, "annotations.0.segmentation"),
        ({"segmentation": {"counts": [480]}}, "annotations.0.segmentation"),
        ({"segmentation": {"size": [24, 20], "counts": [480]}}, "Annotation 0: .*24 x 20 .* picture of 20 x 24"),
        ({"segmentation": {"size": [20, 24], "counts": [479]}}, "Annotation 0: .*do not fill.* too short"),
        ({"segmentation": {"size": [20, 24], "counts": [10**30, 5]}}, "Annotation 0: .*do not fill.* too long"),
        ({"segmentation": [POLYGON, [1, 1, 5, 5, 9]]}, "Annotation 0: Its polygon has 5 coordinates"),
        ({"segmentation": [[4]]}, "Annotation 0: Its polygon has 1 coordinates"),
        ({"score": 7}, "annotations.0.score"),
        ({"score": -0.1}, "annotations.0.score"),
        ({"score": float("nan")}, "annotations.0.score"),
        ({"segmentation": {"size": [20, 24], "counts": [-1, 481]}}, "annotations.0.segmentation"),
        ({"segmentation": {"size": [20, 24], "counts": []}}, "do not fill"),
        ({"segmentation": {"size": [20, 24], "counts": ""}}, "malformed"),
        ({"segmentation": {"size": [20, 24], "counts": "oooooooooo"}}, "malformed"),
        ({"segmentation": {"size": [20, 24], "counts": "zé"}}, "malformed"),
        ({"segmentation": {"size": [20, 24], "counts": "\ud800"}}, "malformed"),
    ],
)
def test_broken_annotations_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InstanceError, match=message):
        read_coco(document(**changes), CLASSES)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (None, "no COCO document: Input should be"),
        ([], "no COCO document: Input should be"),
        ({"images": [], "annotations": []}, "categories"),
        (document() | {"images": [{"id": 1, "width": 0, "height": 5, "file_name": "a"}]}, "images.0.width"),
        (document() | {"images": [{"id": 1, "width": 10**9, "height": 5, "file_name": "a"}]}, "images.0.width"),
        (document() | {"images": document()["images"] * 2}, "Two images .* same id"),
        (
            document() | {"categories": [{"id": 1, "name": "arc"}, {"id": 1, "name": "galaxy"}]},
            "Two categories .* same id",
        ),
    ],
)
def test_broken_documents_are_refused(broken: object, message: str) -> None:
    with pytest.raises(InstanceError, match=message):
        read_coco(broken, CLASSES)


def test_more_masks_than_memory_holds_are_refused() -> None:
    """Each would be a byte per pixel of its picture, however small the object."""
    large = document()
    large["images"][0] |= {"width": 10_000, "height": 10_000}
    large["annotations"] *= MOST_PIXELS // 10**8 + 1
    with pytest.raises(InstanceError, match=r"21 annotations have 2.1e\+09 pixels") as caught:
        read_coco(large, CLASSES)
    assert "2e+09" in caught.value.hint


def test_which_annotation_is_broken_is_said() -> None:
    broken = document()
    other = {"image_id": 1, "category_id": 1, "bbox": [2, 3, 6, 5], "segmentation": {"size": [20, 24], "counts": [1]}}
    broken["annotations"] += [other]
    with pytest.raises(InstanceError, match="Annotation 1: Run lengths"):
        read_coco(broken, CLASSES)
