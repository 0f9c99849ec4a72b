"""Makes a clone of Galaxy Loop ready for experiments; again, it finds what is there and changes nothing."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from backend_ml.experiments.repository import Pipeline, PipelineError
from backend_ml.rebuilding.clone import RebuildError, ask_git, is_anothers, run_git
from lvm_training.progress import Steps

REMOTE = "pipeline"
AUTHOR = {"user.name": "Galaxy Loop", "user.email": "galaxyloop@localhost"}


def prepare(folder: Path, repo: str, steps: Steps, *, remote: str | None = None, cache: Path | None = None) -> str:
    """Clone a repository, or take the clone that is there; give it author, cache, remote and data.

    Parameters
    ----------
    folder : Path
        Not there yet, empty, or such a clone without local changes.
    repo : str
        What is cloned: a checkout, or an address that git knows.
    remote : str, optional
        Where DVC pushes what accepted experiments made: a folder or an address that DVC knows.
    cache : Path, optional
        A cache that others share; by default the clone has its own.

    Returns
    -------
    str
        What of data/release nobody here has; empty where all is there.

    Raises
    ------
    PipelineError
        If the folder holds something else or local changes, or a step fails.
    ReleaseError
        As `keep_release`.
    """
    pipeline = Pipeline(folder.absolute())
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        _check_free(pipeline)
    else:
        with steps("Cloning"):
            _clone(repo, pipeline.root)
        if not pipeline.is_pipeline():
            raise PipelineError(f"{repo} has no stage `finetune` in a dvc.yaml.", "Name Galaxy Loop's own with --repo.")
        _check_fit(pipeline)
    for name, value in AUTHOR.items():
        if ask_git(pipeline.root, "config", "--local", name) is None:
            _git(pipeline.root, "config", name, value)
    _configure(pipeline, remote, cache)
    with steps("Data"):
        return _fill(pipeline)


def _clone(repo: str, folder: Path) -> None:
    """Clone into a folder that is empty or not there; what failed leaves nothing that would be taken for a clone."""
    given = folder.is_dir()
    try:
        run_git(Path(), "clone", "--quiet", "--", repo, str(folder))
    except RebuildError as error:
        # a folder that somebody made, with the owner that it needs, stays
        for left in list(folder.iterdir()) if given else [folder]:
            shutil.rmtree(left, ignore_errors=True)
        raise PipelineError(
            error.message, f"Look at the address, and whether the disk of {folder.parent} is full."
        ) from error


def _check_free(pipeline: Pipeline) -> None:
    """Raise a PipelineError unless a folder that is there is a clone whose every change is committed."""
    if is_anothers(pipeline.root):
        raise PipelineError(
            f"{pipeline.root} belongs to another user.", "Give this as the user whose workers run experiments there."
        )
    _check_fit(pipeline)
    if not pipeline.is_pipeline():
        raise PipelineError(
            f"{pipeline.root} is there, and is no clone of Galaxy Loop.", "Name a folder that is not there yet."
        )
    if changed := pipeline.changed():
        raise PipelineError(
            f"{pipeline.root} has local changes, which would be lost or learned: {', '.join(changed[:5])}.",
            f"Commit them, or take them back: `git -C {pipeline.root} status` shows them.",
        )


def _check_fit(pipeline: Pipeline) -> None:
    """Raise a PipelineError where git cannot commit, or DVC not find what it made."""
    for problem in pipeline.unfit():
        raise PipelineError(f"No experiment can run: {problem.text}.", f"`{problem.command}`; then give this again.")


def _configure(pipeline: Pipeline, remote: str | None, cache: Path | None) -> None:
    """Write cache and remote where git does not keep them."""
    from lvm_training.stages.release.pinned import dvc_repository

    with dvc_repository(pipeline.root) as repo, repo.config.edit("local") as settings:
        if cache is not None:
            settings["cache"]["dir"] = str(cache.absolute())
        if remote is not None:
            url = remote if urlsplit(remote).scheme else str(Path(remote).absolute())
            settings["remote"] = {**settings.get("remote", {}), REMOTE: {"url": url}}
            settings["core"]["remote"] = REMOTE


def _fill(pipeline: Pipeline) -> str:
    """Regenerate the release, fetch what is pinned beside it, and have the cache hold both."""
    from lvm_training.stages.release.pinned import Pinned, keep_release, missing_words

    command = [sys.executable, "-m", "lvm_training.stages.release"]
    environment: Mapping[str, str] = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=pipeline.root, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["without a word"]
        raise PipelineError(f"`make data` failed in {pipeline.root}: {said[-1]}", "Mend it, and give this again.")
    if missing := Pinned.read(pipeline.root).missing(pipeline.root):
        return missing_words(missing)
    keep_release(pipeline.root)
    return ""


def _git(folder: Path, *words: str) -> None:
    try:
        run_git(folder, *words)
    except RebuildError as error:
        raise PipelineError(error.message, "Look at the folder.") from error
