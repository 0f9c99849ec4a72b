"""Makes the model of a version again from its labels, in a clean clone, through DVC; what serves stays."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend_ml.buckets import bring, here
from backend_ml.kinds.installed import find_kind
from backend_ml.kinds.models import Weights
from backend_ml.learning.learned_from import Recipe
from backend_ml.rebuilding.clone import RebuildError, Source, clone
from backend_ml.rebuilding.freezing import Found
from backend_ml.rebuilding.work import Work
from backend_ml.store.database import Connection, query
from backend_ml.store.encoders import encoder_folder
from backend_ml.store.features import FeatureError, FeatureStore, bring_features
from lvm_training.files import write_atomically
from lvm_training.pool.features import Features, FeaturesError
from lvm_training.revision import gpu, libraries, processor
from lvm_training.simulated.simulated_set import set_path
from lvm_training.stamps.stampset import StampSet
from lvm_training.tables.frozen_labels import FrozenLabels

HOME = Path("rebuild")  # in a clone
STORE = Path("build/store")
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
UNNOTED_THREADS = 1  # of an older version: what `galaxyloop up` gives its worker


@dataclass(frozen=True)
class Inputs:
    """Where what a version was made of lies on this host.

    Attributes
    ----------
    features, stamps : dict
        Files of stamp sets, by name; features that are gone are not among them.
    store : Path
    drawn_from : tuple of Path
        What of the store the model that a fit goes on from is read from.
    notes : tuple of str
        What is not as it was then.
    """

    features: Mapping[str, Path]
    stamps: Mapping[str, Path]
    store: Path
    drawn_from: tuple[Path, ...]
    notes: tuple[str, ...]

    @classmethod
    def find(cls, connection: Connection, found: Found, store: Path) -> "Inputs":
        """What a version's recipe names.

        Raises
        ------
        RebuildError
            If features are gone, and what would make them again is gone too; or pictures, or the model that the fit
            goes on from.
        """
        assert found.learned is not None  # noqa: S101 - its labels were frozen
        recipe = found.learned.recipe
        known = {row["name"]: here(row["path"]) for row in query(connection, "stamp_sets")}
        shards = FeatureStore.from_database(connection, recipe.encoder)
        features, notes = dict[str, Path](), list[str]()
        for name, digest in recipe.sets.items():
            shard = _shard(shards, name, digest)
            if shard is None:
                _check_embeddable(name, known, store, recipe.encoder)
                notes.append(f"Features of {name} by encoder {recipe.encoder} are gone: they are embedded anew.")
                continue
            features[name] = shard.path.absolute()
            if shard.stamps != digest:
                notes.append(f"The stamp set {name} has changed since the version was made.")
        for name, digest in recipe.pictures.items():
            if name not in known or not bring(known[name]).is_file():
                raise RebuildError(
                    f"The stamps of {name} are gone, whose pictures it learned.",
                    f"Put {known.get(name, name)} back, or register the set where it is: `galaxyloop stamps`.",
                )
            with StampSet(known[name]) as stamps:
                if stamps.digest != digest:
                    notes.append(f"The stamp set {name} has changed since the version was made.")
        places = {name: known[name].absolute() for name in recipe.sets.keys() | recipe.pictures.keys() if name in known}
        return cls(features, places, store, _drawn_from(recipe, store), tuple(notes))


def _shard(shards: FeatureStore, name: str, digest: str) -> Features | None:
    """The features of a set as it was when they were read, or else as it is; None where there are none."""
    try:
        then = shards.folder(name) / f"{name}-{digest}-{shards.encoder}.npy"
        return Features.open(then) if bring_features(then).is_file() else shards.shard(name)
    except (FeatureError, FeaturesError):
        return None


def _drawn_from(recipe: Recipe, store: Path) -> tuple[Path, ...]:
    """What of the store the model that a fit goes on from is read from; nothing where it goes on from none."""
    if not recipe.first:
        return ()
    kind = find_kind(recipe.kind)
    kept = kind.model_folder(store, recipe.first)
    if not kept.is_dir():
        raise RebuildError(
            f"The model {recipe.first} that the campaign began with, from which it went on, is gone from the store.",
            f"Copy its folder (model.safetensors, card.json) to {kept}.",
        )
    return tuple(kind.drawn_from(store, recipe.first))


def _check_embeddable(name: str, stamps: Mapping[str, Path], store: Path, encoder: str) -> None:
    """Raise a RebuildError unless a set's features can be made again."""
    kept = encoder_folder(store, encoder)
    if not kept.is_dir():
        raise RebuildError(
            f"The features of {name} by encoder {encoder} are gone, and the store has that encoder no more.",
            f"Copy the folder of its checkpoint (model.safetensors, card.json) to {kept}.",
        )
    if name not in stamps or not bring(stamps[name]).is_file():
        raise RebuildError(
            f"The features of {name} by encoder {encoder} are gone, and so are its stamps.",
            f"Put {stamps.get(name, name)} back, or register it where it is: `galaxyloop embed`.",
        )


