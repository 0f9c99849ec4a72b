"""Claim: any type of galaxy is found within ten rounds of yes and no from three examples (Fu et al. 2024).

Pools of simulated stamps with one in a hundred of the type looked for (strong lenses, rings, mergers) among look-alikes
of all other kinds, and the real galaxies of `gz2-sdss` thinned to one in a hundred. Ten rounds of twenty answers; then
the whole pool is ranked as a person has it: what was said yes to, then what nobody labelled by its score, then what was
said no to. The hundred best of those that nobody labelled are told apart. Anchors in the same run,
on the same features and starts: similarity to the examples alone, random answers under the same head, and Astronomaly's
rule (Lochner & Bassett 2021: isolation forest, and a random forest of what people scored). Features are kept in
build/benchmarks/find, a thousand at a time: a killed run goes on where it was.

    python -m benchmarks.bench_find_any_type [--pool 20000] [--types lens,ring,merger,gz2] [--seeds 5] [--views 8]
"""

import argparse
import csv
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.ensemble import IsolationForest, RandomForestRegressor

from backend_ml.acquisition.interest import astronomaly
from backend_ml.acquisition.measures import Candidates
from backend_ml.acquisition.policy import judge
from backend_ml.replay.measures import search_measures
from benchmarks.report import FOLDER, Row, save
from lvm_training.heads.preference import NO, YES, PreferenceHead
from lvm_training.importing.importer import import_stamps
from lvm_training.lenses.lens_sets import population_of
from lvm_training.lenses.lens_stamps import LensPopulation, draw_lens_stamps
from lvm_training.lenses.lookalikes import LENS, LOOK_ALIKES
from lvm_training.model.encoder import Encoder
from lvm_training.params import load_params
from lvm_training.paths import RELEASED_LVM
from lvm_training.stamps.render import render, render_set
from lvm_training.stamps.stampset import StampSet

KEPT = FOLDER / "find"
PART = 1000
SIZE, FIELD = 96, 96 * 0.262  # pixels, arcsec: what the encoder's pictures show, in the Legacy Surveys' pixels
EXAMPLES, ROUNDS, BATCH = 3, 10, 20
PREVALENCE = 0.01
GZ2 = "gz2"

Matrix = NDArray[np.float32]
Rows = NDArray[np.int64]
Yes = NDArray[np.bool_]
Scores = NDArray[np.float64]
Method = Callable[[Matrix, Rows, Yes, int], tuple[Scores, Scores]]
"""From features, labelled rows, whether each is a yes, and a seed: scores that rank the pool, and worths of labels."""


def kept_features(name: str, parts: Iterator[torch.Tensor], count: int, encoder: Encoder) -> Matrix:
    """Features of pictures in `count` parts, read where they are known; parts must be the same in every run."""
    KEPT.mkdir(parents=True, exist_ok=True)
    found = []
    for number in range(count):
        path = KEPT / f"{name}-{encoder.digest}-{number}.npy"
        pictures = next(parts)
        if not path.is_file():
            values = torch.cat([encoder.features(part) for part in torch.split(pictures, 250)]).numpy()
            part_path = path.with_suffix(".part.npy")
            np.save(part_path, values)
            part_path.replace(path)
        found.append(np.load(path, allow_pickle=False))
    return np.concatenate(found)


def drawn(population: LensPopulation, size: int, encoder: Encoder, name: str) -> Matrix:
    """Features of `size` stamps of a population."""
    sizes = [min(PART, size - start) for start in range(0, size, PART)]

    def pictures() -> Iterator[torch.Tensor]:
        for number, count in enumerate(sizes):
            if (KEPT / f"{name}-{encoder.digest}-{number}.npy").is_file():
                yield torch.empty(0)
                continue
            stamps = draw_lens_stamps(
                count, np.random.default_rng((20240517, number)), population, size=SIZE, field=FIELD
            )
            yield render(stamps.bands, encoder.rendering, kind="nanomaggies", origin="upper")

    return kept_features(name, pictures(), len(sizes), encoder)


def simulated(kind: str, pool: int, encoder: Encoder) -> tuple[Matrix, Yes]:
    """Features of a pool, and which are of the kind."""
    population = population_of(load_params(profile="nano").lenses)
    wanted = round(PREVALENCE * pool)
    others = tuple(
        0.0 if name == kind else share for name, share in zip(LOOK_ALIKES, population.look_alikes, strict=True)
    )
    if kind == LENS:
        liked = replace(population, lens_share=1.0)
    else:
        liked = replace(population, lens_share=0.0, look_alikes=tuple(float(name == kind) for name in LOOK_ALIKES))
    rest = replace(population, lens_share=0.0, look_alikes=tuple(share / sum(others) for share in others))
    parts = [
        drawn(liked, wanted, encoder, f"{kind}-{wanted}"),
        drawn(rest, pool - wanted, encoder, f"not-{kind}-{pool}"),
    ]
    return np.concatenate(parts), np.arange(pool) < wanted


