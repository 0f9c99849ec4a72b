"""An installation to keep, and an empty place to load it."""

import os
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from backend_ml.backup.create import create
from backend_ml.local.postgres import EmbeddedPostgres
from backend_ml.settings import Settings
from backend_ml.store.database import Database
from backend_ml.store.records import Campaign
from tests.backend_ml.backup.places import Place, settings_of
from tests.backend_ml.sky import ENCODER
from tests.installation import quiet


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
