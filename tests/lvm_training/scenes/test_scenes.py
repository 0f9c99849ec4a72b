"""Endless simulated stamps: they depend on their seed alone, and what was drawn is what the pixels show."""

import numpy as np
import pytest
import torch

from lvm_training.scenes.structure import DISC, EDGE_ON, SMOOTH, draw_structure
from lvm_training.scenes.surroundings import companions
from lvm_training.stamps.stampset import LEGACY_PIXEL_SCALE
from tests.lvm_training.scenes.drawn import FIELD, draw, light_of, plain


def moments(light: torch.Tensor) -> tuple[float, float]:
    """Axis ratio and direction (radians from x towards y) of a map by its second moments."""
    weights = light.double().numpy()
    side = (np.arange(len(weights)) - (len(weights) - 1) / 2).astype(float)
    x, y = np.meshgrid(side, side)
    xx, yy, xy = ((weights * part).sum() / weights.sum() for part in (x * x, y * y, x * y))
    values = np.linalg.eigvalsh([[xx, xy], [xy, yy]])
    return float(np.sqrt(values[0] / values[1])), float(0.5 * np.arctan2(2 * xy, xx - yy))


def test_the_same_seed_gives_the_same_stamps_and_another_seed_others() -> None:
    first, again, other = draw(8), draw(8), draw(8, seed=1)
    assert torch.equal(first.observed, again.observed) and torch.equal(first.noiseless, again.noiseless)
    assert not torch.equal(first.observed, other.observed)


def test_shapes_and_values() -> None:
    scenes = draw()
    assert scenes.observed.shape == scenes.noiseless.shape == (64, 3, 64, 64)
    assert scenes.observed.isfinite().all() and (scenes.noiseless >= 0).all()
    assert scenes.light.shape == (64, 64, 64)
    torch.testing.assert_close(scenes.light.sum((1, 2)), torch.ones(64))
    assert (scenes.observed - scenes.noiseless).std() > 0


def test_every_kind_of_structure_occurs_and_many_lack_each() -> None:
    s = draw_structure(2000, np.random.default_rng(3))
    for kind in (SMOOTH, DISC, EDGE_ON):
        assert (s.kind == kind).mean() > 0.1
    for name in ("arms", "ring", "bar", "dust", "disturbance", "tails", "companion"):
        assert 0.03 < (getattr(s, name) > 0).mean() < 0.5, name
    assert not (s.arms[s.kind != DISC] > 0).any()
    assert s.axis_ratio.min() > 0.05 and s.axis_ratio.max() <= 1


def test_structure_is_almost_independent_of_size_brightness_and_colour() -> None:
    s = draw_structure(4000, np.random.default_rng(4))
    colour = s.fluxes[:, 1, 0]
    for feature in (s.arms, s.ring, s.bar, s.companion, s.disturbance):
        for nuisance in (s.radius, s.brightness, colour):
            assert abs(np.corrcoef(feature, nuisance)[0, 1]) < 0.1


def test_the_flux_is_the_one_drawn() -> None:
    """Noiseless flux of one galaxy without surroundings: 2 pi R^2 q times the mean surface brightness."""
    scenes = draw(200)
    s = scenes.structure
    lone = np.flatnonzero((s.companion == 0) & (s.radius < 2.5) & (s.brightness < 21) & (s.sersic < 2.5))
    assert len(lone) > 10
    expected = 10 ** (0.4 * (22.5 - s.brightness)) * 2 * np.pi * s.radius**2 * s.axis_ratio
    # per survey pixel on a grid of picture pixels
    found = scenes.noiseless[:, 1].sum((1, 2)).numpy() * (FIELD / 64 / LEGACY_PIXEL_SCALE) ** 2
    # stars and background galaxies add light to the others
    assert np.quantile(found[lone] / expected[lone], 0.2) == pytest.approx(1, abs=0.08)


@pytest.mark.parametrize(("ratio", "angle"), [(0.4, 0.0), (0.5, 0.6), (0.7, 2.0)])
def test_axis_ratio_and_direction_are_those_of_the_light(ratio: float, angle: float) -> None:
    light = light_of(plain(1, axis_ratio=ratio, angle=angle, radius=1.5), size=256)[0]
    found_ratio, found_angle = moments(light)
    assert found_ratio == pytest.approx(ratio, abs=0.03)
    assert (found_angle - angle + np.pi / 2) % np.pi == pytest.approx(np.pi / 2, abs=0.02)


