"""data.dvc pins frozen labels beside the starting release: with a remote, without one, and against what goes wrong."""

import errno
import os
import shutil
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from dvc.repo import Repo
from zc.lockfile import LockFile

from lvm_training.errors import LabelError
from lvm_training.galaxies.catalogue import MORPHOLOGIES
from lvm_training.heads.classification import ClassificationHead
from lvm_training.pool.features import Origin
from lvm_training.stages.release import start as release
from lvm_training.stages.release.pinned import Pinned, ReleaseError, fetch_labels, pin_labels, release_digest
from lvm_training.tables.frozen_labels import Answer, FrozenLabels
from tests.backend_ml.sky import ENCODER
from tests.lvm_training.stages.release.test_start import ROOT, project
from tests.small_disk import on_small_disk

__all__ = ["project"]  # a fixture: a small release that data.dvc tracks

pytestmark = pytest.mark.usefixtures("warm_python")


def frozen(*said: str) -> FrozenLabels:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    answers = (
        Answer("morphology", row, at, "person 1", label, label, 1, 1, "training", "") for row, label in enumerate(said)
    )
    return FrozenLabels("morphology", MORPHOLOGIES, "majority", tuple(answers))


LACKS = "labels that are not here"
Factory = pytest.TempPathFactory
ONE, OTHER = frozen(*MORPHOLOGIES), frozen(*MORPHOLOGIES[::-1])


def tracked_digest(root: Path) -> str:
    """What DVC itself says of data/release."""
    with Repo(str(root)) as repo:
        (stage,) = repo.stage.load_file("data.dvc")
        stage.save()
        return str(stage.outs[0].hash_info.value)


def commit(root: Path) -> None:
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-C", str(root)]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "labels"]):
        subprocess.run([*git, *command], check=True, capture_output=True)


def cloned(root: Path, folder: Path) -> Path:
    """A clone of a committed project, with its release regenerated as `make data` does."""
    (root / ".gitignore").write_text("/build/\n/data/\n/.dvc/cache\n/.dvc/tmp\n")
    commit(root)
    subprocess.run(["git", "clone", "-q", str(root), str(folder)], check=True)
    return folder


def make_data(root: Path) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PATH": path}
    command = [sys.executable, "-m", "lvm_training.stages.release"]
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)


def test_our_hash_of_the_release_is_dvcs_own(project: Path) -> None:
    before = Pinned.read(project)
    assert before.whole == before.start == release_digest(project, labels=False) == tracked_digest(project)
    path, changed = pin_labels(project, ONE, "Rings")
    after = Pinned.read(project)
    assert changed and path == project / f"data/release/labels/rings-{ONE.digest[:12]}.parquet"
    assert (after.start, after.labels) == (before.start, (path.name,))
    assert after.whole == release_digest(project, labels=True) == tracked_digest(project) != before.whole


def test_pinning_twice_changes_nothing_and_other_labels_are_another_file(project: Path) -> None:
    path, _ = pin_labels(project, ONE, "Rings")
    before = (project / "data.dvc").read_bytes(), path.read_bytes(), path.stat().st_mtime_ns
    assert pin_labels(project, ONE, "Rings (closed 1)") == (path, False)
    assert before == ((project / "data.dvc").read_bytes(), path.read_bytes(), path.stat().st_mtime_ns)
    second, changed = pin_labels(project, OTHER, "Rings")
    assert changed and second != path and Pinned.read(project).labels == tuple(sorted((path.name, second.name)))


def test_a_pin_that_was_cut_off_is_made_whole_by_the_next_one(project: Path) -> None:
    path = project / f"data/release/labels/{ONE.file_name('Rings')}"
    path.parent.mkdir()
    ONE.write(path)
    assert pin_labels(project, ONE, "Rings") == (path, True)
    assert Pinned.read(project).whole == tracked_digest(project)
    release.main()


def test_a_pin_that_named_its_labels_and_no_more_is_made_whole_too(project: Path) -> None:
    path = project / f"data/release/labels/{ONE.file_name('Rings')}"
    path.parent.mkdir()
    ONE.write(path)
    document = yaml.safe_load((project / "data.dvc").read_text())
    meta = {"start": Pinned.read(project).start, "labels": [path.name]}
    (project / "data.dvc").write_text(yaml.safe_dump(document | {"meta": meta}))
    assert pin_labels(project, ONE, "Rings") == (path, True)
    assert Pinned.read(project).whole == tracked_digest(project)


