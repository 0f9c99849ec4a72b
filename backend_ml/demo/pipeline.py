"""Brings the DVC pipeline's outputs up to date."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import structlog

from lvm_training.errors import GalaxyLoopError

log = structlog.get_logger(__name__)


class PipelineError(GalaxyLoopError):
    """A stage of the pipeline failed."""

    code = "pipeline"


def reproduce(repository: Path, targets: Sequence[str]) -> None:
    """Run `dvc repro` for some stages; what is up to date is skipped.

    `dvc.lock` is left as it was found: another machine's floating point may give other weights for the same code and
    data, and running a demo must not change a tracked file. DVC's run cache keeps the outputs for the next time.

    Raises
    ------
    PipelineError
        If a stage fails; its output is on the terminal.
    """
    lock = repository / "dvc.lock"
    before = lock.read_bytes() if lock.is_file() else None
    try:
        _run(repository, "-m", "lvm_training.stages.release")
        # quiet: DVC's advice on git and remotes is not for who runs a demo; what the stages say is shown
        _run(repository, "-m", "dvc", "repro", "--quiet", *targets)
    finally:
        if before is not None and lock.read_bytes() != before:
            log.info("dvc.lock restored: this machine's outputs differ from the committed ones")
            lock.write_bytes(before)


def _run(repository: Path, *arguments: str) -> None:
    # the stages' commands say `python`, which must be this environment's
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=repository, env=os.environ | {"PATH": path}, check=False)  # noqa: S603
    if done.returncode:
        raise PipelineError(
            f"`python {' '.join(arguments)}` failed.", "Its output above says why; `dvc status` shows what is stale."
        )
