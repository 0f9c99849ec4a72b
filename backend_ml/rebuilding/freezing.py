"""A campaign's labels as they are frozen: those of now, or those that a version learned."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path

from psycopg.rows import DictRow

from backend_ml.campaign.status import find
from backend_ml.kinds.installed import kind_of
from backend_ml.labels.agreed import IMPORTED, agree
from backend_ml.learning.learned_from import LearnedFrom
from backend_ml.store.database import Connection, query
from backend_ml.store.records import Campaign, CampaignError, ModelVersion
from backend_ml.store.versions import VersionError
from lvm_training.tables.frozen_labels import ASIDE, AUDIT, TRAINING, Answer, FrozenLabels
from lvm_training.tables.snapshot import Snapshot

Named = Callable[[int | str], str]
"""What an annotator is called: an id in Label Studio, or a name on the search page."""


@dataclass(frozen=True)
class Found:
    """A version, and what is known of how it was made.

    Attributes
    ----------
    campaign : Campaign
    version : ModelVersion
    learned : LearnedFrom or None
        None of a version that learned nothing, or was made before it was noted.
    """

    campaign: Campaign
    version: ModelVersion
    learned: LearnedFrom | None


def read_version(connection: Connection, campaign: Campaign, version: str) -> Found:
    """A version of a campaign.

    Raises
    ------
    VersionError
        If the campaign has none of that name.
    """
    rows = query(connection, "version_of", campaign=campaign.id, version=version)
    if not rows:
        raise VersionError(
            f"Campaign {campaign.name!r} has no version {version!r}.",
            f"`galaxyloop model list '{campaign.name}'` shows them.",
        )
    return Found(campaign, ModelVersion.from_row(rows[0]), LearnedFrom.read(connection, campaign, version))


def find_version(connection: Connection, version: str, campaign: str | None = None) -> Found:
    """The version of that name, of whichever campaign unless one is named.

    Raises
    ------
    VersionError
        If there is none, or several campaigns have one.
    UnknownCampaignError
        If there is no such campaign.
    """
    having = [row["name"] for row in query(connection, "campaigns_of_version", version=version)]
    if campaign is None and len(having) != 1:
        if having:
            raise VersionError(f"{version} is of {', '.join(map(repr, having))}.", "Name one with --campaign.")
        raise VersionError(
            f"No campaign has a version {version!r}.",
            "`galaxyloop model list CAMPAIGN` shows them; a campaign that was deleted took its versions along.",
        )
    return read_version(connection, find(connection, campaign or having[0]), version)


def freeze(connection: Connection, campaign: Campaign, named: Named | None = None) -> FrozenLabels:
    """The labels that count now.

    Parameters
    ----------
    named : callable, optional
        What annotators are called; by default "person 1" and so on, in the order of their first answers.

    Raises
    ------
    CampaignError
        If it is a campaign of objects, or of a tree of questions.
    """
    labels = kind_of(campaign).read(connection, campaign)
    if not isinstance(labels.training, Snapshot):
        raise CampaignError(
            f"Campaign {campaign.name!r} has no label of one choice a galaxy, which alone are frozen.",
            "Export its objects or votes: --out objects.json, or --out votes.csv.",
        )
    votes = query(connection, "votes", campaign=campaign.id)
    return _frozen(connection, campaign, votes, campaign.classes, campaign.consensus, named)


def freeze_version(connection: Connection, found: Found, named: Named | None = None) -> FrozenLabels:
    """The labels that a version learned, to the letter.

    Raises
    ------
    VersionError
        If it learned none, or what it learned was not noted, or is not in the database any more.
    """
    version, learned = found.version.version, found.learned
    if not found.version.answers:
        raise VersionError(f"{version} is a cold start: it ranks without a model.", "It learned no labels.")
    if learned is None:
        raise VersionError(
            f"It was not noted which labels {version} learned: it was made before that was done, or its kind,"
            f" {found.campaign.kind}, does not say so.",
            "Of a kind of choices, the next version can be rebuilt; `galaxyloop model learn` makes one.",
        )
    if found.version.weights is None or not learned.labels:
        raise VersionError(
            f"{version} learned no labels of one choice a galaxy, which alone are frozen.",
            f"`galaxyloop campaign export '{found.campaign.name}' --out objects.json` has the objects of now.",
        )
    recipe = learned.recipe
    votes = learned.votes(connection, found.campaign)
    frozen = _frozen(connection, found.campaign, votes, recipe.classes, recipe.consensus, named)
    if frozen.snapshot.digest != learned.labels:
        raise VersionError(
            f"The database no longer gives the labels that {version} learned: it has {len(votes)} of"
            f" {len(learned.counted.given)} answers, or some were changed by hand.",
            "If they were frozen then, they are in data/release/labels, where `dvc pull` fetches them: --labels FILE.",
        )
    return frozen


def read_frozen(found: Found, path: Path) -> FrozenLabels:
    """The labels that a version learned from a file in which they were frozen.

    Raises
    ------
    LabelError
        As `FrozenLabels.read`.
    VersionError
        If it holds other labels, or it was not noted which the version learned.
    """
    frozen, version = FrozenLabels.read(path), found.version.version
    if found.learned is None or frozen.snapshot.digest != found.learned.labels:
        raise VersionError(
            f"{path.name} does not hold the labels that {version} learned.",
            f"`galaxyloop model show {version}` names the file that does.",
        )
    return frozen


def _frozen(
    connection: Connection,
    campaign: Campaign,
    votes: Sequence[DictRow],
    classes: Sequence[str],
    consensus: str,
    named: Named | None,
) -> FrozenLabels:
    """Votes, as the query gives them, with what they come to."""
    agreed = {(one.stamp_set, one.stamp_id): one for one in agree(votes, consensus)[0]}
    answers = Counter((row["stamp_set"], row["stamp_id"]) for row in votes)
    shown = _versions_shown(connection, campaign, votes)
    called = named or numbered(connection, campaign)

    def answer(row: DictRow) -> Answer:
        stamp = row["stamp_set"], row["stamp_id"]
        label = agreed[stamp].label
        split = ASIDE if label not in classes else AUDIT if row["blind"] else TRAINING
        person = row["annotator"] or row["person"]
        return Answer(
            *stamp,
            at=row["happened_at"].astimezone(UTC),
            annotator=IMPORTED if person is None else called(person),
            said=row["label"],
            label=label,
            agreeing=agreed[stamp].votes,
            answers=answers[stamp],
            split=split,
            shown=shown.get(row["id"]) or "",
        )

    rows = tuple(sorted(map(answer, votes)))
    return FrozenLabels(campaign.kind, tuple(classes), consensus, rows)


def _versions_shown(connection: Connection, campaign: Campaign, votes: Sequence[DictRow]) -> dict[int, str | None]:
    """The version whose answer each vote was given on, by its number."""
    rows = query(
        connection,
        "versions_shown",
        campaign=campaign.id,
        ids=[row["id"] for row in votes],
        stamp_sets=[row["stamp_set"] for row in votes],
        stamp_ids=[row["stamp_id"] for row in votes],
        times=[row["happened_at"] for row in votes],
    )
    return {row["id"]: row["version"] for row in rows}


def numbered(connection: Connection, campaign: Campaign) -> Named:
    """Annotators by numbers, which stay theirs whoever comes later."""
    rows = query(connection, "annotator_numbers", campaign=campaign.id)
    numbers = {row["annotator"] or row["person"]: row["number"] for row in rows}
    return lambda person: f"person {numbers[person]}"
