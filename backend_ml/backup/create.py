"""Makes a backup of an installation while people label."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from backend_ml.backup.archive import ArchiveReader, ArchiveWriter, BackupError
from backend_ml.backup.databases import (
    Snapshot,
    Urls,
    bytes_on_disk,
    dumped,
    running_databases,
    snapshots,
    unreadable,
)
from backend_ml.backup.files import UPLOADS, Collected, pack
from backend_ml.backup.manifest import (
    CAMPAIGNS,
    FORMAT,
    LABEL_STUDIO,
    Addresses,
    KeptCampaign,
    Manifest,
    read_manifest,
    release,
)
from backend_ml.local.label_studio import LabelStudioServerError, find_label_studio, version_of
from backend_ml.settings import Settings
from backend_ml.store.database import query
from lvm_training.errors import is_full
from lvm_training.files import try_writing, write_atomically
from lvm_training.progress import Steps

PRIVATE = 0o600
NOT_OURS = (
    "Label Studio's own database and uploads: GALAXYLOOP_LABEL_STUDIO_DATABASE_URL is not set, or its role may not read"
    " all tables. Keep a copy of them made at the same time, or later."
)
NO_UPLOADS = "What people uploaded to Label Studio: its data are not in the data folder. Keep a copy of its media."
SHRUNK = 4  # a dump has no indexes and is packed: it takes a quarter of a database at most


def create(path: Path, settings: Settings, steps: Steps) -> Manifest:
    """Write a backup, for its owner alone, whole or not at all; what it says of itself.

    Parameters
    ----------
    path : Path
        The file, which is not there yet.

    Raises
    ------
    BackupError
        If it is there, the disk is too small, a database cannot be read, or a file changes while it is copied.
    SettingsError
        If there is no installation.
    """
    _check_place(path)
    with running_databases(settings) as urls, snapshots(urls) as (ours, theirs):
        left_out = []
        if theirs is None or unreadable(theirs):
            theirs, left_out = None, [NOT_OURS]
        elif not (settings.home / UPLOADS).is_dir():
            left_out = [NO_UPLOADS]
        rows = query(ours.connection, "stamp_sets")
        vectors = [row["name"] for row in query(ours.connection, "vector_files")]
        collected = Collected(rows, vectors, settings.store_folder, settings.home.absolute())
        taken = {CAMPAIGNS: bytes_on_disk(ours)} | ({LABEL_STUDIO: bytes_on_disk(theirs)} if theirs else {})
        check_space(path.absolute().parent, collected.size + sum(taken.values()) // SHRUNK)
        manifest = Manifest(
            format=FORMAT,
            release=release(),
            schema_version=query(ours.connection, "schema_version")[0]["number"],
            made_at=datetime.now(UTC),
            addresses=Addresses(**settings.model_dump(include=set(Addresses.model_fields))),
            campaigns=[KeptCampaign(**row) for row in query(ours.connection, "kept_campaigns")],
            stamp_sets=collected.stamp_sets,
            databases=taken,
            label_studio=label_studio_version(settings) if theirs else "",
            left_out=[*left_out, *collected.left_out],
            members=[],
        )
        with full_disk(path):
            write_atomically(path, lambda part: _write(part, manifest, urls, (ours, theirs), collected, steps))
    with ArchiveReader(path) as made:
        return read_manifest(made)


def label_studio_version(settings: Settings) -> str:
    """The version of the Label Studio that is installed on this host; "" if none is."""
    with suppress(LabelStudioServerError):
        return version_of(find_label_studio(settings.label_studio_bin))
    return ""


def _write(
    part: Path,
    manifest: Manifest,
    urls: Urls,
    seen: tuple[Snapshot, Snapshot | None],
    collected: Collected,
    steps: Steps,
) -> None:
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, PRIVATE), "w+b") as stream:
        archive, members = ArchiveWriter(stream), []
        for name, url, snapshot in zip((CAMPAIGNS, LABEL_STUDIO), urls, seen, strict=True):
            if snapshot is not None:
                with steps(f"Dumping {name.partition('/')[2]}"):
                    members.append(archive.add(name, dumped(url, snapshot)))
                # held for the hours of a large store it would keep the server from cleaning up
                snapshot.connection.rollback()
        with steps("Copying files, MB") as progress:
            members += pack(collected, archive, progress)
        _check_unchanged(urls, manifest)
        whole = manifest.model_copy(update={"members": members})
        # escaped: a file's name may be no UTF-8
        archive.finish(json.dumps(whole.model_dump(), indent=1, default=datetime.isoformat).encode())


def _check_place(path: Path) -> None:
    if path.exists():
        raise BackupError(f"{path} is there already.", "Name another file, or move that one away.")
    try:
        try_writing(path.absolute().parent)
    except OSError as error:
        raise BackupError(f"{path} cannot be written: {error.strerror}.", "Name another place.") from error


def _check_unchanged(urls: Urls, manifest: Manifest) -> None:
    """Refuse a stamp set that grew between the snapshot and the copy of its file."""
    with snapshots(Urls(urls.campaigns, "")) as (now, _):
        digests = {row["name"]: row["digest"] for row in query(now.connection, "stamp_sets")}
    for kept in manifest.stamp_sets:
        if digests.get(kept.name, kept.digest) != kept.digest:
            raise BackupError(f"Galaxies were added to {kept.name} while it was copied.", "Try again.")


def check_space(folder: Path, wanted: int) -> None:
    """Refuse to begin on a disk that has not so many bytes free.

    Raises
    ------
    BackupError
        Says how much is wanted.
    """
    there = next(place for place in (folder, *folder.parents) if place.exists())
    free = shutil.disk_usage(there).free
    if free < wanted:
        raise BackupError(
            f"Only {free / 1e9:.1f} GB are free on the disk of {folder}; {wanted / 1e9:.1f} GB are wanted.",
            "Free some, or choose another disk.",
        )


@contextmanager
def full_disk(path: Path) -> Iterator[None]:
    """Say in one line that a disk became full, whoever noticed it.

    Raises
    ------
    BackupError
        In the place of the system's error.
    """
    try:
        yield
    except OSError as error:
        if not is_full(error):
            raise BackupError(f"{path} cannot be written: {error.strerror}.", "Nothing is left of it.") from error
        raise BackupError(f"The disk of {path} is full.", "Nothing is left of it. Free some, and try again.") from error
