"""The workflow of the GPU runner and the batch job of Slurm: linted, and run with stand-ins for what is not here."""

import os
import re
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.linters import actionlint, lint

ROOT = Path(__file__).parents[1]
WORKFLOW = ROOT / ".github/workflows/finetune.yml"
BATCH = ROOT / "deploy/slurm/pretrain.sbatch"
SEPARATOR = "\037"
STAND_IN = r"""#!/bin/sh
name=$(basename "$0")
{ printf '%s' "$name"; [ $# -eq 0 ] || printf '\037%s' "$@"; echo; } >> "$RECORD"
case "$name $*" in
  srun*) while case $1 in --*) true ;; *) false ;; esac; do shift; done; exec "$@" ;;
  "scontrol show"*) printf 'node7\nnode8\n' ;;
  "dvc remote list") printf '%s' "$REMOTES" ;;
  "dvc metrics show --md") echo '| path | auc |' ;;
  torchrun*) [ -z "$ENDLESS" ] || exec sleep 120; exit "${STATUS:-0}" ;;
esac
"""


@dataclass
class Checkout:
    """A folder that looks like a checkout, with stand-ins that write down how they were called."""

    folder: Path

    @property
    def record(self) -> Path:
        """Where they write."""
        return self.folder / "record"

    def calls(self) -> list[list[str]]:
        """Every call so far."""
        lines = self.record.read_text().splitlines() if self.record.exists() else []
        return [line.split(SEPARATOR) for line in lines]

    def environment(self, **more: str) -> dict[str, str]:
        """What a script sees."""
        path = f"{self.folder / 'programs'}{os.pathsep}/usr/bin{os.pathsep}/bin"
        return {"PATH": path, "RECORD": str(self.record), "REMOTES": "", "HOME": str(self.folder), **more}


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """A checkout with an environment."""
    for folder, names in (
        ("programs", ("cml", "git", "make", "scontrol", "srun")),
        (".venv/bin", ("dvc", "torchrun")),
    ):
        (tmp_path / folder).mkdir(parents=True)
        for name in names:
            (tmp_path / folder / name).write_text(STAND_IN)
            (tmp_path / folder / name).chmod(0o755)
    (tmp_path / "dvc.yaml").touch()
    (tmp_path / "build/plots").mkdir(parents=True)
    for name in ("few_shot.png", "detection.png", "pretrain.csv"):
        (tmp_path / "build/plots" / name).touch()
    return Checkout(tmp_path)


@pytest.fixture(scope="module")
def workflow() -> dict[str, Any]:
    """The workflow; YAML reads its key `on` as true."""
    loaded: dict[Any, Any] = yaml.safe_load(WORKFLOW.read_text())
    return {"on" if key is True else key: value for key, value in loaded.items()}


def steps(workflow: dict[str, Any]) -> list[dict[str, Any]]:
    """The steps of its one job."""
    (job,) = workflow["jobs"].values()
    listed: list[dict[str, Any]] = job["steps"]
    return listed


def test_the_workflow_is_one_that_github_takes() -> None:
    lint("check-jsonschema", "--builtin-schema", "vendor.github-workflows", WORKFLOW)
    lint("zizmor", "--offline", "--quiet", WORKFLOW)


def test_actionlint_knows_all_of_the_workflow_but_the_runner_of_ones_own() -> None:
    labels = yaml.safe_load((ROOT / ".github/actionlint.yaml").read_text())["self-hosted-runner"]["labels"]
    assert labels == ["gpu"]
    (found,) = actionlint(WORKFLOW)
    assert found["kind"] == "runner-label" and str(found["message"]).startswith('label "gpu" is unknown')


