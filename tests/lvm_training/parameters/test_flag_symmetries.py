"""What must not matter to flags: how a stamp lies, its unit, its type, its size, and the stamps beside it."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from lvm_training.parameters.flags import BLANK, CROWDED, EDGE, SATURATED, show_galaxies, stamp_flags
from tests.lvm_training.parameters.skies import SIDE, gaussian, noise

Stamp = NDArray[np.float32]


def alone() -> Stamp:
    return gaussian() + noise(1)


def crowded() -> Stamp:
    return gaussian() + gaussian(250, at=(18, 5)) + noise(9)


def blended() -> Stamp:
    return gaussian() + gaussian(280, at=(9, 0), angle=0) + noise(10)


def cut_off() -> Stamp:
    return gaussian(30000, sigma=16) + noise(8)


def unobserved() -> Stamp:
    stamp = gaussian() + noise(7)
    stamp[:, :, :10] = np.nan
    return stamp


def plateau() -> Stamp:
    stamp = gaussian(3000) + noise(5)
    stamp[1] = np.minimum(stamp[1], 0.5 * stamp[1].max())
    return stamp


def beside() -> Stamp:
    return gaussian(at=(24, 24)) + noise(4)


SKIES: list[tuple[Callable[[], Stamp], list[str]]] = [
    (alone, []),
    (crowded, [CROWDED]),
    (blended, [CROWDED]),
    (cut_off, [EDGE]),
    (unobserved, [EDGE]),
    (plateau, [SATURATED]),
    (beside, [BLANK]),
]
every_sky = pytest.mark.parametrize(("draw", "wanted"), SKIES, ids=lambda value: getattr(value, "__name__", None))


@every_sky
def test_a_stamp_turned_or_mirrored_has_the_same_flags(draw: Callable[[], Stamp], wanted: list[str]) -> None:
    stamp = draw()
    ways = [np.rot90(one, times, (1, 2)) for one in (stamp, stamp[:, :, ::-1]) for times in range(4)]
    assert stamp_flags(np.stack(ways)) == [wanted] * 8


@every_sky
@pytest.mark.parametrize("factor", [1e-9, 1e-3, 3631.0])
def test_another_unit_of_flux_changes_no_flag(draw: Callable[[], Stamp], wanted: list[str], factor: float) -> None:
    assert stamp_flags(np.float32(factor) * draw()[None]) == [wanted]


@every_sky
def test_a_sky_that_was_not_taken_away_changes_no_flag(draw: Callable[[], Stamp], wanted: list[str]) -> None:
    assert stamp_flags(draw()[None] + np.float32(0.7)) == [wanted]


@every_sky
@pytest.mark.parametrize("order", [(2, 1, 0), (1, 2, 0)])
def test_the_order_of_bands_changes_no_flag(
    draw: Callable[[], Stamp], wanted: list[str], order: tuple[int, ...]
) -> None:
    assert stamp_flags(draw()[None, list(order)]) == [wanted]


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ">f4"])
def test_the_type_of_pixels_changes_no_flag(dtype: str) -> None:
    for draw, wanted in SKIES:
        if draw is not plateau:  # half precision makes plateaus of its own
            assert stamp_flags(draw()[None].astype(dtype)) == [wanted]  # type: ignore[arg-type]


def test_a_stamp_has_its_flags_among_others() -> None:
    stack = np.stack([draw() for draw, _ in SKIES])
    assert stamp_flags(stack) == [wanted for _, wanted in SKIES]
    assert stamp_flags(stack[::-1]) == [wanted for _, wanted in reversed(SKIES)]
    assert stamp_flags(stack[:0]) == [] and show_galaxies(stack[:0]).shape == (0,)


@pytest.mark.parametrize("height", [40, 41, 63])
@pytest.mark.parametrize("width", [40, 45, 64])
def test_a_galaxy_in_the_middle_of_any_stamp_is_seen_and_alone(height: int, width: int) -> None:
    rows, columns = np.arange(height) - (height - 1) / 2, np.arange(width) - (width - 1) / 2
    light = np.exp(-0.5 * (rows[:, None] ** 2 + columns**2) / 2.5**2)
    stamp = np.stack([light] * 3).astype(np.float32)
    stamp += np.random.default_rng(1).normal(0, 0.01, stamp.shape).astype(np.float32)
    assert stamp_flags(stamp[None]) == [[]] and show_galaxies(stamp[None]).all()


@pytest.mark.parametrize("shape", [(40, 40), (64, 45), (64, 64)])
def test_sky_alone_is_blank_and_a_small_galaxy_on_it_is_not(shape: tuple[int, int]) -> None:
    skies = np.random.default_rng(3).normal(0, 0.01, (60, 3, *shape)).astype(np.float32)
    assert sum(found != [BLANK] for found in stamp_flags(skies)) <= 5
    middle = np.hypot(*(np.indices(shape) - np.reshape(shape, (2, 1, 1)) / 2 + 0.5))
    galaxies = skies + np.exp(-0.5 * (middle / 2.5) ** 2).astype(np.float32)
    assert sum(found != [] for found in stamp_flags(galaxies)) <= 2


@pytest.mark.parametrize(("share", "shows"), [(0.2, True), (0.24, True), (0.26, False), (0.4, False)])
def test_a_stamp_of_which_a_quarter_is_missing_shows_no_galaxy(share: float, shows: bool) -> None:
    for lack in (np.nan, 0.0):
        stamp = alone()
        stamp[:, : round(share * SIDE)] = lack
        assert show_galaxies(stamp[None]).tolist() == [shows]


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (4, 3), (3, 30)])
def test_stamps_too_small_to_tell_anything_are_no_error(shape: tuple[int, int]) -> None:
    for value in (0.0, 1.0, np.nan, np.inf):
        stamp = np.full((1, 3, *shape), value, np.float32)
        assert stamp_flags(stamp)[0] in ([BLANK], [EDGE])
