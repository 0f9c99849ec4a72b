"""A campaign's labels as they are frozen: those of now, or those that a version learned."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC
from pathlib import Path

from psycopg.rows import DictRow

from backend_ml.campaign.status import find
from backend_ml.kinds.installed import config_of, kind_of
from backend_ml.kinds.kind import blamed
from backend_ml.labels.agreed import IMPORTED, NOBODY, agree
from backend_ml.learning.learned_from import LearnedFrom, Recipe, votes_of
from backend_ml.store.database import Connection, query
from backend_ml.store.records import Campaign, CampaignError, ModelVersion
from backend_ml.store.versions import VersionError
from lvm_training.tables.frozen_labels import ASIDE, AUDIT, TRAINING, Answer, FrozenLabels

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
        If its kind does not say which labels count.
    """
    labels = kind_of(campaign).read(connection, campaign)
    if labels.counted is None:
        raise CampaignError(
            f"The kind {campaign.kind!r} does not say which labels count, so that none can be frozen.",
            f"`galaxyloop campaign export '{campaign.name}' --out FILE` writes those of now.",
        )
    stated = labels.counted.answers is not None
    votes = votes_of(connection, campaign, labels.counted, campaign.renamed, stated=stated)
    if stated:
        return _stated(connection, campaign, votes, labels.first, named)
    return _agreed(connection, campaign, votes, named)


def freeze_version(connection: Connection, found: Found, named: Named | None = None) -> FrozenLabels:
    """The labels that a version learned, to the letter.

    Raises
    ------
    VersionError
        If it learned none, or what it learned was not noted, or is not in the database any more.
    """
    version, learned = found.version.version, check_learned(found)
    votes, then = learned.votes(connection, found.campaign), campaign_then(found.campaign, learned.recipe)
    if learned.recipe.stated:
        frozen = _stated(connection, then, votes, learned.recipe.first_version, named)
    else:
        frozen = _agreed(connection, then, votes, named)
    if frozen.learned != learned.labels:
        raise VersionError(
            f"The database no longer gives the labels that {version} learned: it has {len(votes)} of"
            f" {len(learned.counted.given)} answers, or some were changed by hand.",
            "If they were frozen then, they are in data/release/labels, where `dvc pull` fetches them: --labels FILE.",
        )
    return frozen


def check_learned(found: Found) -> LearnedFrom:
    """What a version was fitted on.

    Raises
    ------
    VersionError
        If it learned nothing, or it was not noted what.
    """
    version, learned = found.version, found.learned
    if not version.answers:
        raise VersionError(f"{version.version} is a cold start: it ranks without a model.", "It learned no labels.")
    if learned is None and version.parent is None and not version.labels:
        raise VersionError(
            f"{version.version} is the model that the campaign began with{_named(version)}; it learned no label here.",
            "What trained it makes it again, as `dvc repro -f release_detector` does models/detector-nano.",
        )
    if learned is None or not learned.labels:
        raise VersionError(
            f"It was not noted which labels {version.version} learned: it was made before that was done, or its kind,"
            f" {found.campaign.kind}, has a `read` of its own that does not say so.",
            "Of a kind that says so, all of ours, the next version can be rebuilt: `galaxyloop model learn` makes one.",
        )
    return learned


def _named(version: ModelVersion) -> str:
    return f", {version.detector}" if version.detector else ""


def campaign_then(campaign: Campaign, recipe: Recipe) -> Campaign:
    """A campaign as it was when a version learned."""
    names = ("classes", "consensus", "renamed", "label_config", "encoder", "seed")
    return replace(campaign, **{name: getattr(recipe, name) for name in names})


def read_frozen(found: Found, path: Path) -> FrozenLabels:
    """The labels that a version learned from a file in which they were frozen.

    Raises
    ------
    LabelError
        As `FrozenLabels.read`.
    VersionError
        If it holds other labels, or as `check_learned`.
    """
    frozen, version = FrozenLabels.read(path), found.version.version
    if frozen.learned != check_learned(found).labels:
        raise VersionError(
            f"{path.name} does not hold the labels that {version} learned.",
            f"`galaxyloop model show {version}` names the file that does.",
        )
    return frozen


def _agreed(connection: Connection, campaign: Campaign, votes: Sequence[DictRow], named: Named | None) -> FrozenLabels:
    """Votes, as the query gives them, with what they come to."""
    agreed = {(one.stamp_set, one.stamp_id): one for one in agree(votes, campaign.consensus)[0]}

    def agreeing(one: Answer) -> Answer:
        found = agreed[one.stamp_set, one.stamp_id]
        split = one.split if found.label in campaign.classes else ASIDE
        return one._replace(label=found.label, agreeing=found.votes, split=split)

    rows = tuple(sorted(map(agreeing, _answers(connection, campaign, votes, "label", named))))
    return FrozenLabels(campaign.kind, tuple(campaign.classes), campaign.consensus, rows)


def _stated(
    connection: Connection,
    campaign: Campaign,
    votes: Sequence[DictRow],
    first: ModelVersion | None,
    named: Named | None,
) -> FrozenLabels:
    """What annotations state; aside is that of which a fit learns nothing."""
    rows = tuple(sorted(_answers(connection, campaign, votes, "result", named)))
    frozen = FrozenLabels(
        campaign.kind, tuple(campaign.classes), campaign.consensus, rows, label_config=config_of(campaign)
    )
    kind = kind_of(campaign)
    with blamed(kind, "reading labels"):
        taught = set(kind.stamps(kind.thaw(frozen, campaign, first).training))
    kept = (
        one._replace(split=ASIDE) if one.split == TRAINING and (one.stamp_set, one.stamp_id) not in taught else one
        for one in rows
    )
    return replace(frozen, answers=tuple(sorted(kept)))


def _answers(
    connection: Connection, campaign: Campaign, votes: Sequence[DictRow], said: str, named: Named | None
) -> list[Answer]:
    """Votes before anybody asks what they come to; `said` is the column of what they say."""
    answers = Counter((row["stamp_set"], row["stamp_id"]) for row in votes)
    shown = _versions_shown(connection, campaign, votes)
    called = named or numbered(connection, campaign)

    def annotator(row: DictRow) -> str:
        person = row["annotator"] or row["person"]
        if person is None:
            return IMPORTED if row["given"] == "start" else NOBODY
        return called(person)

    return [
        Answer(
            row["stamp_set"],
            row["stamp_id"],
            at=row["happened_at"].astimezone(UTC),
            annotator=annotator(row),
            said=row[said] or "",
            label="",
            agreeing=0,
            answers=answers[row["stamp_set"], row["stamp_id"]],
            split=AUDIT if row["blind"] else TRAINING,
            shown=shown.get(row["id"]) or "",
        )
        for row in votes
    ]


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