def test_actionlint_finds_what_the_schema_does_not(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yml"
    wrong.write_text(WORKFLOW.read_text().replace("github.sha", "github.shaa"))
    lint("check-jsonschema", "--builtin-schema", "vendor.github-workflows", wrong)
    assert "expression" in {found["kind"] for found in actionlint(wrong)}


def test_the_commands_of_the_workflow_are_sound_shell(workflow: dict[str, Any]) -> None:
    commands = [step["run"] for step in steps(workflow) if "run" in step]
    assert len(commands) == 6
    for command in commands:
        lint("shellcheck", "--shell=bash", "-", text=command)


def test_the_workflow_may_do_little_and_strangers_do_not_start_it(workflow: dict[str, Any]) -> None:
    assert workflow["permissions"] == {}
    (job,) = workflow["jobs"].values()
    assert job["permissions"] == {"contents": "read", "pull-requests": "write"}
    assert job["runs-on"] == ["self-hosted", "gpu"]
    assert set(workflow["on"]) == {"push", "workflow_dispatch"}
    assert workflow["on"]["push"]["paths"] == ["data.dvc", "data/release/labels/**", "params.yaml"]
    assert "github.ref" in workflow["concurrency"]["group"]
    used = [step["uses"] for step in steps(workflow) if "uses" in step]
    assert used and all(re.search("@[0-9a-f]{40}$", action) for action in used)
    # secrets are in the environment of the steps that need them, and in no command
    assert not [step["run"] for step in steps(workflow) if "${{" in step.get("run", "")]
    assert sorted(step["name"] for step in steps(workflow) if "secrets." in str(step.get("env"))) == [
        "Fetch what others have made",
        "Keep what was made",
    ]


REPRO = ["dvc", "repro", "multitask", "evaluate", "evaluate_morphology", "finetune"]
REPRO += ["evaluate_parameters", "evaluate_detector"]


@pytest.mark.parametrize("remote", ["", "team\ts3://bucket/dvc\n"])
def test_the_workflow_finetunes_and_reports(workflow: dict[str, Any], checkout: Checkout, remote: str) -> None:
    summary = checkout.folder / "summary.md"
    for step in steps(workflow):
        if "run" in step:
            environment = checkout.environment(REMOTES=remote, GITHUB_STEP_SUMMARY=str(summary))
            command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
            subprocess.run(command, cwd=checkout.folder, env=environment, timeout=60, check=True)
    asked = [["dvc", "remote", "list"]]
    assert checkout.calls() == [
        ["make", "setup", "NO_BROWSER=1"],
        *asked,
        *([["dvc", "pull", "--run-cache", "--allow-missing"]] if remote else []),
        ["make", "data"],
        REPRO,
        *asked,
        *([["dvc", "push", "--run-cache"]] if remote else []),
        ["dvc", "metrics", "show", "--md"],
        ["git", "diff", "--stat", "--", "dvc.lock"],
        ["dvc", "plots", "show", "--out", "build/plots-page"],
        ["cml", "comment", "create", "report.md"],
    ]
    report = (checkout.folder / "report.md").read_text()
    assert "| path | auc |" in report and summary.read_text() == report
    assert re.findall(r"!\[(\w+)\]\(\./build/plots/\w+\.png\)", report) == ["detection", "few_shot"]


def test_the_workflow_names_stages_that_are_there() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    assert set(REPRO[2:]) <= stages.keys()
    # everything that is evaluated is among them
    assert set(REPRO[2:]) >= {name for name in stages if name.startswith("evaluate")}


SLURM = {
    "SLURM_JOB_ID": "4711",
    "SLURM_JOB_NODELIST": "node[7-8]",
    "SLURM_CPUS_PER_TASK": "32",
    "SLURM_GPUS_PER_NODE": "h100:4",  # as asked for: 4 where any GPU will do
}


def batch(checkout: Checkout, **more: str) -> subprocess.Popen[str]:
    """Start the batch script as Slurm does."""
    environment = checkout.environment(SLURM_SUBMIT_DIR=str(checkout.folder), **(SLURM | more))
    return subprocess.Popen(
        ["bash", str(BATCH)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def launched(restarts: int, each: str = "4") -> list[list[str]]:
    """What a job starts on its nodes."""
    run = [
        "torchrun",
        "--nnodes=2",
        f"--nproc-per-node={each}",
        "--max-restarts=3",
        "--rdzv-backend=c10d",
        f"--rdzv-id=4711-{restarts}",
        "--rdzv-endpoint=node7:24711",
        "-m",
        "lvm_training.stages.pretrain",
    ]
    output = "--output=build/slurm/%x-%j-%N.log"
    return [
        ["scontrol", "show", "hostnames", "node[7-8]"],
        ["dvc", "repro", "simulate"],
        ["srun", "--cpus-per-task=32", "--kill-on-bad-exit=1", "--label", "--open-mode=append", output, *run],
        run,
    ]


def test_the_batch_script_is_sound_shell() -> None:
    lint("shellcheck", BATCH)


def test_the_batch_script_asks_slurm_for_a_warning_and_another_turn() -> None:
    asked = dict(re.findall(r"^#SBATCH --([\w-]+)(?:=(\S+))?$", BATCH.read_text(), re.MULTILINE))
    assert asked.keys() >= {"requeue", "nodes", "gpus-per-node", "time", "output"}
    assert asked["ntasks-per-node"] == "1"  # one torchrun a node
    assert asked["signal"].startswith("B:USR1@")  # to the script alone
    assert asked["open-mode"] == "append"  # the next turn keeps the log


@pytest.mark.parametrize(("asked", "each"), [("h100:4", "4"), ("8", "8"), ("h100", "1")])
def test_a_job_trains_on_all_nodes_and_hands_the_result_to_the_pipeline(
    checkout: Checkout, asked: str, each: str
) -> None:
    job = batch(checkout, SLURM_GPUS_PER_NODE=asked)
    output, _ = job.communicate(timeout=60)
    assert job.returncode == 0, output
    assert checkout.calls() == [*launched(0, each), ["dvc", "commit", "--force", "pretrain"]]
    assert "attempt 1 on 2 nodes" in output and output.rstrip().endswith("done")
    assert (ROOT / "lvm_training/stages/pretrain.py").is_file()


def test_a_training_that_fails_is_no_result(checkout: Checkout) -> None:
    job = batch(checkout, STATUS="3", SLURM_RESTART_COUNT="2")
    output, _ = job.communicate(timeout=60)
    assert job.returncode == 3
    assert checkout.calls() == launched(2)
    assert "attempt 3" in output and "done" not in output


def test_a_job_whose_time_is_nearly_up_goes_back_into_the_queue(checkout: Checkout) -> None:
    job = batch(checkout, ENDLESS="1")
    deadline = time.monotonic() + 60
    while checkout.calls()[-1:] != launched(0)[-1:]:
        assert time.monotonic() < deadline and job.poll() is None
        time.sleep(0.05)
    job.send_signal(signal.SIGUSR1)
    output, _ = job.communicate(timeout=60)  # the training has ended too: it had the same output
    assert job.returncode == 0, output
    assert checkout.calls() == [*launched(0), ["scontrol", "requeue", "4711"]]


def test_a_job_of_another_folder_is_refused_before_anything_is_done(checkout: Checkout) -> None:
    (checkout.folder / ".venv/bin/torchrun").unlink()
    job = batch(checkout)
    output, _ = job.communicate(timeout=60)
    assert job.returncode == 2
    assert "make setup" in output and checkout.calls() == []
