"""Makes an installation of a backup: in an empty data folder, or in an empty database that the settings name."""

import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from backend_ml.backup.archive import ArchiveReader, BackupError
from backend_ml.backup.create import check_space, full_disk, label_studio_version
from backend_ml.backup.databases import Urls, emptied_on_failure, is_empty, restored
from backend_ml.backup.files import MEGABYTE, STAMPS, STORE, UPLOADS, unpack
from backend_ml.backup.manifest import CAMPAIGNS, LABEL_STUDIO, KeptSet, Manifest, read_manifest
from backend_ml.backup.moved import give_administrator, move_projects
from backend_ml.buckets import in_bucket
from backend_ml.local import data_folder, processes
from backend_ml.local.postgres import start_embedded
from backend_ml.local.processes import LOCK, RECORDS, free_port
from backend_ml.local.servers import ADMIN, BACKEND, BACKEND_PORT, LABEL_STUDIO_PORT, PUBLIC, URL
from backend_ml.settings import ENVIRONMENT, PREFIX, Settings
from backend_ml.store.campaigns import all_campaigns
from backend_ml.store.database import Database, query
from lvm_training.progress import Progress, Steps

STAGED = ".loading"  # in the folder that is filled: on its disk, whatever is mounted there
OWNED = {LOCK, RECORDS, STAGED}  # what owning a data folder leaves in it, and a load that was killed


class Target(NamedTuple):
    """Where a backup is loaded.

    Attributes
    ----------
    settings : Settings
        Of the new place. With a database, that one and its secrets are used; else the data folder gets its own.
    stamps : Path or None
        Folder of the stamp sets; `stamps` in the data folder by default.
    backend_port, label_studio_port : int or None
        Of a data folder's servers; None takes those of the backup where they are free here.
    """

    settings: Settings
    stamps: Path | None = None
    backend_port: int | None = None
    label_studio_port: int | None = None

    @property
    def home(self) -> Path:
        """The data folder."""
        return self.settings.home.absolute()

    @property
    def is_folder(self) -> bool:
        """Whether the databases are those of the data folder."""
        return self.settings.database_url is None

    @property
    def folders(self) -> dict[str, Path]:
        """Where the files of each kind go."""
        stamps = self.stamps.absolute() if self.stamps else self.home / STAMPS
        return {STORE: self.settings.store_folder, STAMPS: stamps, UPLOADS: self.home / UPLOADS}

    @property
    def elsewhere(self) -> dict[str, Path]:
        """The folders that are not where a data folder has them."""
        return {kind: folder for kind, folder in self.folders.items() if folder != self.home / kind}

    def check(self) -> None:
        """Refuse to fill what is not empty, or shared with hosts that know nothing of it; and one port for two servers.

        Raises
        ------
        BackupError
            Names what is there.
        """
        if self.backend_port and self.backend_port == self.label_studio_port:
            raise BackupError(
                f"The backend and Label Studio cannot both have port {self.backend_port}.", "Name another for one."
            )
        if self.settings.store is not None and in_bucket(self.settings.store):
            raise BackupError(
                "A backup is loaded into folders, and GALAXYLOOP_STORE is a bucket.",
                "Unset it, or name an empty folder.",
            )
        _check_empty([*([self.home] if self.is_folder else []), *self.folders.values()])


class Loaded(NamedTuple):
    """The manifest, where the installation is now, and who administers its Label Studio; "" if that was not in it."""

    manifest: Manifest
    home: Path
    administrator: str


def load(path: Path, target: Target, steps: Steps) -> Loaded:
    """Load a backup; nothing is written before every digest in it is verified.

    Raises
    ------
    BackupError
        If the file is damaged or of a newer release, something is there already, or the disk is too small.
    SettingsError
        If a secret is missing that Label Studio is to know.
    """
    administrator = ""
    with ArchiveReader(path) as archive:
        manifest = read_manifest(archive)
        _check_label_studio(manifest, target.settings)
        _check_kinds(manifest, target.folders)
        target.check()
        urls = None if target.is_folder else _given_databases(target.settings, manifest)
        _check_disks(target, manifest)
        verify(archive, manifest, steps)
        with full_disk(target.home), processes.own(target.home), ExitStack() as stack:
            staged = stack.enter_context(_staged(target.home))
            apart = {kind: stack.enter_context(_staged(folder)) for kind, folder in target.elsewhere.items()}
            with steps("Unpacking files, MB") as progress:
                unpack(archive, manifest, {kind: staged / kind for kind in target.folders} | apart, progress)
            if urls is None:
                administrator = _into_folder(archive, manifest, target, staged, steps)
            else:
                _fill(archive, manifest, target, urls, steps, stack)
            for kind, folder in apart.items():
                _put(folder, target.folders[kind])
            _put(staged, target.home)
    return Loaded(manifest, target.home, administrator)


