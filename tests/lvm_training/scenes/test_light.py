"""Light against formulas: profiles, colours, dust, radii, counts of stars and galaxies, sizes with the field."""

from dataclasses import fields

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lvm_training.galaxies.spectra import EXTINCTION
from lvm_training.scenes.realistic import FIELD_POWER, USUAL_FIELD, draw_either, draw_realistic
from lvm_training.scenes.scenes import draw_scenes
from lvm_training.scenes.starlight import Galaxies, galaxies
from lvm_training.scenes.structure import DISC, EDGE_ON, SMOOTH, Structure, draw_structure
from lvm_training.scenes.surroundings import field_objects
from lvm_training.scenes.truth import TruthScale, _crossings, standard_truth, truth
from lvm_training.stamps.stampset import LEGACY_PIXEL_SCALE
from tests.lvm_training.scenes.drawn import FIELD, plain

SIDE = 129
STEP = FIELD / SIDE
STEPS = (torch.arange(SIDE, dtype=torch.float32) - (SIDE - 1) / 2) * STEP
X, Y = np.meshgrid(STEPS.numpy(), STEPS.numpy())


def shown(structure: Structure, seed: int = 0) -> Galaxies:
    n = len(structure)
    x, y = STEPS[None, None, :].expand(n, SIDE, SIDE), STEPS[None, :, None].expand(n, SIDE, SIDE)
    return galaxies(structure, x, y, np.random.default_rng(seed))


@pytest.mark.parametrize(("index", "ratio", "angle"), [(1.0, 0.5, 0.6), (4.0, 0.8, 2.5), (0.7, 1.0, 0.0)])
def test_a_spheroid_is_a_sersic_profile(index: float, ratio: float, angle: float) -> None:
    light = shown(plain(1, sersic=index, axis_ratio=ratio, angle=angle, radius=2.5)).light[0].numpy()
    along, across = X * np.cos(angle) + Y * np.sin(angle), Y * np.cos(angle) - X * np.sin(angle)
    radius = np.sqrt(along**2 + (across / ratio) ** 2 + (0.4 * LEGACY_PIXEL_SCALE) ** 2)
    profile = np.exp(-(2 * index - 1 / 3) * (radius / 2.5) ** (1 / index))
    np.testing.assert_allclose(light, profile / profile.sum(), rtol=2e-3)


def test_a_composite_is_a_rounder_bulge_in_an_exponential_disc() -> None:
    light = shown(plain(1, bulge_fraction=0.4, bulge_size=0.3, axis_ratio=0.4, radius=3, sersic=1)).light[0].numpy()
    radius = np.sqrt(X**2 + (Y / 0.7) ** 2 + (0.4 * LEGACY_PIXEL_SCALE) ** 2)
    bulge, disc = np.exp(-(5 / 3) * radius / 0.9), np.exp(-1.68 * np.hypot(X, Y / 0.4) / 3)
    np.testing.assert_allclose(light, 0.4 * bulge / bulge.sum() + 0.6 * disc / disc.sum(), rtol=2e-3)


def test_each_colour_of_light_has_its_own_fluxes() -> None:
    old = plain(3, bulge_fraction=1)
    drawn = shown(old)
    np.testing.assert_allclose(drawn.bands.sum((2, 3)).numpy(), old.fluxes[:, 0] / old.fluxes[:, 0, 1:2], rtol=1e-4)
    disc = plain(3, bulge_fraction=0, kind=EDGE_ON, axis_ratio=0.2, clumps=0)
    # seven tenths are of the old disc, the rest is young and thin
    mixed = 0.7 * disc.fluxes[:, 1] + 0.3 * disc.fluxes[:, 2]
    found = shown(disc).bands.sum((2, 3)).numpy()
    np.testing.assert_allclose(found / found[:, 1:2], mixed / mixed[:, 1:2], rtol=1e-3)


