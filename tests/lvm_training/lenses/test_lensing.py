"""Arcs obey the lens equation, and put on a stamp they change it by what was asked for and nothing else."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from lvm_training.errors import StampError
from lvm_training.galaxies.spectra import magnitude
from lvm_training.lenses.lensing import (
    FLATTEST_MASS,
    SOURCE_OFFSET,
    Lens,
    Source,
    draw_lens,
    draw_source,
    inject,
    lens_arguments,
    lens_model,
    lensed_light,
    significance,
    unlensed_light,
)
from lvm_training.observation.exposure import SKY
from lvm_training.stamps.stampset import LEGACY_PIXEL_SCALE

SIZE, FIELD = 64, 64 * LEGACY_PIXEL_SCALE
STEPS = (np.arange(SIZE) - (SIZE - 1) / 2) * LEGACY_PIXEL_SCALE
X, Y = np.meshgrid(STEPS, STEPS)

POINT = Source(x=0.0, y=0.0, radius=0.1, sersic=1.0, axis_ratio=1.0, angle=0.0, fluxes=(0.7, 1.0, 1.4))
ROUND = Lens(einstein_radius=2.0, axis_ratio=1.0, angle=0.0, shear=0.0, shear_angle=0.0, source=POINT)


def lensed(lens: Lens) -> NDArray[np.float32]:
    return lensed_light(lens, size=SIZE, field=FIELD)


def centre(light: NDArray[np.floating]) -> tuple[float, float]:
    return float((light * X).sum() / light.sum()), float((light * Y).sum() / light.sum())


@pytest.mark.parametrize("radius", [1.0, 1.7, 2.5])
def test_an_aligned_source_is_a_ring_of_the_einstein_radius(radius: float) -> None:
    ring = lensed(replace(ROUND, einstein_radius=radius))[1]
    assert (ring * np.hypot(X, Y)).sum() / ring.sum() == pytest.approx(radius, rel=0.03)
    assert centre(ring) == pytest.approx((0, 0), abs=0.01)


@pytest.mark.parametrize("direction", [0.0, 0.8, 2.5])
def test_a_small_source_beside_the_axis_has_two_images_on_opposite_sides(direction: float) -> None:
    """Isothermal sphere: images at beta + theta_E and beta - theta_E along the source's direction."""
    beta = 0.8
    source = replace(POINT, radius=0.05, x=beta * np.cos(direction), y=beta * np.sin(direction))
    light = lensed(replace(ROUND, source=source))[1]
    along = X * np.cos(direction) + Y * np.sin(direction)
    near, far = (centre(np.where(side, light, 0)) for side in (along > 0, along < 0))
    assert near == pytest.approx((2.8 * np.cos(direction), 2.8 * np.sin(direction)), abs=0.08)
    assert far == pytest.approx((-1.2 * np.cos(direction), -1.2 * np.sin(direction)), abs=0.08)
    assert np.hypot(near[0] - far[0], near[1] - far[1]) == pytest.approx(2 * 2.0, rel=0.03)


def test_images_have_the_flux_of_the_source_times_the_magnification() -> None:
    """Isothermal sphere: mu = 1 + theta_E / beta and theta_E / beta - 1, in all 2 theta_E / beta."""
    source = replace(POINT, x=0.8)
    assert unlensed_light(source, size=SIZE, field=FIELD)[1].sum() == pytest.approx(1, rel=0.02)
    assert lensed(replace(ROUND, source=source))[1].sum() == pytest.approx(2 * 2.0 / 0.8, rel=0.03)


