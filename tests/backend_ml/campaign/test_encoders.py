"""The encoders of a campaign, as commands show and change them."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from backend_ml import jobs
from backend_ml.campaign.encoders import called, newer
from backend_ml.cli.main import app
from backend_ml.learning import encoders as learning
from backend_ml.learning.learn import learn, silent, stores_of
from backend_ml.settings import Settings
from backend_ml.store import versions
from backend_ml.store.campaigns import add_campaign
from backend_ml.store.database import Database
from backend_ml.store.encoders import encoder_folder, encoders_folder
from backend_ml.store.features import index_folder, searched_features
from backend_ml.store.named_encoders import NAMES
from backend_ml.store.records import Campaign
from backend_ml.store.registration import embedding, register
from lvm_training.model.encoder import Encoder
from lvm_training.pool.embedding import features_path
from lvm_training.progress import Progress
from lvm_training.stamps.stampset import StampSet
from tests.backend_ml.conftest import MORPHOLOGY
from tests.backend_ml.sky import write_stamps
from tests.backend_ml.whole import N, label, write_campaign, write_encoder


@pytest.fixture
def campaign(database: Database, tmp_path: Path, store: Path) -> Campaign:
    """A campaign with ten labels and a head that learned them."""
    made = write_campaign(database, tmp_path, store)
    label(database, made, range(10))
    assert learn(database, stores_of(database, made, store)) == "promoted"
    return made


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)])


def told(*arguments: object) -> Any:
    done = run(*arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def change(database: Database, campaign: Campaign, store: Path, encoder: str) -> None:
    stores = stores_of(database, campaign, store)
    assert learning.change(database, stores, encoder, silent, pytest.fail) == "promoted"


def train(database: Database, campaign: Campaign, store: Path) -> str:
    stores = stores_of(database, campaign, store)
    assert learning.train(database, stores, silent, pytest.fail, steps=2) == "promoted"
    return str(database.rows("encoder_trainings", campaign=campaign.id)[-1]["encoder"])


def asked_for(database: Database) -> list[tuple[str, str, Any]]:
    with database.transaction() as connection:
        rows = connection.execute("SELECT task_name, queue_name, args FROM procrastinate_jobs ORDER BY id").fetchall()
    return [(row["task_name"], row["queue_name"], row["args"]) for row in rows]


def test_a_newer_release_is_told_of_and_asked_for(database: Database, campaign: Campaign, store: Path) -> None:
    """A campaign that began with the former nano goes on with its encoder, and nothing changes by itself."""
    folder = store.parent
    releases = [folder / "made", write_encoder(folder / "newer", seed=8)]
    with database.transaction() as connection:
        assert newer(connection, campaign, store, releases) == folder / "newer"
        assert newer(connection, campaign, store, releases[::-1]) is None, "it has the newest"
        own = [write_encoder(folder / "a", seed=5), folder / "newer"]
        assert newer(connection, campaign, store, own) is None, "it began with one of its team's own"
        assert newer(connection, campaign, store, [folder / "made", folder / "nowhere"]) is None
    assert told("campaign", "status", "Whole")["newer_encoder"] is None
    asked = told("campaign", "encoder", "Whole", "--use", folder / "newer")
    digest = asked["encoder"]
    assert (encoder_folder(store, digest) / "card.json").is_file()
    assert asked_for(database) == [("campaign:encoder", "gpu", {"encoder": digest, "campaign_id": campaign.id})]
    assert database.rows("campaign_of_id", campaign=campaign.id)[0]["encoder"] == campaign.encoder
    told("campaign", "encoder", "Whole", "--use", folder / "newer")
    assert len(asked_for(database)) == 1, "asked twice, done once"
    change(database, campaign, store, digest)
    with database.transaction() as connection:
        assert newer(connection, campaign, store, releases) is None
    assert "has that encoder already" in run("campaign", "encoder", "Whole", "--use", folder / "newer").stderr


def test_an_encoder_is_called_by_its_name(database: Database, campaign: Campaign, store: Path) -> None:
    digest, folder = campaign.encoder, store.parent / "made"
    assert called(digest, store, []) == digest and called(digest, store, [folder]) == f"made ({digest})"
    assert called("0" * 12, store, [folder, store / "nowhere"]) == "0" * 12
    run("encoder", "add", folder, "--name", "ours")
    assert called(digest, store, [folder]) == f"ours ({digest})"
    assert f"ours ({digest})" in run("campaign", "status", "Whole").stdout
    (encoders_folder(store) / NAMES).write_text("damaged")
    assert called(digest, store, []) == digest, "a status is no place to fail"


def test_a_trained_encoder_hides_no_newer_release(database: Database, campaign: Campaign, store: Path) -> None:
    train(database, campaign, store)
    folder = store.parent
    with database.transaction() as connection:
        assert newer(connection, campaign, store, [folder / "made", write_encoder(folder / "n", 8)]) == folder / "n"


def test_encoders_are_listed_with_what_they_take(database: Database, campaign: Campaign, store: Path) -> None:
    trained = train(database, campaign, store)
    rows = told("campaign", "encoder", "Whole")
    assert [(row["in_use"], row["encoder"], row["trained_on"], row["versions"]) for row in rows] == [
        ("", campaign.encoder, None, 1),
        ("*", trained, 10, 1),
    ]
    assert all(row["features_mb"] >= 0 and Path(row["checkpoint"]).is_dir() for row in rows)
    assert trained in run("campaign", "encoder", "Whole").stdout
    assert told("campaign", "encoder", "Whole", "--train")["encoder"] == "trained on labels"
    assert asked_for(database) == [("campaign:encoder", "gpu", {"encoder": "", "campaign_id": campaign.id})]
    status = told("campaign", "status", "Whole")
    assert status["encoder"] == trained
    assert status["last_encoder_run"]["outcome"] == "promoted" and status["encoder_run"] is None


def test_features_that_serve_nobody_are_cleaned_up_and_can_be_made_again(
    database: Database, campaign: Campaign, store: Path
) -> None:
    frozen = database.rows("active_version", campaign=campaign.id)[0]["version"]
    first = train(database, campaign, store)
    served = database.rows("active_version", campaign=campaign.id)[0]["version"]
    label(database, campaign, range(10, 16))
    second = train(database, campaign, store)
    (store / "features" / f"sky-0123-{first}.npy.partial").write_bytes(b"left by a kill")
    assert told("campaign", "encoder", "Whole", "--clean")["cleaned"] == [first]
    assert told("campaign", "encoder", "Whole", "--clean")["cleaned"] == []
    left = {path.name.split(".")[0].rpartition("-")[2] for path in (store / "features").iterdir()}
    assert left == {campaign.encoder, second}, "what serves, and what the next training starts from"
    refused = run("model", "promote", "Whole", served)
    assert refused.exit_code == 1 and "are gone" in refused.stderr and "--use" in refused.stderr
    assert run("model", "rollback", "Whole").exit_code == 1
    assert database.rows("active_version", campaign=campaign.id)[0]["encoder"] == second, "it serves as before"
    told("campaign", "encoder", "Whole", "--use", encoder_folder(store, first))
    assert asked_for(database)[-1][2]["encoder"] == first
    change(database, campaign, store, first)
    assert told("model", "promote", "Whole", frozen)["active"] == frozen
    assert told("model", "promote", "Whole", served)["active"] == served
    assert database.rows("campaign_of_id", campaign=campaign.id)[0]["encoder"] == first


def test_where_the_encoder_is_gone_as_well_another_way_is_named(
    database: Database, campaign: Campaign, store: Path
) -> None:
    first = train(database, campaign, store)
    served = database.rows("active_version", campaign=campaign.id)[0]["version"]
    label(database, campaign, range(10, 16))
    train(database, campaign, store)
    told("campaign", "encoder", "Whole", "--clean")
    shutil.rmtree(encoder_folder(store, first))

    def said() -> str:
        refused = run("model", "promote", "Whole", served)
        assert refused.exit_code == 1
        return " ".join(refused.stderr.split())

    assert "is gone as well" in said() and "--train" in said() and "--use" not in said()
    names = {"mine": {"encoder": first, "source": "models/mine", "plain": True}}
    (encoders_folder(store) / NAMES).write_text(json.dumps(names))
    assert "`galaxyloop encoder add models/mine --name mine`" in said() and "--use mine" in said()
    with database.transaction() as connection:
        connection.execute("DELETE FROM encoder_training")
    (encoders_folder(store) / NAMES).unlink()
    assert "from a backup" in said()


def made(store: Path, *names: str) -> list[Path]:
    """Folders in the store, each with a file in it."""
    folders = [store / name for name in names]
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "current.json").write_text("{}")
    return folders


def test_what_no_open_campaign_needs_is_removed_and_nothing_else(
    database: Database, campaign: Campaign, store: Path
) -> None:
    with database.transaction() as connection:
        needed = index_folder(store, campaign.encoder, searched_features(connection, campaign))
    kept = made(
        store, f"indices/{needed.name}", "indices/mine", "resume/mine", f"resume/encoder-{campaign.id}-{'0' * 12}"
    )
    building, training = made(store, f"indices/{'b' * 12}", f"resume/encoder-77-{'1' * 12}")
    (building / "current.json").rename(building / ".lock")
    (store / "indices" / ("c" * 12)).symlink_to(kept[1])
    gone = made(
        store,
        f"indices/{'a' * 12}",
        f"resume/decoder-79-{'4' * 12}",
        f"resume/encoder-78-{'2' * 12}",
        f"resume/finetune-79-{'3' * 12}",
    )
    with database.sole("try_lock_encoder", campaign=77):
        said = told("campaign", "encoder", "Whole", "--clean")
    assert said == {"campaign": "Whole", "cleaned": [], "removed": [str(path) for path in gone]}
    assert all(path.is_dir() for path in [*kept, building, training, store / "indices" / ("c" * 12)])
    assert not any(path.exists() for path in gone)
    database.rows("close_campaign", campaign=campaign.id)
    said = told("campaign", "encoder", "Whole", "--clean")
    assert said["removed"] == [str(path) for path in (needed, kept[3], training)]


def test_what_a_worker_is_making_is_not_cleaned_up(database: Database, campaign: Campaign, store: Path) -> None:
    """A trained encoder is known before its features are whole and before it serves."""
    first = train(database, campaign, store)
    with database.transaction() as connection:
        versions.rollback(connection, campaign)
    with database.sole("try_lock_encoder", campaign=campaign.id):
        refused = run("campaign", "encoder", "Whole", "--clean")
    assert refused.exit_code == 1 and "A worker is at another encoder" in refused.stderr
    assert len(list((store / "features").glob(f"*-{first}.npy"))) == 1
    assert told("campaign", "encoder", "Whole", "--clean")["cleaned"] == [first]


def test_what_a_worker_is_making_for_another_campaign_is_not_cleaned_up(
    database: Database, campaign: Campaign, store: Path
) -> None:
    """It may change to an encoder that was trained for this one."""
    first = train(database, campaign, store)
    with database.transaction() as connection:
        versions.rollback(connection, campaign)
        other = add_campaign(connection, **MORPHOLOGY | {"encoder": campaign.encoder}, name="Other", project=8)
    with database.sole("try_lock_encoder", campaign=other.id):
        refused = run("campaign", "encoder", "Whole", "--clean")
    assert refused.exit_code == 1 and "A worker is at another encoder for 'Other'" in refused.stderr
    assert len(list((store / "features").glob(f"*-{first}.npy"))) == 1


def test_what_somebody_embeds_for_a_campaign_that_begins_is_not_cleaned_up(
    database: Database, campaign: Campaign, store: Path, tmp_path: Path
) -> None:
    """Until it is made, no campaign says that the trained encoder is needed."""
    first = train(database, campaign, store)
    with database.transaction() as connection:
        versions.rollback(connection, campaign)
    settings, model = Settings.model_validate({"store": store}), Encoder.load(encoder_folder(store, first))
    refused: list[str] = []

    @contextmanager
    def steps(_: str) -> Iterator[Progress]:
        yield lambda done, total: refused.append(run("campaign", "encoder", "Whole", "--clean").stderr)

    register(write_stamps(tmp_path, 4, "next"), model, settings, database, steps)
    assert refused and all("Somebody embeds stamps with encoder" in text for text in refused)
    assert sorted(path.name.split("-")[0] for path in (store / "features").glob(f"*-{first}.npy"))[0] == "next"
    with embedding(database, first), embedding(database, first):
        assert run("campaign", "encoder", "Whole", "--clean").exit_code == 1
    assert told("campaign", "encoder", "Whole", "--clean")["cleaned"] == [first]


def test_what_jobs_embed_is_not_cleaned_up(
    database: Database, campaign: Campaign, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither while they wait, nor while a worker is at one."""
    first = train(database, campaign, store)
    with database.transaction() as connection:
        versions.rollback(connection, campaign)
    stamps = write_stamps(tmp_path, 4, "next")
    asked = told("embed", stamps, "--encoder", encoder_folder(store, first), "--jobs")
    assert asked["ranges_left"] == 1
    refused = run("campaign", "encoder", "Whole", "--clean")
    assert refused.exit_code == 1 and "Somebody embeds stamps with encoder" in refused.stderr
    with database.transaction() as connection:
        connection.execute("DELETE FROM procrastinate_jobs")
    said: list[str] = []
    monkeypatch.setattr(jobs, "go_on", lambda _: said.append(run("campaign", "encoder", "Whole", "--clean").stderr))
    services = jobs.Services(Settings.model_validate({"store": store}), database, None)  # type: ignore[arg-type]
    context = type("Context", (), {"additional_context": {"services": services}})()
    with StampSet(stamps) as opened:
        features = features_path(opened, Encoder.load(encoder_folder(store, first)), store / "features")
    jobs.embed(context, str(stamps), str(features), first, 0, 4)
    assert said and all("Somebody embeds stamps with encoder" in text for text in said)
    assert features.is_file()
    assert told("campaign", "encoder", "Whole", "--clean")["cleaned"] == [first]


