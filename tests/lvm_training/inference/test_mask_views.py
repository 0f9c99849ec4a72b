"""Masks of several views against sets of pixels: turned back properly, matched, compared."""

from itertools import product

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from lvm_training.inference.mask_views import mask_disagreement, seen_in_views, turned_back, view_disagreement
from lvm_training.objects.instances import Instances
from lvm_training.params import ParamsError
from lvm_training.stamps.symmetries import SYMMETRIES, symmetry

SIDE = 12
Mask = NDArray[np.bool_]


def naive_overlap(first: Mask, second: Mask) -> float:
    """Sets of pixels."""
    a, b = ({(int(y), int(x)) for y, x in np.argwhere(mask)} for mask in (first, second))
    return len(a & b) / len(a | b) if a | b else 1.0


def naive_disagreement(masks: NDArray[np.bool_]) -> float:
    overlaps = [naive_overlap(masks[i], masks[j]) for i, j in product(range(len(masks)), repeat=2) if i < j]
    return 1 - sum(overlaps) / len(overlaps)


def area(rows: slice, columns: slice) -> Mask:
    mask = np.zeros((SIDE, SIDE), dtype=bool)
    mask[rows, columns] = True
    return mask


def hook() -> Mask:
    """A shape that none of the symmetries but the identity leaves as it is."""
    return area(slice(2, 8), slice(1, 3)) | area(slice(6, 8), slice(3, 7))


def found(*objects: tuple[str, float, Mask]) -> Instances:
    if not objects:
        return Instances.empty((SIDE, SIDE))
    names, scores, masks = zip(*objects, strict=True)
    return Instances(names, Instances.of_masks(names, np.stack(masks)).boxes, np.stack(masks), np.array(scores))


def bright(pictures: torch.Tensor) -> list[Instances]:
    """Finds what is bright however it is turned."""
    return [found(("arc", 0.75, picture[0].numpy() > 0.5)) for picture in pictures]


def bright_above(pictures: torch.Tensor) -> list[Instances]:
    """Finds what is bright in the upper half of a picture alone, and nothing where that is dark."""
    masks = [picture[0].numpy() > 0.5 for picture in pictures]
    for mask in masks:
        mask[SIDE // 2 :] = False
    return [found(*[("arc", 0.75, mask)] * bool(mask.any())) for mask in masks]


def picture(mask: Mask) -> torch.Tensor:
    return torch.from_numpy(mask).float().expand(1, 3, SIDE, SIDE)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_disagreement_agrees_with_sets_of_pixels(count: int) -> None:
    masks = np.random.default_rng(count).random((count, 6, 7)) < 0.4
    assert mask_disagreement(masks) == pytest.approx(naive_disagreement(masks))


def test_disagreement_of_equal_apart_empty_and_single_masks() -> None:
    left, right = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    left[:, :2], right[:, 2:] = True, True
    assert mask_disagreement(np.stack([left, left])) == 0.0
    assert mask_disagreement(np.stack([left, right])) == 1.0
    assert mask_disagreement(np.zeros((3, 4, 4), bool)) == 0.0
    assert mask_disagreement(left[None]) == 0.0
    assert mask_disagreement(np.zeros((0, 4, 4), bool)) == 0.0


@pytest.mark.parametrize("kind", range(SYMMETRIES))
def test_what_is_found_on_a_view_lies_where_it_is(kind: int) -> None:
    assert kind == 0 or not torch.equal(symmetry(picture(hook()), kind), picture(hook()))
    (seen,) = bright(symmetry(picture(hook()), kind))
    back = turned_back(seen, kind)
    assert (back.masks == hook()).all() and back.boxes.tolist() == [[1, 2, 7, 8]]
    assert back.classes == ("arc",) and back.scores.tolist() == [0.75]
    assert len(turned_back(Instances.empty((SIDE, SIDE)), kind)) == 0


@pytest.mark.parametrize("count", [1, 2, 4, 8])
def test_a_detector_that_sees_all_views_alike_agrees_with_itself(count: int) -> None:
    (views,) = seen_in_views(bright, picture(hook()), count)
    assert len(views) == count and all((one.masks == hook()).all() for one in views)
    assert view_disagreement(views, "arc") == 0.0


def test_a_detector_that_prefers_a_side_does_not() -> None:
    pictures = torch.cat([picture(hook()), picture(area(slice(1, 4), slice(2, 5))), picture(area(slice(0), slice(0)))])
    halves = [np.rot90(area(slice(0, SIDE // 2), slice(0, SIDE)), -kind) for kind in range(4)]
    seen = seen_in_views(bright_above, pictures, 4)
    for shown, views in zip(pictures, seen, strict=True):
        expected = np.stack([(shown[0].numpy() > 0.5) & half for half in halves])
        masks = [one.masks.any(axis=0) for one in views]
        assert (np.stack(masks) == expected).all()
        # all score alike, so the first arc is compared, with what overlaps it
        first = next((mask for mask in expected if mask.any()), expected[0])
        same = np.stack([mask & (naive_overlap(mask, first) > 0) for mask in expected])
        assert view_disagreement(views, "arc") == pytest.approx(naive_disagreement(same))
    assert view_disagreement(seen[0], "arc") > 0.3 and view_disagreement(seen[2], "arc") == 0.0


def test_a_view_that_finds_none_disagrees() -> None:
    arc = ("arc", 0.9, hook())
    assert view_disagreement([found(arc), found()], "arc") == 1.0
    assert view_disagreement([found(), found(arc)], "arc") == 1.0
    assert view_disagreement([found(arc), found(arc), found()], "arc") == pytest.approx(2 / 3)
    assert view_disagreement([found(), found()], "arc") == 0.0
    assert view_disagreement([found(arc)], "arc") == 0.0


def test_other_classes_do_not_count() -> None:
    first, second = found(("arc", 0.9, hook()), ("galaxy", 1.0, hook())), found(("arc", 0.9, hook()))
    assert view_disagreement([first, second], "arc") == 0.0
    assert view_disagreement([first, second], "galaxy") == 1.0
    assert view_disagreement([first, second], "deflector") == 0.0


def test_of_two_arcs_the_best_is_compared_with_itself() -> None:
    one, wider, other = hook(), hook() | area(slice(8, 9), slice(1, 7)), area(slice(9, 11), slice(8, 11))
    views = [found(("arc", 0.8, one), ("arc", 0.7, other)), found(("arc", 0.75, other), ("arc", 0.6, wider))]
    expected = 1 - naive_overlap(one, wider)
    assert view_disagreement(views, "arc") == view_disagreement(views[::-1], "arc") == pytest.approx(expected)
    alone = [views[0], found(("arc", 0.75, other))]
    assert view_disagreement(alone, "arc") == 1.0, "the other arc is not this one"


@pytest.mark.parametrize("count", [0, 9, -1])
def test_a_picture_has_eight_views(count: int) -> None:
    with pytest.raises(ParamsError, match=f"1 to 8 views, not {count}"):
        seen_in_views(bright, picture(hook()), count)
