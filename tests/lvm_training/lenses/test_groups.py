"""Groups of galaxies that lens, and lens stamps as sharper and deeper surveys have them."""

import numpy as np
import pytest
import torch

from lvm_training.errors import StampError
from lvm_training.galaxies.survey import FWHM_PER_SIGMA
from lvm_training.lenses.groups import BRIGHTEST, FAINTEST, FARTHEST, GROUP_RADII, MEMBERS, NEAREST, draw_members
from lvm_training.lenses.lens_stamps import (
    FIELD,
    OTHER_SURVEYS,
    RESOLVED,
    SIZE,
    LensPopulation,
    draw_lens_stamps,
    einstein_radii,
)
from lvm_training.lenses.lookalikes import EARLY_TYPE, LENS, draw_structures
from lvm_training.observation.exposure import NARROWEST_PSF, draw_psf
from lvm_training.scenes.structure import Structure

GROUPS = LensPopulation(0.5, groups=1.0, look_alikes=(0, 0, 0, 0.5, 0.5, 0))
ALONE = LensPopulation(0.5, look_alikes=(0, 0, 0, 0.5, 0.5, 0))


def early_types(n: int, seed: int = 0) -> Structure:
    return draw_structures(np.full(n, EARLY_TYPE), np.random.default_rng(seed))


def test_members_are_fainter_than_the_brightest_and_lie_around_it() -> None:
    structure = early_types(30)
    light = draw_members(structure, np.random.default_rng(1), size=128, field=40.0)
    assert light.shape == (30, MEMBERS[1], 3, 128, 128) and light.dtype == np.float32 and (light >= 0).all()
    steps = (np.arange(128) - 63.5) * 40.0 / 128
    distance = np.hypot(*np.meshgrid(steps, steps))
    counts = set()
    for row in range(30):
        there = [member for member in light[row] if member.any()]
        counts.add(len(there))
        whole = 10 ** (0.4 * (22.5 - structure.brightness[row])) * 2 * np.pi
        whole *= structure.radius[row] ** 2 * structure.axis_ratio[row]
        for member in there:
            # surface brightness per survey pixel, summed over the pixels of this grid
            flux = member[1].sum() * (40.0 / 128 / 0.262) ** 2
            assert 0.5 * FAINTEST * whole < flux < 1.1 * BRIGHTEST * whole
            peak = distance.ravel()[member[1].argmax()]
            assert NEAREST - 0.5 < peak < FARTHEST + 0.5
    assert counts == set(range(MEMBERS[0], MEMBERS[1] + 1))


def test_members_are_as_red_as_the_brightest() -> None:
    structure = early_types(20)
    light = draw_members(structure, np.random.default_rng(1), size=64, field=25.0)
    for row in range(20):
        own = structure.fluxes[row, 0, 2] / structure.fluxes[row, 0, 0]
        for member in light[row]:
            if member.any():
                assert member[2].sum() / member[0].sum() == pytest.approx(own, rel=0.35)


def test_groups_hold_more_galaxies_and_wider_arcs() -> None:
    grouped, alone = (draw_lens_stamps(60, np.random.default_rng(2), one) for one in (GROUPS, ALONE))
    more, fewer = (np.mean([len(objects) for objects in drawn.objects]) for drawn in (grouped, alone))
    assert more > fewer + 1
    wide, narrow = (
        np.median([lens.einstein_radius for lens in drawn.lenses if lens is not None]) for drawn in (grouped, alone)
    )
    assert wide > 1.5 * narrow
    for kind, objects in zip(grouped.kinds, grouped.objects, strict=True):
        assert objects.classes[: 2 * (kind == LENS)] == ("arc", "deflector")[: 2 * (kind == LENS)]
    assert np.isfinite(grouped.bands).all()


def test_einstein_radii_are_resolved_and_wider_in_groups() -> None:
    sigma = np.array([0.3, 0.3, 1.0, 9.0])
    limits = einstein_radii(LensPopulation(), sigma, np.array([False, True, False, True]))
    least = RESOLVED * FWHM_PER_SIGMA
    assert limits[0] == (1.0, 3.0) and limits[1] == (GROUP_RADII, 3.0 * GROUP_RADII)
    assert limits[2] == (pytest.approx(least), 3.0)
    assert limits[3] == (3.0 * GROUP_RADII, 3.0 * GROUP_RADII)


def test_a_population_without_groups_draws_what_it_always_drew() -> None:
    """The starting release and the figures in the docs are of these stamps."""
    drawn = draw_lens_stamps(4, np.random.default_rng(7), LensPopulation())
    again = draw_lens_stamps(4, np.random.default_rng(7), LensPopulation(groups=0.0, seeing=1.0))
    assert np.array_equal(drawn.bands, again.bands)


def test_sharper_seeing_narrows_every_band_alike() -> None:
    pixel = 0.1  # arcsec, so fine that none is as narrow as the grid allows
    survey, sharp = (draw_psf(50, pixel, np.random.default_rng(0), seeing=seeing) for seeing in (1.0, 0.6))
    torch.testing.assert_close(sharp, 0.6 * survey)
    assert draw_psf(5, 2.0, np.random.default_rng(0), seeing=0.1).unique().tolist() == [
        pytest.approx(NARROWEST_PSF, abs=1e-6)
    ]


def test_other_surveys_show_the_sky_sharper_and_deeper() -> None:
    size = SIZE
    ours, theirs = (
        draw_lens_stamps(40, np.random.default_rng(3), one, size=size, field=FIELD).bands[:, 1]
        for one in (LensPopulation(), OTHER_SURVEYS)
    )
    # neighbouring pixels of the sky, which is most of a stamp, differ by the noise alone
    ours_noise, theirs_noise = (
        np.median([np.quantile(np.abs(np.diff(band, axis=1)), 0.25) for band in bands]) for bands in (ours, theirs)
    )
    assert theirs_noise < 0.8 * ours_noise


@pytest.mark.parametrize("share", [-0.1, 1.1, np.nan])
def test_a_share_of_groups_out_of_range_is_refused(share: float) -> None:
    with pytest.raises(StampError, match="share of groups"):
        LensPopulation(groups=share)
