"""Survey marks: pictures stay pictures, each mark does what it is named after, and most pictures keep their middle."""

import io
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image

from lvm_training.observation import survey_marks as module
from lvm_training.observation.survey_marks import bright_stars, cut_edges, jpeg, resampled, sky, survey_marks, trails
from lvm_training.scenes.scenes import draw_scenes
from lvm_training.stamps.render import stretch
from lvm_training.stamps.rendering import Rendering

Mark = Callable[[torch.Tensor, np.random.Generator], torch.Tensor]


@pytest.fixture(scope="module")
def pictures() -> torch.Tensor:
    scenes = draw_scenes(96, np.random.default_rng(0), size=44, field=25.0)
    return stretch(scenes.observed, Rendering(size=44))


@pytest.mark.parametrize("mark", [sky, bright_stars, trails, resampled, cut_edges, jpeg])
def test_a_mark_changes_some_pictures_and_keeps_them_pictures(mark: Mark, pictures: torch.Tensor) -> None:
    before = pictures.clone()
    marked = mark(pictures, np.random.default_rng(1))
    assert torch.equal(pictures, before)
    assert marked.shape == pictures.shape and marked.dtype == torch.float32
    assert marked.min() >= 0 and marked.max() <= 1 and marked.isfinite().all()
    changed = (marked != pictures).flatten(1).any(1)
    assert changed.any() and not changed.all()
    assert torch.equal(marked, mark(pictures, np.random.default_rng(1)))


def test_all_marks_together_are_drawn_from_their_generator(pictures: torch.Tensor) -> None:
    first, again, other = (survey_marks(pictures, np.random.default_rng(seed), "cpu") for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_cut_edges_are_black_and_leave_the_middle(pictures: torch.Tensor) -> None:
    bright = pictures.clamp(min=0.1)
    cut = cut_edges(bright, np.random.default_rng(0), share=1.0)
    assert ((cut == 0) | (cut == bright)).all()
    assert (cut == 0).flatten(1).any(1).all()
    assert torch.equal(cut[:, :, 18:26, 18:26], bright[:, :, 18:26, 18:26])


def test_jpeg_is_near_what_pillow_makes_of_it() -> None:
    """Against libjpeg at one quality: as far from the original, within a factor, and nearer to it than the original."""
    scenes = draw_scenes(12, np.random.default_rng(3), size=64, field=25.0, depth=(-3.0, -2.0))
    original = stretch(scenes.observed, Rendering())

    class Fixed(np.random.Generator):
        def uniform(self, low: float, high: float, size: int) -> np.ndarray:  # type: ignore[override,type-arg]
            return np.full(size, 60.0)

    ours = jpeg(original, Fixed(np.random.PCG64(0)), share=1.0)
    theirs = []
    for picture in original:
        buffer = io.BytesIO()
        pixels = (picture.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
        Image.fromarray(pixels).save(buffer, "JPEG", quality=60, subsampling=2)
        theirs.append(np.asarray(Image.open(buffer).convert("RGB"), np.float32) / 255)
    made = torch.from_numpy(np.stack(theirs)).permute(0, 3, 1, 2)
    loss, apart = (made - original).pow(2).mean(), (made - ours).pow(2).mean()
    assert apart < 0.6 * loss
    assert 0.5 < (ours - original).pow(2).mean() / loss < 2


def test_the_cosine_transform_is_orthonormal() -> None:
    np.testing.assert_allclose(module._cosines() @ module._cosines().T, np.eye(8), atol=1e-6)
