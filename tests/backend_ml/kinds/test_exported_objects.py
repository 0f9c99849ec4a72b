"""Objects on the picture that people see become objects in the pixels of their own files."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from backend_ml.kinds.exported_objects import object_document, on_stamp
from backend_ml.label_studio.regions.objects import ReadObjects, find_object_controls, object_result, read_objects
from lvm_training.importing.importer import import_stamps
from lvm_training.objects.coco import read_coco
from lvm_training.objects.instances import Instances
from lvm_training.stamps.render import Frame, frame
from lvm_training.stamps.rendering import Rendering
from lvm_training.stamps.stampset import Origin
from tests.backend_ml.lenses import LENSES, OBJECTS, SHOWN


def placed_naively(read: ReadObjects, cut: Frame, width: int) -> np.ndarray:
    """Masks on the stamp, pixel by pixel."""
    whole = np.zeros((len(read.instances), cut.height, width), dtype=bool)
    for number, row, column in zip(*np.nonzero(read.instances.masks), strict=True):
        x, y = cut.to_stamp(column + 0.5, row + 0.5)
        if 0 <= y < cut.height and 0 <= x < width:
            whole[number, int(y), int(x)] = True
    return whole


@pytest.mark.parametrize("origin", ["upper", "lower"])
@pytest.mark.parametrize(("shape", "field"), [((20, 30), 12.0), ((30, 20), 25.0), ((20, 20), 20.0), ((12, 25), 40.0)])
def test_objects_lie_on_the_stamp_where_they_were_drawn(origin: Origin, shape: tuple[int, int], field: float) -> None:
    cut = frame(shape, Rendering(size=64, field=field), pixel_scale=1.0, origin=origin)
    cut = replace(cut, size=cut.crop)
    masks = np.zeros((2, cut.crop, cut.crop), dtype=bool)
    masks[0, cut.crop // 3 : cut.crop // 2 + 1, 1 : cut.crop // 2] = True
    masks[1, 2:9, cut.crop // 2 :] = True
    read = ReadObjects(Instances.of_masks(("arc", "galaxy"), masks), np.array([True, False]), ("a note",))
    found, naive = on_stamp(read, cut, shape[1]), placed_naively(read, cut, shape[1])
    there = naive.any(axis=(1, 2))
    assert found.notes == ("a note",) and found.drawn.tolist() == read.drawn[there].tolist()
    np.testing.assert_array_equal(found.instances.masks, naive[there])
    np.testing.assert_array_equal(found.instances.boxes, Instances.of_masks(("x",) * there.sum(), naive[there]).boxes)


@pytest.mark.parametrize(("reach", "left"), [(0.4, True), (0.5, True), (0.6, True), (0.0, False), (-1.0, False)])
@pytest.mark.parametrize("flipped", [True, False])
def test_a_box_that_reaches_into_the_stamp_a_little_is_kept(reach: float, left: bool, flipped: bool) -> None:
    cut = Frame(size=60, crop=60, left=-20, top=-20, height=20, flipped=flipped)
    box, mask = np.array([[10.0, 25.0, 20.0 + reach, 35.0]]), np.zeros((1, 60, 60), dtype=bool)
    mask[0, 25:35, 10:20] = True
    read = ReadObjects(Instances(("arc",), box, mask, np.ones(1)), np.array([True]), ())
    found = on_stamp(read, cut, 20)
    assert len(found.instances) == left and found.drawn.tolist() == [False] * left, "what was drawn lies beside it"
    if left:
        np.testing.assert_allclose(found.instances.boxes[0, [0, 2]], [0, reach])
        assert found.instances.masks[0].sum(axis=0).tolist() == [10, *[0] * 19]


def test_coordinates_are_those_of_the_pictures_that_were_imported(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    pixels = np.zeros((60, 60, 3), dtype=np.uint8)
    pixels[12:24, 30:50] = 255
    Image.fromarray(pixels).save(folder / "J0051.png")
    import_stamps(folder, tmp_path / "sky.h5")
    controls = find_object_controls(LENSES)
    arc = Instances.of_masks(("arc",), (pixels[None, :, :, 0] > 0))
    regions = object_result(controls, arc, width=SHOWN[0], height=SHOWN[1])
    box_alone = [{**regions[0], "id": "drawn", "value": {**regions[0]["value"], "y": 60.0}}]

    def read(side: int) -> ReadObjects:
        return read_objects([*regions, *box_alone], controls, width=side, height=side, shown=SHOWN)

    sets, rendering = {"sky": tmp_path / "sky.h5"}, Rendering(size=32)
    document = object_document([(("sky", 0), read)], OBJECTS, sets, rendering)
    (image,) = document["images"]
    assert (image["width"], image["height"], image["file_name"]) == (60, 60, "sky/0")
    masked, boxed = document["annotations"]
    np.testing.assert_allclose(masked["bbox"], [30, 12, 20, 12])
    assert masked["area"] == 240 and masked["segmentation"]
    np.testing.assert_allclose(boxed["bbox"], [30, 36, 20, 12])
    assert boxed["segmentation"] == [] and boxed["area"] == pytest.approx(240)
    (picture,), notes = read_coco(document, OBJECTS)
    assert not notes and picture.drawn.tolist() == [True, False]
    np.testing.assert_array_equal(picture.instances.masks[0], arc.masks[0])


def test_nothing_drawn_is_an_image_without_objects(tmp_path: Path) -> None:
    cut = frame((20, 30), Rendering(size=64, field=12.0), pixel_scale=1.0, origin="lower")
    nothing = ReadObjects(Instances.empty((cut.crop, cut.crop)), np.zeros(0, dtype=bool), ())
    assert len(on_stamp(nothing, cut, 30).instances) == 0
    assert object_document([], OBJECTS, {}, Rendering()) == {
        "images": [],
        "annotations": [],
        "categories": [{"id": i, "name": name, "supercategory": "object"} for i, name in enumerate(OBJECTS, 1)],
    }
