"""Regenerate the starting release, data/release/, and check it against data.dvc."""

import sys
from collections.abc import Sequence
from configparser import ConfigParser
from pathlib import Path

from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc.scm import SCMError

from lvm_training.errors import GalaxyLoopError
from lvm_training.files import write_atomically, write_csv
from lvm_training.galaxies.catalogue import Galaxy, write_catalogue
from lvm_training.galaxies.population import draw_catalogue
from lvm_training.params import load_params
from lvm_training.paths import RELEASE, STAMP_SET
from lvm_training.progress import progress_bar


class ReleaseError(GalaxyLoopError):
    """A release that is not the one the repository tracks."""

    code = "release_mismatch"


def write_release(folder: Path, galaxies: Sequence[Galaxy]) -> None:
    """Write `morphology.csv`, the catalogue, and `labels.csv`, the labels of its "start" split."""
    write_atomically(folder / f"{STAMP_SET}.csv", lambda path: write_catalogue(galaxies, path))
    labels = [(STAMP_SET, row, galaxy.morphology) for row, galaxy in enumerate(galaxies) if galaxy.split == "start"]
    write_csv(folder / "labels.csv", ("stamp_set", "stamp_id", "label"), labels)


def work_without_git(root: Path) -> None:
    """Let DVC work in a folder that is no git checkout, such as an unpacked archive; a checkout is left alone."""
    if (root / ".git").exists() or not (root / ".dvc").is_dir():
        return
    own = root / ".dvc" / "config.local"
    settings = ConfigParser()
    settings.read(own, encoding="utf-8")
    if not settings.has_section("core"):
        settings.add_section("core")
    settings.set("core", "no_scm", "true")
    with own.open("w", encoding="utf-8") as stream:
        settings.write(stream)


def check_release(root: Path) -> None:
    """Compare data/release/ with the hash in data.dvc.

    Raises
    ------
    ReleaseError
        If data.dvc is missing or the release differs from it.
    """
    if not (root / "data.dvc").is_file():
        raise ReleaseError("There is no data.dvc.", "Run from the repository root.")
    try:
        with Repo(str(root)) as repo:
            (stage,) = repo.stage.load_file("data.dvc")
            # the hash alone: a fresh clone has no cache yet, which DVC's status would report as a change
            changed = any(out.changed_checksum() for out in stage.outs)
    except (DvcException, SCMError) as error:
        raise ReleaseError(
            f"DVC cannot work in {root.absolute()}: {error}.",
            "Clone the repository with git, its folder .dvc included.",
        ) from error
    if changed:
        raise ReleaseError(
            "The regenerated data/release/ is not the one data.dvc tracks: this profile's `simulate` parameters, the "
            "simulator, or a library it draws with has changed.",
            "Set params.yaml back, or take the new release with `dvc commit -f data.dvc` and commit data.dvc.",
        )


def main() -> None:
    """Draw the release that the active profile asks for, and check it."""
    wanted = load_params().simulate
    with progress_bar("Catalogue") as progress:
        galaxies = draw_catalogue(wanted.n, wanted.seed, progress=progress)
    write_release(RELEASE, galaxies)
    work_without_git(Path())
    check_release(Path())


if __name__ == "__main__":
    try:
        main()
    except GalaxyLoopError as error:
        sys.exit(str(error))
