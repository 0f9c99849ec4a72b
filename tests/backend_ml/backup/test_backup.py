"""Backups of real databases, stores and stamp sets, and what becomes of them in another place."""

import errno
import os
import shutil
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
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
from backend_ml.settings import Settings, read_environment
from backend_ml.store import database as database_module
from backend_ml.store.campaigns import all_campaigns
from backend_ml.store.database import MIGRATIONS, Database
from backend_ml.store.features import FeatureStore
from backend_ml.store.records import Campaign
from lvm_training.heads.beside import read_column
from lvm_training.importing.joined import join_sets
from lvm_training.progress import Progress
from lvm_training.stamps.stampset import StampSet
from tests.backend_ml.sky import ENCODER, write_stamps
from tests.backend_ml.store.test_database import BEFORE, VOTES
from tests.installation import quiet

RELEASE_BEFORE = 10
"""The schema version of release 0.1.0, before anything that follows it."""


@dataclass
class Place:
    """Where a backup is loaded: an empty database, and folders that are not there yet."""

    settings: Settings

    @property
    def target(self) -> Target:
        """The same for `load`."""
        return Target(self.settings)

    @property
    def folders(self) -> list[Path]:
        """What a load makes."""
        return [self.settings.home / "stamps", self.settings.home / "label-studio", self.settings.store_folder]

    def is_untouched(self) -> bool:
        """Whether nothing of a load is left."""
        url = self.settings.database_url
        assert url is not None
        with psycopg.connect(url.get_secret_value()) as connection:
            tables = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
        left = [one for folder in (self.settings.home, self.settings.store_folder) for one in there(folder)]
        return tables == (0,) and [one.name for one in left if one.name not in ("lock", "processes.json")] == []

    def rows(self, name: str, **values: Any) -> list[Any]:
        """The rows of a named query."""
        assert self.settings.database_url is not None
        with Database(self.settings.database_url.get_secret_value(), size=1) as opened:
            return opened.rows(name, **values)


def there(folder: Path) -> list[Path]:
    """What is in a folder, which may not be there."""
    return list(folder.iterdir()) if folder.is_dir() else []


def settings_of(url: str, folder: Path) -> Settings:
    """Settings of an installation in a folder, on a database."""
    return Settings.model_validate({"database_url": url, "home": folder / "home", "store": folder / "its store"})


@pytest.fixture
def place(postgres: EmbeddedPostgres, tmp_path: Path) -> Iterator[Place]:
    """An empty database and folder."""
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS loaded")
    postgres.create_database("loaded")
    yield Place(settings_of(postgres.url("loaded"), tmp_path / "new place"))


@pytest.fixture
def settings(database: Database, tmp_path: Path) -> Settings:
    """The installation that is kept, with an encoder and what kills have left in its store."""
    made = settings_of(database.url, tmp_path / "old place")
    encoder = made.store_folder / "encoders" / ENCODER
    encoder.mkdir(parents=True)
    (encoder / "model.safetensors").write_bytes(os.urandom(3_000_000))
    (encoder / "card.json").write_text("{}")
    unfinished = ("encoders/add.lock", "encoders/.adding-1/x", "features/a.npy.partial", "encoders/abc.part/y")
    for name in (*unfinished, "resume/encoder-1-0123456789ab/steps/last.ckpt", "experiments/experiment-1-test.log"):
        (made.store_folder / name).parent.mkdir(parents=True, exist_ok=True)
        (made.store_folder / name).write_text("not whole")
    uploads = made.home / "label-studio/media/upload"
    uploads.mkdir(parents=True)
    (made.store_folder / "experiments/stamps-1").mkdir()
    (made.store_folder / "experiments/stamps-1/sky.h5").symlink_to(tmp_path / "sky.h5")
    (uploads / "galaxy.png").write_bytes(b"picture")
    # Label Studio writes what people upload under its own name: a name tells nothing of whether it is whole
    (uploads / "12345678-galaxies.part.csv").write_bytes(b"a part of the sky")
    (made.home / "label-studio/.env").write_text("SECRET_KEY=x")
    return made


