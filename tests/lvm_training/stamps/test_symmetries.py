"""The eight symmetries of the square."""

import itertools

import numpy as np
import torch

from lvm_training.stamps.symmetries import symmetry, turned


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
