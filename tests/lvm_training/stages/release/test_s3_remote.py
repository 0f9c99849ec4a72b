"""DVC's remote on a real S3 server: the release, frozen labels and models, between clones, and what may go wrong."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from dvc.repo import Repo

from lvm_training.stages.release.pinned import Pinned, pin_labels
from lvm_training.tables.frozen_labels import FrozenLabels
from tests.lvm_training.stages.release.test_pinned import LACKS, ONE, OTHER, cloned, project
from tests.lvm_training.stages.release.test_start import ROOT
from tests.s3_server import S3Server, line_to

__all__ = ["project"]  # a fixture: a small release that data.dvc tracks

pytestmark = [pytest.mark.pipeline, pytest.mark.usefixtures("warm_python")]

STAGES = """
stages:
  train:
    cmd: mkdir -p build && head -c 200000 /dev/urandom > build/model.safetensors
    deps: [data/release/labels.csv]
    outs: [build/model.safetensors]
"""


def run(root: Path, environment: Mapping[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=root,
        env={**os.environ, **environment, "PATH": path, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )


def dvc(root: Path, environment: Mapping[str, str], *command: str) -> str:
    done = run(root, environment, "dvc", *command)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def make_data(root: Path, environment: Mapping[str, str]) -> str:
    done = run(root, environment, "lvm_training.stages.release")
    assert done.returncode == 0, done.stderr
    return done.stderr


def set_remote(root: Path, url: str) -> None:
    """As `dvc remote add --default team s3://...`."""
    config = root / ".dvc" / "config"
    own = config.read_text().replace("[core]\n", "[core]\n    remote = team\n")
    config.write_text(f"{own}\n['remote \"team\"']\n    url = {url}\n")


def secrets_in(server: S3Server, *texts: str) -> bool:
    return any(server.secret in text for text in texts)


@pytest.fixture
def team(project: Path, s3: S3Server, request: pytest.FixtureRequest) -> Path:
    """A project with frozen labels, a trained model, and all of it pushed to a bucket."""
    bucket = s3.bucket(f"team-{abs(hash(request.node.name)) % 10**9}")
    set_remote(project, f"s3://{bucket}/dvc")
    pin_labels(project, ONE, "Rings")
    (project / "dvc.yaml").write_text(STAGES)
    dvc(project, {}, "repro", "--quiet")
    said = dvc(project, s3.environment(), "push")
    assert "pushed" in said and not secrets_in(s3, said, (project / ".dvc" / "config").read_text())
    files = {(path.name, path.stat().st_size) for path in project.glob(".dvc/cache/files/md5/*/*")}
    there = {(key.rpartition("/")[2], size) for key, size in s3.keys(bucket).items()}
    assert there <= files and len(there) == 5, "a catalogue, two files of labels, their list, and the model"
    return project


def test_a_clone_pulls_release_labels_and_models(
    team: Path, s3: S3Server, tmp_path_factory: pytest.TempPathFactory
) -> None:
    clone = cloned(team, tmp_path_factory.mktemp("clones") / "clone")
    dvc(clone, s3.environment(), "pull")
    for name in ("data/release/morphology.csv", "data/release/labels.csv", "build/model.safetensors"):
        assert (clone / name).read_bytes() == (team / name).read_bytes()
    path = next((clone / "data/release/labels").iterdir())
    assert FrozenLabels.read(path) == ONE
    assert "didn't change, skipping" in dvc(clone, {}, "repro"), "what was pulled is not made again"
    # labels that are frozen in the clone come back by the same way
    other, _ = pin_labels(clone, OTHER, "Rings")
    dvc(clone, s3.environment(), "push")
    (team / "data.dvc").write_bytes((clone / "data.dvc").read_bytes())
    dvc(team, s3.environment(), "pull")
    assert FrozenLabels.read(team / "data/release/labels" / other.name) == OTHER


def test_a_remote_that_fails_half_way_leaves_what_is_whole_and_the_next_pull_goes_on(
    team: Path, s3: S3Server, tmp_path_factory: pytest.TempPathFactory
) -> None:
    clone = cloned(team, tmp_path_factory.mktemp("clones") / "clone")
    with line_to(s3, 100_000) as (line, environment):
        broken = run(clone, environment, "dvc", "pull")
        assert broken.returncode != 0 and line.is_cut
        assert "failed to pull data from the cloud" in broken.stderr and "Traceback" not in broken.stderr
        assert not secrets_in(s3, broken.stdout, broken.stderr)
        assert not (clone / "build/model.safetensors").exists(), "half a model is no model"
        # meanwhile the release is regenerated, and what cannot be is named
        said = make_data(clone, environment)
        assert (LACKS in said) == bool(Pinned.read(clone).missing(clone)) and (
            clone / "data/release/labels.csv"
        ).is_file()
        line.mend()
        dvc(clone, environment, "pull")
    assert (clone / "build/model.safetensors").read_bytes() == (team / "build/model.safetensors").read_bytes()
    with Repo(str(clone)) as repo:
        assert repo.data_status(granular=False).get("uncommitted", {}) == {}
    assert LACKS not in make_data(clone, {})


def test_labels_come_by_make_data_alone_and_without_the_remote_it_says_how(
    team: Path, s3: S3Server, tmp_path_factory: pytest.TempPathFactory
) -> None:
    clone = cloned(team, tmp_path_factory.mktemp("clones") / "clone")
    name = Pinned.read(clone).labels[0]
    wrong = {**s3.environment(), "AWS_SECRET_ACCESS_KEY": "wrong"}
    with line_to(s3, 0) as (_, away):
        for environment in (wrong, away):
            said = make_data(clone, environment)
            assert f"{LACKS}: {name}. The starting release is whole. `dvc pull` fetches" in said
            assert "Traceback" not in said and not secrets_in(s3, said)
    assert LACKS not in make_data(clone, s3.environment())
    assert FrozenLabels.read(clone / "data/release/labels" / name) == ONE
    # without DVC's cache what lies there is still what is pinned, and what was deleted as well comes anew
    shutil.rmtree(clone / ".dvc/cache")
    assert LACKS not in make_data(clone, {})
    (clone / "data/release/labels" / name).unlink()
    assert f"{LACKS}: {name}" in make_data(clone, wrong)
    assert LACKS not in make_data(clone, s3.environment())
    assert FrozenLabels.read(clone / "data/release/labels" / name) == ONE
