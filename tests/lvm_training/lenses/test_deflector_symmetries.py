"""What must not matter to lenses: how a stamp lies, its unit, its size; and what scipy and formulas say of light."""

import numpy as np
import pytest
import torch
from astropy.stats import mad_std
from numpy.typing import NDArray

from lvm_training.lenses.deflectors import Deflector, find_deflector, sky_noise
from lvm_training.lenses.lensing import Lens, Source, inject, lensed_light, significance, unlensed_light
from tests.lvm_training.lenses.bright_galaxies import NOISE, galaxy, noisy

COLOURS = (0.4, 1.0, 1.7)


def found(band: NDArray[np.float32], noise: float = NOISE) -> Deflector:
    deflector = find_deflector(band, noise)
    assert deflector is not None
    return deflector


def source(x: float = 0.0, y: float = 0.0, *, radius: float = 0.3, angle: float = 0.0, ratio: float = 1.0) -> Source:
    return Source(x, y, radius, 1.0, ratio, angle, COLOURS)


def lens(behind: Source, *, angle: float = 0.0, ratio: float = 1.0, shear: float = 0.0) -> Lens:
    return Lens(1.5, ratio, angle, shear, angle, behind)


def apart(first: float, second: float) -> float:
    """Between two directions of axes, radians."""
    return float(abs((first - second + np.pi / 2) % np.pi - np.pi / 2))


@pytest.mark.parametrize("turn", range(8))
def test_a_turned_galaxy_is_the_turned_deflector(turn: int) -> None:
    band = noisy(galaxy(0.5, 0.6), 3)
    band[2:6, 10:14] = np.nan
    upright = found(band)

    def turned(picture: NDArray[np.generic]) -> NDArray[np.generic]:
        return np.rot90(picture[:, ::-1] if turn >= 4 else picture, turn % 4)

    other = found(np.ascontiguousarray(turned(band)))
    assert other.axis_ratio == pytest.approx(upright.axis_ratio, abs=1e-6)
    mirrored = np.pi - upright.angle if turn >= 4 else upright.angle
    # y runs down: `rot90` takes the direction x to minus y
    assert apart(other.angle, mirrored - turn % 4 * np.pi / 2) < 1e-5
    np.testing.assert_allclose(other.light, turned(upright.light), atol=0.02)


@pytest.mark.parametrize("factor", [1e-6, 0.01, 1e4])
def test_another_unit_of_flux_gives_the_same_shape_and_the_light_in_it(factor: float) -> None:
    band = noisy(galaxy(0.6, 1.0), 1)
    one, other = found(band), found(np.float32(factor) * band, factor * NOISE)
    assert (other.axis_ratio, other.angle) == pytest.approx((one.axis_ratio, one.angle), rel=1e-3)
    np.testing.assert_allclose(other.light / factor, one.light, atol=1e-4)


@pytest.mark.parametrize("side", [40, 41, 55, 64])
def test_stamps_of_odd_and_even_sides_are_measured_alike(side: int) -> None:
    y, x = np.indices((side, side)) - (side - 1) / 2
    angle, ratio = 0.4, 0.6
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    light = np.exp(-np.hypot(along * np.sqrt(ratio), across / np.sqrt(ratio)) / (side / 20))
    one = found(noisy(light))
    assert abs(one.axis_ratio - ratio) < 0.06 and apart(one.angle, angle) < 0.06
    # a stamp without any noise is measured too
    assert abs(found(light.astype(np.float32)).axis_ratio - ratio) < 0.06


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_noise_is_what_astropy_says_of_the_seen_pixels(dtype: type[np.floating]) -> None:
    bands = np.random.default_rng(4).normal(3, 0.5, (3, 31, 20)).astype(dtype)
    bands[0, :5], bands[1, 7, 7] = np.nan, np.inf
    wanted = [mad_std(band[np.isfinite(band)].astype(float)) for band in bands]
    np.testing.assert_allclose(sky_noise(bands), wanted, rtol=1e-4)  # type: ignore[arg-type]


