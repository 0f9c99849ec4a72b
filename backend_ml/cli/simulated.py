"""What commands say and do about what the simulator draws: of classes, and of what a search begins with."""

from pathlib import Path
from typing import TYPE_CHECKING

from lvm_training.progress import progress_bar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lvm_training.index.scan import Best
    from lvm_training.model.encoder import Encoder
    from lvm_training.pool.features import Features
    from lvm_training.pool.shards import Shards


def simulated_classes(pairs: list[str]) -> dict[str, str]:
    """What is written as CLASS=CONCEPT, by class.

    Raises
    ------
    ConceptError
        If one is not written so, or a class is there twice.
    """
    from lvm_training.scenes.simulated_classes import ConceptError, concept_names

    found: dict[str, str] = {}
    for pair in pairs:
        # a class may hold an equals sign, a concept does not
        name, equals, concept = pair.rpartition("=")
        if not equals or not name:
            raise ConceptError(
                f"{pair!r} maps no class to what the simulator draws.",
                f"Write it as CLASS=CONCEPT, with one of: {', '.join(concept_names())}.",
            )
        if name in found:
            raise ConceptError(f"The class {name!r} is mapped twice.", "Write its concepts in one, with commas.")
        found[name] = concept
    return found


def looked_for(kind: str, concept: str | None) -> dict[str, str]:
    """What the simulator draws of the class that a kind of campaign looks for, by class.

    Raises
    ------
    ConceptError
        If the kind looks for no class, or the simulator draws nothing of that name.
    """
    if concept is None:
        return {}
    from backend_ml.kinds.installed import check_kind
    from lvm_training.scenes.simulated_classes import ConceptError, find_concept

    find_concept(concept)
    wanted = check_kind(kind).wanted
    if wanted is None:
        raise ConceptError(
            f"A campaign of the kind {kind!r} looks for no one class, so it cannot begin with one.",
            "Use `--kind interest`, or `--simulated CLASS=CONCEPT` for each of several classes.",
        )
    return {wanted: concept}


def measured_of(encoder: Path, concept: str) -> str:
    """How well simulated stamps alone told a concept on real pictures with an encoder."""
    from lvm_training.model.encoder import folder_card
    from lvm_training.simulated.wanted import measured_words

    card = folder_card(encoder)
    return measured_words("" if card is None else card.encoder, concept)


def most_like_simulated(
    concept: str, shards: "Shards", encoder: "Encoder", k: int, allowed: "NDArray[np.bool_] | None" = None
) -> "Best":
    """The `k` stamps of a pool that are most like a concept, and how likely each shows it, in place of their scores.

    Each shard is standardised by itself. The simulated stamps are drawn where the store does not have them.

    Parameters
    ----------
    allowed : ndarray of bool (N,), optional
        The stamps that are looked through; all by default.
    """
    import numpy as np
    from scipy.special import expit

    from backend_ml.kinds.simulated import aligned, draw_simulated
    from backend_ml.settings import Settings
    from backend_ml.store.features import finite_sample
    from lvm_training.heads.preference import PreferenceHead
    from lvm_training.index.scan import best
    from lvm_training.simulated.simulated_set import STAMPS
    from lvm_training.simulated.wanted import wanted_prior

    settings = Settings()
    with progress_bar("Drawing simulated galaxies") as progress:
        drawn = draw_simulated(encoder, settings.store_folder, settings.simulated_stamps or STAMPS, progress)
    prior, nothing = wanted_prior(drawn, concept), np.empty((0, 0), np.float32)
    heads = {
        shard: PreferenceHead.fit(nothing, [], seed=0, background=finite_sample(shard), prior=aligned(prior, shard))
        for shard in shards.features
    }

    def log_odds(shard: "Features", rows: "NDArray[np.float16]") -> "NDArray[np.float32]":
        return heads[shard].scores(rows)

    with progress_bar(f"Ranking {len(shards):,} stamps") as progress:
        found = best(shards, log_odds, k, allowed=allowed, progress=progress)
    return found._replace(scores=expit(found.scores))
