"""Labelled lenses: the truth lies on the light it names, and look-alikes are as like lenses as they are said to be."""

from collections import Counter
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import torch

from lvm_training.errors import StampError
from lvm_training.lenses import lens_stamps as module
from lvm_training.lenses.lens_stamps import (
    FIELD,
    OBJECTS,
    SIZE,
    LensPopulation,
    LensStamps,
    draw_kinds,
    draw_lens_stamps,
)
from lvm_training.lenses.lensing import Injection, inject, significance
from lvm_training.lenses.lookalikes import (
    EARLY_TYPE,
    LENS,
    LOOK_ALIKES,
    MERGER,
    NEIGHBOURS,
    RING,
    SPIRAL,
    draw_structures,
)
from lvm_training.objects.instances import bounding_boxes
from lvm_training.scenes.scenes import Scenes, draw_scenes
from lvm_training.scenes.structure import DISC, SMOOTH, Structure, draw_structure
from lvm_training.scenes.surroundings import BACKGROUND

POPULATION = LensPopulation()


@pytest.fixture(scope="module")
def stamps() -> LensStamps:
    return draw_lens_stamps(160, np.random.default_rng(0), POPULATION)


def scenes_of(structure: Structure | None, n: int = 40, seed: int = 0, separate: bool = False) -> Scenes:
    return draw_scenes(n, np.random.default_rng(seed), size=SIZE, field=FIELD, structure=structure, separate=separate)


def test_half_are_lenses_and_look_alikes_come_in_their_mix() -> None:
    kinds = Counter(draw_kinds(6000, np.random.default_rng(0), POPULATION).tolist())
    assert kinds[LENS] == 3000
    shares = [kinds[name] / 3000 for name in LOOK_ALIKES]
    np.testing.assert_allclose(shares, POPULATION.look_alikes, atol=0.03)
    assert set(draw_kinds(5, np.random.default_rng(0), LensPopulation(lens_share=1.0))) == {LENS}


def test_shapes_and_values(stamps: LensStamps) -> None:
    assert stamps.bands.shape == (160, 3, SIZE, SIZE) and stamps.bands.dtype == np.float32
    assert np.isfinite(stamps.bands).all()
    assert len(stamps.objects) == len(stamps.lenses) == len(stamps.kinds) == 160
    assert [lens is not None for lens in stamps.lenses] == (stamps.kinds == LENS).tolist()


def test_the_same_seed_gives_the_same_stamps_and_another_seed_others() -> None:
    first, again, other = (draw_lens_stamps(12, np.random.default_rng(seed), POPULATION) for seed in (3, 3, 4))
    assert np.array_equal(first.bands, again.bands) and np.array_equal(first.kinds, again.kinds)
    assert first.lenses == again.lenses
    for one, two in zip(first.objects, again.objects, strict=True):
        assert one.classes == two.classes and np.array_equal(one.masks, two.masks)
    assert not np.array_equal(first.bands, other.bands)


def test_a_lens_has_one_arc_and_its_deflector_and_nothing_else_has(stamps: LensStamps) -> None:
    for kind, objects in zip(stamps.kinds, stamps.objects, strict=True):
        assert set(objects.classes) <= set(OBJECTS) and objects.shape == (SIZE, SIZE)
        if kind == LENS:
            assert objects.classes[:2] == ("arc", "deflector") and set(objects.classes[2:]) <= {"galaxy"}
        else:
            assert set(objects.classes) <= {"galaxy"}


def test_boxes_bound_the_masks(stamps: LensStamps) -> None:
    for objects in stamps.objects:
        assert np.array_equal(objects.boxes, bounding_boxes(objects.masks))
        assert (objects.scores == 1).all()
        for (left, top, right, bottom), mask in zip(objects.boxes.astype(int), objects.masks, strict=True):
            assert mask[top:bottom, left:right].sum() == mask.sum() >= module.FEWEST_CLEAR


