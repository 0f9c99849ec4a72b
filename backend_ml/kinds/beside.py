"""Columns beside the image, for whatever head a kind has: put next to the features it is fitted on and answers from.

What made features of the columns is kept with the head's weights, so that serving makes them the same way.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend_ml.buckets import bring
from backend_ml.kinds.kind import Kind, Labels, Report
from backend_ml.kinds.models import Model, Stores, Weights
from backend_ml.store.features import FeatureStore
from backend_ml.store.records import ModelVersion
from backend_ml.store.stamps import StampSets
from lvm_training.heads.beside import FILE, Beside, read_column, sampled
from lvm_training.heads.head import pack, unpack
from lvm_training.pool.features import Features
from lvm_training.stamps.stampset import StampSet

BESIDE, HEAD = "beside", "head"
COLUMNS = "columns"
"""In the metrics of a version: which columns its head reads, and how they were when it learned."""


def with_vectors(stamps: StampSet, names: Sequence[str]) -> StampSet:
    """The same set; of these columns, files of vectors are beside it afterwards, where they are in a bucket.

    Raises
    ------
    BucketError
        If the bucket cannot be asked.
    """
    for name in names:
        if name.endswith(FILE):
            bring(stamps.path.parent / name)
    return stamps


def fit_model(kind: Kind[Any, Any], labels: Labels[Any], stores: Stores, seed: int, report: Report) -> Weights | None:
    """What a kind learns from labels, with the campaign's columns beside the image where it has any.

    Raises
    ------
    ColumnError
        If a column is not in the campaign's stamp set, or in one that is labelled.
    GalaxyLoopError
        As `Kind.fit`.
    """
    if not stores.campaign.columns:
        return kind.fit(labels, stores, seed, report)
    own = stores.campaign.stamp_set
    values = sampled(with_vectors(stores.sets.find(own), stores.campaign.columns), stores.campaign.columns)
    beside = Beside.fit(values, image=stores.features.shard(own).matrix.shape[1])
    made = kind.fit(labels, _wide(stores, beside), seed, report)
    if made is None or made.head is None:
        return made
    told = {"digest": beside.digest, "read": beside.told()}
    return replace(made, head=pack({BESIDE: beside.save(), HEAD: made.head}), metrics={**made.metrics, COLUMNS: told})


def load_version(kind: Kind[Any, Any], version: ModelVersion, stores: Stores) -> tuple[Model, Beside | None]:
    """A version of a kind, and what makes features of the columns that it reads; None where it reads none.

    They are those that it learned with, whatever the campaign says now.

    Raises
    ------
    CheckpointError
        As `Kind.load`.
    """
    parts = unpack(version.weights) if version.weights is not None else {}
    # a head of several may have a question of that name
    if parts.keys() != {BESIDE, HEAD}:
        return kind.load(version, stores), None
    beside = Beside.load(parts[BESIDE])
    return kind.load(replace(version, weights=parts[HEAD]), _wide(stores, beside)), beside


def _wide(stores: Stores, beside: Beside) -> Stores:
    return replace(stores, features=WideFeatureStore(stores.features, beside, stores.sets))


class _WideFeatures(Features):
    """Features of a stamp set whose rows have those of the columns behind them; the matrix is of the image alone."""

    def __init__(self, images: Features, beside: Beside, columns: "_Columns") -> None:
        super().__init__(images.path, images.matrix, images.origin)
        self._beside, self._columns = beside, columns

    def rows(self, ids: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float32]:
        """As `Features.rows`."""
        found = super().rows(ids)
        return np.concatenate([found, self._beside.features(self._columns.of(np.asarray(ids, np.int64)))], axis=1)


class _Columns:
    """What a head reads of one stamp set; its numbers are read once, its vectors as they are asked for."""

    def __init__(self, stamps: StampSet, beside: Beside) -> None:
        self.stamps = with_vectors(stamps, beside.classes)
        self._single: dict[str, NDArray[np.float64]] = {}
        self._vectors = list[str]()
        for name in beside.classes:
            found = read_column(stamps, name, np.arange(min(len(stamps), 1)))
            if found.ndim > 1:
                self._vectors.append(name)
            else:
                self._single[name] = read_column(stamps, name)
        beside.check({**self._single, **self._read(np.arange(0))}, stamps.name)

    def of(self, ids: NDArray[np.int64]) -> Mapping[str, NDArray[np.float64]]:
        """The values of some stamps."""
        return {name: column[ids] for name, column in self._single.items()} | self._read(ids)

    def _read(self, ids: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
        return {name: read_column(self.stamps, name, ids) for name in self._vectors}


class WideFeatureStore(FeatureStore):
    """Features with those of the columns behind them.

    Parameters
    ----------
    images : FeatureStore
        Features of the images.
    beside : Beside
    sets : StampSets
        Where the columns are.
    """

    def __init__(self, images: FeatureStore, beside: Beside, sets: StampSets) -> None:
        super().__init__(images.paths, images.encoder)
        self._beside, self._sets = beside, sets
        self._columns: dict[str, _Columns] = {}

    def shard(self, stamp_set: str) -> Features:
        """As `FeatureStore.shard`.

        Raises
        ------
        ColumnError
            Also if the set lacks a column, or has it in another unit.
        """
        images, stamps = super().shard(stamp_set), self._sets.find(stamp_set)
        known = self._columns.get(stamp_set)
        if known is None or known.stamps is not stamps:
            # a set that was mended is opened anew
            known = self._columns[stamp_set] = _Columns(stamps, self._beside)
        return _WideFeatures(images, self._beside, known)
