"""What simulated stamps teach a campaign: drawn when it begins, and the prior of every head that it learns."""

from functools import lru_cache
from pathlib import Path

import numpy as np

from backend_ml.kinds.kind import Report
from backend_ml.kinds.models import Stores
from backend_ml.store.encoders import stored_encoder
from backend_ml.store.features import FeatureStore, feature_spread, mean_features
from backend_ml.store.records import Campaign
from lvm_training.heads.classification import ClassificationHead
from lvm_training.heads.preference import YES, PreferenceHead
from lvm_training.heads.prior import AlignedPrior, Prior
from lvm_training.model.encoder import Encoder
from lvm_training.pool.features import Features
from lvm_training.progress import Progress
from lvm_training.simulated.simulated_set import SimulatedSet, kept_set, set_path, simulated_set
from lvm_training.simulated.wanted import wanted_prior

PRIOR_SHARE = "prior_share"  # metric of a version: how much of its answers is prior, 0 to 1
JUDGED = 500  # stamps of the pool that this is the mean over


def simulated_folder(store: Path) -> Path:
    """Where simulated stamps are kept in the store."""
    return store / "simulated"


def draw_simulated(encoder: Encoder, store: Path, stamps: int, progress: Progress | None = None) -> SimulatedSet:
    """The first `stamps` simulated stamps through an encoder; drawn where the store does not have them."""
    return simulated_set(encoder, simulated_folder(store), stamps=stamps, progress=progress)


def simulated_of(stores: Stores, report: Report) -> SimulatedSet:
    """The simulated stamps that teach a campaign; drawn anew where they are gone from the store.

    Raises
    ------
    CheckpointError
        If they are gone, and the encoder as well.
    """
    campaign = stores.campaign
    kept = kept_set(simulated_folder(stores.folder), campaign.encoder, campaign.simulated_stamps)
    if kept is not None:
        return kept
    encoder = stored_encoder(stores.folder, campaign.encoder)
    return draw_simulated(
        encoder, stores.folder, campaign.simulated_stamps, lambda done, total: report("drawing", done, total)
    )


def prior_of(stores: Stores, report: Report) -> AlignedPrior | None:
    """What simulated stamps say of a campaign's classes, for its stamp set; None where it maps none of them.

    Raises
    ------
    ConceptError, LabelError
        If its classes are mapped to what is not drawn.
    CheckpointError, FeatureError
        If the encoder's stamps or the stamp set's features are gone.
    """
    campaign = stores.campaign
    if not campaign.simulated:
        return None
    prior = _prior(simulated_of(stores, report), tuple(campaign.simulated.items()))
    return aligned(prior, stores.features.shard(campaign.stamp_set))


def aligned(prior: Prior, shard: Features) -> AlignedPrior:
    """A prior for the stamps of a set, standardised by a sample of their own."""
    return AlignedPrior(prior, mean_features(shard).astype(np.float64), feature_spread(shard))


@lru_cache(maxsize=16)
def _prior(simulated: SimulatedSet, classes: tuple[tuple[str, str], ...]) -> Prior:
    return simulated.prior(dict(classes))


def wanted_prior_of(stores: Stores, report: Report) -> AlignedPrior | None:
    """What simulated stamps, drawn where they are gone, say of what a search looks for; None without them.

    Raises
    ------
    ConceptError, LabelError
        If the simulator draws nothing of that name, or too few were drawn.
    CheckpointError, FeatureError
        As `prior_of`.
    """
    if not stores.campaign.simulated:
        return None
    simulated_of(stores, report)
    return kept_wanted_prior(stores.campaign, stores.features, stores.folder)


def kept_wanted_prior(campaign: Campaign, features: FeatureStore, store: Path) -> AlignedPrior | None:
    """As `wanted_prior_of`, and None as well while the simulated stamps are not drawn yet."""
    concept = campaign.simulated.get(YES)
    if concept is None or not is_drawn(store, campaign.encoder, campaign.simulated_stamps):
        return None
    prior = _wanted_prior(simulated_folder(store), campaign.encoder, campaign.simulated_stamps, concept)
    return aligned(prior, features.shard(campaign.stamp_set))


def is_drawn(store: Path, encoder: str, stamps: int) -> bool:
    """Whether the store has so many simulated stamps of an encoder."""
    return kept_set(simulated_folder(store), encoder, stamps) is not None


# a page asks for it in every round; what was drawn once stays as it is
@lru_cache(maxsize=32)
def _wanted_prior(folder: Path, encoder: str, stamps: int, concept: str) -> Prior:
    kept = kept_set(folder, encoder, stamps)
    if kept is None:
        raise FileNotFoundError(set_path(folder, encoder))
    return wanted_prior(kept, concept)


def mean_share(head: ClassificationHead | PreferenceHead, stores: Stores) -> float:
    """How much of a head's answers to the campaign's stamps is prior, 0 to 1."""
    matrix = stores.features.shard(stores.campaign.stamp_set).matrix
    sample = matrix[:: max(len(matrix) // JUDGED, 1)].astype(np.float32)
    shares = head.prior_share(sample[np.isfinite(sample).all(axis=1)])
    return round(float(shares.mean()), 4) if len(shares) else 1.0
