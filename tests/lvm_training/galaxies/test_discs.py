"""Structured discs: what is drawn where."""

import numpy as np
import pytest

from lvm_training.galaxies.catalogue import Galaxy
from lvm_training.galaxies.discs import axes, disc_side, draw_disc
from lvm_training.galaxies.population import draw_galaxy

FACE_ON = {"axis_ratio": 1.0, "half_light_radius": 5.0, "disc_scale": 3.0, "position_angle": 30.0}


@pytest.fixture(scope="module")
def spiral() -> Galaxy:
    base = draw_galaxy("spiral", "pool", 0, 0)
    structure = {"bar_fraction": 0.0, "ring_fraction": 0.0, "clumpiness": 0.0, "dust": 0.0, "flocculence": 0.0}
    arms = {"arm_count": 2, "arm_pitch": 20.0, "arm_contrast": 1.0, "young_fraction": 0.3}
    return base.model_copy(update=FACE_ON | structure | arms)


@pytest.fixture(scope="module")
def edge_on() -> Galaxy:
    base = draw_galaxy("edge-on disc", "pool", 0, 0)
    structure = {"axis_ratio": 0.2, "disc_scale": 4.0, "warp": 0.0, "dust": 0.0, "clumpiness": 0.0}
    return base.model_copy(update=structure | {"position_angle": 0.0, "bulge_fraction": 0.1, "bulge_radius": 0.5})


def rng() -> np.random.Generator:
    return np.random.default_rng(2)


def azimuthal_power(light: np.ndarray, radius: tuple[float, float], order: int) -> float:
    """Amplitude of cos(order theta) within a ring, relative to its mean."""
    along, across = axes(draw_galaxy("spiral", "pool", 0, 0).model_copy(update={"position_angle": 0.0}), len(light))
    inside = (np.hypot(along, across) > radius[0]) & (np.hypot(along, across) < radius[1])
    waves = np.exp(1j * order * np.arctan2(across, along)[inside])
    return float(abs((light[inside] * waves).sum()) / light[inside].sum())


def test_axes_point_along_the_position_angle(spiral: Galaxy) -> None:
    for angle, (row, column) in ((0.0, (1, 0)), (90.0, (0, -1)), (45.0, (1, -1))):
        along, across = axes(spiral.model_copy(update={"position_angle": angle}), 21)
        # north is up the rows, east down the columns
        far = (10 + 8 * row, 10 + 8 * column)
        assert along[far] == pytest.approx(8 * 0.262 * np.hypot(row, column), rel=1e-5)
        assert across[far] == pytest.approx(0, abs=1e-5)


def test_components_have_unit_sum(spiral: Galaxy, edge_on: Galaxy) -> None:
    busy = spiral.model_copy(update={"bar_fraction": 0.1, "bar_radius": 3.0, "ring_fraction": 0.1, "ring_radius": 4.0})
    light = draw_disc(busy.model_copy(update={"clumpiness": 0.8, "dust": 0.6}), 256, rng())
    assert light.bulge is None
    for part in (light.disc, light.young, light.bar, light.ring, light.attenuated(light.disc, 0)):
        assert part.sum() == pytest.approx(1, rel=1e-4)
        assert part.min() >= 0
    light = draw_disc(edge_on, 256, rng())
    assert light.bulge is not None
    for part in (light.bulge, light.disc, light.young):
        assert part.sum() == pytest.approx(1, rel=1e-4)


def test_maps_hold_the_disc_and_no_more(spiral: Galaxy) -> None:
    assert disc_side(spiral, 256) % 2 == 0
    assert disc_side(spiral, 256) < 256
    assert disc_side(spiral.model_copy(update={"disc_scale": 12.0}), 256) == 256


@pytest.mark.parametrize("arms", [2, 3, 4])
def test_arms_have_their_number(spiral: Galaxy, arms: int) -> None:
    young = draw_disc(spiral.model_copy(update={"arm_count": arms, "arm_contrast": 0.6}), 256, rng()).young
    powers = {order: azimuthal_power(young, (3.8, 4.1), order) for order in range(1, 7)}
    assert max(powers, key=lambda order: powers[order]) == arms


