"""DVC's own commands in a pipeline repository, as processes that end with the one that started them."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

from backend_ml.experiments.repository import STAGE, Pipeline, PipelineError
from backend_ml.kinds.kind import Report

# a script that imports nothing of ours, so that it can be run from below the package that it lies in
GUARD = Path(str(files("backend_ml").joinpath("local", "process_guard.py")))
SIGINT, GRACE, LOOK = 2, 5.0, 1.0  # at an interrupt DVC puts back what it changed
TAIL = 8192  # bytes of a log
STEPS = re.compile(r": steps: (\d+) of (\d+)")


def run_experiment(
    pipeline: Pipeline, name: str, settings: Mapping[str, str], log: Path, report: Report, *, again: bool
) -> str:
    """Run the stage `finetune` with parameters of `params.yaml` set, in a folder of its own; the experiment's commit.

    Parameters
    ----------
    log : Path
        Where its output goes; the latest one alone is kept.
    report : callable
        Hears how far it is, every second; what it raises ends the experiment.
    again : bool
        Whether one of that name is to be replaced.

    Raises
    ------
    PipelineError
        If it fails; with the last lines of its output.
    """
    values = [word for key, value in settings.items() for word in ("--set-param", f"{key}={_quoted(value)}")]
    force = ["--force"] if again else []
    pipeline.begin()
    try:
        run_dvc(pipeline, ["exp", "run", "--temp", "--name", name, *force, *values, STAGE], log, report)
    except PipelineError:
        pipeline.end()  # it ended by itself, and put back what it changed
        raise
    pipeline.end()
    revision = pipeline.find(name)
    if revision is None:
        raise PipelineError(f"DVC ended well, and there is no experiment {name}.", f"Its output is in {log}.")
    return revision


def push(pipeline: Pipeline, log: Path) -> str | None:
    """Push what accepted experiments made to DVC's remote; why it failed, or None. Without a remote nothing is done."""
    if not pipeline.has_remote():
        return None
    try:
        # not --quiet, which keeps errors back
        run_dvc(pipeline, ["push", "--all-branches", STAGE, "data.dvc"], log, lambda *_: None)
    except PipelineError as error:
        return error.message
    return None


def run_dvc(pipeline: Pipeline, words: Sequence[str], log: Path, report: Report) -> None:
    """Run `dvc` with the repository's code and this environment's libraries.

    Raises
    ------
    PipelineError
        If it fails; with the last lines of its output.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    # what the clone runs is its own code
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"PATH": path}
    log.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    guard = [sys.executable, "-I", str(GUARD), "--signal", str(SIGINT), "--grace", str(GRACE), "--log", str(log)]
    command = [*guard, "--", sys.executable, "-m", "dvc", *words]
    with (
        pipeline.held() as lock,
        subprocess.Popen(  # noqa: S603
            command,
            cwd=pipeline.root,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            pass_fds=[lock],  # the guard has it until all has ended, also where this process is killed
        ) as process,
    ):
        try:
            status = _waited(process, log, report)
        finally:
            # the guard ends what it started as soon as nobody holds this
            assert process.stdin is not None  # noqa: S101 - asked for above
            process.stdin.close()
    if status:
        raise PipelineError(
            f"`dvc {' '.join(words[:2])}` failed in {pipeline.root}: {_last_words(log)}.", f"All of it is in {log}."
        )


def _waited(process: subprocess.Popen[bytes], log: Path, report: Report) -> int:
    while True:
        try:
            return process.wait(LOOK)
        except subprocess.TimeoutExpired:
            steps = STEPS.findall(_tail(log))
            report("experiment", *(map(int, steps[-1]) if steps else (0, 1)))


def _tail(log: Path) -> str:
    if not log.is_file():
        return ""
    with log.open("rb") as stream:
        stream.seek(max(log.stat().st_size - TAIL, 0))
        return stream.read().decode(errors="replace")


def _last_words(log: Path) -> str:
    """Why a command failed, as far as it said so."""
    lines = [line.strip() for line in _tail(log).splitlines() if line.strip()]
    told = [line for line in lines if "failed to reproduce" not in line and "https://dvc.org" not in line]
    return " ".join(told[-3:]).rstrip(".") or "without a word"


def _quoted(value: str) -> str:
    """A value of a parameter in the grammar of Hydra's overrides, which DVC reads."""
    text = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{text}'"
