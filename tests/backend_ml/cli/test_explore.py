"""`galaxyloop explore`: a stamp set becomes one that can be searched."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from backend_ml.cli.main import app
from backend_ml.search import searches
from backend_ml.store.database import Database
from backend_ml.store.encoders import stored_encoder
from lvm_training.model.encoder import Card, save_checkpoint
from lvm_training.model.lvm import LVM, NANO
from lvm_training.stamps.rendering import Rendering
from tests.backend_ml.sky import write_stamps


@pytest.fixture(autouse=True)
def home(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder, and the database, for the commands."""
    monkeypatch.setenv("GALAXYLOOP_DATABASE_URL", database.url)
    monkeypatch.setenv("GALAXYLOOP_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def card(tmp_path: Path) -> Card:
    """The card of an untrained encoder in `tmp_path / "encoder"`."""
    torch.manual_seed(0)
    lvm, rendering = LVM(NANO).eval(), Rendering(field=10.0)
    return save_checkpoint(tmp_path / "encoder", lvm, rendering, data="", code="", params={}, metrics={})


def test_a_stamp_set_is_embedded_and_offered(database: Database, card: Card, home: Path, tmp_path: Path) -> None:
    encoder = ["--encoder", str(tmp_path / "encoder")]
    command = ["explore", str(write_stamps(tmp_path, 4)), *encoder, "--json"]
    for _ in range(2):
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == {"stamp_set": "sky", "page": "http://127.0.0.1:9090/explore"}
    found = searches.find_pool(database, "sky")
    assert found.matrix.shape[0] == 4 and found.name == "sky"
    assert stored_encoder(home / "store", found.encoder).digest == found.encoder
    (tmp_path / "other").mkdir()
    other = CliRunner().invoke(app, ["explore", str(write_stamps(tmp_path / "other", 5)), *encoder])
    assert other.exit_code == 1 and "in use already" in other.output
    missing = CliRunner().invoke(app, ["explore", str(tmp_path / "none.h5"), *encoder])
    assert missing.exit_code == 1 and "no stamp set" in missing.output


def test_what_was_embedded_is_found_and_not_embedded_again(
    database: Database, card: Card, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*arguments: object) -> dict[str, Any]:
        done = CliRunner().invoke(app, [*map(str, arguments), "--encoder", str(tmp_path / "encoder"), "--json"])
        assert done.exit_code == 0, done.output
        return dict(json.loads(done.stdout))

    def never(*_: object) -> None:
        raise AssertionError("embedded again")

    stamps = write_stamps(tmp_path, 4)
    made = run("embed", stamps)
    monkeypatch.setattr(LVM, "features", never)
    run("explore", stamps)
    assert str(searches.find_pool(database, "sky").path) == made["features"]
    assert {one["row"] for one in run("search", "--like", 2, "--stamps", stamps)["stamps"]} == {0, 1, 3}


def test_a_search_before_anything_is_embedded(card: Card, home: Path) -> None:
    done = CliRunner().invoke(app, ["search", "--like", "2"])
    assert done.exit_code == 1 and f"no features in {home}" in " ".join(done.output.split())
    assert "galaxyloop embed" in done.output
