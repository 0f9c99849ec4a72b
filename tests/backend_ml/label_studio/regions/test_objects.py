"""Objects to Label Studio's regions and back, and the rules for regions that are no objects."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from label_studio_sdk.label_interface.interface import LabelInterface

from backend_ml.kinds.installed import find_kind
from backend_ml.label_studio.regions import brush
from backend_ml.label_studio.regions.choices import LabelConfigError, Region, choice_region, chosen
from backend_ml.label_studio.regions.objects import (
    LabelsControl,
    ObjectControls,
    ReadObjects,
    find_object_controls,
    object_result,
    read_objects,
)
from lvm_training.objects.coco import coco_document, read_coco
from lvm_training.objects.instances import Instances

CLASSES = ("arc", "deflector", "galaxy")
CONFIG = find_kind("lenses").label_config()
CONTROLS = find_object_controls(CONFIG)
WITH_POLYGONS = find_object_controls(
    CONFIG.replace(
        '<Header value="Masks"',
        '<PolygonLabels name="outlines" toName="image"><Label value="arc"/></PolygonLabels><Header value="Masks"',
    )
)
INTERFACE: Any = LabelInterface(CONFIG)
SIZE = {"width": 80, "height": 40}


def errors(result: list[Region]) -> list[str]:
    """What Label Studio's own check says about a prediction."""
    prediction = {"model_version": "v", "score": 0.5, "result": result}
    found: list[str] = INTERFACE.validate_prediction(prediction, return_errors=True)
    return found


def placed(x: float, y: float, width: float, height: float, label: str = "arc") -> dict[str, Any]:
    """The value of a box, percent."""
    return {"x": x, "y": y, "width": width, "height": height, "rotation": 0, "rectanglelabels": [label]}


def lens() -> Instances:
    """An arc around a deflector, 80 x 40 pixels."""
    y, x = np.mgrid[:40, :80] + 0.5
    radius = np.hypot(x - 30, y - 20)
    masks = np.stack([(abs(radius - 12) < 2) & (x < 28), radius < 5])
    whole = Instances.of_masks(("arc", "deflector"), masks)
    return Instances(whole.classes, whole.boxes, whole.masks, np.array([0.75, 0.123456789]))


def box(label: str = "arc", **changes: Any) -> dict[str, Any]:
    """A box of 40 x 10 pixels at (8, 4), changed."""
    value = placed(10, 10, 50, 25, label) | changes
    return {"id": "b", "from_name": "boxes", "to_name": "image", "type": "rectanglelabels", "value": value}


def painted(mask: np.ndarray[Any, Any], label: str = "arc", **changes: Any) -> dict[str, Any]:
    """A brush region, changed."""
    value = {"format": "rle", "rle": brush.encode(mask), "brushlabels": [label]}
    sides = {"original_width": mask.shape[1], "original_height": mask.shape[0]}
    region = {"id": "m", "from_name": "masks", "to_name": "image", "type": "brushlabels", "value": value}
    return {**region, **sides, **changes}


def outline(*points: tuple[Any, Any]) -> dict[str, Any]:
    """A polygon region."""
    value = {"points": [list(point) for point in points], "closed": True, "polygonlabels": ["arc"]}
    return {"id": "p", "from_name": "outlines", "to_name": "image", "type": "polygonlabels", "value": value}


def rectangle(x0: int, y0: int, x1: int, y1: int) -> np.ndarray[Any, Any]:
    mask = np.zeros((40, 80), dtype=bool)
    mask[y0:y1, x0:x1] = True
    return mask


def read(*regions: Any, controls: ObjectControls = WITH_POLYGONS) -> ReadObjects:
    return read_objects(regions, controls, **SIZE)


def test_the_lens_config_is_understood() -> None:
    assert CONTROLS.drawing == (
        LabelsControl("rectanglelabels", "boxes", "image", CLASSES),
        LabelsControl("brushlabels", "masks", "image", CLASSES),
    )
    assert CONTROLS.grade is not None and CONTROLS.grade.choices == ("A", "B", "C", "not a lens")
    assert [one.kind for one in WITH_POLYGONS.drawing] == ["rectanglelabels", "polygonlabels", "brushlabels"]


