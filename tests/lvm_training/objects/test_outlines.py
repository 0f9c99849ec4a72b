"""Boxes and polygons on a picture against naive twins."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lvm_training.objects.instances import Floats, InstanceError, Masks
from lvm_training.objects.outlines import clip_box, clip_outline, fill_box, fill_outline

SHAPE = (24, 30)
COORDINATE = st.integers(-40 * 64, 70 * 64).map(lambda number: number / 64)
POINT = st.tuples(COORDINATE, COORDINATE)


def even_odd(points: Floats) -> tuple[Masks, Floats]:
    """Naive twin of `fill_outline`: centres inside by ray casting, and each centre's distance from the outline."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]] + 0.5
    inside, distance = np.zeros(SHAPE, dtype=bool), np.full(SHAPE, np.inf)
    for (ax, ay), (bx, by) in zip(points, np.roll(points, -1, axis=0), strict=True):
        if ay != by:
            inside ^= ((ay > y) != (by > y)) & (x < (bx - ax) * (y - ay) / (by - ay) + ax)
        span = max((bx - ax) ** 2 + (by - ay) ** 2, 1e-12)
        along = np.clip(((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / span, 0, 1)
        distance = np.minimum(distance, np.hypot(x - ax - along * (bx - ax), y - ay - along * (by - ay)))
    return inside, distance


@given(st.lists(POINT, min_size=3, max_size=3))
def test_a_filled_triangle_has_the_pixels_inside(corners: list[tuple[float, float]]) -> None:
    points = np.array(corners)
    inside, distance = even_odd(points)
    clear = distance > 0.75
    assert (fill_outline(points, SHAPE) == inside)[clear].all()


@given(st.lists(POINT, min_size=3, max_size=8))
def test_clipping_keeps_what_is_on_the_picture(corners: list[tuple[float, float]]) -> None:
    points = np.array(corners)
    clipped = clip_outline(points, SHAPE)
    assert (clipped > -1e-6).all() and (clipped < np.array(SHAPE[::-1]) + 1e-6).all()
    before, distance = even_odd(points)
    clear = distance > 1e-6
    after = even_odd(clipped)[0] if len(clipped) else np.zeros(SHAPE, dtype=bool)
    assert (before == after)[clear].all()


def test_a_rectangle_between_pixels_is_filled_exactly() -> None:
    filled = fill_outline(np.array([[3.0, 2], [9, 2], [9, 7], [3, 7]]), SHAPE)
    assert filled[2:7, 3:9].all() and filled.sum() == 30


@pytest.mark.parametrize(
    "points",
    [
        np.zeros((0, 2)),
        np.array([[1.0, 1]]),
        np.array([[1.0, 1], [20, 20]]),
        np.array([[5.0, 5], [5, 5], [5, 5]]),
        np.array([[1.0, 1], [20, 20], [10, 10]]),
        np.array([[-9.0, -9], [-5, -9], [-5, 30]]),
        np.array([[1e300, 1], [1e300, 5], [1e301, 5]]),
    ],
    ids=["nothing", "a point", "two points", "one place", "a line", "beyond the edge", "far away"],
)
def test_outlines_that_enclose_nothing(points: Floats) -> None:
    filled = fill_outline(points, SHAPE)
    assert filled.shape == SHAPE and not filled.any()


def test_a_polygon_around_everything_fills_the_picture() -> None:
    assert fill_outline(np.array([[-1e308, -1e308], [1e308, -1e308], [1e308, 1e308], [-1e308, 1e308]]), SHAPE).all()


def test_an_endless_outline_is_refused() -> None:
    zigzag = np.array([[x, 5000 * (i % 2)] for i, x in enumerate(np.linspace(0, 5000, 1000))])
    with pytest.raises(InstanceError, match="pixels long"):
        fill_outline(zigzag, (5000, 5000))


def test_boxes_are_clipped_and_filled_by_their_pixels_centres() -> None:
    assert clip_box(np.array([-3.0, 2, 99, 99]), SHAPE).tolist() == [0, 2, 30, 24]
    filled = fill_box(np.array([1.4, 2.6, 4.4, 5.6]), SHAPE)
    assert np.argwhere(filled)[[0, -1]].tolist() == [[3, 1], [5, 3]] and filled.sum() == 9


@given(st.tuples(COORDINATE, COORDINATE), st.integers(1, 640), st.integers(1, 640))
def test_a_filled_box_has_the_pixels_whose_centres_it_holds(corner: tuple[float, float], wide: int, high: int) -> None:
    box = clip_box(np.array([*corner, corner[0] + wide / 64, corner[1] + high / 64]), SHAPE)
    assume((box[2:] > box[:2]).all())
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]] + 0.5
    across, down = (x >= box[0]) & (x < box[2]), (y >= box[1]) & (y < box[3])
    across = across if across.any() else np.floor(box[0]) == x - 0.5
    down = down if down.any() else np.floor(box[1]) == y - 0.5
    assert (fill_box(box, SHAPE) == (across & down)).all()
