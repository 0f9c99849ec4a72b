"""Processes of their own that tests kill: forks of a server that has loaded PyTorch and Lightning once.

A fresh interpreter loads them for five seconds, which costs more than most of what such a process then does.
"""

import multiprocessing
import os
import uuid
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from unittest.mock import patch

from torch.distributed.launcher.api import LaunchConfig, elastic_launch

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.preloaded"])


def start(function: Callable[..., object], *arguments: object) -> ForkServerProcess:
    """Run a module's function in a process of its own, which ends with this one at the latest."""
    process = _context.Process(target=function, args=arguments, daemon=True)
    process.start()
    return process


def exit_status(function: Callable[..., object], *arguments: object) -> int | None:
    """Run a module's function in a process of its own; how that ended, None after three minutes."""
    process = start(function, *arguments)
    process.join(180)
    return process.exitcode


def torchrun(function: Callable[..., None], *arguments: object, restarts: int = 0) -> None:
    """Run a function in two processes, as `torchrun --nproc_per_node=2 --max-restarts=N` does with a program.

    Raises
    ------
    ChildFailedError
        If one dies oftener than they are started again.
    """
    launched = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=2,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=restarts,
        monitor_interval=0.1,
        start_method="forkserver",
    )
    # with a shared store the second attempt waits for what the first one left there
    with patch.dict(os.environ, TORCH_DISABLE_SHARE_RDZV_TCP_STORE="1"):
        elastic_launch(launched, function)(*arguments)
