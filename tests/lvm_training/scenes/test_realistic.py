"""The population that looks like the sky: it leaves the older one alone, and draws what it says."""

import numpy as np
import torch

from lvm_training.scenes.realistic import SIZES, draw_realistic
from lvm_training.scenes.scenes import draw_scenes
from lvm_training.scenes.starlight import galaxies
from lvm_training.scenes.structure import DISC, EDGE_ON, SMOOTH, Structure, draw_structure
from tests.lvm_training.scenes.drawn import FIELD, plain


def radial(structure: Structure, low: float, high: float) -> float:
    """Mean light of one galaxy between two radii, arcsec."""
    steps = (torch.arange(96, dtype=torch.float32) - 47.5) * FIELD / 96
    x, y = (grid.expand(1, 96, 96) for grid in (steps[None, None, :], steps[None, :, None]))
    light = galaxies(structure, x, y, np.random.default_rng(0)).light[0]
    radius = torch.hypot(x, y)[0]
    return float(light[(radius > low) & (radius < high)].mean())


def test_the_older_population_has_none_of_the_new_features() -> None:
    s = draw_structure(500, np.random.default_rng(0))
    for name in ("gap", "ring_evenness", "ansae", "debris", "irregular"):
        assert not getattr(s, name).any(), name


def test_every_kind_occurs_and_sizes_go_with_the_field() -> None:
    for field in (8.0, 60.0):
        s = draw_realistic(3000, np.random.default_rng(1), field=field)
        for kind in (SMOOTH, DISC, EDGE_ON):
            assert (s.kind == kind).mean() > 0.05
        for name in ("ring", "bar", "arms", "tails", "companion", "gap", "ansae", "debris", "irregular"):
            assert 0.01 < (getattr(s, name) > 0).mean() < 0.6, name
        assert 0.5 * SIZES[0] * field < s.radius.min() and s.radius.max() < 1.5 * SIZES[1] * field
        assert s.axis_ratio.min() > 0.05 and s.axis_ratio.max() <= 1
        assert all(np.isfinite(getattr(s, name)).all() for name in ("radius", "brightness", "fluxes", "bar_length"))


def test_stamps_are_finite_at_every_field() -> None:
    for field in (8.0, 60.0):
        scenes = draw_scenes(48, np.random.default_rng(2), size=32, field=field, realism=True)
        assert scenes.observed.isfinite().all() and scenes.light.isfinite().all()


def test_a_gap_is_dark_between_core_and_ring() -> None:
    shape = {"kind": DISC, "bulge_fraction": 0.2, "bulge_size": 0.2, "ring": 0.4, "ring_radius": 1.5}
    swept, whole = (plain(1, gap=gap, **shape) for gap in (0.9, 0.0))
    assert radial(swept, 2.2, 3.4) < 0.5 * radial(whole, 2.2, 3.4)
    assert radial(swept, 4, 5) > radial(whole, 4, 5)


def test_ansae_brighten_the_ends_of_a_bar() -> None:
    shape = {"kind": DISC, "bulge_fraction": 0.1, "bulge_size": 0.2, "bar": 0.5, "bar_length": 1}
    with_ends, without = (radial(plain(1, ansae=ansae, **shape), 2.4, 3) for ansae in (1.0, 0.0))
    assert with_ends > 1.15 * without


def test_debris_and_clumps_break_the_symmetry_of_a_galaxy() -> None:
    steps = (torch.arange(64, dtype=torch.float32) - 31.5) * FIELD / 64
    x, y = (grid.expand(1, 64, 64) for grid in (steps[None, None, :], steps[None, :, None]))
    for name in ("debris", "irregular"):
        light = galaxies(plain(1, **{name: 0.5}), x, y, np.random.default_rng(0)).light[0]
        assert float((light - light.flip(0, 1)).abs().sum()) > 0.1, name
