"""Boxes that a model draws on a picture, as "Why is this here?" draws them over it."""

from collections.abc import Sequence
from html import escape

from pydantic import BaseModel

from backend_ml.label_studio.regions.choices import Region, parsed_config
from backend_ml.label_studio.regions.objects import RECTANGLE

SIDE = 360  # of the drawing, in the units of its letters
LETTERS = 15  # height of a line
PLAIN = "#ffffff"  # where the label config gives a label no colour


class Box(BaseModel):
    """A box that the model draws: per cent of the picture from its top left corner, and the model's score, 0 to 1."""

    label: str
    score: float
    x: float
    y: float
    width: float
    height: float
    colour: str

    @property
    def words(self) -> str:
        """Its label and score."""
        return f"{self.label} {self.score:.2f}"


def drawn_boxes(result: Sequence[Region], label_config: str) -> list[Box]:
    """The boxes among a model's regions, the best last, in the colours that they have in Label Studio."""
    root = parsed_config(label_config, "Mend the project's label config.")
    colours = {one.get("value"): one.get("background") for one in root.iter("Label")}
    boxes = []
    for region in result:
        if region["type"] != RECTANGLE:
            continue
        value = region["value"]
        label = str(value[RECTANGLE][0])
        place = {name: float(value[name]) for name in ("x", "y", "width", "height")}
        boxes.append(Box(label=label, score=region.get("score", 0), colour=colours.get(label) or PLAIN, **place))
    return sorted(boxes, key=lambda box: box.score)


def box_drawing(boxes: Sequence[Box]) -> str:
    """The boxes with labels and scores, as SVG to lie over a square picture; "" where there are none."""
    if not boxes:
        return ""
    words = escape("Boxes of the model: " + ", ".join(box.words for box in reversed(boxes)))
    drawn = "".join(map(_drawn, boxes))
    return f'<svg class="boxes" viewBox="0 0 {SIDE} {SIDE}" role="img" aria-label="{words}">{drawn}</svg>'


def _drawn(box: Box) -> str:
    x, y, width, height = (SIDE * share / 100 for share in (box.x, box.y, box.width, box.height))
    colour, words = escape(box.colour), escape(box.words)
    # above the box where there is room, and towards the middle of the picture
    line = y - 4 if y >= LETTERS + 2 else y + LETTERS
    left = x + width / 2 < SIDE / 2
    start, anchor = (max(x, 2) + 1, "start") if left else (min(x + width, SIDE - 2) - 1, "end")
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" stroke="{colour}"/>'
        f'<text x="{start:.1f}" y="{line:.1f}" text-anchor="{anchor}" fill="{colour}">{words}</text>'
    )
