"""Claim: the best policy needs 50 times fewer labels for macro AUC 0.9 than a ResNet18 trained on random labels.

Labelled sets are replayed as `galaxyloop replay` does, with every policy on the same starts and the same test half, and
ResNet18 learns from scratch from random labels in the same run, as in `bench_label_efficiency`, whose kept answers it
shares. `of random`: labels to AUC 0.9 under random choice over those under the policy. Where the simulator draws the
classes, each policy is replayed with what its stamps teach as well. Real pictures with the released weights, the
simulated classes with the pretrained-only encoder: neither has seen a label of theirs.

    python -m benchmarks.bench_policies [--sets simulated,morphology5,rings] [--seeds 5] [--batch 50]
        [--most 1000] [--resnet-draws 1]
"""

import argparse
import os

import numpy as np
import torch
from numpy.typing import NDArray

from backend_ml.replay.plan import LabelledSet, ReplayPlan
from backend_ml.replay.report import replay_figure, report
from backend_ml.replay.run import replay_policies
from benchmarks.bench_label_efficiency import CHUNK, REAL, SIMULATED, Pool, measure, read_pool, taught
from benchmarks.report import FOLDER, Row, save
from lvm_training.evaluation.probes import Curve, label_efficiency, labels_to_reach
from lvm_training.files import write_json
from lvm_training.model.encoder import Encoder
from lvm_training.progress import progress_bar
from lvm_training.timed.judging import features

RANDOM, RESNET = "random", "ResNet18, random"
POLICIES = (RANDOM, "margin", "entropy", "bald", "loop")


def replayed(
    name: str, pool: Pool, matrix: NDArray[np.float32], encoder: Encoder, seeds: int, batch: int, most: int
) -> dict[str, Curve]:
    """A curve for each policy; the document and the figure of `galaxyloop replay` are kept."""
    data = LabelledSet(matrix, pool.labels, pool.test)
    size = int((~pool.test).sum())
    with progress_bar(f"Replaying {name}") as progress:
        plan = ReplayPlan(POLICIES, min(most, size), batch, seeds)
        curves = replay_policies(data, plan, prior=taught(name, encoder), progress=progress)
    about = {"set": name, "pool": size, "encoder": encoder.digest, "batch": batch, "seeds": seeds}
    document = report(curves, about)
    write_json(FOLDER / f"policies_{name}.json", document)
    replay_figure(document, FOLDER / f"policies_{name}.png", title=f"Policies, {name}")
    return {policy: Curve(tuple(one.labels), np.array(one.measures["auc"])) for policy, one in curves.items()}


def rows_of(name: str, curves: dict[str, Curve]) -> list[Row]:
    """A row per policy, alone and with a prior, and one of ResNet18."""
    reached = {policy: labels_to_reach(curve) for policy, curve in curves.items()}
    rows: list[Row] = []
    for policy, curve in curves.items():
        row: Row = {"set": name, "policy": policy, "last": float(curve.mean[-1])}
        row |= {f"auc@{n}": float(np.interp(np.log(n), np.log(curve.sizes), curve.mean)) for n in (10, 20, 60, 200)}
        found = reached[policy]
        row["labels_to_.9"] = f"> {found.n_max}" if found.value is None else found.value
        at = labels_to_reach(curve, 0.95)
        row["labels_to_.95"] = f"> {at.n_max}" if at.value is None else at.value
        row["of random"] = label_efficiency(reached[RANDOM], found)
        row["of ResNet18"] = label_efficiency(reached[RESNET], found) if RESNET in reached else ""
        rows.append(row)
    return rows


def main() -> None:
    """Replay the sets asked for and print one table."""
    parser = argparse.ArgumentParser(description="Labels to macro AUC 0.9 by policy.")
    parser.add_argument("--sets", default=",".join([SIMULATED, *REAL]))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--most", type=int, default=1000, help="labels")
    parser.add_argument("--resnet-draws", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    rows = []
    for name in asked.sets.split(","):
        read = read_pool(name)
        if read is None:
            continue
        pool, encoder = read
        matrix = features(encoder, pool.images, CHUNK)
        curves = replayed(name, pool, matrix, encoder, asked.seeds, asked.batch, asked.most)
        if asked.resnet_draws:
            curves[RESNET] = measure(pool, matrix, 1, asked.resnet_draws)["ResNet18 from scratch"]
        rows.extend(rows_of(name, curves))
    save("policies", rows)


if __name__ == "__main__":
    main()
