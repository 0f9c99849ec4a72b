"""Galaxies measured from a set to numbers: what a turned sky, another row order or another pixel does to them."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from lvm_training.model.encoder import Encoder
from lvm_training.parameters.flags import BLANK, EDGE
from lvm_training.parameters.head import Measured, ParameterHead
from lvm_training.parameters.measure import (
    BATCH,
    NO_SCALE,
    PICTURES,
    measure_set,
    measured_names,
    remarks,
    split_features,
)
from lvm_training.parameters.oriented import OrientedEncoder
from lvm_training.parameters.parameter import PARAMETERS, angle_between
from lvm_training.stamps.render import render
from lvm_training.stamps.rendering import Rendering
from lvm_training.stamps.stampset import Origin, StampSet, StampWriter
from tests.lvm_training.parameters.skies import SCALE, gaussian, noise
from tests.tiny_encoder import TINY, tiny_lvm

NAMES = tuple(PARAMETERS)
ANGLE, SIZE = NAMES.index("position_angle"), NAMES.index("half_light_radius")
COUNT = 30
Stamps = NDArray[np.float32]


def galaxies(count: int = COUNT, seed: int = 0) -> tuple[Stamps, NDArray[np.float64]]:
    """Stamps of galaxies that differ, and their parameters."""
    rng = np.random.default_rng(seed)
    flux, ratio, angle = 10 ** rng.uniform(1.5, 2.8, count), rng.uniform(0.3, 0.9, count), rng.uniform(0, 180, count)
    sigma = rng.uniform(2, 4, count)
    stamps = [gaussian(flux[i], sigma=sigma[i], ratio=ratio[i], angle=angle[i]) + noise(100 + i) for i in range(count)]
    others = rng.uniform(0.5, 4, count), rng.uniform(0.02, 0.4, count)
    radius = 1.1774 * SCALE * sigma
    truth = np.stack([22.5 - 2.5 * np.log10(flux), radius, others[0], ratio, angle, others[1]], axis=1)
    return np.stack(stamps), truth


@pytest.fixture(scope="module")
def encoder() -> OrientedEncoder:
    return OrientedEncoder(Encoder(tiny_lvm(2), Rendering(size=TINY.size, field=TINY.size * SCALE)))


@pytest.fixture(scope="module")
def head(encoder: OrientedEncoder) -> ParameterHead:
    stamps, truth = galaxies()
    pictures = render(stamps, encoder.rendering, kind="nanomaggies", pixel_scale=SCALE)
    features, oriented = split_features(encoder.features(pictures).numpy())
    return ParameterHead.fit(features, truth, names=NAMES, seed=0, oriented=oriented)


def measured(
    path: Path,
    stamps: Stamps,
    encoder: OrientedEncoder,
    head: ParameterHead,
    *,
    origin: Origin = "lower",
    pixel_scale: float = SCALE,
    rows: list[int] | None = None,
) -> tuple[Measured, list[str]]:
    """What a set of these stamps is measured to be."""
    writer = StampWriter(path, stamps.shape[2:], pixel_scale=pixel_scale, origin=origin)
    writer.append(stamps, {})
    written = writer.finish()
    writer.close()
    with StampSet(written) as opened:
        chosen = None if rows is None else np.array(rows)
        batches = list(measure_set(opened, encoder, head, rows=chosen))
    parts = [np.concatenate([part[place] for part in (one.measured for one in batches)]) for place in range(2)]
    return Measured(parts[0], parts[1]), [flag for one in batches for flag in one.flags]


@pytest.mark.parametrize("turn", [1, 2, 3])
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_turned_sky_has_turned_angles_and_else_the_same_numbers(
    tmp_path: Path, encoder: OrientedEncoder, head: ParameterHead, turn: int, mirrored: bool
) -> None:
    stamps, _ = galaxies(6, seed=5)
    plain, _ = measured(tmp_path / "plain.h5", stamps, encoder, head)
    way = np.rot90(stamps[..., ::-1] if mirrored else stamps, turn, (2, 3))
    found, _ = measured(tmp_path / "turned.h5", np.ascontiguousarray(way), encoder, head)
    others = np.arange(len(NAMES)) != ANGLE
    np.testing.assert_allclose(found.values[:, others], plain.values[:, others], rtol=1e-3)
    # row 0 lies in the south and east to the left: `rot90` takes north to east, and so adds to angles
    wanted = (-plain.values[:, ANGLE] if mirrored else plain.values[:, ANGLE]) - 90 * turn
    np.testing.assert_allclose(angle_between(found.values[:, ANGLE], wanted), 0, atol=0.1)


def test_where_row_0_lies_does_not_matter(tmp_path: Path, encoder: OrientedEncoder, head: ParameterHead) -> None:
    stamps, _ = galaxies(6, seed=5)
    lower, flags = measured(tmp_path / "lower.h5", stamps, encoder, head)
    upper, others = measured(
        tmp_path / "upper.h5", np.ascontiguousarray(stamps[:, :, ::-1]), encoder, head, origin="upper"
    )
    np.testing.assert_array_equal(upper.values, lower.values)
    np.testing.assert_array_equal(upper.errors, lower.errors)
    assert flags == others


def test_rows_are_measured_in_the_order_asked_for_whatever_lies_beside_them(
    tmp_path: Path, encoder: OrientedEncoder, head: ParameterHead
) -> None:
    stamps, _ = galaxies(7, seed=5)
    many = np.concatenate([stamps] * (BATCH // 7 + 2))
    whole, _ = measured(tmp_path / "many.h5", many, encoder, head)
    np.testing.assert_allclose(whole.values, np.concatenate([whole.values[:7]] * (len(many) // 7)), rtol=1e-4)
    some, flags = measured(tmp_path / "some.h5", many, encoder, head, rows=[70, 3, 3])
    np.testing.assert_allclose(some.values, whole.values[[70, 3, 3]], rtol=1e-4)
    assert len(flags) == 3


def test_what_shows_nothing_has_no_numbers_and_what_is_cut_off_has_them_with_a_flag(
    tmp_path: Path, encoder: OrientedEncoder, head: ParameterHead
) -> None:
    stamps, _ = galaxies(4, seed=5)
    stamps[1], stamps[2] = np.nan, noise(3)
    stamps[3, :, :, :10] = np.nan
    found, flags = measured(tmp_path / "sky.h5", stamps, encoder, head)
    lacking = np.isnan(found.values).all(axis=1) & np.isnan(found.errors).all(axis=1)
    assert lacking.tolist() == [False, True, True, False]
    assert [BLANK in flag for flag in flags] == [False, True, True, False] and EDGE in flags[3]
    assert np.isfinite(found.values[[0, 3]]).all() and (found.errors[[0, 3]] > 0).all()


def test_pixels_of_unknown_size_give_no_radius_and_that_is_said(
    tmp_path: Path, encoder: OrientedEncoder, head: ParameterHead
) -> None:
    stamps, _ = galaxies(3, seed=5)
    found, _ = measured(tmp_path / "sky.h5", stamps, encoder, head, pixel_scale=float("nan"))
    assert np.isnan(found.values[:, SIZE]).all() and np.isnan(found.errors[:, SIZE]).all()
    assert np.isfinite(np.delete(found.values, SIZE, axis=1)).all()
    with StampSet(tmp_path / "sky.h5") as stamps_of_unknown_scale:
        assert remarks(stamps_of_unknown_scale, head) == [NO_SCALE]
        assert remarks(stamps_of_unknown_scale, head.only(("mag_r",))) == []
    assert measured_names(head.only(("redshift", "mag_r"))) == ["mag_r", "redshift"]
    assert PICTURES.startswith("pictures as delivered")
