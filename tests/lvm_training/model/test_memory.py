"""What does not fit into memory is done in halves, and any other failure is not hidden."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lvm_training.model.memory import halving, out_of_memory


@given(batch=st.integers(1, 4096), fits=st.integers(1, 4096), least=st.integers(1, 8))
def test_the_largest_half_that_fits_is_taken(batch: int, fits: int, least: int) -> None:
    tried: list[int] = []
    said: list[str] = []

    def work(at_a_time: int) -> int:
        tried.append(at_a_time)
        if at_a_time > fits:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return at_a_time

    halves = [batch]
    while halves[-1] > fits and halves[-1] // 2 >= least:
        halves.append(halves[-1] // 2)
    if halves[-1] > fits:
        with pytest.raises(torch.OutOfMemoryError):
            halving(work, batch, said.append, least=least)
    else:
        assert halving(work, batch, said.append, least=least) == halves[-1]
    assert tried == halves
    assert [line.split(": ")[1].split()[0] for line in said] == [str(one) for one in halves[1:]]


def test_another_failure_is_not_tried_again() -> None:
    tried = []

    def work(at_a_time: int) -> None:
        tried.append(at_a_time)
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        halving(work, 64, pytest.fail)
    assert tried == [64]


@pytest.mark.parametrize(
    ("error", "memory"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), True),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
        (ValueError("memory"), False),
    ],
)
def test_what_counts_as_too_little_memory(error: Exception, memory: bool) -> None:
    assert out_of_memory(error) is memory
