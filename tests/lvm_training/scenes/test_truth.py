"""The truth columns against the galaxies they describe."""

import numpy as np
import pytest
import torch
from scipy.special import gammaincinv

from lvm_training.scenes.scenes import draw_scenes
from lvm_training.scenes.structure import DISC, EDGE_ON
from lvm_training.scenes.truth import _scale, truth, truth_scale
from lvm_training.stamps.rendering import Rendering
from tests.lvm_training.scenes.drawn import FIELD, draw, light_of, plain


def test_columns_are_finite_but_where_there_are_no_arms() -> None:
    scenes = draw(300)
    columns = truth(scenes, pixel=FIELD / 64)
    unarmed = scenes.structure.arms == 0
    for name, values in columns.items():
        assert values.shape == (300,)
        assert np.array_equal(np.isnan(values), unarmed if name in ("arm_count", "pitch") else np.zeros(300, bool)), (
            name
        )


def test_indicators_and_strengths_are_the_structures() -> None:
    scenes = draw(300)
    s, columns = scenes.structure, truth(scenes, pixel=FIELD / 64)
    assert np.array_equal(columns["disc"] == 1, s.kind == DISC)
    assert np.array_equal(columns["edge_on"] == 1, s.kind == EDGE_ON)
    for name in ("ring", "bar", "companion", "tails", "dust"):
        assert np.array_equal(columns[name] > 0, getattr(s, name) > 0)
    assert np.array_equal(np.sign(columns["winding"]), np.sign(s.pitch) * (s.arms > 0))


def test_direction_has_no_jump_where_the_angle_wraps() -> None:
    scenes = draw(2)
    turned = [
        truth(scenes._replace(structure=plain(2, axis_ratio=0.5, angle=angle)), pixel=FIELD / 64)
        for angle in (1e-4, np.pi)
    ]
    for name in ("cosine", "sine"):
        np.testing.assert_allclose(turned[0][name], turned[1][name], atol=1e-3)
    assert turned[0]["cosine"] == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize("index", [1.0, 2.0])
def test_radii_are_those_of_a_sersic_profile(index: float) -> None:
    """Against the closed form: R_f / R50 = (b_f / b_50)^n, b_f the inverse incomplete gamma function."""
    structure = plain(1, sersic=index, radius=1.2, axis_ratio=0.6, angle=0.8)
    scenes = draw(1)._replace(structure=structure, light=light_of(structure, size=256))
    columns = truth(scenes, pixel=FIELD / 256)
    assert np.exp(columns["size"][0]) == pytest.approx(1.2, rel=0.06)
    b20, b80 = (gammaincinv(2 * index, share) for share in (0.2, 0.8))
    assert columns["concentration"][0] == pytest.approx(index * np.log(b80 / b20), abs=0.1)


def test_the_scale_makes_the_population_standard_and_is_always_the_same() -> None:
    rendering = Rendering(size=32)
    scale = truth_scale(rendering)
    again = _scale.__wrapped__(rendering.size, rendering.field)
    assert scale.names == again.names and np.array_equal(scale.mean, again.mean)
    scenes = draw_scenes(600, np.random.default_rng(9), size=32, field=FIELD)
    standard = scale.standardised(truth(scenes, pixel=FIELD / 32))
    assert standard.dtype == np.float32 and standard.shape == (600, len(scale.names))
    np.testing.assert_allclose(np.nanmean(standard, axis=0), 0, atol=0.3)
    np.testing.assert_allclose(np.nanstd(standard, axis=0), 1, atol=0.3)
    assert torch.from_numpy(standard).isnan().any()
