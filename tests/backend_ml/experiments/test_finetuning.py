"""The loop closes by itself: labels are frozen, an experiment runs, its encoder serves if it is better, and is kept."""

import shutil
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from zc.lockfile import LockFile

from backend_ml.campaign.defer import GPU, defer_encoder
from backend_ml.experiments import repository
from backend_ml.experiments.finetuning import Finetuning
from backend_ml.experiments.repository import SET, Pipeline, PipelineError
from backend_ml.jobs import StoppingError
from backend_ml.learning import encoders
from backend_ml.learning.learn import silent, stores_of
from backend_ml.rebuilding.freezing import freeze
from backend_ml.report.report import read_report
from backend_ml.report.told import campaign_told
from backend_ml.settings import Settings
from backend_ml.store.database import Database
from backend_ml.store.encoders import encoder_folder
from backend_ml.store.records import Campaign
from lvm_training.model.encoder import Encoder
from lvm_training.paths import FROZEN_LABELS
from lvm_training.stages.release.pinned import Pinned, ReleaseError, pin_labels
from lvm_training.tables.frozen_labels import FrozenLabels
from tests import forked
from tests.backend_ml.experiments import finetuning_process
from tests.backend_ml.experiments.tiny_pipeline import append, commit, git
from tests.backend_ml.learned import run_jobs
from tests.backend_ml.whole import label, write_encoder

pytestmark = [pytest.mark.timeout(900), pytest.mark.usefixtures("warm_python")]


def served(database: Database, campaign: Campaign) -> dict[str, Any]:
    (version,) = database.rows("active_version", campaign=campaign.id)
    return version


def experiments(database: Database, campaign: Campaign) -> list[dict[str, Any]]:
    return database.rows("experiments", campaign=campaign.id, limit=9)


def notices(database: Database, campaign: Campaign) -> dict[str, str]:
    return {row["source"]: row["text"] for row in database.rows("notices", campaign=campaign.id)}


def told(database: Database, campaign: Campaign) -> list[str]:
    with database.transaction() as connection:
        report = read_report(connection, campaign)
    return dict(campaign_told(report, str, "", None)).get("Experiments", [])


def run(database: Database, campaign: Campaign, store: Path, pipeline: Pipeline) -> None:
    """The job, as a worker of the queue `gpu` takes it."""
    with database.transaction() as connection:
        connection.execute("DELETE FROM procrastinate_jobs")
        defer_encoder(connection, campaign)
    run_jobs(database, settings=Settings(store=store, pipeline_repo=pipeline.root), queue=GPU)


def accepted(pipeline: Pipeline) -> list[str]:
    return git(pipeline.root, "for-each-ref", "--format=%(refname:short)", "refs/heads/accepted").split()


@pytest.fixture
def frozen(database: Database, campaign: Campaign) -> FrozenLabels:
    """The campaign's labels, as an experiment freezes them."""
    with database.transaction() as connection:
        return freeze(connection, campaign)


def parameters(pipeline: Pipeline) -> tuple[Path, str, str]:
    """The file of parameters, what it says, and what DVC writes into it for an experiment."""
    path = pipeline.root / "params.yaml"
    whole = path.read_text()
    return path, whole, yaml.safe_dump(yaml.safe_load(whole) | dict.fromkeys(SET, "labels/x.parquet"))


