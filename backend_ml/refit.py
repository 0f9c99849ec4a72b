"""From label events to the next head: fit on cached features, pass the gate, promote."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import structlog
from numpy.typing import NDArray

from backend_ml import gate, registry
from backend_ml.agreed_labels import agreed_labels, snapshot
from backend_ml.database import Connection, Database, query
from backend_ml.feature_store import FeatureStore
from backend_ml.records import Campaign, ModelVersion
from lvm_training.model.head import Head
from lvm_training.model.heads import load_head
from lvm_training.revision import code_revision
from lvm_training.snapshot import Snapshot
from lvm_training.training import train_head, train_preference

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class LabelState:
    """The labels a refit sees, all read at one moment.

    Attributes
    ----------
    last_event : int
        The newest label event among them.
    training : Snapshot
        Labels to fit on, audit slice left out.
    audit : Snapshot
        Blind labels to judge on.
    parent : ModelVersion or None
        The version serving at that moment.
    """

    last_event: int
    training: Snapshot
    audit: Snapshot
    parent: ModelVersion | None


def read_labels(connection: Connection, campaign: Campaign) -> LabelState:
    """The campaign's labels as they stand."""
    labels = agreed_labels(connection, campaign)
    return LabelState(
        last_event=query(connection, "last_event", campaign=campaign.id)[0]["id"],
        training=snapshot(labels, campaign.classes, audit=False),
        audit=snapshot(labels, campaign.classes, audit=True),
        parent=registry.active_version(connection, campaign),
    )


def refit(database: Database, campaign: Campaign) -> str:
    """Fit a head on the current labels and promote it unless the gate holds it back.

    Returns
    -------
    str
        "promoted", "held back", "unchanged" (the same head came out) or "too few classes" (under two are labelled, or
        nothing of the class looked for).
    """
    started = time.monotonic()
    with database.transaction() as connection:
        state = read_labels(connection, campaign)
        features = FeatureStore.from_database(connection, campaign.encoder)
    if not _learnable(campaign, state.training):
        return registry.record_refit(database, campaign, None, "too few classes", state.last_event, started)
    head = fit_head(campaign, state.training, features)
    version = registry.version_name(campaign.head, campaign.encoder, head.save(), campaign.classes)
    if state.parent and version == state.parent.version:
        return registry.record_refit(database, campaign, version, "unchanged", state.last_event, started)
    verdict = judge(state, head, features, campaign.seed)
    with database.transaction() as connection:
        registry.add_version(
            connection,
            campaign,
            version=version,
            parent=state.parent.version if state.parent else None,
            weights=head.save(),
            encoder=campaign.encoder,
            seed=campaign.seed,
            last_event=state.last_event,
            labels=len(state.training.label),
            audit_labels=verdict.audit_labels,
            metrics={"gate": verdict.as_metrics(), **_audit_accuracy(state, head, features)},
            revision=code_revision(),
        )
        if verdict.passed:
            registry.promote(connection, campaign, version, "refit" if state.parent else "created")
    return registry.record_refit(
        database, campaign, version, "promoted" if verdict.passed else "held back", state.last_event, started
    )


def _learnable(campaign: Campaign, labels: Snapshot) -> bool:
    if campaign.kind.wanted is not None:
        return campaign.kind.wanted in labels.label
    return len(set(labels.label)) >= 2


def fit_head(campaign: Campaign, labels: Snapshot, features: FeatureStore) -> Head:
    """The head that a campaign's labels make: of preference where a class is looked for, else of classification.

    Raises
    ------
    LabelError, FeatureError, FeaturesError
        If the labels cannot be learned from, or stamps have no features.
    """
    shards = {name: features.shard(name) for name in set(labels.stamp_set)}
    if campaign.kind.wanted is None:
        return train_head(shards, labels, classes=campaign.classes, seed=campaign.seed)
    return train_preference(shards, labels, features.shard(campaign.stamp_set).matrix, seed=campaign.seed)


def answering_version(connection: Connection, campaign: Campaign) -> ModelVersion | None:
    """The version that answers now: the active one, or for a search that no worker refits the head of its labels."""
    active = registry.active_version(connection, campaign)
    if active is not None or campaign.kind.wanted is None:
        return active
    state = read_labels(connection, campaign)
    if not _learnable(campaign, state.training):
        return None
    weights = fit_head(campaign, state.training, FeatureStore.from_database(connection, campaign.encoder)).save()
    return ModelVersion(
        version=registry.version_name(campaign.head, campaign.encoder, weights, campaign.classes),
        parent=None,
        weights=weights,
        detector=None,
        encoder=campaign.encoder,
        seed=campaign.seed,
        last_event=state.last_event,
        labels=len(state.training.label),
        audit_labels=0,
        metrics={},
        revision=code_revision(),
        created_at=datetime.now(UTC),
    )


def judge(state: LabelState, head: Head, features: FeatureStore, seed: int) -> gate.Verdict:
    """The gate's verdict on a head; a cold-start parent, which predicts nothing, counts as wrong throughout."""
    candidate = _correct(head, state.audit, features)
    weights = state.parent.weights if state.parent else None
    if weights is None:
        return gate.Verdict(True, len(candidate))
    return gate.judge(_correct(load_head(weights), state.audit, features), candidate, seed=seed)


def _correct(head: Head, audit: Snapshot, features: FeatureStore) -> NDArray[np.bool_]:
    if not audit.label:
        return np.empty(0, dtype=bool)
    probabilities = head.predict(features.rows(list(zip(audit.stamp_set, audit.stamp_id, strict=True))))
    predicted = np.array(head.classes)[probabilities.argmax(axis=1)]
    return np.asarray(predicted == np.array(audit.label))


def _audit_accuracy(state: LabelState, head: Head, features: FeatureStore) -> dict[str, float]:
    correct = _correct(head, state.audit, features)
    return {"audit_accuracy": float(correct.mean())} if len(correct) else {}
