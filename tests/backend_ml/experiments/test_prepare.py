"""Making a clone ready for experiments: again, with other settings, and where something else is there."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from dvc.repo import Repo
from typer.testing import CliRunner, Result

from backend_ml.cli.main import app
from backend_ml.doctor import host
from backend_ml.experiments.prepare import prepare
from backend_ml.experiments.repository import Pipeline, PipelineError
from lvm_training.paths import FROZEN_LABELS
from lvm_training.stages.release.pinned import Pinned, pin_labels
from lvm_training.tables.frozen_labels import FrozenLabels
from tests.backend_ml.experiments.conftest import quiet
from tests.backend_ml.experiments.tiny_pipeline import append, commit, git
from tests.checkouts import owned_by_another
from tests.lvm_training.stages.release.test_pinned import ONE
from tests.s3_server import S3Server, line_to
from tests.small_disk import on_small_disk


def findings(root: Path) -> dict[str, tuple[str, str]]:
    return {one.text: (one.state, one.command) for one in host.pipeline(Pipeline(root))}


def test_a_clone_is_ready_and_made_again_is_the_same(pipeline: Pipeline, origin: Path, tmp_path: Path) -> None:
    root = pipeline.root
    assert list(findings(root).values()) == [("ok", "")]
    assert git(root, "config", "user.name").strip() == "Galaxy Loop"
    assert git(root, "rev-parse", "HEAD") == git(origin, "rev-parse", "HEAD")
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file() and ".git" not in path.parts}
    git(root, "config", "user.name", "Somebody")
    assert prepare(root, str(origin), quiet) == ""
    after = {path: path.read_bytes() for path in before if "tmp" not in path.relative_to(root).parts}
    assert after == {path: before[path] for path in after} and pipeline.changed() == []
    assert git(root, "config", "user.name").strip() == "Somebody"
    # what a broken disk or a hurried person took away is made again
    shutil.rmtree(root / "data")
    shutil.rmtree(root / ".dvc" / "cache")
    assert [state for state, _ in findings(root).values()] == ["fail"]
    prepare(root, str(origin), quiet, remote=str(tmp_path / "remote"), cache=tmp_path / "shared")
    assert list(findings(root).values()) == [("ok", "")] and pipeline.changed() == []
    with Repo(str(root)) as repo:
        assert repo.config["remote"]["pipeline"]["url"] == str(tmp_path / "remote")
        assert Path(repo.cache.local.oid_to_path(Pinned.read(root).whole)).is_relative_to(tmp_path / "shared")


def test_local_changes_and_other_folders_are_refused(pipeline: Pipeline, origin: Path, tmp_path: Path) -> None:
    append(pipeline.root / "params.yaml", "# mine\n")
    with pytest.raises(PipelineError, match=r"local changes.*params\.yaml") as caught:
        prepare(pipeline.root, str(origin), quiet)
    assert "git -C" in caught.value.hint
    assert "# mine" in (pipeline.root / "params.yaml").read_text()
    ((text, (state, _)),) = findings(pipeline.root).items()
    assert state == "fail" and "local changes: params.yaml" in text
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").touch()
    for folder in (other, other / "thesis.tex", pipeline.root / "lvm_training"):
        with pytest.raises(PipelineError, match="is no clone of Galaxy Loop"):
            prepare(folder, str(origin), quiet)
    with pytest.raises(PipelineError, match="git clone failed"):
        prepare(tmp_path / "new", str(tmp_path / "nowhere"), quiet)
    assert [command for _, command in findings(tmp_path / "new").values()] == [
        f"galaxyloop pipeline init {tmp_path / 'new'}"
    ]


def unfinished(root: Path, begin: list[str]) -> None:
    """Two commits that change the same line, and what joins them begun."""
    branch = git(root, "symbolic-ref", "--short", "HEAD").strip()
    git(root, "switch", "-qc", "theirs")
    append(root / "dvc.yaml", "# theirs\n")
    commit(root)
    git(root, "switch", "-q", branch)
    append(root / "dvc.yaml", "# ours\n")
    commit(root)
    subprocess.run(["git", "-C", str(root), *begin, "theirs"], capture_output=True, check=False)


@pytest.mark.parametrize(
    ("begin", "what"),
    [
        (["merge"], "merge"),
        (["merge", "--no-commit", "--strategy=ours"], "merge"),
        (["rebase"], "rebase"),
        (["cherry-pick"], "cherry-pick"),
        (["revert"], "revert"),
    ],
    ids=["merge", "merge without a change", "rebase", "cherry-pick", "revert"],
)
def test_what_git_has_not_finished_is_told(pipeline: Pipeline, origin: Path, begin: list[str], what: str) -> None:
    unfinished(pipeline.root, begin)
    ((text, (state, command)),) = findings(pipeline.root).items()
    assert state == "fail" and text == f"a {what} in {pipeline.root} is not finished" and command.endswith(" status")
    with pytest.raises(PipelineError, match=f"a {what} in .* is not finished"):
        prepare(pipeline.root, str(origin), quiet)


def test_a_lock_of_git_that_stays_is_told_and_one_of_now_is_not(pipeline: Pipeline, origin: Path) -> None:
    lock = pipeline.root / ".git" / "index.lock"
    lock.touch()
    assert [state for state, _ in findings(pipeline.root).values()] == ["ok"]
    os.utime(lock, (0, 0))
    ((text, (state, command)),) = findings(pipeline.root).items()
    assert state == "fail" and "locked" in text and command == f"rm '{lock}'"
    with pytest.raises(PipelineError, match="locked"):
        prepare(pipeline.root, str(origin), quiet)


def test_a_shallow_clone_is_told_and_can_be_made_whole(origin: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    git(tmp_path, "clone", "-q", str(origin), str(whole))
    (whole / "later").touch()
    commit(whole)
    shallow = tmp_path / "shallow"
    git(tmp_path, "clone", "-q", "--depth=1", f"file://{whole}", str(shallow))
    for folder, repo in ((shallow, whole), (tmp_path / "of it", shallow)):
        with pytest.raises(PipelineError, match="is a shallow clone") as caught:
            prepare(folder, str(repo), quiet)
        assert f"git -C {shlex.quote(str(folder))} fetch --unshallow" in caught.value.hint
    ((text, (state, command)),) = findings(shallow).items()
    assert state == "fail" and "is a shallow clone" in text
    subprocess.run(shlex.split(command), capture_output=True, check=True)
    assert prepare(shallow, str(whole), quiet) == "" and [one for one, _ in findings(shallow).values()] == ["ok"]


def test_a_branch_that_is_none_is_told(pipeline: Pipeline) -> None:
    git(pipeline.root, "switch", "-q", "--detach")
    ((text, (state, command)),) = findings(pipeline.root).items()
    assert state == "warn" and "is on no branch" in text
    subprocess.run(shlex.split(command), capture_output=True, check=True)
    assert [state for state, _ in findings(pipeline.root).values()] == ["ok"]


def test_a_clone_of_another_user_is_told(pipeline: Pipeline, origin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # as that of an administrator, whose workers run as a user of their own; in whatever language git speaks
    owned_by_another(monkeypatch)
    monkeypatch.setenv("LANGUAGE", "de")
    ((text, (state, command)),) = findings(pipeline.root).items()
    assert state == "fail" and "belongs to another user" in text
    assert command == f"sudo -u {pipeline.root.owner()} galaxyloop doctor"
    with pytest.raises(PipelineError, match="belongs to another user"):
        prepare(pipeline.root, str(origin), quiet)


def test_a_full_disk_is_told_in_a_line_and_leaves_no_half_clone(tmp_path: Path) -> None:
    origin, small = tmp_path / "origin", tmp_path / "small"
    small.mkdir()
    git(tmp_path, "init", "-q", str(origin))
    (origin / "dvc.yaml").write_text("stages: {finetune: {cmd: x}}")
    for name in ("first", "second", "third"):
        (origin / name).write_text(1_000_000 * "x" + name)
    commit(origin)
    script = '"$@"; status=$?; ls "$SMALL"; exit $status'
    words = [sys.executable, "-m", "backend_ml", "pipeline", "init", small / "new", "--repo", origin]
    done = on_small_disk(small, "600k", ["sh", "-c", script, "sh", *words], {**os.environ, "SMALL": str(small)})
    assert done.returncode == 1 and done.stdout == "", "no half clone"
    error = " ".join(done.stderr.split())
    assert "git clone failed: fatal:" in error and "full" in error and "and 2 more" in error
    assert "third" not in error and "advice" not in error


def test_a_remote_that_breaks_off_leaves_a_clone_which_the_next_try_fills(
    pipeline: Pipeline, s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket, labels = s3.bucket("experiments"), FrozenLabels.read(pinned_beside(pipeline.root))
    url, folder = f"s3://{bucket}/dvc", tmp_path / "new"
    for name, value in s3.environment().items():
        monkeypatch.setenv(name, value)
    prepare(pipeline.root, "", quiet, remote=url)
    with Repo(str(pipeline.root)) as repo:
        repo.push()
    (name,) = Pinned.read(pipeline.root).labels
    with line_to(s3, 2000) as (line, through):
        monkeypatch.setenv("AWS_ENDPOINT_URL", through["AWS_ENDPOINT_URL"])
        missing = prepare(folder, str(pipeline.root), quiet, remote=url)
        assert line.is_cut and f"labels that are not here: {name}" in missing
        assert not (folder / FROZEN_LABELS / name).exists(), "no half file"
        assert [state for state, _ in findings(folder).values()] == ["warn"]
        line.mend()
        assert prepare(folder, str(pipeline.root), quiet) == ""
    assert FrozenLabels.read(folder / FROZEN_LABELS / name) == labels
    assert [state for state, _ in findings(folder).values()] == ["ok"]


def pinned_beside(root: Path) -> Path:
    """Labels that are pinned in a repository, and committed."""
    path, _ = pin_labels(root, ONE, "Rings")
    git(root, "commit", "-qam", "labels")
    return path


def test_a_doctor_names_what_is_missing(pipeline: Pipeline) -> None:
    root = pipeline.root
    document = (root / "data.dvc").read_text()
    start = Pinned.read(root).start
    (root / "data.dvc").write_text(f"{document}meta:\n  start: {start}\n  labels: [rings-0123456789ab.parquet]\n")
    git(root, "commit", "-qam", "labels from elsewhere")
    ((text, (state, command)),) = findings(root).items()
    assert state == "warn" and "rings-0123456789ab.parquet" in text and command.endswith("dvc pull data.dvc")
    (root / "data.dvc").write_text("outs: []\n")
    git(root, "commit", "-qam", "nothing")
    assert any("names no hash" in text for text in findings(root))


def test_the_command_says_what_to_do_next(pipeline: Pipeline, origin: Path, tmp_path: Path) -> None:
    def given(*words: object) -> Result:
        return CliRunner().invoke(app, ["pipeline", "init", *map(str, words), "--repo", str(origin)])

    done = given(pipeline.root, "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["commit"] == pipeline.baseline() and "missing" not in told
    assert told["then"].startswith(f"GALAXYLOOP_PIPELINE_REPO={pipeline.root} ")
    (tmp_path / "notes").touch()
    refused = given(tmp_path / "notes")
    assert refused.exit_code == 1 and "is no clone of Galaxy Loop" in " ".join(refused.output.split())