@pytest.mark.parametrize("kind", [DISC, EDGE_ON])
def test_dust_dims_by_the_law_of_extinction_and_keeps_the_flux_in_r(kind: int) -> None:
    about = {"kind": kind, "bulge_fraction": 0, "arms": 0.6 if kind == DISC else 0, "axis_ratio": 0.3}
    clear, dusty = (shown(plain(1, dust=dust, **about)).bands[0].double().numpy() for dust in (0.0, 1.2))
    assert dusty[1].sum() == pytest.approx(clear[1].sum(), rel=1e-4)
    assert dusty[0].sum() < clear[0].sum() and dusty[2].sum() > clear[2].sum(), "what is dusty is red"
    # of each pixel: ln of the dimming in two bands, but for the one factor that keeps the flux, as the law has them
    g, r, z = (np.log(dusty[band][40:90, 40:90] / clear[band][40:90, 40:90]) for band in range(3))
    deep = (g - r) < 0.3 * (g - r).min()
    ratio = ((g - r)[deep] / (r - z)[deep]).mean()
    assert ratio == pytest.approx((EXTINCTION[0] - EXTINCTION[1]) / (EXTINCTION[1] - EXTINCTION[2]), rel=1e-2)


def test_a_disc_from_its_side_falls_off_as_it_should() -> None:
    thick, radius = 0.25, 6.0
    about = {"kind": EDGE_ON, "axis_ratio": thick, "radius": radius, "bulge_fraction": 0, "clumps": 0}
    drawn = [shown(plain(1, **about), seed=seed).light[0].double().numpy() for seed in range(20)]
    # those without a warp are the same above and below
    light = next(one for one in drawn if np.abs(one - one[::-1]).max() < 1e-7)
    middle = SIDE // 2
    scale, height = radius / 1.68, radius / 1.68 * thick * 1.6
    along = light[middle, middle + 20 : middle + 50]
    slope = np.polyfit(STEPS.numpy()[middle + 20 : middle + 50], np.log(along), 1)[0]
    assert slope == pytest.approx(-1 / scale, rel=0.03)
    z = STEPS.numpy()[middle:] / height
    profile = 0.7 * _share(1 / np.cosh(z) ** 2) + 0.3 * _share(1 / np.cosh(2 * z) ** 2)
    found = light[middle:, middle + 30]
    np.testing.assert_allclose(found / found[0], profile / profile[0], rtol=0.02, atol=1e-4)


def _share(half: np.ndarray) -> np.ndarray:
    """Half of a symmetric profile, of unit sum."""
    return half / (2 * half.sum() - half[0])


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**16), bins=st.integers(3, 40), width=st.floats(0.01, 3))
def test_crossings_are_numpy_s_interpolation(seed: int, bins: int, width: float) -> None:
    rng = np.random.default_rng(seed)
    growth = np.cumsum(rng.exponential(size=(5, bins)) + 1e-3, axis=1)
    growth /= growth[:, -1:]
    shares = (0.2, 0.5, 0.8)
    edges = (np.arange(bins) + 1) * width
    expected = np.stack([np.interp(shares, one, edges) for one in growth])
    found = _crossings(torch.from_numpy(growth), shares, width).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_truth_on_the_device_is_the_standardised_truth() -> None:
    scenes = draw_scenes(40, np.random.default_rng(3), size=48, field=FIELD)
    columns = truth(scenes, pixel=FIELD / 48)
    rng = np.random.default_rng(0)
    order = tuple(rng.permutation(list(columns)).tolist())
    scale = TruthScale(
        order, rng.normal(size=len(order)).astype(np.float32), rng.uniform(0.5, 2, len(order)).astype(np.float32)
    )
    found = standard_truth(scenes, scale, pixel=FIELD / 48).numpy()
    expected = np.stack([(columns[name] - m) / s for name, m, s in zip(*scale, strict=True)], axis=1)
    np.testing.assert_allclose(found, expected, atol=1e-4, equal_nan=True)
    assert np.isnan(found[:, order.index("pitch")]).any() and not np.isnan(found[:, order.index("size")]).any()


