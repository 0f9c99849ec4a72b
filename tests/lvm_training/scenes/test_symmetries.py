"""Light of simulated galaxies: what turned angles, other grids and fainter galaxies do to it."""

import numpy as np
import pytest
import torch
from scipy.special import gammainc, gammaincinv

from lvm_training.scenes.scenes import draw_scenes
from lvm_training.scenes.structure import DISC, EDGE_ON, SMOOTH, Structure, draw_structure
from lvm_training.scenes.truth import truth
from tests.lvm_training.scenes.drawn import FIELD, light_of, plain


def moments(light: torch.Tensor) -> tuple[float, float]:
    """Axis ratio, and direction of the major axis from x towards y, of light (S, S)."""
    y, x = (grid - (light.shape[0] - 1) / 2 for grid in np.indices(light.shape))
    weights = light.double().numpy() / float(light.sum())
    xx, yy, xy = (float((weights * product).sum()) for product in (x * x, y * y, x * y))
    half, root = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    return np.sqrt((half - root) / (half + root)), float(np.arctan2(2 * xy, xx - yy) / 2)


@pytest.mark.parametrize("kind", [SMOOTH, EDGE_ON])
@pytest.mark.parametrize("quarter", [1, 2, 3])
def test_a_galaxy_a_quarter_turn_further_is_the_picture_turned(kind: int, quarter: int) -> None:
    one = plain(1, kind=kind, axis_ratio=0.4, angle=0.5, bulge_fraction=1.0 if kind == SMOOTH else 0.3)
    other = one.changed(angle=one.angle + quarter * np.pi / 2)
    upright, turned = light_of(one)[0], light_of(other)[0]
    # from x towards y, which runs down, is against what `rot90` does
    torch.testing.assert_close(turned, torch.rot90(upright, -quarter), atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("ratio", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("angle", [0.0, 0.4, 1.2, 2.8])
def test_moments_of_the_light_are_the_axis_ratio_and_the_angle(ratio: float, angle: float) -> None:
    found = moments(light_of(plain(1, axis_ratio=ratio, angle=angle, radius=1.5))[0])
    assert found[0] == pytest.approx(ratio, abs=0.03)
    assert abs((found[1] - angle + np.pi / 2) % np.pi - np.pi / 2) < 0.02


@pytest.mark.parametrize("sersic", [0.8, 1.0, 2.0])
@pytest.mark.parametrize("radius", [1.5, 3.0])
def test_light_within_a_radius_is_that_of_the_incomplete_gamma_function(sersic: float, radius: float) -> None:
    light = light_of(plain(1, sersic=sersic, radius=radius), size=160)[0].double().numpy()
    distance = np.hypot(*(np.indices(light.shape) - 79.5)) * FIELD / 160
    growth = [light[distance <= reach].sum() for reach in (0.7 * radius, radius, 2 * radius)]
    # Graham & Driver 2005, equation 2, as far as the picture reaches
    b = gammaincinv(2 * sersic, 0.5)
    wanted = gammainc(2 * sersic, b * np.array([0.7, 1, 2, 12.5 / radius]) ** (1 / sersic))
    np.testing.assert_allclose(growth, wanted[:3] / wanted[3], atol=0.03)


def test_light_has_unit_sum_whatever_the_structure() -> None:
    structure = draw_structure(40, np.random.default_rng(3))
    assert set(structure.kind) == {SMOOTH, DISC, EDGE_ON}
    light = light_of(structure, size=64)
    assert (light >= 0).all()
    np.testing.assert_allclose(light.sum((1, 2)), 1, rtol=1e-4)


@pytest.mark.parametrize("size", [40, 41, 96])
def test_the_truth_of_a_galaxy_does_not_depend_on_the_grid(size: int) -> None:
    structure = plain(3, radius=3.0, axis_ratio=0.6, angle=1.0)
    scenes = draw_scenes(3, np.random.default_rng(0), size=size, field=FIELD, structure=structure, crowding=0.0)
    found = truth(scenes, pixel=FIELD / size)
    np.testing.assert_allclose(found["size"], np.log(3.0), atol=0.06)
    np.testing.assert_allclose(found["cosine"], 0.4 * np.cos(2.0), atol=1e-6)
    np.testing.assert_allclose(found["sine"], 0.4 * np.sin(2.0), atol=1e-6)


@pytest.mark.parametrize("size", [32, 48, 64])
def test_flux_is_what_brightness_and_area_say_on_any_grid(size: int) -> None:
    structure = plain(2, radius=1.5, axis_ratio=0.5, brightness=21.0)
    scenes = draw_scenes(2, np.random.default_rng(0), size=size, field=FIELD, structure=structure, crowding=0.0)
    # nanomaggies per 0.262 arcsec pixel, over pixels of another size
    flux = scenes.noiseless[:, 1].sum((1, 2)).numpy() * (FIELD / size / 0.262) ** 2
    # half of the light lies within an ellipse of that mean brightness
    wanted = 2 * np.pi * 1.5**2 * 0.5 * 10 ** (0.4 * (22.5 - 21.0))
    np.testing.assert_allclose(flux, wanted, rtol=0.02)


def changed(structure: Structure, magnitudes: float) -> Structure:
    return structure.changed(brightness=structure.brightness + magnitudes)


@pytest.mark.parametrize("fainter", [2.5, 5.0, -2.5])
def test_a_galaxy_so_many_magnitudes_fainter_has_so_much_less_light(fainter: float) -> None:
    structure = plain(2, brightness=20.0)
    bright, faint = (
        draw_scenes(2, np.random.default_rng(4), size=32, field=FIELD, structure=one, crowding=0.0).noiseless
        for one in (structure, changed(structure, fainter))
    )
    torch.testing.assert_close(faint * 10 ** (0.4 * fainter), bright, rtol=1e-3, atol=1e-5)