def azimuthal_power(light: torch.Tensor, order: int, inner: float, outer: float) -> float:
    """Amplitude of the m-fold pattern in a ring, over the mean light there."""
    side = (np.arange(len(light)) - (len(light) - 1) / 2) * FIELD / len(light)
    x, y = np.meshgrid(side, side)
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    ring = (radius > inner) & (radius < outer)
    weights = light.numpy()[ring]
    return float(abs((weights * np.exp(-1j * order * angle[ring])).sum()) / weights.sum())


@pytest.mark.parametrize("count", [2, 3, 4])
def test_arms_are_as_many_as_drawn(count: int) -> None:
    lights = light_of(plain(12, kind=DISC, bulge_fraction=0, arms=1, arm_count=count, pitch=0.6, radius=4))
    powers = {m: np.mean([azimuthal_power(light, m, 3.4, 4.2) for light in lights]) for m in (2, 3, 4)}
    assert max(powers, key=powers.__getitem__) == count


def test_the_sign_of_the_pitch_is_the_sense_of_winding() -> None:
    def drift(pitch: float) -> float:
        """How far the two-armed phase turns from the inside outwards."""
        light = light_of(plain(1, kind=DISC, bulge_fraction=0, arms=1, pitch=pitch, radius=4), size=192)[0].numpy()
        side = (np.arange(192) - 95.5) * FIELD / 192
        x, y = np.meshgrid(side, side)
        radius, angle = np.hypot(x, y), np.arctan2(y, x)
        phases = []
        for inner in np.arange(3, 6, 0.25):
            ring = (radius > inner) & (radius < inner + 0.25)
            phases.append(np.angle((light[ring] * np.exp(2j * angle[ring])).sum()))
        return float(np.diff(np.unwrap(phases)).sum())

    assert drift(0.6) > 0.5 and drift(-0.6) < -0.5


def test_a_ring_is_where_it_was_drawn() -> None:
    with_ring, without = (
        light_of(plain(1, kind=DISC, bulge_fraction=0, ring=share, ring_radius=1.5, ring_width=0.1))[0]
        for share in (0.5, 0.0)
    )
    side = (np.arange(128) - 63.5) * FIELD / 128
    radius = np.hypot(*np.meshgrid(side, side))
    extra = (with_ring - 0.5 * without).numpy()
    assert (extra * radius).sum() / extra.sum() == pytest.approx(4.5, abs=0.5)


def test_a_bar_lies_along_its_angle() -> None:
    light = light_of(plain(1, kind=DISC, bulge_fraction=0, bar=0.4, bar_angle=0.7))[0]
    _, angle = moments(light[52:76, 52:76])
    assert angle == pytest.approx(0.7, abs=0.1)


def test_an_edge_on_disc_with_dust_is_dimmer_along_its_plane() -> None:
    dusty, clear = (
        light_of(plain(1, kind=EDGE_ON, axis_ratio=0.25, bulge_fraction=0.2, bulge_size=0.5, dust=dust, radius=5))[0]
        for dust in (2.0, 0.0)
    )
    plane = slice(62, 66)
    assert dusty[plane, 54:74].sum() < 0.75 * clear[plane, 54:74].sum()


def test_a_disturbance_breaks_the_symmetry() -> None:
    def asymmetry(light: torch.Tensor) -> float:
        return float((light - light.flip(0, 1)).abs().sum())

    assert asymmetry(light_of(plain(1))[0]) < 1e-3
    assert asymmetry(light_of(plain(1, disturbance=0.4))[0]) > 0.1


def test_companions_lie_where_they_were_drawn() -> None:
    structure = plain(4, companion=0.5, companion_angle=1.0)
    steps = (torch.arange(64, dtype=torch.float32) - 31.5) * FIELD / 64
    x, y = (grid.expand(4, 64, 64) for grid in (steps[None, None, :], steps[None, :, None]))
    light = companions(structure, x, y, np.random.default_rng(0))[:, 1]
    peak = light.flatten(1).argmax(1)
    place = torch.stack([steps[peak % 64], steps[peak // 64]], dim=1)
    wanted = torch.tensor([6 * np.cos(1.0), 6 * np.sin(1.0)], dtype=torch.float32)
    assert ((place - wanted).norm(dim=1) < 0.6).all()
    torch.testing.assert_close(light.sum((1, 2)), torch.full((4,), 0.5), rtol=1e-3, atol=0)
