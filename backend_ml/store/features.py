"""Feature shards of the stamp sets that campaigns show, opened once a process."""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from backend_ml.buckets import bring, here, share
from backend_ml.store.database import Connection, query
from backend_ml.store.records import Campaign
from lvm_training.errors import GalaxyLoopError
from lvm_training.files import file_state
from lvm_training.heads.classification import feature_scale
from lvm_training.index.outliers import Outliers
from lvm_training.pool.features import Features

MEAN_ROWS = 20_000  # of a stamp set, that its mean is taken over


class FeatureError(GalaxyLoopError):
    """Features of another encoder, or of stamps that have none."""

    code = "no_features"


def bring_features(path: Path) -> Path:
    """The same path; of a store in a bucket, the features and the JSON beside them are fetched, if they are there."""
    if path.name:
        bring(path.with_suffix(".json"))
    return bring(path)


def share_features(path: Path) -> None:
    """Let the bucket have features, if the store is in one: the JSON last, for who sees it fetches them.

    Raises
    ------
    BucketError
        If it does not take them.
    """
    share(path)
    share(path.with_suffix(".json"))


def opened_features(path: Path) -> Features:
    """The features at a path, opened once until the file is another.

    Raises
    ------
    FeaturesError
        If they are not there, or not whole.
    BucketError
        If they are in a bucket that cannot be asked.
    """
    bring_features(path)
    files = (path, path.with_suffix(".json")) if path.name else ()  # a set may be registered before it has features
    return _opened(path, tuple(file_state(file) for file in files if file.is_file()))


@lru_cache(maxsize=64)
def _opened(path: Path, state: tuple[tuple[int, ...], ...]) -> Features:
    return Features.open(path)


def finite_sample(shard: Features) -> NDArray[np.float16]:
    """The finite ones of every n-th row of a shard, about 20,000, shape (n, D)."""
    sample = shard.matrix[:: max(len(shard.matrix) // MEAN_ROWS, 1)]
    return sample[np.isfinite(sample).all(axis=1)]


@lru_cache(maxsize=16)
def mean_features(shard: Features) -> NDArray[np.float32]:
    """Mean (D,) of a stamp set's finite features, over every n-th row of a large one; likeness is measured about it."""
    return np.asarray(finite_sample(shard).mean(axis=0, dtype=np.float64), dtype=np.float32)


@lru_cache(maxsize=16)
def feature_spread(shard: Features) -> NDArray[np.float64]:
    """Standard deviation (D,) of the rows that `mean_features` is the mean of, as heads standardise by."""
    return feature_scale(finite_sample(shard).astype(np.float64))


@lru_cache(maxsize=16)
def outliers_of(shard: Features) -> Outliers:
    """What is usual among the rows that `mean_features` is the mean of."""
    return Outliers.fit(finite_sample(shard))


class FeatureStore:
    """Features of stamps by set name and row number.

    Parameters
    ----------
    paths : dict
        Shard file of each stamp set.
    encoder : str
        The encoder's digest; a shard of another one is refused.
    """

    def __init__(self, paths: dict[str, str], encoder: str) -> None:
        self.paths = paths
        self.encoder = encoder

    @classmethod
    def from_database(cls, connection: Connection, encoder: str) -> "FeatureStore":
        """The shards of all registered stamp sets."""
        return cls({row["name"]: row["features"] for row in query(connection, "stamp_sets")}, encoder)

    def of(self, encoder: str) -> "FeatureStore":
        """The features of the same sets by another encoder, which lie beside these."""
        return FeatureStore(self.paths, encoder)

    def folder(self, stamp_set: str) -> Path:
        """Where the features of a stamp set lie, whichever encoder made them.

        Raises
        ------
        FeatureError
            If the set is not registered.
        """
        return self._path(stamp_set).parent

    def _path(self, stamp_set: str) -> Path:
        if stamp_set not in self.paths:
            raise FeatureError(f"The stamp set {stamp_set!r} is not registered here.", "Create its campaign again.")
        return here(self.paths[stamp_set])

    def shard(self, stamp_set: str) -> Features:
        """The shard of one stamp set.

        Raises
        ------
        FeatureError
            If the set is not registered, or was embedded by another encoder.
        """
        path = self._path(stamp_set)
        if not path.name:
            raise FeatureError(f"{stamp_set!r} has no features yet.", "Run `galaxyloop embed` with it.")
        features = opened_features(path)
        if features.encoder != self.encoder:
            # a set has one place for its newest features; those of an older campaign's encoder lie beside them
            kept = features.path.with_name(features.path.name.replace(features.encoder, self.encoder))
            features = opened_features(kept) if bring_features(kept).is_file() else features
        if features.encoder != self.encoder:
            raise FeatureError(
                f"{stamp_set!r} was embedded by encoder {features.encoder}, the campaign uses {self.encoder}.",
                "Run `galaxyloop embed` with the campaign's encoder.",
            )
        return features

    def rows(self, stamps: Sequence[tuple[str, int]]) -> NDArray[np.float32]:
        """Features of (stamp set, row) pairs in order, shape (n, D).

        Raises
        ------
        FeatureError, FeaturesError
            If a set is not registered, or has no such row.
        """
        if not stamps:
            return np.empty((0, 0), dtype=np.float32)
        names = np.array([name for name, _ in stamps])
        ids = np.array([row for _, row in stamps], dtype=np.int64)
        parts = {str(name): self.shard(str(name)).rows(ids[names == name]) for name in np.unique(names)}
        features = np.empty((len(stamps), next(iter(parts.values())).shape[1]), dtype=np.float32)
        for name, part in parts.items():
            features[names == name] = part
        return features


def searched_features(connection: Connection, campaign: Campaign) -> list[Features]:
    """The features that a campaign is searched in: of its stamp sets, in order of their names.

    Raises
    ------
    FeatureError, FeaturesError
        If a set has none of the campaign's encoder, or they cannot be read.
    """
    store = FeatureStore.from_database(connection, campaign.encoder)
    shown = {row["stamp_set"] for row in query(connection, "campaign_sets", campaign=campaign.id)}
    return [store.shard(name) for name in sorted(shown | {campaign.stamp_set})]


def index_folder(store: Path, encoder: str, shards: Sequence[Features]) -> Path:
    """Where the store keeps the index of some features; of a set that was mended in place it is another one."""
    named = [part for shard in shards for part in (shard.name, shard.stamps, shard.origin.content) if part]
    return store / "indices" / hashlib.sha256("\0".join([encoder, *named]).encode()).hexdigest()[:12]
