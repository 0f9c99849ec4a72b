"""What `galaxyloop search --unusual` finds: the galaxies of a pool that are most unlike all others."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from lvm_training.progress import progress_bar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lvm_training.pool.features import Features
    from lvm_training.pool.shards import Shards
    from lvm_training.stamps.stampset import StampSet


class Unusual(NamedTuple):
    """The most unusual stamps.

    Attributes
    ----------
    rows : ndarray (k,)
        Rows of the pool.
    scores : ndarray (k,)
        How far each lies from those most like it, in usual distances of its shard.
    set_apart : int
        How many more unusual ones were left out since they show no galaxy.
    """

    rows: "NDArray[np.int64]"
    scores: "NDArray[np.float32]"
    set_apart: int


def most_unusual(
    shards: "Shards", sets: "Mapping[str, StampSet]", k: int, allowed: "NDArray[np.bool_] | None" = None
) -> Unusual:
    """The `k` most unusual stamps of a pool; what shows no galaxy is left out where its set, by digest, is given.

    Parameters
    ----------
    allowed : ndarray of bool (N,), optional
        The stamps that are looked through; all by default. What is usual is learned from all.
    """
    import numpy as np

    from backend_ml.queue.ranking import LOOKS
    from backend_ml.store.features import outliers_of
    from lvm_training.index.scan import best
    from lvm_training.parameters.flags import show_galaxies

    known = {shard: outliers_of(shard) for shard in shards.features}

    def score(shard: "Features", rows: "NDArray[np.float16]") -> "NDArray[np.float32]":
        return known[shard].scores(rows).astype(np.float32)

    with progress_bar(f"Ranking {len(shards):,} stamps") as progress:
        found = best(shards, score, k * LOOKS if sets else k, allowed=allowed, progress=progress)
    sound: list[int] = []
    for place, row in enumerate(found.rows.tolist()):
        shard, number = shards.locate(row)
        stamps = sets.get(shard.stamps)
        if stamps is None or show_galaxies(stamps.intact_pixels([number])[0])[0]:
            sound.append(place)
        if len(sound) == k:
            break
    looked = sound[-1] + 1 if len(sound) == k else len(found.rows)
    return Unusual(found.rows[sound], found.scores[sound], looked - len(sound))
