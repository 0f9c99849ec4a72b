"""Run lengths against pycocotools, and broken ones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from lvm_training.objects.instances import InstanceError
from lvm_training.objects.run_lengths import RunLengths, pack_mask, unpack_mask

MASKS = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=30))
Mask = NDArray[np.bool_]


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")
@given(MASKS)
def test_run_lengths_are_those_of_pycocotools(mask: Mask) -> None:
    height, width = mask.shape
    packed = pack_mask(mask)
    assert (coco_mask.decode(packed) == mask).all()
    assert (unpack_mask(RunLengths(**packed), (height, width)) == mask).all()
    changes = np.flatnonzero(np.diff(mask.T.ravel(), prepend=False, append=not mask.T.ravel()[-1]))
    plain = RunLengths(size=(height, width), counts=np.diff(changes, prepend=0).tolist())
    assert (unpack_mask(plain, (height, width)) == mask).all()


def test_long_runs_take_several_characters() -> None:
    mask = np.zeros((2000, 3000), dtype=bool)
    mask[5:1990, 100] = mask[700:705, 2000:] = True
    assert (unpack_mask(RunLengths(**pack_mask(mask)), mask.shape) == mask).all()


@given(st.text(st.characters(max_codepoint=300), max_size=12))
def test_any_packed_text_gives_a_mask_or_our_error(text: str) -> None:
    try:
        assert unpack_mask(RunLengths(size=(4, 5), counts=text), (4, 5)).shape == (4, 5)
    except InstanceError as error:
        assert "un lengths" in error.message
