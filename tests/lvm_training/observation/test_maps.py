"""Maps on a device: nothing stays on the host, nothing waits for the device."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from lvm_training.observation import maps
from lvm_training.observation.appearance import varied
from lvm_training.observation.degrade import degrade
from lvm_training.observation.maps import column, columns, standard_normal
from lvm_training.observation.survey_marks import survey_marks
from lvm_training.scenes.scenes import draw_scenes
from lvm_training.scenes.truth import TruthScale, standard_truth, truth, truth_scale
from lvm_training.stamps.render import stretch
from lvm_training.stamps.rendering import Rendering

RENDERING = Rendering(size=32)
PIXEL = RENDERING.field / 32


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    """A GPU of shapes and devices without numbers: mixing devices, or asking for a number, is an error there."""

    def unseeded(rng: np.random.Generator, device: torch.device) -> None:
        """There is no generator of a card that is not there."""
        assert device.type == "cuda" and rng.integers(2**62) >= 0

    monkeypatch.setattr(maps, "seeded", unseeded)
    with FakeTensorMode():
        yield torch.device("cuda")


@pytest.fixture(scope="module")
def scale() -> TruthScale:
    return truth_scale(RENDERING)


@pytest.mark.parametrize("realism", [False, True])
def test_stamps_are_drawn_degraded_and_rendered_on_the_device_alone(
    card: torch.device, scale: TruthScale, realism: bool
) -> None:
    rng = np.random.default_rng(0)
    scenes = draw_scenes(96, rng, size=32, field=25.0, separate=True, dense=True, realism=realism, device=card)
    worse = degrade(scenes.observed, rng, pixel_scale=PIXEL)
    read = standard_truth(scenes, scale, pixel=PIXEL)
    pictures = (varied(worse, RENDERING, rng), survey_marks(stretch(scenes.noiseless, RENDERING), rng, card))
    for made in (*(one for one in scenes if isinstance(one, torch.Tensor)), worse, read, *pictures):
        assert isinstance(made, FakeTensor) and made.device.type == "cuda"
    assert read.shape == (96, len(scale.names))


def test_one_seed_draws_the_same_galaxies_everywhere(card: torch.device) -> None:
    there = draw_scenes(64, np.random.default_rng(3), size=32, field=25.0, device=card).structure
    here = draw_scenes(64, np.random.default_rng(3), size=32, field=25.0).structure
    assert np.array_equal(there.radius, here.radius) and np.array_equal(there.fluxes, here.fluxes)


def test_the_standard_truth_on_a_device_is_the_standardised_truth(scale: TruthScale) -> None:
    scenes = draw_scenes(64, np.random.default_rng(1), size=32, field=RENDERING.field)
    expected = scale.standardised(truth(scenes, pixel=PIXEL))
    np.testing.assert_allclose(standard_truth(scenes, scale, pixel=PIXEL).numpy(), expected, rtol=1e-4, atol=1e-5)


def test_columns_in_one_copy_are_those_copied_alone() -> None:
    counts, shares = np.arange(5), np.linspace(0, 1, 5)
    together = columns(maps.CPU, counts, shares)
    assert torch.equal(together[0], column(counts)) and torch.equal(together[1], column(shares))
    assert together[0].shape == (5, 1, 1)


def test_noise_on_a_cpu_is_the_generators_own() -> None:
    noise = standard_normal((2, 3), np.random.default_rng(4), maps.CPU)
    assert np.array_equal(noise.numpy(), np.random.default_rng(4).standard_normal((2, 3), dtype=np.float32))


def test_seeds_on_a_device_come_from_the_generator() -> None:
    first, again, other = (
        torch.randn(9, generator=maps.seeded(np.random.default_rng(seed), maps.CPU)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)
