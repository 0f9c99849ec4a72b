"""Which blocks can be hidden, and which are."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lvm_training.model.masking import block_mask, check_blocks, hidden_pixels
from lvm_training.params import ParamsError


def tiles(block: int) -> bool:
    try:
        check_blocks(block, size=64, patch=4)
    except ParamsError:
        return False
    return True


def test_the_blocks_that_tile_a_picture() -> None:
    assert [block for block in range(1, 130) if tiles(block)] == [4, 8, 16, 32, 64]


@pytest.mark.parametrize("block", [1, 2, 6, 12, 65, 128])
def test_blocks_that_do_not(block: int) -> None:
    with pytest.raises(ParamsError, match=f"blocks of {block} pixels do not tile a picture of 64") as raised:
        check_blocks(block, size=64, patch=4)
    assert raised.value.hint == "`mask_patch` must be a multiple of 4 that divides 64."


@given(
    count=st.integers(0, 4),
    masked=st.integers(0, 5),
    block=st.sampled_from([4, 8, 16, 32]),
    ratio=st.floats(0, 1),
    seed=st.integers(0, 9),
)
def test_whole_blocks_are_hidden_the_same_number_in_each_masked_picture(
    count: int, masked: int, block: int, ratio: float, seed: int
) -> None:
    mask = block_mask(count, masked, size=32, patch=4, block=block, ratio=ratio, rng=np.random.default_rng(seed))
    assert mask.shape == (count, 8, 8) and mask.dtype == torch.bool
    step, wanted = block // 4, round(ratio * (32 // block) ** 2)
    for picture, one in enumerate(mask):
        tiles = [one[y : y + step, x : x + step] for y in range(0, 8, step) for x in range(0, 8, step)]
        assert all(bool(tile.all()) == bool(tile.any()) for tile in tiles), "a block is hidden whole"
        assert sum(bool(tile.all()) for tile in tiles) == (wanted if picture < masked else 0)


def test_each_block_is_hidden_as_often_as_any_other() -> None:
    mask = block_mask(4000, 4000, size=16, patch=4, block=4, ratio=0.25, rng=np.random.default_rng(0))
    assert mask[0].tolist() != mask[1].tolist()
    # five standard deviations of a binomial
    assert (mask.float().mean(0) - 0.25).abs().max() < 5 * (0.25 * 0.75 / 4000) ** 0.5


@given(st.integers(1, 4), st.integers(1, 3), st.integers(0, 9))
def test_pixels_are_hidden_with_their_patch(patch: int, grid: int, seed: int) -> None:
    mask = torch.from_numpy(np.random.default_rng(seed).random((2, grid, grid)) < 0.5)
    pixels = hidden_pixels(mask, patch)
    assert pixels.shape == (2, 1, grid * patch, grid * patch)
    for y in range(grid * patch):
        for x in range(grid * patch):
            assert torch.equal(pixels[:, 0, y, x], mask[:, y // patch, x // patch])
