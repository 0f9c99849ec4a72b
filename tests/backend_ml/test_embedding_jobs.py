"""Sets that are embedded by jobs: queued once, taken by any worker, laid down when it stops."""

import threading
from pathlib import Path

import numpy as np
import pytest
from procrastinate.jobs import Status

from backend_ml import jobs
from backend_ml.campaign.defer import EMBED, defer_embedding
from backend_ml.settings import Settings
from backend_ml.store.database import Database
from backend_ml.store.encoders import encoder_folder, keep_checkpoint
from lvm_training.files import alone
from lvm_training.model.encoder import Encoder
from lvm_training.pool import embedding
from lvm_training.pool.embedding import embed_set, features_path, ranges_left
from lvm_training.pool.features import Features
from lvm_training.stamps.rendering import Rendering
from lvm_training.stamps.stampset import StampSet
from tests.backend_ml.learned import run_jobs
from tests.backend_ml.sky import write_stamps
from tests.tiny_encoder import write_tiny


def statuses(database: Database) -> list[str]:
    with database.transaction() as connection:
        rows = connection.execute("SELECT status::text FROM procrastinate_jobs ORDER BY id").fetchall()
    return [row["status"] for row in rows]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(store=tmp_path / "store")


@pytest.fixture
def encoder(tmp_path: Path, settings: Settings) -> Encoder:
    """An encoder of the store."""
    write_tiny(tmp_path / "lvm", Rendering(size=32, field=9.0))
    encoder = Encoder.load(tmp_path / "lvm", views=1)
    keep_checkpoint(tmp_path / "lvm", encoder_folder(settings.store_folder, encoder.digest))
    return encoder


def test_jobs_make_the_features_that_one_process_makes(
    database: Database, tmp_path: Path, settings: Settings, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding, "RANGE", 8)
    with StampSet(write_stamps(tmp_path, 20)) as stamps:
        path = features_path(stamps, encoder, settings.features_folder)
        for _ in range(2):
            with database.transaction() as connection:
                for start in ranges_left(path, stamps, encoder):
                    defer_embedding(connection, stamps.path, path, encoder.digest, start, 4)
        assert statuses(database) == ["todo"] * 3, "none is queued twice"
        with alone(path.with_name(f"{path.name}.8.lock")):
            run_jobs(database, settings=settings, queue=EMBED)
        assert ranges_left(path, stamps, encoder) == {8: 8}
        assert statuses(database).count(Status.TODO.value) == 1, "the range of another process is waited for"
        with database.transaction() as connection:
            connection.execute("UPDATE procrastinate_jobs SET scheduled_at = now() WHERE status = 'todo'")
        run_jobs(database, settings=settings, queue=EMBED)
        whole = embed_set(stamps, encoder, tmp_path / "whole", batch=4)
    np.testing.assert_array_equal(Features.open(path).matrix, whole.matrix)
    assert Status.TODO.value not in statuses(database)


@pytest.mark.parametrize("late", ["the set", "the encoder", "the rest of the set"])
def test_what_another_host_still_writes_is_waited_for(
    database: Database, tmp_path: Path, settings: Settings, encoder: Encoder, late: str
) -> None:
    with StampSet(write_stamps(tmp_path, 20)) as stamps:
        path, written = features_path(stamps, encoder, settings.features_folder), stamps.path
    there = encoder_folder(settings.store_folder, encoder.digest) if late == "the encoder" else written
    away = there.rename(tmp_path / "on another host")
    if late == "the rest of the set":
        written.write_bytes(away.read_bytes()[:-1000])
    with database.transaction() as connection:
        defer_embedding(connection, written, path, encoder.digest, 0, 4)
    run_jobs(database, settings=settings, queue=EMBED)
    assert statuses(database) == [Status.TODO.value] and not path.exists()
    away.rename(there)
    with database.transaction() as connection:
        connection.execute("UPDATE procrastinate_jobs SET scheduled_at = now()")
    run_jobs(database, settings=settings, queue=EMBED)
    assert len(Features.open(path).matrix) == 20


def test_a_worker_that_stops_lays_a_range_down(
    database: Database, tmp_path: Path, settings: Settings, encoder: Encoder
) -> None:
    stopping = threading.Event()
    stopping.set()
    services = jobs.Services(settings, database, None, stopping)  # type: ignore[arg-type]
    context = type("Context", (), {"additional_context": {"services": services}})()
    with StampSet(write_stamps(tmp_path, 20)) as stamps:
        path = features_path(stamps, encoder, settings.features_folder)
        with pytest.raises(jobs.StoppingError):
            jobs.embed(context, str(stamps.path), str(path), encoder.digest, 0, 4)
        assert ranges_left(path, stamps, encoder) == {0: 16}, "what is done is kept"
