"""Claim: without any label, odd galaxies are more often among the most unusual one in a hundred than by chance.

Real: mergers among the galaxies of `gz1-sdss`, and the perturbed and ringed ones of `efigi` thinned to one in fifty,
each thinning by another seed. Simulated, where a pool is asked for: lenses, rings and mergers, one in a hundred among
look-alikes. Against ours, on the same features in the same run: an isolation forest, and Astronomaly's rule (Lochner &
Bassett 2021) after ten rounds of twenty answers, which ours does not need. Features are kept in
build/benchmarks/unusual: a killed run goes on where it was.

    python -m benchmarks.bench_unusual [--seeds 5] [--views 1] [--pool 4000] [--simulated-only]
        [--encoder models/lvm-nano-2]
"""

import argparse
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score

from benchmarks.bench_find_any_type import BATCH, ROUNDS, astronomalous, simulated
from benchmarks.report import FOLDER, Row, asked_encoder, save
from lvm_training.evaluation.real_sets import read_set
from lvm_training.index.outliers import Outliers
from lvm_training.lenses.lookalikes import LENS
from lvm_training.model.encoder import Encoder
from lvm_training.paths import RELEASED_LVM

KEPT = FOLDER / "unusual"
TARGETS = (("gz1-sdss", "merger"), ("efigi", "perturbation"), ("efigi", "ring"))
TOP = 0.01
RARE = 0.02  # of a thinned set
CHUNK = 128

Matrix = NDArray[np.float32]
Yes = NDArray[np.bool_]


def real(name: str, task: str, encoder: Encoder, root: Path) -> tuple[Matrix, Yes]:
    """Features of the pictures of a set that have a label, and which are odd."""
    found = read_set(root / name, encoder.rendering)
    if found is None:
        raise SystemExit(f"There are no pictures in {root / name}: set GALAXYLOOP_REAL_DATA.")
    path = KEPT / f"{name}-{encoder.digest}.npy"
    if not path.is_file():
        KEPT.mkdir(parents=True, exist_ok=True)
        np.save(path, np.concatenate([encoder.features(p.float() / 255).numpy() for p in found.pictures.split(CHUNK)]))
    known = found.labels[task] != ""
    return np.load(path, allow_pickle=False)[known], found.labels[task][known] == "1"


def thinned(features: Matrix, odd: Yes, seed: int) -> tuple[Matrix, Yes]:
    """With at most one odd galaxy in fifty."""
    most = round(RARE * int((~odd).sum()))
    kept = np.random.default_rng(seed).permutation(np.flatnonzero(odd))[:most]
    rows = np.sort(np.concatenate([np.flatnonzero(~odd), kept]))
    return features[rows], odd[rows]


def by_astronomaly(features: Matrix, odd: Yes, seed: int) -> NDArray[np.float64]:
    """Scores of its rule after ten rounds of answers, the first by the forest alone; answered ones keep a place."""
    judged = astronomalous(features)
    rows: NDArray[np.int64] = np.argsort(-_forest(features, 0), kind="stable")[:BATCH]
    for number in range(ROUNDS - 1):
        _, worth = judged(features, rows, odd[rows], 100 * seed + number)
        worth = worth.copy()
        worth[rows] = -np.inf
        rows = np.concatenate([rows, np.argsort(-worth, kind="stable")[:BATCH]])
    return judged(features, rows, odd[rows], seed)[0]


def _forest(features: Matrix, seed: int) -> NDArray[np.float64]:
    return np.asarray(-IsolationForest(n_estimators=200, random_state=seed).fit(features).score_samples(features))


def measured(scores: NDArray[np.float64], odd: Yes) -> dict[str, float]:
    """Share of the odd ones in the first hundredth, how many of it are odd, and the AUC."""
    first = np.argsort(-scores, kind="stable")[: max(1, round(TOP * len(scores)))]
    auc = float(roc_auc_score(odd, scores))
    return {"recall@1%": odd[first].sum() / odd.sum(), "precision@1%": float(odd[first].mean()), "auc": auc}


def main() -> None:
    """Rank each pool by each score, and print means over seeds."""
    parser = argparse.ArgumentParser(description="Odd galaxies in the first hundredth.")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--views", type=int, default=1)
    parser.add_argument("--pool", type=int, default=0, help="simulated look-alikes; none by default")
    parser.add_argument("--simulated-only", action="store_true", help="no real galaxies")
    parser.add_argument("--encoder", type=asked_encoder, default=RELEASED_LVM)
    asked = parser.parse_args()
    encoder = Encoder.load(asked.encoder, asked.views)
    root = Path(os.environ.get("GALAXYLOOP_REAL_DATA", "../shared/data"))
    targets = () if asked.simulated_only else TARGETS
    pools = {f"{name} {task}": real(name, task, encoder, root) for name, task in targets}
    if asked.pool:
        pools |= {f"simulated {kind}": simulated(kind, asked.pool, encoder) for kind in (LENS, "ring", "merger")}
    rows: list[Row] = []
    for name, (whole, wanted) in pools.items():
        found: dict[str, list[dict[str, float]]] = {}
        for seed in range(asked.seeds):
            features, odd = thinned(whole, wanted, seed)
            scores = {
                "ours, no label": Outliers.fit(features, seed=seed).scores(features),
                "isolation forest, no label": _forest(features, seed),
                "Astronomaly's rule, 200 labels": by_astronomaly(features, odd, seed),
            }
            for method, given in scores.items():
                found.setdefault(method, []).append(measured(given, odd))
        for method, each in found.items():
            means = {one: float(np.mean([values[one] for values in each])) for one in each[0]}
            spread = float(np.std([values["recall@1%"] for values in each], ddof=min(1, len(each) - 1)))
            rows.append(
                {"pool": name, "galaxies": len(odd), "odd": int(odd.sum()), "method": method, **means, "spread": spread}
            )
    save("unusual", rows)


if __name__ == "__main__":
    main()