def test_arcs_lie_around_the_einstein_radius_and_are_bluer_than_the_deflector(stamps: LensStamps) -> None:
    steps = (np.arange(SIZE) - (SIZE - 1) / 2) * FIELD / SIZE
    distance = np.hypot(*np.meshgrid(steps, steps))
    bluer = []
    for bands, objects, lens in zip(stamps.bands, stamps.objects, stamps.lenses, strict=True):
        if lens is not None:
            arc, deflector = objects.masks[:2]
            assert distance[arc].min() < 1.5 * lens.einstein_radius < distance[arc].max() + 2
            core = deflector & (distance < 0.8)
            outside = arc & (distance > 0.8 * lens.einstein_radius)
            bluer.append(
                bands[0][outside].sum() / bands[2][outside].sum() > bands[0][core].sum() / bands[2][core].sum()
            )
    assert np.mean(bluer) > 0.85


def test_masks_overlay_the_light_they_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """What injection adds to the stamps is above the threshold inside the arcs' mask and below it outside."""
    kept = []

    def recorded(*parts: torch.Tensor, **options: Any) -> Injection:
        kept.append((inject(*parts, **options), options["noise"]))
        return kept[-1][0]

    monkeypatch.setattr(module, "inject", recorded)
    kinds = np.array([LENS, EARLY_TYPE, LENS, NEIGHBOURS])
    drawn, _ = module._draw_batch(kinds, np.random.default_rng(6), POPULATION, SIZE, FIELD)
    injected, noise = kept[0]
    bright = significance(injected.arcs, noise).numpy() > module.ARC_SIGNIFICANCE
    for row, place in ((0, 0), (2, 1)):
        assert drawn.objects[row].classes[0] == "arc"
        assert np.array_equal(drawn.objects[row].masks[0], bright[place])
        assert np.array_equal(drawn.bands[row], injected.observed[place].numpy())


