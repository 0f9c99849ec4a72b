"""What a classifier answers by a naive mean over views, how long it is trained, and which pictures it sees."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lvm_training.errors import LabelError, StampError
from lvm_training.stamps.symmetries import SYMMETRIES, symmetry
from lvm_training.supervised.labelled_pictures import BATCH, LabelledPictures, check_images, check_labels
from lvm_training.supervised.picture_classifier import LVMClassifier, PictureClassifier, Recipe
from lvm_training.supervised.training import EPOCHS, LEAST_STEPS, MOST_STEPS, default_steps
from tests.tiny_encoder import TINY, tiny_lvm

CLASSES = ("spiral", "smooth", "artifact")


class Pixels(nn.Module):
    """Logits that depend on how a picture lies."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.randn(3, 3 * 6 * 6, generator=torch.Generator().manual_seed(0)))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return F.linear(images.flatten(1), self.weights)


@pytest.fixture(scope="module")
def classifier() -> PictureClassifier:
    return PictureClassifier(Pixels(), CLASSES, Recipe(10, 1e-3))


def pictures(count: int, size: int = 6) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def test_an_answer_is_the_mean_of_probabilities_over_the_eight_ways_that_a_picture_lies(
    classifier: PictureClassifier,
) -> None:
    images, weights = pictures(5), classifier.network.weights.detach().double().numpy()  # type: ignore[operator,union-attr]
    wanted = np.zeros((5, 3))
    for row, image in enumerate(images.double().numpy()):
        for mirrored in (image, image[..., ::-1]):
            for quarter in range(4):
                logits = weights @ np.rot90(mirrored, quarter, (1, 2)).ravel()
                exponents = np.exp(logits - logits.max())
                wanted[row] += exponents / exponents.sum() / 8
    found = classifier.predict(images)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    np.testing.assert_allclose(found.sum(axis=1), 1)


@pytest.mark.parametrize("kind", range(SYMMETRIES))
def test_how_a_picture_lies_does_not_matter_unless_it_is_looked_at_once(
    classifier: PictureClassifier, kind: int
) -> None:
    images = pictures(4)
    turned = symmetry(images, kind).contiguous()
    np.testing.assert_allclose(classifier.predict(turned), classifier.predict(images), atol=1e-6)
    if kind:
        assert not np.allclose(classifier.predict(turned, views=1), classifier.predict(images, views=1), atol=1e-3)


@pytest.mark.parametrize("count", [1, 255, 256, 257, 600])
def test_a_picture_is_answered_the_same_among_any_number(classifier: PictureClassifier, count: int) -> None:
    images, weights = pictures(count), classifier.predict(pictures(600)[-1:])
    whole = classifier.predict(images)
    assert whole.shape == (count, 3)
    np.testing.assert_allclose(whole[-1:], classifier.predict(images[-1:]), atol=1e-7)
    if count == 600:
        np.testing.assert_allclose(whole[-1:], weights, atol=1e-7)


def test_a_new_classifier_says_that_all_classes_are_alike() -> None:
    fresh = PictureClassifier(LVMClassifier(tiny_lvm(0), 3), CLASSES, Recipe(1, 1e-3))
    np.testing.assert_allclose(fresh.predict(pictures(2, TINY.size), views=1), 1 / 3)


@pytest.mark.parametrize("count", [1, 2, 63, 64, 65, 960, 961, 9600, 9601, 1_000_000])
def test_a_default_training_sees_each_picture_twenty_times_within_limits(count: int) -> None:
    steps = default_steps(count)
    assert LEAST_STEPS <= steps <= MOST_STEPS
    seen = steps * min(BATCH, count) / count
    if LEAST_STEPS < steps < MOST_STEPS:
        assert EPOCHS <= seen < EPOCHS + EPOCHS * BATCH / count
    assert default_steps(count + 1) >= steps


@pytest.mark.parametrize("parts", [1, 2, 3, 5])
@pytest.mark.parametrize("count", [2, 7, 64, 100])
def test_every_picture_is_seen_once_before_any_is_seen_again(count: int, parts: int) -> None:
    images = torch.arange(count, dtype=torch.float32)[:, None, None, None].expand(count, 3, 4, 4)
    batches = LabelledPictures(images, torch.arange(count), 9, 3, parts)
    seen = list[int]()
    for place in range(len(batches)):
        shown, codes = batches[place]
        assert torch.equal(shown[:, 0, 0, 0].long(), codes)
        seen += codes.tolist()
    size = min(BATCH, count)
    assert len(batches) == 9 * parts and len(seen) == 9 * size
    for start in range(0, len(seen) - count + 1, count):
        assert sorted(seen[start : start + count]) == list(range(count))


def test_parts_of_a_batch_are_the_batch() -> None:
    images = pictures(20)
    whole, parted = (LabelledPictures(images, torch.arange(20), 4, 5, parts) for parts in (1, 3))
    for step in range(4):
        parts = [parted[3 * step + part] for part in range(3)]
        assert torch.equal(torch.cat([shown for shown, _ in parts]), whole[step][0])
        assert torch.equal(torch.cat([codes for _, codes in parts]), whole[step][1])


@pytest.mark.parametrize("shape", [(0, 3, 8, 8), (2, 1, 8, 8), (2, 3, 8, 9), (3, 8, 8)])
def test_pictures_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(StampError, match=r"reads pictures \(N, 3, S, S\)"):
        check_images(torch.zeros(shape))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("row", [0, 63, 64, 129])
def test_a_pixel_that_is_not_finite_is_found_wherever_it_is(value: float, row: int) -> None:
    images = torch.zeros(130, 3, 4, 4)
    images[row, 2, 3, 3] = value
    with pytest.raises(StampError, match="not finite"):
        check_images(images)


def test_labels_are_checked_whatever_their_order() -> None:
    check_labels(3, ["smooth", "spiral", "smooth"], CLASSES)
    with pytest.raises(LabelError, match=r"Labels outside the classes: , ring\."):
        check_labels(3, ["ring", "", "smooth"], CLASSES)
    with pytest.raises(LabelError, match="only 'smooth' is labelled"):
        check_labels(2, ["smooth", "smooth"], CLASSES)
    with pytest.raises(LabelError, match="2 labels for 3 pictures"):
        check_labels(3, ["smooth", "spiral"], CLASSES)
