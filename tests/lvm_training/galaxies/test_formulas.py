"""Light of catalogue galaxies by published formulas, numerical integrals and the survey's own numbers."""

from pathlib import Path

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import gamma, k1

from lvm_training.galaxies.catalogue import COLUMNS, component_fluxes, read_catalogue, write_catalogue
from lvm_training.galaxies.discs import axes, draw_disc
from lvm_training.galaxies.growth import (
    edge_on_growth,
    edge_on_thickness,
    equivalent_sersic,
    exponential_growth,
    light_radii,
    sersic_growth,
)
from lvm_training.galaxies.population import draw_catalogue
from lvm_training.galaxies.spectra import galaxy_fluxes, magnitude, nanomaggies, stellar_fluxes
from lvm_training.galaxies.survey import SKY_BRIGHTNESS, Seeing, add_noise


@pytest.mark.parametrize("sersic", [0.5, 1.0, 2.5, 4.0, 6.0])
@pytest.mark.parametrize("radius", [0.3, 1.0, 7.0])
def test_growth_is_the_integral_of_the_profile(sersic: float, radius: float) -> None:
    # b by the series of Ciotti & Bertin 1999, equation 18
    b = 2 * sersic - 1 / 3 + 4 / (405 * sersic) + 46 / (25515 * sersic**2) + 131 / (1148175 * sersic**3)
    total = 2 * np.pi * sersic * gamma(2 * sersic) / b ** (2 * sersic)
    inside, _ = quad(lambda r: 2 * np.pi * r * np.exp(-b * r ** (1 / sersic)), 0, radius)
    assert float(sersic_growth(np.array(radius), 1.0, sersic)) == pytest.approx(inside / total, abs=1e-3)


@pytest.mark.parametrize("reach", [0.5, 1.0, 3.0, 15.0])
def test_an_edge_on_disc_grows_as_its_light_in_an_ellipse(reach: float) -> None:
    total, _ = quad(lambda x: x * k1(x), 0, 60)
    # of a layer sech^2(z / h) there lies tanh(Z / h) within Z of the plane
    height = edge_on_thickness()
    inside, _ = quad(lambda x: x * k1(x) * np.tanh(np.sqrt(reach**2 - x**2) / height), 0, reach)
    assert float(edge_on_growth(np.array(reach))) == pytest.approx(inside / total, abs=0.01)


@pytest.mark.parametrize("growth", [exponential_growth, edge_on_growth, lambda x: sersic_growth(x, 1.0, 3.0)])
def test_light_grows_outwards_from_none_to_all(growth: object) -> None:
    radii = np.linspace(0, 15, 400)
    found = growth(radii)  # type: ignore[operator]
    assert (np.diff(found) >= 0).all() and found[0] < 0.01 and 0.98 < found[-1] <= 1


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0])
def test_radii_of_a_bulge_alone_have_its_unit_and_its_index(factor: float) -> None:
    radii = light_radii(bulge_fraction=1, bulge_radius=factor, bulge_sersic=4, edge_on=False, shares=(0.2, 0.5, 0.8))
    assert radii[1] == pytest.approx(factor, rel=1e-3)
    assert equivalent_sersic(radii[2] / radii[0]) == pytest.approx(4, rel=0.01)


@pytest.mark.parametrize("edge_on", [False, True])
def test_more_bulge_is_more_concentrated_and_less_wide(edge_on: bool) -> None:
    found = [
        light_radii(bulge_fraction=share, bulge_radius=0.3, bulge_sersic=2, edge_on=edge_on, shares=(0.5,))[0]
        for share in np.linspace(0, 1, 6)
    ]
    assert (np.diff(found) < 0).all()


def test_magnitudes_and_fluxes_are_those_of_pogson_and_arrays_keep_their_shape() -> None:
    mags = np.array([[22.5, 20.0], [17.5, 30.0]])
    np.testing.assert_allclose(nanomaggies(mags), [[1, 10], [100, 1e-3]])
    np.testing.assert_allclose(magnitude(nanomaggies(mags)), mags)
    # 3631 Jy is magnitude 0, and a nanomaggy is a thousand-millionth of it
    assert float(magnitude(1e9)) == pytest.approx(0) and float(nanomaggies(8.9)) * 3.631e-6 == pytest.approx(
        1, rel=1e-3
    )


