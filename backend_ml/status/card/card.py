"""All that the card of a version tells, read from the database, the store and the stamp sets."""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend_ml.kinds.installed import kind_of, known_kind, load_model
from backend_ml.kinds.kind import Labels, blamed
from backend_ml.learning.learn import stores_of
from backend_ml.pictures.stamp_pictures import PictureCache
from backend_ml.rebuilding.freezing import Found, Named, find_version
from backend_ml.rebuilding.provenance import provenance
from backend_ml.report.report import Judged, judged_version
from backend_ml.status.card.labels import Labelled, read_labels
from backend_ml.status.card.measured import Failure, Measured, measure
from backend_ml.store.database import Connection, Database
from backend_ml.store.stamps import StampSets, UnknownStampError
from lvm_training.errors import GalaxyLoopError, StampError
from lvm_training.stamps.summary import summary

PICTURE = 240  # pixels of a picture in the gallery


@dataclass(frozen=True)
class DataSet:
    """A stamp set that a version reads.

    Attributes
    ----------
    name : str
    learned : str
        Digest of what it learned from; empty where that was not noted.
    about : dict or None
        As `stamps.summary`; None where it is gone.
    problem : str
        Why it is.
    """

    name: str
    learned: str
    about: dict[str, Any] | None
    problem: str = ""


@dataclass(frozen=True)
class Card:
    """What is told of a version.

    Attributes
    ----------
    found : Found
    judged : Judged
        As the list of versions tells of it.
    facts : dict
        As `provenance`.
    sets : list of DataSet
        The campaign's first.
    labelled : Labelled
    blind : int
        Galaxies of the audit slice that have labels now.
    measured : Measured or None
        On these; None where there are none, or the version cannot answer.
    problem : str
        Why it is None.
    pictures : dict of str
        Data URIs of the failures' pictures, by stamp; without those that cannot be drawn.
    limits : tuple of str
        What its kind is not for.
    """

    found: Found
    judged: Judged
    facts: dict[str, Any]
    sets: list[DataSet]
    labelled: Labelled
    blind: int
    measured: Measured | None
    problem: str
    pictures: dict[tuple[str, int], str]
    limits: tuple[str, ...]


@dataclass(frozen=True)
class Asked:
    """Which card is asked for.

    Attributes
    ----------
    version : str
    campaign : str or None
        Its name, where several have such a version.
    named : callable or None
        What people are called; by default they have numbers.
    magnitude : str or None
        The column of magnitudes; by default the one that is called so.
    """

    version: str
    campaign: str | None = None
    named: Named | None = None
    magnitude: str | None = None


def read_card(database: Database, asked: Asked, store: Path, repo: Path) -> Card:
    """The card of a version; what cannot be told is said in its place.

    Parameters
    ----------
    store : Path
        Where encoders and detectors are kept.
    repo : Path
        A checkout whose code is compared with the version's.

    Raises
    ------
    VersionError, UnknownCampaignError
        If there is no such version.
    StampError
        If the column of magnitudes is named, and not there.
    """
    with database.transaction() as connection:
        found = find_version(connection, asked.version, asked.campaign)
        facts = provenance(connection, found, store, repo)
        judged = judged_version(connection, found.campaign, asked.version)
        labelled = read_labels(connection, found, asked.named)
        labels, problem = _audit(connection, found)
    sets = database.stamp_sets
    # models and pictures take their time, which no transaction waits for
    blind = 0 if labels is None else len(labels.audit)
    measured = None
    if labels is not None and not problem:
        measured, problem = _measured(database, found, labels, store, asked.magnitude)
    return Card(
        found,
        judged,
        facts,
        _sets(found, sets),
        labelled,
        blind,
        measured,
        problem,
        _pictures(database, found, measured.failures if measured else ()),
        _limits(found),
    )


def _audit(connection: Connection, found: Found) -> tuple[Labels[Any] | None, str]:
    """The labels as they stand, and why the version cannot be judged on their audit slice, if it cannot."""
    try:
        kind = kind_of(found.campaign)
        with blamed(kind, "reading labels"):
            labels = kind.read(connection, found.campaign)
    except GalaxyLoopError as error:
        return None, f"Its labels cannot be read: {error.message}"
    if not len(labels.audit):
        return labels, "No galaxy was labelled blind: there is no audit slice to judge it on, or nobody labelled it."
    if not found.version.answers:
        return labels, "It is a cold start: it ranks without a model, and answers nothing that could be judged."
    return labels, ""


def _measured(
    database: Database, found: Found, labels: Labels[Any], store: Path, column: str | None
) -> tuple[Measured | None, str]:
    """How good it is on the audit slice, or why nobody can tell."""
    try:
        model = load_model(found.version, stores_of(database, found.campaign, store))
        if model is None:
            return None, "It has no model."
        evaluation = model.evaluate(labels.audit)
        stamps = kind_of(found.campaign).stamps(labels.audit)
    except GalaxyLoopError as error:
        return None, f"It cannot answer the audit slice any more: {error.message} {error.hint}".strip()
    return measure(evaluation, stamps, database.stamp_sets, column), ""


def _sets(found: Found, sets: StampSets) -> list[DataSet]:
    learned = dict(found.learned.recipe.sets) if found.learned else {}
    names = list(dict.fromkeys([found.campaign.stamp_set, *sorted(learned)]))
    return [_set(name, learned.get(name, ""), sets) for name in names]


def _set(name: str, learned: str, sets: StampSets) -> DataSet:
    try:
        return DataSet(name, learned, summary(sets.find(name)))
    except (UnknownStampError, StampError) as error:
        return DataSet(name, learned, None, f"{error.message} {error.hint}".strip())


def _pictures(database: Database, found: Found, failures: Sequence[Failure]) -> dict[tuple[str, int], str]:
    drawn, cache = {}, PictureCache(database)
    for one in failures:
        try:
            jpeg = cache.file(*one.stamp, found.campaign.rendering, size=PICTURE, encoding="jpeg")
        except GalaxyLoopError:
            continue  # the page says that it is gone
        drawn[one.stamp] = f"data:image/jpeg;base64,{b64encode(jpeg).decode()}"
    return drawn


def _limits(found: Found) -> tuple[str, ...]:
    kind = known_kind(found.campaign)
    return () if kind is None else kind.limits
