"""The one learning loop, whatever the kind of campaign: read, fit, try out, judge at the gate, promote."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog

from backend_ml.acquisition.policy import needed_views
from backend_ml.kinds.beside import fit_model
from backend_ml.kinds.checked import CheckedModel
from backend_ml.kinds.installed import answered_part, config_of, kind_of, load_model
from backend_ml.kinds.kind import Kind, KindError, Labels, Report, blamed
from backend_ml.kinds.models import Stores, Weights
from backend_ml.kinds.simulated import is_drawn
from backend_ml.labels import set_aside
from backend_ml.learning import gate
from backend_ml.learning.learned_from import LearnedFrom
from backend_ml.learning.runs import Run, running
from backend_ml.store import versions
from backend_ml.store.campaigns import campaign_of_id
from backend_ml.store.database import Connection, Database, query
from backend_ml.store.features import FeatureStore
from backend_ml.store.records import Campaign, ModelVersion
from lvm_training.revision import code_revision

log = structlog.get_logger(__name__)

TRIED = 32  # labelled stamps that a new model must answer before anybody judges it
TOO_FEW = "too few labels"


def silent(phase: str, done: int, total: int) -> None:
    """A report that nobody reads."""


def stores_of(database: Database, campaign: Campaign, folder: Path, *, steps: int = 100) -> Stores:
    """What a campaign's models are made of."""
    with database.transaction() as connection:
        features = FeatureStore.from_database(connection, campaign.encoder)
    return Stores(campaign, features, database.stamp_sets, folder, needed_views(campaign.policy), steps)


def present_stores(connection: Connection, stores: Stores) -> Stores:
    """The same for the campaign as it is now: other names of classes than when a job began, further stamp sets."""
    campaign = campaign_of_id(connection, stores.campaign.id) or stores.campaign
    return replace(stores, campaign=campaign, features=FeatureStore.from_database(connection, stores.features.encoder))


def begin(database: Database, stores: Stores, model: Path | None, report: Report = silent) -> str:
    """Give a new campaign its first version: the model it begins with, or what its labels make, or a cold start.

    Parameters
    ----------
    model : Path or None
        Folder of a detector, for a campaign of objects.

    Returns
    -------
    str
        The version's name.

    Raises
    ------
    GalaxyLoopError
        If the model cannot be read, or as `learn`.
    """
    campaign = stores.campaign
    kind = kind_of(campaign)
    with blamed(kind, "beginning"):
        weights = kind.begin(model, stores, report)
    if weights is None and learn(database, stores, report) != TOO_FEW:
        with database.transaction() as connection:
            active = versions.active_version(connection, campaign)
        return active.version if active else ""
    first = _cold_start(campaign) if weights is None else _version(campaign, weights, None, None)
    with database.transaction() as connection:
        _add(connection, campaign, first)
        versions.promote(connection, campaign, first.version, "created")
    return first.version


def learn(database: Database, stores: Stores, report: Report = silent) -> str:
    """Learn from the present labels of a campaign, and promote what comes out unless the gate holds it back.

    Parameters
    ----------
    report : callable
        Takes the phase, and how much of it is done; what it raises ends the run. A run that was interrupted goes on
        from its last checkpoint, if it has any and the labels are still the same.

    Returns
    -------
    str
        "promoted", "held back" (by the gate, or since somebody chose another version meanwhile), "unchanged" (the same
        version came out) or "too few labels".

    Raises
    ------
    GalaxyLoopError
        If the labels cannot be learned from, or the kind fails or answers what it must not: the version that serves
        goes on serving.
    """
    with running(database, stores.campaign) as run:
        return learn_in(run, database, stores, report)


def learn_in(run: Run, database: Database, stores: Stores, report: Report, *, encoder: str | None = None) -> str:
    """As `learn`, within a run that has begun.

    Parameters
    ----------
    encoder : str, optional
        Learn on the features of another encoder, which the campaign changes to with the promotion; by default on those
        of the campaign's own.
    """
    kind = kind_of(stores.campaign)

    def progress(phase: str, done: int, total: int) -> None:
        report(phase, done, total)
        run.report(phase, done, total)

    outcome = None
    while outcome is None:
        now, labels, parent = _read(database, kind, stores, encoder)
        with blamed(kind, "learning"):
            weights = fit_model(kind, labels, now, now.campaign.seed, progress)
        if weights is None:
            return run.finish(TOO_FEW, labels.last_event)
        version = _version(now.campaign, weights, labels, parent)
        if parent and version.version == parent.version:
            return run.finish("unchanged", labels.last_event, version.version)
        verdict, accuracy = _judged(_tried(kind, version, now, labels), parent, labels, now)
        metrics = {"gate": verdict.as_metrics(), **weights.metrics, **accuracy}
        version = replace(version, metrics=metrics, audit_labels=verdict.audit_labels)
        learned = LearnedFrom.of(labels, version, now)
        outcome = _promoted(database, now.campaign, version, learned, verdict, parent)
    return run.finish(outcome, labels.last_event, version.version)


