"""Backups that cannot be made or loaded: why is said, and nothing that is there is touched."""

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner

from backend_ml.backup import create as creating
from backend_ml.backup import files
from backend_ml.backup import load as loading
from backend_ml.backup.archive import ArchiveReader, ArchiveWriter, BackupError
from backend_ml.backup.create import create
from backend_ml.backup.load import Target, load
from backend_ml.backup.manifest import Manifest, read_manifest
from backend_ml.cli.main import app
from backend_ml.local.postgres import EmbeddedPostgres
from backend_ml.settings import Settings
from backend_ml.store.database import MIGRATIONS, Database
from backend_ml.store.records import Campaign
from lvm_training.progress import Progress
from tests.backend_ml.backup.places import Place, settings_of, there
from tests.installation import quiet


def test_a_newer_release_is_refused_on_both_ways(
    backup: Path, settings: Settings, database: Database, place: Place, tmp_path: Path
) -> None:
    with ArchiveReader(backup) as archive:
        manifest = read_manifest(archive)
    for change in ({"format": 2}, {"schema_version": len(MIGRATIONS) + 1}):
        newer = manifest.model_copy(update={"release": "9.9.9", **change})
        write_manifest(tmp_path / "newer.backup", newer)
        with pytest.raises(BackupError, match=r"Galaxy Loop 9\.9\.9 made .*newer\.backup") as caught:
            load(tmp_path / "newer.backup", place.target, quiet)
        assert caught.value.hint == "Update Galaxy Loop on this host."
        assert place.is_untouched()
    database.rows("put_schema_version", number=len(MIGRATIONS) + 1)
    try:
        with pytest.raises(BackupError, match="A newer Galaxy Loop made the database"):
            create(tmp_path / "another.backup", settings, quiet)
    finally:
        database.rows("put_schema_version", number=len(MIGRATIONS))
    assert not list(tmp_path.glob("another*"))


def write_manifest(path: Path, manifest: Manifest) -> None:
    """A backup that says of itself what it likes."""
    with path.open("w+b") as stream:
        ArchiveWriter(stream).finish(manifest.model_dump_json().encode())


