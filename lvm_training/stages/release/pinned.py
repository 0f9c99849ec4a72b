"""What data.dvc pins: the starting release, which anybody regenerates, and beside it frozen labels, which nobody can.

Its `meta` says which is which, since a fresh clone without a remote knows one hash of all of it:

    outs:
    - path: data/release
      md5: ...                      # of the whole
    meta:
      start: ...                    # of the starting release alone
      labels: [rings-0123456789ab.parquet]
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import yaml
from dvc.exceptions import DvcException
from dvc.lock import LockError
from dvc.repo import Repo
from dvc.scm import SCMError

from lvm_training.errors import GalaxyLoopError, first_line
from lvm_training.files import write_atomically, write_text
from lvm_training.paths import FROZEN_LABELS, RELEASE
from lvm_training.tables.frozen_labels import FrozenLabels, find_frozen

FILE = "data.dvc"


class ReleaseError(GalaxyLoopError):
    """A release that is not the one the repository tracks."""

    code = "release_mismatch"


@dataclass(frozen=True)
class Pinned:
    """What data.dvc says.

    Attributes
    ----------
    whole, start : str
        DVC's hashes of data/release, and of it without frozen labels.
    labels : tuple of str
        File names of frozen labels.
    """

    whole: str
    start: str
    labels: tuple[str, ...]

    @classmethod
    def read(cls, root: Path) -> Self:
        """What a repository's data.dvc says.

        Raises
        ------
        ReleaseError
            If it is missing or names no hash.
        """
        if not (root / FILE).is_file():
            raise ReleaseError(f"There is no data.dvc in {root.absolute()}.", "Run from the repository root.")
        document = _document(root)
        try:
            whole = str(document["outs"][0]["md5"])
            meta = document.get("meta") or {}
            return cls(whole, str(meta.get("start", whole)), tuple(map(str, meta.get("labels", ()))))
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise ReleaseError("data.dvc names no hash of data/release.", "`git checkout data.dvc`") from error

    def missing(self, root: Path) -> list[str]:
        """Frozen labels that are not here."""
        return [name for name in self.labels if not (root / FROZEN_LABELS / name).is_file()]


def release_digest(root: Path, *, labels: bool) -> str:
    """DVC's hash of data/release as it lies there, with or without frozen labels."""
    folder = root / RELEASE
    paths = (path for path in folder.rglob("*") if path.is_file())
    kept = [path for path in paths if labels or FROZEN_LABELS.name not in path.relative_to(folder).parts[:1]]
    listing = [
        {"md5": hashlib.md5(path.read_bytes()).hexdigest(), "relpath": path.relative_to(folder).as_posix()}  # noqa: S324
        for path in kept
    ]
    text = json.dumps(sorted(listing, key=lambda one: one["relpath"]), sort_keys=True)
    return f"{hashlib.md5(text.encode()).hexdigest()}.dir"  # noqa: S324 - DVC's own naming


def fetch_labels(root: Path) -> list[str]:
    """Bring pinned labels here that are in DVC's cache, or at its remote where one is set; those still missing."""
    pinned = Pinned.read(root)
    if not pinned.missing(root):
        return []
    with dvc_repository(root) as repo:
        if repo.config["core"].get("remote"):
            # a remote that does not answer leaves them missing, as no remote does: the rest can do without
            with suppress(DvcException, OSError):
                repo.fetch(targets=[str(root.absolute() / FILE)])
        cache = repo.cache.local
        listing = Path(cache.oid_to_path(pinned.whole))
        entries = json.loads(listing.read_bytes()) if listing.is_file() else []
        for entry in entries:
            name = entry["relpath"].removeprefix(f"{FROZEN_LABELS.name}/")
            kept = Path(cache.oid_to_path(entry["md5"]))
            if name in pinned.missing(root) and kept.is_file():
                write_atomically(root / FROZEN_LABELS / name, partial(shutil.copyfile, kept))
    return pinned.missing(root)


