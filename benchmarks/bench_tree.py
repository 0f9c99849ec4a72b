"""A head of votes: which questions of Galaxy Zoo's tree it answers as people do, how far its fractions are off.

Simulated votes: stamps whose structure is known, volunteers who see it with doubts (`seen`; the fractions of each
galaxy are drawn about what it suggests, so that galaxies alike are not voted alike, and nobody can do better than "the
structure itself"), 500 stamps held out by `--seeds` draws.
Real votes: the fractions of GZ DECaLS that are published with the 156 pictures of `rings-decals`, five folds; their
numbers of votes are not, so 40 are assumed. Anchors: the fractions of all votes together, and a multinomial logistic
regression of each question's most common answer, its probabilities taken for fractions.

    python -m benchmarks.bench_tree [--stamps build/stamps/morphology.h5] [--encoder models/lvm-nano-2] [--seeds 3]
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit, softmax

from benchmarks.report import FOLDER, Row, asked_encoder, save
from lvm_training.errors import LabelError
from lvm_training.evaluation.real_lenses import real_data
from lvm_training.evaluation.real_sets import read_set
from lvm_training.galaxy_zoo.trees import TREES, Question
from lvm_training.galaxy_zoo.vote_tree import VoteTree
from lvm_training.heads.classification import ClassificationHead
from lvm_training.heads.dirichlet import DirichletHead, errors, expected
from lvm_training.model.encoder import Encoder
from lvm_training.paths import RELEASED_LVM, STAMP_FILE
from lvm_training.pool.embedding import embed_set, features_path
from lvm_training.pool.features import Features
from lvm_training.progress import progress_bar
from lvm_training.stamps.stampset import StampSet
from lvm_training.tables.reading import read_table
from lvm_training.timed.judging import features

Floats = NDArray[np.float64]
Matrix = NDArray[np.float32]

TREE = VoteTree(TREES["GZ DECaLS"])
SIZES, VOTERS = (100, 300, 1000), (5, 40)
TEST = 500
AGREED = 12.0  # sum of the concentrations about what a structure suggests
REACHED = 0.5  # share of people that come to a question, from which on its answer counts
THREE = VoteTree(
    [
        Question("smooth-or-featured", ("featured-or-disk", "other")),
        Question("disk-edge-on", ("no", "yes"), ("smooth-or-featured_featured-or-disk",)),
        Question("has-spiral-arms", ("no", "yes"), ("disk-edge-on_no",)),
    ]
)
ASSUMED = 40  # votes a galaxy, as in GZ DECaLS


def seen(columns: dict[str, Floats]) -> Floats:
    """Fractions (N, A) that structures suggest: soft thresholds on what was drawn."""
    q, bulge, bar = (columns[name] for name in ("axis_ratio", "bulge_fraction", "bar_fraction"))
    arms = columns["arm_contrast"] * (columns["young_fraction"] > 0)
    edge_on, bulged = expit((0.28 - q) / 0.05), expit((bulge - 0.12) / 0.05)
    disc = np.clip(0.1 + 0.85 * ((columns["disc_scale"] > 0) | (arms > 0)) * np.maximum(edge_on, arms + 0.35), 0, 0.95)
    near = {
        "smooth-or-featured": np.stack([0.97 - disc, disc, np.full(len(q), 0.03)], axis=1),
        "how-rounded": softmax(-((q[:, None] - [0.92, 0.62, 0.3]) ** 2) / 0.02, axis=1),
        "disk-edge-on": np.stack([edge_on, 1 - edge_on], axis=1),
        "edge-on-bulge": np.stack([bulged, np.full(len(q), 0.1), 1 - bulged], axis=1),
        "has-spiral-arms": np.stack([expit((arms - 0.3) / 0.1), expit((0.3 - arms) / 0.1)], axis=1),
        "spiral-winding": softmax(-((columns["arm_pitch"][:, None] - [10, 20, 32]) ** 2) / 60, axis=1),
        "spiral-arm-count": np.stack(
            [*(0.05 + 0.6 * (columns["arm_count"] == n) for n in range(1, 5)), 0.05 + 0.6 * (columns["arm_count"] > 4),
             np.full(len(q), 0.25)], axis=1
        ),
        "bar": np.stack([expit((bar - 0.12) / 0.03), expit((bar - 0.03) / 0.02) * expit((0.12 - bar) / 0.03),
                         expit((0.03 - bar) / 0.02)], axis=1),
        "bulge-size": softmax(-((bulge[:, None] - [0, 0.1, 0.25, 0.45, 0.7]) ** 2) / 0.02, axis=1),
        "merging": np.tile([0.86, 0.08, 0.03, 0.03], (len(q), 1)),
    }  # fmt: skip
    stacked = np.concatenate([near[question.name] for question in TREE.questions], axis=1) + 0.01
    return expected(stacked, TREE)


def drawn(alpha: Floats, rng: np.random.Generator) -> Floats:
    """Fractions drawn from a Dirichlet of each question."""
    return expected(rng.gamma(alpha) + 1e-12, TREE)


def cast(fractions: Floats, voters: int, rng: np.random.Generator) -> Floats:
    """Votes (N, A) of so many people a galaxy."""
    counts = np.zeros(fractions.shape)
    for question, columns in zip(TREE.questions, TREE.slices, strict=True):
        led = [TREE.keys.index(key) for key in question.after]
        asked = counts[:, led].sum(axis=1).astype(int) if led else np.full(len(counts), voters)
        shares = fractions[:, columns] / fractions[:, columns].sum(axis=1, keepdims=True)
        counts[:, columns] = rng.multinomial(asked, shares)
    return counts


def by_class(tree: VoteTree, inputs: Matrix, counts: Floats, asked: Matrix, seed: int) -> Floats:
    """Fractions (M, A) as probabilities of the most common answer, a regression for each question."""
    found = np.empty((len(asked), len(tree.keys)))
    for question, columns in zip(tree.questions, tree.slices, strict=True):
        votes = counts[:, columns]
        rows = np.flatnonzero(votes.sum(axis=1) > 0)
        labels = [question.answers[place] for place in votes[rows].argmax(axis=1)]
        try:
            head = ClassificationHead.fit(inputs[rows], labels, seed=seed, classes=question.answers)
            found[:, columns] = head.predict(asked)
        except LabelError:  # one class alone
            found[:, columns] = (votes.sum(axis=0) + 1) / (votes.sum() + len(question.answers))
    return found


def compared(
    tree: VoteTree, inputs: Matrix, counts: Floats, asked: Matrix, seed: int
) -> tuple[dict[str, Floats], Floats, float]:
    """Fractions (M, A) by method, errors (M, A) of the head's, and the seconds of processor that it took to fit."""
    start = time.process_time()
    head = DirichletHead.fit(inputs, counts, tree, seed=seed)
    seconds = time.process_time() - start
    total = counts.sum(axis=0)[None] + 1e-9
    found = {
        "head of votes": head.predict(asked),
        "regression by class": by_class(tree, inputs, counts, asked, seed),
        "all votes together": np.tile(expected(total, tree), (len(asked), 1)),
    }
    return found, errors(head.concentrations(asked), tree), seconds