def test_the_pitch_sign_is_the_sense_of_winding(spiral: Galaxy) -> None:
    def phase(light: np.ndarray, inner: float, outer: float) -> float:
        along, across = axes(spiral.model_copy(update={"position_angle": 0.0}), len(light))
        radius = np.hypot(along, across)
        inside = (radius > inner) & (radius < outer)
        return float(np.angle((light[inside] * np.exp(2j * np.arctan2(across, along)[inside])).sum()))

    def winding(pitch: float) -> float:
        light = draw_disc(spiral.model_copy(update={"arm_pitch": pitch, "position_angle": 0.0}), 256, rng()).young
        return float(np.angle(np.exp(1j * (phase(light, 4.5, 5.0) - phase(light, 3.8, 4.3)))))

    assert winding(25.0) * winding(-25.0) < 0


def test_arms_are_absent_without_contrast_of_light() -> None:
    smooth = draw_galaxy("round smooth", "pool", 0, 0)
    barred = smooth.model_copy(update=FACE_ON | {"bar_fraction": 0.1, "bar_radius": 2.0, "bulge_fraction": 0.3})
    disc = draw_disc(barred, 256, np.random.default_rng(8)).disc
    assert max(azimuthal_power(disc, (3.0, 5.0), order) for order in (2, 3, 4)) < 0.06


def test_a_bar_lies_at_its_angle_from_the_major_axis(spiral: Galaxy) -> None:
    for angle in (0.0, 60.0, 150.0):
        barred = spiral.model_copy(update={"bar_fraction": 0.2, "bar_radius": 4.0, "bar_angle": angle})
        bar = draw_disc(barred, 256, rng()).bar
        along, across = axes(spiral, len(bar))
        measured = np.degrees(np.angle((bar * (along + 1j * across) ** 2).sum())) / 2 % 180
        assert abs((measured - angle + 90) % 180 - 90) < 1


def test_a_ring_has_its_radius(spiral: Galaxy) -> None:
    ring = draw_disc(spiral.model_copy(update={"ring_fraction": 0.2, "ring_radius": 6.0}), 256, rng()).ring
    along, across = axes(spiral, len(ring))
    assert (ring * np.hypot(along, across)).sum() == pytest.approx(6.0, rel=0.03)


def test_knots_gather_light_but_keep_the_sum(spiral: Galaxy) -> None:
    smooth = draw_disc(spiral, 256, rng()).young
    knotty = draw_disc(spiral.model_copy(update={"clumpiness": 1.0}), 256, rng()).young
    assert (knotty**2).sum() > 1.5 * (smooth**2).sum()


def test_an_edge_on_disc_has_its_axis_ratio(edge_on: Galaxy) -> None:
    disc = draw_disc(edge_on, 256, rng()).disc
    steps = np.abs(np.arange(len(disc)) - (len(disc) - 1) / 2)

    def half_light(profile: np.ndarray) -> float:
        order = np.argsort(steps, kind="stable")
        return float(np.interp(0.5, np.cumsum(profile[order]), steps[order] + 0.5))

    height, length = half_light(disc.sum(axis=0)), half_light(disc.sum(axis=1))
    # truncation at three to six scale lengths shortens the disc a little
    assert height / length == pytest.approx(0.2, rel=0.12)


def test_a_dust_lane_is_dark_in_the_plane_and_reddens(edge_on: Galaxy) -> None:
    light = draw_disc(edge_on.model_copy(update={"dust": 3.0}), 256, rng())
    plane = len(light.disc) // 2
    seen = [light.attenuated(light.disc, band)[plane, plane] / light.disc[plane, plane] for band in range(3)]
    assert seen[0] < seen[1] < seen[2] < 1


def test_a_warp_bends_both_ends_apart(edge_on: Galaxy) -> None:
    disc = draw_disc(edge_on.model_copy(update={"warp": 2.0}), 256, rng()).disc
    columns = np.arange(len(disc)) - (len(disc) - 1) / 2
    middle = len(disc) // 2
    north = (disc[middle + 30 : middle + 45] * columns).sum()
    south = (disc[middle - 45 : middle - 30] * columns).sum()
    assert north * south < 0


def test_discs_depend_on_their_random_numbers_alone(spiral: Galaxy) -> None:
    np.testing.assert_array_equal(draw_disc(spiral, 256, rng()).young, draw_disc(spiral, 256, rng()).young)
    other = draw_disc(spiral, 256, np.random.default_rng(3)).young
    assert np.abs(other - draw_disc(spiral, 256, rng()).young).max() > 0
