"""Companions, foreground stars and background galaxies: where they are, and how bright."""

import numpy as np
import pytest
import torch

from lvm_training.scenes.surroundings import BACKGROUND, companions, field_objects
from tests.lvm_training.scenes.drawn import FIELD, plain

SIZE = 64
PIXEL = FIELD / SIZE
STEPS = (torch.arange(SIZE, dtype=torch.float32) - (SIZE - 1) / 2) * PIXEL


def grids(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    return STEPS[None, None, :].expand(n, SIZE, SIZE), STEPS[None, :, None].expand(n, SIZE, SIZE)


def test_without_a_companion_there_is_no_light() -> None:
    structure = plain(3)
    assert not companions(structure, *grids(3), np.random.default_rng(0)).any()


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_a_companion_has_its_share_of_the_light_and_lies_where_it_was_drawn(share: float) -> None:
    distance, angle = 6.0, 1.0
    structure = plain(4, companion=share, companion_distance=distance, companion_angle=angle)
    light = companions(structure, *grids(4), np.random.default_rng(1))
    np.testing.assert_allclose(light.sum((2, 3)).numpy(), structure.fluxes[:, 3] * share, rtol=1e-4)
    x, y = grids(4)
    red = light[:, 1]
    for centre, wanted in ((x, distance * np.cos(angle)), (y, distance * np.sin(angle))):
        brightest = centre.flatten(1).gather(1, red.flatten(1).argmax(1)[:, None])[:, 0]
        assert (brightest - wanted).abs().max() <= PIXEL


def test_an_empty_sky_is_dark() -> None:
    bands, alone = field_objects(5, STEPS, PIXEL, np.random.default_rng(2), crowding=0)
    assert not bands.any() and len(alone) == BACKGROUND and not any(one.any() for one in alone)


def test_background_galaxies_are_part_of_the_light_and_stars_the_rest() -> None:
    bands, alone = field_objects(200, STEPS, PIXEL, np.random.default_rng(3), crowding=1)
    assert bands.min() >= 0
    stars = bands[:, 1] - sum(alone, torch.zeros(()))
    assert stars.min() > -1e-4 * bands.max()
    # a star is spread over four pixels; as many as are bright are few
    lit = (stars > 0.05).flatten(1).sum(1)
    assert lit.max() <= 4 * 5 and (lit > 0).float().mean() > 0.5


def test_no_star_sits_on_the_galaxy() -> None:
    bands, alone = field_objects(400, STEPS, PIXEL, np.random.default_rng(4), crowding=4)
    stars = bands[:, 1] - sum(alone, torch.zeros(()))
    away = torch.hypot(STEPS[None, :], STEPS[:, None])
    assert stars[:, away < 1.5 - 2 * PIXEL].max() < 1e-3 < stars[:, away > 3].max()


def test_a_crowded_field_has_more() -> None:
    light = [
        float((field_objects(300, STEPS, PIXEL, np.random.default_rng(5), crowding=crowding)[0] > 0.1).float().mean())
        for crowding in (0.2, 1.0, 3.0)
    ]
    assert light[0] < light[1] < light[2]