def judged(found: Floats, truth: Floats, reached: Floats) -> dict[str, tuple[float, float]]:
    """Accuracy of the most common answer, where half of the people come, and mean absolute error, by question."""
    result = {}
    for place, (question, columns) in enumerate(zip(TREE.questions, TREE.slices, strict=True)):
        came = reached[:, place] >= REACHED
        right = found[came, columns].argmax(axis=1) == truth[came, columns].argmax(axis=1)
        off = np.abs(found[came, columns] - truth[came, columns])
        result[question.name] = (float(right.mean()), float(off.mean())) if came.any() else (np.nan, np.nan)
    return result


def simulated(stamps: Path, encoder: Encoder, seeds: int) -> tuple[list[Row], list[Row]]:
    """Means over draws: for numbers of galaxies and voters, and by question for the most of both."""
    with StampSet(stamps) as opened:
        names = ("axis_ratio", "bulge_fraction", "bar_fraction", "arm_contrast", "young_fraction", "disc_scale",
                 "arm_pitch", "arm_count")  # fmt: skip
        columns = {name: np.asarray(opened.column(name), dtype=np.float64) for name in names}
        with progress_bar(f"Embedding {opened.name}") as progress:
            embed_set(opened, encoder, FOLDER / "features", progress=progress)
        matrix = Features.open(features_path(opened, encoder, FOLDER / "features")).rows(np.arange(len(opened)))
    rows, by_question = list[Row](), list[Row]()
    for voters in VOTERS:
        for size in SIZES:
            draws: dict[str, list[dict[str, tuple[float, float]]]] = {}
            seconds, covered = list[float](), list[float]()
            for seed in range(seeds):
                rng = np.random.default_rng(seed)
                order = rng.permutation(len(matrix))
                fractions = drawn(AGREED * seen(columns), rng)
                votes = cast(fractions, voters, rng)
                kept, held = order[TEST : TEST + size], order[:TEST]
                found, errs, took = compared(TREE, matrix[kept], votes[kept], matrix[held], seed)
                found["the structure itself"] = seen(columns)[held]
                reached = TREE.reached(fractions[held])
                for method, one in found.items():
                    draws.setdefault(method, []).append(judged(one, fractions[held], reached))
                came = np.repeat(reached >= REACHED, [len(one.answers) for one in TREE.questions], axis=1)
                covered.append(float((np.abs(found["head of votes"] - fractions[held]) < errs)[came].mean()))
                seconds.append(took)
            for method, results in draws.items():
                figures = np.nanmean([[one[question.name] for question in TREE.questions] for one in results], axis=0)
                row: Row = {"galaxies": size, "voters": voters, "method": method}
                row |= {"accuracy": float(np.nanmean(figures[:, 0])), "MAE": float(np.nanmean(figures[:, 1]))}
                if method == "head of votes":
                    row |= {"within one error": float(np.mean(covered)), "fit CPU s": float(np.mean(seconds))}
                rows.append(row)
                if (size, voters) == (SIZES[-1], VOTERS[-1]):
                    by_question += [
                        {"question": question.name, "method": method, "accuracy": float(acc), "MAE": float(off)}
                        for question, (acc, off) in zip(TREE.questions, figures, strict=True)
                    ]
    return rows, by_question


