"""`galaxyloop encoder`: encoders are added, listed with who uses them, and compared."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from backend_ml.cli.main import app
from backend_ml.store.database import Database
from backend_ml.store.encoders import encoder_folder
from lvm_training.paths import RELEASED_LVM
from lvm_training.pool.features import Features
from tests.backend_ml.sky import write_stamps
from tests.backend_ml.whole import write_campaign
from tests.other_encoders import NETWORK, SIZE, write_hub_folder


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The store that commands find in their environment; there is no database."""
    monkeypatch.setenv("GALAXYLOOP_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GALAXYLOOP_STORE", str(tmp_path / "store"))
    monkeypatch.delenv("GALAXYLOOP_DATABASE_URL", raising=False)
    return tmp_path / "store"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["encoder", *map(str, arguments)])


def told(*arguments: object) -> Any:
    done = run(*arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_adding_tells_what_it_is_and_where(store: Path, tmp_path: Path) -> None:
    source = write_hub_folder(tmp_path / "zoo")
    said = ("--name", "mine", "--size", 48, "--mean", "0.5,0.4,0.3", "--std", 0.25, "--channels", "bgr", "--field", 30)
    made = told("add", source, *said)
    assert made["name"] == ["mine"] and (made["network"], made["size"]) == ("test_resnet", 48)
    card = json.loads((encoder_folder(store, made["encoder"]) / "card.json").read_text())
    assert card["preprocessing"] == {"mean": [0.5, 0.4, 0.3], "std": [0.25], "channels": "bgr"}
    assert card["rendering"]["field"] == 30
    (row,) = told("list")
    assert {name: row[name] for name in ("name", "encoder", "size", "field", "campaigns", "source")} == {
        "name": "mine",
        "encoder": made["encoder"],
        "size": 48,
        "field": 30.0,
        "campaigns": None,
        "source": str(source),
    }
    shown = run("list")
    assert "mine" in shown.stdout and "No database runs here" in shown.stderr


def test_a_field_on_which_ours_was_not_trained_is_told(store: Path) -> None:
    assert "warning" not in told("add", RELEASED_LVM, "--field", 14, "--name", "close")
    assert (
        "trained on 14 to 45 arcsec, not on 10"
        in told("add", RELEASED_LVM, "--field", 10, "--name", "closer")["warning"]
    )
    shown = run("add", RELEASED_LVM, "--field", 60, "--name", "wide")
    assert shown.exit_code == 0 and "not on 60" in " ".join(shown.stdout.split())


def test_a_store_without_encoders_says_how_one_gets_there(store: Path) -> None:
    shown = run("list")
    assert shown.exit_code == 0 and shown.stdout == "" and "galaxyloop encoder add" in shown.stderr
    assert told("list") == []


def test_what_is_wrong_is_one_line_and_what_to_do(store: Path) -> None:
    for arguments, expected in (
        (("add", "timm:nothing_at_all"), "no network 'nothing_at_all'"),
        (("add", f"timm:{NETWORK}", "--mean", "half", "--random-weights"), "no list of numbers"),
        (("add", "nowhere"), "no encoder at nowhere"),
    ):
        done = run(*arguments)
        assert done.exit_code == 1 and expected in done.stderr and "What to do:" in done.stderr
        assert "Traceback" not in done.stderr
    assert told("list") == []


def test_stamps_are_embedded_with_an_encoder_by_its_name(store: Path, tmp_path: Path) -> None:
    digest = told("add", f"timm:{NETWORK}", "--size", SIZE, "--random-weights", "--name", "random")["encoder"]
    stamps = write_stamps(tmp_path, 5)
    done = CliRunner().invoke(app, ["embed", str(stamps), "--encoder", "random", "--json"])
    assert done.exit_code == 0, done.output
    made = json.loads(done.stdout)
    assert made["encoder"] == digest and Features.open(Path(made["features"])).matrix.shape == (5, made["width"])
    refused = CliRunner().invoke(app, ["embed", str(stamps), "--encoder", "zoobot"])
    assert refused.exit_code == 1 and "The store has: random" in refused.stderr


def test_the_list_says_which_campaigns_use_an_encoder(
    store: Path, tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GALAXYLOOP_DATABASE_URL", database.url)
    campaign = write_campaign(database, tmp_path, store)
    other = told("add", f"timm:{NETWORK}", "--size", SIZE, "--random-weights")["encoder"]
    rows = {row["encoder"]: row for row in told("list")}
    assert rows[campaign.encoder]["campaigns"] == ["Whole"] and rows[campaign.encoder]["name"] is None
    assert rows[other]["campaigns"] == [] and rows[other]["source"] == f"timm:{NETWORK}, random weights"
