"""Serving an earlier version whose encoder was replaced, or whose files are gone: what serves stays."""

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from backend_ml.cli.main import app
from backend_ml.leading.leader import Leader
from backend_ml.store.database import Database
from backend_ml.store.encoders import encoder_folder
from backend_ml.store.records import Campaign
from tests.backend_ml.leading.test_galaxies import add, campaign, change, leader, newer, write
from tests.backend_ml.learned import active, begin_now
from tests.backend_ml.lenses import write_detector
from tests.backend_ml.sky import write_stamps
from tests.backend_ml.whole import N

__all__ = ["campaign", "leader", "newer"]  # fixtures: sixty tasks, who adds to them, another encoder in the store


def model(*words: str) -> Result:
    return CliRunner().invoke(app, ["model", *words])


@pytest.mark.parametrize("grown", [False, True], ids=["another set", "a grown set"])
def test_what_was_added_since_needs_features_of_the_former_encoder(
    database: Database, campaign: Campaign, store: Path, leader: Leader, newer: str, tmp_path: Path, grown: bool
) -> None:
    before = active(database, campaign)
    change(database, campaign, store, newer)
    serving = active(database, campaign)
    now = Campaign.from_row(database.rows("campaign_of_id", campaign=campaign.id)[0])
    if grown:
        add(leader, now, write_stamps(tmp_path, N + 10))
    else:
        add(leader, now, write(tmp_path / "more.h5", range(10, 20), [0] * 10))
    name = "sky" if grown else "more"
    for words in (["rollback", "Whole"], ["promote", "Whole", before.version]):
        refused = model(*words)
        said = " ".join(refused.stderr.split())
        assert refused.exit_code == 1 and f"The features of {name} that {before.version} reads are gone" in said
        assert f"--use {encoder_folder(store, before.encoder)}`" in said and "encoder is gone" not in said
    assert active(database, campaign) == serving
    change(database, now, store, before.encoder)
    assert model("promote", "Whole", before.version).exit_code == 0
    assert active(database, campaign).version == before.version


def test_without_its_features_and_its_encoder_it_is_said_what_to_bring_back(
    database: Database, campaign: Campaign, store: Path, newer: str
) -> None:
    before = active(database, campaign)
    change(database, campaign, store, newer)
    folder = encoder_folder(store, before.encoder)
    shutil.rmtree(folder)
    for path in (store / "features").glob(f"*-{before.encoder}.*"):
        path.unlink()
    refused = model("rollback", "Whole")
    said = " ".join(refused.stderr.split())
    assert refused.exit_code == 1 and f"Its folder {folder} is gone as well. Put it back" in said
    assert active(database, campaign).encoder == newer


def test_a_detector_that_is_gone_does_not_serve(
    database: Database, lenses: Campaign, store: Path, tmp_path: Path
) -> None:
    before = active(database, lenses)
    serving = begin_now(database, lenses, write_detector(tmp_path / "next", 5), store)
    (kept,) = (store / "detectors").glob(str(before.detector))
    kept.rename(tmp_path / "elsewhere")
    for words in (["rollback", "Lenses"], ["promote", "Lenses", before.version]):
        refused = model(*words)
        said = " ".join(refused.stderr.split())
        assert refused.exit_code == 1 and f"{before.version} of 'Lenses' answers with is gone" in said
        assert f"Copy its folder (model.safetensors, card.json) to {kept}" in said
        assert active(database, lenses).version == serving
    (tmp_path / "elsewhere").rename(kept)
    assert model("rollback", "Lenses").exit_code == 0 and active(database, lenses).version == before.version
