"""What was drawn, pixel by pixel: the parts are the drawn light, each only where the structure has it."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lvm_training.scenes.scenes import PARTS, UNSEEN, Scenes, draw_scenes
from lvm_training.scenes.starlight import GALAXY_PARTS, galaxies
from lvm_training.scenes.structure import DISC, EDGE_ON, SMOOTH, Structure
from tests.lvm_training.scenes.drawn import FIELD, plain


def dense(
    seed: int, n: int = 24, structure: Structure | None = None, *, crowding: float = 1.0, realism: bool = False
) -> Scenes:
    rng = np.random.default_rng(seed)
    return draw_scenes(
        n, rng, size=48, field=FIELD, structure=structure, dense=True, crowding=crowding, realism=realism
    )


def of(parts: torch.Tensor, name: str) -> torch.Tensor:
    return parts[:, PARTS.index(name)]


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), realism=st.booleans())
def test_the_parts_are_the_drawn_light(seed: int, realism: bool) -> None:
    scenes = dense(seed, realism=realism)
    shares, light = scenes.parts, scenes.noiseless[:, 1]
    assert shares.shape == (24, len(PARTS), 48, 48) and shares.min() >= 0
    total = light / (light + UNSEEN * scenes.noise[:, 1, None, None])
    # but for the rounding of the Fourier transform beside bright stars
    torch.testing.assert_close(shares.sum(1), total, rtol=0, atol=0.02)
    assert shares.sum(1).max() <= 1 + 1e-5


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), realism=st.booleans())
@example(seed=11676, realism=True)  # a ring of two pixels, with no clump on it
def test_a_part_is_nowhere_where_the_structure_has_none(seed: int, realism: bool) -> None:
    scenes = dense(seed, realism=realism)
    s = scenes.structure
    disc = s.kind == DISC
    there = {
        "bulge": s.bulge_fraction > 0,
        "disc": s.bulge_fraction < 1,
        "arms": disc & (s.arms > 0),
        "ring": disc & (s.ring > 0),
        "bar": disc & (s.bar > 0),
        "clumps": ((s.clumps > 0) & ((s.kind == EDGE_ON) | (s.arms > 0) | (s.ring > 0))) | (s.irregular > 0),
        "tails": (disc & (s.tails > 0)) | (s.debris > 0),
        "companion": s.companion > 0,
    }
    for name, has in there.items():
        found = of(scenes.parts, name).flatten(1).sum(1).numpy()
        assert not found[~has].any(), name
        # clumps may all lie beside a narrow ring
        assert name == "clumps" or (found[has] > 0).all(), name
    assert of(scenes.parts, "clumps").flatten(1).sum(1)[there["clumps"]].count_nonzero() >= 0.5 * there["clumps"].sum()


def test_asking_for_parts_changes_nothing_else() -> None:
    rich, lean = dense(3), draw_scenes(24, np.random.default_rng(3), size=48, field=FIELD)
    assert torch.equal(rich.observed, lean.observed) and torch.equal(rich.light, lean.light)
    assert lean.parts.shape == (24, 0, 48, 48)


@pytest.mark.parametrize("kind", [SMOOTH, DISC, EDGE_ON])
def test_the_parts_of_a_galaxy_sum_to_its_light_behind_dust(kind: int) -> None:
    changes = {"dust": 1.5, "bulge_fraction": 0.3, "bulge_size": 0.3, "clumps": 0.7, "axis_ratio": 0.5}
    structure = plain(4, kind=kind, arms=0.8, ring=0.3, bar=0.3, tails=0.2, **changes)
    steps = (torch.arange(48, dtype=torch.float32) - 23.5) * FIELD / 48
    x, y = (grid.expand(4, 48, 48) for grid in (steps[None, None, :], steps[None, :, None]))
    drawn = galaxies(structure, x, y, np.random.default_rng(0), dense=True)
    assert drawn.parts.shape == (4, len(GALAXY_PARTS), 48, 48)
    torch.testing.assert_close(drawn.parts.sum(1), drawn.bands[:, 1], rtol=1e-4, atol=1e-7)


def test_rings_and_bars_lie_where_they_were_drawn() -> None:
    shape = {"ring": 0.5, "ring_radius": 1.5, "ring_width": 0.1, "bar": 0.3, "bar_length": 0.5}
    structure = plain(1, kind=DISC, brightness=18, bulge_fraction=0.2, bulge_size=0.2, **shape)
    parts = dense(0, 1, structure, crowding=0).parts
    side = (np.arange(48) - 23.5) * FIELD / 48
    radius = np.hypot(*np.meshgrid(side, side))
    for name, low, high in (("ring", 3.8, 5.2), ("bar", 0, 1.5)):
        share = of(parts, name)[0].numpy()
        inside = (radius > low) & (radius < high)
        assert share[inside].mean() > 3 * share[~inside].mean(), name