def test_keys_and_colours_of_the_lens_config_tell_the_labels_apart() -> None:
    labels = {name: INTERFACE.get_control(name).labels_attrs for name in ("boxes", "masks", "grade")}
    keys = [label.attr["hotkey"] for tags in labels.values() for label in tags.values()]
    assert sorted(keys) == sorted("1234567890")
    colours = {name: label.attr["background"] for name, label in labels["boxes"].items()}
    assert len(set(colours.values())) == 3
    assert colours == {name: label.attr["background"] for name, label in labels["masks"].items()}


def test_label_studio_accepts_our_regions() -> None:
    assert CONTROLS.grade is not None
    result = object_result(CONTROLS, lens(), width=480, height=240)
    assert object_result(CONTROLS, lens(), width=480, height=240) == result
    sent = json.loads(json.dumps([*result, choice_region(CONTROLS.grade, "A", 0.9)], allow_nan=False))
    assert errors(sent) == [] and INTERFACE.validate_annotation({"result": sent})
    assert chosen(sent) == "A" and len({region["id"] for region in sent}) == 5
    assert [region["score"] for region in sent] == [0.75, 0.75, 0.123457, 0.123457, 0.9]
    common = {"original_width": 480, "original_height": 240, "image_rotation": 0}.items()
    assert all(common <= region.items() for region in sent[:4])
    assert sent[0]["value"] == placed(20, 15, 15, 70)


def test_what_was_written_is_read_back() -> None:
    whole = lens()
    found = read(*object_result(CONTROLS, whole, **SIZE))
    assert found.notes == () and found.drawn.tolist() == [True, True]
    assert found.instances.classes == whole.classes and (found.instances.masks == whole.masks).all()
    assert np.allclose(found.instances.boxes, whole.boxes) and found.instances.scores.tolist() == [1, 1]


def test_masks_shown_larger_come_back_as_they_were() -> None:
    whole = lens()
    found = read(*object_result(CONTROLS, whole, width=480, height=240))
    assert (found.instances.masks == whole.masks).all() and np.allclose(found.instances.boxes, whole.boxes)
    assert found.notes == tuple(
        f"Region object-{i}-mask was resampled from 480 x 240 to 80 x 40 pixels." for i in range(2)
    )


@given(st.data(), st.sampled_from([(1, 1), (7, 3), (64, 64), (480, 200), (40, 10_000)]))
def test_boxes_survive_percent_pixels_and_coco_within_half_a_pixel(data: st.DataObject, size: tuple[int, int]) -> None:
    width, height = size
    low = [data.draw(st.floats(0, 0.98)) for _ in size]
    high = [data.draw(st.floats(edge + 0.01, 1)) for edge in low]
    percent = {"x": 100 * low[0], "y": 100 * low[1]}
    percent |= {"width": 100 * (high[0] - low[0]), "height": 100 * (high[1] - low[1])}
    first = read_objects([box("arc", **percent)], CONTROLS, width=width, height=height)
    document = json.loads(json.dumps(coco_document([first.instances], CLASSES), allow_nan=False))
    (picture,), notes = read_coco(document, CLASSES)
    (last, *_) = object_result(CONTROLS, picture.instances, width=width, height=height)
    assert first.notes == notes == () and (picture.instances.masks == first.instances.masks).all()
    for key, side in (("x", width), ("y", height), ("width", width), ("height", height)):
        assert abs(last["value"][key] - percent[key]) / 100 * side < min(0.5, 1e-6 * side)
        assert 0 <= last["value"][key] <= 100


@pytest.mark.parametrize("size", [(1, 1), (1, 10_000), (10_000, 1), (10_000, 1000)])
def test_pictures_of_one_pixel_and_of_ten_thousand(size: tuple[int, int]) -> None:
    width, height = size
    whole = Instances.of_masks(["arc"], np.ones((1, height, width), dtype=bool))
    result = object_result(CONTROLS, whole, width=width, height=height)
    assert result[0]["value"] == placed(0, 0, 100, 100) and errors(result) == []
    found = read_objects(result, CONTROLS, width=width, height=height)
    assert found.notes == () and found.instances.masks.all() and found.drawn.tolist() == [True]
    assert found.instances.boxes.tolist() == [[0, 0, width, height]]


