"""Which blocks can be hidden."""

import pytest

from lvm_training.model.masking import check_blocks
from lvm_training.params import ParamsError


@pytest.mark.parametrize("block", [4, 8, 16, 32, 64])
def test_blocks_that_tile_a_picture(block: int) -> None:
    check_blocks(block, size=64, patch=4)


@pytest.mark.parametrize("block", [1, 2, 6, 12, 65, 128])
def test_blocks_that_do_not(block: int) -> None:
    with pytest.raises(ParamsError, match=f"blocks of {block} pixels do not tile a picture of 64") as raised:
        check_blocks(block, size=64, patch=4)
    assert raised.value.hint == "`mask_patch` must be a multiple of 4 that divides 64."