@pytest.fixture
def backup(settings: Settings, campaign: Campaign, tmp_path: Path) -> Path:
    """A backup of the campaign of `conftest`."""
    create(tmp_path / "all.backup", settings, quiet)
    return tmp_path / "all.backup"


def test_all_is_there_again_at_another_place(
    settings: Settings, campaign: Campaign, database: Database, place: Place, tmp_path: Path
) -> None:
    with database.transaction() as connection:
        connection.execute("INSERT INTO session VALUES ('x', 'ana', 1, 'token', now(), now())")
        connection.execute(
            "INSERT INTO procrastinate_jobs (queue_name, task_name, args)"
            " VALUES ('embed', 'pool:embed', '{\"stamps\": \"/x\"}'), ('default', 'campaign:push', '{}')"
        )
    made = create(tmp_path / "all.backup", settings, quiet)
    assert stat.S_IMODE((tmp_path / "all.backup").stat().st_mode) == 0o600
    shutil.rmtree(settings.home.parent)
    (tmp_path / "sky.h5").unlink()
    loaded = load(tmp_path / "all.backup", place.target, quiet)
    assert loaded.manifest == made and loaded.administrator == ""
    (row,) = place.rows("stamp_sets")
    assert row["path"] == str(place.settings.home / "stamps/sky/sky.h5")
    assert row["features"] == str(place.settings.store_folder / "features/sky.npy")
    assert [dict(one) for one in place.rows("kept_campaigns")] == [
        {"name": "Test", "state": "open", "tasks": 10, "labels": 0}
    ]
    with StampSet(Path(row["path"])) as stamps:
        assert len(stamps) == 10
    assert FeatureStore({"sky": row["features"]}, ENCODER).rows([("sky", 3)]).shape == (1, 16)
    kept = {path.relative_to(place.settings.store_folder).as_posix() for path in walked(place.settings.store_folder)}
    assert kept == {f"encoders/{ENCODER}/{name}" for name in ("model.safetensors", "card.json")} | {
        f"features/sky.{suffix}" for suffix in ("npy", "json")
    }
    uploads = place.settings.home / "label-studio/media/upload"
    assert (uploads / "galaxy.png").read_bytes() == b"picture"
    assert (uploads / "12345678-galaxies.part.csv").read_bytes() == b"a part of the sky"
    assert not (place.settings.home / "label-studio/.env").exists()
    assert place.rows("sessions") == []
    assert place.settings.database_url is not None
    with psycopg.connect(place.settings.database_url.get_secret_value()) as connection:
        jobs = connection.execute("SELECT task_name FROM procrastinate_jobs").fetchall()
    assert jobs == [("campaign:push",)]
    # a backup of what was loaded is the same again
    again = create(tmp_path / "again.backup", place.settings, quiet)
    assert {one.name: one.sha256 for one in again.members if one.name not in again.databases} == {
        one.name: one.sha256 for one in made.members if one.name not in made.databases
    }


