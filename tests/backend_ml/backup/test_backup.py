"""Backups of real databases, stores and stamp sets: what they become in another place."""

import shutil
import stat
import threading
from pathlib import Path

import numpy as np
import psycopg
import pytest
from typer.testing import CliRunner

from backend_ml.backup.create import create
from backend_ml.backup.load import load
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
from lvm_training.stamps.stampset import StampSet
from tests.backend_ml.backup.places import Place, settings_of
from tests.backend_ml.sky import ENCODER, write_stamps
from tests.backend_ml.store.test_database import BEFORE, VOTES
from tests.installation import quiet

RELEASE_BEFORE = 10
"""The schema version of release 0.1.0, before anything that follows it."""


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
