"""Run in a clone by DVC: `python -m backend_ml.rebuilding.run WORK.json` fits a head again and compares the two."""

import hashlib
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend_ml.kinds.beside import fit_model
from backend_ml.kinds.installed import find_kind, load_model
from backend_ml.kinds.kind import KindError, blamed
from backend_ml.kinds.models import Stores, Weights
from backend_ml.rebuilding.work import Work
from backend_ml.store.encoders import working_encoder
from backend_ml.store.features import FeatureStore, finite_sample
from backend_ml.store.records import ModelVersion
from backend_ml.store.stamps import StampSets
from lvm_training.errors import GalaxyLoopError
from lvm_training.files import write_atomically, write_json
from lvm_training.pool.embedding import embed_set, features_path
from lvm_training.progress import progress_bar
from lvm_training.stamps.stampset import StampSet
from lvm_training.tables.frozen_labels import FrozenLabels

EMBEDDED = Path("build/features")
COMPARED = 2000  # stamps


class PlacedSets(StampSets):
    """Stamp sets of given files, where there is no database."""

    def __init__(self, paths: Mapping[str, Path]) -> None:
        super().__init__(None)  # type: ignore[arg-type]
        self._placed = {name: str(path) for name, path in paths.items()}

    def _paths(self) -> Mapping[str, str]:
        return self._placed

    def detected(self, campaign_id: int) -> list[StampSet]:
        """As `StampSets.detected`: none, for nobody looks at what a model that was made again would find."""
        return []

    def shown(self, campaign_id: int) -> list[tuple[StampSet, NDArray[np.int64]]]:
        """As `StampSets.shown`: none, likewise."""
        return []


def fit_again(work: Work) -> dict[str, Any]:
    """Fit what was fitted once, write it, and say how it compares with the one that was served.

    Raises
    ------
    GalaxyLoopError
        If labels, features, or encoder and stamps to make these again are not there, or as the kind's `fit`.
    """
    frozen = FrozenLabels.read(work.labels)
    store = FeatureStore({name: str(path) for name, path in _features(work).items()}, work.recipe.encoder)
    stores = Stores(
        work.campaign, store, PlacedSets(work.stamps), work.store, steps=work.recipe.steps, seen=work.recipe.seen
    )
    kind = find_kind(work.recipe.kind)
    with progress_bar("Fitting") as progress, blamed(kind, "learning"):
        labels = kind.thaw(frozen, work.campaign, work.recipe.first_version)
        weights = fit_model(kind, labels, stores, work.recipe.seed, lambda _, done, total: progress(done, total))
    if weights is None:
        raise KindError(f"The kind {kind.name!r} makes no model of these labels.", "It did once: its code has changed.")
    write_atomically(work.head, lambda partial: partial.write_bytes(weights.identity))
    return _compared(work.served.read_bytes(), weights, stores)


def _features(work: Work) -> dict[str, Path]:
    """Feature files of all sets; those that are gone are embedded anew.

    Raises
    ------
    CheckpointError, StampError
        If the encoder is not in the store, or the stamps are not where they were.
    """
    found = dict(work.features)
    for name in work.recipe.sets:
        if name in found:
            continue
        path = work.stamps[name]
        encoder = working_encoder(work.store, work.recipe.encoder)
        with StampSet(path) as stamps, progress_bar(f"Embedding {name}") as progress:
            embed_set(stamps, encoder, EMBEDDED, progress=progress)
            found[name] = features_path(stamps, encoder, EMBEDDED)
    return found


def _compared(served: bytes, made: Weights, stores: Stores) -> dict[str, Any]:
    """Digests of two heads, and by how much their probabilities of the campaign's stamps differ."""
    rebuilt = made.identity
    told: dict[str, Any] = {
        "identical": served == rebuilt,
        "served": hashlib.sha256(served).hexdigest(),
        "rebuilt": hashlib.sha256(rebuilt).hexdigest(),
    }
    if made.head is None:
        return told | {"served": served.decode(), "rebuilt": rebuilt.decode()}
    # of several questions a detector may be among them, and none of these tells by what it differs
    if served == rebuilt or made.detector is not None:
        return told
    sample = finite_sample(stores.features.shard(stores.campaign.stamp_set))
    some = sample[:: max(len(sample) // COMPARED, 1)].astype(np.float32)
    one, other = (_probabilities(head, stores, some) for head in (served, rebuilt))
    if one is None or other is None or not len(some):
        return told
    apart = np.abs(one - other)
    largest, mean = float(apart.max()), float(apart.mean())
    return told | {"stamps": len(some), "largest_difference": largest, "mean_difference": mean}


def _probabilities(head: bytes, stores: Stores, sample: NDArray[np.float32]) -> NDArray[np.float64] | None:
    now = datetime.now(UTC)
    version = ModelVersion("", None, head, None, stores.campaign.encoder, stores.campaign.seed, 0, 0, 0, {}, "", now)
    model = load_model(version, stores)
    predict = None if model is None else model.from_features
    return None if predict is None else predict(sample)


def main(path: Path) -> None:
    """Do the work that a file describes."""
    work = Work.model_validate_json(path.read_bytes())
    write_json(work.comparison, fit_again(work))


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except GalaxyLoopError as error:
        sys.exit(str(error))