def test_bands_differ_by_the_colour_alone() -> None:
    bands = lensed(replace(ROUND, source=replace(POINT, x=0.3, y=-0.2)))
    np.testing.assert_allclose(bands[0], 0.7 * bands[1], rtol=1e-5, atol=1e-12)
    np.testing.assert_allclose(bands[2], 1.4 * bands[1], rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("angle", [0.0, 0.7, 2.2])
def test_rows_run_down_and_angles_from_x_towards_y(angle: float) -> None:
    """An unlensed source lies where it says, along its angle."""
    source = replace(POINT, x=2.0, y=1.0, radius=1.0, axis_ratio=0.4, angle=angle)
    light = unlensed_light(source, size=SIZE, field=FIELD)[1]
    assert centre(light) == pytest.approx((2.0, 1.0), abs=0.05)
    second = (light * ((X - 2) + 1j * (Y - 1)) ** 2).sum()
    assert (np.angle(second) / 2 - angle + np.pi / 2) % np.pi == pytest.approx(np.pi / 2, abs=0.03)


@pytest.mark.parametrize("angle", [0.0, 0.7, 2.2])
def test_flat_masses_deflect_as_kormann_et_al_found(angle: float) -> None:
    """On the axes: theta_E sqrt(q) / f times arctan(f / q) along the major one and artanh(f) across, f^2 = 1 - q^2."""
    q, f = 0.6, 0.8
    flat = replace(ROUND, axis_ratio=q, angle=angle)
    axes = 3 * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    along, across = (np.hypot(*(place - lens_model().ray_shooting(*place, lens_arguments(flat)))) for place in axes)
    assert along == pytest.approx(2.0 * np.sqrt(q) / f * np.arctan(f / q), rel=1e-4)
    assert across == pytest.approx(2.0 * np.sqrt(q) / f * np.arctanh(f), rel=1e-4)


def test_shear_stretches_images_along_its_direction() -> None:
    """A source far outside is magnified by 1 / (1 - gamma) along the shear and 1 / (1 + gamma) across."""
    lens = replace(ROUND, einstein_radius=1e-6, shear=0.1, shear_angle=0.5)
    axes = np.array([[np.cos(0.5), np.sin(0.5)], [-np.sin(0.5), np.cos(0.5)]])
    along, across = (np.hypot(*np.array(lens_model().ray_shooting(*place, lens_arguments(lens)))) for place in axes)
    assert (along, across) == (pytest.approx(0.9, rel=1e-4), pytest.approx(1.1, rel=1e-4))


def turns_around(curve: NDArray[np.complex128], point: complex) -> float:
    angles = np.unwrap(np.angle(curve - point))
    return float(abs(angles[-1] - angles[0])) / (2 * np.pi)


def test_drawn_sources_are_imaged_more_than_once() -> None:
    """A source has another image where it lies within the cut, the image of the singular centre in the source plane."""
    rng, around = np.random.default_rng(0), np.linspace(0, 2 * np.pi, 721)
    for _ in range(300):
        lens = draw_lens(rng.uniform(0.4, 1), rng.uniform(0, np.pi), (0.7, 2.5), rng)
        x, y = lens_model().ray_shooting(1e-6 * np.cos(around), 1e-6 * np.sin(around), lens_arguments(lens))
        assert turns_around(x + 1j * y, complex(lens.source.x, lens.source.y)) == pytest.approx(1, abs=0.01)


def test_the_mass_follows_the_light_and_sources_are_small_and_blue() -> None:
    rng = np.random.default_rng(1)
    lenses = [draw_lens(0.75, 0.6, (0.7, 2.5), rng) for _ in range(400)]
    assert all(0.7 <= lens.einstein_radius <= 2.5 and FLATTEST_MASS <= lens.axis_ratio <= 1 for lens in lenses)
    assert np.mean([lens.axis_ratio for lens in lenses]) == pytest.approx(0.75, abs=0.02)
    assert np.mean([lens.angle for lens in lenses]) == pytest.approx(0.6, abs=0.03)
    assert 0.1 < np.std([lens.angle for lens in lenses]) < 0.25
    offsets = [np.hypot(lens.source.x, lens.source.y) / lens.einstein_radius for lens in lenses]
    assert max(offsets) <= SOURCE_OFFSET
    g, r, z = magnitude(np.array([lens.source.fluxes for lens in lenses])).T
    assert (g - r > 0).all() and (g - r < 0.6).all() and (r - z < 1).all()


def stamps(n: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Any picture, PSF and noise."""
    rng = np.random.default_rng(seed)
    bands = torch.from_numpy(rng.normal(0, 0.01, (n, 3, SIZE, SIZE)).astype(np.float32))
    psf = torch.from_numpy(rng.uniform(1.2, 3, (n, 3)).astype(np.float32))
    noise = torch.from_numpy(rng.uniform(0.003, 0.02, (n, 3)).astype(np.float32))
    return bands, psf, noise


def test_arcs_have_the_signal_to_noise_asked_for() -> None:
    bands, psf, noise = stamps(4)
    rng = np.random.default_rng(2)
    arcs = torch.stack([torch.from_numpy(lensed(draw_lens(0.8, 1.0, (1, 2), rng))) for _ in range(4)])
    wanted = np.array([20.0, 50.0, 100.0, 300.0])
    injected = inject(bands, arcs, psf=psf, noise=noise, rng=rng, signal=wanted)
    total = (injected.arcs / noise[:, :, None, None]).square().sum((1, 2, 3)).sqrt()
    np.testing.assert_allclose(total, wanted, rtol=1e-4)
    np.testing.assert_allclose(significance(injected.arcs, noise).square().sum((1, 2)).sqrt(), wanted, rtol=1e-4)
    flux = (arcs * injected.scale[:, None, None, None]).sum((2, 3))
    np.testing.assert_allclose(injected.arcs.sum((2, 3)), flux, rtol=0.02)


def test_what_has_no_arcs_stays_as_it_is() -> None:
    bands, psf, noise = stamps(2)
    arcs = torch.zeros_like(bands)
    arcs[1, :, 30:34, 20:24] = 0.5
    injected = inject(bands, arcs, psf=psf.clamp(max=2), noise=noise, rng=np.random.default_rng(0))
    assert torch.equal(injected.observed[0], bands[0])
    assert torch.equal(injected.observed[1, :, :, 50:], bands[1, :, :, 50:])
    assert not torch.equal(injected.observed[1, :, 30:34, 20:24], bands[1, :, 30:34, 20:24])
    assert torch.equal(injected.observed[injected.arcs == 0], bands[injected.arcs == 0])


def test_arcs_bring_their_own_photon_noise_and_no_other() -> None:
    n, flux = 3000, 0.5
    noise = torch.tensor([[0.004, 0.006, 0.02]]).expand(n, 3)
    flat = torch.full((n, 3, 8, 8), flux)
    injected = inject(flat * 0, flat, psf=torch.ones(n, 3), noise=noise, rng=np.random.default_rng(3))
    measured = (injected.observed - injected.arcs).transpose(0, 1).flatten(1).var(1).numpy()
    np.testing.assert_allclose(measured, noise[0].numpy() ** 2 * flux / SKY, rtol=0.02)


def test_injection_needs_matching_shapes_and_light() -> None:
    bands, psf, noise = stamps(2)
    rng = np.random.default_rng(0)
    with pytest.raises(StampError, match="shapes"):
        inject(bands, bands[:1], psf=psf, noise=noise, rng=rng)
    with pytest.raises(StampError, match="without light"):
        inject(bands, torch.zeros_like(bands), psf=psf, noise=noise, rng=rng, signal=[50.0, 50.0])


def test_the_same_seed_draws_the_same_lens() -> None:
    first, again, other = (draw_lens(0.7, 1.0, (0.7, 2.5), np.random.default_rng(seed)) for seed in (4, 4, 5))
    assert first == again != other
    assert draw_source(0.1, 0.2, np.random.default_rng(4)) == draw_source(0.1, 0.2, np.random.default_rng(4))