def real(folder: Path, catalogue: Path, encoder: Encoder) -> list[Row]:
    """Mean absolute error of the three published fractions, five folds."""
    pictures = read_set(folder, encoder.rendering)
    if pictures is None:
        return []
    table = read_table(catalogue)
    place = {Path(name).name: row for row, name in enumerate(table.columns["file_loc"].texts())}
    chosen = np.array([place[Path(name).name] for name in pictures.files])
    columns = ["smooth-or-featured_featured-or-disk", "disk-edge-on_no", "has-spiral-arms_no"]
    truth = np.stack([table.columns[f"{name}_fraction"].values[chosen].astype(np.float64) for name in columns], axis=1)
    inputs = features(encoder, pictures.pictures, 64)
    counts = np.zeros((len(truth), len(THREE.keys)))
    asked = np.full(len(truth), float(ASSUMED))
    for number, columns_of in enumerate(THREE.slices):
        counts[:, columns_of.start] = np.round(asked * truth[:, number])
        counts[:, columns_of.start + 1] = asked - counts[:, columns_of.start]
        asked = counts[:, columns_of.start] if number < 2 else asked
    fold = np.random.default_rng(0).permutation(len(truth)) % 5
    off: dict[str, list[Floats]] = {}
    for one in range(5):
        found, _, _ = compared(THREE, inputs[fold != one], counts[fold != one], inputs[fold == one], 0)
        for method, fractions in found.items():
            off.setdefault(method, []).append(np.abs(fractions[:, [0, 2, 4]] - truth[fold == one]))
    means = {method: np.concatenate(parts).mean(axis=0) for method, parts in off.items()}
    return [
        {"method": method, **dict(zip(columns, mean.tolist(), strict=True)), "mean": float(mean.mean())}
        for method, mean in means.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stamps", type=Path, default=STAMP_FILE)
    parser.add_argument("--encoder", type=asked_encoder, default=RELEASED_LVM)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    encoder = Encoder.load(options.encoder)
    root = real_data()
    if root is not None and (root / "rings-decals").is_dir():
        catalogue = root / "catalogues" / "gz_decals_votes_sample.csv"
        save("tree_real", real(root / "rings-decals", catalogue, encoder))
    rows, by_question = simulated(options.stamps, encoder, options.seeds)
    save("tree", rows)
    save("tree_by_question", by_question)


if __name__ == "__main__":
    main()