def test_what_is_better_serves_and_becomes_a_branch_what_is_worse_does_not(
    database: Database, campaign: Campaign, store: Path, pipeline: Pipeline, tmp_path: Path
) -> None:
    before, baseline = served(database, campaign), pipeline.baseline()
    run(database, campaign, store, pipeline)
    now, trained = served(database, campaign), Encoder.load(pipeline.root / "trained").digest
    assert now["encoder"] == trained != before["encoder"] and now["parent"] == before["version"]
    (one,) = experiments(database, campaign)
    assert (one["outcome"], one["version"], one["encoder"]) == ("promoted", now["version"], trained)
    assert one["metrics"] == {"labels": 7, "train_loss": 0.25} and one["labels"] == 20
    # the labels are pinned and committed, the experiment is a branch from there, and nothing else has changed
    assert one["baseline"] == pipeline.baseline() != baseline and pipeline.changed() == []
    assert Pinned.read(pipeline.root).labels == (one["labels_file"],)
    frozen = FrozenLabels.read(pipeline.root / "data/release/labels" / one["labels_file"])
    assert len(frozen.snapshot) == 20 and frozen.judged == 32
    assert accepted(pipeline) == [one["branch"]] == [f"accepted/{one['name']}"]
    assert git(pipeline.root, "rev-parse", one["branch"]).strip() == one["revision"]
    assert git(pipeline.root, "rev-parse", f"{one['branch']}^").strip() == one["baseline"]
    assert f"labels: labels/{one['labels_file']}" in git(pipeline.root, "show", f"{one['branch']}:params.yaml")
    (line,) = told(database, campaign)
    assert "20 labels" in line and "its version serves" in line and one["branch"] in line and "train loss 0.25" in line
    # a blind encoder is worse
    label(database, campaign, range(20, 28))
    shutil.rmtree(pipeline.root / "trained")
    write_encoder(pipeline.root / "trained", blind=True)
    commit(pipeline.root)
    run(database, campaign, store, pipeline)
    newest, _ = experiments(database, campaign)
    assert (newest["outcome"], newest["branch"], newest["labels"]) == ("held back", None, 28)
    assert served(database, campaign)["version"] == now["version"] and len(accepted(pipeline)) == 1
    assert "held back" in told(database, campaign)[0] and notices(database, campaign) == {}


def test_a_kill_ends_the_experiment_and_the_next_worker_goes_on(
    database: Database, campaign: Campaign, store: Path, pipeline: Pipeline, origin: Path
) -> None:
    before, hold = served(database, campaign), origin.with_name("hold")
    arguments = (database.url, store, pipeline.root, campaign.id)
    hold.touch()
    try:
        assert forked.exit_status(finetuning_process.train, *arguments, "experiment") == -signal.SIGKILL
        deadline = time.monotonic() + 60
        while held := [
            one for one in psutil.process_iter(["cmdline"]) if str(hold) in " ".join(one.info["cmdline"] or [])
        ]:
            assert time.monotonic() < deadline, f"still at it: {held}"
            time.sleep(0.1)
    finally:
        hold.unlink()
    assert served(database, campaign) == before and experiments(database, campaign)[0]["outcome"] is None
    # killed again, after the experiment: it is not run again
    assert forked.exit_status(finetuning_process.train, *arguments, "embedding sky") == -signal.SIGKILL
    (one,) = experiments(database, campaign)
    revision, baseline = one["revision"], pipeline.baseline()
    assert served(database, campaign) == before and revision is not None and accepted(pipeline) == []
    label(database, campaign, [20])
    run(database, campaign, store, pipeline)
    (one,) = experiments(database, campaign)
    assert (one["outcome"], one["revision"], one["labels"]) == ("promoted", revision, 20), "the labels it began with"
    assert pipeline.baseline() == baseline and accepted(pipeline) == [one["branch"]]


def test_local_changes_are_told_and_what_serves_stays(
    database: Database, campaign: Campaign, store: Path, pipeline: Pipeline
) -> None:
    before, baseline = served(database, campaign), pipeline.baseline()
    append(pipeline.root / "params.yaml", "# tried\n")
    (pipeline.root / "a note").touch()
    run(database, campaign, store, pipeline)
    said = notices(database, campaign)["encoder"]
    assert "local changes: params.yaml, a note" in said and "goes on serving" in said and "git -C" in said
    assert served(database, campaign) == before and pipeline.baseline() == baseline
    assert sorted(pipeline.changed()) == ["a note", "params.yaml"] and experiments(database, campaign) == []
    (ended,) = database.rows("last_encoder_run", campaign=campaign.id)
    assert ended["outcome"] == "failed", "not tried again with every label"


def test_what_a_kill_left_of_pinning_is_no_local_change(
    campaign: Campaign, frozen: FrozenLabels, pipeline: Pipeline
) -> None:
    pin_labels(pipeline.root, frozen, campaign.name)
    assert pipeline.changed() == ["data.dvc"]
    pipeline.check(frozen, campaign.name)
    other = FrozenLabels(frozen.kind, frozen.classes, frozen.consensus, frozen.answers[:-1])
    with pytest.raises(PipelineError, match=r"local changes: data\.dvc"):
        pipeline.check(other, campaign.name)
    assert pipeline.pin(frozen, campaign.name).name.endswith(".parquet") and pipeline.changed() == []


