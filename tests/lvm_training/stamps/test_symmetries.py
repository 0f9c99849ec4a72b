"""The eight symmetries of the square."""

import itertools

import numpy as np
import pytest
import torch

from lvm_training.stamps.symmetries import SYMMETRIES, symmetry, symmetry_of_boxes, turned


def test_the_symmetries_are_those_of_a_square() -> None:
    picture = torch.arange(27.0).reshape(1, 3, 3, 3)
    views = [symmetry(picture, kind) for kind in range(8)]
    assert torch.equal(views[0], picture)
    assert all(not torch.equal(one, other) for one, other in itertools.combinations(views, 2))
    for view in views:
        assert torch.equal(view[0, :, 1, 1], picture[0, :, 1, 1])
        assert sorted(view[0, 0, [0, 0, 2, 2], [0, 2, 0, 2]].tolist()) == [0, 2, 6, 8]


def test_the_eight_symmetries_are_those_of_the_square() -> None:
    picture = torch.arange(48.0).reshape(1, 3, 4, 4)
    pictures = turned(picture.expand(8, -1, -1, -1), np.arange(8))
    assert len({tuple(one.flatten().tolist()) for one in pictures}) == 8
    assert torch.equal(pictures[1], torch.rot90(picture[0], 1, (1, 2)))
    assert torch.equal(pictures[4], picture[0].flip(2))
    back = turned(turned(picture.expand(4, -1, -1, -1), np.arange(4)), -np.arange(4) % 4)
    assert torch.equal(back, picture.expand(4, -1, -1, -1))


@pytest.mark.parametrize("kind", range(SYMMETRIES))
def test_edges_of_boxes_turn_with_the_pixels(kind: int) -> None:
    """Corners are carried as pixels are: the picture of a corner's pixel is where its box of one pixel lands."""
    size, rng = 9, np.random.default_rng(kind)
    for column, row in rng.integers(size, size=(12, 2)):
        picture = torch.zeros(1, 3, size, size)
        picture[0, :, row, column] = 1
        ((there_row, there_column),) = symmetry(picture, kind)[0, 0].nonzero().tolist()
        box = torch.tensor([[column, row, column + 1, row + 1]]).float()
        expected = [[there_column, there_row, there_column + 1, there_row + 1]]
        assert symmetry_of_boxes(box, kind, size).tolist() == expected
    assert symmetry_of_boxes(torch.zeros(0, 4), kind, size).shape == (0, 4)


def test_fractions_of_pixels_turn_by_hand() -> None:
    box = torch.tensor([[0.25, 1.5, 4.75, 2.0]])
    assert symmetry_of_boxes(box, 0, 8).tolist() == [[0.25, 1.5, 4.75, 2.0]]
    assert symmetry_of_boxes(box, 1, 8).tolist() == [[1.5, 3.25, 2.0, 7.75]]
    assert symmetry_of_boxes(box, 2, 8).tolist() == [[3.25, 6.0, 7.75, 6.5]]
    assert symmetry_of_boxes(box, 4, 8).tolist() == [[3.25, 1.5, 7.75, 2.0]]
