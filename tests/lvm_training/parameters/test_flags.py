import numpy as np
import pytest
from numpy.typing import NDArray

from lvm_training.parameters.flags import BLANK, CROWDED, EDGE, SATURATED, stamp_flags
from tests.lvm_training.parameters.skies import SIDE, gaussian, noise


def flags(stamp: NDArray[np.generic]) -> list[str]:
    return stamp_flags(stamp[None])[0]  # type: ignore[arg-type]


def test_a_galaxy_alone_has_none() -> None:
    assert flags(gaussian() + noise(1)) == []


@pytest.mark.parametrize("stamp", [np.zeros((3, SIDE, SIDE), np.float32), np.full((3, SIDE, SIDE), np.nan), noise(3)])
def test_a_stamp_that_shows_nothing_is_blank(stamp: NDArray[np.float32]) -> None:
    assert flags(stamp) == [BLANK]


def test_a_galaxy_beside_the_middle_is_not_the_one_that_is_measured() -> None:
    assert flags(gaussian(at=(24, 24)) + noise(4)) == [BLANK]


def test_a_plateau_is_saturated() -> None:
    stamp = gaussian(3000) + noise(5)
    stamp[1] = np.minimum(stamp[1], 0.5 * stamp[1].max())
    assert flags(stamp) == [SATURATED]


def test_a_white_plateau_in_a_picture_is_saturated() -> None:
    light = gaussian(3000)
    picture = np.clip(20 + 60 * light + 3 * noise(6, 1.0), 0, 255).astype(np.uint8)
    assert SATURATED in flags(picture)
    dim = np.clip(20 + 0.9 * 235 * light / light.max() + noise(6, 1.0), 0, 250).astype(np.uint8)
    assert SATURATED not in flags(dim)


def test_a_stamp_at_the_edge_of_what_was_observed() -> None:
    stamp = gaussian() + noise(7)
    stamp[:, :, :10] = np.nan
    assert flags(stamp) == [EDGE]
    stamp[:, :, :10] = 0
    assert flags(stamp) == [EDGE]


@pytest.mark.parametrize("lack", [np.nan, 0.0])
@pytest.mark.parametrize(("band", "flag"), [(0, "no_g"), (1, "no_r"), (2, "no_z")])
def test_bands_that_are_there_count_where_one_is_missing(lack: float, band: int, flag: str) -> None:
    stamp = gaussian() + noise(7)
    stamp[band] = lack
    assert flags(stamp) == [flag]
    stamp[:, :, :10] = lack
    assert flags(stamp) == [EDGE, flag]


@pytest.mark.parametrize("lack", [np.nan, 0.0])
def test_a_band_that_ends_before_the_middle_is_missing(lack: float) -> None:
    stamp = gaussian() + noise(7)
    stamp[0, :, 20:] = lack
    assert flags(stamp) == ["no_g"]
    stamp[1:, :, 20:] = lack
    assert flags(stamp) == [BLANK]


def test_a_picture_without_blue_lacks_no_band() -> None:
    picture = np.clip(20 + 0.9 * gaussian(3000) + noise(6, 1.0), 0, 250).astype(np.uint8)
    picture[2] = 0
    assert flags(picture) == []


def test_a_galaxy_that_reaches_the_border() -> None:
    assert flags(gaussian(30000, sigma=16) + noise(8)) == [EDGE]


def test_two_galaxies_in_one_stamp() -> None:
    beside = gaussian() + gaussian(250, at=(18, 5)) + noise(9)
    blended = gaussian() + gaussian(280, at=(9, 0), angle=0) + noise(10)
    faint = gaussian() + gaussian(40, sigma=1.5, at=(18, 5)) + noise(11)
    assert [flags(one) for one in (beside, blended, faint)] == [[CROWDED], [CROWDED], []]


def test_knots_of_a_ring_and_a_star_in_front_are_no_second_galaxy() -> None:
    places = [(12 * np.cos(turn), 12 * np.sin(turn)) for turn in np.arange(0, 2 * np.pi, np.pi / 3)]
    knots = sum((gaussian(9, sigma=1.5, ratio=1, at=at) for at in places), gaussian(100, sigma=6, ratio=0.9))
    star = gaussian(300, sigma=6) + gaussian(20, sigma=1.2, ratio=1, at=(10, 4))
    assert [flags(one + noise(12)) for one in (knots, star)] == [[], []]
    assert flags(star + gaussian(150, sigma=1.5, ratio=1, at=(10, 4)) + noise(12)) == [CROWDED]