def test_a_class_without_a_tag_is_not_shown_and_one_without_a_brush_has_its_box() -> None:
    controls = ObjectControls((CONTROLS.drawing[0], LabelsControl("brushlabels", "masks", "image", ("arc",))), None)
    assert [region["id"] for region in object_result(controls, lens(), **SIZE)] == [
        "object-0-box",
        "object-0-mask",
        "object-1-box",
    ]
    only = ObjectControls((LabelsControl("brushlabels", "masks", "image", ("deflector",)),), None)
    assert [region["id"] for region in object_result(only, lens(), **SIZE)] == ["object-1-mask"]


def test_predicted_boxes_beyond_the_picture_are_clipped() -> None:
    mask = np.ones((2, 40, 80), dtype=bool)
    beyond = Instances(("arc", "galaxy"), np.array([[-9.0, 4, 99, 50], [90, 4, 99, 9]]), mask, np.array([1.2, -0.1]))
    result = object_result(CONTROLS, beyond, **SIZE)
    scores = {region["id"]: region["score"] for region in result}
    assert scores == {"object-0-box": 1, "object-0-mask": 1, "object-1-mask": 0}
    assert errors(result) == []


def test_a_box_without_a_mask_is_filled_and_said_to_be() -> None:
    found = read(box())
    assert found.drawn.tolist() == [False] and found.notes == ()
    assert found.instances.boxes.tolist() == [[8, 4, 48, 14]]
    assert (found.instances.masks[0] == rectangle(8, 4, 48, 14)).all()


@pytest.mark.parametrize(
    ("changes", "clipped"),
    [
        ({"x": -10}, [0, 4, 32, 14]),
        ({"x": 90, "y": 90}, [72, 36, 80, 40]),
        ({"x": -5, "y": -5, "width": 200, "height": 1e6}, [0, 0, 80, 40]),
        ({"x": 10, "width": 0.01, "rotation": None}, [8, 4, 8.008, 14]),
    ],
)
def test_boxes_are_clipped_to_the_picture(changes: dict[str, Any], clipped: list[float]) -> None:
    found = read(box(**changes))
    assert found.notes == () and np.allclose(found.instances.boxes, [clipped]) and found.instances.masks.any()


@pytest.mark.parametrize(
    ("region", "note"),
    [
        (box(width=0), "no area"),
        (box(height=-5), "no area"),
        (box(x=100), "no area"),
        (box(y=-25), "no area"),
        (box(x=150, rotation=10), "no area"),
        (box(width=float("nan")), "width is 'nan'"),
        (box(x=None), "x is 'None'"),
        (box(y="12"), "y is '12'"),
        (box(x=True), "x is 'True'"),
        (box(x=1e300), "x is '1e\\+300'"),
        (box(x=10**400), "no usable number"),
        (box(height=float("inf")), "height is 'inf'"),
        (box(rotation="north"), "rotation is 'north'"),
        (box("comet"), "comet"),
        (box(rectanglelabels=[]), "label"),
        (box(rectanglelabels=["arc", "galaxy"]), "label"),
        (box(rectanglelabels="arc"), "label"),
        (box(rectanglelabels=[["arc"]]), "label"),
        (box() | {"from_name": "elsewhere"}, "no tag 'elsewhere'"),
        (box() | {"type": "ellipselabels"}, "ellipselabels"),
        (box() | {"value": None}, "no value"),
        (box() | {"image_rotation": 90}, "rotated picture"),
        ({"id": "k", "type": "keypointlabels", "from_name": "points", "value": {"x": 1, "y": 2}}, "keypointlabels"),
        ({}, "no tag 'None'"),
        (None, "no tag 'None'"),
        ("text", "no tag 'None'"),
        (painted(rectangle(0, 0, 0, 0)), "no pixel"),
        (painted(rectangle(1, 1, 5, 5), "comet"), "comet"),
        (painted(rectangle(1, 1, 5, 5), original_width=81), "its picture needs"),
        (painted(rectangle(1, 1, 5, 5), original_width="80"), "original_width"),
        (painted(rectangle(1, 1, 5, 5), original_height=None), "original_width"),
        (painted(rectangle(1, 1, 5, 5), original_height=-40, original_width=-80), "no brush masks"),
        (painted(rectangle(1, 1, 5, 5), value={"format": "rle", "brushlabels": ["arc"]}), "0 values"),
        (painted(rectangle(1, 1, 5, 5), value={"format": "png", "brushlabels": ["arc"]}), "'png'"),
        (painted(rectangle(1, 1, 5, 5), value={"format": "rle", "rle": "x", "brushlabels": ["arc"]}), "str"),
        (outline((1, 1), (50, 50)), "fewer than three"),
        (outline((1, 1), (50, 50), (25, 25)), "no pixel"),
        (outline((1, 1), (50, 50), (25, None)), "point is 'None'"),
        (outline((-9, -9), (-5, -9), (-5, 80)), "no pixel"),
    ],
)
def test_what_is_no_object_is_left_out_with_a_note(region: Any, note: str) -> None:
    found = read(region, box("galaxy"))
    assert found.instances.classes == ("galaxy",) and len(found.notes) == 1
    with pytest.raises(AssertionError, match=note):
        raise AssertionError(found.notes[0])


