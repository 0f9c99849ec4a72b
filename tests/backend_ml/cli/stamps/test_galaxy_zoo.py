"""`galaxyloop data galaxy-zoo`: its table is what imports, replays and campaigns read."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from backend_ml.cli.stamps.data import app
from lvm_training.importing.importer import import_stamps
from lvm_training.importing.label_table import LabelTable
from lvm_training.stamps.stampset import StampSet, StampWriter
from lvm_training.tables.snapshot import read_snapshot
from tests.backend_ml.cli.wrapping import unwrapped
from tests.lvm_training.galaxy_zoo.tables import MORPHOLOGY5, galaxy_zoo_2, gz_decals


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["galaxy-zoo", *map(str, arguments)])


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def pictures(folder: Path, names: list[str]) -> Path:
    folder.mkdir()
    for seed, name in enumerate(names):
        noise = np.random.default_rng(seed).integers(0, 255, (8, 8, 3)).astype(np.uint8)
        Image.fromarray(noise).save(folder / f"{name}.png")
    return folder


def test_labels_of_a_folder_are_joined_by_the_import(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "in", [str(587722981736120347 + row) for row in range(8)])
    done = run(galaxy_zoo_2(tmp_path / "gz2.csv"), "--stamps", folder, "--out", tmp_path / "labels.csv", "--json")
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout)
    assert (record["stamps"], record["matched"], record["labelled"]) == (8, 7, 5)
    assert record["classes"]["spiral"] == 1 and any("leaves out" in note for note in record["notes"])
    assert list(rows(tmp_path / "labels.csv")[0]) == ["file", "morphology5"]
    report = import_stamps(folder, tmp_path / "set.h5", labels=tmp_path / "labels.csv")
    with StampSet(report.out) as stamps:
        assert stamps.column("morphology5").tolist() == [*MORPHOLOGY5, ""]


def test_labels_of_a_set_start_a_campaign(tmp_path: Path) -> None:
    writer = StampWriter(tmp_path / "set.h5", (8, 8))
    noise = np.random.default_rng(0).normal(size=(7, 3, 8, 8)).astype(np.float32)
    writer.append(noise, {"ra": np.arange(7.0), "dec": np.zeros(7)})
    writer.finish()
    votes = gz_decals(tmp_path / "v.csv", ra=[row + 1 / 3600 for row in range(6, -1, -1)], dec=[0] * 7)
    command = [
        votes,
        "--stamps",
        tmp_path / "set.h5",
        "--out",
        tmp_path / "labels.csv",
        "--column",
        "label",
        "--with-votes",
    ]
    done = run(*command)
    assert done.exit_code == 0, done.output
    assert "matched by position" in done.output and "separation: median 1.00" in unwrapped(done.output)
    found = rows(tmp_path / "labels.csv")
    assert [row["zoo_separation"] for row in found] == ["1.000"] * 7
    assert found[0]["smooth-or-featured_artifact"] == "1.0000" and found[0]["how-rounded_round"] == ""
    snapshot = read_snapshot(tmp_path / "labels.csv")
    assert list(snapshot.label) == [name for name in MORPHOLOGY5[::-1] if name]
    assert list(snapshot.stamp_id) == [2, 3, 4, 5, 6] and set(snapshot.stamp_set) == {"set"}
    replayed = LabelTable.read(tmp_path / "labels.csv", "stamp_id")
    rows_of_set = replayed.matched(list(map(str, range(7))))
    assert replayed.texts("label", rows_of_set.values()) == MORPHOLOGY5[::-1] and not replayed.unmatched(rows_of_set)
    again = import_stamps(tmp_path / "set.h5", tmp_path / "again.h5", labels=tmp_path / "labels.csv")
    with StampSet(again.out) as stamps:
        assert stamps.column("label").tolist() == MORPHOLOGY5[::-1]
    assert run(*command).exit_code == 1, "a file that is there is not overwritten"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--classes", "hubble"], "no classes 'hubble'"),
        (["--cut", "nothing"], "is no cut"),
        (["--fractions", "mean"], "no mean fractions"),
        (["--column", "file"], "cannot be called 'file'"),
        (["--stamps", "absent.h5"], "no stamp set"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(tmp_path: Path, options: list[str], said: str) -> None:
    folder = pictures(tmp_path / "in", ["J000000.18-002739.1"])
    done = run(gz_decals(tmp_path / "v.csv"), "--stamps", folder, "--out", tmp_path / "labels.csv", *options)
    assert done.exit_code == 1 and said in unwrapped(done.output)
    assert not (tmp_path / "labels.csv").exists()


def test_the_real_sample_finds_its_pictures(tmp_path: Path, real_data: Path) -> None:
    votes, folder = real_data / "catalogues" / "gz_decals_votes_sample.csv", real_data / "rings-decals" / "images"
    done = run(votes, "--stamps", folder, "--out", tmp_path / "labels.csv", "--json")
    record = json.loads(done.stdout)
    # its galaxies were chosen so that every cut of a spiral but the last is passed
    assert (record["stamps"], record["matched"], record["labelled"]) == (156, 156, 0)
    cut = ["--cut", "has-spiral-arms_yes=0.4"]
    done = run(votes, "--stamps", folder, "--out", tmp_path / "more.csv", *cut, "--json")
    expected = sum(float(row["has-spiral-arms_no_fraction"]) <= 0.6 for row in rows(votes))
    assert json.loads(done.stdout)["classes"]["spiral"] == expected > 0
