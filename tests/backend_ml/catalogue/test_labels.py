"""`campaign export`: labels with their files and who gave them, of searches too."""

import csv
import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from backend_ml.catalogue.labels import LABEL_COLUMNS
from backend_ml.cli import main
from backend_ml.labels.people import People
from backend_ml.store.database import Database
from backend_ml.store.records import Campaign
from lvm_training.objects.coco import read_coco
from lvm_training.tables.snapshot import read_snapshot
from tests.backend_ml.catalogue.tables.test_objects import bare, drawn
from tests.backend_ml.catalogue.test_catalogue import forget_sets, labelled, search
from tests.backend_ml.conftest import CLASSES
from tests.backend_ml.lenses import OBJECTS

__all__ = ["bare", "drawn", "labelled", "search"]  # fixtures


@pytest.fixture
def command(database: Database, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    """The command line on this database, with a Label Studio that knows two people, of whom user 3 is gone."""
    monkeypatch.setenv("GALAXYLOOP_DATABASE_URL", database.url)
    monkeypatch.setenv("GALAXYLOOP_LABEL_STUDIO_TOKEN", "token")
    monkeypatch.setattr(People, "_read", lambda people: people._names.update({1: "Ana Lima", 2: "bo@sky.org"}))
    return CliRunner()


def test_rows_name_file_position_and_annotators(
    database: Database, labelled: Campaign, command: CliRunner, tmp_path: Path
) -> None:
    forget_sets(database)
    with h5py.File(tmp_path / "sky.h5", "r+") as file:
        file["file"] = np.array([f"g{i}.fits" for i in range(10)], dtype=h5py.string_dtype())
    out = tmp_path / "labels.csv"
    done = command.invoke(main.app, ["campaign", "export", "Test", "--out", str(out), "--json"])
    assert done.exit_code == 0, done.output
    with out.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert tuple(rows[0]) == LABEL_COLUMNS
    found = {int(row["stamp_id"]): row for row in rows}
    assert sorted(found) == [0, 1, 2, 3, 4, 5, 6, 7, 9]
    assert found[5]["file"] == "g5.fits" and float(found[5]["ra"]) == 150.05
    assert found[5]["annotators"] == "Ana Lima; annotator 3; bo@sky.org" and found[5]["votes"] == "2"
    assert found[0]["annotators"] == "starting labels" and found[0]["label"] == CLASSES[0]
    known = {one["annotator"]: one["name"] for one in json.loads(done.stdout)["annotators"]}
    assert known[1] == "Ana Lima" and known[3] == "annotator 3"
    assert len(read_snapshot(out)) == 9


def test_a_search_is_exported(search: Campaign, command: CliRunner, tmp_path: Path) -> None:
    out = tmp_path / "rings.csv"
    assert command.invoke(main.app, ["campaign", "export", "Rings", "--out", str(out)]).exit_code == 0
    with out.open(newline="", encoding="utf-8") as stream:
        told = {row["stamp_id"]: (row["label"], row["annotators"]) for row in csv.DictReader(stream)}
    assert told == {"0": ("yes", "Ana; Bo"), "1": ("no", "Bo"), "5": ("yes", "Ana")}


def test_labels_outlive_their_stamp_set(labelled: Campaign, command: CliRunner, tmp_path: Path) -> None:
    (tmp_path / "sky.h5").rename(tmp_path / "elsewhere.h5")
    out = tmp_path / "labels.csv"
    done = command.invoke(main.app, ["campaign", "export", "Test", "--out", str(out)])
    assert done.exit_code == 0 and "files and positions are left out" in " ".join(done.output.split())
    assert len(read_snapshot(out)) == 9


def test_coco_says_who_drew_what_on_which_galaxy(drawn: Campaign, command: CliRunner, tmp_path: Path) -> None:
    out = tmp_path / "bare.json"
    assert command.invoke(main.app, ["campaign", "export", "Bare", "--out", str(out)]).exit_code == 0
    document = json.loads(out.read_text())
    image = next(one for one in document["images"] if one["file_name"] == "sky/3")
    assert (image["ra"], image["dec"], image["grade"]) == (150.03, -1.53, "A")
    assert image["annotators"] == ["Ana Lima", "bo@sky.org"]
    assert read_coco(document, OBJECTS)[0]


def test_learning_from_too_few_says_how_many_it_takes(drawn: Campaign, command: CliRunner) -> None:
    done = command.invoke(main.app, ["model", "learn", "Bare", "--json"])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert said["labels_to_learn_from"] < 4
    assert "it needs 4 labelled pictures" in said["then"] and "learns by itself" in said["then"]
    assert "campaign status 'Bare'" in said["job"]


def test_coco_names_the_files_that_were_imported(
    database: Database, drawn: Campaign, command: CliRunner, tmp_path: Path
) -> None:
    forget_sets(database)
    with h5py.File(tmp_path / "sky.h5", "r+") as file:
        file["file"] = np.array([f"field/g{i}.fits" for i in range(len(file["images"]))], dtype=h5py.string_dtype())
    out = tmp_path / "bare.json"
    assert command.invoke(main.app, ["campaign", "export", "Bare", "--out", str(out)]).exit_code == 0
    images = {image["stamp"]: image["file_name"] for image in json.loads(out.read_text())["images"]}
    assert images["sky/3"] == "field/g3.fits"
