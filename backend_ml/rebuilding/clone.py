"""A clean clone of the code that made a version, or of the present code where that one is not to be had."""

import os
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

from backend_ml.rebuilding.work import CODE, RUNNER
from lvm_training.errors import GalaxyLoopError


class RebuildError(GalaxyLoopError):
    """A version that cannot be made again."""

    code = "rebuild"


@dataclass(frozen=True)
class Source:
    """Which code a version is made again with.

    Attributes
    ----------
    root : Path
        Of the git checkout.
    commit : str
    notes : tuple of str
        What people should know: another commit than the version's, and what is left out.
    """

    root: Path
    commit: str
    notes: tuple[str, ...]


def choose_source(repo: Path, revision: str) -> Source:
    """The commit to use for a version of that revision, as `revision.code_revision` wrote it.

    Raises
    ------
    RebuildError
        If the folder is no git checkout of this project.
    """
    root = ask_git(repo, "rev-parse", "--show-toplevel")
    if root is None and is_anothers(repo):
        raise RebuildError(
            f"{repo.absolute()} belongs to another user, whose checkouts git leaves alone.",
            f"`git config --global --add safe.directory {shlex.quote(str(repo.absolute()))}`, if you trust them.",
        )
    head = ask_git(repo, "rev-parse", "--verify", "HEAD^{commit}")
    if root is None or head is None or not _has(Path(root), head, RUNNER):
        raise RebuildError(
            f"{repo.absolute()} is no git checkout of Galaxy Loop with the code that rebuilds versions.",
            "Run this in one, or name it with --repo; `git clone` makes one.",
        )
    commit, notes = _made_by(Path(root), revision, head)
    changed = (ask_git(Path(root), "status", "--porcelain", "--untracked-files=no") or "").split("\n")
    files = [line[3:] for line in changed if line]
    if files:
        named = ", ".join(files[:5]) + (f" and {len(files) - 5} more" if len(files) > 5 else "")
        notes = (*notes, f"The checkout has changes that are not committed, which a clone has not: {named}.")
    return Source(Path(root), commit, notes)


def clone(source: Source, folder: Path, *, shared: bool) -> None:
    """Clone a source's commit into a folder that is not there yet or empty; `shared` borrows the origin's objects.

    Raises
    ------
    RebuildError
        If there is something in the folder, or git fails.
    """
    if folder.exists() and any(folder.iterdir()):
        raise RebuildError(f"{folder} is not empty.", "Name a folder that is not there yet.")
    borrowed = ["--shared"] if shared else []
    run_git(source.root, "clone", "--quiet", *borrowed, "--no-checkout", str(source.root), str(folder.absolute()))
    run_git(folder, "checkout", "--quiet", "--detach", source.commit)


def code_words(repo: Path, revision: str) -> str:
    """How the code of a revision compares with that of a checkout; empty where that cannot be told."""
    commit = revision.removesuffix("+")
    if ask_git(repo, "cat-file", "-e", f"{commit}^{{commit}}") is None:
        return ""
    same = ask_git(repo, "diff", "--quiet", commit, "HEAD", "--", *CODE) is not None
    return "the code that fits heads is the same here" if same else "the code that fits heads is another one here"


def _made_by(root: Path, revision: str, head: str) -> tuple[str, tuple[str, ...]]:
    """The commit of a version's code, or `head` where there is none that can rebuild; and what to know of that."""
    commit = ask_git(root, "rev-parse", "--verify", "--quiet", f"{revision.removesuffix('+')}^{{commit}}")
    changed = revision.endswith("+")
    notes = ("The version was made with changes to that commit that were not committed.",) if changed else ()
    if commit is None:
        why = (
            "It is not known which commit made the version"
            if revision == "unknown"
            else f"The commit {revision.removesuffix('+')} is not in this repository"
        )
        return head, (f"{why}: the present one is used.", *notes)
    if not _has(root, commit, RUNNER):
        told = f"The commit {revision.removesuffix('+')} cannot rebuild versions yet: the present one is used;"
        return head, (f"{told} {code_words(root, commit)}.", *notes)
    return commit, notes


def _has(root: Path, commit: str, path: str) -> bool:
    return ask_git(root, "cat-file", "-e", f"{commit}:{path}") is not None


def ask_git(folder: Path, *words: str) -> str | None:
    """What git says; None where it fails."""
    try:
        done = _run(folder, *words)
    except OSError:
        return None
    return done.stdout.rstrip("\n") if done.returncode == 0 else None


def is_anothers(folder: Path) -> bool:
    """Whether git leaves a checkout alone since it belongs to another user."""
    try:
        said = _run(folder, "rev-parse", "--show-toplevel").stderr
    except OSError:
        return False
    return "dubious ownership" in said or "unsafe repository" in said


def run_git(folder: Path, *words: str) -> None:
    done = _run(folder, *words)
    if done.returncode:
        raise RebuildError(f"git {words[0]} failed: {_reason(done.stderr)}", "Mend the repository.")


def _reason(said: str) -> str:
    """What git died of; of files that it cannot write it names each, of which the first is enough."""
    lines = said.splitlines()
    fatal = [line for line in lines if line.startswith("fatal:")]
    errors = [line for line in lines if line.startswith("error:")]
    if not fatal or not errors:
        return " ".join(said.split())
    others = f", and {len(errors) - 1} more" if len(errors) > 1 else ""
    return f"{fatal[-1]}; {errors[0]}{others}"


def _run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = ["git", "-C", str(folder), *words]
    english = {**os.environ, "LC_ALL": "C"}
    return subprocess.run(command, env=english, capture_output=True, text=True, check=False)  # noqa: S603
