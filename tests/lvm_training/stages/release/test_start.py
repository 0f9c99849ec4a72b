"""The starting release: same bytes every time, and checked against data.dvc."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from dvc.repo import Repo

from lvm_training import paths
from lvm_training.galaxies.catalogue import read_catalogue
from lvm_training.galaxies.population import draw_catalogue
from lvm_training.stages.release import start as release
from lvm_training.stages.release.pinned import ReleaseError
from lvm_training.stamps.stampset import StampSet

ROOT = Path(__file__).parents[4]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of a small release, tracked by data.dvc."""
    document = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    document[document["profile"]]["simulate"] = {"n": 30, "seed": 9}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    release.write_release(paths.RELEASE, draw_catalogue(30, 9))
    (tmp_path / "data.dvc").write_text("outs:\n- path: data/release\n", encoding="utf-8")
    with Repo.init(str(tmp_path), no_scm=True) as repo:
        repo.commit("data.dvc", force=True)
    return tmp_path


def test_a_release_is_its_catalogue_and_the_starting_labels(project: Path) -> None:
    galaxies = read_catalogue(project / "data/release/morphology.csv")
    assert galaxies == draw_catalogue(30, 9)
    with (project / "data/release/labels.csv").open(newline="") as stream:
        labels = list(csv.DictReader(stream))
    assert len(labels) == sum(g.split == "start" for g in galaxies) == 5
    for label in labels:
        galaxy = galaxies[int(label["stamp_id"])]
        assert (label["stamp_set"], label["label"], galaxy.split) == ("morphology", galaxy.morphology, "start")


def test_the_tracked_release_is_regenerated_byte_for_byte(project: Path) -> None:
    before = {path.name: path.read_bytes() for path in paths.RELEASE.iterdir()}
    for path in paths.RELEASE.iterdir():
        path.unlink()
    release.main()
    assert {path.name: path.read_bytes() for path in paths.RELEASE.iterdir()} == before


def test_another_release_than_the_tracked_one_is_refused(project: Path) -> None:
    path = project / "params.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("seed: 9", "seed: 10"), encoding="utf-8")
    with pytest.raises(ReleaseError, match=r"not the one data\.dvc tracks"):
        release.main()


def test_a_release_needs_data_dvc(project: Path) -> None:
    (project / "data.dvc").unlink()
    with pytest.raises(ReleaseError, match=r"no data\.dvc"):
        release.main()


def test_the_stage_simulates_the_release(project: Path) -> None:
    stage = [sys.executable, "-m", "lvm_training.stages.simulate"]
    subprocess.run(stage, check=True, cwd=project, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True)
    with StampSet(paths.STAMP_FILE) as stamps:
        assert len(stamps) == 30
        assert list(stamps.column("split")) == [g.split for g in read_catalogue(paths.RELEASE / "morphology.csv")]


def test_an_unpacked_archive_is_no_git_checkout_and_works(project: Path) -> None:
    own = project / ".dvc" / "config.local"
    (project / ".dvc" / "config").write_text("[core]\n    analytics = false\n", encoding="utf-8")
    with pytest.raises(ReleaseError, match=r"DVC cannot work in .* Clone the repository with git"):
        release.check_release(project)
    own.write_text("[cache]\n    dir = elsewhere\n", encoding="utf-8")
    for _ in range(2):
        release.work_without_git(project)
        release.check_release(project)
    assert "elsewhere" in own.read_text()


def test_a_checkout_is_left_alone(project: Path, tmp_path: Path) -> None:
    (project / ".git").mkdir()
    release.work_without_git(project)
    release.work_without_git(tmp_path / "elsewhere")
    assert not (project / ".dvc" / "config.local").exists()
