"""What a version is made of: code, locks, labels, encoder, seed, prior, processor; and the command that rebuilds it."""

import shlex
from pathlib import Path
from typing import Any

from backend_ml.rebuilding.clone import code_words
from backend_ml.rebuilding.freezing import Found, freeze_version
from backend_ml.store.database import Connection, query
from backend_ml.store.encoders import encoder_folder
from backend_ml.store.features import FeatureError, FeatureStore
from lvm_training.errors import GalaxyLoopError
from lvm_training.pool.features import FeaturesError
from lvm_training.revision import lock_hashes


def provenance(connection: Connection, found: Found, store: Path, repo: Path) -> dict[str, Any]:
    """What is known of a version, as JSON values; `problem` says why it cannot be rebuilt, where it cannot.

    Parameters
    ----------
    store : Path
        Where encoders are kept.
    repo : Path
        A checkout whose code is compared with the version's.
    """
    version, learned = found.version, found.learned
    facts = {
        "version": version.version,
        "campaign": found.campaign.name,
        "parent": version.parent,
        "revision": version.revision,
        "code_here": code_words(repo, version.revision),
        "encoder": _encoder(connection, found, store),
        "seed": version.seed,
        "detector": version.detector,
        "metrics": version.metrics,
        "promotions": query(connection, "promotions_of", campaign=found.campaign.id, version=version.version),
        "made_at": version.created_at,
    }
    if learned is not None:
        recipe = learned.recipe
        here = lock_hashes()
        facts |= {
            "locks": {name: {"sha256": lock, "here": here.get(name) == lock} for name, lock in recipe.locks.items()},
            "prior": {"classes": dict(recipe.simulated), "stamps": recipe.simulated_stamps}
            if recipe.simulated
            else None,
            "trained_encoder": recipe.seen,
            "processor": recipe.processor,
            "threads": recipe.threads,
            "precision": recipe.precision,
            "gpu": recipe.gpu,
            "libraries": dict(recipe.libraries),
        }
    return facts | _labels(connection, found)


def _labels(connection: Connection, found: Found) -> dict[str, Any]:
    """The snapshot that a version learned, and the command that rebuilds it; or why there is none."""
    try:
        frozen = freeze_version(connection, found)
    except GalaxyLoopError as error:
        return {"snapshot": None, "problem": f"{error.message} {error.hint}".strip(), "rebuild": None}
    name = found.campaign.name
    snapshot = {
        "name": frozen.file_name(name),
        "sha256": frozen.digest,
        "labels": frozen.taught,
        "to_judge_on": frozen.judged,
        "answers": len(frozen.answers),
        "consensus": frozen.consensus,
    }
    alone = len(query(connection, "campaigns_of_version", version=found.version.version)) == 1
    chosen = "" if alone else f" --campaign {shlex.quote(name)}"
    return {
        "snapshot": snapshot,
        "problem": None,
        "rebuild": f"galaxyloop model rebuild {found.version.version}{chosen}",
    }


def _encoder(connection: Connection, found: Found, store: Path) -> dict[str, Any]:
    """Which encoder, and whether its checkpoint and its features of the campaign's stamps are still there."""
    encoder = found.version.encoder
    try:
        FeatureStore.from_database(connection, encoder).shard(found.campaign.stamp_set)
        there = True
    except (FeatureError, FeaturesError):
        there = False
    return {"digest": encoder, "checkpoint": encoder_folder(store, encoder).is_dir(), "features": there}
