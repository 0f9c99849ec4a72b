"""What a version was fitted on, noted with it: the label events that counted, and all else that the fit read.

Renames, people set aside, deletions and a leader's other changes touch what counts later; label events themselves are
appended and never changed. So their numbers, and what classes were called, give back the labels of any version.
"""

import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

import numpy as np
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb
from pydantic import BaseModel, ConfigDict

from backend_ml.kinds.installed import kind_of
from backend_ml.kinds.kind import Labels
from backend_ml.kinds.models import Stores
from backend_ml.labels.agreed import Counted
from backend_ml.store.database import Connection, query
from backend_ml.store.features import FeatureError
from backend_ml.store.records import Campaign, ModelVersion
from lvm_training.pool.features import FeaturesError
from lvm_training.revision import gpu, libraries, lock_hashes, processor
from lvm_training.tables.snapshot import Snapshot


class Recipe(BaseModel):
    """What a fit reads beside labels, and where it ran.

    Attributes
    ----------
    kind, classes, stamp_set, encoder, seed, consensus, renamed, simulated, simulated_stamps, columns, label_config
        Of the campaign at that moment.
    stated : bool
        Whether it learned what annotations state, and no class that people agree on.
    first : str
        Digest of the model that the fit went on from; empty where it went on from none.
    pictures : dict
        Digest of each stamp set whose pictures were read, by a detector or decoder, by name.
    seen : bool
        Whether the encoder was trained on the labels too.
    sets : dict
        Digest of each stamp set whose features were read, by name.
    steps : int
        Optimiser steps, where the kind takes minutes to fit.
    locks, libraries : dict
        Hashes of lock files, and versions of what computes, by name.
    processor : str
        The same one gives the same bits, with as many threads.
    threads : int
        How many took part in its sums; 0 where an older fit did not say.
    precision : str
        What networks computed in; empty where an older fit did not say.
    gpu : str
        Name of the GPU that trained a detector or decoder; empty where none did.
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
    label_config: str = ""
    stated: bool = False
    first: str = ""
    pictures: Mapping[str, str] = {}
    seen: bool
    sets: Mapping[str, str]
    steps: int
    locks: Mapping[str, str]
    libraries: Mapping[str, str]
    processor: str
    threads: int = 0
    precision: str = ""
    gpu: str = ""

    @classmethod
    def of(cls, labels: Labels[Any], version: ModelVersion, stores: Stores) -> Self:
        """Of a fit of these labels that made a version."""
        # by now it is loaded: a fit computes
        from torch import get_num_threads

        from lvm_training.model.precision import fast_precision
        from lvm_training.model.ranks import fastest_device

        campaign = stores.campaign
        own = {name: getattr(campaign, name) for name in cls.model_fields if hasattr(campaign, name)}
        labelled = {name for name, _ in kind_of(campaign).stamps(labels.training)}
        sets = {}
        for name in sorted({*labelled, campaign.stamp_set} if version.weights is not None else ()):
            # not every kind reads the campaign's own set; what it did read is there
            with suppress(FeatureError, FeaturesError):
                sets[name] = stores.features.shard(name).stamps
        shown = sorted(labelled if version.detector is not None else ())
        return cls(
            **own,
            stated=labels.counted is not None and labels.counted.answers is not None,
            first=(labels.first.detector if labels.first else None) or "",
            pictures={name: stores.sets.find(name).digest for name in shown},
            seen=stores.seen,
            sets=sets,
            steps=stores.steps,
            locks=lock_hashes(),
            libraries=libraries(),
            processor=processor(),
            threads=get_num_threads(),
            precision=fast_precision(fastest_device()),
            gpu=gpu() if version.detector is not None else "",
        )

    @property
    def first_version(self) -> ModelVersion | None:
        """What a fit knows of the version that it went on from; None where it went on from none."""
        if not self.first:
            return None
        now = datetime.now(UTC)
        return ModelVersion("", None, None, self.first, self.encoder, self.seed, 0, 0, 0, {}, "", now)


@dataclass(frozen=True)
class LearnedFrom:
    """What a version was fitted on.

    Attributes
    ----------
    counted : Counted
    labels : str
        Digest of the labels, `FrozenLabels.learned`; empty where an older fit learned what was drawn.
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
        learned = labels.training.digest if isinstance(labels.training, Snapshot) else labels.counted.stated
        return cls(labels.counted, learned, Recipe.of(labels, version, stores))

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
        """The answers that counted, as the query `votes` gave them then, or with what their annotations state."""
        return votes_of(connection, campaign, self.counted, self.recipe.renamed, stated=self.recipe.stated)


def votes_of(
    connection: Connection, campaign: Campaign, counted: Counted, renamed: Mapping[str, str], *, stated: bool
) -> list[DictRow]:
    """The answers that counted at some moment, by what classes were called then."""
    return query(
        connection,
        "votes_of",
        campaign=campaign.id,
        given=list(counted.given),
        blind=list(counted.blind),
        renamed=Jsonb(dict(renamed)),
        stated=stated,
    )


def _packed(numbers: Sequence[int]) -> bytes:
    """Ascending numbers as their differences, compressed: those of a campaign are mostly one apart."""
    return zlib.compress(np.diff(np.array(numbers, dtype="<i8"), prepend=0).tobytes())


def _unpacked(data: bytes) -> tuple[int, ...]:
    return tuple(np.cumsum(np.frombuffer(zlib.decompress(data), dtype="<i8")).tolist())
