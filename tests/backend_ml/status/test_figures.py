"""Plots as a browser reads them: every mark where its number belongs, and nothing that breaks the page."""

import math
import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from backend_ml.report.agreement import Share
from backend_ml.report.report import Judged
from backend_ml.status.figures import BOTTOM, LEFT, RIGHT, TOP, hours_chart, learning_curve, share_chart
from backend_ml.status.html import Html, button, card, hidden_field, link, listed, progress, table, terms, text

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)


def judged(name: str, labels: int, right: int, n: int, *, served: bool = True) -> Judged:
    share = Share(right, n)
    return Judged(name, None, labels, share, False, False, NOW, [(NOW, "refit")] if served else [], {})


def read(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)


def numbers(text: str) -> list[float]:
    return [float(one) for one in re.findall(r"-?[0-9.]+", text)]


def value(y: float, least: float) -> float:
    """The share that a height means."""
    return least + (BOTTOM - y) / (BOTTOM - TOP) * (1 - least)


def test_each_version_stands_at_its_labels_and_its_accuracy() -> None:
    versions = [
        judged("first", 20, 30, 60),
        judged("held <back>", 30, 20, 60, served=False),
        judged("not judged", 35, 0, 0),
        judged("last", 80, 55, 60),
    ]
    root = read(learning_curve(versions))
    points = root.findall("g")
    least = math.floor(10 * Share(20, 60).interval[0]) / 10
    assert [point.get("class") for point in points] == ["point", "point hollow", "point"]
    for point, one in zip(points, [versions[0], versions[1], versions[3]], strict=True):
        title, path, circle = point
        assert title.text is not None and title.text.startswith(f"{one.version}, {one.labels} labels: ")
        assert float(circle.get("cx", "")) == pytest.approx(LEFT + one.labels / 80 * (RIGHT - LEFT), abs=0.06)
        assert value(float(circle.get("cy", "")), least) == pytest.approx(one.audit.value, abs=0.001)
        _, low, high = numbers(path.get("d", ""))
        assert (value(low, least), value(high, least)) == pytest.approx(one.audit.interval, abs=0.001)
        assert TOP <= high < low <= BOTTOM
    (course,) = root.findall("polyline")
    marks = [(float(p[2].get("cx", "")), float(p[2].get("cy", ""))) for p in points]
    assert numbers(course.get("points", "")) == [*marks[0], *marks[2]], "the line joins those that served"
    levels = [one.text for one in root.findall("text") if (one.text or "").endswith("%")]
    assert levels[0] == f"{100 * least:.0f} %" and levels[-1] == "100 %"
    assert [one.text for one in root.findall("text") if one.get("text-anchor") == "end"][-1] == "80"
    assert "35 labels" not in root.get("aria-label", "") and "80 labels" in root.get("aria-label", "")


def test_without_a_judged_version_there_is_no_curve_and_one_of_no_labels_stands_at_zero() -> None:
    assert learning_curve([]) == learning_curve([judged("cold", 0, 0, 0)]) == ""
    (point,) = read(learning_curve([judged("zero", 0, 3, 5)])).findall("g")
    assert float(point[2].get("cx", "")) == LEFT


def test_a_scale_holds_the_worst_interval_and_all_that_is_right() -> None:
    root = read(learning_curve([judged("worst", 5, 0, 3), judged("best", 9, 400, 400)]))
    for point in root.findall("g"):
        for y in numbers(point[1].get("d", ""))[1:]:
            assert TOP <= y <= BOTTOM


@pytest.mark.parametrize("ends", [(0.0, 1.0), (14.0, 20.0), (-2.0, 2.0)])
def test_shares_stand_along_the_ends_that_were_given(ends: tuple[float, float]) -> None:
    middle = sum(ends) / 2
    points = [(ends[0], Share(0, 9)), (middle, Share(5, 10)), (ends[1], Share(8, 8))]
    root = read(share_chart(points, "magnitude", "right: ", ends=ends, diagonal=True))
    places = [float(one[2].get("cx", "")) for one in root.findall("g")]
    assert places == pytest.approx([LEFT, (LEFT + RIGHT) / 2, RIGHT], abs=0.06)
    assert [float(one[2].get("cy", "")) for one in root.findall("g")] == [BOTTOM, (BOTTOM + TOP) / 2, TOP]
    ticks = [one.text for one in root.findall("text") if one.get("text-anchor") == "middle"][:5]
    assert [float(tick or "") for tick in ticks] == pytest.approx(
        [ends[0] + i * (ends[1] - ends[0]) / 4 for i in range(5)]
    )
    course = next(one for one in root.findall("path") if one.get("class") == "course")
    assert numbers(course.get("d", "")) == [LEFT, BOTTOM, RIGHT, TOP]
    plain = read(share_chart(points, "magnitude", "right: ", ends=ends))
    assert not [one for one in plain.findall("path") if one.get("class") == "course"]
    assert share_chart([], "magnitude", "right: ", ends=ends) == ""


def test_bars_are_as_high_as_their_hours_had_labels() -> None:
    counts = [(NOW + timedelta(hours=hour), n) for hour, n in enumerate([0, 4, 1, 0, 2])]
    root = read(hours_chart(counts))
    bars = root.findall("g/rect")
    step = (RIGHT - LEFT) / 5
    assert len(bars) == 3, "an hour without labels has no bar"
    for bar, (place, n) in zip(bars, [(1, 4), (2, 1), (4, 2)], strict=True):
        x, y, width, height = (float(bar.get(name, "")) for name in ("x", "y", "width", "height"))
        assert x == pytest.approx(LEFT + place * step + 0.5, abs=0.06) and width == pytest.approx(step - 1, abs=0.06)
        assert height == pytest.approx(n / 4 * (BOTTOM - TOP), abs=0.06)
        assert y + height == pytest.approx(BOTTOM, abs=0.11)
    assert bars[1][0].text == "03-04 14 h: 1 label"
    assert "7 in all, at most 4 in one" in root.get("aria-label", "")
    assert hours_chart([]) == ""


NASTY = """<script>alert("x")</script> & 'y'"""


class Seen(HTMLParser):
    """What a browser makes of a piece of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.texts += [value or "" for _, value in attrs]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_what_people_write_is_text_wherever_it_stands() -> None:
    pieces = [
        table([NASTY, "n"], [[NASTY, 3], [Html("<b>3</b>"), None]]),
        card(NASTY, NASTY, name=NASTY),
        link(NASTY, f"/a?b={NASTY}", outside=True),
        button(NASTY, f"/a?b={NASTY}", hidden_field(NASTY, NASTY)),
        listed([NASTY, 4]),
        terms([(NASTY, NASTY)]),
        progress(3, 0, NASTY),
    ]
    for piece in pieces:
        assert "<script>" not in piece and "&lt;script&gt;" in piece
        seen = Seen()
        seen.feed(piece)
        assert any(NASTY in one for one in seen.texts) and "script" not in seen.tags
    assert text(Html("<b>")) == "<b>" and text("<b>") == "&lt;b&gt;"
    assert listed([]) == "" and 'max="1"' in pieces[-1]


def test_a_row_of_another_length_than_its_head_is_an_error() -> None:
    with pytest.raises(ValueError, match="argument 2"):
        table(["a", "b"], [[1]])