def _promoted(
    database: Database,
    campaign: Campaign,
    version: ModelVersion,
    learned: LearnedFrom | None,
    verdict: gate.Verdict,
    parent: ModelVersion | None,
) -> str | None:
    """Add a version and promote it unless the gate held it back; None where another one or other classes took over.

    What another worker promoted at this moment is not promoted again: a rollback would lead back to the same.

    A head on the features of the former encoder must not bring that back, nor may another encoder take over from one
    that it was not compared with. Labels that the version in use has learned must not be forgotten. A version of the
    same encoder that somebody promoted by hand or rolled back to meanwhile serves on.
    """
    with database.transaction() as connection:
        query(connection, "lock_campaign", campaign=campaign.id)
        present = campaign_of_id(connection, campaign.id)
        if present is not None and present.classes != campaign.classes:
            return None
        active = versions.active_version(connection, campaign)
        chosen = False
        if active is not None:
            if active.version == version.version:
                return "unchanged"
            other = parent is None or active.version != parent.version
            chosen = other and versions.is_by_hand(connection, campaign)
            forgets = other and not chosen and active.last_event > version.last_event
            if forgets or active.encoder != (parent or version).encoder:
                return None
        _add(connection, campaign, version)
        if learned is not None:
            learned.put(connection, campaign, version.version)
        if chosen or not verdict.passed:
            return "held back"
        changed = parent is not None and parent.encoder != version.encoder
        reason = "new encoder" if changed else "refit" if parent else "created"
        versions.promote(connection, campaign, version.version, reason)
    return "promoted"


def answering_version(connection: Connection, stores: Stores) -> ModelVersion | None:
    """The version that answers now: the active one, or of a search that no worker refits what its labels make.

    None while the simulated galaxies that a search begins with are not drawn: whoever asks does not wait for minutes.
    """
    campaign = stores.campaign
    active = versions.active_version(connection, campaign)
    if active is not None or campaign.project is not None:
        return active
    if campaign.simulated and not is_drawn(stores.folder, campaign.encoder, campaign.simulated_stamps):
        return None
    kind = kind_of(campaign)
    labels = kind.read(connection, campaign)
    with blamed(kind, "learning"):
        weights = fit_model(kind, labels, stores, campaign.seed, silent)
    return None if weights is None else _version(campaign, weights, labels, None)


def _read(
    database: Database, kind: Kind[Any, Any], stores: Stores, encoder: str | None
) -> tuple[Stores, Labels[Any], ModelVersion | None]:
    """What to learn on, the labels, and the version that serves, of one moment."""
    with database.transaction() as connection:
        stores = present_stores(connection, stores)
        campaign = stores.campaign
        set_aside.lock(connection, campaign)
        with blamed(kind, "reading labels"):
            labels = kind.read(connection, campaign)
        parent = versions.active_version(connection, campaign)
        chosen = encoder or (parent.encoder if parent else campaign.encoder)
        trained = query(connection, "encoder_trainings", campaign=campaign.id)
        set_aside.put_all(connection, campaign, labels.odd)
    for note in labels.notes:
        log.info("label not learned as it is", campaign=campaign.name, note=note)
    return stores.of(chosen, seen=any(row["encoder"] == chosen for row in trained)), labels, parent


def _version(
    campaign: Campaign, weights: Weights, labels: Labels[Any] | None, parent: ModelVersion | None
) -> ModelVersion:
    """Weights under their name, with where they come from; without labels they were brought along."""
    return ModelVersion(
        version=versions.version_name(campaign.kind, campaign.encoder, weights.identity, campaign.classes),
        parent=parent.version if parent else None,
        weights=weights.head,
        detector=weights.detector,
        encoder=campaign.encoder,
        seed=campaign.seed,
        last_event=labels.last_event if labels else 0,
        labels=len(labels.training) if labels else 0,
        audit_labels=0,
        metrics=dict(weights.metrics),
        revision=weights.revision or code_revision(),
        created_at=datetime.now(UTC),
    )


def _cold_start(campaign: Campaign) -> ModelVersion:
    """A version that ranks without a model."""
    name = versions.version_name("coldstart", campaign.encoder, str(campaign.seed).encode(), campaign.classes)
    return replace(_version(campaign, Weights(), None, None), version=name)


def _tried(kind: Kind[Any, Any], version: ModelVersion, stores: Stores, labels: Labels[Any]) -> CheckedModel:
    """The version's model, after it has answered some of the labelled stamps as it should.

    Raises
    ------
    KindError
        If it cannot be loaded, or answers what it must not.
    """
    model = load_model(version, stores)
    if model is None:
        raise KindError(
            f"The kind {kind.name!r} made a version without weights.", "Its `fit` gives a head or a detector."
        )
    stamps = kind.stamps(labels.training)[:TRIED]
    if not stamps:
        # it learned without labels; what it first answers is checked as every answer is
        return model
    label_config = answered_part(stores.campaign, config_of(stores.campaign))
    answers = model.answer(stamps)
    for place in range(len(stamps)):
        answers.result(place, label_config)
    return model


def _judged(
    candidate: CheckedModel, parent: ModelVersion | None, labels: Labels[Any], stores: Stores
) -> tuple[gate.Verdict, dict[str, float]]:
    """The gate's verdict, and the candidate's accuracy on the audit slice where there is one.

    A parent without a model, which answers nothing, counts as wrong throughout.
    """
    right = candidate.right(labels.audit)
    accuracy = {"audit_accuracy": float(right.mean())} if len(right) else {}
    judge = load_model(parent, stores) if parent is not None and len(right) else None
    if judge is None:
        return gate.Verdict(True, len(right)), accuracy
    return gate.judge(judge.right(labels.audit), right, seed=stores.campaign.seed), accuracy


def _add(connection: Connection, campaign: Campaign, version: ModelVersion) -> None:
    values = {name: value for name, value in vars(version).items() if name != "created_at"}
    versions.add_version(connection, campaign, **values)
