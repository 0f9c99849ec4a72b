"""Regenerate the starting release in data/release/, fetch labels pinned beside it, and check all against data.dvc."""

from collections.abc import Sequence
from configparser import ConfigParser
from pathlib import Path

from lvm_training.files import write_atomically, write_csv
from lvm_training.galaxies.catalogue import Galaxy, write_catalogue
from lvm_training.galaxies.population import draw_catalogue
from lvm_training.params import load_params
from lvm_training.paths import FROZEN_LABELS, RELEASE, STAMP_SET
from lvm_training.progress import progress_bar, write_line
from lvm_training.stages.release.pinned import (
    FILE,
    Pinned,
    ReleaseError,
    dvc_repository,
    fetch_labels,
    missing_words,
    release_digest,
)
from lvm_training.tables.frozen_labels import FrozenLabels


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


def check_release(root: Path) -> str:
    """Compare data/release/ with the hash in data.dvc; what of it is missing that nobody can regenerate.

    Raises
    ------
    ReleaseError
        If data.dvc is missing or the release differs from it.
    """
    pinned = Pinned.read(root)
    with dvc_repository(root) as repo:
        (stage,) = repo.stage.load_file(str(root.absolute() / FILE))
        # the hash alone: a fresh clone has no cache yet, which DVC's status would report as a change
        changed = any(out.changed_checksum() for out in stage.outs)
    if not changed:
        return ""
    if release_digest(root, labels=False) != pinned.start:
        raise ReleaseError(
            "The regenerated data/release/ is not the one data.dvc tracks: this profile's `simulate` parameters, the "
            "simulator, or a library it draws with has changed.",
            "Set params.yaml back, or take the new release with `dvc commit -f data.dvc` and commit data.dvc.",
        )
    folder = root / FROZEN_LABELS
    for path in sorted(folder.glob("*")):
        FrozenLabels.read(path)
    others = sorted({path.name for path in folder.glob("*")} - set(pinned.labels))
    if others:
        raise ReleaseError(
            f"data/release/labels holds what data.dvc does not pin: {', '.join(others)}.",
            "Remove it; `galaxyloop campaign export NAME --track` freezes labels and pins them.",
        )
    return missing_words(pinned.missing(root))


def main() -> None:
    """Draw the release that the active profile asks for, and check it."""
    wanted = load_params().simulate
    with progress_bar("Catalogue") as progress:
        galaxies = draw_catalogue(wanted.n, wanted.seed, progress=progress)
    write_release(RELEASE, galaxies)
    work_without_git(Path())
    fetch_labels(Path())
    if missing := check_release(Path()):
        write_line(missing)
