"""Objects on wide images: each is found once and where it is, whichever tiles show it."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import label

from lvm_training.errors import RenderingError
from lvm_training.objects.instances import Instances
from lvm_training.objects.wide_field import WideObject, detect_everywhere, merged
from lvm_training.stamps.rendering import Rendering

RENDERING = Rendering(size=32, field=16.0)
SCALE = 0.5  # arcsec: a tile is 32 pixels, as many as its picture


def bright_parts(pictures: torch.Tensor) -> list[Instances]:
    """A detector that finds what is bright: connected parts, their mean brightness as score."""
    found = []
    for picture in pictures.mean(1).numpy():
        parts, count = label(picture > 0.25)
        masks = np.array([parts == number for number in range(1, count + 1)], dtype=bool).reshape(-1, *picture.shape)
        one = Instances.of_masks(["galaxy"] * count, masks)
        scores = np.array([picture[mask].mean() for mask in masks])
        found.append(Instances(one.classes, one.boxes, one.masks, scores))
    return found


def discs(centres: list[tuple[float, float]], radius: float, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """White discs at (column, row) on an empty uint8 image (3, H, W)."""
    rows, columns = np.indices(shape) + 0.5
    image = np.zeros((3, *shape), np.uint8)
    for x, y in centres:
        image[:, np.hypot(columns - x, rows - y) < radius] = 255
    return image


@pytest.mark.parametrize("origin", ["lower", "upper"])
def test_each_disc_is_found_once_where_it_is(origin: str) -> None:
    centres = [(10.0, 12.0), (31.0, 40.0), (48.0, 16.0), (70.0, 33.0), (90.0, 75.0), (16.0, 64.0), (55.0, 58.0)]
    image = discs(centres, 5, (83, 101))
    calls: list[tuple[int, int]] = []
    found = detect_everywhere(
        image,
        bright_parts,
        RENDERING,
        kind="as-delivered",
        pixel_scale=SCALE,
        origin=origin,  # type: ignore[arg-type]
        progress=lambda done, total: calls.append((done, total)),
    )
    middles = sorted(((one.box[0] + one.box[2]) / 2, (one.box[1] + one.box[3]) / 2) for one in found)
    np.testing.assert_allclose(middles, sorted(centres), atol=0.51)
    for one in found:
        assert one.mask.shape == (round(one.box[3] - one.box[1]), round(one.box[2] - one.box[0]))
        assert one.mask.mean() > 0.7
    assert calls[-1][0] == calls[-1][1] >= 20


def test_an_image_smaller_than_a_tile_and_one_that_is_empty() -> None:
    found = detect_everywhere(
        discs([(9, 7)], 4, (14, 18)), bright_parts, RENDERING, kind="as-delivered", pixel_scale=SCALE
    )
    (one,) = found
    np.testing.assert_allclose(one.box, [5, 3, 13, 11], atol=0.51)
    empty = np.full((3, 40, 90), np.nan, np.float32)
    assert detect_everywhere(empty, bright_parts, RENDERING, kind="nanomaggies", pixel_scale=SCALE) == []


def test_tiles_are_resampled_to_the_models_grid() -> None:
    """Pixels half as large: tiles of 64 pixels, and boxes still in the image's own pixels."""
    found = detect_everywhere(
        discs([(50, 90)], 9, (150, 130)), bright_parts, RENDERING, kind="as-delivered", pixel_scale=SCALE / 2
    )
    (one,) = found
    np.testing.assert_allclose(one.box, [41, 81, 59, 99], atol=2)


def test_what_is_larger_than_a_tile_comes_in_pieces_and_nothing_is_lost() -> None:
    image = np.zeros((3, 40, 120), np.uint8)
    image[:, 18:22, 10:110] = 255
    found = detect_everywhere(image, bright_parts, RENDERING, kind="as-delivered", pixel_scale=SCALE)
    covered = np.zeros(120, dtype=bool)
    for one in found:
        covered[round(one.box[0]) : round(one.box[2])] = True
    assert covered[10:110].all() and not covered[:9].any()


def wide(box: list[float], score: float, name: str = "galaxy") -> WideObject:
    return WideObject(name, score, np.array(box, dtype=float), np.ones((1, 1), dtype=bool))


def test_duplicates_of_a_class_go_and_other_classes_stay() -> None:
    first, same, inside = wide([0, 0, 10, 10], 0.9), wide([1, 0, 11, 10], 0.8), wide([2, 2, 5, 5], 0.95)
    other, apart = wide([0, 0, 10, 10], 0.3, "arc"), wide([8, 8, 18, 18], 0.4)
    objects = [first, same, inside, other, apart]
    assert merged(objects, np.zeros(5, dtype=bool)) == [inside, first, apart, other]
    # a small one that an edge cuts is a piece of the large one, whatever its score
    assert merged(objects, np.array([False, False, True, False, False])) == [first, apart, other]
    assert merged([], np.zeros(0, dtype=bool)) == []


def test_an_unknown_pixel_scale_is_refused() -> None:
    with pytest.raises(RenderingError, match="pixel scale"):
        detect_everywhere(discs([], 1, (40, 40)), bright_parts, RENDERING, kind="as-delivered", pixel_scale=np.nan)
