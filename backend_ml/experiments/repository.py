"""The pipeline repository: a clone of Galaxy Loop in which experiments run, and what must be so before one begins."""

import fcntl
import json
import shlex
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import yaml

from backend_ml.experiments.abandoned import remove_abandoned
from backend_ml.rebuilding.clone import RebuildError, ask_git, is_anothers, run_git
from lvm_training.errors import GalaxyLoopError
from lvm_training.paths import FINETUNE_METRICS, FINETUNED, FROZEN_LABELS
from lvm_training.tables.frozen_labels import FrozenLabels, find_frozen

STAGE = "finetune"
PINS = "data.dvc"  # the one file that experiments change, and commit
PARAMS = "params.yaml"
SET = ("labels", "encoder", "stamps")  # parameters that experiments set, which DVC writes into the file for a moment
TEMPORARY = Path(".dvc", "tmp")  # DVC's; git ignores it
LOCK = TEMPORARY / "galaxyloop.lock"
BEGUN = TEMPORARY / "galaxyloop.head"  # there while an experiment runs: what HEAD named before DVC detached it
RWLOCKS = (TEMPORARY / "rwlock", TEMPORARY / "exps" / "rwlock")  # JSON that DVC writes anew with each lock
GIT_LOCKS = ("index.lock", "HEAD.lock", "refs/exps/stash.lock")
UNFINISHED = {
    "MERGE_HEAD": "merge",
    "rebase-merge": "rebase",
    "rebase-apply": "rebase",
    "CHERRY_PICK_HEAD": "cherry-pick",
    "REVERT_HEAD": "revert",
}
SOON = 3.0  # seconds that a git command has such a lock at most
STASH = "refs/exps/stash"  # where DVC puts an experiment before it takes it from there to run
ENDING = 20.0  # seconds that commands of a worker that was killed may take to end


class PipelineError(GalaxyLoopError):
    """A pipeline repository that cannot be used, or an experiment that failed."""

    code = "pipeline"


@dataclass(frozen=True)
class Problem:
    """What keeps experiments from running, and the command that mends it."""

    state: Literal["warn", "fail"]
    text: str
    command: str


@dataclass(frozen=True)
class Made:
    """What came of an experiment: its commit, and what was measured."""

    revision: str
    metrics: dict[str, Any]


