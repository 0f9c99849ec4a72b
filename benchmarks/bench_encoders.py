"""Claim: from a few hundred labels on, an encoder trained on them is ahead of a frozen one and of a ResNet18.

Real pictures of `morphology5` below GALAXYLOOP_REAL_DATA, the released encoder, test half by hash; macro AUC, accuracy
and log loss of what a campaign answers with frozen features, with features of an encoder trained on the labels, with
the mean of both, and with a ResNet18 trained whole. The head on trained features once with the fixed penalty that
campaigns use, once with the one that cross-validation on the same labels chooses. Answers are the mean over eight
views. Each training takes two to five minutes of a core with AMX; they are printed as they end.

    python -m benchmarks.bench_encoders [--draws 2] [--sizes 300,500] [--without-resnet]
"""

import argparse
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.bench_label_efficiency import CHUNK, Pool, read_pool
from benchmarks.report import Row, save
from lvm_training.evaluation.metrics import classification_metrics
from lvm_training.heads.classification import ClassificationHead
from lvm_training.model.encoder import Encoder
from lvm_training.supervised.encoder_training import train_encoder
from lvm_training.supervised.training import fit_resnet18
from lvm_training.timed.judging import features

SET = "morphology5"
MEASURES = ("auc", "accuracy", "log_loss")
Answers = dict[str, NDArray[np.float64]]
Rows = NDArray[np.int64]


def lvm_answers(encoder: Encoder, pool: Pool, known: Rows, asked: Rows, seed: int) -> Answers:
    """Probabilities of the pictures asked for, by an encoder that is frozen or trained on the known ones."""
    labels, classes = [pool.labels[row] for row in known], sorted(set(pool.labels))
    with TemporaryDirectory() as folder:
        trained = train_encoder(encoder, pool.images[known], labels, classes, Path(folder), seed=seed)
    frozen, learned = ([features(by, pool.images[rows], CHUNK) for rows in (known, asked)] for by in (encoder, trained))
    answers = {
        name: fit(mine, labels, seed=seed, classes=classes).predict(theirs)
        for name, (mine, theirs), fit in (
            ("frozen", frozen, ClassificationHead.fit),
            ("trained", learned, ClassificationHead.fit_seen),
            ("trained, penalty by cross-validation", learned, ClassificationHead.fit),
        )
    }
    return answers | {"mean of frozen and trained": (answers["frozen"] + answers["trained"]) / 2}


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description="Encoders trained on a few hundred labels.")
    parser.add_argument("--draws", type=int, default=2)
    parser.add_argument("--sizes", default="300,500")
    parser.add_argument("--without-resnet", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    read = read_pool(SET)
    if read is None:
        return
    pool, encoder = read
    classes, train, test = sorted(set(pool.labels)), np.flatnonzero(~pool.test), np.flatnonzero(pool.test)
    truth = [pool.labels[row] for row in test]
    rows: list[Row] = []
    for size in map(int, asked.sizes.split(",")):
        for draw in range(asked.draws):
            known = np.random.default_rng((0, draw)).permutation(train)[:size]
            answers = lvm_answers(encoder, pool, known, test, draw)
            if not asked.without_resnet:
                resnet = fit_resnet18(pool.images[known], [pool.labels[row] for row in known], classes, seed=draw)
                answers["ResNet18"] = resnet.predict(pool.images[test])
            for name, found in answers.items():
                figures = classification_metrics(truth, found, classes)
                shown = {measure: figures[measure] for measure in MEASURES}
                rows.append({"labels": size, "draw": draw, "model": name, **shown})
            print(*rows[-len(answers) :], sep="\n", flush=True)
    save("encoders", rows)


if __name__ == "__main__":
    main()
