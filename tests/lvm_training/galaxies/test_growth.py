"""Curves of growth against light summed on a grid."""

import numpy as np
import pytest
from scipy.special import gammaincinv, k1

from lvm_training.galaxies.growth import (
    edge_on_growth,
    edge_on_thickness,
    equivalent_sersic,
    exponential_growth,
    light_radii,
    sersic_growth,
)


@pytest.mark.parametrize("sersic", [0.8, 1.0, 2.5, 4.0])
def test_half_of_a_sersic_profile_lies_in_its_half_light_radius(sersic: float) -> None:
    assert sersic_growth(np.array([2.5]), 2.5, sersic)[0] == pytest.approx(0.5)


def test_sersic_growth_is_the_summed_profile() -> None:
    radius = np.linspace(0.0005, 60, 120_000)
    light = radius * np.exp(-gammaincinv(4.0, 0.5) * radius ** (1 / 2))
    summed = np.cumsum(light) / light.sum()
    for at in (0.3, 1.0, 3.0):
        share = sersic_growth(np.array([at]), 1.0, 2.0)[0]
        assert share == pytest.approx(np.interp(at, radius, summed), abs=0.002)


def test_an_exponential_disc_is_a_sersic_profile_of_index_one() -> None:
    radius = np.linspace(0.1, 8, 30)
    np.testing.assert_allclose(exponential_growth(radius), sersic_growth(radius, 1.67835, 1.0), atol=1e-4)


def test_edge_on_growth_is_the_light_in_ellipses() -> None:
    axis_ratio = 0.2
    x, y = np.meshgrid(np.linspace(-14, 14, 1401), np.linspace(-4, 4, 1601))
    height = edge_on_thickness() * axis_ratio
    u = np.maximum(np.abs(x), 1e-3)
    light = u * k1(u) / np.cosh(y / height) ** 2
    radius = np.hypot(x, y / axis_ratio)
    for at in (0.7, 1.5, 3.0):
        assert edge_on_growth(np.array([at]))[0] == pytest.approx(light[radius < at].sum() / light.sum(), abs=0.01)


def test_light_radii_of_a_composite_hold_their_shares() -> None:
    shares = (0.2, 0.5, 0.8)
    for edge_on, disc in ((False, exponential_growth), (True, edge_on_growth)):
        radii = np.array(
            light_radii(bulge_fraction=0.3, bulge_radius=0.4, bulge_sersic=2.0, edge_on=edge_on, shares=shares)
        )
        np.testing.assert_allclose(0.3 * sersic_growth(radii, 0.4, 2.0) + 0.7 * disc(radii), shares, atol=0.005)


@pytest.mark.parametrize("sersic", [0.7, 1.0, 2.3, 4.0, 5.5])
def test_the_equivalent_index_of_a_sersic_profile_is_its_own(sersic: float) -> None:
    r20, r80 = (gammaincinv(2 * sersic, share) ** sersic for share in (0.2, 0.8))
    assert equivalent_sersic(r80 / r20) == pytest.approx(sersic, abs=0.02)


def test_a_bulge_makes_a_disc_more_concentrated() -> None:
    r20, r80 = light_radii(bulge_fraction=0.3, bulge_radius=0.4, bulge_sersic=3, edge_on=False, shares=(0.2, 0.8))
    assert equivalent_sersic(r80 / r20) > 1.5
