"""The job that gives a campaign another encoder: when it comes, what it leaves, and kills in its midst."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from backend_ml.buckets import BucketError
from backend_ml.campaign.defer import DEFAULT, GPU, defer_encoder, defer_learning
from backend_ml.learning import encoders
from backend_ml.learning.learn import learn, stores_of
from backend_ml.settings import Settings
from backend_ml.store.database import Database
from backend_ml.store.records import Campaign
from lvm_training.model.lvm import LVM
from tests import forked
from tests.backend_ml.learned import run_jobs
from tests.backend_ml.learning import encoder_process
from tests.backend_ml.whole import AUDIT, N, label, stored, write_campaign, write_encoder
from tests.conftest import REPOSITORY
from tests.small_disk import on_small_disk


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def campaign(database: Database, tmp_path: Path, store: Path) -> Campaign:
    """A campaign with ten labels."""
    made = write_campaign(database, tmp_path, store)
    label(database, made, range(10))
    return made


def settings(store: Path, labels: int) -> Settings:
    return Settings(store=store, encoder_labels=labels, encoder_steps=1)


def jobs(database: Database) -> list[tuple[str, str]]:
    with database.transaction() as connection:
        rows = connection.execute(
            "SELECT task_name, queue_name FROM procrastinate_jobs WHERE status = 'todo' ORDER BY id"
        ).fetchall()
    return [(row["task_name"], row["queue_name"]) for row in rows]


def served(database: Database, campaign: Campaign) -> dict[str, Any]:
    (version,) = database.rows("active_version", campaign=campaign.id)
    (row,) = database.rows("campaign_of_id", campaign=campaign.id)
    assert row["encoder"] == version["encoder"], "they change together"
    return version


def test_a_bucket_that_is_away_is_waited_for(
    database: Database, campaign: Campaign, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> str:
        raise BucketError("The S3 server does not answer.", "Check that it runs.")

    monkeypatch.setattr(encoders, "train", away)
    with database.transaction() as connection:
        defer_encoder(connection, campaign)
    run_jobs(database, settings=settings(store, 10), queue=GPU)
    assert jobs(database) == [("campaign:encoder", GPU)]
    assert database.rows("last_encoder_run", campaign=campaign.id) == [], "it has not failed"


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_from_enough_labels_on_a_refit_asks_for_it(database: Database, campaign: Campaign, store: Path) -> None:
    label(database, campaign, range(N - AUDIT, N - AUDIT + 29))

    def notices() -> dict[str, str]:
        return {row["source"]: row["text"] for row in database.rows("notices", campaign=campaign.id)}

    with database.transaction() as connection:
        defer_learning(connection, campaign, asked=False)
    run_jobs(database, settings=settings(store, 10))
    assert jobs(database) == [] and "29 of its stamps" in notices()["encoder training"]
    label(database, campaign, range(N - AUDIT, N))
    for added, waiting in ((10, []), (11, [("campaign:encoder", GPU)])):
        label(database, campaign, [added])
        with database.transaction() as connection:
            defer_learning(connection, campaign, asked=False)
        # the push that follows finds no Label Studio here
        run_jobs(database, settings=settings(store, 12))
        assert jobs(database) == waiting
        assert "encoder training" not in notices()


def test_the_job_trains_and_pushes(database: Database, campaign: Campaign, store: Path) -> None:
    assert learn(database, stores_of(database, campaign, store)) == "promoted"
    before = served(database, campaign)
    with database.transaction() as connection:
        defer_encoder(connection, campaign)
        defer_encoder(connection, campaign)
    assert jobs(database) == [("campaign:encoder", GPU)]
    run_jobs(database, settings=settings(store, 300), queue=GPU)
    assert served(database, campaign)["encoder"] != before["encoder"]
    assert jobs(database) == [("campaign:push", DEFAULT)]
    assert database.rows("notices", campaign=campaign.id) == []


def test_memory_and_failures_are_noted_on_the_campaign(
    database: Database, campaign: Campaign, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert learn(database, stores_of(database, campaign, store)) == "promoted"
    before, features = served(database, campaign), LVM.features
    most = 0

    def scarce(lvm: LVM, images: torch.Tensor) -> torch.Tensor:
        if len(images) > most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return features(lvm, images)

    def run(encoder: str = "") -> dict[str, str]:
        with database.transaction() as connection:
            connection.execute("DELETE FROM procrastinate_jobs")
            defer_encoder(connection, campaign, encoder)
        run_jobs(database, settings=settings(store, 300), queue=GPU)
        return {row["source"]: row["text"] for row in database.rows("notices", campaign=campaign.id)}

    monkeypatch.setattr(LVM, "features", scarce)
    assert "out of memory" in run()["encoder"]
    (ended,) = database.rows("last_encoder_run", campaign=campaign.id)
    assert ended["outcome"] == "failed", "the next one waits for some more labels"
    assert served(database, campaign) == before
    most = 40
    assert run() == {"memory": "Memory ran out: 32 pictures at a time from here on."}
    assert served(database, campaign) != before
    most = N + 128
    assert run(stored(store, write_encoder(tmp_path / "newer", seed=8))) == {}


def test_a_full_disk_is_noted_the_worker_lives_and_what_serves_stays(
    database: Database, campaign: Campaign, store: Path
) -> None:
    assert learn(database, stores_of(database, campaign, store)) == "promoted"
    before = served(database, campaign)

    def ask() -> None:
        with database.transaction() as connection:
            connection.execute("DELETE FROM procrastinate_jobs")
            defer_encoder(connection, campaign)

    ask()
    (store / "resume").mkdir()
    code = "import sys; from tests.backend_ml.learning.encoder_process import work; work(*sys.argv[1:])"
    command = [sys.executable, "-c", code, database.url, store]
    done = on_small_disk(store / "resume", "64k", command, {**os.environ, "PYTHONPATH": str(REPOSITORY)})
    assert done.returncode == 0, done.stderr
    (notice,) = database.rows("notices", campaign=campaign.id)
    assert notice["source"] == "encoder" and notice["text"].startswith("The disk is full: [Errno 28]")
    assert served(database, campaign) == before
    ask()
    run_jobs(database, settings=settings(store, 300), queue=GPU)
    assert database.rows("notices", campaign=campaign.id) == [] and served(database, campaign) != before


@pytest.mark.timeout(600)  # each of the processes imports Lightning, which takes long on a busy machine
def test_a_kill_leaves_what_was_and_what_was_done_is_not_done_again(
    database: Database, campaign: Campaign, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert learn(database, stores_of(database, campaign, store)) == "promoted"
    before = served(database, campaign)
    for phase, done in (("training", 3), ("embedding sky", 32)):
        arguments = (database.url, store, campaign.id, phase, done)
        assert forked.exit_status(encoder_process.train, *arguments) == -signal.SIGKILL
        assert served(database, campaign) == before
    told: list[tuple[str, int]] = []
    monkeypatch.setattr("lvm_training.supervised.labelled_pictures.EPOCH_STEPS", 2)
    monkeypatch.setattr(encoders, "EMBEDDED", 16)
    stores = stores_of(database, campaign, store)
    outcome = encoders.train(database, stores, lambda at, done, _: told.append((at, done)), pytest.fail, steps=4)
    assert outcome == "promoted" and served(database, campaign)["encoder"] != before["encoder"]
    assert {phase for phase, _ in told} == {"reading pictures", "embedding sky", "fitting"}, "it was trained already"
    assert min(done for phase, done in told if phase == "embedding sky") == 48, "and embedded as far as it had come"
    assert len(database.rows("encoder_trainings", campaign=campaign.id)) == 1
