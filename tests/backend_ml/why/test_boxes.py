"""Boxes over the picture of "Why is this here?": where they and their words are drawn, and what is no box."""

from xml.etree import ElementTree

import pytest

from backend_ml.label_studio.regions.choices import Region
from backend_ml.why.boxes import SIDE, box_drawing, drawn_boxes

CONFIG = """<View><Image name="i" value="$image"/><RectangleLabels name="b" toName="i"><Label value="arc &lt;1&gt;"
background="#f0f"/><Label value="plain"/></RectangleLabels></View>"""


def region(label: str, x: float, y: float, width: float, height: float, score: float) -> Region:
    value = {"x": x, "y": y, "width": width, "height": height, "rotation": 0, "rectanglelabels": [label]}
    return {"type": "rectanglelabels", "from_name": "b", "to_name": "i", "value": value, "score": score}


def test_the_best_is_drawn_last_in_its_colour_and_masks_are_none() -> None:
    mask = {"type": "brushlabels", "value": {"rle": [], "format": "rle", "brushlabels": ["plain"]}, "score": 0.9}
    boxes = drawn_boxes([region("arc <1>", 10, 20, 30, 40, 0.9), mask, region("plain", 0, 0, 5, 5, 0.6)], CONFIG)
    assert [(box.words, box.colour) for box in boxes] == [("plain 0.60", "#ffffff"), ("arc <1> 0.90", "#f0f")]
    drawn = ElementTree.fromstring(box_drawing(boxes))
    assert drawn.attrib["aria-label"] == "Boxes of the model: arc <1> 0.90, plain 0.60"
    best = list(drawn.iter("rect"))[-1].attrib
    assert [float(best[name]) / SIDE for name in ("x", "y", "width", "height")] == [0.1, 0.2, 0.3, 0.4]
    assert box_drawing([]) == ""


@pytest.mark.parametrize(
    "place", [(0, 0, 100, 100), (0, 0, 3, 3), (97, 0, 3, 3), (97, 97, 3, 3), (0, 97, 3, 3), (40, 3, 30, 5)]
)
def test_words_stay_within_the_picture(place: tuple[float, float, float, float]) -> None:
    drawn = ElementTree.fromstring(box_drawing(drawn_boxes([region("plain", *place, 0.5)], CONFIG)))
    (text,) = drawn.iter("text")
    x, y = float(text.attrib["x"]), float(text.attrib["y"])
    assert 12 <= y <= SIDE - 3
    # an ending at the right edge grows to the left, a beginning at the left edge to the right
    assert (x <= SIDE / 2) == (text.attrib["text-anchor"] == "start") and 2 <= x <= SIDE - 2