def test_features_that_a_set_is_registered_by_are_not_cleaned_up(
    database: Database, campaign: Campaign, store: Path
) -> None:
    """A campaign that began with a trained encoder and is gone since has registered its features."""
    first = train(database, campaign, store)
    with database.transaction() as connection:
        versions.rollback(connection, campaign)
    (trained,) = (store / "features").glob(f"*-{first}.npy")
    with database.transaction() as connection:
        connection.execute("UPDATE stamp_set SET features = %s", (str(trained),))
    assert told("campaign", "encoder", "Whole", "--clean")["cleaned"] == []
    assert trained.is_file() and trained.with_suffix(".json").is_file()
    label(database, campaign, range(10, 12))
    assert learn(database, stores_of(database, campaign, store)) == "promoted", "others find theirs beside it"


def test_what_another_campaign_reads_is_not_cleaned_up(database: Database, campaign: Campaign, store: Path) -> None:
    first = train(database, campaign, store)
    with database.transaction() as connection:
        versions.rollback(connection, campaign)
        connection.execute(
            "INSERT INTO campaign (name, kind, classes, stamp_set, encoder, rendering, policy, audit_fraction, seed,"
            " overlap, consensus) SELECT 'Other', kind, classes, stamp_set, %s, rendering, policy, 0, 0, 1, consensus"
            " FROM campaign",
            (first,),
        )
    assert told("campaign", "encoder", "Whole", "--clean")["cleaned"] == []
    database.rows("delete_campaign", project=campaign.project)
    assert len(list((store / "features").glob(f"*-{first}.npy"))) == 1