def walked(folder: Path) -> list[Path]:
    """All files below a folder."""
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_data_folder_has_its_own_servers_and_new_secrets(backup: Path, tmp_path: Path) -> None:
    """Without a database in the settings: an embedded one, in the folder, found by what starts there."""
    home = tmp_path / "elsewhere/home"
    done = CliRunner().invoke(app, ["backup", "load", str(backup), "--home", str(home), "--port", "8080"])
    assert done.exit_code == 0, done.output
    assert f"GALAXYLOOP_HOME='{home}' galaxyloop up" in done.stderr or f"={home} galaxyloop up" in done.stderr
    kept = read_environment(home)
    assert kept["GALAXYLOOP_PUBLIC_URL"] == kept["GALAXYLOOP_BACKEND_URL"] == "http://127.0.0.1:8080"
    assert not kept["GALAXYLOOP_LABEL_STUDIO_URL"].endswith(":8080"), "it had that port before"
    assert len(kept["GALAXYLOOP_SECRET"]) == 64
    assert sorted(one.name for one in home.iterdir()) == [
        *("environment", "label-studio", "lock", "postgres", "processes.json", "stamps", "store")
    ]
    # nothing runs there: the database is started for the backup
    made = create(tmp_path / "again.backup", Settings(home=home), quiet)
    assert [(one.name, one.tasks) for one in made.campaigns] == [("Test", 10)]
    assert made.stamp_sets[0].path == "stamps/sky/sky.h5" and not made.left_out
    for member in made.members:
        assert not member.name.endswith("environment")
    again = CliRunner().invoke(app, ["backup", "load", str(backup), "--home", str(home)])
    assert again.exit_code == 1 and f"{home} is not empty: it has environment" in " ".join(again.stderr.split())
    ports = ["--port", "9000", "--label-studio-port", "9000"]
    both = CliRunner().invoke(app, ["backup", "load", str(backup), "--home", str(tmp_path / "third"), *ports])
    assert both.exit_code == 1 and "cannot both have port 9000" in both.stderr and not (tmp_path / "third").exists()


def test_labels_that_come_in_meanwhile_are_in_it_whole_or_not_at_all(
    settings: Settings, campaign: Campaign, database: Database, place: Place, tmp_path: Path
) -> None:
    text = (
        "INSERT INTO label_event (campaign_id, action, task_id, annotation_id, label, source, happened_at)"
        " VALUES (%s, 'labelled', 101, %s, 'spiral', 'webhook', now())"
    )
    stop = threading.Event()
    written: list[int] = []

    def label() -> None:
        number = 0
        while not stop.is_set():
            with database.transaction() as connection:
                for _ in range(2):
                    number += 1
                    connection.execute(text, (campaign.id, number))
            written.append(number)

    thread = threading.Thread(target=label)
    thread.start()
    while len(written) < 5:
        assert thread.is_alive()
    made = create(tmp_path / "all.backup", settings, quiet)
    stop.set()
    thread.join()
    load(tmp_path / "all.backup", place.target, quiet)
    (row,) = place.rows("kept_campaigns")
    assert row["labels"] == made.campaigns[0].labels and row["labels"] % 2 == 0
    assert 10 <= row["labels"] < written[-1]


@pytest.mark.parametrize("schema", [3, RELEASE_BEFORE])
def test_a_backup_of_an_older_release_is_brought_up_to_date(
    postgres: EmbeddedPostgres, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, schema: int
) -> None:
    name = f"of_schema_{schema}"
    postgres.create_database(name)
    old = settings_of(postgres.url(name), tmp_path / "old place")
    with monkeypatch.context() as then:
        then.setattr(database_module, "MIGRATIONS", MIGRATIONS[:schema])
        with Database(postgres.url(name)) as opened, opened.transaction() as connection:
            connection.execute(BEFORE)
            before = connection.execute(VOTES).fetchall()
    # by this release, before anything opened and migrated the database
    made = create(tmp_path / "all.backup", old, quiet)
    assert made.schema_version == schema and "There is no stamp set at /sky.h5" in made.left_out[1]
    load(tmp_path / "all.backup", place.target, quiet)
    assert place.rows("schema_version") == [{"number": len(MIGRATIONS)}]
    assert place.settings.database_url is not None
    with Database(place.settings.database_url.get_secret_value()) as opened, opened.transaction() as connection:
        assert connection.execute(VOTES).fetchall() == before and len(before) == 2
        assert [(one.name, one.state) for one in all_campaigns(connection)] == [("old", "open"), ("done", "closed")]
    (row,) = place.rows("stamp_sets")
    assert row["path"] == str(place.settings.home / "stamps/sky/sky.h5")


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


