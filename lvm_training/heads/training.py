"""Training a head on the labels of a snapshot: what the training stages and a campaign's refit both call."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from lvm_training.errors import LabelError
from lvm_training.heads.classification import ClassificationHead
from lvm_training.heads.head import Head
from lvm_training.heads.preference import PreferenceHead
from lvm_training.heads.prior import AlignedPrior
from lvm_training.pool.features import Features
from lvm_training.tables.snapshot import Snapshot


def train_head(
    features_by_set: Mapping[str, Features],
    snapshot: Snapshot,
    *,
    classes: Sequence[str],
    seed: int,
    head: type[Head] = ClassificationHead,
    seen: bool = False,
) -> Head:
    """A head of classes on cached features; the order of the labels does not matter.

    Parameters
    ----------
    features_by_set : mapping of str to Features
        Features of each stamp set, by its name.
    snapshot : Snapshot
        The labels.
    classes : sequence of str
        All classes of the campaign, in order.
    seed : int
        What it leaves to chance is drawn from this.
    head : type of Head
        What learns.
    seen : bool
        Whether the encoder was trained on the labels too.

    Raises
    ------
    LabelError
        If a label's stamp set has no features, the sets were embedded by different encoders, or as `head.fit`.
    FeaturesError
        If a label's stamp is not in its set.
    """
    matrix, ordered = _gathered(features_by_set, snapshot)
    fit = head.fit_seen if seen else head.fit
    return fit(matrix, ordered.label, seed=seed, classes=classes)


def train_with_prior(
    features_by_set: Mapping[str, Features],
    snapshot: Snapshot,
    prior: AlignedPrior,
    *,
    classes: Sequence[str],
    seed: int,
) -> ClassificationHead:
    """A head of classes on cached features that begins with what simulated stamps say; there may be no label yet.

    Parameters
    ----------
    features_by_set, snapshot, classes, seed
        As for `train_head`.
    prior : AlignedPrior
        For the pool that is to be answered.

    Raises
    ------
    LabelError, FeaturesError
        As `train_head`.
    """
    matrix, ordered = _gathered(features_by_set, snapshot)
    return ClassificationHead.fit(matrix, ordered.label, seed=seed, classes=classes, prior=prior)


def train_preference(
    features_by_set: Mapping[str, Features],
    snapshot: Snapshot,
    background: NDArray[np.float16],
    *,
    seed: int,
    prior: AlignedPrior | None = None,
) -> PreferenceHead:
    """A preference head on cached features; the order of the labels does not matter.

    Parameters
    ----------
    features_by_set : mapping of str to Features
        Features of each stamp set, by its name.
    snapshot : Snapshot
        Labels, each `preference.YES` or `preference.NO`, at least one a yes unless there is a prior.
    background : ndarray (P, D)
        Features of the pool that is searched, most of which is a no; may be a memory map.
    seed : int
        What folds and background rows are drawn from.
    prior : AlignedPrior, optional
        What simulated stamps say, for the pool that is searched.

    Raises
    ------
    LabelError, FeaturesError
        As `train_head` and `PreferenceHead.fit`.
    """
    matrix, ordered = _gathered(features_by_set, snapshot)
    return PreferenceHead.fit(matrix, ordered.label, seed=seed, background=background, prior=prior)


def _gathered(features_by_set: Mapping[str, Features], snapshot: Snapshot) -> tuple[NDArray[np.float32], Snapshot]:
    """Features (N, D) of the labelled stamps, and the labels in the same order."""
    ordered = snapshot.sorted()
    names = sorted(set(ordered.stamp_set))
    missing = [name for name in names if name not in features_by_set]
    if missing:
        raise LabelError(f"There are labels but no features for {', '.join(missing)}.", "Embed these stamp sets.")
    encoders = {features_by_set[name].encoder for name in names}
    if len(encoders) > 1:
        raise LabelError(
            f"The labelled sets were embedded by different encoders: {', '.join(sorted(encoders))}.",
            "Embed them again with one.",
        )
    owner, stamp = np.array(ordered.stamp_set), np.array(ordered.stamp_id, dtype=np.int64)
    inputs = [features_by_set[name].rows(stamp[owner == name]) for name in names]
    return (np.concatenate(inputs) if inputs else np.zeros((0, 1), np.float32)), ordered
