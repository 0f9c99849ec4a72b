"""Claim: 95 % intervals of class fractions hold, and are narrower than those of the audit slice alone.

Simulated surveys of known fractions: galaxies of five classes, from half of the pool to one in a hundred, as clusters
of features that overlap more or less. A campaign labels what the margin policy prefers, and an audit slice at random;
its head learns from the former. Naive is the share of each class among all labels, with the interval of as many random
draws. Coverage is over campaigns and classes, and that of the worst class beside it; width is the mean one.

Second, how often the true probability of a galaxy lies within 1.96 of the standard errors that a catalogue gives it,
and as much for bootstrapped heads: weights and labels drawn from a multinomial logistic model.

    python -m benchmarks.bench_summary [--campaigns 200] [--seed 0]
"""

import argparse

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from backend_ml.acquisition.ensemble import classification_ensemble
from backend_ml.acquisition.uncertainty import margin
from backend_ml.catalogue.fractions import Fractions, assisted, sampled
from benchmarks.report import Row, save
from lvm_training.heads.classification import ClassificationHead
from lvm_training.heads.posterior import HeadPosterior
from lvm_training.progress import Progress, progress_bar

Array = NDArray[np.float64]

CLASSES = tuple("abcde")
TRUE = np.array([0.5, 0.3, 0.15, 0.04, 0.01])
POOL, WIDTH, LABELS, ROUNDS = 5000, 16, 200, 2
AUDITS = (30, 100, 300)
APART = {"hard": 1.2, "easy": 3.0}  # standard deviations between the centres of two classes


def survey(rng: np.random.Generator, apart: float) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Features and classes of a pool."""
    codes = rng.choice(len(TRUE), size=POOL, p=TRUE)
    centres = np.eye(len(TRUE), WIDTH) * apart / np.sqrt(2)
    return (centres[codes] + rng.normal(size=(POOL, WIDTH))).astype(np.float32), codes


def campaign(rng: np.random.Generator, features: NDArray[np.float32], codes: NDArray[np.int64], free: Array) -> Array:
    """What is labelled of the galaxies that are free, by margin in rounds; the answers of the last head to all."""
    chosen = list(rng.choice(free, LABELS // ROUNDS, replace=False))
    while True:
        names = [CLASSES[code] for code in codes[chosen]]
        head = ClassificationHead.fit(features[chosen], names, seed=0, classes=CLASSES)
        answers = head.predict(features)
        if len(chosen) >= LABELS:
            return np.column_stack([answers, np.isin(np.arange(POOL), chosen)])
        left = np.setdiff1d(free, chosen)
        order = np.argsort(-margin(answers[left]), kind="stable")
        chosen += left[order[: LABELS // ROUNDS]].tolist()


def measured(campaigns: int, seed: int, name: str, progress: Progress) -> list[Row]:
    """A row for each size of the audit slice and each way to estimate."""
    found: dict[tuple[int, str], list[tuple[Array, Fractions]]] = {}
    for number in range(campaigns):
        rng = np.random.default_rng((seed, number, len(name)))
        features, codes = survey(rng, APART[name])
        order, truth = rng.permutation(POOL), np.eye(len(TRUE))[codes]
        told = campaign(rng, features, codes, order[max(AUDITS) :])
        answers, chosen = told[:, :-1], np.flatnonzero(told[:, -1])
        for audit in AUDITS:
            blind = order[:audit]
            for way, estimate in (
                ("naive", sampled(truth[np.concatenate([chosen, blind])], POOL)),
                ("audit slice", sampled(truth[blind], POOL)),
                ("assisted", assisted(truth[blind], answers[blind], answers.mean(axis=0), POOL)),
            ):
                found.setdefault((audit, way), []).append((truth.mean(axis=0), estimate))
        progress(number + 1, campaigns)
    return [
        {"survey": name, "audit labels": audit, "estimate": way, **judged(pairs)}
        for (audit, way), pairs in sorted(found.items(), key=lambda item: item[0][0])
    ]


def judged(pairs: list[tuple[Array, Fractions]]) -> Row:
    """Coverage, width and error of estimates."""
    covered = np.array([(one.low <= truth) & (truth <= one.high) for truth, one in pairs])
    widths = np.array([one.high - one.low for _, one in pairs])
    errors = np.array([one.value - truth for truth, one in pairs])
    return {
        "coverage": float(covered.mean()),
        "worst class": float(covered.mean(axis=0).min()),
        "width": float(widths.mean()),
        "rms error": float(np.sqrt((errors**2).mean())),
        "bias": float(np.abs(errors.mean(axis=0)).max()),
    }


def probability_errors(seed: int, draws: int = 6) -> list[Row]:
    """Coverage of the errors of probabilities, by the number of labels."""
    rows: list[Row] = []
    for width in (32, 200):
        for count in (40, 150, 600):
            laplace, bagged = [], []
            for draw in range(draws):
                rng = np.random.default_rng((seed, width, count, draw))
                features = rng.normal(size=(count + 2000, width)).astype(np.float32)
                truth = softmax(features @ (rng.normal(size=(width, 5)) * np.sqrt(0.03)), axis=1)
                labels = [CLASSES[rng.choice(5, p=p)] for p in truth[:count]]
                head = ClassificationHead.fit(features[:count], labels, seed=0, classes=CLASSES)
                answers, pool = head.predict(features[count:]), features[count:]
                known = HeadPosterior.of(head, features[:count], labels, seed=0)
                assert known is not None
                posterior = known.predict(pool)
                heads = classification_ensemble(features[:count], labels, pool, classes=CLASSES, seed=0)
                for kept, drawn in ((laplace, posterior), (bagged, heads)):
                    error = np.sqrt(((drawn - answers) ** 2).mean(axis=0))
                    kept.append(float((np.abs(truth[count:] - answers) < 1.96 * error).mean()))
            rows.append(
                {"features": width, "labels": count, "Laplace": np.mean(laplace), "bootstrap": np.mean(bagged)}  # type: ignore[dict-item]
            )
    return rows


def main() -> None:
    """Simulate and print two tables."""
    parser = argparse.ArgumentParser(description="Coverage of class fractions and of errors of probabilities.")
    parser.add_argument("--campaigns", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    rows = list[Row]()
    for name in APART:
        with progress_bar(f"Simulating {name} surveys") as progress:
            rows += measured(asked.campaigns, asked.seed, name, progress)
    save("summary", rows)
    save("probability_errors", probability_errors(asked.seed))


if __name__ == "__main__":
    main()