def test_truth_says_what_was_drawn() -> None:
    s = draw_structure(400, np.random.default_rng(5))
    scenes = draw_scenes(400, np.random.default_rng(6), size=16, field=FIELD, structure=s)
    columns = truth(scenes, pixel=FIELD / 16)
    for row in range(400):
        armed = bool(s.arms[row] > 0)
        expected = {
            "winding": (1 if s.pitch[row] > 0 else -1) * s.arms[row],
            "arm_count": s.arm_count[row] if armed else np.nan,
            "pitch": abs(s.pitch[row]) if armed else np.nan,
            "ring": s.ring[row] ** 0.5,
            "clumps": 0
            if s.kind[row] == SMOOTH
            else s.clumps[row] * (s.arms[row] + s.ring[row] + (s.kind[row] == EDGE_ON)),
            "colour": -2.5 * np.log10(s.fluxes[row, 1, 0]),
            "cosine": (1 - s.axis_ratio[row]) * np.cos(2 * s.angle[row]),
            "sine": (1 - s.axis_ratio[row]) * np.sin(2 * s.angle[row]),
        }
        for name, value in expected.items():
            assert columns[name][row] == pytest.approx(value, rel=1e-4, abs=1e-5, nan_ok=True), name


def test_stars_keep_their_flux_between_pixels_and_grow_in_number_as_counts_do() -> None:
    rng = np.random.default_rng(8)
    size, n = 32, 1500
    steps = (torch.arange(size, dtype=torch.float32) - (size - 1) / 2) * 0.5
    bands, alone = field_objects(n, steps, 0.5, rng, crowding=1)
    stars = (bands[:, 1] - sum(alone, torch.zeros(()))).double().numpy().reshape(n, -1)
    # one star alone on a stamp lights up to four pixels, whose sum is its flux
    flux = stars.clip(0).sum(axis=1)[(stars > 1e-3).sum(axis=1) <= 4]
    mags = 22.5 - 2.5 * np.log10(flux[flux > 1e-2])
    # N(< m) grows by 10^(0.2 m) up to 22.5 mag
    for faint in (21.5, 22.2):
        assert (mags < faint).mean() == pytest.approx(10 ** (0.2 * (faint - 22.5)), abs=0.06)
    assert mags.max() <= 22.51 and mags.min() >= 14.49


@pytest.mark.parametrize("realistic", [False, True])
def test_galaxies_grow_with_the_field_and_are_the_same_otherwise(realistic: bool) -> None:
    small, large = (
        draw_either(300, np.random.default_rng(4), field=field, realistic=realistic) for field in (12.5, 50.0)
    )
    grown = 4.0 if realistic else 4.0**FIELD_POWER
    np.testing.assert_allclose(large.radius, grown * small.radius, rtol=1e-5)
    for one in fields(Structure):
        if one.name not in ("radius", "companion_distance"):
            np.testing.assert_array_equal(getattr(small, one.name), getattr(large, one.name), err_msg=one.name)
    if not realistic:
        usual = draw_structure(300, np.random.default_rng(4))
        there = draw_either(300, np.random.default_rng(4), field=USUAL_FIELD, realistic=False)
        np.testing.assert_array_equal(usual.radius, there.radius)


def test_rows_and_changes_keep_types_and_leave_the_rest() -> None:
    drawn = draw_realistic(30, np.random.default_rng(2), field=FIELD)
    some = drawn.rows(np.array([4, 4, 1]))
    for one in fields(Structure):
        whole, part = getattr(drawn, one.name), getattr(some, one.name)
        np.testing.assert_array_equal(part, whole[[4, 4, 1]])
    changed = drawn.changed(radius=np.full(30, 2.0), kind=np.full(30, 1.0))
    assert changed.radius.dtype == np.float32 and changed.kind.dtype == drawn.kind.dtype
    np.testing.assert_array_equal(changed.arms, drawn.arms)
    bare = drawn.featureless()
    for name in ("arms", "ring", "bar", "dust", "disturbance", "tails", "clumps"):
        assert not getattr(bare, name).any()
    np.testing.assert_array_equal(bare.companion, drawn.companion)
