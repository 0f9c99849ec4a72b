"""What does not fit into memory is done in halves."""

from collections.abc import Callable
from typing import TypeVar

import torch

from lvm_training.progress import Say

T = TypeVar("T")


def out_of_memory(error: BaseException) -> bool:
    """Whether a processor or the host had too little memory."""
    # the CPU's allocator raises what any other fault does
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def halving(work: Callable[[int], T], batch: int, say: Say, *, least: int = 1) -> T:
    """What `work` gives for batches of `batch`, or of half of them, a quarter, ... where memory does not suffice.

    Parameters
    ----------
    work : callable
        Takes how many pictures go through a network at a time; begun anew after a failure, so it goes on by itself from
        what it kept.
    say : callable
        Is told of each halving.
    least : int
        With so few at a time the error is raised.
    """
    while True:
        try:
            return work(batch)
        except (RuntimeError, MemoryError) as error:
            if batch // 2 < least or not out_of_memory(error):
                raise
        # not within `except`: its traceback keeps the tensors of the batch that failed
        batch //= 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        say(f"Memory ran out: {batch} pictures at a time from here on.")