@dataclass(frozen=True)
class Pipeline:
    """A pipeline repository.

    Attributes
    ----------
    root : Path
        Its folder.
    """

    root: Path

    def problems(self) -> Iterator[Problem]:
        """All that can be seen without running anything; nothing where experiments can run."""
        where = shlex.quote(str(self.root))
        if is_anothers(self.root):
            owner = _owner(self.root)
            text = f"{self.root} belongs to another user, {owner}, as whom its workers have to run"
            yield Problem("fail", text, f"sudo -u {shlex.quote(owner)} galaxyloop doctor")
            return
        if unfit := list(self.unfit()):
            yield from unfit
            return
        if not self.is_pipeline():
            text = f"{self.root} is no clone of Galaxy Loop with a stage {STAGE!r}"
            yield Problem("fail", text, f"galaxyloop pipeline init {where}")
            return
        if find_spec("dvc") is None:
            yield Problem("fail", "DVC is not installed", "pip install dvc")
            return
        if changed := self.changed():
            yield Problem("fail", f"{self.root} has local changes: {_named(changed)}", f"git -C {where} status")
        if ask_git(self.root, "config", "user.email") is None:
            yield Problem("fail", f"git knows no author in {self.root}", f"galaxyloop pipeline init {where}")
        if ask_git(self.root, "symbolic-ref", "--quiet", "HEAD") is None:
            text = f"{self.root} is on no branch, nor are the labels that are committed there"
            yield Problem("warn", text, f"git -C {where} switch --create galaxyloop")
        yield from self._data_problems(where)

    def unfit(self) -> Iterator[Problem]:
        """What keeps git from committing, or DVC from finding its experiments again."""
        where = shlex.quote(str(self.root))
        for what in {what for name, what in UNFINISHED.items() if self._git_path(name).exists()}:
            yield Problem("fail", f"a {what} in {self.root} is not finished", f"git -C {where} status")
        for lock in (self._git_path(name) for name in GIT_LOCKS):
            if _age(lock) > SOON:
                text = f"git finds {self.root} locked: a command of it runs there, or else was killed"
                yield Problem("fail", text, f"rm {shlex.quote(str(lock))}")
        if ask_git(self.root, "rev-parse", "--is-shallow-repository") == "true":
            text = f"{self.root} is a shallow clone, in which DVC loses experiments"
            yield Problem("fail", text, f"git -C {where} fetch --unshallow")

    def check(self, frozen: FrozenLabels, campaign: str) -> None:
        """Raise a PipelineError unless an experiment on these labels can begin.

        What an experiment that was killed left of pinning them is no local change, nor is what DVC left of it.
        """
        if self.is_pipeline():
            with self.held():
                self._undo_killed()
                remove_abandoned(self.root)
        left = self._left_by(self._file_of(frozen, campaign))
        for problem in self.problems():
            if problem.state == "fail" and not (left and self.changed() == [PINS] and "local changes" in problem.text):
                raise PipelineError(
                    f"No experiment can run: {problem.text}. What serves goes on serving.",
                    f"{problem.command}; then `galaxyloop campaign encoder '{campaign}' --train`",
                )

    def changed(self) -> list[str]:
        """Files that are not as they were committed, or not committed at all."""
        told = ask_git(self.root, "status", "--porcelain", "-z", "--no-renames") or ""
        return [line[3:] for line in told.split("\0") if line[:2].strip()]

    @contextmanager
    def held(self) -> Iterator[int]:
        """The repository for one command, once those of a worker that was killed have ended; the lock's descriptor.

        Whoever inherits the descriptor holds the lock until it ends as well.

        Raises
        ------
        PipelineError
            If they do not end soon.
        """
        path = self.root / LOCK
        path.parent.mkdir(parents=True, exist_ok=True)
        deadline = time.monotonic() + ENDING
        with path.open("ab") as lock:
            while not _locked(lock.fileno()):
                if time.monotonic() > deadline:
                    raise PipelineError(
                        f"A command of an earlier worker still runs in {self.root}.",
                        f"`fuser {shlex.quote(str(path))}` names its process.",
                    )
                time.sleep(0.1)
            yield lock.fileno()

    def begin(self) -> None:
        """Note what DVC changes while an experiment runs and puts back at its end, should it not come to that."""
        head = ask_git(self.root, "symbolic-ref", "--quiet", "HEAD") or ""
        (self.root / BEGUN).write_text(head, encoding="utf-8")

    def end(self) -> None:
        """Forget what `begin` noted."""
        (self.root / BEGUN).unlink(missing_ok=True)

    def pin(self, frozen: FrozenLabels, campaign: str) -> Path:
        """Freeze labels into data/release/labels and commit data.dvc; their file, relative to data/release.

        What fails leaves data.dvc as it was, and no labels that it does not pin.

        Raises
        ------
        ReleaseError, LabelError
            As `pin_labels`.
        PipelineError
            If git refuses the commit.
        """
        from lvm_training.stages.release.pinned import pin_labels

        def commit(path: Path) -> None:
            if PINS in self.changed():
                self._git("commit", "--quiet", "--message", f"Labels of {campaign}: {path.name}", "--", PINS)

        path, _ = pin_labels(self.root, frozen, campaign, commit)
        return path.relative_to(self.root / FROZEN_LABELS.parent)

    def baseline(self) -> str:
        """The commit that experiments start from."""
        return ask_git(self.root, "rev-parse", "HEAD") or ""

    def find(self, name: str) -> str | None:
        """The commit of an experiment of that name from the present baseline; None without one."""
        baseline = self.baseline()
        ref = f"refs/exps/{baseline[:2]}/{baseline[2:]}/{name}"
        return ask_git(self.root, "rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}")

    def take(self, revision: str, folder: Path) -> Made | None:
        """Copy the checkpoint of an experiment into a folder; None where cache and remote have it no more."""
        from dvc.exceptions import DvcException
        from dvc.repo import Repo

        shutil.rmtree(folder, ignore_errors=True)
        try:
            with Repo(str(self.root), rev=revision) as repo:
                metrics = json.loads(repo.dvcfs.read_text(FINETUNE_METRICS.as_posix()))
                repo.dvcfs.get(FINETUNED.as_posix(), str(folder), recursive=True)
        except (DvcException, OSError):
            return None
        return Made(revision, metrics)

    def keep(self, name: str, revision: str) -> str:
        """Make an experiment a branch, which is there afterwards whoever asked first; its name."""
        branch = f"accepted/{name}"
        if ask_git(self.root, "rev-parse", "--verify", "--quiet", f"refs/heads/{branch}") != revision:
            self._git("branch", "--force", branch, revision)
        return branch

    def has_remote(self) -> bool:
        """Whether DVC knows where a team keeps what was made."""
        from lvm_training.stages.release.pinned import dvc_repository

        with dvc_repository(self.root) as repo:
            return bool(repo.config["core"].get("remote"))

    def _git(self, *words: str) -> None:
        try:
            run_git(self.root, *words)
        except RebuildError as error:
            raise PipelineError(error.message, f"Look into {self.root}.") from error

    def is_pipeline(self) -> bool:
        """Whether this is the root of a git checkout whose dvc.yaml has the stage that experiments run."""
        root = ask_git(self.root, "rev-parse", "--show-toplevel") if self.root.is_dir() else None
        if root is None or Path(root).resolve() != self.root.resolve():
            return False
        try:
            return STAGE in yaml.safe_load((self.root / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
        except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError):
            return False

    def _data_problems(self, where: str) -> Iterator[Problem]:
        from lvm_training.stages.release.pinned import Pinned, ReleaseError, release_digest

        try:
            pinned = Pinned.read(self.root)
        except ReleaseError as error:
            yield Problem("fail", error.message.rstrip("."), f"git -C {where} checkout {PINS}")
            return
        if release_digest(self.root, labels=False) != pinned.start:
            text = f"data/release is not there, or not what {PINS} pins"
            yield Problem("fail", text, f"galaxyloop pipeline init {where}")
        if missing := pinned.missing(self.root):
            yield Problem("warn", f"pinned labels are not there: {_named(missing)}", f"cd {where} && dvc pull {PINS}")

    def _undo_killed(self) -> None:
        """Put back what DVC changes for a moment to begin an experiment, where one was killed within it."""
        begun = (self.root / BEGUN).is_file()
        if begun:
            self._unlock()
            # its index may name what was never written; no file changes by this
            self._git("read-tree", "HEAD")
        if PARAMS in self.changed() and self._left_set():
            self._git("checkout", "--quiet", "HEAD", "--", PARAMS)
        if not begun:
            return
        branch = (self.root / BEGUN).read_text(encoding="utf-8")
        detached = branch and ask_git(self.root, "symbolic-ref", "--quiet", "HEAD") is None
        if detached and ask_git(self.root, "rev-parse", "--verify", "--quiet", branch) == self.baseline():
            self._git("symbolic-ref", "HEAD", branch)
        self._git("update-ref", "-d", STASH)
        self.end()

    def _unlock(self) -> None:
        """Take away what the killed one had: locks of git that nobody lets go of, those of DVC cut off in writing."""
        locks = [path for name in GIT_LOCKS if (path := self._git_path(name)).exists()]
        if locks:
            time.sleep(SOON)
        for path in locks:
            path.unlink(missing_ok=True)
        for path in (self.root / name for name in RWLOCKS):
            try:
                json.loads(path.read_bytes())
            except FileNotFoundError:
                continue
            except ValueError:
                path.unlink(missing_ok=True)

    def _git_path(self, name: str) -> Path:
        return self.root / (ask_git(self.root, "rev-parse", "--git-path", name) or name)

    def _file_of(self, frozen: FrozenLabels, campaign: str) -> str:
        found = find_frozen(self.root / FROZEN_LABELS, frozen.digest)
        return found.name if found else frozen.file_name(campaign)

    def _committed(self, file: str) -> Any:
        """A YAML file as it was committed; None where it was not, or is none."""
        try:
            return yaml.safe_load(ask_git(self.root, "show", f"HEAD:{file}") or "")
        except yaml.YAMLError:
            return None

    def _left_set(self) -> bool:
        """Whether params.yaml differs from its commit by what experiments set, and by nothing else.

        DVC empties the file before it writes all of it at once, so that a kill may leave it empty.
        """
        try:
            text = (self.root / PARAMS).read_text(encoding="utf-8")
            if not text:
                return True
            committed, now = self._committed(PARAMS), yaml.safe_load(text)
            differ = {name for name in committed.keys() | now.keys() if committed.get(name) != now.get(name)}
        except (OSError, UnicodeDecodeError, yaml.YAMLError, AttributeError):
            return False
        return differ == set(SET)

    def _left_by(self, file: str) -> bool:
        """Whether data.dvc differs from its commit by these labels alone."""
        from lvm_training.stages.release.pinned import Pinned, ReleaseError

        committed = self._committed(PINS) or {}
        try:
            now = Pinned.read(self.root)
            before = set((committed.get("meta") or {}).get("labels", ()))
            return set(now.labels) - before == {file} and before <= set(now.labels)
        except (ReleaseError, AttributeError, TypeError):
            return False


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _age(path: Path) -> float:
    """Seconds since a file was written; 0 where there is none."""
    try:
        return max(time.time() - path.stat().st_mtime, 0.0)
    except OSError:
        return 0.0


def _named(files: list[str]) -> str:
    return ", ".join(files[:5]) + (f" and {len(files) - 5} more" if len(files) > 5 else "")


def _owner(path: Path) -> str:
    """The name of a folder's user, or the number where it has none here; as `sudo -u` takes both."""
    try:
        return path.owner()
    except KeyError:
        return f"#{path.stat().st_uid}"
