"""What a version was fitted on, noted with it: the label events that counted, and all else that the fit read.

Renames, people set aside, deletions and a leader's other changes touch what counts later; label events themselves are
appended and never changed. So their numbers, and what classes were called, give back the labels of any version.
"""

import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb
from pydantic import BaseModel, ConfigDict

from backend_ml.kinds.kind import Labels
from backend_ml.kinds.models import Stores
from backend_ml.labels.agreed import Counted
from backend_ml.store.database import Connection, query
from backend_ml.store.features import FeatureError
from backend_ml.store.records import Campaign, ModelVersion
from lvm_training.pool.features import FeaturesError
from lvm_training.revision import libraries, lock_hashes, processor
from lvm_training.tables.snapshot import Snapshot


class Recipe(BaseModel):
    """What a fit reads beside labels, and where it ran.

    Attributes
    ----------
    kind, classes, stamp_set, encoder, seed, consensus, renamed, simulated, simulated_stamps, columns
        Of the campaign at that moment.
    seen : bool
        Whether the encoder was trained on the labels too.
    sets : dict
        Digest of each stamp set whose features were read, by name.
    steps : int
        Optimiser steps, where the kind takes minutes to fit.
    locks, libraries : dict
        Hashes of lock files, and versions of what computes, by name.
    processor : str
        The same one gives the same bits.
    """

    # an older fit leaves out what only newer ones read
    model_config = ConfigDict(frozen=True, extra="ignore")

    kind: str
    classes: tuple[str, ...]
    stamp_set: str
    encoder: str
    seed: int
    consensus: str
    renamed: Mapping[str, str]
    simulated: Mapping[str, str]
    simulated_stamps: int
    columns: tuple[str, ...] = ()  # older fits read none
    seen: bool
    sets: Mapping[str, str]
    steps: int
    locks: Mapping[str, str]
    libraries: Mapping[str, str]
    processor: str

    @classmethod
    def of(cls, stores: Stores, sets: Sequence[str]) -> Self:
        """Of a fit that reads the features of these sets."""
        own = {name: getattr(stores.campaign, name) for name in cls.model_fields if hasattr(stores.campaign, name)}
        digests = {}
        for name in sets:
            # not every kind reads the campaign's own set; what it did read is there
            with suppress(FeatureError, FeaturesError):
                digests[name] = stores.features.shard(name).stamps
        made = {"locks": lock_hashes(), "libraries": libraries(), "processor": processor()}
        return cls(**own, seen=stores.seen, sets=digests, steps=stores.steps, **made)


@dataclass(frozen=True)
class LearnedFrom:
    """What a version was fitted on.

    Attributes
    ----------
    counted : Counted
    labels : str
        Digest of the labels, `Snapshot.digest`; empty where they are drawn.
    recipe : Recipe
    """

    counted: Counted
    labels: str
    recipe: Recipe

    @classmethod
    def of(cls, labels: Labels[Any], version: ModelVersion, stores: Stores) -> Self | None:
        """Of a version just fitted; None where its kind does not say which label events counted."""
        if labels.counted is None:
            return None
        if not isinstance(labels.training, Snapshot) or version.weights is None:
            return cls(labels.counted, "", Recipe.of(stores, ()))
        sets = sorted({*labels.training.stamp_set, stores.campaign.stamp_set})
        return cls(labels.counted, labels.training.digest, Recipe.of(stores, sets))

    @classmethod
    def read(cls, connection: Connection, campaign: Campaign, version: str) -> Self | None:
        """As it was noted; None of a version that learned nothing, or of before such notes were taken."""
        rows = query(connection, "learned_from", campaign=campaign.id, version=version)
        if not rows:
            return None
        (row,) = rows
        counted = Counted(_unpacked(row["given"]), _unpacked(row["blind"]))
        return cls(counted, row["labels"], Recipe.model_validate(row["recipe"]))

    def put(self, connection: Connection, campaign: Campaign, version: str) -> None:
        """Note it with a stored version; what is noted already stays."""
        query(
            connection,
            "put_learned_from",
            campaign=campaign.id,
            version=version,
            given=_packed(self.counted.given),
            blind=_packed(self.counted.blind),
            labels=self.labels,
            recipe=Jsonb(self.recipe.model_dump(mode="json")),
        )

    def votes(self, connection: Connection, campaign: Campaign) -> list[DictRow]:
        """The answers that counted, as the query `votes` gave them then."""
        return query(
            connection,
            "votes_of",
            campaign=campaign.id,
            given=list(self.counted.given),
            blind=list(self.counted.blind),
            renamed=Jsonb(dict(self.recipe.renamed)),
        )


def _packed(numbers: Sequence[int]) -> bytes:
    """Ascending numbers as their differences, compressed: those of a campaign are mostly one apart."""
    return zlib.compress(np.diff(np.array(numbers, dtype="<i8"), prepend=0).tobytes())


def _unpacked(data: bytes) -> tuple[int, ...]:
    return tuple(np.cumsum(np.frombuffer(zlib.decompress(data), dtype="<i8")).tolist())
