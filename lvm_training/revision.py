"""Which code made a model."""

import subprocess
from functools import lru_cache
from pathlib import Path


@lru_cache(maxsize=1)
def code_revision() -> str:
    """The git commit of the running code, `+` behind it where tracked files differ; "unknown" outside a checkout."""
    root = Path(__file__).parent.parent
    try:
        found = subprocess.run(  # noqa: S603
            ["git", "-C", str(root), "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"],  # noqa: S607
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return found.stdout.strip()
