"""Claim: any type of galaxy is found within ten rounds of yes and no from three examples (Fu et al. 2024), or none.

Pools of simulated stamps with one in a hundred of the type looked for (strong lenses, rings, mergers) among look-alikes
of all other kinds, the real galaxies of `gz2-sdss` thinned to one in a hundred, and the mergers of `gz1-sdss` in a
pack, one in fifty. Ten rounds of twenty answers; then the whole pool is ranked as a person has it: what was said yes
to, then what nobody labelled by its score, then what was said no to. The hundred best of those that nobody labelled are
told apart. What begins with what the simulator draws is measured from three examples and from none. Anchors in the same
run, on the same features and starts: similarity to the examples alone, random answers under the same head, and
Astronomaly's rule (Lochner & Bassett 2021: isolation forest, and a random forest of what people scored). Features are
kept in build/benchmarks/find, five hundred at a time: a killed run goes on where it was.

    python -m benchmarks.bench_find_any_type [--pool 20000] [--types lens,ring,merger,gz2,gz1] [--seeds 5] [--views 8]
        [--encoder models/lvm-nano-2] [--pack real.npz] [--methods loop,simulated+loop]
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

from backend_ml.acquisition.interest import weighted
from backend_ml.acquisition.measures import Candidates
from backend_ml.acquisition.policy import judge
from backend_ml.replay.measures import search_measures
from benchmarks.bench_like_simulated import features_of
from benchmarks.report import FOLDER, Row, asked_encoder, save
from lvm_training.heads.classification import feature_scale
from lvm_training.heads.preference import NO, YES, PreferenceHead
from lvm_training.heads.prior import AlignedPrior
from lvm_training.importing.importer import import_stamps
from lvm_training.lenses.lens_sets import population_of
from lvm_training.lenses.lens_stamps import LensPopulation, draw_kinds, draw_lens_stamps
from lvm_training.lenses.lookalikes import LENS, Kinds
from lvm_training.model.encoder import Encoder
from lvm_training.params import load_params
from lvm_training.paths import RELEASED_LVM
from lvm_training.simulated.simulated_set import SimulatedSet, simulated_set
from lvm_training.simulated.wanted import wanted_prior
from lvm_training.stamps.render import render, render_set
from lvm_training.stamps.stampset import StampSet
from lvm_training.timed.pack import read_pack

KEPT = FOLDER / "find"
PART = 500
SIZE, FIELD = 96, 96 * 0.262  # pixels, arcsec: what the encoder's pictures show, in the Legacy Surveys' pixels
EXAMPLES, ROUNDS, BATCH = 3, 10, 20
PREVALENCE = 0.01
GZ2, GZ1 = "gz2", "gz1"
# not rings: galaxies of other kinds have some as well, which the pool does not call so
CONCEPT_OF = {LENS: "lens", "merger": "merger", GZ1: "merger"}
SIMULATED = "simulated+"  # before a policy: searches that begin with what the simulator draws
FEWEST = 3  # yeses, with fewer of which these show what is most like the simulated stamps

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


def drawn(population: LensPopulation, size: int, encoder: Encoder, name: str) -> tuple[Matrix, Kinds]:
    """Features of `size` stamps of a population, and what each shows."""
    sizes = [min(PART, size - start) for start in range(0, size, PART)]

    def seeded(number: int) -> np.random.Generator:
        return np.random.default_rng((20240517, number))

    def pictures() -> Iterator[torch.Tensor]:
        for number, count in enumerate(sizes):
            if (KEPT / f"{name}-{encoder.digest}-{number}.npy").is_file():
                yield torch.empty(0)
                continue
            stamps = draw_lens_stamps(count, seeded(number), population, size=SIZE, field=FIELD)
            yield render(stamps.bands, encoder.rendering, kind="nanomaggies", origin="upper")

    features = kept_features(name, pictures(), len(sizes), encoder)
    # kinds are what a part draws first
    return features, np.concatenate([draw_kinds(n, seeded(number), population) for number, n in enumerate(sizes)])


def simulated(kind: str, pool: int, encoder: Encoder) -> tuple[Matrix, Yes]:
    """Features of a pool of look-alikes, and which are of the kind: one in a hundred, all other kinds as they come."""
    population = population_of(load_params(profile="nano").lenses)
    features, kinds = drawn(replace(population, lens_share=0.0), pool, encoder, f"look-alikes-{pool}")
    others = features[kinds != kind]
    if kind == LENS:
        count = round(PREVALENCE * len(others))
        liked, _ = drawn(replace(population, lens_share=1.0), count, encoder, f"lenses-{count}")
    else:
        liked = features[kinds == kind][: round(PREVALENCE * len(others))]
    return np.concatenate([liked, others]), np.arange(len(liked) + len(others)) < len(liked)


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


def mergers(encoder: Encoder, path: Path) -> tuple[Matrix, Yes]:
    """Features of the galaxies of `gz1-sdss` in a pack, and which of them merge."""
    pack = read_pack(path, encoder.rendering.size)
    rows = np.flatnonzero(np.any([column != "" for column in pack.labels.values()], axis=0))
    labels = pack.labels["merger"][rows]
    return features_of(pack, rows, encoder)[labels != ""], labels[labels != ""] == "1"


def aligned(simulated: SimulatedSet, concept: str, features: Matrix) -> AlignedPrior:
    """What simulated stamps say of a concept, for a pool."""
    wide = features.astype(np.float64)
    return AlignedPrior(wanted_prior(simulated, concept), wide.mean(axis=0), feature_scale(wide))


def searching(policy: str, prior: AlignedPrior | None = None) -> Method:
    """The search page's way: the preference head, with or without what simulated stamps say, and a policy."""

    def judged(features: Matrix, rows: Rows, yes: Yes, seed: int) -> tuple[Scores, Scores]:
        labels = [YES if one else NO for one in yes]
        background = np.delete(features, rows, axis=0)
        head = PreferenceHead.fit(features[rows], labels, seed=seed, background=background, prior=prior)
        answers = head.predict(features)
        if prior is not None and yes.sum() < FEWEST:
            return answers[:, 1], answers[:, 1]
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
        interest = RandomForestRegressor(100, random_state=seed).fit(features[rows], 1.0 * yes).predict(features)
        products = features @ features[rows].T
        distance = np.sqrt(np.maximum(squares[:, None] + squares[rows] - 2 * products, 0)).min(axis=1)
        worth = weighted(anomaly, interest, distance / max(distance.mean(), np.finfo(float).tiny))
        return worth, worth

    return judged