def test_choices_and_texts_are_passed_over() -> None:
    assert CONTROLS.grade is not None
    found = read(choice_region(CONTROLS.grade, "B", 1), {"type": "textarea", "value": {"text": ["x"]}})
    assert found.notes == () and len(found.instances) == 0 and found.instances.shape == (40, 80)
    assert found.drawn.shape == (0,)


def test_an_empty_annotation_has_no_objects() -> None:
    assert len(read().instances) == 0


@pytest.mark.parametrize("degrees", [0, 30, 90, 135, -45, 360])
def test_rotated_boxes_turn_clockwise_about_their_top_left_corner(degrees: float) -> None:
    found = read(box(x=50, y=50, width=20, height=10, rotation=degrees))
    y, x = np.mgrid[:40, :80] + 0.5
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    across, down = (x - 40) * cos + (y - 20) * sin, (y - 20) * cos - (x - 40) * sin
    margin = np.minimum(np.minimum(across, 16 - across), np.minimum(down, 4 - down))
    clear = abs(margin) > 0.75
    assert ((margin > 0) == found.instances.masks[0])[clear].all() and found.drawn.tolist() == [False]
    corners = np.array([[40, 20], [40 + 16 * cos, 20 + 16 * sin], [40 - 4 * sin, 20 + 4 * cos]])
    corners = np.vstack([corners, corners[1] + corners[2] - corners[0]])
    assert np.allclose(found.instances.boxes[0], [*corners.min(axis=0), *corners.max(axis=0)])


def test_a_rotated_box_is_cut_at_the_edge_before_it_is_bounded() -> None:
    found = read(box(x=0, y=-20, width=50, height=50, rotation=45))
    (x0, y0, x1, y1) = found.instances.boxes[0]
    assert x0 == 0 and y0 == 0 and x1 == pytest.approx(40 / 2**0.5)
    assert found.instances.masks[0].sum() == pytest.approx(0.5 * (x1 - x0) * (y1 - y0), rel=0.3)


def test_polygons_are_masks() -> None:
    found = read(outline((10, 10), (60, 10), (60, 35), (10, 35)))
    assert (found.instances.masks[0] == rectangle(8, 4, 48, 14)).all() and found.drawn.tolist() == [True]
    assert found.instances.boxes.tolist() == [[8, 4, 48, 14]]


def test_polygons_are_unknown_where_the_config_has_no_tag_for_them() -> None:
    assert "outlines" in read(outline((10, 10), (60, 10), (60, 35)), controls=CONTROLS).notes[0]


def test_a_mask_belongs_to_the_box_of_its_label_that_overlaps_it_most() -> None:
    mask = rectangle(10, 4, 46, 13)
    mask[6:9, 20:30] = False
    found = read(painted(mask), box("galaxy"), box(x=20, y=12.5), box())
    assert found.instances.classes == ("galaxy", "arc", "arc") and found.drawn.tolist() == [False, False, True]
    assert (found.instances.masks[2] == mask).all() and found.instances.boxes[2].tolist() == [8, 4, 48, 14]