def register(database: Database, path: Path) -> None:
    """Let the database name a stamp set."""
    with StampSet(path) as stamps:
        database.rows("put_stamp_set", name=path.stem, path=str(path), digest=stamps.digest, features="")


def test_joined_sets_find_their_parts_again(
    settings: Settings, campaign: Campaign, database: Database, place: Place, tmp_path: Path
) -> None:
    """Parts above, beside and below it, one of them registered too and one joined itself; a link leads to the whole."""
    for folder in ("a", "a/b", "a/b/c"):
        (tmp_path / folder).mkdir()
    parts = [write_stamps(tmp_path / folder, 3, f"part{i}", ra=i) for i, folder in enumerate(("a", "a/b", "a/b/c"))]
    join_sets(parts[:2], tmp_path / "a/b/inner.h5")
    join_sets([tmp_path / "a/b/inner.h5", parts[2]], tmp_path / "a/b/outer.h5")
    (tmp_path / "linked.h5").symlink_to(tmp_path / "a/b/outer.h5")
    for path in (tmp_path / "linked.h5", parts[0]):
        register(database, path)
    with StampSet(tmp_path / "linked.h5") as stamps:
        before = stamps.content_digest()
    create(tmp_path / "all.backup", settings, quiet)
    shutil.rmtree(tmp_path / "a")
    load(tmp_path / "all.backup", place.target._replace(stamps=tmp_path / "sets"), quiet)
    rows = {row["name"]: Path(row["path"]) for row in place.rows("stamp_sets")}
    assert rows["linked"] == tmp_path / "sets/linked/b/linked.h5"
    with StampSet(rows["linked"]) as stamps, StampSet(rows["part0"]) as part:
        assert stamps.content_digest() == before and len(stamps) == 9
        assert stamps.digest == {row["name"]: row["digest"] for row in place.rows("stamp_sets")}["linked"]
        assert len(part) == 3


def test_files_of_vectors_lie_beside_their_sets_again(
    settings: Settings, campaign: Campaign, database: Database, place: Place, tmp_path: Path
) -> None:
    (tmp_path / "a").mkdir()
    register(database, write_stamps(tmp_path / "a", 3, "few"))
    np.save(tmp_path / "a/spectrum.npy", np.eye(3))
    np.save(tmp_path / "a/other.npy", np.eye(3))
    with database.transaction() as connection:
        connection.execute("UPDATE campaign SET columns = '{ra,spectrum.npy}'")
    create(tmp_path / "all.backup", settings, quiet)
    load(tmp_path / "all.backup", place.target, quiet)
    (few,) = [Path(row["path"]) for row in place.rows("stamp_sets") if row["name"] == "few"]
    assert {one.name for one in few.parent.iterdir()} == {"few.h5", "spectrum.npy"}, "no campaign reads the other"
    with StampSet(few) as stamps:
        assert read_column(stamps, "spectrum.npy").tolist() == np.eye(3).tolist()


def test_what_is_gone_is_said_and_the_rest_is_kept(
    settings: Settings, campaign: Campaign, database: Database, place: Place, tmp_path: Path
) -> None:
    register(database, write_stamps(tmp_path, 3, "gone"))
    (tmp_path / "gone.h5").unlink()
    made = create(tmp_path / "all.backup", settings, quiet)
    assert made.left_out[0].startswith("Label Studio's own database and uploads: GALAXYLOOP_LABEL_STUDIO_DATABASE_URL")
    assert made.left_out[1] == f"The stamp set gone: There is no stamp set at {tmp_path}/gone.h5."
    load(tmp_path / "all.backup", place.target, quiet)
    rows = {row["name"]: row for row in place.rows("stamp_sets")}
    assert rows["gone"]["path"] == str(place.settings.home / "stamps/gone/gone.h5") and rows["gone"]["features"] == ""


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