def test_labels_that_cannot_be_pinned_leave_nothing(
    campaign: Campaign, frozen: FrozenLabels, pipeline: Pipeline, tmp_path: Path
) -> None:
    def as_it_was() -> bool:
        labels = [*Pinned.read(pipeline.root).labels, *(pipeline.root / FROZEN_LABELS).glob("*")]
        return pipeline.changed() == [] and labels == []

    held, (refuses,) = pipeline.root / repository.TEMPORARY / "lock", repository.GIT_LOCKS[:1]
    with closing(LockFile(str(held))), pytest.raises(ReleaseError, match="Another DVC command is at work") as caught:
        pipeline.pin(frozen, campaign.name)
    assert as_it_was() and "https" not in str(caught.value) and "has ended" in caught.value.hint
    (pipeline.root / ".git" / refuses).touch()
    with pytest.raises(PipelineError, match=r"git commit failed: .*index\.lock"):
        pipeline.pin(frozen, campaign.name)
    (pipeline.root / ".git" / refuses).unlink()
    assert as_it_was()
    cache = pipeline.root / ".dvc" / "cache"
    cache.rename(tmp_path / "cache")
    cache.write_text("a disk that is none")
    with pytest.raises(OSError, match="Not a directory"):
        pipeline.pin(frozen, campaign.name)
    cache.unlink()
    (tmp_path / "cache").rename(cache)
    assert as_it_was()
    # others are pinned in their place
    other = FrozenLabels(frozen.kind, frozen.classes, frozen.consensus, frozen.answers[:-1])
    pipeline.check(other, campaign.name)
    pinned = pipeline.pin(other, campaign.name)
    assert Pinned.read(pipeline.root).labels == (pinned.name,) and pipeline.changed() == []


def test_a_data_dvc_that_was_never_committed_stays(
    campaign: Campaign, frozen: FrozenLabels, pipeline: Pipeline
) -> None:
    git(pipeline.root, "rm", "--quiet", "--cached", repository.PINS)
    git(pipeline.root, "commit", "--quiet", "--message", "without it")
    before = (pipeline.root / repository.PINS).read_bytes()
    (pipeline.root / ".git" / repository.GIT_LOCKS[0]).touch()
    with pytest.raises(PipelineError, match="git commit failed"):
        pipeline.pin(frozen, campaign.name)
    assert (pipeline.root / repository.PINS).read_bytes() == before


def test_a_data_dvc_that_was_committed_broken_is_told(
    campaign: Campaign, frozen: FrozenLabels, pipeline: Pipeline
) -> None:
    (pipeline.root / "data.dvc").write_text("outs: [\n")
    commit(pipeline.root)
    with pytest.raises(PipelineError, match=r"No experiment can run: data\.dvc is not YAML: [^\n.]+\. What serves"):
        pipeline.check(frozen, campaign.name)


def kill_at(moment: str, pipeline: Pipeline) -> None:
    """Run an experiment that is killed where DVC calls a function."""
    words = ["exp", "run", "--temp", "--name", "killed", "--set-param", "labels=a"]
    words += ["--set-param", "encoder=b", "--set-param", "stamps=c", "finetune"]
    pipeline.begin()
    script = (
        "import os, signal, sys; from unittest.mock import patch; from dvc.cli import main\n"
        "with patch(sys.argv[1], lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)):\n"
        "    main(sys.argv[2:])"
    )
    ended = subprocess.run([sys.executable, "-c", script, moment, *words], cwd=pipeline.root, check=False)
    assert ended.returncode == -signal.SIGKILL


