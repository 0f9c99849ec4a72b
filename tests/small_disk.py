"""A disk so small that it becomes full, which one command alone sees."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

# root needs no users of its own, among whom PostgreSQL's would be none
ALONE = ["unshare", "--mount", *(["--map-root-user"] if os.geteuid() else [])]
SCRIPT = """mount -t tmpfs -o "size=$1" tmpfs "$2" && shift 2 && exec "$@" """


def on_small_disk(
    folder: Path, size: str, command: Sequence[str | Path], environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command for which an empty folder is a disk of so many bytes; `600k`, `4m`."""
    if subprocess.run([*ALONE, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody mount a small disk")
    words = [*ALONE, "sh", "-c", SCRIPT, "sh", size, folder, *command]
    return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=240, check=False)