def rebuild(
    found: Found, frozen: FrozenLabels, inputs: Inputs, source: Source, folder: Path, *, kept: bool
) -> dict[str, Any]:
    """Clone, fit, compare; what came of it as JSON values.

    Parameters
    ----------
    folder : Path
        Of the clone.
    kept : bool
        Whether it stays.

    Returns
    -------
    dict
        `identical`, the digests `served` and `rebuilt`, of heads that differ `largest_difference` and `mean_difference`
        of the probabilities of `stamps` stamps, and `notes`.

    Raises
    ------
    RebuildError
        If something of it is not there, or fails.
    """
    clone(source, folder, shared=not kept)
    work = lay_out(found, frozen, inputs, folder)
    _reproduce(folder, work.head.parent / "dvc.yaml", work.recipe)
    told: dict[str, Any] = json.loads((folder / work.comparison).read_bytes())
    # what the clone's code says of itself is not taken for granted
    told["identical"] = (folder / work.head).read_bytes() == (folder / work.served).read_bytes()
    unnoted = [] if work.recipe.threads else ["How many threads it was fitted with was not noted: one is taken."]
    told["notes"] = [*source.notes, *inputs.notes, *unnoted, *_elsewhere(work.recipe)]
    return told | {"commit": source.commit, "labels": frozen.taught}


def lay_out(found: Found, frozen: FrozenLabels, inputs: Inputs, folder: Path) -> Work:
    """Put into a clone all that a version is made again from, and compared with."""
    version, learned = found.version, found.learned
    assert learned is not None  # noqa: S101 - its labels were frozen
    _borrow(inputs, folder / STORE, learned.recipe.encoder)
    home, suffix = HOME / version.version, "txt" if version.weights is None else "safetensors"
    work = Work(
        recipe=learned.recipe,
        labels=home / frozen.file_name(found.campaign.name),
        served=home / f"served.{suffix}",
        features=inputs.features,
        stamps=inputs.stamps,
        store=STORE,
        rendering=found.campaign.rendering,
        head=home / f"head.{suffix}",
        comparison=home / "comparison.json",
    )
    frozen.write(folder / work.labels)
    served = Weights(version.weights, version.detector).identity
    write_atomically(folder / work.served, lambda partial: partial.write_bytes(served))
    work.write(folder, home)
    return work


def _borrow(inputs: Inputs, clone_store: Path, encoder: str) -> None:
    """Give a clone a store of its own with links to what a fit reads of the other: what it draws stays there."""
    store = inputs.store
    for path in (encoder_folder(store, encoder), set_path(store / "simulated", encoder), *inputs.drawn_from):
        if path.exists():
            link = clone_store / path.relative_to(store)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path.absolute())


def _reproduce(folder: Path, pipeline: Path, recipe: Recipe) -> None:
    """Run a pipeline in a clone: the clone's code, this environment's libraries, threads and precision as they were.

    Raises
    ------
    RebuildError
        If it fails; the last line of its output says why.
    """
    from lvm_training.model.precision import VARIABLE

    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    # another number of threads adds up in another order, which changes the last digits
    as_then = dict.fromkeys(THREADS, str(recipe.threads or UNNOTED_THREADS))
    if recipe.precision:
        as_then[VARIABLE] = recipe.precision
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(folder.absolute())} | as_then
    command = [sys.executable, "-m", "dvc", "repro", "--quiet", str(pipeline)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        said = [line for line in f"{done.stdout}\n{done.stderr}".splitlines() if line.strip()]
        why = [line for line in said if not line.startswith("ERROR: failed to reproduce")]
        raise RebuildError(
            f"`dvc repro {pipeline}` failed in the clone: {' '.join(why[-3:]) or 'without a word'}",
            "--keep FOLDER leaves the clone there to look at.",
        )


def _elsewhere(recipe: Recipe) -> list[str]:
    """What else than the code may make a difference."""
    told, here = [], gpu() if recipe.pictures else ""  # by which detectors and decoders are trained
    if recipe.processor != processor():
        told.append(f"It was made on another processor: {recipe.processor}; this one is {processor()}.")
    if recipe.precision and recipe.gpu != here:  # an older fit did not say
        told.append(f"It was trained on {recipe.gpu or 'no GPU'}; here is {here or 'none'}.")
    others = [
        f"{name} {now} in place of {recipe.libraries[name]}"
        for name, now in libraries().items()
        if recipe.libraries.get(name, now) != now
    ]
    return told + ([f"Other libraries: {', '.join(others)}."] if others else [])