def test_where_a_killed_experiment_ran_is_removed_once_nobody_is_there(
    campaign: Campaign, frozen: FrozenLabels, pipeline: Pipeline
) -> None:
    kill_at("dvc.repo.experiments.executor.local.TempDirExecutor.reproduce", pipeline)
    (folder,) = (pipeline.root / ".dvc" / "tmp" / "exps" / "standalone").glob("tmp*")
    other = folder.with_name("what a person keeps")
    other.mkdir()
    waits = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with subprocess.Popen(waits, cwd=folder, stdin=subprocess.PIPE):
        pipeline.check(frozen, campaign.name)
        assert (folder / "dvc.yaml").is_file()
    with (folder / "a log").open("w"):
        pipeline.check(frozen, campaign.name)
        assert (folder / "dvc.yaml").is_file()
    with subprocess.Popen([*waits, "-m", "dvc"], cwd=pipeline.root, stdin=subprocess.PIPE):
        pipeline.check(frozen, campaign.name)
        assert (folder / "dvc.yaml").is_file(), "DVC makes such a folder before it goes into it"
    pipeline.check(frozen, campaign.name)
    assert not folder.exists() and other.is_dir()


@pytest.mark.parametrize(
    "moment",
    [
        "dvc.repo.experiments.queue.base.BaseStashQueue._stash_commit_deps",
        "dvc.repo.experiments.queue.base.BaseStashQueue._stash_msg",
        "dvc.repo.experiments.queue.tempdir.TempDirQueue.get",
    ],
    ids=["parameters are set", "arguments are in the index", "the experiment is in the stash"],
)
def test_a_kill_at_each_moment_of_dvc_is_put_right(
    database: Database, campaign: Campaign, store: Path, pipeline: Pipeline, moment: str
) -> None:
    params = pipeline.root / "params.yaml"
    whole, branch, baseline = params.read_text(), git(pipeline.root, "symbolic-ref", "HEAD"), pipeline.baseline()
    kill_at(moment, pipeline)
    run(database, campaign, store, pipeline)
    (one,) = experiments(database, campaign)
    assert one["outcome"] == "promoted" and notices(database, campaign) == {}
    assert params.read_text() == whole and pipeline.changed() == []
    assert git(pipeline.root, "symbolic-ref", "HEAD") == branch
    assert git(pipeline.root, "rev-parse", f"{branch.strip()}^").strip() == baseline, "the labels, on the branch"
    assert git(pipeline.root, "for-each-ref", "--format=%(refname)", "refs/exps/stash", "refs/stash") == ""


def test_locks_that_a_kill_left_are_taken_away(
    database: Database, campaign: Campaign, store: Path, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repository, "SOON", 0.1)
    pipeline.begin()
    (pipeline.root / ".git" / "index.lock").touch()
    for name in repository.RWLOCKS:
        (pipeline.root / name).parent.mkdir(exist_ok=True)
        (pipeline.root / name).touch()
    run(database, campaign, store, pipeline)
    (one,) = experiments(database, campaign)
    assert one["outcome"] == "promoted" and notices(database, campaign) == {}


def test_what_a_kill_left_of_setting_parameters_is_no_local_change_and_what_people_wrote_is(
    campaign: Campaign, frozen: FrozenLabels, pipeline: Pipeline
) -> None:
    params, whole, left = parameters(pipeline)
    params.write_text(left)
    pipeline.check(frozen, campaign.name)
    assert params.read_text() == whole and pipeline.changed() == []
    params.write_text("")
    pipeline.check(frozen, campaign.name)
    assert params.read_text() == whole and pipeline.changed() == []
    for text in (
        left.replace("profile: quick", "profile: nano"),
        whole.replace("seed: 9", "seed: 8"),
        "- no table",
        "a: [",
    ):
        params.write_text(text)
        with pytest.raises(PipelineError, match=r"local changes: params\.yaml"):
            pipeline.check(frozen, campaign.name)
        assert params.read_text() == text


