"""Objects on a picture: their checks, boxes of masks, overlaps of boxes."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lvm_training.objects.instances import InstanceError, Instances, bounding_boxes, box_overlaps


def two() -> dict[str, Any]:
    masks = np.zeros((2, 6, 8), dtype=bool)
    masks[0, 1:3, 2:5] = masks[1, 5, 7] = True
    boxes = np.array([[2, 1, 5, 3], [7, 5, 8, 6]], dtype=float)
    return {"classes": ("a", "b"), "boxes": boxes, "masks": masks, "scores": np.array([0.5, 1])}


def test_rows_and_shape() -> None:
    whole = Instances(**two())
    assert (len(whole), whole.shape) == (2, (6, 8))
    second = whole.rows(np.array([False, True]))
    assert second.classes == ("b",) and second.boxes.tolist() == [[7, 5, 8, 6]] and second.scores.tolist() == [1]
    assert whole.rows(np.array([1, 0])).classes == ("b", "a")
    none = Instances.empty((6, 8))
    assert (len(none), none.shape) == (0, (6, 8))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"boxes": np.zeros((1, 4))}, "boxes"),
        ({"scores": np.ones(3)}, "scores"),
        ({"masks": np.ones((1, 6, 8), dtype=bool)}, "masks"),
        ({"boxes": np.array([[2, 1, 5, np.nan], [7, 5, 8, 6]])}, "not finite"),
        ({"scores": np.array([np.inf, 1])}, "not finite"),
        ({"boxes": np.array([[2, 1, 2, 3], [7, 5, 8, 6]], dtype=float)}, "no area"),
        ({"masks": np.zeros((2, 6, 8), dtype=bool)}, "no pixel"),
    ],
)
def test_what_is_no_object_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InstanceError, match=message):
        Instances(**two() | changes)


@given(arrays(bool, st.tuples(st.integers(1, 3), st.integers(1, 7), st.integers(1, 7))))
def test_bounding_boxes_pixel_by_pixel(masks: np.ndarray[Any, np.dtype[np.bool_]]) -> None:
    for box, mask in zip(bounding_boxes(masks), masks, strict=True):
        pixels = [(x, y) for y, row in enumerate(mask) for x, here in enumerate(row) if here]
        if not pixels:
            assert box.tolist() == [0, 0, 0, 0]
            continue
        columns, rows = zip(*pixels, strict=True)
        assert box.tolist() == [min(columns), min(rows), max(columns) + 1, max(rows) + 1]


boxes_of_pixels = st.lists(
    st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=4
)


@given(boxes_of_pixels, boxes_of_pixels)
def test_overlaps_by_counting_pixels(first: list[tuple[int, ...]], second: list[tuple[int, ...]]) -> None:
    def filled(x: int, y: int, width: int, height: int) -> set[tuple[int, int]]:
        return {(i, j) for i in range(x, x + width) for j in range(y, y + height)}

    ours = box_overlaps(*(np.array([[x, y, x + w, y + h] for x, y, w, h in part], float) for part in (first, second)))
    counted = [[len(filled(*a) & filled(*b)) / len(filled(*a) | filled(*b)) for b in second] for a in first]
    np.testing.assert_allclose(ours, counted)


def test_another_grid_by_the_nearest_pixel() -> None:
    masks = np.zeros((2, 8, 8), dtype=bool)
    masks[0, 2:6, 1:4] = True
    masks[1, 0, 0] = True
    objects = Instances(("arc", "galaxy"), bounding_boxes(masks), masks, np.array([0.7, 0.4]))
    assert objects.on_grid(8) is objects
    large = objects.on_grid(24)
    for y in range(24):
        for x in range(24):
            assert (large.masks[:, y, x] == masks[:, y // 3, x // 3]).all()
    np.testing.assert_array_equal(large.boxes, 3 * objects.boxes)
    small = objects.on_grid(4)
    # pixels 1, 3, 5 and 7 are the nearest to the centres, and the one of the galaxy is none of them
    assert small.classes == ("arc",) and small.scores == [0.7]
    np.testing.assert_array_equal(small.masks[0], masks[0, 1::2, 1::2])
    assert len(Instances.empty((8, 8)).on_grid(4)) == 0