def galaxy_zoo(encoder: Encoder, root: Path) -> tuple[Matrix, Yes]:
    """Features of the labelled galaxies of `gz2-sdss`, the odd ones thinned to one in a hundred."""
    folder = root / "gz2-sdss"
    with (folder / "labels.csv").open() as file:
        wanted = {row["file"]: row["odd_spiral"] for row in csv.DictReader(file) if row["odd_spiral"]}
    with TemporaryDirectory() as scratch:
        path = Path(scratch) / "gz2.h5"
        import_stamps(folder, path, pixel_scale=0.262)
        with StampSet(path) as stamps:
            files = [str(file) for file in stamps.column("file")]
            yes = np.array([wanted.get(file) == "1" for file in files])
            no = np.flatnonzero([wanted.get(file) == "0" for file in files])
            liked = np.random.default_rng(0).permutation(np.flatnonzero(yes))
            rows = np.sort(np.concatenate([no, liked[: round(PREVALENCE / (1 - PREVALENCE) * len(no))]]))
            pictures = (render_set(stamps, part, encoder.rendering) for part in np.array_split(rows, 4))
            return kept_features("gz2", pictures, 4, encoder), yes[rows]


def searching(policy: str) -> Method:
    """The search page's way: the preference head, and a policy."""

    def judged(features: Matrix, rows: Rows, yes: Yes, seed: int) -> tuple[Scores, Scores]:
        labels = [YES if one else NO for one in yes]
        background = np.delete(features, rows, axis=0)
        head = PreferenceHead.fit(features[rows], labels, seed=seed, background=background)
        answers = head.predict(features)
        candidates = Candidates(
            features, answers, positives=features[rows[yes]], negatives=features[rows[~yes]], wanted=1
        )
        return answers[:, 1], judge(policy, candidates, batch=BATCH + len(rows), seed=seed).worth

    return judged


def similar(features: Matrix, rows: Rows, yes: Yes, seed: int) -> tuple[Scores, Scores]:
    """Similarity to the examples and to what was liked, minus that to what was not."""
    candidates = Candidates(features, positives=features[rows[yes]], negatives=features[rows[~yes]])
    worth = judge("similarity", candidates, batch=BATCH, seed=seed).worth
    return worth, worth


def astronomalous(features: Matrix) -> Method:
    """Astronomaly: an isolation forest's score, scaled by what a random forest says that people would score."""
    forest = -IsolationForest(random_state=0).fit(features).score_samples(features)
    anomaly = 5 * (forest - forest.min()) / np.ptp(forest)
    squares = (features.astype(np.float64) ** 2).sum(axis=1)

    def judged(features: Matrix, rows: Rows, yes: Yes, seed: int) -> tuple[Scores, Scores]:
        scores = RandomForestRegressor(100, random_state=seed).fit(features[rows], 5.0 * yes).predict(features)
        products = features @ features[rows].T
        distance = np.sqrt(np.maximum(squares[:, None] + squares[rows] - 2 * products, 0)).min(axis=1)
        worth = astronomaly(anomaly, scores, distance)
        return worth, worth

    return judged


def methods(features: Matrix) -> dict[str, Method]:
    """What is compared, by name."""
    return {
        "loop": searching("loop"),
        "most likely": searching("most-likely"),
        "similarity alone": similar,
        "random": searching("random"),
        "Astronomaly": astronomalous(features),
    }


def search(features: Matrix, wanted: Yes, method: Method, seed: int) -> dict[str, float]:
    """What ten rounds from three examples find."""
    rng = np.random.default_rng(seed)
    rows = rng.permutation(np.flatnonzero(wanted))[:EXAMPLES]
    for number in range(ROUNDS):
        _, worth = method(features, rows, wanted[rows], 100 * seed + number)
        worth = worth.copy()
        worth[rows] = -np.inf
        rows = np.concatenate([rows, np.argsort(-worth, kind="stable")[:BATCH]])
    scores, _ = method(features, rows, wanted[rows], 100 * seed + ROUNDS)
    ranked = scores.copy()
    ranked[rows] = np.where(wanted[rows], np.inf, -np.inf)
    measures = search_measures(ranked, wanted)
    fresh = np.setdiff1d(np.argsort(-scores, kind="stable"), rows, assume_unique=True)[:100]
    return {
        "p@100": measures["precision_at_100"],
        "p@100_unlabelled": float(wanted[fresh].mean()),
        "r_precision": measures["r_precision"],
        "recall@100": measures["recall_at_100"],
        "found": float(wanted[rows].sum()),
    }


def main() -> None:
    """Search every type with every method, and print means over seeds."""
    parser = argparse.ArgumentParser(description="Ten rounds from three examples.")
    parser.add_argument("--pool", type=int, default=20_000)
    parser.add_argument("--types", default=f"{LENS},ring,merger,{GZ2}")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--views", type=int, default=8)
    asked = parser.parse_args()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    encoder = Encoder.load(RELEASED_LVM, asked.views)
    root = Path(os.environ.get("GALAXYLOOP_REAL_DATA", "../shared/data"))
    rows: list[Row] = []
    for kind in asked.types.split(","):
        features, wanted = galaxy_zoo(encoder, root) if kind == GZ2 else simulated(kind, asked.pool, encoder)
        for name, method in methods(features).items():
            searches = [search(features, wanted, method, seed) for seed in range(asked.seeds)]
            means = {measure: float(np.mean([one[measure] for one in searches])) for measure in searches[0]}
            spread = float(np.std([one["p@100"] for one in searches], ddof=min(1, asked.seeds - 1)))
            rows.append({"type": kind, "pool": len(wanted), "wanted": int(wanted.sum()), "method": name, **means})
            rows[-1]["spread"] = spread
    save("find_any_type", rows)


if __name__ == "__main__":
    main()
