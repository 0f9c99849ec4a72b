"""The batches of a training: every picture in its turn, turned by chance that a seed repeats."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lvm_training.errors import LabelError, StampError
from lvm_training.stamps.symmetries import SYMMETRIES, symmetry
from lvm_training.supervised.labelled_pictures import BATCH, LabelledPictures, check_images, check_labels


def pictures(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures without any symmetry whose first pixels add up to their row, and their rows as codes."""
    shape = torch.arange(16, dtype=torch.float32).reshape(1, 1, 4, 4) / 100
    rows = torch.arange(count)
    return rows[:, None, None, None] + shape.expand(count, 3, 4, 4), rows


@settings(max_examples=40, deadline=None)
@given(count=st.integers(1, 150), steps=st.integers(1, 6), seed=st.integers(0, 99))
def test_each_picture_comes_once_before_any_comes_twice(count: int, steps: int, seed: int) -> None:
    images, codes = pictures(count)
    batches = LabelledPictures(images, codes, steps, seed)
    assert len(batches) == steps
    size = min(BATCH, count)
    seen = []
    for index in range(steps):
        shown, rows = batches[index]
        assert shown.shape == (size, 3, 4, 4)
        for picture, row in zip(shown, rows.tolist(), strict=True):
            own = images[row][None]
            assert any(torch.equal(picture, symmetry(own, kind)[0]) for kind in range(SYMMETRIES))
        seen += rows.tolist()
    for start in range(0, len(seen), count):
        epoch = seen[start : start + count]
        assert len(set(epoch)) == len(epoch)


@settings(max_examples=30, deadline=None)
@given(count=st.integers(2, 100), parts=st.integers(1, 7), seed=st.integers(0, 9))
def test_parts_of_a_batch_are_the_batch(count: int, parts: int, seed: int) -> None:
    images, codes = pictures(count)
    whole, split = (LabelledPictures(images, codes, 3, seed, number) for number in (1, parts))
    assert len(split) == 3 * parts
    for index in range(3):
        given_parts = [split[index * parts + part] for part in range(parts)]
        shown, rows = (torch.cat(one) for one in zip(*given_parts, strict=True))
        assert torch.equal(shown, whole[index][0]) and torch.equal(rows, whole[index][1])


def test_batches_depend_on_seed_and_number_alone() -> None:
    images, codes = pictures(70)
    one, again, other = (LabelledPictures(images, codes, 4, seed) for seed in (1, 1, 2))
    assert torch.equal(one[3][0], again[3][0]), "whatever was asked for before"
    assert not torch.equal(one[0][1], other[0][1])
    kinds = {
        tuple(picture[0, 0].tolist())
        for index in range(4)
        for picture in one[index][0] - one[index][1][:, None, None, None]
    }
    assert len(kinds) >= SYMMETRIES // 2, "turned and mirrored"


@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(3, 32, 32),
        torch.zeros(2, 1, 32, 32),
        torch.zeros(2, 3, 32, 31),
        torch.zeros(0, 3, 32, 32),
        torch.full((2, 3, 8, 8), torch.nan),
        torch.full((2, 3, 8, 8), torch.inf),
    ],
)
def test_pictures_that_no_classifier_reads(images: torch.Tensor) -> None:
    with pytest.raises(StampError) as found:
        check_images(images)
    assert "render" in found.value.hint


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (["a"], "1 labels for 2 pictures"),
        (["a", "c"], "outside the classes: c"),
        (["a", "a"], "only 'a' is labelled"),
    ],
)
def test_labels_of_which_nothing_is_learned(labels: list[str], words: str) -> None:
    with pytest.raises(LabelError, match=words):
        check_labels(2, labels, ("a", "b"))
