"""Colours against published ones, and the arithmetic of mixing."""

import numpy as np
import pytest

from lvm_training.galaxies.spectra import BLUEST, EXTINCTION, galaxy_fluxes, magnitude, nanomaggies, stellar_fluxes


def colours(fluxes: np.ndarray) -> np.ndarray:
    """g - r and r - z of fluxes (..., 3)."""
    return -2.5 * np.log10(fluxes[..., :2] / fluxes[..., 1:])


def test_an_elliptical_has_its_published_colours() -> None:
    # Fukugita et al. 1995, E at z = 0: g' - r' = 0.77; nearby ellipticals have r - z of 0.6 to 0.7
    g_r, r_z = colours(galaxy_fluxes(0.0, 0.0))
    assert g_r == pytest.approx(0.77, abs=0.06)
    assert r_z == pytest.approx(0.62, abs=0.06)


def test_late_galaxies_are_bluer_at_every_redshift() -> None:
    kinds = np.linspace(0, BLUEST, 9)
    for redshift in (0.0, 0.03, 0.1, 0.25):
        g_r, r_z = colours(galaxy_fluxes(kinds, redshift)).T
        assert (np.diff(g_r) < 0).all()
        assert (np.diff(r_z) < 0).all()


def test_redshift_reddens_an_elliptical_until_the_break_leaves_g() -> None:
    g_r = colours(galaxy_fluxes(0.0, np.linspace(0, 0.35, 8)))[:, 0]
    assert (np.diff(g_r) > 0).all()
    # SDSS luminous red galaxies, Eisenstein et al. 2001: g - r about 1.6 at z = 0.35
    assert g_r[-1] == pytest.approx(1.6, abs=0.15)


def test_fluxes_are_per_unit_r_and_keep_the_shape() -> None:
    fluxes = galaxy_fluxes(np.array([[0.0, 0.5], [1.0, 1.5]]), 0.1)
    assert fluxes.shape == (2, 2, 3)
    np.testing.assert_allclose(fluxes[..., 1], 1)
    assert (fluxes > 0).all()


def test_a_mixture_mixes_fluxes() -> None:
    half = galaxy_fluxes(0.5, 0.1)
    np.testing.assert_allclose(half, (galaxy_fluxes(0.0, 0.1) + galaxy_fluxes(1.0, 0.1)) / 2)


def test_redshifts_between_the_templates_are_interpolated() -> None:
    between = galaxy_fluxes(1.0, 0.125)
    np.testing.assert_allclose(between, (galaxy_fluxes(1.0, 0.10) + galaxy_fluxes(1.0, 0.15)) / 2)


def test_out_of_range_is_clipped() -> None:
    np.testing.assert_array_equal(galaxy_fluxes(-1, -0.1), galaxy_fluxes(0, 0))
    np.testing.assert_array_equal(galaxy_fluxes(9, 9), galaxy_fluxes(BLUEST, 1))


def test_stars_redden_along_the_main_sequence() -> None:
    g_r, r_z = colours(stellar_fluxes(np.linspace(0, 1, 12))).T
    assert (np.diff(g_r) > 0).all()
    assert (np.diff(r_z) > 0).all()
    assert r_z[-1] > g_r[-1]


def test_magnitudes_and_nanomaggies_are_inverse() -> None:
    assert nanomaggies(22.5) == pytest.approx(1)
    assert magnitude(100.0) == pytest.approx(17.5)
    np.testing.assert_allclose(magnitude(nanomaggies([15.0, 23.1])), [15.0, 23.1])


def test_dust_reddens() -> None:
    assert (np.diff(EXTINCTION) < 0).all()