def _check_disks(target: Target, manifest: Manifest) -> None:
    """Refuse a disk that is too small for all that goes there; databases that are given have places of their own."""
    elsewhere = {folder: manifest.size_of(kind) for kind, folder in target.elsewhere.items()}
    servers = data_folder.LEAST_SPACE if target.is_folder else -sum(manifest.databases.values())
    wanted = [(target.home, manifest.size - sum(elsewhere.values()) + servers), *elsewhere.items()]
    for folder, _ in wanted:
        check_space(folder, sum(size for other, size in wanted if _disk(other) == _disk(folder)))


def _disk(folder: Path) -> int:
    return next(place for place in (folder, *folder.parents) if place.exists()).stat().st_dev


def _check_kinds(manifest: Manifest, folders: Mapping[str, Path]) -> None:
    """Refuse files that have no place here."""
    files = [member.name for member in manifest.members if member.name not in manifest.databases]
    files += [name for kept in manifest.stamp_sets for name in (kept.path, kept.features) if name]
    for name in files:
        if name.partition("/")[0] not in folders:
            raise BackupError(f"The backup has a file of no known kind, {name}.", "Update Galaxy Loop.")


def _check_label_studio(manifest: Manifest, settings: Settings) -> None:
    """Refuse a database of a newer Label Studio than the one here, which could not read it."""
    here = label_studio_version(settings)
    if here and manifest.label_studio and _numbers(manifest.label_studio) > _numbers(here):
        raise BackupError(
            f"Label Studio {manifest.label_studio} made the backup's tables; here is {here}.",
            "Update it first: `make setup` of the release that made the backup.",
        )


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)[:3]]


def _given_databases(settings: Settings, manifest: Manifest) -> Urls:
    """The databases that the settings name, which have to be empty."""
    assert settings.database_url is not None  # noqa: S101 (asked by the caller)
    urls = Urls(settings.database_url.get_secret_value(), settings.label_studio_database_url.get_secret_value())
    if LABEL_STUDIO not in manifest.databases:
        urls = urls._replace(label_studio="")
    if urls.label_studio:
        settings.require("secret", "backend_password")
    for url, name in zip(urls, ("GALAXYLOOP_DATABASE_URL", "GALAXYLOOP_LABEL_STUDIO_DATABASE_URL"), strict=True):
        if url and not is_empty(url):
            raise BackupError(f"The database of {name} has tables already.", "Name an empty one.")
    return urls


def _check_empty(folders: list[Path]) -> None:
    for folder in folders:
        if folder.exists() and not folder.is_dir():
            raise BackupError(f"{folder} is no folder.", "Name another one.")
        there = sorted(one.name for one in folder.iterdir() if one.name not in OWNED) if folder.is_dir() else []
        if there:
            raise BackupError(
                f"{folder} is not empty: it has {', '.join(there[:3])}{' and more' if len(there) > 3 else ''}.",
                "Name another one, or move that one away.",
            )


