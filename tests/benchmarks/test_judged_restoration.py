"""What simulated people say of restored stamps, who know the truth."""

import numpy as np
import pytest
import torch

from benchmarks.bench_restoration import Alike, Unread, judged_by_truth
from lvm_training.restoration.finetuning import ARTEFACT, BETTER, WORSE, Judged
from lvm_training.restoration.metrics import DegradedSample
from lvm_training.stamps.rendering import Rendering

SIDE = 32


def said_of(observed: float, restored: torch.Tensor) -> Judged:
    """What is said where the truth is grey, and what was observed is off by so much all over."""
    true = torch.full((1, 3, SIDE, SIDE), 0.5)
    rendering = Rendering(size=SIDE, field=SIDE * 0.262)
    sample = DegradedSample(true, true + observed, true, torch.zeros(1), true, rendering)
    (found,) = judged_by_truth(sample, restored[None])
    return found


@pytest.mark.parametrize(("off", "said"), [(0.01, BETTER), (0.035, WORSE)])
def test_the_nearer_picture_is_better(off: float, said: str) -> None:
    found = said_of(0.03, torch.full((3, SIDE, SIDE), 0.5 + off))
    assert found.said == said and not found.painted.any()


def test_what_is_far_off_in_one_place_is_painted_there() -> None:
    restored = torch.full((3, SIDE, SIDE), 0.5)
    restored[:, 8:16, 20:28] = 0.9
    found = said_of(0.03, restored)
    assert found.said == ARTEFACT and found.painted[12, 24] and not found.painted[24].any()
    assert found.weight[12, 24] == 8 and (Alike(*found).weight == 1).all() and (Unread(*found).weight == 0).all()
    np.testing.assert_array_equal(Unread(*found).target, found.target)
