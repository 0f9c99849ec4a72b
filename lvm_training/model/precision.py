"""The arithmetic a processor is fast in, asked at run time: bfloat16 on GPUs and on CPUs with AMX tiles, else float32.

Weights, optimiser and what a training resumes from are float32 in either case, so a run may go on on another kind of
processor. On a CPU with AMX training takes a third to a sixth of the time (docs/why/gpu-training.md); on one without,
bfloat16 is slower than float32, since every product is widened first.
"""

import os
from contextlib import AbstractContextManager
from typing import Literal, get_args

import torch

from lvm_training.params import ParamsError

Precision = Literal["float32", "bf16"]
VARIABLE = "GALAXYLOOP_PRECISION"


def fast_precision(device: torch.device | str) -> Precision:
    """What to compute in on a device: what the environment variable GALAXYLOOP_PRECISION says, else what is fast there.

    Raises
    ------
    ParamsError
        If the variable names no precision.
    """
    asked = os.environ.get(VARIABLE, "").strip() or "auto"
    if asked in get_args(Precision):
        return asked  # type: ignore[return-value]
    if asked != "auto":
        raise ParamsError(
            f"{VARIABLE} is {asked!r}.", f"Set it to {', '.join(get_args(Precision))} or auto, or leave it out."
        )
    fast = gpu_has_bf16() if torch.device(device).type == "cuda" else cpu_has_amx()
    return "bf16" if fast else "float32"


def trainer_precision(device: torch.device | str) -> Literal["bf16-mixed", "32-true"]:
    """`fast_precision` in the words of Lightning's `Trainer`."""
    return "bf16-mixed" if fast_precision(device) == "bf16" else "32-true"


def computing(device: torch.device | str, precision: Precision) -> AbstractContextManager[object]:
    """A context in which matrix products are computed in this precision."""
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=precision == "bf16")


def gpu_has_bf16() -> bool:
    """Whether the first GPU computes in bfloat16 without emulating it."""
    return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)


def cpu_has_amx() -> bool:
    """Whether this CPU multiplies tiles of bfloat16."""
    # no public name yet: torch.cpu.get_capabilities() is newer than the oldest torch that this runs with
    return bool(torch.cpu._is_amx_tile_supported())