def methods(features: Matrix, prior: AlignedPrior | None) -> dict[str, Method]:
    """What is compared, by name."""
    begun = {} if prior is None else {SIMULATED + name: searching(name, prior) for name in ("loop", "most-likely")}
    return {
        **begun,
        "loop": searching("loop"),
        "most likely": searching("most-likely"),
        "similarity alone": similar,
        "random": searching("random"),
        "Astronomaly": astronomalous(features),
    }


def search(features: Matrix, wanted: Yes, method: Method, seed: int, examples: int) -> dict[str, float]:
    """What ten rounds from some examples find."""
    rng = np.random.default_rng(seed)
    rows = rng.permutation(np.flatnonzero(wanted))[:examples]
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
    parser = argparse.ArgumentParser(description="Ten rounds from three examples, or none.")
    parser.add_argument("--pool", type=int, default=20_000)
    parser.add_argument("--types", default=f"{LENS},ring,merger,{GZ2}")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--views", type=int, default=8)
    parser.add_argument("--encoder", type=asked_encoder, default=RELEASED_LVM)
    parser.add_argument("--pack", type=Path, help="needed for gz1")
    parser.add_argument("--methods", default="")
    asked = parser.parse_args()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    encoder = Encoder.load(asked.encoder, asked.views)
    simulated_stamps = simulated_set(encoder, KEPT)
    root = Path(os.environ.get("GALAXYLOOP_REAL_DATA", "../shared/data"))
    rows: list[Row] = []
    for kind in asked.types.split(","):
        if kind == GZ1:
            features, wanted = mergers(encoder, asked.pack)
        else:
            features, wanted = galaxy_zoo(encoder, root) if kind == GZ2 else simulated(kind, asked.pool, encoder)
        prior = aligned(simulated_stamps, CONCEPT_OF[kind], features) if kind in CONCEPT_OF else None
        compared = methods(features, prior)
        for name in asked.methods.split(",") if asked.methods else compared:
            for examples in (0, EXAMPLES) if name.startswith(SIMULATED) else (EXAMPLES,):
                found = [search(features, wanted, compared[name], seed, examples) for seed in range(asked.seeds)]
                means = {measure: float(np.mean([one[measure] for one in found])) for measure in found[0]}
                spread = float(np.std([one["p@100"] for one in found], ddof=min(1, asked.seeds - 1)))
                about = {"type": kind, "pool": len(wanted), "wanted": int(wanted.sum()), "examples": examples}
                rows.append({**about, "method": name, **means, "spread": spread})
    save("find_any_type", rows)


if __name__ == "__main__":
    main()
