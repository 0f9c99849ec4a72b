"""Running the pipeline leaves the lock file alone and reports what failed."""

import subprocess
from pathlib import Path

import pytest

from backend_ml.demo import pipeline
from backend_ml.demo.pipeline import PipelineError


def test_the_lock_is_left_as_it_was_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = tmp_path / "dvc.lock"
    lock.write_text("as committed")

    def other_weights(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        lock.write_text("as this machine computes")
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", other_weights)
    pipeline.reproduce(tmp_path, ["embed"])
    assert lock.read_text() == "as committed"


def test_a_failing_stage_is_an_error_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="failed") as caught:
        pipeline.reproduce(tmp_path, ["embed"])
    assert "dvc status" in caught.value.hint


def test_advice_of_dvc_is_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[list[str]] = []

    def keep(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        given.append(command[1:])
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", keep)
    pipeline.reproduce(tmp_path, ["embed"])
    assert given[-1] == ["-m", "dvc", "repro", "--quiet", "embed"]