def pin_labels(
    root: Path, frozen: FrozenLabels, campaign: str, then: Callable[[Path], object] | None = None
) -> tuple[Path, bool]:
    """Put frozen labels into data/release/labels and pin them in data.dvc; the file, and whether that changed anything.

    Committing data.dvc is left to who reads what changed, or to `then`. What fails, of that too, leaves all as it was.

    Parameters
    ----------
    then : callable, optional
        Takes the file once it is pinned.

    Raises
    ------
    ReleaseError
        If data/release is not what data.dvc pins, so that more would be pinned than these labels.
    LabelError
        If labels that lie there were changed after they were frozen.
    """
    pinned, folder = Pinned.read(root), root / FROZEN_LABELS
    if release_digest(root, labels=False) != pinned.start:
        raise ReleaseError(
            "data/release is not the starting release that data.dvc pins.",
            "`make data` regenerates it; then try again.",
        )
    missing = fetch_labels(root)
    if missing:
        raise ReleaseError(
            f"data.dvc pins {', '.join(missing)}, which are not here and would be forgotten.",
            "`dvc pull` fetches them where a remote is set; without one, take their lines out of data.dvc first.",
        )
    for path in sorted(folder.glob("*")):
        FrozenLabels.read(path)
    path = find_frozen(folder, frozen.digest) or folder / frozen.file_name(campaign)
    # one that was cut off may have named them, and not what they come to
    changes = path.name not in pinned.labels or release_digest(root, labels=True) != pinned.whole
    before = (root / FILE).read_text(encoding="utf-8")
    try:
        if changes:
            if not path.is_file():
                frozen.write(path)
            _write_meta(root, pinned.start, sorted({*pinned.labels, path.name}))
            _commit(root)
        else:
            keep_release(root)
        if then is not None:
            then(path)
    except (GalaxyLoopError, OSError):
        if path.name not in pinned.labels:  # they would be part of what is pinned next; on a full disk they make room
            path.unlink(missing_ok=True)
        if (root / FILE).read_text(encoding="utf-8") != before:
            write_text(root / FILE, before)
        raise
    return path, changes


def keep_release(root: Path) -> None:
    """Have DVC's cache hold data/release as it lies there: experiments work on copies that come from the cache.

    Raises
    ------
    ReleaseError
        If it is not what data.dvc pins, or cannot be written.
    """
    pinned = Pinned.read(root)
    with dvc_repository(root) as repo:
        if _is_kept(repo, pinned.whole):
            return
    if release_digest(root, labels=True) != pinned.whole:
        raise ReleaseError("data/release is not what data.dvc pins.", "`make data` regenerates it.")
    _commit(root)


def _commit(root: Path) -> None:
    """Have DVC pin data/release as it lies there, and take it into its cache, which DVC ends well without."""
    with dvc_repository(root) as repo:
        repo.commit(str(root.absolute() / FILE), force=True)
        if not _is_kept(repo, Pinned.read(root).whole):
            raise ReleaseError(
                f"DVC's cache {repo.cache.local.path} did not take data/release.",
                "Look whether its disk is full; then try again.",
            )


def _is_kept(repo: Repo, digest: str) -> bool:
    """Whether DVC's cache has a folder, and each of its files."""
    listing = Path(repo.cache.local.oid_to_path(digest))
    entries = json.loads(listing.read_bytes()) if listing.is_file() else [{"md5": digest}]
    return all(Path(repo.cache.local.oid_to_path(entry["md5"])).is_file() for entry in entries)


def missing_words(names: Sequence[str]) -> str:
    """What is not there, and how it comes here."""
    return (
        f"data.dvc pins labels that are not here: {', '.join(names)}. The starting release is whole. `dvc pull` fetches"
        " them where a remote is set, and `galaxyloop campaign export NAME --track` freezes them again."
    )


@contextmanager
def dvc_repository(root: Path) -> Iterator[Repo]:
    """DVC's view of a repository.

    Raises
    ------
    ReleaseError
        In place of DVC's own errors.
    """
    try:
        with Repo(str(root)) as repo:
            yield repo
    except LockError as error:
        why = " ".join(str(error).split()).partition(" Check the page")[0]
        raise ReleaseError(
            f"Another DVC command is at work in {root.absolute()}: {why}", "Try again when it has ended."
        ) from error
    except (DvcException, SCMError) as error:
        raise ReleaseError(
            f"DVC cannot work in {root.absolute()}: {error}.",
            "Clone the repository with git, its folder .dvc included.",
        ) from error


def _document(root: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load((root / FILE).read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ReleaseError(f"data.dvc is not YAML: {first_line(error)}.", "`git checkout data.dvc`") from error
    return found if isinstance(found, dict) else {}


def _write_meta(root: Path, start: str, labels: Sequence[str]) -> None:
    document = _document(root) | {"meta": {"start": start, "labels": list(labels)}}
    text = yaml.safe_dump(document, sort_keys=False)
    write_atomically(root / FILE, lambda unfinished: unfinished.write_text(text, encoding="utf-8"))
