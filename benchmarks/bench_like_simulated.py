"""Claim: a search for what the simulator draws can begin without an example, where the table says that it works.

For each concept of which a pack has labels the AUC on real pictures that people labelled, of the head that a search
begins with: fitted on simulated stamps alone, each set of features standardised by itself. A pack is as of
`lvm_training/timed/pack.py`; its features are kept in build/benchmarks/like_simulated. `--write` puts the figures
into `lvm_training/simulated/measured.json`, from which the search page and the commands tell them.

    python -m benchmarks.bench_like_simulated [--pack real.npz] [--encoder models/lvm-nano-2] [--write]
"""

import argparse
import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from benchmarks.report import FOLDER, Row, asked_encoder, save
from lvm_training.files import write_json
from lvm_training.heads.preference import YES
from lvm_training.model.encoder import Encoder, load_network
from lvm_training.paths import RELEASED_LVM
from lvm_training.progress import progress_bar
from lvm_training.scenes.simulated_classes import SIMULATED
from lvm_training.simulated import wanted
from lvm_training.simulated.drawing import POPULATION
from lvm_training.simulated.simulated_set import simulated_set, standardised
from lvm_training.simulated.wanted import Measured, wanted_prior
from lvm_training.timed.pack import Pack, read_pack

KEPT = FOLDER / "like_simulated"
TABLE = Path(wanted.__file__).with_name(wanted.TABLE)
CHUNK = 128


def features_of(pack: Pack, rows: NDArray[np.int64], encoder: Encoder) -> NDArray[np.float32]:
    """Features of some pictures, embedded once: another pack has others, whatever it is called."""
    pictures = pack.pictures[torch.from_numpy(rows)]
    contents = hashlib.sha256(pictures.numpy().tobytes()).hexdigest()[:12]
    path = KEPT / f"{contents}-{encoder.digest}.npy"
    if not path.is_file():
        KEPT.mkdir(parents=True, exist_ok=True)
        parts = []
        with progress_bar("Embedding real pictures") as progress:
            for part in torch.split(pictures, CHUNK):
                parts.append(encoder.features(part.float() / 255).numpy())
                progress(sum(map(len, parts)), len(rows))
        np.save(path, np.concatenate(parts))
    return np.asarray(np.load(path, allow_pickle=False))


def concepts() -> dict[str, tuple[str, str]]:
    """The task and its class that show each concept."""
    return {
        concept: (task, name)
        for task, classes in SIMULATED.items()
        for name, concept in classes.items()
        if not concept.startswith("no-")
    }


def main() -> None:
    """Measure each concept and print a row for it."""
    parser = argparse.ArgumentParser(description="Searches that begin with what the simulator draws.")
    parser.add_argument("--pack", type=Path, help="without one nothing is measured")
    parser.add_argument("--encoder", type=asked_encoder, default=RELEASED_LVM)
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    if asked.pack is None:
        save("like_simulated", [])
        return
    encoder, weights = Encoder.load(asked.encoder), load_network(asked.encoder)[1].encoder
    pack = read_pack(asked.pack, encoder.rendering.size)
    rows = np.flatnonzero(np.any([column != "" for column in pack.labels.values()], axis=0))
    matrix, sets = features_of(pack, rows, encoder), pack.sets[rows]
    for name in np.unique(sets):
        matrix[sets == name] = standardised(matrix[sets == name])
    with progress_bar("Drawing simulated galaxies") as progress:
        simulated = simulated_set(encoder, KEPT, progress=progress)
    table: list[Row] = []
    found: dict[str, Measured] = {}
    for concept, (task, name) in concepts().items():
        if task not in pack.labels:
            continue
        labels = pack.labels[task][rows]
        known = labels != ""
        prior = wanted_prior(simulated, concept)
        odds = prior.log_odds(matrix[known]) @ np.array([1 if one == YES else -1 for one in prior.classes])
        truth, source = labels[known] == name, ", ".join(np.unique(sets[known]))
        auc = round(float(roc_auc_score(truth, odds)), 3)
        counts = {"pictures": len(truth), "wanted": int(truth.sum()), "population": POPULATION}
        found[concept] = Measured(auc=auc, source=source, **counts)
        best = float(truth[np.argsort(-odds, kind="stable")[:20]].mean())
        table.append({"concept": concept, **found[concept].model_dump(), "p@20": best})
    save("like_simulated", table)
    if asked.write:
        kept = json.loads(TABLE.read_text(encoding="utf-8"))
        write_json(TABLE, {**kept, weights: {name: one.model_dump() for name, one in found.items()}})


if __name__ == "__main__":
    main()