@pytest.mark.parametrize("shape", [(), (0,), (5,), (2, 3)])
def test_colours_of_many_are_the_colours_of_each(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    kinds, redshifts, places = (rng.uniform(low, high, shape) for low, high in ((0, 1.6), (0, 1), (0, 1)))
    galaxies, stars = galaxy_fluxes(kinds, redshifts), stellar_fluxes(places)
    assert galaxies.shape == stars.shape == (*shape, 3)
    for place in np.ndindex(shape):
        np.testing.assert_allclose(galaxies[place], galaxy_fluxes(kinds[place], redshifts[place]))
        np.testing.assert_allclose(stars[place], stellar_fluxes(places[place]))


def test_components_of_any_galaxy_add_up_to_its_colours() -> None:
    for galaxy in draw_catalogue(40, 3):
        parts = component_fluxes(
            bulge_fraction=galaxy.bulge_fraction,
            bulge_type=galaxy.bulge_type,
            bar_fraction=galaxy.bar_fraction,
            disc_type=galaxy.disc_type,
            young_fraction=galaxy.young_fraction,
            ring_fraction=galaxy.ring_fraction,
            redshift=galaxy.z_spec,
        )
        assert parts[:, 1].sum() == pytest.approx(1) and (parts >= -1e-12).all()
        # scatter and dust aside
        colour = magnitude(parts[:, 0].sum()) - magnitude(parts[:, 1].sum())
        assert galaxy.mag_g - galaxy.mag_r == pytest.approx(float(colour), abs=0.35)


def test_a_catalogue_read_and_written_again_is_the_same_to_the_byte(tmp_path: Path) -> None:
    one, other = tmp_path / "one.csv", tmp_path / "other.csv"
    write_catalogue(draw_catalogue(25, 9), one)
    write_catalogue(read_catalogue(one), other)
    assert one.read_bytes() == other.read_bytes()
    reordered = [line.split(",") for line in one.read_text().splitlines()]
    other.write_text("\n".join(",".join(reversed(line)) for line in reordered) + "\n")
    assert reordered[0] == list(COLUMNS) and read_catalogue(other) == read_catalogue(one)


@pytest.mark.parametrize("quarter", [1, 2])
def test_a_disc_a_quarter_turn_further_is_turned(quarter: int) -> None:
    galaxy = next(one for one in draw_catalogue(40, 3) if one.morphology == "edge-on disc")
    other = galaxy.model_copy(update={"position_angle": galaxy.position_angle + 90 * quarter})
    along, across = axes(galaxy, 31)
    # rows run north and east is to the left: angles grow as `rot90` turns them back
    for one, two in zip((along, across), axes(other, 31), strict=True):
        np.testing.assert_allclose(two, np.rot90(one, -quarter), atol=1e-5)
    one, two = (draw_disc(each, 60, np.random.default_rng(0)) for each in (galaxy, other))
    np.testing.assert_allclose(two.disc, np.rot90(one.disc, -quarter), atol=1e-6)
    np.testing.assert_allclose(two.depth, np.rot90(one.depth, -quarter), atol=1e-4)


@pytest.mark.parametrize("band", range(3))
def test_noise_is_that_of_photons_of_sky_and_light(band: int) -> None:
    seeing = Seeing((1.5, 1.5, 1.5), (0.004, 0.006, 0.02))
    sky = 10 ** (0.4 * (22.5 - SKY_BRIGHTNESS[band])) * 0.262**2
    for light in (0.0, sky, 8 * sky):
        image = np.full((3, 300, 300), light, np.float32)
        found = add_noise(image, seeing, np.random.default_rng(band))[band]
        assert found.mean() == pytest.approx(light, abs=5e-4 + 1e-3 * light)
        assert found.std() == pytest.approx(seeing.noise[band] * np.sqrt(1 + light / sky), rel=0.02)