@pytest.mark.parametrize("turn", [1, 2, 3])
def test_a_turned_lens_has_turned_arcs(turn: int) -> None:
    quarter = turn * np.pi / 2
    x, y = 0.4, 0.2
    upright = lensed_light(
        lens(source(x, y, angle=0.3, ratio=0.6), angle=0.5, ratio=0.7, shear=0.05), size=40, field=10
    )
    there = x * np.cos(quarter) - y * np.sin(quarter), x * np.sin(quarter) + y * np.cos(quarter)
    turned = lensed_light(
        lens(source(*there, angle=0.3 + quarter, ratio=0.6), angle=0.5 + quarter, ratio=0.7, shear=0.05),
        size=40,
        field=10,
    )
    # from x towards y, which runs down, is against what `rot90` does
    np.testing.assert_allclose(turned, np.rot90(upright, -turn, (1, 2)), atol=1e-5)


@pytest.mark.parametrize("offset", [0.2, 0.5, 0.9])
def test_a_round_lens_magnifies_a_small_source_by_the_formula(offset: float) -> None:
    behind = source(offset, 0.0, radius=0.05)
    size, field = 120, 9.0
    total = lensed_light(lens(behind), size=size, field=field).sum(axis=(1, 2))
    plain = unlensed_light(behind, size=size, field=field).sum(axis=(1, 2))
    # two images of a point behind an isothermal sphere (Narayan & Bartelmann 1996, section 3.1.4): 2 theta_E / beta
    np.testing.assert_allclose(total / plain, 2 * 1.5 / offset, rtol=0.06)
    np.testing.assert_allclose(total / total[1], np.array(COLOURS) / COLOURS[1], rtol=1e-5)


@pytest.mark.parametrize(("size", "field"), [(40, 12.0), (41, 12.0), (96, 12.0)])
def test_light_is_surface_brightness_whatever_the_grid(size: int, field: float) -> None:
    light = unlensed_light(source(0.5, -0.3, radius=0.8), size=size, field=field)
    # nanomaggies per 0.262 arcsec pixel, over pixels of another size: the source has 1 in r
    flux = light[1].sum() * (field / size / 0.262) ** 2
    assert flux == pytest.approx(1, rel=0.02)
    y, x = (np.average(grid, weights=light[1]) for grid in np.indices((size, size)))
    middle = (size - 1) / 2
    np.testing.assert_allclose([(x - middle) * field / size, (y - middle) * field / size], [0.5, -0.3], atol=0.02)


def test_significance_is_that_of_bands_added_in_quadrature() -> None:
    rng = np.random.default_rng(0)
    light, noise = rng.random((2, 3, 5, 4)).astype(np.float32), rng.uniform(0.1, 1, (2, 3)).astype(np.float32)
    wanted = np.zeros((2, 5, 4))
    for stamp, band, row, column in np.ndindex(2, 3, 5, 4):
        wanted[stamp, row, column] += (light[stamp, band, row, column] / noise[stamp, band]) ** 2
    np.testing.assert_allclose(
        significance(torch.from_numpy(light), torch.from_numpy(noise)), np.sqrt(wanted), rtol=1e-5
    )


@pytest.mark.parametrize("signal", [5.0, 80.0])
def test_arcs_of_a_signal_to_noise_are_the_same_whatever_they_were_before(signal: float) -> None:
    arcs = torch.from_numpy(lensed_light(lens(source(0.3, 0.1)), size=40, field=10))[None]
    bands, psf, noise = torch.zeros_like(arcs), torch.full((1, 3), 1.2), torch.tensor([[0.01, 0.02, 0.04]])
    one, other = (
        inject(bands, factor * arcs, psf=psf, noise=noise, rng=np.random.default_rng(0), signal=[signal])
        for factor in (1.0, 250.0)
    )
    torch.testing.assert_close(one.arcs, other.arcs, rtol=1e-4, atol=1e-5)
    assert float(one.scale / other.scale) == pytest.approx(250, rel=1e-4)
    assert float(significance(one.arcs, noise).square().sum().sqrt()) == pytest.approx(signal, rel=1e-4)
