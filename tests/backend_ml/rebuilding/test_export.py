"""`campaign export --track` and `--version`: what they write, pin and refuse."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from dvc.repo import Repo
from typer.testing import CliRunner, Result

from backend_ml.cli.main import app
from backend_ml.store.database import Database
from backend_ml.store.records import Campaign
from lvm_training.stages.release.pinned import Pinned
from lvm_training.tables.frozen_labels import FrozenLabels
from lvm_training.tables.snapshot import read_snapshot
from tests.backend_ml.conftest import CLASSES, Annotating


@pytest.fixture
def repo(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a release of one file."""
    monkeypatch.setenv("GALAXYLOOP_DATABASE_URL", database.url)
    folder = tmp_path / "repo"
    (folder / "data/release").mkdir(parents=True)
    (folder / "data/release/labels.csv").write_text("stamp_set,stamp_id,label\n")
    (folder / "data.dvc").write_text("outs:\n- path: data/release\n")
    with Repo.init(str(folder), no_scm=True) as opened:
        opened.commit(str(folder / "data.dvc"), force=True)
    return folder


def run(*words: object) -> Result:
    return CliRunner().invoke(app, ["campaign", "export", *map(str, words)])


def told(*words: object) -> dict[str, Any]:
    done = run(*words, "--json")
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_labels_are_frozen_once_and_a_version_gives_its_own(
    database: Database, campaign: Campaign, head: str, repo: Path, tmp_path: Path
) -> None:
    first = told("Test", "--track", "--repo", repo)
    assert (first["labels"], first["to_judge_on"], first["answers"], first["changed"]) == (5, 0, 5, True)
    assert "commit data.dvc" in first["then"] and Path(first["frozen_in"]).name in first["then"]
    again = told("Test", "--track", "--repo", repo)
    assert (again["changed"], again["then"]) == (False, "nothing: data.dvc pins these labels already")
    values = {"campaign": campaign.id, "stamp_set": "sky"}
    database.rows("put_snapshot_label", **values, stamp_id=6, label="spiral")
    second = told("Test", "--track", "--repo", repo)
    assert second["frozen_in"] != first["frozen_in"] and len(Pinned.read(repo).labels) == 2
    then = told("Test", "--track", "--repo", repo, "--version", head, "--out", tmp_path / "then.csv")
    assert then["frozen_in"] == first["frozen_in"] and not then["changed"]
    assert read_snapshot(tmp_path / "then.csv") == FrozenLabels.read(Path(first["frozen_in"])).snapshot
    assert read_snapshot(tmp_path / "then.csv").label == list(CLASSES)


def test_what_annotations_state_is_pinned_too(
    database: Database, campaign: Campaign, annotate: Annotating, repo: Path, tmp_path: Path
) -> None:
    with database.transaction() as connection:
        connection.execute("UPDATE campaign SET kind = 'interest_rating', classes = '{interest}'")
    for task in (101, 102, 110):
        annotate(task, "4", 11, datetime(2026, 1, 1, task % 24, tzinfo=UTC))
    first = told("Test", "--track", "--repo", repo)
    assert (first["labels"], first["to_judge_on"], first["answers"], first["changed"]) == (2, 1, 3, True)
    assert first["then"] == "commit data.dvc" and Pinned.read(repo).labels == (Path(first["frozen_in"]).name,)
    assert FrozenLabels.read(Path(first["frozen_in"])).kind == "interest_rating"
    assert not told("Test", "--track", "--repo", repo)["changed"]
    table = run("Test", "--track", "--repo", repo, "--out", tmp_path / "labels.csv")
    assert table.exit_code == 1 and "no label of one choice a galaxy" in table.stderr


def test_what_cannot_be_frozen_is_said(database: Database, campaign: Campaign, repo: Path) -> None:
    empty = run("Test", "--track", "--repo", repo)
    assert empty.exit_code == 1 and "'Test' has no labels to freeze" in empty.stderr
    for words in (["Test"], ["Test", "--version", "morphology-0"]):
        nowhere = run(*words)
        assert nowhere.exit_code == 2 and "--track" in nowhere.stderr
    unknown = run("Test", "--version", "morphology-0", "--track", "--repo", repo)
    assert unknown.exit_code == 1 and "no version 'morphology-0'" in unknown.stderr
    database.rows("put_snapshot_label", campaign=campaign.id, stamp_set="sky", stamp_id=6, label="spiral")
    elsewhere = run("Test", "--track", "--repo", repo.parent)
    assert elsewhere.exit_code == 1 and "There is no data.dvc in" in elsewhere.stderr
    assert Pinned.read(repo).labels == ()