def test_what_a_newer_label_studio_wrote_is_refused(
    backup: Path, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ArchiveReader(backup) as archive:
        manifest = read_manifest(archive)
    monkeypatch.setattr(loading, "label_studio_version", lambda _: "1.23.2")
    write_manifest(tmp_path / "newer.backup", manifest.model_copy(update={"label_studio": "1.24.0"}))
    with pytest.raises(BackupError, match=r"Label Studio 1\.24\.0 made the backup's tables; here is 1\.23\.2"):
        load(tmp_path / "newer.backup", place.target, quiet)
    # 1.9 is older than 1.23
    write_manifest(tmp_path / "older.backup", manifest.model_copy(update={"label_studio": "1.9.2"}))
    with pytest.raises(BackupError, match="is damaged"):
        load(tmp_path / "older.backup", place.target, quiet)


def test_nothing_is_overwritten(backup: Path, settings: Settings, place: Place) -> None:
    whole = backup.read_bytes()
    with pytest.raises(BackupError, match="is there already"):
        create(backup, settings, quiet)
    assert backup.read_bytes() == whole
    for folder in place.folders:
        folder.mkdir(parents=True)
        (folder / "mine.txt").write_text("mine")
        with pytest.raises(BackupError, match=r"is not empty: it has mine\.txt"):
            load(backup, place.target, quiet)
        assert [one.name for one in folder.iterdir()] == ["mine.txt"]
        (folder / "mine.txt").unlink()
    place.rows("schema_version")  # makes tables
    with pytest.raises(BackupError, match="GALAXYLOOP_DATABASE_URL has tables already"):
        load(backup, place.target, quiet)


def test_a_damaged_backup_touches_nothing(backup: Path, place: Place) -> None:
    whole = bytearray(backup.read_bytes())
    whole[len(whole) // 2] ^= 1
    backup.write_bytes(whole)
    with pytest.raises(BackupError, match="is damaged"):
        load(backup, place.target, quiet)
    assert place.is_untouched() and not place.settings.home.exists()
    done = CliRunner().invoke(app, ["backup", "show", str(backup), "--verify"])
    assert done.exit_code == 1 and "is damaged" in " ".join(done.stderr.split())
    done = CliRunner().invoke(app, ["backup", "show", str(backup)])
    assert done.exit_code == 0 and "Test: open, 10 tasks, 0 labels" in done.stdout


def test_files_of_an_unknown_kind_are_refused_before_anything_is_written(
    backup: Path, place: Place, tmp_path: Path
) -> None:
    with ArchiveReader(backup) as archive:
        manifest = read_manifest(archive)
    elsewhere = [one.model_copy(update={"path": "elsewhere/sky.h5"}) for one in manifest.stamp_sets]
    odd = [manifest.members[-1].model_copy(update={"name": "elsewhere/sky.h5"})]
    for change in ({"stamp_sets": elsewhere}, {"members": odd}):
        write_manifest(tmp_path / "odd.backup", manifest.model_copy(update=change))
        with pytest.raises(BackupError, match=r"of no known kind, elsewhere/sky\.h5"):
            load(tmp_path / "odd.backup", place.target, quiet)
        assert place.is_untouched() and not place.settings.home.exists()


def test_what_a_manifest_leaves_out_is_named_and_nothing_is_written(backup: Path, place: Place) -> None:
    with ArchiveReader(backup) as archive:
        manifest = read_manifest(archive)
        contents = {member.name: b"".join(archive.content(member)) for member in manifest.members}
    kept = [one for one in manifest.members if not one.name.startswith(("store/encoders", "databases"))]
    for change, told in (
        ({"members": kept}, "databases/galaxyloop and 2 more are not in its manifest"),
        ({"members": kept, "databases": {}, "stamp_sets": []}, "databases/galaxyloop and 2 more"),
        ({"members": [*manifest.members, kept[0].model_copy(update={"name": "store/a"})]}, "store/a is not in it"),
    ):
        with backup.open("w+b") as stream:
            writer = ArchiveWriter(stream)
            for name, content in contents.items():
                writer.add(name, [content])
            writer.finish(manifest.model_copy(update=change).model_dump_json().encode())
        with pytest.raises(BackupError, match=rf"is damaged: {told}"):
            load(backup, place.target, quiet)
        assert place.is_untouched() and not place.settings.home.exists()


def test_one_digit_of_a_manifest_is_not_overlooked(backup: Path, place: Place) -> None:
    whole = backup.read_bytes()
    backup.write_bytes(whole.replace(b"http://127.0.0.1:9090", b"http://127.0.0.1:9091", 1))
    with pytest.raises(BackupError, match=r"is damaged: manifest\.json is not what was written"):
        load(backup, place.target, quiet)
    assert place.is_untouched()


class FullDisk:
    """A disk on which a second write fails."""

    def __init__(self) -> None:
        self.writes = 0

    def __call__(self, *_: object) -> None:
        self.writes += 1
        if self.writes > 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextmanager
def filling(_: str) -> Iterator[Progress]:
    """A step during which the disk becomes full."""
    yield FullDisk()


def test_a_full_disk_leaves_nothing(
    backup: Path, settings: Settings, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BackupError, match=r"The disk of .*another\.backup is full") as caught:
        create(tmp_path / "another.backup", settings, filling)
    assert "Nothing is left of it" in caught.value.hint
    assert not list(tmp_path.glob("another*"))
    monkeypatch.setattr(loading, "verify", lambda *_: None)
    with pytest.raises(BackupError, match=r"The disk of .* is full"):
        load(backup, place.target, filling)
    assert place.is_untouched()
    # and before anything is written, where it is seen that it will not do
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(creating.shutil, "disk_usage", lambda _: usage._replace(free=1_000_000))
    for begin in (
        lambda: create(tmp_path / "another.backup", settings, quiet),
        lambda: load(backup, place.target, quiet),
    ):
        with pytest.raises(BackupError, match=r"Only 0\.0 GB are free on the disk of"):
            begin()
    assert place.is_untouched() and not list(tmp_path.glob("another*"))


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder on a disk of its own, as the data folder of a container is."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


def test_each_disk_needs_room_for_what_goes_there(
    backup: Path, place: Place, memory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, stamps = memory / "home", place.settings.home / "stamps"
    target = Target(place.settings.model_copy(update={"home": home}), stamps)
    usage, free = shutil.disk_usage(memory), {memory: 1_000_000, tmp_path: 10_000}
    monkeypatch.setattr(creating.shutil, "disk_usage", lambda folder: usage._replace(free=free[folder]))
    with pytest.raises(BackupError, match=re.escape(f"on the disk of {place.settings.store_folder}")):
        load(backup, target, quiet)
    # databases, store and stamp sets have places of their own
    free[tmp_path] = 10**9
    load(backup, target, quiet)
    assert (home / "label-studio/media/upload/galaxy.png").is_file() and there(stamps)


def test_a_database_that_refuses_is_empty_afterwards(
    backup: Path, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise psycopg.OperationalError("the server went away")

    monkeypatch.setattr(loading, "all_campaigns", fails)
    with pytest.raises(Exception, match="cannot be reached"):
        load(backup, place.target, quiet)
    assert place.is_untouched()
    monkeypatch.undo()
    # a dump that is none, though it is what was written
    with ArchiveReader(backup) as archive:
        manifest = read_manifest(archive)
        contents = {member.name: b"".join(archive.content(member)) for member in manifest.members}
    contents["databases/galaxyloop"] = contents["databases/galaxyloop"][:3000]
    with backup.open("w+b") as stream:
        writer = ArchiveWriter(stream)
        members = [writer.add(name, [content]) for name, content in contents.items()]
        writer.finish(manifest.model_copy(update={"members": members}).model_dump_json().encode())
    with pytest.raises(BackupError, match="pg_restore refused: "):
        load(backup, place.target, quiet)
    assert place.is_untouched()


def test_a_database_that_somebody_filled_meanwhile_is_theirs(
    backup: Path, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another load, or a backend that made its tables, while this one verified its file."""

    def verified(*_: object) -> None:
        url = place.settings.database_url
        assert url is not None
        with Database(url.get_secret_value(), size=1) as theirs:
            theirs.rows("put_stamp_set", **{"name": "theirs", "path": "/theirs.h5", "digest": "d", "features": ""})

    monkeypatch.setattr(loading, "verify", verified)
    with pytest.raises(BackupError, match=r"pg_restore refused: .*already exists"):
        load(backup, place.target, quiet)
    assert [row["name"] for row in place.rows("stamp_sets")] == ["theirs"]
    assert not any(there(folder) for folder in place.folders)


def test_what_changes_while_it_is_copied_is_refused(
    settings: Settings, campaign: Campaign, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = files._shown

    def writing(stream: Any, *rest: Any) -> Iterator[bytes]:
        yield from shown(stream, *rest)
        with Path(stream.name).open("ab") as other:
            other.write(b"more")

    monkeypatch.setattr(files, "_shown", writing)
    with pytest.raises(BackupError, match="was changed while it was copied"):
        create(tmp_path / "all.backup", settings, quiet)
    monkeypatch.undo()
    grown: list[int] = []

    @contextmanager
    def growing(_: str) -> Iterator[Progress]:
        yield lambda *_: None
        with database.transaction() as connection:
            connection.execute("UPDATE stamp_set SET digest = 'another'")
        grown.append(1)

    with pytest.raises(BackupError, match="Galaxies were added to sky while it was copied"):
        create(tmp_path / "all.backup", settings, growing)
    assert grown and not list(tmp_path.glob("all*"))


def test_nothing_to_keep_is_said(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    postgres.create_database("without_tables")
    with pytest.raises(BackupError, match="has no tables yet"):
        create(tmp_path / "all.backup", settings_of(postgres.url("without_tables"), tmp_path), quiet)
    nowhere = settings_of("host=/nowhere connect_timeout=1", tmp_path)
    with pytest.raises(BackupError, match="cannot be reached"):
        create(tmp_path / "all.backup", nowhere, quiet)
    done = CliRunner().invoke(app, ["backup", "create", str(tmp_path / "x")], env={"GALAXYLOOP_HOME": str(tmp_path)})
    assert done.exit_code == 1 and "galaxyloop up" in done.stderr
    with pytest.raises(BackupError, match="cannot be written"):
        create(tmp_path / "sub/file/x", settings_of("host=/nowhere", touched(tmp_path / "sub")), quiet)


def touched(path: Path) -> Path:
    """A file where a folder should be."""
    path.write_text("")
    return path
