"""Folders in which DVC runs experiments: those of killed ones are removed."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import psutil
import structlog

log = structlog.get_logger(__name__)

STANDALONE = Path(".dvc", "tmp", "exps", "standalone")
MADE = "tmp*"  # as DVC names them, each with a checkout and what the stage has made so far


def remove_abandoned(root: Path) -> None:
    """Remove the folders of experiments that were killed, but for those in which a process of this host is at work.

    While DVC itself runs in the repository all stay: it makes such a folder before it goes into it.
    """
    folders = [one.resolve() for one in (root / STANDALONE).glob(MADE) if one.is_dir() and not one.is_symlink()]
    if not folders:
        return
    used = list(_used_within(root.resolve()))
    for folder in folders:
        if not any(place.is_relative_to(folder) for place in used):
            shutil.rmtree(folder, ignore_errors=True)
            log.info("abandoned experiment removed", folder=str(folder))


def _used_within(root: Path) -> Iterator[Path]:
    """Where processes are, and what they have open; the folder of all experiments for DVC itself."""
    for process in psutil.process_iter(["cwd", "cmdline", "open_files"]):
        at = Path(process.info["cwd"] or "/")
        yield at
        yield from (Path(one.path) for one in process.info["open_files"] or ())
        if at.is_relative_to(root) and any(Path(word).name == "dvc" for word in process.info["cmdline"] or ()):
            yield from (root / STANDALONE).glob(MADE)
