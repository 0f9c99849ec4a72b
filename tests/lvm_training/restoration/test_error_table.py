"""The table of errors, by a naive twin that looks at one cell after the other."""

import numpy as np
import pytest
from numpy.typing import NDArray

from lvm_training.restoration.error_table import FEWEST, LIGHT, ONE_SIGMA, SPREAD, ErrorTable

Floats = NDArray[np.float32]


def drawn(count: int = 30_000, seed: int = 0) -> tuple[Floats, Floats, Floats, Floats]:
    """Errors, light, spread and noise of pixels."""
    rng = np.random.default_rng(seed)
    noise = rng.uniform(0.5, 2, count)
    light, spread = noise * 10 ** rng.uniform(-1, 2.6, count), noise * 10 ** rng.uniform(-2, 0.8, count)
    error = rng.normal(size=count) * noise * (0.1 + spread / noise)
    return error.astype(np.float32), light.astype(np.float32), spread.astype(np.float32), noise.astype(np.float32)


def cell(value: float, edges: NDArray[np.generic]) -> int:
    return sum(value >= edge for edge in edges.tolist())


def test_each_full_cell_has_the_error_that_68_in_a_hundred_do_not_exceed() -> None:
    error, light, spread, noise = drawn()
    cells: dict[tuple[int, int], list[float]] = {}
    for off, bright, wide, grain in zip(error, light, spread, noise, strict=True):
        place = cell(bright / grain, LIGHT), cell(wide / grain, SPREAD)
        cells.setdefault(place, []).append(abs(off / grain))
    table = ErrorTable.fit(error, light, spread, noise).errors
    full = {place: found for place, found in cells.items() if len(found) >= FEWEST}
    assert len(full) > 40
    for place, found in full.items():
        below = np.mean(np.array(found) <= table[place])
        assert abs(below - ONE_SIGMA) <= 1.5 / len(found)


def test_a_thin_cell_lies_between_its_neighbours_of_the_same_light() -> None:
    error, light, spread, noise = drawn()
    thin = (np.digitize(light / noise, LIGHT) == 3) & (np.digitize(spread / noise, SPREAD) == 2)
    kept = ~thin | (np.cumsum(thin) < FEWEST)
    whole, table = (
        ErrorTable.fit(*(part[rows] for part in (error, light, spread, noise))).errors for rows in (slice(None), kept)
    )
    assert table[3, 2] == pytest.approx((whole[3, 1] + whole[3, 3]) / 2)
    others = np.ones_like(table, dtype=bool)
    others[3, 2] = False
    assert np.array_equal(table[others], whole[others])


def test_light_that_was_never_seen_has_the_error_of_the_nearest() -> None:
    error, light, spread, noise = drawn()
    seen = light / noise < 32
    table = ErrorTable.fit(error[seen], light[seen], spread[seen], noise[seen])
    last = cell(31.9, LIGHT)
    assert np.array_equal(table.errors[last + 1 :], np.repeat(table.errors[last : last + 1], len(LIGHT) - last, axis=0))


@pytest.mark.parametrize("factor", [1e-6, 0.25, 1e5])
def test_another_unit_of_flux_gives_the_same_errors_in_it(factor: float) -> None:
    parts = drawn()
    scaled = [np.float32(factor) * part for part in parts]
    table, other = ErrorTable.fit(*parts), ErrorTable.fit(*scaled)
    # a pixel at an edge may fall into the next cell by rounding
    np.testing.assert_allclose(other.errors, table.errors, rtol=0.02)
    same = ErrorTable(table.errors)
    close = np.isclose(same.sigma(*scaled[1:]), factor * table.sigma(*parts[1:]), rtol=1e-5)
    assert close.mean() > 0.999


def test_the_order_and_the_shape_of_pixels_do_not_matter() -> None:
    parts = drawn(6000)
    order = np.random.default_rng(1).permutation(6000)
    table = ErrorTable.fit(*parts)
    assert np.array_equal(ErrorTable.fit(*(part[order] for part in parts)).errors, table.errors)
    cube = [part.reshape(10, 3, 20, 10) for part in parts]
    assert np.array_equal(ErrorTable.fit(*cube).errors, table.errors)
    assert np.array_equal(table.sigma(*cube[1:]), table.sigma(*parts[1:]).reshape(10, 3, 20, 10))


def test_light_below_the_sky_counts_as_dark() -> None:
    table = ErrorTable.fit(*drawn())
    dark, negative = (np.full(1, value, np.float32) for value in (0.0, -50.0))
    one = np.ones(1, np.float32)
    assert table.sigma(negative, one, one) == table.sigma(dark, one, one)