@pytest.mark.parametrize(
    ("mask", "belongs"),
    [
        (rectangle(8, 4, 13, 14), True),
        (rectangle(8, 4, 12, 14), False),
        (rectangle(27, 4, 67, 14), True),
        (rectangle(28, 4, 68, 14), False),
        (rectangle(4, 0, 60, 14), True),
        (rectangle(4, 0, 80, 40), False),
    ],
)
def test_a_mask_mostly_in_a_box_belongs_to_it_unless_it_is_a_tenth_of_it(mask: Any, belongs: bool) -> None:
    found = read(box(), painted(mask))
    assert found.drawn.tolist() == ([True] if belongs else [False, True])
    assert (found.instances.masks[-1] == mask).all()
    assert found.instances.boxes[0].tolist() == [8, 4, 48, 14]


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0]])
def test_a_counter_image_joins_its_arc_and_a_companion_inside_a_galaxy_does_not(order: list[int]) -> None:
    arc, counter = rectangle(8, 4, 32, 14), rectangle(43, 4, 48, 14)
    regions = [box(), painted(arc), painted(counter)]
    found = read(*(regions[i] for i in order))
    assert (found.instances.masks == (arc | counter)).all() and found.drawn.tolist() == [True]
    inside = rectangle(20, 6, 34, 12)
    ring = rectangle(8, 4, 48, 14) & ~inside
    regions = [box(), painted(ring), painted(inside)]
    found = read(*(regions[i] for i in order))
    assert found.drawn.tolist() == [True, True]
    assert (found.instances.masks == np.stack([ring, inside])).all()


def test_masks_of_one_box_are_united() -> None:
    found = read(box(), painted(rectangle(8, 4, 40, 14)), painted(rectangle(20, 4, 48, 14)))
    assert (found.instances.masks == rectangle(8, 4, 48, 14)).all() and found.drawn.tolist() == [True]


def test_a_brush_without_its_size_is_taken_to_be_of_the_picture() -> None:
    region = painted(rectangle(3, 3, 9, 9))
    del region["original_width"], region["original_height"]
    assert (read(region).instances.masks[0] == rectangle(3, 3, 9, 9)).all()


def test_an_annotation_of_a_larger_picture_is_read_at_the_size_asked_for() -> None:
    mask = np.zeros((400, 800), dtype=bool)
    mask[40:140, 80:480] = True
    found = read(box(), painted(mask))
    assert (found.instances.masks == rectangle(8, 4, 48, 14)).all() and found.drawn.tolist() == [True]
    assert found.notes == ("Region m was resampled from 800 x 400 to 80 x 40 pixels.",)


@pytest.mark.parametrize(
    "config",
    [
        "<View>",
        "<View><Image name='i' value='$i'/></View>",
        "<View><Image name='i' value='$i'/><RectangleLabels name='r' toName='i'/></View>",
        "<View><Text name='t' value='$t'/><BrushLabels name='b' toName='t'><Label value='a'/></BrushLabels></View>",
        "<View><Image name='i' value='$i'/>"
        "<PolygonLabels name='p' toName='i'><Label value='a'/></PolygonLabels></View>",
    ],
    ids=["no XML", "no control", "no label", "on a text", "polygons alone"],
)
def test_configs_without_a_usable_control(config: str) -> None:
    with pytest.raises(LabelConfigError) as caught:
        find_object_controls(config)
    assert "<RectangleLabels" in caught.value.hint


def test_only_the_tags_of_one_image_are_taken_and_a_grade_is_not_needed() -> None:
    one = "<BrushLabels name='{0}' toName='{1}'><Label value='a'/><Label/></BrushLabels>"
    images = "<Image name='i' value='$i'/><Image name='j' value='$j'/>"
    points = "<KeyPointLabels name='k' toName='i'><Label value='a'/></KeyPointLabels>"
    controls = find_object_controls(f"<View>{images}{points}{one.format('x', 'i')}{one.format('y', 'j')}</View>")
    assert controls == ObjectControls((LabelsControl("brushlabels", "x", "i", ("a",)),), None)


def test_a_mask_left_behind_by_its_box_is_no_object_of_its_own() -> None:
    masks = np.zeros((1, 40, 40), dtype=bool)
    masks[0, 5:15, 5:15] = True
    result = object_result(CONTROLS, Instances.of_masks(("arc",), masks), width=40, height=40)
    box, mask = result
    box["value"] |= {"x": 60.0, "y": 60.0}
    found = read_objects(result, CONTROLS, width=40, height=40)
    assert found.instances.classes == ("arc",) and not found.drawn.any()
    np.testing.assert_allclose(found.instances.boxes, [[24, 24, 34, 34]])
    assert found.notes == (f"Region {mask['id']} was left out: its box lies elsewhere.",)
    mask["id"] = "drawn by hand"
    assert len(read_objects(result, CONTROLS, width=40, height=40).instances) == 2