def test_a_pin_beside_another_dvc_command_changes_nothing(project: Path) -> None:
    before = (project / "data.dvc").read_bytes()
    with closing(LockFile(str(project / ".dvc/tmp/lock"))), pytest.raises(ReleaseError, match="is at work in"):
        pin_labels(project, ONE, "Rings")
    assert (project / "data.dvc").read_bytes() == before
    _, changed = pin_labels(project, ONE, "Rings")
    assert changed and Pinned.read(project).whole == tracked_digest(project)


def test_labels_that_could_not_be_pinned_do_not_lie_beside_those_that_are(project: Path) -> None:
    with closing(LockFile(str(project / ".dvc/tmp/lock"))), pytest.raises(ReleaseError, match="is at work in"):
        pin_labels(project, ONE, "Rings")
    path, _ = pin_labels(project, OTHER, "Rings")
    assert list(path.parent.iterdir()) == [path]


def test_a_full_disk_leaves_all_as_it_was_wherever_it_becomes_full(project: Path, tmp_path_factory: Factory) -> None:
    disk = tmp_path_factory.mktemp("disk")
    # not the warm one, which sees this machine's own disks
    python = Path(sys.prefix, "bin", "python")
    command = [python, "-m", "tests.lvm_training.stages.release.pinning_process", project, disk]
    done = on_small_disk(disk, "4m", command, {**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    tries = done.stdout.split()
    assert tries[-1] == "pinned" and {"OSError", "ReleaseError"} <= set(tries), "the file, and then DVC's cache"


def test_what_is_pinned_already_gets_into_a_cache_that_lost_it(project: Path) -> None:
    path, _ = pin_labels(project, ONE, "Rings")
    shutil.rmtree(project / ".dvc/cache")
    assert pin_labels(project, ONE, "Rings") == (path, False)
    path.unlink()
    assert fetch_labels(project) == [] and FrozenLabels.read(path) == ONE


def test_what_fails_behind_a_pin_takes_it_back(project: Path) -> None:
    before = (project / "data.dvc").read_bytes()

    def refuses(path: Path) -> None:
        assert path.name in Pinned.read(project).labels
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match="No space left"):
        pin_labels(project, ONE, "Rings", refuses)
    assert (project / "data.dvc").read_bytes() == before
    assert list((project / "data/release/labels").iterdir()) == []


def test_make_data_leaves_pinned_labels_alone(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, _ = pin_labels(project, ONE, "Rings")
    (project / "data/release/morphology.csv").unlink()
    release.main()
    assert FrozenLabels.read(path) == ONE and LACKS not in capsys.readouterr().err


def test_without_a_remote_a_clone_has_the_starting_release_and_is_told_what_it_lacks(
    project: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path, _ = pin_labels(project, ONE, "Rings")
    clone = cloned(project, tmp_path_factory.mktemp("clones") / "clone")
    done = make_data(clone)
    assert done.returncode == 0, done.stderr
    assert f"{LACKS}: {path.name}. The starting release is whole. `dvc pull`" in done.stderr
    assert (clone / "data/release/labels.csv").read_bytes() == (project / "data/release/labels.csv").read_bytes()
    with pytest.raises(ReleaseError, match=f"pins {path.name}, which are not here and would be forgotten"):
        pin_labels(clone, OTHER, "Rings")
    # whoever has the labels from elsewhere puts them there
    shutil.copytree(path.parent, clone / "data/release/labels")
    assert LACKS not in make_data(clone).stderr


def test_with_a_remote_a_clone_fetches_them(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("remote")
    pin_labels(project, ONE, "Rings")
    path, _ = pin_labels(project, OTHER, "Rings")
    config = project / ".dvc" / "config"
    own = config.read_text().replace("[core]\n", "[core]\n    remote = team\n")
    config.write_text(f"{own}\n['remote \"team\"']\n    url = {folder / 'store'}\n")
    with Repo(str(project)) as repo:
        repo.push()
    clone = cloned(project, folder / "clone")
    config = clone / ".dvc" / "config"
    there = config.read_text()
    config.write_text(there.replace(str(folder / "store"), str(folder / "away")))
    away = make_data(clone)
    assert away.returncode == 0 and LACKS in away.stderr, "a remote that does not answer"
    config.write_text(there)
    assert LACKS not in make_data(clone).stderr
    assert FrozenLabels.read(clone / "data/release/labels" / path.name) == OTHER
    assert Pinned.read(clone).missing(clone) == []
    # the cache has them from now on
    (clone / "data/release/labels" / path.name).unlink()
    config.write_text(there.replace(str(folder / "store"), str(folder / "away")))
    assert fetch_labels(clone) == [] and FrozenLabels.read(clone / "data/release/labels" / path.name) == OTHER


def test_edited_labels_are_refused_by_name_everywhere(project: Path) -> None:
    path, _ = pin_labels(project, ONE, "Rings")
    OTHER.write(path)
    for act in (release.main, lambda: pin_labels(project, OTHER, "Rings")):
        with pytest.raises(LabelError, match=f"{path.name} was changed after it was frozen"):
            act()


def test_nothing_but_labels_gets_pinned_with_them(project: Path) -> None:
    catalogue = project / "data/release/morphology.csv"
    whole = catalogue.read_bytes()
    catalogue.write_bytes(whole + b"\n")
    with pytest.raises(ReleaseError, match="not the starting release"):
        pin_labels(project, ONE, "Rings")
    catalogue.write_bytes(whole)
    path = project / f"data/release/labels/{ONE.file_name('stray')}"
    path.parent.mkdir()
    ONE.write(path)
    with pytest.raises(ReleaseError, match=f"holds what data.dvc does not pin: {path.name}"):
        release.main()


@pytest.mark.parametrize("text", ["", "outs: []", "[1]", "outs:\n- path: data/release\n", "outs: [}"])
def test_a_data_dvc_without_a_hash_is_said(project: Path, text: str) -> None:
    (project / "data.dvc").write_text(text)
    with pytest.raises(ReleaseError, match=r"data\.dvc (names no hash|is not YAML)") as caught:
        pin_labels(project, ONE, "Rings")
    assert "git checkout" in caught.value.hint


STAGES = """
stages:
  train_morphology:
    cmd: python -m lvm_training.stages.train.morphology
    deps: [build/features/morphology.npy, 'data/release/${labels}']
    params: ['${profile}.train']
    outs: [build/heads/morphology.safetensors]
  other:
    cmd: mkdir -p build && cp data/release/morphology.csv build/other.csv
    deps: [data/release/morphology.csv]
    outs: [build/other.csv]
"""


def repro(root: Path, labels: str) -> str:
    document = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))
    (root / "params.yaml").write_text(yaml.safe_dump(document | {"labels": labels}), encoding="utf-8")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "repro"],
        cwd=root,
        env=os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_one_changed_label_reruns_what_depends_on_labels_alone(project: Path) -> None:
    import numpy as np

    features = project / "build/features/morphology.npy"
    features.parent.mkdir(parents=True)
    np.save(features, np.eye(30, 16, dtype=np.float16))
    origin = Origin(name="morphology", stamps="s", encoder=ENCODER, rows=30, width=16)
    features.with_suffix(".json").write_text(origin.model_dump_json())
    (project / "dvc.yaml").write_text(STAGES)
    assert "Running stage 'other'" in repro(project, "labels.csv")
    head = project / "build/heads/morphology.safetensors"
    start = head.read_bytes()
    names = [pin_labels(project, labels, "Rings")[0].name for labels in (ONE, OTHER)]
    said = repro(project, f"labels/{names[0]}")
    assert "Running stage 'train_morphology'" in said and "Running stage 'other'" not in said
    assert start != head.read_bytes()
    assert ClassificationHead.load(head.read_bytes()).classes == MORPHOLOGIES
    assert "Running stage 'other'" not in repro(project, f"labels/{names[1]}")
    assert "Running stage" not in repro(project, f"labels/{names[1]}"), "pinning more changes nothing of a stage"