@pytest.mark.parametrize("change", ["kind = 'interest'", "kind = 'lenses'", "state = 'closed'", "project_id = NULL"])
def test_what_keeps_its_encoder_says_so(database: Database, campaign: Campaign, change: str) -> None:
    with database.transaction() as connection:
        connection.execute(f"UPDATE campaign SET {change}")  # type: ignore[arg-type]  # noqa: S608
    refused = run("campaign", "encoder", "Whole", "--train")
    assert refused.exit_code == 1 and "stays as it is" in refused.stderr
    assert asked_for(database) == []


def test_without_labels_there_is_nothing_to_change_for(database: Database, tmp_path: Path, store: Path) -> None:
    made = write_campaign(database, tmp_path, store)
    label(database, made, [0, 1])
    for arguments in (["--use", write_encoder(tmp_path / "newer", seed=8)], ["--train"]):
        refused = run("campaign", "encoder", "Whole", *arguments)
        assert refused.exit_code == 1 and "labels of two classes" in " ".join(refused.stderr.split())
    assert asked_for(database) == [] and len(list((store / "encoders").iterdir())) == 1
    with database.transaction() as connection:
        connection.execute('UPDATE campaign SET simulated = \'{"spiral": "spiral"}\', simulated_stamps = 10')
    assert run("campaign", "encoder", "Whole", "--train").exit_code == 1, "on labels alone"
    told("campaign", "encoder", "Whole", "--use", tmp_path / "newer")


def test_what_cannot_be_used_is_refused_before_a_job_waits(database: Database, campaign: Campaign) -> None:
    for arguments in (["--use", "nowhere"], ["--use", "nowhere", "--train"]):
        assert run("campaign", "encoder", "Whole", *arguments).exit_code == 1
    assert run("campaign", "encoder", "Nothing").exit_code == 1
    assert asked_for(database) == [] and N > 0
