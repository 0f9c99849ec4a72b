"""A campaign goes over to another's encoder: the old one serves until then, whatever happens on the way."""

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from backend_ml.cli.main import app
from backend_ml.kinds.installed import kind_of
from backend_ml.label_studio.wire import Task
from backend_ml.learning import encoders
from backend_ml.learning.learn import learn, stores_of
from backend_ml.serving.predictor import Predictor
from backend_ml.store.database import Database
from backend_ml.store.encoders import encoder_folder, stored_encoder
from backend_ml.store.named_encoders import named
from backend_ml.store.records import Campaign
from backend_ml.why.heat import HeatMaps
from lvm_training.pool.features import Features
from tests import forked
from tests.a_hub import serving
from tests.backend_ml.learned import run_jobs
from tests.backend_ml.learning import encoder_process
from tests.backend_ml.whole import AUDIT, N, label, write_campaign
from tests.other_encoders import hub_files, write_hub_folder

GPU = "gpu"


@pytest.fixture
def campaign(database: Database, tmp_path: Path, store: Path) -> Campaign:
    """A campaign with twelve labels, and a head on the features of an encoder of ours."""
    made = write_campaign(database, tmp_path, store)
    label(database, made, range(12))
    assert learn(database, stores_of(database, made, store)) == "promoted"
    return made


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    """Another's encoder, as the hub lays it out."""
    return write_hub_folder(tmp_path / "zoo")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)])


def asked(source: object) -> str:
    """A change that was asked for; the encoder's digest."""
    done = run("campaign", "encoder", "Whole", "--use", source, "--json")
    assert done.exit_code == 0, done.output
    return str(json.loads(done.stdout)["encoder"])


def served(database: Database, campaign: Campaign) -> dict[str, Any]:
    (version,) = database.rows("active_version", campaign=campaign.id)
    (row,) = database.rows("campaign_of_id", campaign=campaign.id)
    assert row["encoder"] == version["encoder"], "they change together"
    return version


def waiting(database: Database) -> list[Any]:
    with database.transaction() as connection:
        rows = connection.execute(
            "SELECT args FROM procrastinate_jobs WHERE task_name = 'campaign:encoder' AND status = 'todo'"
        ).fetchall()
    return [row["args"]["encoder"] for row in rows]


def test_it_takes_over_with_its_features_and_answers(
    database: Database, campaign: Campaign, store: Path, zoo: Path
) -> None:
    before = served(database, campaign)
    digest = asked(zoo)
    assert named(store)["zoo"].encoder == digest and waiting(database) == [digest]
    assert served(database, campaign) == before, "nothing changes before a worker has done it"
    run_jobs(database, queue=GPU)
    after = served(database, campaign)
    assert after["encoder"] == digest and after["parent"] == before["version"]
    (file,) = (store / "features").glob(f"sky-*-{digest}.npy")
    encoder = stored_encoder(store, digest)
    assert Features.open(file).matrix.shape == (N, encoder.width)
    task = Task(id=1, data={"stamp_set": "sky", "stamp_id": N - AUDIT - 1})
    config = kind_of(campaign).label_config(campaign.classes)
    (answer,) = Predictor(database, store).predict(campaign.project_id, config, [task])
    assert answer.error is None and answer.model_version == after["version"] and answer.result
    assert "has that encoder already" in run("campaign", "encoder", "Whole", "--use", "zoo").stderr
    assert run("model", "rollback", "Whole").exit_code == 0
    assert served(database, campaign)["encoder"] == before["encoder"], "and back"


def test_a_heat_map_needs_features_alone(database: Database, campaign: Campaign, store: Path, zoo: Path) -> None:
    from backend_ml.settings import Settings

    asked(zoo)
    run_jobs(database, queue=GPU)
    now = Campaign.from_row(database.rows("campaign_of_id", campaign=campaign.id)[0])
    assert HeatMaps(database, Settings()).png(now, "sky", 0).startswith(b"\x89PNG")


def test_a_kill_in_the_middle_leaves_the_old_one_and_goes_on(
    database: Database, campaign: Campaign, store: Path, zoo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, digest = served(database, campaign), asked(zoo)
    arguments = (database.url, store, campaign.id, digest, "embedding sky", 32)
    assert forked.exit_status(encoder_process.change, *arguments) == -signal.SIGKILL
    assert served(database, campaign) == before
    assert list((store / "features").glob(f"*{digest}.npy")) == []
    label(database, campaign, range(12, 16))
    assert learn(database, stores_of(database, campaign, store)) == "promoted", "refits go on meanwhile"
    monkeypatch.setattr(encoders, "EMBEDDED", 16)
    told: list[tuple[str, int]] = []
    stores = stores_of(database, campaign, store)
    outcome = encoders.change(database, stores, digest, lambda at, done, _: told.append((at, done)), pytest.fail)
    assert outcome == "promoted" and served(database, campaign)["encoder"] == digest
    assert [done for at, done in told if at == "embedding sky"] == [48, N], "behind the last batch"
    assert served(database, campaign)["labels"] == 16
    (file,) = (store / "features").glob(f"*{digest}.npy")
    assert np.isfinite(Features.open(file).matrix).all()


def test_what_cannot_be_had_leaves_the_served_one_and_no_job(
    database: Database, campaign: Campaign, store: Path, zoo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, kept = served(database, campaign), named(store)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with serving() as hub:
        hub.files |= hub_files(zoo, "team/zoo")
        del hub.files["team/zoo/model.safetensors"]
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        refused = run("campaign", "encoder", "Whole", "--use", "hf_hub:team/zoo")
    assert refused.exit_code == 1 and "none of model.safetensors" in refused.stderr
    for source, expected in (("zoobot", "no encoder 'zoobot'"), (zoo / "nowhere.onnx", "nowhere.onnx")):
        refused = run("campaign", "encoder", "Whole", "--use", source)
        assert refused.exit_code == 1 and expected in refused.stderr and "Traceback" not in refused.stderr
    assert served(database, campaign) == before and waiting(database) == [] and named(store) == kept


def test_weights_that_break_in_the_store_leave_the_served_one(
    database: Database, campaign: Campaign, store: Path, zoo: Path
) -> None:
    before, digest = served(database, campaign), asked(zoo)
    weights = encoder_folder(store, digest) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    run_jobs(database, queue=GPU)
    assert served(database, campaign) == before
    (notice,) = database.rows("notices", campaign=campaign.id)
    assert "other weights than its card describes" in notice["text"]


def test_anothers_encoder_is_not_trained_on_labels(
    database: Database, campaign: Campaign, store: Path, zoo: Path
) -> None:
    label(database, campaign, range(N - AUDIT, N))
    with database.transaction() as connection:
        assert encoders.due(connection, campaign, 12, store)
    digest = asked(zoo)
    with database.transaction() as connection:
        connection.execute("UPDATE campaign SET encoder = %s", (digest,))
    now = Campaign.from_row(database.rows("campaign_of_id", campaign=campaign.id)[0])
    with database.transaction() as connection:
        assert not encoders.due(connection, now, 12, store)
        assert encoders.hindrance(connection, now, 12, store) is None
    refused = run("campaign", "encoder", "Whole", "--train")
    assert refused.exit_code == 1 and "no model of ours" in refused.stderr and "--use" in refused.stderr
