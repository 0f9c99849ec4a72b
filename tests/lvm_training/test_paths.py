"""Released checkpoints are found wherever a command is given."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lvm_training.paths import CARD

ROOT = Path(__file__).parents[2]
NAMES = ("RELEASED_LVM", "EARLIER_LVM", "RELEASED_DETECTOR", "RELEASED_PARAMETERS")


def read(folder: Path) -> list[Path]:
    """The checkpoints of a process that was started in a folder."""
    script = f"from lvm_training import paths; print(*[getattr(paths, name) for name in {NAMES}], sep='\\n')"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, env=environment, check=True, capture_output=True, text=True
    )
    return [Path(line) for line in run.stdout.splitlines()]


def test_in_the_repository_they_are_relative_to_it() -> None:
    found = read(ROOT)
    assert all(not path.is_absolute() and (ROOT / path / CARD).is_file() for path in found)


def test_elsewhere_they_are_those_of_the_repository(tmp_path: Path) -> None:
    assert [path.resolve() for path in read(tmp_path)] == [(ROOT / path).resolve() for path in read(ROOT)]


@pytest.mark.parametrize("name", ["lvm-nano-2"])
def test_a_folder_with_models_of_its_own_keeps_them(tmp_path: Path, name: str) -> None:
    (tmp_path / "models" / name).mkdir(parents=True)
    released, *others = read(tmp_path)
    assert released == Path("models", name) and all(path.is_absolute() for path in others)