def verify(archive: ArchiveReader, manifest: Manifest, steps: Steps) -> None:
    """Compare all that is in a backup with its digests.

    Raises
    ------
    BackupError
        If something is not what was written, or not there.
    """
    archive.check_manifest(manifest.members)
    total = sum(member.size for member in manifest.members)
    with steps("Verifying, MB") as progress:
        done = 0
        for member in manifest.members:
            for chunk in archive.checked(member):
                done += len(chunk)
                progress(done // MEGABYTE, total // MEGABYTE)


@contextmanager
def _staged(folder: Path) -> Iterator[Path]:
    """A folder inside another, for what is not whole yet; gone at the end."""
    staged = folder / STAGED
    shutil.rmtree(staged, ignore_errors=True)
    # readable as others are: PostgreSQL may run as another user
    staged.mkdir(parents=True)
    try:
        yield staged
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _put(staged: Path, folder: Path) -> None:
    """Move what is staged to its place; the file of secrets, without which `up` would draw others, is the last."""
    folder.mkdir(parents=True, exist_ok=True)
    for one in sorted(staged.iterdir(), key=lambda one: one.name == ENVIRONMENT):
        one.rename(folder / one.name)


def _into_folder(archive: ArchiveReader, manifest: Manifest, target: Target, staged: Path, steps: Steps) -> str:
    """Fill the databases of a new data folder, and draw its secrets; who administers its Label Studio."""
    kept = data_folder.local_secrets(staged)
    kept |= _addresses(manifest, target)
    data_folder.write_environment(staged, kept)
    values = {name.removeprefix(PREFIX).lower(): value for name, value in kept.items()}
    settings = Settings.model_validate({**values, "home": target.home, "store": target.settings.store})
    administrator = ""
    with start_embedded(staged) as postgres, ExitStack() as undo:
        urls = Urls(postgres.url("galaxyloop"), postgres.url("labelstudio"))
        _fill(archive, manifest, target._replace(settings=settings), urls, steps, undo)
        if LABEL_STUDIO in manifest.databases:
            token = kept["GALAXYLOOP_LABEL_STUDIO_TOKEN"]
            administrator = give_administrator(urls.label_studio, ADMIN, kept["GALAXYLOOP_TEAM_PASSWORD"], token)
    for name in (LOCK, RECORDS):
        (staged / name).unlink(missing_ok=True)
    shutil.rmtree(staged / "logs", ignore_errors=True)
    return administrator


def _addresses(manifest: Manifest, target: Target) -> dict[str, str]:
    """Addresses of a data folder's servers: `up` takes their ports, and tasks name them."""
    before = manifest.addresses
    backend = target.backend_port or _free_port(before.backend_url, BACKEND_PORT, other=target.label_studio_port)
    label_studio = target.label_studio_port or _free_port(before.label_studio_url, LABEL_STUDIO_PORT, other=backend)
    address = f"http://127.0.0.1:{backend}"
    return {URL: f"http://127.0.0.1:{label_studio}", BACKEND: address, PUBLIC: address}


def _free_port(before: str, usual: int, *, other: int | None) -> int:
    parts = urlsplit(before)
    wanted = parts.port if parts.port and parts.hostname == "127.0.0.1" else usual
    return free_port(0 if wanted == other else wanted)


def _fill(
    archive: ArchiveReader, manifest: Manifest, target: Target, urls: Urls, steps: Steps, undo: ExitStack
) -> None:
    """Restore the databases, bring ours up to date, and let both name the places and addresses of here."""
    for name, url in zip((LABEL_STUDIO, CAMPAIGNS), (urls.label_studio, urls.campaigns), strict=True):
        if url and name in manifest.databases:
            with steps(f"Restoring {name.partition('/')[2]}, MB") as progress:
                member = manifest.member(name)
                restored(url, _shown(archive.checked(member), member.size, progress))
            # not before: what made it refuse is somebody else's
            undo.enter_context(emptied_on_failure(url))
    with Database(urls.campaigns, size=1) as database, database.transaction() as connection:
        for kept in manifest.stamp_sets:
            query(connection, "put_stamp_set", name=kept.name, digest=kept.digest, **_places(kept, target.folders))
        query(connection, "forget_embedding_jobs")
        campaigns = [one for one in all_campaigns(connection) if one.project is not None]
    if urls.label_studio and LABEL_STUDIO in manifest.databases:
        projects = {one.project_id: one.links for one in campaigns}
        move_projects(urls.label_studio, manifest.addresses, target.settings, projects)


def _places(kept: KeptSet, folders: Mapping[str, Path]) -> dict[str, str]:
    """Where the files of a stamp set are from now on."""
    found = {}
    for column, name in (("path", kept.path), ("features", kept.features)):
        kind, _, rest = (name or "").partition("/")
        found[column] = str(folders[kind] / rest) if name else ""
    return found


def _shown(content: Iterator[bytes], total: int, progress: Progress) -> Iterator[bytes]:
    done = 0
    for chunk in content:
        done += len(chunk)
        progress(done // MEGABYTE, total // MEGABYTE)
        yield chunk
