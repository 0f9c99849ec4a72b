"""Claim: shares of training that follow each task's shortfall beat equal shares at the same budget.

Both start from the same pretrained weights and see the same number of stamps, for several seeds; the table has the
held-out score of every task, and its shortfall summed over tasks (what the shares are to reduce: lower is better).

    python -m benchmarks.bench_task_shares [--steps 400] [--seeds 3] [--start build/nano/pretrained]
"""

import argparse
import os
import tempfile
from pathlib import Path

import numpy as np
import torch

from benchmarks.report import Row, save
from lvm_training.model.encoder import load_checkpoint
from lvm_training.model.lvm import LVM
from lvm_training.params import TASKS, MultitaskParams, load_params
from lvm_training.paths import NANO_BUILD
from lvm_training.pretraining.multitask import train_tasks
from lvm_training.pretraining.multitask_data import MultitaskData
from lvm_training.stamps.rendering import Rendering


def scores(lvm: LVM, rendering: Rendering, params: MultitaskParams) -> dict[str, float]:
    """Held-out scores of a training of `lvm`, in place, and the sum of the shortfalls."""
    with tempfile.TemporaryDirectory() as folder:
        data = MultitaskData(rendering, params, lvm.preset.patch)
        metrics = train_tasks(lvm.train(), data, params, Path(folder))
    found: dict[str, float] = {task: metrics[f"score/{task}"] for task in TASKS}
    shortfalls = [min(1.0, max(0.0, 1 - found[task] / params.goals[task])) for task in TASKS]
    return {**found, "shortfall": sum(shortfalls)}


def main() -> None:
    """Train and print a row per seed and rule, and their means."""
    parser = argparse.ArgumentParser(description="Shares by shortfall against equal shares.")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--start", type=Path, default=NANO_BUILD / "pretrained")
    asked = parser.parse_args()
    if not asked.start.is_dir():
        print(f"There is no {asked.start}, which stage `release_nano` leaves; name another checkpoint with --start.")
        return
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    base = load_params(profile="nano").multitask
    epoch = max(1, asked.steps // 8)
    rows: list[Row] = []
    for seed in range(asked.seeds):
        for rule in ("shortfall", "equal"):
            changes = {"steps": asked.steps, "epoch_steps": epoch, "seed": seed, "shares": rule}
            lvm, card = load_checkpoint(asked.start)
            rows.append({"shares": rule, "seed": seed, **scores(lvm, card.rendering, base.model_copy(update=changes))})
    for rule in ("shortfall", "equal"):
        of_rule = [row for row in rows if row["shares"] == rule]
        means = {name: float(np.mean([float(row[name]) for row in of_rule])) for name in (*TASKS, "shortfall")}
        rows.append({"shares": rule, "seed": "mean", **means})
    save("task_shares", rows)
    ratio = float(rows[-2]["shortfall"]) / float(rows[-1]["shortfall"])
    print(f"remaining shortfall, by shortfall / equal: {ratio:.2f}")


if __name__ == "__main__":
    main()
