"""Pins labels where the disk is full, with ever more room, in a process of its own; prints what each try led to."""

import json
import os
import shutil
import sys
from pathlib import Path

from dvc.repo import Repo

from lvm_training.errors import GalaxyLoopError
from lvm_training.galaxies.catalogue import MORPHOLOGIES
from lvm_training.paths import FROZEN_LABELS
from lvm_training.stages.release.pinned import Pinned, pin_labels
from tests.lvm_training.stages.release.test_pinned import frozen

BLOCK = 4096
LABELS = 400  # of each class: a file of several blocks


def main(project: Path, disk: Path) -> None:
    """Copy the project onto the disk, and try until it is pinned."""
    assert disk.is_mount()
    root = Path(shutil.copytree(project, disk / "project"))
    labels, data = frozen(*(LABELS * MORPHOLOGIES)), root / "data.dvc"
    before, filling = data.read_bytes(), disk / "filling"
    for blocks in range(30):
        free = os.statvfs(disk).f_bavail * BLOCK
        filling.write_bytes(bytes(max(free - blocks * BLOCK, 0)))
        try:
            pin_labels(root, labels, "Rings")
        except (GalaxyLoopError, OSError) as error:
            assert data.read_bytes() == before
            assert list((root / FROZEN_LABELS).glob("*")) == []
            print(type(error).__name__)
        else:
            print("pinned")
            break
        finally:
            filling.unlink()
    with Repo(str(root)) as repo:
        kept = [Path(repo.cache.local.oid_to_path(Pinned.read(root).whole))]
        kept += [Path(repo.cache.local.oid_to_path(one["md5"])) for one in json.loads(kept[0].read_bytes())]
    assert all(path.is_file() for path in kept)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