def test_neighbours_are_galaxies_where_they_lie() -> None:
    population = LensPopulation(lens_share=0, look_alikes=(0, 0, 0, 1, 0, 0))
    stamps = draw_lens_stamps(40, np.random.default_rng(1), population)
    bare = draw_lens_stamps(40, np.random.default_rng(1), LensPopulation(lens_share=0, look_alikes=(0, 0, 0, 0, 1, 0)))
    count, bare_count = (np.mean([len(objects) for objects in drawn.objects]) for drawn in (stamps, bare))
    assert count > bare_count + 0.7
    middle = slice(SIZE // 2 - 16, SIZE // 2 + 16)
    near = [sum(mask[middle, middle].sum() > mask.sum() / 2 for mask in objects.masks) for objects in stamps.objects]
    assert np.mean(np.array(near) >= 2) > 0.8


def test_galaxies_that_are_faint_hidden_or_cut_off_are_no_objects() -> None:
    light = torch.zeros(1, 5, 32, 32)
    light[0, 0, 10:20, 10:20] = 1.0
    light[0, 1, 10:20, 10:20] = 0.01
    light[0, 2, 25, 25] = 1.0
    light[0, 3, 0:6, 4:10] = torch.linspace(2, 1, 6)[:, None]
    light[0, 4, 12:16, 12:16] = 0.2
    masks = module._galaxy_masks(light, light.sum(1), torch.tensor([0.1]))
    assert masks[0].any(axis=(1, 2)).tolist() == [True, False, False, False, False]
    assert np.array_equal(masks[0, 0], (light[0, 0] > 0.15).numpy())


def test_look_alikes_are_what_they_are_called() -> None:
    kinds = np.repeat([LENS, NEIGHBOURS, EARLY_TYPE, RING, SPIRAL, MERGER], 200)
    s = draw_structures(kinds, np.random.default_rng(2))
    assert len(s) == len(kinds) and all(getattr(s, field.name).dtype != np.float64 for field in fields(Structure))
    early, ring, spiral, merger = (
        s.rows(np.flatnonzero(np.isin(kinds, names)))
        for names in ((LENS, NEIGHBOURS, EARLY_TYPE), RING, SPIRAL, MERGER)
    )
    assert (early.kind == SMOOTH).all() and (early.sersic >= 2.5).all() and not (early.arms > 0).any()
    assert early.radius.min() >= 0.8 and early.radius.max() <= 2.5
    assert (early.fluxes[:, 0, 0] < ring.fluxes[:, 2, 0].min()).all()
    assert (ring.kind == DISC).all() and (ring.ring >= 0.7).all() and (ring.axis_ratio >= 0.75).all()
    assert (ring.fluxes[:, 2, 0] > ring.fluxes[:, 0, 0]).all()
    assert (spiral.arms >= 0.6).all() and not (spiral.tails > 0).any()
    assert (merger.tails > 0).all() and (merger.disturbance > 0).all() and (merger.companion > 0).mean() > 0.5


def test_given_structures_are_drawn_as_the_old_call_draws_its_own() -> None:
    rng = np.random.default_rng(8)
    structure = draw_structure(40, rng)
    given = draw_scenes(40, rng, size=SIZE, field=FIELD, structure=structure, separate=True)
    old = scenes_of(None, seed=8)
    assert torch.equal(given.observed, old.observed) and torch.equal(given.noiseless, old.noiseless)
    assert torch.equal(given.psf, old.psf) and torch.equal(given.noise, old.noise)
    assert old.objects.shape == (40, 0, SIZE, SIZE)
    with pytest.raises(StampError, match="40 galaxies"):
        scenes_of(structure, n=3)


def test_the_light_of_the_galaxies_alone_adds_up_to_the_whole() -> None:
    """All r light is that of the galaxies and of stars; the middle one's is the light asked for."""
    scenes = scenes_of(None, n=60, separate=True)
    assert scenes.objects.shape == (60, 2 + BACKGROUND, SIZE, SIZE)
    rest = scenes.noiseless[:, 1] - scenes.objects.sum(1)
    peak = scenes.noiseless[:, 1].amax((1, 2))
    assert (rest.amin((1, 2)) > -1e-3 * peak).all()
    without_stars = (rest.amax((1, 2)) < 1e-3 * peak).float().mean()
    assert without_stars > 0.1
    assert torch.equal(scenes.objects[:, 1].amax((1, 2)) > 1e-6, torch.from_numpy(scenes.structure.companion > 0))
    empty = (scenes.objects[:, 2:].amax((2, 3)) < 1e-6).float().mean()
    assert 0.4 < empty < 0.8


def test_noise_and_psf_are_those_of_the_pictures() -> None:
    scenes = scenes_of(None, n=200)
    grain = (scenes.observed - scenes.noiseless)[:, :, :6, :6].flatten(2)
    dark = scenes.noiseless[:, :, :6, :6].amax((2, 3)) < 0.01
    ratio = (grain.std(2) / scenes.noise)[dark]
    assert ratio.mean() == pytest.approx(1, abs=0.05)
    assert scenes.psf.shape == scenes.noise.shape == (200, 3)


@pytest.mark.parametrize(
    "wrong",
    [
        {"lens_share": 1.5},
        {"einstein_radius": (2.0, 1.0)},
        {"signal_to_noise": (0.0, 10.0)},
        {"look_alikes": (0.5, 0.5)},
        {"look_alikes": (0.5, 0.5, 0.5, -0.5, 0.0, 0.0)},
    ],
)
def test_populations_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(StampError):
        LensPopulation(**wrong)


def test_arcs_that_nobody_could_see_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ROUNDS", 3)
    with pytest.raises(StampError, match="are not seen"):
        draw_lens_stamps(4, np.random.default_rng(0), LensPopulation(signal_to_noise=(0.1, 0.2)))