def test_commands_of_a_killed_worker_end_before_the_repository_is_looked_at(
    campaign: Campaign, frozen: FrozenLabels, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    params, whole, left = parameters(pipeline)
    # it has the lock from a process that is gone, writes what DVC sets as its last act, and takes its time
    script = "import sys, time; time.sleep(1.0); open(sys.argv[1], 'w').write(sys.argv[2])"
    with pipeline.held() as lock:
        ending = subprocess.Popen([sys.executable, "-c", script, str(params), left], pass_fds=[lock])
    pipeline.check(frozen, campaign.name)
    assert ending.wait() == 0 and params.read_text() == whole and pipeline.changed() == []
    monkeypatch.setattr(repository, "ENDING", 0.3)
    with pipeline.held(), pytest.raises(PipelineError, match="command of an earlier worker still runs"):
        pipeline.check(frozen, campaign.name)


def test_one_repository_runs_one_experiment_at_a_time(
    database: Database, campaign: Campaign, store: Path, pipeline: Pipeline, tmp_path: Path
) -> None:
    def stop() -> None:
        raise StoppingError("Somebody else is at it.")

    with database.sole("try_lock_pipeline", folder=str(pipeline.root)), Database(database.url, go_on=stop) as second:
        stores = stores_of(second, campaign, store)
        with pytest.raises(StoppingError, match="else is at it"):
            encoders.train(second, stores, silent, pytest.fail, training=Finetuning(second, stores, pipeline))
    assert experiments(database, campaign) == [] and pipeline.changed() == []


def test_a_remote_that_fails_is_told_and_the_version_serves(
    database: Database, campaign: Campaign, store: Path, pipeline: Pipeline, tmp_path: Path
) -> None:
    remote = tmp_path / "remote"
    config = pipeline.root / ".dvc" / "config.local"
    config.write_text(f"[core]\n    remote = team\n['remote \"team\"']\n    url = {remote}\n")
    remote.write_text("no folder")
    run(database, campaign, store, pipeline)
    (one,) = experiments(database, campaign)
    assert one["outcome"] == "promoted" and accepted(pipeline) == [one["branch"]]
    said = notices(database, campaign)["pipeline"]
    assert f"{one['branch']} serves" in said and "could not be pushed" in said and "dvc push" in said
    assert "Not a directory" in said, "why"
    assert said == one["note"]
    # settled again when it answers, nothing is left to tell
    remote.unlink()
    training = Finetuning(database, stores_of(database, campaign, store), pipeline)
    training.settle(one["encoder"], "promoted", one["version"])
    assert notices(database, campaign) == {} and experiments(database, campaign)[0]["note"] is None
    shutil.rmtree(pipeline.root / ".dvc" / "cache")
    assert pipeline.take(one["revision"], tmp_path / "taken") is not None, "from the remote"
    assert Encoder.load(tmp_path / "taken").digest == one["encoder"]


def test_an_experiment_that_fails_says_why(
    database: Database, campaign: Campaign, store: Path, pipeline: Pipeline
) -> None:
    before = served(database, campaign)
    (pipeline.root / "broken").touch()
    commit(pipeline.root)
    run(database, campaign, store, pipeline)
    (one,) = experiments(database, campaign)
    assert one["outcome"] == "failed" and "`dvc exp run` failed" in one["note"] and one["branch"] is None
    assert "`dvc exp run` failed" in notices(database, campaign)["encoder"]
    assert not (pipeline.root / repository.BEGUN).exists(), "DVC itself put back what it changed"
    assert served(database, campaign) == before
    assert not encoder_folder(store, Encoder.load(pipeline.root / "trained").digest).exists()


def test_what_broke_off_does_not_go_on_for_ever(database: Database, campaign: Campaign) -> None:
    def begin(name: str, baseline: str) -> None:
        about = {"repository": "/clone", "labels_file": "test-0123456789ab.parquet", "labels": 20}
        database.rows("begin_experiment", **{"campaign": campaign.id, "name": name, "baseline": baseline, **about})

    def outcomes() -> dict[str, str | None]:
        return {one["name"] + one["baseline"]: one["outcome"] for one in experiments(database, campaign)}

    begin("a", "1")
    begin("a", "1")
    assert outcomes() == {"a1": None}
    # others in its place: of later labels, of another commit
    begin("b", "1")
    begin("b", "2")
    assert outcomes() == {"a1": "failed", "b1": "failed", "b2": None}
    assert "another began" in experiments(database, campaign)[1]["note"]
    # whatever raised after the experiment itself: a checkpoint that cannot be read, a set that cannot be embedded
    encoders.failed(database, campaign)
    newest = experiments(database, campaign)[0]
    assert newest["outcome"] == "failed" and newest["ended_at"] and "notice" in newest["note"]
    begin("b", "2")
    assert outcomes()["b2"] is None
