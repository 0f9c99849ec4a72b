"""Objects on wide images: tiles of every size see them whole and where they are, whichever answers."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from lvm_training.errors import RenderingError
from lvm_training.inference.merging import merged
from lvm_training.inference.wide_field import WideObject, seen_on_tiles
from lvm_training.objects.instances import Instances
from lvm_training.stamps.rendering import Rendering
from tests.lvm_training.inference.bright_parts import bright_parts, discs

RENDERING = Rendering(size=32, field=16.0)
SCALE = 0.5  # arcsec: a tile is 32 pixels, as many as its picture


def seen(image: NDArray[Any], **options: Any) -> list[WideObject]:
    given = {"kind": "as-delivered", "pixel_scale": SCALE, **options}
    return seen_on_tiles(image, bright_parts, RENDERING, **given)


def found(image: NDArray[Any], **options: Any) -> list[WideObject]:
    return merged(seen(image, **options))


@pytest.mark.parametrize("origin", ["lower", "upper"])
def test_each_disc_is_found_once_where_it_is(origin: str) -> None:
    centres = [(10.0, 12.0), (31.0, 40.0), (48.0, 16.0), (70.0, 33.0), (90.0, 75.0), (16.0, 64.0), (55.0, 58.0)]
    calls: list[tuple[int, int]] = []
    once = found(discs(centres, 5, (83, 101)), origin=origin, progress=lambda done, total: calls.append((done, total)))
    middles = sorted(((one.box[0] + one.box[2]) / 2, (one.box[1] + one.box[3]) / 2) for one in once)
    np.testing.assert_allclose(middles, sorted(centres), atol=0.51)
    assert {one.tile for one in once} == {32} and not any(one.cut for one in once)
    assert calls[-1][0] == calls[-1][1] >= 20


def test_a_disc_is_found_once_wherever_the_tiles_lie() -> None:
    """Centres on, beside and between the edges of what tiles answer for."""
    for step in range(34):
        centre = (20.0 + step, 60.0 - step / 2)
        (one,) = found(discs([centre], 5, (83, 101)))
        np.testing.assert_allclose((one.box[:2] + one.box[2:]) / 2, centre, atol=0.51)


@pytest.mark.parametrize(("radius", "tile"), [(12, 64), (25, 128)])
def test_a_disc_larger_than_half_a_tile_is_found_whole_and_alone(radius: int, tile: int) -> None:
    for centre in ((100.0, 80.0), (109.0, 91.0), (123.0, 75.0)):
        (one,) = found(discs([centre], radius, (170, 230)))
        assert one.tile == tile and not one.cut
        np.testing.assert_allclose(one.box, [*(np.array(centre) - radius), *(np.array(centre) + radius)], atol=4)


def test_a_small_disc_beside_a_large_one_stays() -> None:
    image = discs([(100, 80)], 25, (170, 230)) + discs([(150, 80)], 4, (170, 230))
    assert sorted(one.tile for one in found(image)) == [32, 128]


def test_what_reaches_an_edge_is_marked() -> None:
    image = discs([(2, 40), (60, 40), (88, 63)], 5, (66, 90))
    cut = {(round(one.box[0]), one.cut) for one in found(image)}
    assert cut == {(0, True), (55, False), (83, True)}


def test_what_is_larger_than_every_tile_comes_in_marked_pieces_and_nothing_is_lost() -> None:
    image = np.zeros((3, 60, 420), np.uint8)
    image[:, 18:42, 10:410] = 255
    covered = np.zeros(420, dtype=bool)
    for one in found(image):
        assert one.cut
        covered[round(one.box[0]) : round(one.box[2])] = True
    assert covered[11:409].all() and not covered[:6].any()


def test_coarse_passes_end_where_one_tile_shows_the_whole_image() -> None:
    pictures = []

    def count(images: torch.Tensor) -> list[Instances]:
        pictures.append(len(images))
        return [Instances.empty((32, 32))] * len(images)

    for shape, tiles in (((20, 32), 1), ((32, 33), 2 + 1), ((32, 64), 3 + 1), ((64, 65), 12 + 2 + 1)):
        pictures.clear()
        image = np.zeros((3, *shape), np.uint8)
        assert seen_on_tiles(image, count, RENDERING, kind="as-delivered", pixel_scale=SCALE) == []
        assert sum(pictures) == tiles


def test_an_object_of_a_small_score_does_not_stand_for_one_of_a_large_score() -> None:
    image = discs([(40, 40)], 5, (80, 80)) // 2
    scores = [one.score for one in seen(image)]
    assert scores and max(scores) < 0.6
    assert seen(image, least=0.6) == []


def test_an_image_smaller_than_a_tile_and_one_that_is_empty() -> None:
    (one,) = found(discs([(9, 7)], 4, (14, 18)))
    np.testing.assert_allclose(one.box, [5, 3, 13, 11], atol=0.51)
    assert found(np.full((3, 40, 90), np.nan, np.float32), kind="nanomaggies") == []


def test_tiles_are_resampled_to_the_models_grid() -> None:
    """Pixels half as large: tiles of 64 pixels, and boxes still in the image's own pixels."""
    (one,) = found(discs([(50, 90)], 9, (150, 130)), pixel_scale=SCALE / 2)
    np.testing.assert_allclose(one.box, [41, 81, 59, 99], atol=2)
    assert one.tile == 64


@pytest.mark.parametrize(
    ("shape", "scale", "reason"),
    [
        ((40, 40), np.nan, "pixel scale"),
        ((1, 1), SCALE, "too small to show an object"),
        ((7, 90), SCALE, "too small to show an object"),
        ((40, 40), 20.0, "pixel_scale"),
        ((40, 40), 0.001, "pixel_scale"),
    ],
)
def test_images_that_cannot_be_looked_at_say_why(shape: tuple[int, int], scale: float, reason: str) -> None:
    with pytest.raises(RenderingError, match=reason) as refused:
        seen(discs([], 1, shape), pixel_scale=scale)
    assert ("pixel_scale" in str(refused.value)) == (reason == "pixel_scale")
